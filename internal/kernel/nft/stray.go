package nft

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
)

// stray tells the flows that may have begun while the rules were not there, and
// would stay as they began: a flow keeps the translation of its first packet,
// none, and its answers pass.
//
//   - What a container sent elsewhere without being translated, though its network
//     or its floating IP says so.
//   - What is no TCP, and was led to a container without a port that is published:
//     the rules judge the first direction of a flow packet by packet, but a UDP
//     server may go on answering who may not ask it. (What TCP sends is judged
//     with each acknowledgement.) What may be opened that way stays: it is as the
//     rules would have it.
//
// A flow that is ended though it had begun before begins again with the next
// packet of who may open it.
type stray struct {
	nets  []netip.Prefix // of our networks
	masq  []netip.Prefix // those that leave with the host's address
	out   map[netip.Addr]netip.Addr
	local map[netip.Addr]struct{} // the host's addresses
	// open is what one container may open on another that has no security group.
	open map[desired.Pair][]desired.Flow
}

func strays(fw desired.Firewall) (stray, error) {
	s := stray{out: fw.FIPOut, local: map[netip.Addr]struct{}{}}
	s.open = map[desired.Pair][]desired.Flow{}
	for _, f := range judged(fw) {
		if _, guarded := fw.Guarded[f.To]; !guarded {
			p := desired.Pair{From: f.From, To: f.To}
			s.open[p] = append(s.open[p], f)
		}
	}
	for k := range fw.Hairpin {
		s.nets = append(s.nets, k.Subnet)
	}
	for p := range fw.Masquerade {
		s.masq = append(s.masq, p)
	}
	if !s.any() {
		return s, nil
	}
	var addrs []netlink.Addr
	var err error
	for range flowTries {
		if addrs, err = netlink.AddrList(nil, netlink.FAMILY_ALL); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return s, err
	}
	for _, a := range addrs {
		s.local[addrOf(a.IP)] = struct{}{}
	}
	return s, nil
}

// any tells whether there may be some.
func (s stray) any() bool { return len(s.nets)+len(s.masq)+len(s.out) > 0 }

// ours tells whether an address is in one of our networks.
func (s stray) ours(a netip.Addr) bool { return within(s.nets, a) || within(s.masq, a) }

func within(nets []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (s stray) has(flow *netlink.ConntrackFlow) bool {
	from, to := addrOf(flow.Forward.SrcIP), addrOf(flow.Forward.DstIP)
	if from != addrOf(flow.Reverse.DstIP) || to != addrOf(flow.Reverse.SrcIP) {
		return false // translated
	}
	if s.ours(to) {
		open := slices.ContainsFunc(s.open[desired.Pair{From: from, To: to}], func(f desired.Flow) bool { return covers(f, flow) })
		return flow.Forward.Protocol != unix.IPPROTO_TCP && !open
	}
	if _, local := s.local[to]; local {
		return false
	}
	_, floating := s.out[from]
	return floating || within(s.masq, from)
}

// families tells in which there may be some.
func (s stray) families() (v4, v6 bool) {
	for _, p := range slices.Concat(s.nets, s.masq) {
		v4, v6 = v4 || p.Addr().Is4(), v6 || p.Addr().Is6()
	}
	for a := range s.out {
		v4, v6 = v4 || a.Is4(), v6 || a.Is6()
	}
	return v4, v6
}
