//go:build linux

package link

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
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

// routerAdvertisement is one from fe80::1, for half an hour (RFC 4861 section 4.2).
func routerAdvertisement() []byte {
	src, dst := netip.MustParseAddr("fe80::1").As16(), netip.IPv6LinkLocalAllNodes().As16()
	msg := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
	pseudo := append(slices.Concat(src[:], dst[:]), 0, 0, 0, byte(len(msg)), 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(msg[2:], checksum(pseudo, msg))
	return slices.Concat([]byte{6 << 4, 0, 0, 0, 0, byte(len(msg)), unix.IPPROTO_ICMPV6, 255}, src[:], dst[:], msg)
}

// advertise sends one out of a link.
func advertise(t *testing.T, dev string) {
	t.Helper()
	l, err := netlink.LinkByName(dev)
	must(t, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, send(announcement{fd, l.Attrs().Index, []frame{{unix.ETH_P_IPV6, [6]byte{0x33, 0x33, 0, 0, 0, 1}, routerAdvertisement()}}}))
}

// The first IPv6 network makes the host a router. It keeps the default route
// that it learned, goes on learning, and starts to learn nowhere.
func TestForwardingIPv6KeepsLearnedRoutes(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		must(t, setSysctl("net/ipv6/conf/default/accept_dad", "0"))
		for _, dev := range []string{"lan0", "off0"} {
			ip(t, "link add "+dev+" type veth peer name p"+dev)
			must(t, setSysctl("net/ipv6/conf/p"+dev+"/accept_ra", "0"))
			ip(t, "link set "+dev+" up")
			ip(t, "link set p"+dev+" up")
		}
		must(t, setSysctl("net/ipv6/conf/off0/accept_ra", "0")) // the administrator's
		learned := func() string { return ip(t, "-6 route show default") }
		wait := func(what string, ok func() bool) {
			t.Helper()
			for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%s: %q", what, learned())
				}
				advertise(t, "plan0")
				advertise(t, "poff0")
			}
		}
		wait("no default route learned", func() bool { return strings.Contains(learned(), "dev lan0") })

		b := testBridge(1)
		must(t, h.EnsureBridge(ctx, b))
		if v, _ := getSysctl(forwarding6); v != "0" {
			t.Errorf("the host forwards IPv6 with no network that has it")
		}
		b.Addrs = append(b.Addrs, netip.MustParsePrefix("fd00:1::1/64"))
		must(t, h.EnsureBridge(ctx, b))
		if v, _ := getSysctl(forwarding6); v != "1" {
			t.Errorf("the host does not forward IPv6")
		}
		if !strings.Contains(learned(), "dev lan0") {
			t.Errorf("the default route is forgotten: %q", learned())
		}
		ip(t, "-6 route del default dev lan0")
		wait("no default route learned any more", func() bool { return strings.Contains(learned(), "dev lan0") })
		if strings.Contains(learned(), "off0") {
			t.Errorf("a route learned where nobody wanted that: %q", learned())
		}
		for dev, want := range map[string]string{"lan0": "2", "off0": "0", "default": "2", b.Name: "0"} {
			if have, _ := getSysctl("net/ipv6/conf/" + dev + "/accept_ra"); have != want {
				t.Errorf("accept_ra of %s: %s, want %s", dev, have, want)
			}
		}
	})
}

// What comes from elsewhere reaches a container whose network has just been made.
func TestForwardedIPv6AtOnce(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		var list []*desired.Sandbox
		for n, net := range []string{"fd00:1::", "fd00:2::"} {
			b := testBridge(n + 1)
			b.Addrs = append(b.Addrs, netip.MustParsePrefix(net+"1/64"))
			must(t, h.EnsureBridge(ctx, b))
			s := testSandbox(b, n+1)
			s.Interfaces[0].Addrs = append(s.Interfaces[0].Addrs, netip.MustParsePrefix(net+"2/64"))
			s.Routes = append(s.Routes, desired.Route{Via: netip.MustParseAddr(net + "1"), Dev: "eth0"})
			must(t, h.EnsureSandbox(ctx, s))
			list = append(list, s)
		}
		greeter(t, h, list[1], "tcp6")
		for n, s := range list { // else it takes a second until the host asks for a neighbour
			have, _ := getSysctl("net/ipv6/conf/" + testBridge(n+1).Name + "/accept_dad")
			if in := strings.TrimSpace(inside(t, h, s, "cat /proc/sys/net/ipv6/conf/eth0/accept_dad")); have != "0" || in != "0" {
				t.Errorf("addresses are tried out for a second: accept_dad %s on the bridge, %s inside", have, in)
			}
		}
		if said, err := ask(h, list[0], "fd00:2::2"); err != nil || said != list[1].Container {
			t.Errorf("%q, %v", said, err)
		}
	})
}
