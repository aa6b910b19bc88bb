package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// An address of one's choice works on every network, the default one included,
// with either client, and comes back after a restart; so does a MAC address
// made of a word.
func TestChosenAddresses(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "--subnet", "10.44.0.0/24", "dev")
	serve(h, "one", "--ip", "172.17.5.5", "--mac-from", "web")
	h.Sh("docker run -d --name two --ip 172.17.5.6 busybox sleep 1000")
	h.J("run", "-d", "--name", "three", "--network", "dev", "--ip", "10.44.0.77", "--mac-from", "web", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "four", "busybox", "sleep", "1000")
	h.J("network", "connect", "--ip", "172.17.5.7", "bridge", "three")
	mac := func(name, dev string) string { return h.J("exec", name, "cat", "/sys/class/net/"+dev+"/address") }
	want := func() {
		t.Helper()
		for name, ip := range map[string]string{"one": "172.17.5.5/16", "two": "172.17.5.6/16", "three": "172.17.5.7/16"} {
			if got := h.J("exec", name, "ip", "-o", "addr"); !strings.Contains(got, ip) {
				t.Errorf("%s has not %s: %s", name, ip, got)
			}
		}
		if got := get(h, "four", "172.17.5.5:8000"); got != "one" {
			t.Errorf("at the chosen address: %q", got)
		}
		if a, b := mac("one", "eth0"), mac("three", "eth0"); a != b || !strings.HasPrefix(a, "02:") {
			t.Errorf("MAC addresses of one word on two networks: %s and %s", a, b)
		}
	}
	want()
	first := mac("one", "eth0")
	h.J("stop", "-t", "0", "one")
	leases := h.J("network", "leases", "bridge")
	for _, line := range []string{"172.17.0.1 - (gateway) reserved", "172.17.5.5 " + first + " one kept", "172.17.5.6 * two active", "172.17.5.7 * three active"} {
		if !hasRow(leases, line) {
			t.Errorf("no line %q in\n%s", line, leases)
		}
	}
	h.J("start", "one")
	h.Eventually(2*time.Second, func() error {
		if get(h, "four", "172.17.5.5:8000") != "one" {
			return errorf("no answer yet")
		}
		return nil
	})
	want()
	if got := mac("one", "eth0"); got != first {
		t.Errorf("MAC address after a restart: %s, before %s", got, first)
	}
	for _, c := range []struct{ says, args string }{
		{"ddress already in use", "run --ip 172.17.5.5 busybox true"},
		{"the gateway", "run --ip 172.17.0.1 busybox true"},
		{"does not belong to any of this network's subnets", "run --ip 10.44.0.5 busybox true"},
		{"MAC", "run --mac-from web busybox true"}, // one has it on this network
		{"give one of them", "run --mac-from web --mac-address 02:00:00:00:00:01 busybox true"},
		{"user specified IP address is supported on user defined networks only", "run --network host --ip 172.17.9.9 busybox true"},
	} {
		h.Fails(125, []string{c.says}, strings.Fields(c.args)...)
	}
	if got := h.J("network", "leases", "bridge"); strings.Count(got, "\n") != strings.Count(leases, "\n") {
		t.Errorf("refused containers left leases:\n%s", got)
	}
}

// hasRow tells whether a table has a row with these cells; * is any.
func hasRow(table, row string) bool {
	want := strings.Fields(row)
	for line := range strings.Lines(table) {
		cells := strings.Fields(line)
		same := len(cells) == len(want)
		for i := range min(len(cells), len(want)) {
			same = same && (want[i] == "*" || cells[i] == want[i])
		}
		if same {
			return true
		}
	}
	return false
}

// A route that comes where a network is, as a VPN's does, is an event within a
// second, a line in the log, and a warning while it lasts.
func TestOverlappingRoutesAreTold(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Sh("ip link add lan type veth peer name far && ip link set lan up && ip link set far up && ip addr add 192.168.77.1/24 dev lan")
	h.Sh("ip route add 172.18.0.0/21 dev lan table 51820")
	h.J("network", "create", "dev")
	if got := h.J("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "dev"); got != "172.18.8.0/22" {
		t.Errorf("the pool avoids routes of every table: dev has %s", got)
	}
	out, err := os.Create(h.Dir + "/events")
	if err != nil {
		t.Fatal(err)
	}
	out.Close()
	background(h, "jackstay events --filter type=network --format '{{json .}}' >"+h.Dir+"/events")
	type event struct {
		Action   string
		TimeNano int64
		Actor    struct{ Attributes map[string]string }
	}
	var seen []event
	// next waits for the nth event.
	next := func(n int) event {
		t.Helper()
		h.Eventually(5*time.Second, func() error {
			f, err := os.Open(h.Dir + "/events")
			if err != nil {
				return err
			}
			defer f.Close()
			seen = nil
			for lines := bufio.NewScanner(f); lines.Scan(); {
				var e event
				if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
					return err
				}
				seen = append(seen, e)
			}
			if len(seen) < n {
				return errorf("%d events, want %d: %v", len(seen), n, seen)
			}
			return nil
		})
		return seen[n-1]
	}
	h.Eventually(5*time.Second, func() error { // until events are followed
		h.J("network", "create", "x")
		h.J("network", "rm", "x")
		if data, _ := os.ReadFile(h.Dir + "/events"); !strings.Contains(string(data), "destroy") {
			return errorf("no events yet")
		}
		return nil
	})
	time.Sleep(200 * time.Millisecond)
	next(1)
	n := len(seen)
	warnings := func() string { return h.J("info", "-f", "{{json .Warnings}}") + h.Sh("jackstay network inspect dev") }
	for _, step := range []struct {
		line, action, route, device string
	}{
		{"ip route add 172.18.0.0/16 dev lan", "overlap", "172.18.0.0/16", "lan"},
		{"ip route add 172.18.9.0/24 dev lan table 51820", "overlap", "172.18.9.0/24", "lan"},
		{"ip route del 172.18.0.0/16 dev lan", "overlap-gone", "172.18.0.0/16", "lan"},
		{"ip route del 172.18.9.0/24 dev lan table 51820", "overlap-gone", "172.18.9.0/24", "lan"},
		{"ip tuntap add vpn mode tun && ip addr add 172.18.10.1/32 dev vpn && ip link set vpn up", "overlap", "172.18.10.1/32", "vpn"},
		{"ip link del vpn", "overlap-gone", "172.18.10.1/32", "vpn"},
		{"ip route add 10.0.0.0/8 dev lan; ip route add 172.18.11.0/25 dev lan", "overlap", "172.18.11.0/25", "lan"},
		{"ip link set lan down", "overlap-gone", "172.18.11.0/25", "lan"}, // the kernel does not tell each route
	} {
		began := time.Now()
		h.Sh(step.line)
		n++
		e := next(n)
		a := e.Actor.Attributes
		if e.Action != step.action || a["name"] != "dev" || a["subnet"] != "172.18.8.0/22" || a["route"] != step.route || a["device"] != step.device {
			t.Errorf("%s: %+v", step.line, e)
		}
		t.Logf("%s: told after %v", step.line, time.Unix(0, e.TimeNano).Sub(began))
		if lasts := strings.Contains(warnings(), step.route); lasts != (step.action == "overlap") {
			t.Errorf("%s: warned of %t: %s", step.line, lasts, warnings())
		}
	}
	if got := h.J("info", "-f", "{{json .Warnings}}"); got != "[]" {
		t.Errorf("warnings at the end: %s", got)
	}
	if log := h.Log(); strings.Count(log, "a route of the host overlaps a network") != 8 || !strings.Contains(log, "device=vpn") {
		t.Errorf("the log does not tell of four that came and four that went")
	}
	if r := h.TryJ("network", "create", "--subnet", "192.168.77.0/24", "y"); r.Code != 1 || !strings.Contains(r.Stderr, "Pool overlaps with other one on this address space") {
		t.Errorf("an explicit subnet that the host has: %+v", r)
	}
	// After a daemon that was killed, those that last are told again.
	h.KillDaemon()
	h.Sh("ip link set lan up && ip route add 172.18.9.0/24 dev lan")
	h.StartDaemon()
	h.Eventually(5*time.Second, func() error {
		if !strings.Contains(warnings(), "172.18.9.0/24") {
			return errorf("not seen at start: %s", warnings())
		}
		return nil
	})
}
