package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// What a user decided about routes holds for what leaves from a NIC's address,
// with two NICs on one bridge as with one.
func TestRoutesHoldOnOneSegment(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Sh("ip link add heldbr0 type bridge && ip link set heldbr0 up")
	far := lan(h, "heldbr0", "10.8.1.1/24")
	far("ip addr add 10.66.0.1/32 dev lo")
	h.J("run", "-d", "--name", "held", "--network", "none", "busybox", "sleep", "1000")
	h.J("nic", "add", "held", "--on", "heldbr0", "--ip", "10.8.1.10/24,10.8.1.1")
	h.J("nic", "add", "held", "--on", "heldbr0", "--ip", "10.8.1.11/24")
	addrs := []string{"10.8.1.10", "10.8.1.11"}
	reached := func(when string) {
		t.Helper()
		for _, from := range addrs {
			h.Eventually(20*time.Second, func() error {
				if r := h.TryJ("exec", "held", "ping", "-c1", "-W2", "-I", from, "10.66.0.1"); r.Code != 0 {
					return errorf("%s, from %s: %+v", when, from, r)
				}
				return nil
			})
		}
	}
	refused := func(when, text string) {
		t.Helper()
		for _, from := range addrs {
			if r := h.TryJ("exec", "held", "ping", "-c1", "-W2", "-I", from, "10.66.0.1"); r.Code == 0 || !strings.Contains(r.Stdout+r.Stderr, text) {
				t.Errorf("%s, from %s: %+v, want %q", when, from, r, text)
			}
		}
	}
	reached("by the NIC's gateway")
	h.J("route", "add", "held", "blackhole", "10.66.0.0/16")
	refused("a blackhole", "Invalid argument")
	h.J("restart", "-t", "0", "held")
	refused("a blackhole, restarted", "Invalid argument")
	h.J("route", "del", "held", "10.66.0.0/16")
	reached("the blackhole deleted")
	h.J("route", "del", "held", "default")
	refused("no default route", "Network is unreachable")
	h.J("route", "add", "held", "default", "via", "10.8.1.1", "dev", "eth2")
	reached("a default route by the other NIC")
	h.J("route", "replace", "held", "unreachable", "default")
	refused("an unreachable default route", "o route to host")
}

// Beside a NIC with the default route, a lease with routes, and routes of a
// user's, links between networks lead where they did and published ports answer
// clients that are led elsewhere.
func TestNICsLeadNothingAway(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Sh("ip link add awaybr0 type bridge && ip link set awaybr0 up && ip addr add 192.168.33.1/24 dev awaybr0; ip link add clientbr0 type bridge && ip link set clientbr0 up && ip addr add 10.99.0.1/16 dev clientbr0")
	lan(h, "awaybr0", "192.168.33.9/24") // a router that passes nothing on
	client := lan(h, "clientbr0", "10.99.0.2/16")
	conf := filepath.Join(h.Dir, "udhcpd.conf")
	text := "start 192.168.33.50\nend 192.168.33.60\ninterface awaybr0\nlease_file " + h.Dir + "/leases\npidfile " + h.Dir + "/udhcpd.pid\n" +
		"option subnet 255.255.255.0\noption lease 600\n" +
		"option staticroutes 10.0.0.0/8 192.168.33.9, 0.0.0.0/1 192.168.33.9, 128.0.0.0/1 192.168.33.9\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	h.Sh("touch " + h.Dir + "/leases")
	background(h, "exec busybox udhcpd -f "+conf)
	h.J("network", "create", "--subnet", "10.71.0.0/24", "front")
	h.J("network", "create", "--subnet", "10.72.0.0/24", "back")
	serve(h, "db", "--network", "back")
	for _, c := range []struct{ name, port, change string }{
		{"router", "8081", "nic add router --on awaybr0 --ip 192.168.33.20/24,192.168.33.9"},
		{"lease", "8082", "nic add lease --on awaybr0 --dhcp"},
		{"subnet", "8083", "nic add subnet --on awaybr0 --ip 10.99.0.20/8"},
		{"asked", "8084", "nic add asked --on awaybr0 --ip 192.168.33.21/24 --route 10.0.0.0/8,192.168.33.9"},
	} {
		serve(h, c.name, "--network", "front", "-p", c.port+":8000", "--link", "db:store")
		check := func(when string) {
			t.Helper()
			h.Eventually(20*time.Second, func() error {
				if got := client("probe get tcp:10.99.0.1:" + c.port); got != c.name+" 10.99.0.2" {
					return errorf("%s %s: the client got %q", c.name, when, got)
				}
				if got := get(h, c.name, "store:8000"); got != "db" {
					return errorf("%s %s: store answered %q", c.name, when, got)
				}
				return nil
			})
		}
		check("before")
		h.J(strings.Fields(c.change)...)
		check("with its NIC")
		h.J("restart", "-t", "0", c.name)
		check("restarted")
	}
	if got := inside(h, "lease", "ip route"); !strings.Contains(got, "10.0.0.0/8 via 192.168.33.9 dev eth1") || strings.Contains(got, "/1 ") || !strings.Contains(got, "default via 10.71.0.1 dev eth0") {
		t.Errorf("routes of a lease: %s", got)
	}
	h.J("link", "rm", "router", "store")
	if got := get(h, "router", h.IP("db", "back")+":8000"); got != "" {
		t.Errorf("without the link: %q", got)
	}
}
