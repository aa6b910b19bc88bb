//go:build linux

package link

import (
	"net/netip"
	"strings"
	"testing"
)

// A container may turn IPv6 on for itself or write frames of its own. The host
// must not answer it past the plan, nor take a router advertisement from it.
func TestHostSpeaksNoUnplannedIPv6(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		b, s := build(t, h, 1)
		must(t, setSysctl("net/ipv6/conf/"+b.Name+"/accept_ra", "1")) // somebody did
		must(t, setSysctl("net/ipv6/conf/"+b.Name+"/disable_ipv6", "0"))
		must(t, h.EnsureBridge(t.Context(), b))
		for setting, want := range map[string]string{"accept_ra": "0", "disable_ipv6": "1"} {
			if have, err := getSysctl("net/ipv6/conf/" + b.Name + "/" + setting); err != nil || have != want {
				t.Errorf("%s of a bridge without IPv6: %q, %v, want %s", setting, have, err, want)
			}
		}
		if out := ip(t, "-6 addr show dev "+b.Name); strings.Contains(out, "inet6") {
			t.Errorf("the host is reached past the plan:\n%s", out)
		}
		if out := ip(t, "-6 addr show dev "+s[0].Interfaces[0].Host); strings.Contains(out, "inet6") {
			t.Errorf("the host is reached past the bridge:\n%s", out)
		}

		planned := *b
		planned.Addrs = append(planned.Addrs, netip.MustParsePrefix("fd00:1::1/64"))
		must(t, h.EnsureBridge(t.Context(), &planned))
		if out := ip(t, "-6 addr show dev "+b.Name); !strings.Contains(out, "fd00:1::1/64") {
			t.Errorf("a planned IPv6 address is not there:\n%s", out)
		}
		if have, _ := getSysctl("net/ipv6/conf/" + b.Name + "/accept_ra"); have != "0" {
			t.Errorf("accept_ra of a bridge with IPv6: %s", have)
		}
	})
}
