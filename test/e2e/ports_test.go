package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// Published ports work from everywhere, and the client's address is seen
// wherever a packet can keep it.
func TestPublishedPortsFromEverywhere(t *testing.T) {
	t.Parallel()
	h, outside := host.New(t), host.Bare(t)
	host.Join(h, outside, "10.98.0.1/24", "10.98.0.2/24")
	h.J("network", "create", "other")
	serve(h, "web", "-p", "8080:8000", "-p", "8080:8000/udp", "-p", "127.0.0.1:8081:8000", "-p", "10.98.0.1:8082:8000")
	h.J("run", "-d", "--name", "beside", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "elsewhere", "--network", "other", "busybox", "sleep", "1000")
	web, elsewhere := h.IP("web", "bridge"), h.IP("elsewhere", "other")
	for _, proto := range []string{"tcp:", "udp:"} {
		for _, c := range []struct{ from, addr, want string }{
			{"outside", "10.98.0.1:8080", "web 10.98.0.2"}, // the client's own address
			{"host", "10.98.0.1:8080", "web 10.98.0.1"},
			{"host", "172.17.0.1:8080", "web 172.17.0.1"},
			{"host", "127.0.0.1:8080", "web 172.17.0.1"}, // 127.0.0.1 can't leave the host
			{"web", "10.98.0.1:8080", "web 172.17.0.1"},  // hairpin: through the bridge and back
			{"beside", "10.98.0.1:8080", "web 172.17.0.1"},
			{"beside", "172.17.0.1:8080", "web 172.17.0.1"},
			{"elsewhere", "10.98.0.1:8080", "web " + elsewhere},
			{"elsewhere", "172.17.0.1:8080", "web " + elsewhere},
		} {
			var got string
			switch c.from {
			case "outside":
				got = strings.TrimSpace(outside.TrySh("probe get " + proto + c.addr).Stdout)
			case "host":
				got = strings.TrimSpace(h.TrySh("probe get " + proto + c.addr).Stdout)
			default:
				got = strings.TrimSpace(h.TryJ("exec", c.from, "probe", "get", proto+c.addr).Stdout)
			}
			if got != c.want {
				t.Errorf("%s from %s to %s: %q, want %q", proto, c.from, c.addr, got, c.want)
			}
		}
	}
	// Bound to one address: there and nowhere else.
	for _, c := range []struct{ addr, want string }{
		{"127.0.0.1:8081", "web 172.17.0.1"}, {"10.98.0.1:8081", ""}, {"10.98.0.1:8082", "web 10.98.0.1"}, {"127.0.0.1:8082", ""},
	} {
		if got := strings.TrimSpace(h.TrySh("probe get tcp:" + c.addr).Stdout); got != c.want {
			t.Errorf("%s: %q, want %q", c.addr, got, c.want)
		}
	}
	// A neighbour that routes 127.0.0.1 or a container's address to us gets nothing.
	outside.Sh("ip route add 172.17.0.0/16 via 10.98.0.1")
	outside.Sh("ip addr del 127.0.0.1/8 dev lo; sysctl -qw net.ipv4.conf.all.route_localnet=1; ip route add 127.0.0.1/32 via 10.98.0.1 src 10.98.0.2 2>/dev/null; ip route flush table local 127.0.0.0/8 2>/dev/null; true")
	for _, addr := range []string{web + ":8000", "127.0.0.1:8081", "127.0.0.1:8080"} {
		if got := strings.TrimSpace(outside.TrySh("probe get tcp:" + addr).Stdout); got != "" {
			t.Errorf("a neighbour reached %s: %q", addr, got)
		}
	}
	// Stopped: the port is free again and refused; started: it is back.
	h.J("stop", "-t", "0", "web")
	if r := h.TrySh("probe get tcp:127.0.0.1:8080"); r.Code == 0 || !strings.Contains(r.Stderr, "refused") {
		t.Errorf("a stopped container's port: %+v", r)
	}
	h.J("start", "web")
	h.Eventually(5*time.Second, func() error { // started is not yet listening
		if got := askHost(outside, "10.98.0.1:8080"); got != "web 10.98.0.2" {
			return errorf("after start: %q", got)
		}
		return nil
	})
}

func TestPortForms(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	serve(h, "web", "-p", "8000", "-p", "9000-9002:9000-9002", "-p", "7000-7010:7000/udp", "--expose", "81", "-p", "127.0.0.1::82/udp")
	port := func(p string) string { return h.J("port", "web", p) }
	if got := port("8000"); !strings.HasPrefix(got, "0.0.0.0:") {
		t.Errorf("random: %s", got)
	}
	if got := port("9002/tcp"); got != "0.0.0.0:9002" {
		t.Errorf("range: %s", got)
	}
	if got := port("7000/udp"); got != "0.0.0.0:7000" {
		t.Errorf("one of a range: %s", got)
	}
	if got := port("82/udp"); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("random on one address: %s", got)
	}
	h.Fails(1, []string{"81"}, "port", "web", "81")
	if got := askHost(h, "127.0.0.1:"+strings.TrimPrefix(port("8000"), "0.0.0.0:")); !strings.HasPrefix(got, "web") {
		t.Errorf("random port answered %q", got)
	}
	// Another program's port is refused, ours names its holder; neither leaves anything.
	background(h, "probe serve other tcp:6000")
	h.Eventually(2*time.Second, func() error {
		if askHost(h, "127.0.0.1:6000") == "" {
			return fmt.Errorf("the other program does not listen yet")
		}
		return nil
	})
	h.Fails(125, []string{"0.0.0.0:6000", "address already in use"}, "run", "-d", "--name", "late", "-p", "6000:80", "busybox", "sleep", "9")
	h.Fails(125, []string{"Bind for 0.0.0.0:9001 failed: port is already allocated", "web"}, "run", "-d", "--name", "late2", "-p", "9001:80", "busybox", "sleep", "9")
	h.J("rm", "late", "late2")
	// And the other way round: what we hold nobody else takes.
	if r := h.TrySh("timeout 2 probe serve thief tcp:9001"); !strings.Contains(r.Stderr, "address already in use") {
		t.Errorf("another program took our port: %+v", r)
	}
	h.Fails(125, []string{"70000"}, "run", "-p", "70000:80", "busybox", "true")
	// -P publishes what is exposed.
	h.J("run", "-d", "--name", "all", "--expose", "81", "--expose", "8000", "-P", "busybox", "probe", "serve", "all", "tcp:8000")
	h.Eventually(5*time.Second, func() error { // started is not yet listening
		if got := askHost(h, "127.0.0.1:"+strings.TrimPrefix(h.J("port", "all", "8000"), "0.0.0.0:")); !strings.HasPrefix(got, "all") {
			return fmt.Errorf("-P: %q", got)
		}
		return nil
	})
	if got := h.J("port", "all"); strings.Count(got, "\n") != 1 {
		t.Errorf("-P published %s", got)
	}
	// A random port is taken again after a restart.
	before := h.J("port", "all")
	h.J("restart", "-t", "0", "all")
	if after := h.J("port", "all"); after != before {
		t.Errorf("ports after a restart: %s, before: %s", after, before)
	}
}
