//go:build linux

package link

import (
	"context"
	"sync"
	"testing"
	"time"
)

// quietTime is long enough for a signal that is wrongly given to arrive.
const quietTime = 10 * settleTime

func signalled(c <-chan struct{}, within time.Duration) bool {
	select {
	case <-c:
		return true
	case <-time.After(within):
		return false
	}
}

// A signal about ourselves costs a look at the host and nothing else, and a
// busy machine may cause one: it must not be the rule.
func TestWatchIsSilentAboutOurOwnChanges(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		var heard string
		for range 3 {
			if heard = heardOfOurs(t, h); heard == "" {
				return
			}
		}
		t.Error(heard)
	})
}

// heardOfOurs changes all kinds of things and says what was signalled.
func heardOfOurs(t *testing.T, h *Host) string {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := h.Watch(ctx)
	must(t, err)
	b, s := build(t, h, 5)
	must(t, h.DeleteHostEnd(ctx, s[0].Interfaces[0].Host))
	must(t, h.DeleteNamespace(ctx, s[0].Container))
	must(t, h.DeleteNamespace(ctx, s[1].Container)) // its host end goes later
	changed := *b
	changed.MAC, changed.MTU = "02:42:00:00:00:77", 1400
	must(t, h.EnsureBridge(ctx, &changed))
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() { _ = h.EnsureSandbox(ctx, testSandbox(b, 100+n)) })
	}
	wg.Wait()
	if signalled(c, 500*time.Millisecond) {
		return "signalled while only we changed things"
	}
	must(t, h.DeleteBridge(ctx, b.Name))
	must(t, h.EnsureBridge(ctx, b))
	must(t, h.EnsureSandbox(ctx, s[2]))
	if signalled(c, quietTime) {
		return "signalled for our own deleting of a bridge"
	}
	return ""
}

func TestWatchSignalsOthersChanges(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		c, err := h.Watch(ctx)
		must(t, err)
		b, s := build(t, h, 2)
		host := s[0].Interfaces[0].Host
		for range 5 { // what making them leaves to be told, on a busy machine
			if !signalled(c, quietTime) {
				break
			}
			observe(t, h)
		}
		for _, x := range []struct {
			what, outer, inner string
			want               bool
		}{
			{"foreign bridge made", "link add br0 type bridge", "", false},
			{"foreign address", "addr add 10.50.0.1/24 dev br0", "", false},
			{"foreign bridge deleted", "link del br0", "", false},
			{"host end down", "link set " + host + " down", "", true},
			{"host end off the bridge", "link set " + host + " nomaster", "", true},
			{"host end's alias", "link set " + host + " alias mine", "", true},
			{"host end deleted", "link del " + host, "", true},
			{"interface deleted inside", "", "ip link del eth0", true},
			{"bridge down", "link set " + b.Name + " down", "", true},
			{"bridge's address deleted", "addr flush dev " + b.Name, "", true},
			{"bridge's MAC", "link set " + b.Name + " address 02:00:00:00:00:99", "", true},
			{"bridge renamed", "link set " + b.Name + " down name mine0", "", true},
			{"bridge deleted", "link del " + b.Name, "", true},
		} {
			if x.outer != "" {
				ip(t, x.outer)
			} else {
				inside(t, h, s[0], x.inner)
			}
			start := time.Now()
			if got := signalled(c, map[bool]time.Duration{true: 10 * time.Second, false: quietTime}[x.want]); got != x.want {
				t.Errorf("%s: signalled %v, want %v", x.what, got, x.want)
			} else if got {
				t.Logf("%s: after %v", x.what, time.Since(start))
			}
			if x.what == "bridge renamed" {
				ip(t, "link del mine0")
			}
			if x.what == "host end's alias" {
				ip(t, "link set "+host+" alias "+Alias+s[0].Interfaces[0].Endpoint)
			}
			repair := func() {
				observe(t, h)
				must(t, h.EnsureBridge(ctx, b))
				for _, y := range s {
					must(t, h.EnsureSandbox(ctx, y))
				}
			}
			repair()
			for signalled(c, quietTime) { // what one event has many messages of
				repair()
			}
		}
	})
}

// After a restart of the daemon nothing was made by us, only seen.
func TestWatchKnowsWhatWasObserved(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		_, s := build(t, h, 1)
		again := &Host{log: h.log, nl: h.nl, slow: h.slow, wire: h.wire, dir: h.dir, known: newLedger()}
		c, err := again.Watch(t.Context())
		must(t, err)
		observe(t, again)
		if signalled(c, quietTime) {
			t.Error("signalled for nothing")
		}
		ip(t, "link del "+s[0].Interfaces[0].Host)
		if !signalled(c, 10*time.Second) {
			t.Error("not signalled")
		}
	})
}
