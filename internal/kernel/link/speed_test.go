//go:build linux

package link

import (
	"context"
	"sync"
	"testing"
	"time"
)

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

func TestFiftyAtOnce(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		b, _ := build(t, h, 0)
		var wg sync.WaitGroup
		start := time.Now()
		for n := range 50 {
			wg.Go(func() {
				if err := h.EnsureSandbox(context.Background(), testSandbox(b, n+1)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		t.Logf("50 sandboxes with their namespaces at once: %v", time.Since(start))
		greeter(t, h, testSandbox(b, 50), "tcp4")
		reaches(t, h, testSandbox(b, 1), testSandbox(b, 50))
		start = time.Now()
		for n := range 50 {
			wg.Go(func() {
				if err := h.DeleteHostEnd(context.Background(), testSandbox(b, n+1).Interfaces[0].Host); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		t.Logf("50 host ends deleted at once: %v", time.Since(start))
	})
}
