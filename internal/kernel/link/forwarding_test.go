//go:build linux

package link

import (
	"net/netip"
	"testing"
	"time"
)

// Somebody may turn forwarding off, for the host or for one bridge: nothing
// published is reached then, so it is noticed at once and made good.
func TestForwardingTurnedOff(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		c, err := h.Watch(t.Context())
		must(t, err)
		b, s := build(t, h, 1)
		must(t, h.EnsureBridge(t.Context(), b))
		if signalled(c, quietTime) {
			t.Error("signalled for our own turning it on")
		}
		must(t, setSysctl("net/ipv4/conf/lo/forwarding", "0"))
		if signalled(c, quietTime) {
			t.Error("signalled for an interface that is not ours")
		}
		for _, path := range []string{"net/ipv4/ip_forward", "net/ipv4/conf/" + b.Name + "/forwarding"} {
			must(t, setSysctl(path, "0"))
			if !signalled(c, 10*time.Second) {
				t.Errorf("%s: not signalled", path)
			}
			if whole(t, h, b, s[0]) {
				t.Errorf("%s: not observed", path)
			}
			must(t, h.EnsureBridge(t.Context(), b))
			if have, _ := getSysctl(path); have != "1" || !whole(t, h, b, s[0]) {
				t.Errorf("%s: not repaired: %s", path, have)
			}
			for signalled(c, quietTime) {
				observe(t, h)
			}
		}
	})
}

// The same for IPv6, where only the host's own setting counts, and only to
// bridges that have IPv6.
func TestForwardingIPv6TurnedOff(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		c, err := h.Watch(t.Context())
		must(t, err)
		four := testBridge(2)
		must(t, h.EnsureBridge(t.Context(), four))
		b := testBridge(1)
		b.Addrs = append(b.Addrs, netip.MustParsePrefix("fd00:1::1/64"))
		must(t, h.EnsureBridge(t.Context(), b))
		for signalled(c, quietTime) {
			observe(t, h)
		}
		must(t, setSysctl(forwarding6, "0"))
		if !signalled(c, 10*time.Second) {
			t.Error("not signalled")
		}
		seen := observe(t, h).Bridges
		if len(seen[b.Name].Addrs) != 0 || len(seen[four.Name].Addrs) != 1 {
			t.Errorf("observed %+v", seen)
		}
		must(t, h.EnsureBridge(t.Context(), b))
		if have, _ := getSysctl(forwarding6); have != "1" || len(observe(t, h).Bridges[b.Name].Addrs) != 2 {
			t.Errorf("not repaired: %s", have)
		}
	})
}
