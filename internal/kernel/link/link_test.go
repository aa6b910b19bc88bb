//go:build linux

package link

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/kernel/netns/nettest"
)

// on runs a test on a machine of its own with a Host.
func on(t *testing.T, fn func(t *testing.T, h *Host)) {
	nettest.Run(t, func(t *testing.T) {
		h, err := New(t.TempDir(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			names, _ := h.dir.List()
			for _, n := range names {
				_ = h.dir.Delete(n)
			}
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
		fn(t, h)
	})
}

func id(prefix string, n int) string { return fmt.Sprintf("%s%060x", prefix, n) }

func testBridge(n int) *desired.Bridge {
	return &desired.Bridge{
		Name: fmt.Sprintf("jk-%012x", n), Network: fmt.Sprintf("%012x%052d", n, 0),
		MAC:   fmt.Sprintf("02:42:00:00:01:%02x", n),
		Addrs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("172.%d.0.1/16", 20+n))}, RouteLocalnet: true,
	}
}

// testSandbox is the nth container of bridge b.
func testSandbox(b *desired.Bridge, n int) *desired.Sandbox {
	gw := b.Addrs[0].Addr()
	a := gw.As4()
	a[2], a[3] = byte((n+1)>>8), byte(n+1)
	return &desired.Sandbox{
		Container: id("c0de", n),
		Interfaces: []desired.Interface{{
			Endpoint: fmt.Sprintf("%012x%052x", n, 1), Host: fmt.Sprintf("jv%012x", n), Name: "eth0", Bridge: b.Name,
			MAC: fmt.Sprintf("02:42:01:%02x:%02x:%02x", n>>16, n>>8&255, n&255), Addrs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(a), 16)},
		}},
		Routes: []desired.Route{{Via: gw, Dev: "eth0"}},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestManySandboxes logs what a sandbox costs; the numbers are the machine's,
// so none is asserted.
func TestManySandboxes(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b := testBridge(1)
		must(t, h.EnsureBridge(ctx, b))
		const count = 200
		var ns, sb [count]time.Duration
		for n := range count {
			start := time.Now()
			_, err := h.EnsureNamespace(ctx, testSandbox(b, n+1).Container)
			must(t, err)
			ns[n] = time.Since(start)
			start = time.Now()
			must(t, h.EnsureSandbox(ctx, testSandbox(b, n+1)))
			sb[n] = time.Since(start)
		}
		mean := func(d []time.Duration) (s time.Duration) {
			for _, x := range d {
				s += x
			}
			return s / time.Duration(len(d))
		}
		t.Logf("namespace: first %v, mean of 1-20 %v, of 181-200 %v", ns[0], mean(ns[:20]), mean(ns[180:]))
		t.Logf("sandbox:   first %v, mean of 1-20 %v, of 181-200 %v", sb[0], mean(sb[:20]), mean(sb[180:]))
		start := time.Now()
		_, err := h.Observe(ctx)
		must(t, err)
		t.Logf("observe 200: %v", time.Since(start))
		start = time.Now()
		for n := range count {
			ok, err := h.ObserveSandbox(ctx, testSandbox(b, n+1))
			must(t, err)
			if !ok {
				t.Fatalf("sandbox %d is not intact", n)
			}
		}
		t.Logf("observe one sandbox: %v", time.Since(start)/count)
		start = time.Now()
		for n := range count {
			must(t, h.EnsureSandbox(ctx, testSandbox(b, n+1)))
		}
		t.Logf("ensure an intact one: %v", time.Since(start)/count)
		start = time.Now()
		for n := range count {
			must(t, h.DeleteHostEnd(ctx, testSandbox(b, n+1).Interfaces[0].Host))
		}
		t.Logf("delete a host end: %v", time.Since(start)/count)
		start = time.Now()
		for n := range count {
			must(t, h.DeleteNamespace(ctx, testSandbox(b, n+1).Container))
		}
		t.Logf("delete a namespace: %v", time.Since(start)/count)
		must(t, h.DeleteBridge(ctx, b.Name))
		o, err := h.Observe(ctx)
		must(t, err)
		if len(o.Bridges)+len(o.HostEnds)+len(o.Namespaces) != 0 {
			t.Errorf("left behind: %+v", o)
		}
	})
}
