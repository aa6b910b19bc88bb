package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

func TestNamesOnEveryNetwork(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "dev")
	for _, network := range []string{"bridge", "dev"} {
		serve(h, "web-"+network, "--network", network)
		h.J("run", "-d", "--name", "client-"+network, "--network", network, "busybox", "sleep", "1000")
		id := h.J("inspect", "-f", "{{.Id}}", "web-"+network)
		for _, name := range []string{"web-" + network, id[:12], strings.ToUpper("web-" + network)} {
			if got := get(h, "client-"+network, name+":8000"); got != "web-"+network {
				t.Errorf("%s: %s answered %q", network, name, got)
			}
		}
		// Backwards: the address leads to the name.
		ptr := h.J("exec", "client-"+network, "nslookup", h.IP("web-"+network, network))
		if !strings.Contains(ptr, "web-"+network) {
			t.Errorf("%s: reverse lookup says %q", network, ptr)
		}
	}
	// The other network's names are unknown, and its addresses unreachable.
	if r := h.TryJ("exec", "client-dev", "nslookup", "web-bridge"); r.Code == 0 {
		t.Errorf("a name of another network resolved: %s", r.Stdout)
	}
	if got := get(h, "client-dev", h.IP("web-bridge", "bridge")+":8000"); got != "" {
		t.Errorf("another network was reached: %q", got)
	}
}

func TestSameAliasOnTwoNetworks(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	for _, network := range []string{"dev", "prod"} {
		h.J("network", "create", network)
		serve(h, network+"-search", "--net", network, "--net-alias", "search")
		h.J("run", "-d", "--name", network+"-client", "--net", network, "busybox", "sleep", "1000")
	}
	for _, network := range []string{"dev", "prod"} {
		if got := get(h, network+"-client", "search:8000"); got != network+"-search" {
			t.Errorf("search in %s answered %q", network, got)
		}
	}
}

func TestConnectAndDisconnectLive(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "--subnet", "10.77.0.0/24", "--gateway", "10.77.0.9", "--ip-range", "10.77.0.128/25", "back")
	serve(h, "db", "--network", "back")
	if ip := h.IP("db", "back"); ip != "10.77.0.128" {
		t.Errorf("first address of the range: %s", ip)
	}
	h.J("run", "-d", "--name", "client", "busybox", "sleep", "1000")
	if got := get(h, "client", "10.77.0.128:8000"); got != "" {
		t.Errorf("reached before connect: %q", got)
	}
	h.J("network", "connect", "--ip", "10.77.0.5", "--alias", "front", "back", "client")
	if got := get(h, "client", "db:8000"); got != "db" {
		t.Errorf("after connect: %q", got)
	}
	if got := h.J("exec", "db", "nslookup", "front"); !strings.Contains(got, "10.77.0.5") {
		t.Errorf("alias of connect: %s", got)
	}
	// The new interface is the second one, the default route is where it was.
	if got := h.J("exec", "client", "ip", "-o", "-4", "addr", "show", "eth1"); !strings.Contains(got, "10.77.0.5/24") {
		t.Errorf("eth1: %s", got)
	}
	if got := h.J("exec", "client", "ip", "route"); !strings.Contains(got, "default via 172.17.0.1 dev eth0") {
		t.Errorf("routes: %s", got)
	}
	h.J("network", "disconnect", "back", "client")
	if got := get(h, "client", "10.77.0.128:8000"); got != "" {
		t.Errorf("reached after disconnect: %q", got)
	}
	if r := h.TryJ("exec", "client", "ip", "link", "show", "eth1"); r.Code == 0 {
		t.Errorf("eth1 is still there: %s", r.Stdout)
	}
	// A stopped one too: it takes effect at the start.
	h.J("stop", "-t", "0", "client")
	h.J("network", "connect", "back", "client")
	h.J("start", "client")
	if got := get(h, "client", "db:8000"); got != "db" {
		t.Errorf("connected while stopped: %q", got)
	}
	h.J("rm", "-f", "client", "db")
	h.J("network", "rm", "back")
}

func TestNetworkModes(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	if got := h.J("run", "--rm", "--network", "none", "busybox", "ip", "-o", "link"); strings.Count(got, "\n") != 0 || !strings.Contains(got, "lo:") {
		t.Errorf("none has %q", got)
	}
	// host: the same namespace, by its identity.
	want := h.Sh("readlink /proc/self/ns/net")
	if got := h.J("run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net"); got != want {
		t.Errorf("host mode runs in %s, the host in %s", got, want)
	}
	// container: they talk over lo, and the joined one goes on when the owner restarts.
	serve(h, "owner")
	h.J("run", "-d", "--name", "peer", "--network", "container:owner", "busybox", "sleep", "1000")
	if got := get(h, "peer", "127.0.0.1:8000"); got != "owner" {
		t.Errorf("over lo: %q", got)
	}
	before := h.IP("owner", "bridge")
	h.J("restart", "-t", "0", "owner")
	if got := get(h, "peer", "127.0.0.1:8000"); got != "owner" {
		t.Errorf("after the owner's restart: %q", got)
	}
	if got := h.J("exec", "peer", "ip", "-o", "-4", "addr", "show", "eth0"); !strings.Contains(got, before+"/") {
		t.Errorf("the peer's eth0 after the restart: %s", got)
	}
	h.Fails(125, []string{"conflicting options: port publishing and the container type network mode"},
		"run", "--network", "container:owner", "-p", "80:80", "busybox", "true")
}

func TestInternalNetworkReachesNothingOutside(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	outside := host.Bare(t)
	host.Join(h, outside, "10.98.0.1/24", "10.98.0.2/24")
	background(outside, "probe serve outside tcp:9000")
	h.J("network", "create", "--internal", "closed")
	h.J("network", "create", "open")
	h.J("run", "-d", "--name", "in", "--network", "closed", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "out", "--network", "open", "busybox", "sleep", "1000")
	serve(h, "inside", "--network", "closed")
	// Ours passes through masquerade: the other machine knows no route to it.
	h.Eventually(5*time.Second, func() error {
		if got := ask(h, "out", "10.98.0.2:9000"); got != "outside 10.98.0.1" {
			return fmt.Errorf("outside, from an open network: %q", got)
		}
		return nil
	})
	if got := get(h, "in", "10.98.0.2:9000"); got != "" {
		t.Errorf("outside, from an internal network: %q", got)
	}
	if got := get(h, "in", "inside:8000"); got != "inside" {
		t.Errorf("inside an internal network: %q", got)
	}
}

func TestBadNetworks(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "--subnet", "10.5.0.0/29", "tiny")
	for _, c := range []struct {
		texts []string
		code  int
		args  []string
	}{
		{[]string{"network with name tiny already exists"}, 1, []string{"network", "create", "tiny"}},
		{[]string{"ool overlaps with other one on this address space"}, 1, []string{"network", "create", "--subnet", "10.5.0.0/16", "x"}},
		{[]string{"10.5.0.0/44"}, 1, []string{"network", "create", "--subnet", "10.5.0.0/44", "x"}},
		{[]string{"192.168.9.1"}, 1, []string{"network", "create", "--subnet", "10.6.0.0/24", "--gateway", "192.168.9.1", "x"}},
		{[]string{"network nowhere not found"}, 125, []string{"run", "--network", "nowhere", "busybox", "true"}},
		{[]string{"nowhere"}, 1, []string{"network", "rm", "nowhere"}},
		{[]string{"bridge is a pre-defined network and cannot be removed"}, 1, []string{"network", "rm", "bridge"}},
		{[]string{"10.9.9.9", "10.5.0.0/29"}, 125, []string{"run", "--network", "tiny", "--ip", "10.9.9.9", "busybox", "true"}},
		{[]string{"10.5.0.1"}, 125, []string{"run", "--network", "tiny", "--ip", "10.5.0.1", "busybox", "true"}},
		{[]string{"overlay"}, 1, []string{"network", "create", "-d", "overlay", "x"}},
		{[]string{"com.docker.network.bridge.nonsense"}, 1, []string{"network", "create", "-o", "com.docker.network.bridge.nonsense=1", "x"}},
	} {
		h.Fails(c.code, c.texts, c.args...)
	}
	// The pool of a /29 holds five containers beside its gateway; the sixth is told so.
	for i := range 5 {
		h.J("run", "-d", "--name", fmt.Sprint("c", i), "--network", "tiny", "busybox", "sleep", "1000")
	}
	h.Fails(125, []string{"no available IPv4 addresses on this network's address pools: tiny"}, "run", "-d", "--name", "c5", "--network", "tiny", "busybox", "sleep", "1000")
	h.Fails(125, []string{"ddress already in use"}, "run", "-d", "--name", "c5", "--network", "tiny", "--ip", "10.5.0.2", "busybox", "sleep", "1000")
	h.Fails(1, []string{"tiny", "active endpoints"}, "network", "rm", "tiny")
	if names := h.J("ps", "-a", "--format", "{{.Names}}"); strings.Contains(names, "c5") {
		t.Errorf("a refused container is there: %s", names)
	}
	h.J("rm", "-f", "c0")
	h.J("run", "-d", "--name", "c6", "--network", "tiny", "busybox", "sleep", "1000")
	if got := h.IP("c6", "tiny"); got != "10.5.0.2" {
		t.Errorf("the freed address was not given again: %s", got)
	}
}
