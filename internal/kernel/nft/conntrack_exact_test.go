//go:build linux

package nft

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/kernel/netns/nettest"
)

// track enters a flow for every choice of addresses, UDP and TCP in turns.
func track(t *testing.T, family netlink.InetFamily, addrs []netip.Addr) {
	t.Helper()
	port := uint16(1000)
	for _, src := range addrs {
		for _, dst := range addrs {
			for _, replySrc := range addrs {
				for _, replyDst := range addrs {
					port++
					f := &netlink.ConntrackFlow{FamilyType: uint8(family), TimeOut: 600}
					f.Forward = netlink.IPTuple{Protocol: unix.IPPROTO_UDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice(), SrcPort: port, DstPort: 53}
					f.Reverse = netlink.IPTuple{Protocol: unix.IPPROTO_UDP, SrcIP: replySrc.AsSlice(), DstIP: replyDst.AsSlice(), SrcPort: 53, DstPort: port}
					if err := netlink.ConntrackCreate(netlink.ConntrackTable, family, f); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
}

// flowWords lists the tracked flows, in order.
func flowWords(t *testing.T, keep func(*netlink.ConntrackFlow) bool) []string {
	t.Helper()
	var out []string
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
		must(t, err)
		for _, f := range flows {
			if keep(f) {
				out = append(out, fmt.Sprint(f.Forward.SrcIP, f.Forward.DstIP, f.Reverse.SrcIP, f.Reverse.DstIP, f.Forward.SrcPort))
			}
		}
	}
	slices.Sort(out)
	return out
}

// What the kernel deletes by filters is what a look at each flow would have
// found: with every combination of addresses there can be.
func TestEndExactly(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, family := range []struct {
		number               netlink.InetFamily
		fip, other, in1, in2 string
	}{{unix.AF_INET, "192.0.2.17", "192.0.2.18", "172.30.1.2", "172.30.1.3"}, {unix.AF_INET6, "2001:db8::17", "2001:db8::18", "fd00::2", "fd00::3"}} {
		at := func(fip, inside string) desired.Firewall {
			return desired.Firewall{FIPIn: addrs(fip, inside), FIPOut: addrs(inside, fip)}
		}
		all := []netip.Addr{}
		for _, a := range []string{family.fip, family.other, family.in1, family.in2} {
			all = append(all, netip.MustParseAddr(a))
		}
		none := desired.Firewall{}
		for what, e := range map[string]ending{
			"attach": changes(none, at(family.fip, family.in1), at(family.fip, family.in1)),
			"detach": changes(at(family.fip, family.in1), none, none),
			"move":   changes(at(family.fip, family.in1), at(family.fip, family.in2), at(family.fip, family.in2)),
		} {
			must(t, netlink.ConntrackTableFlush(netlink.ConntrackTable))
			track(t, family.number, all)
			before := flowWords(t, func(*netlink.ConntrackFlow) bool { return true })
			want := flowWords(t, func(f *netlink.ConntrackFlow) bool { return !e.MatchConntrackFlow(f) })
			if len(want) == len(before) {
				t.Fatalf("%s: nothing to end", what)
			}
			switch exactly := new(filtered).end(e); {
			case exactly && family.number == unix.AF_INET6:
				t.Fatal("by filters, which IPv6 has not")
			case !exactly && family.number == unix.AF_INET && nettest.KernelAtLeast(t, 6, 9):
				t.Fatalf("%s: not by filters, which this kernel has", what)
			case !exactly:
				must(t, endFlows(e, e.families()))
			}
			if got := flowWords(t, func(*netlink.ConntrackFlow) bool { return true }); !slices.Equal(got, want) {
				t.Errorf("%s of IPv%d: %d flows are left of %d, want %d", what, map[netlink.InetFamily]int{unix.AF_INET: 4, unix.AF_INET6: 6}[family.number], len(got), len(before), len(want))
			}
		}
	}
}

// What two addresses do not tell is left to a look at each flow.
func TestNotExact(t *testing.T) {
	fip, inside := netip.MustParseAddr("192.0.2.17"), netip.MustParseAddr("172.30.1.2")
	many := map[netip.Addr]netip.Addr{}
	for a := fip; len(many) <= exactLimit; a = a.Next() {
		many[a] = inside
	}
	one := map[netip.Addr]netip.Addr{fip: inside}
	for what, e := range map[string]ending{
		"too many":  {in: many},
		"finishing": {in: one, finishing: one},
		"a port":    {in: one, closedPorts: map[desired.Claim]struct{}{{IP: fip, Proto: "tcp", Port: 80}: {}}},
		"only":      {only: map[netip.Addr]struct{}{fip: {}}},
		"published": {dropped: map[published][]desired.Target{{}: nil}},
	} {
		if _, ok := e.exact(); ok {
			t.Errorf("%s is told by addresses", what)
		}
	}
	if f, ok := (ending{in: one}).exact(); !ok || len(f) != 1 {
		t.Errorf("a detach: %v, %t", f, ok)
	}
}
