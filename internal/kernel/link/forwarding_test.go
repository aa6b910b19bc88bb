//go:build linux

package link

import (
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
			if !signalled(c, time.Second) {
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
