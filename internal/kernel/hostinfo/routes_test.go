//go:build linux

package hostinfo

import (
	"context"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/kernel/netns/nettest"
)

func TestRoutes(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		for _, line := range strings.Split(strings.TrimSpace(`
			link set lo up
			link add lan type veth peer name far
			link set far up
			addr add 192.168.7.5/24 dev lan
			addr add 2001:db8:7::5/64 dev lan nodad
			link set lan up
			route add default via 192.168.7.1
			route add 0.0.0.0/1 via 192.168.7.1
			route add 128.0.0.0/1 via 192.168.7.1
			route add 10.8.0.0/16 via 192.168.7.1
			route add 10.9.0.0/16 via 192.168.7.1 table 51820
			route add blackhole 10.10.0.0/16
			route add 10.11.0.0/16 nexthop via 192.168.7.1 nexthop via 192.168.7.2
			link add jackstay0 type bridge
			link set jackstay0 alias jackstay:0123
			addr add 172.17.0.1/16 dev jackstay0
			link set jackstay0 up
			link add docker0 type bridge
			addr add 172.18.0.1/16 dev docker0`), "\n") {
			if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %v: %s", strings.TrimSpace(line), err, out)
			}
		}
		h, err := New()
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		got, err := h.Routes(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var want []netip.Prefix
		for _, p := range strings.Fields("10.8.0.0/16 10.9.0.0/16 10.10.0.0/16 10.11.0.0/16 172.18.0.0/16 192.168.7.0/24 2001:db8:7::/64") {
			want = append(want, netip.MustParsePrefix(p))
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

func TestProbe(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		if err := Probe(); err != nil {
			t.Error(err)
		}
		out, err := exec.Command("ip", "-o", "link").CombinedOutput()
		if err != nil || strings.Contains(string(out), "probe") {
			t.Errorf("left behind: %v\n%s", err, out)
		}
	})
}
