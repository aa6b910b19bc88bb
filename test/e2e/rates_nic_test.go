package e2e

import (
	"testing"

	"github.com/jackstay/jackstay/test/host"
)

// Interfaces of one container are limited each for itself: one on a bridge of
// the host's, and two on one network; what can't be limited is refused by name.
func TestRatesOfInterfaces(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Import("iperf", host.DebianTar(t, "iperf3", "iperf3"))
	iperfServer(h, "server", "--network", "none")
	iperfServer(h, "client")
	h.J("nic", "add", "client", "--on", "br1", "--ip", "192.168.4.2/24")
	h.J("nic", "add", "server", "--on", "br1", "--ip", "192.168.4.1/24", "--net-rate-in", "20mbit")
	h.J("nic", "add", "server", "--on", "br1", "--ip", "192.168.4.3/24", "--name", "free")
	unlimited := iperf(h, "client", "192.168.4.3")
	if unlimited < 400 {
		t.Skipf("%.0f Mbit/s without a limit: this machine can't show one of 20", unlimited)
	}
	near(t, "in, a NIC's own", func() float64 { return iperf(h, "client", "192.168.4.1") }, 20)
	if got := h.J("update", "--net-rate-in", "eth1=none", "--net-rate-out", "eth1=40mbit", "server"); got != "server" {
		t.Errorf("update printed %q", got)
	}
	near(t, "out, a NIC's own", func() float64 { return iperf(h, "client", "192.168.4.1", "-R") }, 40)
	if got := iperf(h, "client", "192.168.4.1"); got < 200 {
		t.Errorf("in, lifted: %.1f Mbit/s", got)
	}
	// Of two on one bridge, each sends by itself.
	h.J("update", "--net-rate-out", "free=15mbit", "server")
	near(t, "out, the second NIC's own", func() float64 { return iperf(h, "client", "192.168.4.3", "-R") }, 15)
	h.J("update", "--net-rate-out", "free=none", "server")
	h.J("update", "--net-rate-in", "30mbit,eth1=none", "server")
	near(t, "the container's, on a NIC", func() float64 { return iperf(h, "client", "192.168.4.3") }, 30)
	if got := h.J("inspect", "-f", "{{json .NetworkSettings.Rates}} {{range .NetworkSettings.NICs}}{{.Name}} {{.NetRateIn}}/{{.NetRateOut}};{{end}}", "server"); got != `{"In":"30mbit,eth1=none","Out":"none,eth1=40mbit,free=none"} eth1 none/40mbit;free 30mbit/none;` {
		t.Errorf("inspect: %s", got)
	}

	// Two interfaces on one network differ, from the start.
	h.J("network", "create", "dev")
	iperfServer(h, "twice", "--network", "dev", "--net-rate-in", "eth0=20mbit")
	h.J("nic", "add", "twice", "--on", "dev")
	h.J("network", "connect", "dev", "client")
	address := func(n string) string {
		return h.Sh("jackstay inspect twice | jq -r '.[0].NetworkSettings.NICs[] | select(.Name == \"" + n + "\") | .Addresses[0]' | cut -d/ -f1")
	}
	near(t, "the first of two on a network", func() float64 { return iperf(h, "client", address("eth0")) }, 20)
	if got := iperf(h, "client", address("eth1")); got < 200 {
		t.Errorf("the second of two on a network: %.1f Mbit/s", got)
	}

	h.J("update", "--net-rate-out", "eth1=15mbit", "twice")
	near(t, "out, the second of two on a network", func() float64 { return iperf(h, "client", address("eth1"), "-R") }, 15)

	// What goes takes its limit with it.
	h.J("nic", "rm", "server", "eth1")
	h.J("nic", "add", "server", "--on", "br1", "--ip", "192.168.4.1/24")
	if got := h.J("inspect", "-f", "{{json .NetworkSettings.Rates}}", "server"); got != `{"In":"30mbit","Out":"none,free=none"}` {
		t.Errorf("eth1 made anew: %s", got)
	}
	h.Sh("ip link add wan0 type veth peer name wan1; ip link set wan0 up")
	h.J("run", "-d", "--name", "router", "--cap-add", "NET_ADMIN", "busybox", "sleep", "1000")
	h.J("nic", "add", "router", "--on", "wan0", "--name", "wan")
	before := h.J("inspect", "-f", "{{json .NetworkSettings.Rates}}", "client")
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{1, "the rate of interface wan of container router can't be limited: a macvlan", []string{"update", "--net-rate-in", "wan=1mbit", "router"}},
		{1, "which its interface wan can't be: a macvlan", []string{"update", "--net-rate-in", "1mbit", "router"}},
		{1, "could be lifted by the container, which has CAP_NET_ADMIN", []string{"nic", "add", "router", "--on", "wan0", "--name", "wan2", "--net-rate-out", "1mbit"}},
		{1, "it is on bridge, dev and has the interfaces eth0, eth2, eth1", []string{"update", "--net-rate-out", "eth9=1mbit", "client"}},
		{1, "it has the interfaces free, eth1", []string{"update", "--net-rate-out", "dev=1mbit", "server"}},
		{125, "it is on bridge and has the interfaces eth0", []string{"run", "--net-rate-in", "eth1=1mbit", "iperf", "true"}},
	} {
		h.Fails(c.code, []string{c.says}, c.args...)
	}
	if got := h.J("inspect", "-f", "{{json .NetworkSettings.Rates}}", "client"); got != before {
		t.Errorf("refused changes left %s", got)
	}
}
