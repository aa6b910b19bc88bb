//go:build linux

package link

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
)

// A bridge of the host's keeps its MAC, whoever comes and goes: neighbours that
// know it would lose the host.
func TestBridgeKeepsItsMAC(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		ip(t, "link add lanbr0 type bridge")
		ip(t, "link set lanbr0 up")
		mac := func() string {
			t.Helper()
			_, rest, _ := strings.Cut(ip(t, "-o link show lanbr0"), "link/ether ")
			got, _, _ := strings.Cut(rest, " ")
			return got
		}
		check := func(when, before string) {
			t.Helper()
			if got := mac(); got != before {
				t.Errorf("%s: the bridge has the MAC %s, and had %s", when, got, before)
			}
		}
		s := &desired.Sandbox{Container: id("c0de", 1)}
		empty := mac()
		for n := 1; n <= 12; n++ {
			s.Interfaces = append(s.Interfaces, desired.Interface{
				Endpoint: fmt.Sprintf("%012x%052x", n, 1), Host: fmt.Sprintf("jv%012x", n), Name: fmt.Sprintf("eth%d", n), Bridge: "lanbr0",
			})
			must(t, h.EnsureSandbox(ctx, s))
			check(fmt.Sprintf("%d NICs on an empty bridge", n), empty)
		}
		intact(t, h, s, true)
		must(t, h.DeleteNamespace(ctx, s.Container))
		for _, i := range s.Interfaces {
			must(t, h.DeleteHostEnd(ctx, i.Host))
		}

		ip(t, "link add real0 address 02:42:00:00:00:99 type veth peer name real1")
		ip(t, "link set real0 master lanbr0")
		check("a port of the host's", "02:42:00:00:00:99")
		must(t, h.EnsureSandbox(ctx, s))
		check("NICs beside it", "02:42:00:00:00:99")
		must(t, h.DeleteNamespace(ctx, s.Container))
		for _, i := range s.Interfaces {
			must(t, h.DeleteHostEnd(ctx, i.Host))
		}
		check("NICs gone", "02:42:00:00:00:99")
	})
}
