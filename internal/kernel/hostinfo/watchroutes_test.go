//go:build linux

package hostinfo

import (
	"context"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/kernel/netns/nettest"
)

// What matters is signalled, and nothing else; a link that goes takes its
// routes along without a word on each.
func TestWatchRoutes(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		ip := func(line string) {
			t.Helper()
			if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %v: %s", line, err, out)
			}
		}
		ip("link set lo up")
		ip("link add lan type veth peer name far")
		ip("link set far up")
		ip("link set lan up")
		h, err := New()
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		subnet := netip.MustParsePrefix("10.9.0.0/16")
		signal, err := h.WatchRoutes(ctx, func(p netip.Prefix) bool { return !p.IsValid() || p.Overlaps(subnet) })
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			line  string
			heard bool
		}{
			{"addr add 192.168.7.5/24 dev lan", false},
			{"route add default dev lan", false},
			{"route add 10.8.0.0/16 dev lan", false},
			{"route add 10.0.0.0/8 dev lan", true},
			{"route add 10.9.3.0/24 dev lan table 77", true},
			{"route del 10.9.3.0/24 dev lan table 77", true},
			{"route add unreachable 10.9.4.1", true},
			{"addr add 10.9.5.5/32 dev lan", true},
			{"addr del 10.9.5.5/32 dev lan", true},
			{"route add 2001:db8::/64 dev lan", false},
			{"link set lan down", true},
			{"link del lan", true},
		} {
			ip(step.line)
			heard := false
			select {
			case <-signal:
				heard = true
			case <-time.After(map[bool]time.Duration{true: 10 * time.Second, false: 100 * time.Millisecond}[step.heard]):
			}
			if heard != step.heard {
				t.Errorf("ip %s: signalled %t", step.line, heard)
			}
			time.Sleep(20 * time.Millisecond) // all of its messages
			select {
			case <-signal:
			default:
			}
		}
		devices, err := h.RouteDevices(ctx)
		if err != nil || len(devices) != 1 || devices[netip.MustParsePrefix("10.9.4.1/32")] == "lan" {
			t.Errorf("left: %v, %v", devices, err)
		}
	})
}
