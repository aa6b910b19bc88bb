//go:build linux

package link

import (
	"context"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
)

// Whatever somebody does to a bridge or a pair is noticed and made good, and
// traffic flows again.
func TestRepair(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b, s := build(t, h, 2)
		greeter(t, h, s[1], "tcp4")
		host, name := s[1].Interfaces[0].Host, b.Name
		for _, c := range []struct{ what, outer, inner string }{
			{what: "bridge deleted", outer: "link del " + name},
			{what: "bridge down", outer: "link set " + name + " down"},
			{what: "bridge's address deleted", outer: "addr flush dev " + name},
			{what: "bridge's address doubled", outer: "addr add 10.99.0.1/24 dev " + name},
			{what: "bridge's MAC changed", outer: "link set " + name + " address 02:00:00:00:00:99"},
			{what: "host end deleted", outer: "link del " + host},
			{what: "host end off the bridge", outer: "link set " + host + " nomaster"},
			{what: "host end down", outer: "link set " + host + " down"},
			{what: "host end has another name too", outer: "link property add dev " + host + " altname x"}, // harmless
			{what: "interface deleted", inner: "ip link del eth0"},
			{what: "interface down", inner: "ip link set eth0 down"},
			{what: "interface's address deleted", inner: "ip addr flush dev eth0"},
			{what: "interface's MAC changed", inner: "ip link set eth0 address 02:00:00:00:00:98"},
			{what: "default route deleted", inner: "ip route del default"},
		} {
			if c.outer != "" {
				ip(t, c.outer)
			} else {
				inside(t, h, s[1], c.inner)
			}
			if whole(t, h, b, s[1]) != (c.what == "host end has another name too") {
				t.Errorf("%s: not noticed", c.what)
			}
			must(t, h.EnsureBridge(ctx, b))
			for _, x := range s {
				must(t, h.EnsureSandbox(ctx, x))
			}
			if !whole(t, h, b, s[1]) {
				t.Errorf("%s: not repaired: %+v", c.what, observe(t, h))
			}
			reaches(t, h, s[0], s[1])
		}
	})
}

// whole tells whether an observer finds bridge and sandbox as wanted.
func whole(t *testing.T, h *Host, b *desired.Bridge, s *desired.Sandbox) bool {
	t.Helper()
	got := observe(t, h).Bridges[b.Name]
	got.MTU = b.MTU
	intact, err := h.ObserveSandbox(context.Background(), s)
	must(t, err)
	return got.Equal(b) && intact
}

// A crash can come between any two calls.
func TestHalfMade(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b := testBridge(1)
		s := []*desired.Sandbox{testSandbox(b, 1), testSandbox(b, 2)}
		ip(t, "link add "+b.Name+" type bridge") // no alias yet
		must(t, h.EnsureBridge(ctx, b))
		must(t, h.EnsureSandbox(ctx, s[1]))
		greeter(t, h, s[1], "tcp4")

		ip(t, "link add "+s[0].Interfaces[0].Host+" type veth peer name elsewhere") // nor here
		must(t, h.EnsureSandbox(ctx, s[0]))
		reaches(t, h, s[0], s[1])
		if links := ip(t, "link"); strings.Contains(links, "elsewhere") {
			t.Errorf("half a pair is left:\n%s", links)
		}

		// An interface of the wanted name that is connected elsewhere.
		must(t, h.DeleteHostEnd(ctx, s[0].Interfaces[0].Host))
		inside(t, h, s[0], "ip link add eth0 type veth peer name other")
		must(t, h.EnsureSandbox(ctx, s[0]))
		reaches(t, h, s[0], s[1])
	})
}

// What the container adds for itself, it keeps.
func TestTheContainersOwn(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b, list := build(t, h, 1)
		s := list[0]
		for _, line := range []string{
			"ip addr add 172.21.9.9/16 dev eth0",
			"ip link add own type veth peer name own2",
			"ip route add 10.77.0.0/16 via 172.21.0.1",
			"ip route replace default via 172.21.0.77",
			"ip link set own up",
		} {
			inside(t, h, s, line)
		}
		if ok, err := h.ObserveSandbox(ctx, s); err != nil || !ok {
			t.Errorf("intact: %v, %v", ok, err)
		}
		must(t, h.EnsureSandbox(ctx, s))
		all := inside(t, h, s, "ip addr") + inside(t, h, s, "ip route")
		for _, want := range []string{"172.21.9.9/16", "own2", "10.77.0.0/16 via 172.21.0.1", "default via 172.21.0.77"} {
			if !strings.Contains(all, want) {
				t.Errorf("%s is gone:\n%s", want, all)
			}
		}
		if strings.Contains(all, "default via "+b.Addrs[0].Addr().String()) {
			t.Errorf("two default routes:\n%s", all)
		}
	})
}

// A second network with the gateway: the route of ours before goes.
func TestARouteChanges(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		_, list := build(t, h, 1)
		other := testBridge(2)
		must(t, h.EnsureBridge(ctx, other))
		more := testSandbox(other, 7)
		s := *list[0]
		more.Interfaces[0].Name = "eth1"
		s.Interfaces = append(s.Interfaces, more.Interfaces...)
		s.Routes = []desired.Route{{Via: other.Addrs[0].Addr(), Dev: "eth1"}}
		if ok, err := h.ObserveSandbox(ctx, &s); err != nil || ok {
			t.Errorf("intact: %v, %v", ok, err)
		}
		must(t, h.EnsureSandbox(ctx, &s))
		if got := strings.TrimSpace(inside(t, h, &s, "ip route show default")); got != "default via 172.22.0.1 dev eth1 proto 74" {
			t.Errorf("default routes: %q", got)
		}
		must(t, h.DeleteHostEnd(ctx, more.Interfaces[0].Host))
		must(t, h.EnsureSandbox(ctx, list[0]))
		if got := strings.TrimSpace(inside(t, h, &s, "ip route show default")); got != "default via 172.21.0.1 dev eth0 proto 74" {
			t.Errorf("default routes: %q", got)
		}
	})
}
