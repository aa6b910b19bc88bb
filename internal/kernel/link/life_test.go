//go:build linux

package link

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
)

func TestLife(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b, s := build(t, h, 2)
		greeter(t, h, s[1], "tcp4")
		reaches(t, h, s[0], s[1])
		seen := observe(t, h)
		if len(seen.Namespaces) != 2 || len(seen.HostEnds) != 2 || len(seen.Bridges) != 1 {
			t.Errorf("observed %+v", seen)
		}
		if got := seen.Bridges[b.Name]; got.MTU != 1500 {
			t.Errorf("bridge %+v", got)
		} else if got.MTU = 0; !got.Equal(b) {
			t.Errorf("bridge %+v, want %+v", got, b)
		}
		i := s[0].Interfaces[0]
		if got, want := seen.HostEnds[i.Host], (desired.HostEnd{Endpoint: i.Endpoint, Bridge: b.Name, Up: true}); got != want {
			t.Errorf("host end %+v, want %+v", got, want)
		}

		for range 2 { // deleting what is absent succeeds
			for _, x := range s {
				must(t, h.DeleteHostEnd(ctx, x.Interfaces[0].Host))
				must(t, h.DeleteNamespace(ctx, x.Container))
			}
			must(t, h.DeleteBridge(ctx, b.Name))
		}
		if seen = observe(t, h); len(seen.Namespaces)+len(seen.HostEnds)+len(seen.Bridges) != 0 {
			t.Errorf("left behind %+v", seen)
		}
		if left := ip(t, "-o link"); strings.Contains(left, "jk-") || strings.Contains(left, "jv0") {
			t.Errorf("left behind:\n%s", left)
		}
		if _, err := os.Stat(h.dir.Path(s[0].Container)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("left behind: %v", err)
		}
	})
}

func observe(t *testing.T, h *Host) desired.Observed {
	t.Helper()
	seen, err := h.Observe(context.Background())
	must(t, err)
	return seen
}

// The namespace's end alone takes the pair away.
func TestDeletingTheNamespaceEndsThePair(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		_, s := build(t, h, 1)
		must(t, h.DeleteNamespace(context.Background(), s[0].Container))
		for range 100 {
			if len(observe(t, h).HostEnds) == 0 {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Error("the host end is still there after two seconds")
	})
}

// A restart at once: the pair of the namespace before may still be there.
func TestMadeAgainAtOnce(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		_, s := build(t, h, 2)
		greeter(t, h, s[1], "tcp4")
		for range 5 {
			must(t, h.DeleteNamespace(ctx, s[0].Container))
			must(t, h.EnsureSandbox(ctx, s[0]))
			if said, err := ask(h, s[0], addrOf(s[1])); err != nil || said != s[1].Container {
				t.Fatalf("%q, %v", said, err)
			}
		}
	})
}

// The second call must change nothing.
func TestIdempotence(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b, s := build(t, h, 1)
		time.Sleep(100 * time.Millisecond) // carrier and neighbours settle
		moving := regexp.MustCompile(`timer +[0-9.]+| tentative`)
		dump := func() string {
			all := ip(t, "-d link") + ip(t, "addr") + ip(t, "route show table all") +
				inside(t, h, s[0], "ip -d link") + inside(t, h, s[0], "ip addr") + inside(t, h, s[0], "ip route show table all")
			return moving.ReplaceAllString(all, "")
		}
		before := dump()
		for range 2 {
			must(t, h.EnsureBridge(ctx, b))
			_, err := h.EnsureNamespace(ctx, s[0].Container)
			must(t, err)
			must(t, h.EnsureSandbox(ctx, s[0]))
		}
		if after := dump(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	})
}

func TestIPv6(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b := testBridge(1)
		b.Addrs = append(b.Addrs, netip.MustParsePrefix("fd00:1::1/64"))
		must(t, h.EnsureBridge(ctx, b))
		six := func(n int, addr string) *desired.Sandbox {
			s := testSandbox(b, n)
			s.Interfaces[0].Addrs = append(s.Interfaces[0].Addrs, netip.MustParsePrefix(addr))
			s.Routes = append(s.Routes, desired.Route{Via: netip.MustParseAddr("fd00:1::1"), Dev: "eth0"})
			return s
		}
		x, y, four := six(1, "fd00:1::2/64"), six(2, "fd00:1::3/64"), testSandbox(b, 3)
		for _, s := range []*desired.Sandbox{x, y, four} {
			must(t, h.EnsureSandbox(ctx, s))
			if ok, err := h.ObserveSandbox(ctx, s); err != nil || !ok {
				t.Errorf("intact: %v, %v", ok, err)
			}
		}
		greeter(t, h, y, "tcp6")
		for _, from := range []*desired.Sandbox{nil, x} { // at once: no address is tentative
			if said, err := ask(h, from, "fd00:1::3"); err != nil || said != y.Container {
				t.Errorf("%q, %v", said, err)
			}
		}
		if got := inside(t, h, four, "ip -6 addr show dev eth0"); got != "" {
			t.Errorf("IPv6 without an IPv6 address:\n%s", got)
		}
		if got := inside(t, h, x, "ip -6 route show default"); !strings.Contains(got, "via fd00:1::1") {
			t.Errorf("default route: %q", got)
		}
		if got := ip(t, "-6 addr show dev "+x.Interfaces[0].Host); got != "" {
			t.Errorf("a host end has addresses:\n%s", got)
		}
		must(t, h.EnsureSandbox(ctx, x))
	})
}

// A neighbour that knew the address elsewhere learns at once.
func TestAMovedAddressIsAnnounced(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		b, _ := build(t, h, 0)
		s := testSandbox(b, 1)
		ip(t, "neigh replace "+addrOf(s)+" lladdr 02:42:ff:ff:ff:ff nud stale dev "+b.Name)
		must(t, h.EnsureSandbox(context.Background(), s))
		var got string
		for range 50 {
			if got = ip(t, "neigh show dev "+b.Name); strings.Contains(got, s.Interfaces[0].MAC) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("the host still knows %s", got)
	})
}
