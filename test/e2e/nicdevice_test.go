package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// wire gives the host a device whose other end is another machine.
func wire(h *host.Host, device, addr, farAddr string) (far func(line string) string) {
	h.T.Helper()
	ns := "at-" + device
	h.Sh("mkdir -p /run/netns; ip netns add " + ns + "; ip link add " + device + " type veth peer name lan0 netns " + ns +
		"; ip link set " + device + " up; ip addr add " + addr + " dev " + device +
		"; ip -n " + ns + " link set lan0 up; ip -n " + ns + " link set lo up; ip -n " + ns + " addr add " + farAddr + " dev lan0")
	h.T.Cleanup(func() { h.TrySh("ip netns del " + ns) })
	return func(line string) string {
		h.T.Helper()
		return strings.TrimSpace(h.TrySh("ip netns exec " + ns + " " + line).Stdout)
	}
}

// A device of the host's: shared by macvlan, or moved in whole and given back
// as it was, whatever ends its time inside.
func TestNICsOnDevices(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	far := wire(h, "wan1", "10.7.0.1/24", "10.7.0.2/24")
	h.J("run", "-d", "--name", "one", "--network", "none", "busybox", "probe", "serve", "one", "tcp:8000")
	h.J("run", "-d", "--name", "two", "--network", "none", "busybox", "probe", "serve", "two", "tcp:8000")
	asks := func(addr, want string) {
		t.Helper()
		h.Eventually(3*time.Second, func() error {
			if got, _, _ := strings.Cut(far("probe get tcp:"+addr+":8000"), " "); got != want {
				return errorf("from the device's network, %s answers %q, want %q", addr, got, want)
			}
			return nil
		})
	}
	h.J("nic", "add", "one", "--on", "wan1", "--ip", "10.7.0.11/24")
	h.J("nic", "add", "two", "--on", "wan1", "--ip", "10.7.0.12/24", "--mac", "02:00:00:00:07:12")
	asks("10.7.0.11", "one")
	asks("10.7.0.12", "two")
	if got := get(h, "one", "10.7.0.12:8000"); got != "two" {
		t.Errorf("between macvlans of one device: %q", got)
	}
	for _, c := range []struct{ text, args string }{
		{"container one has a NIC on the device", "two --on wan1 --direct"},
		{"MAC address 02:00:00:00:07:12 is already in use on wan1 by container two", "one --on wan1 --mac 02:00:00:00:07:12"},
		{"has no end on the host", "one --on wan1 --host-name x0"},
		{"modprobe 8021q", "one --on wan1 --vlan 5"},
		{"in no VLAN", "one --on wan1 --direct --vlan 5"},
	} {
		h.Fails(1, []string{c.text}, append([]string{"nic", "add"}, strings.Fields(c.args)...)...)
	}
	h.J("restart", "-t", "0", "one")
	asks("10.7.0.11", "one")
	// Unplugged, and plugged in again.
	h.Sh("ip link del wan1")
	time.Sleep(500 * time.Millisecond)
	h.Sh("ip netns del at-wan1")
	far = wire(h, "wan1", "10.7.0.1/24", "10.7.0.2/24")
	asks("10.7.0.11", "one")
	asks("10.7.0.12", "two")
	h.J("nic", "rm", "one", "eth1")
	h.J("nic", "rm", "two", "eth1")
	if got := far("probe get tcp:10.7.0.11:8000"); got != "" {
		t.Errorf("a removed macvlan answers %q", got)
	}

	// Whole: the host has it no more, and then again as it was.
	h.Sh("ip link set wan1 mtu 1450 alias uplink; ip addr add 10.7.0.3/24 dev wan1; ip route add 10.99.0.0/16 via 10.7.0.2 dev wan1")
	state := func() string {
		return h.TrySh("ip -o -4 addr show wan1; ip -o link show wan1 | grep -o 'mtu [0-9]*\\|state [A-Z]*\\|link/ether [0-9a-f:]*\\|alias.*'; ip route show dev wan1").Stdout
	}
	before := state()
	back := func(when string) {
		t.Helper()
		h.Eventually(3*time.Second, func() error {
			if after := state(); strip(after) != strip(before) {
				return errorf("%s: wan1 is\n%s\nand was\n%s", when, after, before)
			}
			return nil
		})
		if got := far("ping -c1 -W1 10.7.0.1"); !strings.Contains(got, "1 received") {
			t.Errorf("%s: the host's own address on wan1: %s", when, got)
		}
		if left := h.TrySh("find " + h.Run() + "/moved -type f").Stdout; left != "" {
			t.Errorf("%s: still noted as moved: %s", when, left)
		}
	}
	add := func() {
		t.Helper()
		h.J("nic", "add", "one", "--on", "wan1", "--direct", "--ip", "10.7.0.20/24,10.7.0.2", "--mac-from", "one")
	}
	add()
	asks("10.7.0.20", "one")
	if r := h.TrySh("ip link show wan1"); r.Code == 0 {
		t.Errorf("the host has the device still: %s", r.Stdout)
	}
	h.Fails(1, []string{"the device is in container one, whole"}, "nic", "add", "two", "--on", "wan1")
	if got := inside(h, "one", "ip route"); !strings.Contains(got, "default via 10.7.0.2 dev eth1") {
		t.Errorf("routes of one: %s", got)
	}
	h.J("nic", "rm", "one", "eth1")
	back("nic rm")

	add()
	h.J("stop", "-t", "0", "one")
	h.Sh("ip link show wan1") // it is back when the call returns
	back("container stopped")
	h.J("start", "one")
	asks("10.7.0.20", "one")
	h.J("restart", "-t", "0", "one")
	asks("10.7.0.20", "one")
	h.KillDaemon()
	h.StartDaemon()
	asks("10.7.0.20", "one")

	// The container ends while no daemon is there.
	pid := h.J("inspect", "-f", "{{.State.Pid}}", "one")
	h.KillDaemon()
	h.Sh("kill -9 " + pid)
	h.StartDaemon()
	back("ended without a daemon")
	h.J("start", "one")
	asks("10.7.0.20", "one")
	// Somebody has taken its name meanwhile: it comes back when that is gone.
	h.Sh("ip link add wan1 type bridge")
	h.J("stop", "-t", "0", "one")
	time.Sleep(300 * time.Millisecond)
	h.Sh("ip link del wan1")
	h.Eventually(15*time.Second, func() error {
		if strip(state()) != strip(before) {
			return errorf("wan1 is %s", state())
		}
		return nil
	})
	back("its name was taken")
	h.J("start", "one")
	asks("10.7.0.20", "one")
	// The same while its container runs on: the removal says so, until it is back.
	h.Sh("ip link add wan1 type bridge")
	h.Fails(1, []string{"take the NIC eth1 off container one", "it is recorded all the same", "its name wan1 back"}, "nic", "rm", "one", "eth1")
	time.Sleep(300 * time.Millisecond)
	h.Sh("ip link del wan1")
	h.Eventually(15*time.Second, func() error {
		if strip(state()) != strip(before) {
			return errorf("wan1 is %s", state())
		}
		return nil
	})
	back("its name was taken, and the container runs")
	add()
	asks("10.7.0.20", "one")
	h.J("rm", "-f", "one")
	h.Sh("ip link show wan1")
	back("container removed")

	// A device that is not there fails the start by its name, and only that.
	h.J("nic", "add", "two", "--on", "wan1", "--ip", "10.7.0.12/24")
	h.J("stop", "-t", "0", "two")
	h.Sh("ip link del wan1")
	h.Fails(1, []string{"the host has no device wan1"}, "start", "two")
	h.J("nic", "rm", "two", "eth1")
	h.J("start", "two")
}

// strip sorts lines, so that order does not matter, and drops link numbers.
func strip(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if _, rest, ok := strings.Cut(strings.TrimSpace(line), ": wan1"); ok {
			line = rest
		}
		out = append(out, strings.TrimSpace(line))
	}
	return strings.Join(out, "\n")
}
