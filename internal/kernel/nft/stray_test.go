package nft

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
)

// What may have begun without the rules ends when they are loaded, unless they
// would have let it begin.
func TestStrays(t *testing.T) {
	a := netip.MustParseAddr
	fw := desired.Firewall{
		Hairpin:    map[desired.HairpinKey]struct{}{{Bridge: "jk-a", Subnet: netip.MustParsePrefix("172.30.1.0/24")}: {}},
		Masquerade: map[netip.Prefix]struct{}{netip.MustParsePrefix("172.30.1.0/24"): {}},
		Pairs:      map[desired.Pair]struct{}{{From: a("172.30.1.2"), To: a("172.30.1.5")}: {}, {From: a("172.30.1.2"), To: a("172.30.1.6")}: {}},
		Flows:      map[desired.Flow]struct{}{{From: a("172.30.1.2"), To: a("172.30.1.4"), Proto: "udp", First: 50, Last: 60}: {}},
		Guarded:    map[netip.Addr]struct{}{a("172.30.1.6"): {}},
	}
	s, err := strays(fw)
	must(t, err)
	for _, c := range []struct {
		from, to, answers string // answers: what the other end sends to
		proto             uint8
		port              uint16
		want              bool
	}{
		{"172.30.1.2", "198.51.100.1", "172.30.1.2", unix.IPPROTO_TCP, 80, true}, // left untranslated
		{"172.30.1.2", "198.51.100.1", "192.0.2.1", unix.IPPROTO_TCP, 80, false}, // translated
		{"172.30.1.2", "127.0.0.1", "172.30.1.2", unix.IPPROTO_TCP, 80, false},   // the host's own
		{"198.51.100.1", "172.30.1.3", "198.51.100.1", unix.IPPROTO_UDP, 53, true},
		{"198.51.100.1", "172.30.1.3", "198.51.100.1", unix.IPPROTO_TCP, 53, false}, // judged by the packet
		{"172.30.1.2", "172.30.1.3", "172.30.1.2", unix.IPPROTO_UDP, 53, true},
		{"172.30.1.2", "172.30.1.4", "172.30.1.2", unix.IPPROTO_UDP, 53, false}, // open by a link
		{"172.30.1.2", "172.30.1.4", "172.30.1.2", unix.IPPROTO_UDP, 61, true},
		{"172.30.1.4", "172.30.1.2", "172.30.1.4", unix.IPPROTO_UDP, 53, true}, // not that way round
		{"172.30.1.2", "172.30.1.5", "172.30.1.2", unix.IPPROTO_UDP, 9, false},
		{"172.30.1.2", "172.30.1.6", "172.30.1.2", unix.IPPROTO_UDP, 9, true}, // its security group judges
	} {
		flow := &netlink.ConntrackFlow{
			Forward: netlink.IPTuple{SrcIP: a(c.from).AsSlice(), DstIP: a(c.to).AsSlice(), Protocol: c.proto, SrcPort: 40000, DstPort: c.port},
			Reverse: netlink.IPTuple{SrcIP: a(c.to).AsSlice(), DstIP: a(c.answers).AsSlice(), Protocol: c.proto, SrcPort: c.port, DstPort: 40000},
		}
		if got := s.has(flow); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
