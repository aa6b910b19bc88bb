package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// iperfServer runs a container with iperf3's server.
func iperfServer(h *host.Host, name string, args ...string) {
	h.T.Helper()
	h.J(append(append([]string{"run", "-d", "--name", name}, args...), "iperf", "iperf3", "-s")...)
}

// iperf gives the megabits a second that arrive from a client container at a
// server during some seconds; with -R as an option, the other way.
func iperf(h *host.Host, from, to string, options ...string) float64 {
	h.T.Helper()
	return megabits(h, "jackstay exec "+from, to, options...)
}

// megabits is iperf with the words that begin the client's command.
func megabits(h *host.Host, from, to string, options ...string) float64 {
	h.T.Helper()
	line := strings.Join(append([]string{from, "iperf3", "-c", to, "-t", "1", "-J"}, options...), " ")
	var bits float64
	h.Eventually(20*time.Second, func() error { // some errors it tells with exit code 0
		r := h.TrySh(line)
		got := h.TrySh("jq -r '(.end.sum_received // .end.sum).bits_per_second' <<'END'\n" + r.Stdout + "\nEND").Stdout
		var err error
		if bits, err = strconv.ParseFloat(strings.TrimSpace(got), 64); r.Code != 0 || err != nil {
			return errorf("iperf3: %+v", r)
		}
		return nil
	})
	return bits / 1e6
}

// near measures a rate, and wants no less than half of a limit, which a busy
// machine has some turns for, and never more than twice.
func near(t *testing.T, what string, measure func() float64, limit float64) {
	t.Helper()
	got := measure()
	for turn := 0; turn < 5 && got < limit/2; turn++ {
		got = measure()
	}
	if got < limit/2 || got > limit*2 {
		t.Errorf("%s: %.1f Mbit/s pass, the limit is %.1f", what, got, limit)
	}
}

// Both directions of a container are limited, each for itself, changed while a
// connection lives, and nothing is left when the limits are lifted.
func TestRates(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Import("iperf", host.DebianTar(t, "iperf3", "iperf3"))
	h.J("network", "create", "dev")
	iperfServer(h, "slow", "--network", "dev", "--net-rate-in", "20mbit", "--net-rate-out", "40mbit")
	iperfServer(h, "free", "--network", "dev", "--ip", h.Sh(`jackstay network inspect -f '{{(index .IPAM.Config 0).Subnet}}' dev | sed 's|0/.*|99|'`))
	iperfServer(h, "client", "--network", "dev")
	if got := iperf(h, "client", "free"); got < 400 {
		t.Skipf("%.0f Mbit/s without a limit: this machine can't show one of 40", got)
	}
	near(t, "in", func() float64 { return iperf(h, "client", "slow") }, 20)
	near(t, "out", func() float64 { return iperf(h, "client", "slow", "-R") }, 40)
	if got := h.J("inspect", "-f", "{{json .NetworkSettings.Rates}}", "slow"); got != `{"In":"20mbit","Out":"40mbit"}` {
		t.Errorf("inspect: %s", got)
	}
	if got := h.Sh("tc qdisc show; ip -o link show type ifb"); strings.Count(got, "tbf") != 3 || strings.Count(got, "ingress") != 1 {
		t.Errorf("one container of three is limited: %s", got)
	}

	// No datagram is dropped that the limit has room for; what has none is.
	dropped := func() string { return h.Sh("tc -s qdisc show | grep -A1 tbf | grep -o 'dropped [0-9]*'") }
	before := dropped()
	near(t, "UDP at half of the limit", func() float64 { return iperf(h, "client", "slow", "-u", "-b", "10M") }, 10)
	if got := dropped(); got != before {
		t.Errorf("UDP at half of the limit: %s, before %s", got, before)
	}
	iperf(h, "client", "slow", "-u", "-b", "60M")
	if got := dropped(); got == before {
		t.Errorf("UDP at three times the limit: %s, as before", got)
	}

	// A connection lives through every change of its limits.
	h.J("run", "-d", "--name", "down", "--network", "dev", "iperf", "iperf3", "-c", "slow", "-R", "-t", "3", "-i", "1", "-J")
	for _, rate := range []string{"80mbit", "20mbit", "none", "40mbit"} {
		time.Sleep(500 * time.Millisecond)
		if got := h.J("update", "--net-rate-out", rate, "slow"); got != "slow" {
			t.Errorf("update printed %q", got)
		}
	}
	if code := h.J("wait", "down"); code != "0" {
		t.Errorf("a download through changing limits ended with %s: %s", code, h.J("logs", "down"))
	}
	near(t, "out, changed back", func() float64 { return iperf(h, "client", "slow", "-R") }, 40)

	// What is taken away by hand is back; what is lifted leaves nothing.
	for _, dev := range strings.Fields(h.Sh("ip -br link show type ifb | cut -d' ' -f1")) {
		h.Sh("ip link del " + dev)
	}
	for _, line := range strings.Split(h.Sh("tc qdisc show | grep tbf"), "\n") {
		h.Sh("tc qdisc del dev " + strings.Fields(line)[4] + " root")
	}
	limited := func() error {
		if got := h.Sh("tc qdisc show"); strings.Count(got, "qdisc tbf") != 2 || strings.Count(got, "ingress") != 1 {
			return errorf("the limits are not back: %s", got)
		}
		return nil
	}
	h.Eventually(5*time.Second, limited)
	near(t, "in, healed", func() float64 { return iperf(h, "client", "slow") }, 20)
	near(t, "out, healed", func() float64 { return iperf(h, "client", "slow", "-R") }, 40)
	h.KillDaemon()
	h.Sh("tc qdisc del dev $(tc qdisc show | sed -n 's/.*tbf.* dev \\(jv[^ ]*\\) .*/\\1/p') root")
	h.StartDaemon()
	h.Eventually(5*time.Second, limited)

	// Stopped: it takes effect at the start.
	h.J("stop", "-t", "0", "slow")
	gone := func() error {
		if got := h.Sh("tc qdisc show; ip -o link show type ifb"); strings.Contains(got, "tbf") || strings.Contains(got, "ingress") || strings.Contains(got, "ifb") {
			return errorf("left: %s", got)
		}
		return nil
	}
	h.Eventually(5*time.Second, gone)
	h.J("update", "--net-rate-in", "dev=30mbit", "--net-rate-out", "none", "--memory", "64m", "slow")
	h.J("start", "slow")
	near(t, "in, changed while stopped", func() float64 { return iperf(h, "client", "slow") }, 30)
	if got := iperf(h, "client", "slow", "-R"); got < 200 {
		t.Errorf("out, lifted: %.1f Mbit/s", got)
	}
	h.J("update", "--net-rate-in", "0", "slow")
	if err := gone(); err != nil {
		t.Errorf("when the limits are lifted: %v", err)
	}
	if got := iperf(h, "client", "slow"); got < 200 {
		t.Errorf("in, lifted: %.1f Mbit/s", got)
	}
}

// A container that administers its own network can't lift its limits; each
// network has its own; what can't be is refused.
func TestRatesAreTheHosts(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Import("iperf", host.DebianTar(t, "iperf3", "iperf3"))
	h.J("network", "create", "dev")
	h.J("network", "create", "far")
	iperfServer(h, "server", "--network", "dev")
	h.J("network", "connect", "far", "server")
	// By any client of the API, and by the names of networks.
	h.Sh("docker run -d --name admin --cap-add NET_ADMIN --network dev --label com.jackstay.net-rate-out=20mbit iperf iperf3 -s")
	h.J("network", "connect", "far", "admin")
	h.J("update", "--net-rate-out", "far=60mbit", "admin")
	for _, line := range []string{"ip link set eth0 txqueuelen 10000", "tc qdisc del dev eth0 root", "tc qdisc del dev eth0 ingress"} {
		h.TrySh("nsenter --net=" + h.Run() + "/netns/" + h.J("inspect", "-f", "{{.Id}}", "admin") + " " + line)
	}
	address := func(network string) string {
		return h.J("inspect", "-f", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", network), "server")
	}
	near(t, "on dev", func() float64 { return iperf(h, "admin", address("dev")) }, 20)
	near(t, "on far", func() float64 { return iperf(h, "admin", address("far")) }, 60)
	// It makes its interface anew: so are its limits.
	id := h.J("inspect", "-f", "{{.Id}}", "admin")
	h.Sh("nsenter --net=" + h.Run() + "/netns/" + id + " ip link del eth0")
	h.Eventually(5*time.Second, func() error {
		if r := h.TrySh("nsenter --net=" + h.Run() + "/netns/" + id + " ip link show eth0"); r.Code != 0 {
			return errorf("%+v", r)
		}
		return nil
	})
	near(t, "on dev, made anew", func() float64 { return iperf(h, "admin", address("dev")) }, 20)
	before := h.J("inspect", "-f", "{{json .NetworkSettings.Rates}}", "admin")
	if before != `{"In":"none","Out":"20mbit,far=60mbit"}` {
		t.Errorf("inspect: %s", before)
	}
	h.J("create", "--name", "hosted", "--network", "host", "busybox")
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{125, "can't limit rates", []string{"run", "--network", "host", "--net-rate-in", "1mbit", "busybox"}},
		{125, "its network mode is none", []string{"run", "--network", "none", "--net-rate-out", "1mbit", "busybox"}},
		{125, "no network of its own", []string{"run", "--network", "container:server", "--net-rate-out", "1mbit", "busybox"}},
		{125, `invalid rate "1mb"`, []string{"run", "--net-rate-in", "1mb", "busybox"}},
		{125, "is not connected to it", []string{"run", "--net-rate-in", "dev=1mbit", "busybox"}},
		{1, "no network or interface of that name: it is on dev, far and has the interfaces eth0, eth1", []string{"update", "--net-rate-in", "1mbit", "--net-rate-out", "nosuch=1mbit", "admin"}},
		{1, "it must be from 8kbit to 400gbit", []string{"update", "--net-rate-in", "1bit", "admin"}},
		{1, "No such container: nobody", []string{"update", "--net-rate-in", "1mbit", "nobody"}},
		{1, "can't limit rates of container hosted", []string{"update", "--net-rate-in", "1mbit", "hosted"}},
	} {
		h.Fails(c.code, []string{c.says}, c.args...)
	}
	if got := h.J("inspect", "-f", "{{json .NetworkSettings.Rates}}", "admin"); got != before {
		t.Errorf("refused changes left %s", got)
	}
	h.J("update", "--net-rate-in", "1mbit", "admin")
	h.Eventually(3*time.Second, func() error { // --until has whole seconds
		if got := h.J("events", "--since", "30s", "--until", "0s", "--filter", "event=update"); !strings.Contains(got, "net-rate-in=1mbit)") { // and nothing of the other direction
			return errorf("events: %s", got)
		}
		return nil
	})
	// Its limits and the policy of its network see the same packets.
	h.J("network", "create", "--policy", "deny", "shut")
	iperfServer(h, "guarded", "--network", "shut", "--net-rate-in", "30mbit", "--expose", "5201")
	iperfServer(h, "linked", "--network", "shut", "--net-rate-out", "20mbit", "--link", "guarded")
	iperfServer(h, "alone", "--network", "shut", "--net-rate-out", "20mbit")
	near(t, "along a link", func() float64 { return iperf(h, "linked", "guarded") }, 20)
	if r := h.TryJ("exec", "alone", "iperf3", "-c", h.IP("guarded", "shut"), "-t", "1", "--connect-timeout", "2000"); r.Code == 0 {
		t.Errorf("a limited container without a link reaches one that is guarded: %+v", r)
	}
	h.J("rm", "-f", "guarded", "linked", "alone")

	h.J("rm", "-f", "admin")
	h.Eventually(5*time.Second, func() error {
		if got := h.Sh("ip -o link show type ifb"); got != "" {
			return errorf("left by a container that is removed: %s", got)
		}
		return nil
	})
}
