package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// A lease from a real server: got, renewed, kept through a daemon's end,
// released with the container's stop and the NIC, given up when it is over.
func TestNICLeases(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Sh("ip link add lanbr0 type bridge && ip link set lanbr0 up && ip addr add 192.168.30.1/24 dev lanbr0")
	conf := filepath.Join(h.Dir, "udhcpd.conf")
	text := "start 192.168.30.50\nend 192.168.30.60\ninterface lanbr0\nlease_file " + h.Dir + "/leases\npidfile " + h.Dir + "/udhcpd.pid\n" +
		"min_lease 1\noption subnet 255.255.255.0\noption router 192.168.30.1\noption lease 4\n"
	if err := os.WriteFile(conf, []byte(text+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.Sh("touch " + h.Dir + "/leases")
	stopServer := background(h, "exec busybox udhcpd -f "+conf)
	seen := listening(h, "tcpdump -lnvi lanbr0 udp port 67")
	count := func(what string) int { return strings.Count(seen(), what) }
	h.J("run", "-d", "--name", "one", "--network", "none", "busybox", "probe", "serve", "one", "tcp:8000")
	h.J("run", "-d", "--name", "two", "busybox", "sleep", "1000")

	if got := h.J("nic", "add", "one", "--on", "lanbr0", "--dhcp", "--mac-from", "one"); got != "eth1" {
		t.Errorf("nic add printed %q", got)
	}
	addr := func() string {
		return h.J("nic", "ls", "--format", `{{if eq .Name "eth1"}}{{.Addresses}}{{end}}`, "one")
	}
	first := addr()
	ip, _, _ := strings.Cut(first, "/")
	if !strings.HasPrefix(first, "192.168.30.") || !strings.HasSuffix(first, "/24") {
		t.Fatalf("the lease is %q", first)
	}
	answers(h, ip+":8000", "one")
	if got := inside(h, "one", "ip route"); !strings.Contains(got, "default via 192.168.30.1 dev eth1") {
		t.Errorf("routes: %s", got)
	}
	// A gateway from a server does not take a network's place.
	h.J("nic", "add", "two", "--on", "lanbr0", "--dhcp")
	if got := inside(h, "two", "ip route"); !strings.Contains(got, "default via 172.17.0.1 dev eth0") {
		t.Errorf("routes of two: %s", got)
	}

	// Four seconds on, it is there by renewal only, with and without the daemon's end.
	renewed := func(when string) {
		t.Helper()
		n := count("Request")
		time.Sleep(4500 * time.Millisecond)
		h.Eventually(5*time.Second, func() error {
			if count("Request") < n+2 {
				return errorf("%s: %d further requests", when, count("Request")-n)
			}
			return nil
		})
		if addr() != first {
			t.Errorf("%s: the address is %s", when, addr())
		}
		answers(h, ip+":8000", "one")
	}
	renewed("renewed")
	if !strings.Contains(seen(), ip+".68 > 192.168.30.1.67") {
		t.Errorf("it was not renewed by its own server:\n%s", seen())
	}
	h.KillDaemon()
	h.StartDaemon()
	renewed("daemon killed")

	h.J("stop", "-t", "0", "one")
	h.Eventually(2*time.Second, func() error {
		if count("Release") != 1 {
			return errorf("%d releases after a stop", count("Release"))
		}
		return nil
	})
	h.J("start", "one")
	h.Eventually(5*time.Second, func() error {
		if addr() != first || !strings.HasPrefix(askHost(h, ip+":8000"), "one") {
			return errorf("after the restart the address is %q, and was %q", addr(), first)
		}
		return nil
	})
	h.J("nic", "rm", "two", "eth1")
	h.Eventually(2*time.Second, func() error {
		if count("Release") != 2 {
			return errorf("%d releases after nic rm", count("Release"))
		}
		return nil
	})

	// No server any more: the lease ends, and there is no other.
	stopServer()
	h.Eventually(10*time.Second, func() error {
		if got := inside(h, "one", "ip -o -4 addr show eth1"); got != "" {
			return errorf("the lease is over, and eth1 has %s", got)
		}
		return nil
	})
	h.Fails(1, []string{"no DHCP server answers"}, "nic", "add", "two", "--on", "lanbr0", "--dhcp")
	if got := h.J("nic", "ls", "-q", "two"); got != "eth0" {
		t.Errorf("what failed left %q", got)
	}
}

// What is asked for inside: routes, rules, and tc, there again after a restart,
// a daemon's end, and a reboot.
func TestInsideRoutesRulesTC(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "--subnet", "10.60.0.0/24", "back")
	serve(h, "web", "--restart", "always")
	h.J("nic", "add", "web", "--on", "back", "--ip", "10.60.0.7/24", "--name", "data0")
	h.J("nic", "add", "web", "--on", "br7", "--ip", "192.168.7.2/24")
	h.J("route", "add", "web", "10.90.0.0/16", "via", "10.60.0.9")
	h.J("route", "web", "add", "10.91.0.0/16", "via", "192.168.7.1", "dev", "eth1", "metric", "50") // pipework's order
	h.J("route", "add", "web", "blackhole", "10.92.0.0/16")
	h.J("route", "add", "web", "default", "via", "192.168.7.1", "table", "7")
	h.J("rule", "add", "web", "from", "192.168.7.2", "table", "7")
	h.J("rule", "web", "add", "to", "10.93.0.0/16", "prohibit", "priority", "100")
	h.J("tc", "web", "qdisc", "add", "dev", "data0", "root", "handle", "1:", "tbf", "rate", "8mbit", "burst", "32kbit", "latency", "50ms")
	show := func() string {
		return inside(h, "web", "ip route; ip route show table 7; ip rule") + "\n" + h.J("tc", "web", "qdisc", "show", "dev", "data0")
	}
	before := show()
	for _, want := range []string{
		"default via 172.17.0.1 dev eth0", "10.90.0.0/16 via 10.60.0.9 dev data0", "10.91.0.0/16 via 192.168.7.1 dev eth1", "metric 50",
		"blackhole 10.92.0.0/16", "default via 192.168.7.1 dev eth1", "from 192.168.7.2 lookup 7", "from all to 10.93.0.0/16 lookup unspec prohibit", "qdisc tbf 1: root", "rate 8Mbit",
	} {
		if !strings.Contains(before, want) {
			t.Errorf("inside there is no %q:\n%s", want, before)
		}
	}
	for _, c := range []struct{ text, args string }{
		{"has the route 10.90.0.0/16 via 10.60.0.9 already", "route add web 10.90.0.0/16 via 10.60.0.10"},
		{"is in no subnet of the container's", "route add web 10.95.0.0/16 via 10.61.0.9"},
		{"no interface eth9: it has eth0, data0, eth1", "route add web 10.95.0.0/16 dev eth9"},
		{"another family", "route add web 10.95.0.0/16 via fd00::1"},
		{"unknown word", "route add web 10.95.0.0/16 over 10.60.0.9"},
		{"say where it leads", "route add web 10.95.0.0/16"},
		{"is no address or subnet", "route add web nonsense via 10.60.0.9"},
		{"no such route", "route del web 10.95.0.0/16"},
		{"has the rule", "rule add web from 192.168.7.2 table 7"},
		{"no such rule", "rule del web from 192.168.7.3 table 7"},
		{"No such container: nobody", "route add nobody default via 10.60.0.9"},
		{"tc qdisc add dev data0 root nonsense", "tc web qdisc add dev data0 root nonsense"},
		{"no interface eth9", "tc web qdisc add dev eth9 root tbf"},
	} {
		h.Fails(1, []string{c.text}, strings.Fields(c.args)...)
	}
	same := func(when string) {
		t.Helper()
		h.Eventually(5*time.Second, func() error {
			if r := h.TryJ("exec", "web", "true"); r.Code != 0 {
				return errorf("web does not run: %+v", r)
			}
			if after := show(); after != before {
				return errorf("%s:\n%s\nand before:\n%s", when, after, before)
			}
			return nil
		})
	}
	same("after what was refused")
	h.J("restart", "-t", "0", "web")
	same("container restarted")
	h.J("stop", "-t", "0", "web")
	h.Fails(1, []string{"container web is not running: tc needs its interfaces"}, "tc", "web", "qdisc", "show")
	h.J("start", "web")
	same("stopped and started")
	h.KillDaemon()
	h.StartDaemon()
	same("daemon killed")
	// Gone by another's hand, it is found by the look at everything; a NIC's host end at once.
	h.Sh("ip link del $(ip -o link show master br7 | grep -o 'jv[0-9a-f]*')")
	same("its host end deleted")
	reboot(h)
	h.StartDaemon()
	same("rebooted")
	if got := h.J("route", "ls", "web"); !strings.Contains(got, "10.91.0.0/16 via 192.168.7.1 dev eth1 metric 50") {
		t.Errorf("route ls: %s", got)
	}
	if got := h.J("rule", "ls", "web"); !strings.HasPrefix(got, "priority 100 from all to 10.93.0.0/16 prohibit\n") {
		t.Errorf("rule ls: %s", got)
	}

	// The default route is another's, and nobody's, and the network's again.
	h.J("route", "replace", "web", "default", "via", "10.60.0.9")
	if got := inside(h, "web", "ip route | grep default || true"); got != "default via 10.60.0.9 dev data0" {
		t.Errorf("the default route is %q", got)
	}
	h.J("route", "del", "web", "default")
	if got := inside(h, "web", "ip route | grep default || true"); !strings.Contains(got, "via 172.17.0.1 dev eth0") {
		t.Errorf("the default route is %q", got)
	}
	h.J("route", "del", "web", "default")
	if got := inside(h, "web", "ip route | grep default || true"); got != "" {
		t.Errorf("the default route is %q", got)
	}
	h.J("route", "add", "web", "default", "via", "192.168.7.1")
	h.J("rule", "del", "web", "from", "192.168.7.2", "table", "7")
	h.J("tc", "web", "qdisc", "del", "dev", "data0", "root")
	h.J("nic", "rm", "web", "data0") // with the routes through it
	after := inside(h, "web", "ip route; ip rule")
	for _, gone := range []string{"10.90.0.0/16", "from 192.168.7.2", "data0"} {
		if strings.Contains(after, gone) {
			t.Errorf("%s is there still:\n%s", gone, after)
		}
	}
}

// nic wait and --wait return once the container runs with its NIC.
func TestNICWait(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("create", "--name", "later", "busybox", "sleep", "1000")
	done := func(args string) func() bool {
		file := filepath.Join(h.Dir, strings.NewReplacer(" ", "-", "/", "-").Replace(args))
		background(h, "jackstay "+args+" && touch "+file)
		return func() bool { _, err := os.Stat(file); return err == nil }
	}
	added, waited := done("nic add later --on br3 --ip 10.3.0.2/24 --wait"), done("nic wait later eth1")
	h.Eventually(2*time.Second, func() error {
		if got := h.J("nic", "ls", "-q", "later"); got != "eth0\neth1" {
			return errorf("later has %s", got)
		}
		return nil
	})
	if added() || waited() {
		t.Error("they returned before the container runs")
	}
	h.Fails(1, []string{"container later does not run"}, "nic", "wait", "--timeout", "1", "later", "eth1")
	h.Fails(1, []string{"Container later has no interface eth7 yet", "nobody has asked for it yet", "it has eth0, eth1"}, "nic", "wait", "-t", "1", "later", "eth7")
	h.Fails(1, []string{"No such container: nobody"}, "nic", "wait", "nobody")
	h.J("start", "later")
	h.Eventually(2*time.Second, func() error {
		if !added() || !waited() {
			return errorf("they wait still: %t %t", added(), waited())
		}
		return nil
	})
}

// A server's routes: there with the lease, through its renewals, and gone with
// it. The router it names beside them does not count (RFC 3442).
func TestLeaseRoutes(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Sh("ip link add leasebr0 type bridge && ip link set leasebr0 up && ip addr add 192.168.31.1/24 dev leasebr0 && ip addr add 10.77.0.1/32 dev leasebr0")
	conf := filepath.Join(h.Dir, "udhcpd.conf")
	text := "start 192.168.31.50\nend 192.168.31.60\ninterface leasebr0\nlease_file " + h.Dir + "/leases\npidfile " + h.Dir + "/udhcpd.pid\n" +
		"min_lease 1\noption subnet 255.255.255.0\noption router 192.168.31.9\noption lease 4\n" +
		"option staticroutes 10.77.0.0/16 192.168.31.1, 10.78.0.0/16 192.168.99.1, 172.17.0.0/16 192.168.31.1\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	h.Sh("touch " + h.Dir + "/leases")
	background(h, "exec busybox udhcpd -f "+conf)
	seen := listening(h, "tcpdump -lnvi leasebr0 udp port 67")
	h.J("run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "two", "busybox", "sleep", "1000")
	h.J("nic", "add", "one", "--on", "leasebr0", "--dhcp")
	h.J("nic", "add", "two", "--on", "leasebr0", "--dhcp")
	check := func(when string) {
		t.Helper()
		one, two := inside(h, "one", "ip route"), inside(h, "two", "ip route")
		if !strings.Contains(one, "10.77.0.0/16 via 192.168.31.1 dev eth1") || !strings.Contains(one, "172.17.0.0/16 via 192.168.31.1") || strings.Contains(one, "default") || strings.Contains(one, "10.78") {
			t.Errorf("%s: routes of one: %s", when, one)
		}
		if !strings.Contains(two, "10.77.0.0/16 via 192.168.31.1 dev eth1") || strings.Contains(two, "172.17.0.0/16 via") || !strings.Contains(two, "default via 172.17.0.1 dev eth0") {
			t.Errorf("%s: routes of two: %s", when, two)
		}
		inside(h, "one", "ping -c1 -W5 10.77.0.1 >/dev/null")
	}
	check("leased")
	asked := strings.Count(seen(), "Request")
	h.Eventually(10*time.Second, func() error {
		if n := strings.Count(seen(), "Request"); n < asked+6 { // each told twice, of two NICs
			return errorf("%d requests, and %d before", n, asked)
		}
		return nil
	})
	check("renewed")
	h.J("nic", "rm", "two", "eth1")
	if two := inside(h, "two", "ip route"); strings.Contains(two, "10.77") {
		t.Errorf("the lease is given back, and its routes are %s", two)
	}
}
