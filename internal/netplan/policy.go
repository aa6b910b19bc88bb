package netplan

import (
	"cmp"
	"net"
	"net/netip"
	"slices"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// own says that an address is somebody's.
func (p *plan) own(a netip.Addr) {
	if a.IsValid() {
		p.out.Firewall.Addresses[a] = struct{}{}
	}
}

// linkLocal gives the address that the kernel gives an interface with IPv6, of
// its hardware address (RFC 4291 appendix A; net.ipv6.conf.*.addr_gen_mode 0).
func linkLocal(mac string) netip.Addr {
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: hw[0] ^ 2, 9: hw[1], 10: hw[2], 11: 0xff, 12: 0xfe, 13: hw[3], 14: hw[4], 15: hw[5]})
}

// addressesAt gives the addresses that an endpoint's interface has.
func addressesAt(e *model.Endpoint) []netip.Addr {
	out := addresses(e)
	if e.IPv6.IsValid() {
		out = append(out, linkLocal(e.MAC))
	}
	return out
}

// owners enters the addresses of every container, also of one that is stopped:
// they are its, and nobody answers for it meanwhile.
func (p *plan) owners() {
	for _, e := range p.snap.Endpoints {
		n := p.snap.Networks[e.NetworkID]
		if !bridged(n) {
			continue
		}
		for _, a := range addressesAt(e) {
			p.own(a)
		}
		p.own(inside(e, false))
		p.own(inside(e, true))
		if routed := p.out.Firewall.MACs[e.MAC]; !routed {
			p.out.Firewall.MACs[e.MAC] = p.routed(p.snap.Containers[e.ContainerID], n)
		}
	}
	for _, n := range p.snap.Networks {
		if b := p.out.Bridges[n.Bridge]; bridged(n) && b != nil {
			p.out.Firewall.MACs[b.MAC] = p.out.Firewall.MACs[b.MAC]
			if n.EnableIPv6 {
				p.own(linkLocal(b.MAC))
			}
		}
	}
}

// routed tells whether a container's traffic on a network is routed, where
// rules can judge it, and not switched.
func (p *plan) routed(c *model.Container, n *model.Network) bool {
	return n.Deny || c != nil && len(c.SecurityGroups) > 0
}

// sources plans the ports of the bridges that an active container is behind. It
// may send from each of its addresses at each of them: answers leave by the
// interface that has the route.
func (p *plan) sources(c *model.Container) {
	eps := p.snap.ByContainer[c.ID]
	for _, e := range eps {
		n := p.snap.Networks[e.NetworkID]
		if !bridged(n) {
			continue
		}
		port, routed := hostEnd(e), p.routed(c, n)
		p.out.Firewall.Ports[port] = desired.BridgePort{MAC: e.MAC, Bridge: bridgeMAC(n.ID), Routed: routed}
		if b := p.out.Bridges[n.Bridge]; routed {
			b.NoRedirects = true
		}
		for _, own := range eps {
			if !bridged(p.snap.Networks[own.NetworkID]) {
				continue
			}
			for _, a := range p.onInterface(own) {
				p.out.Firewall.Sources[desired.Source{Port: port, MAC: e.MAC, Addr: a.Addr()}] = struct{}{}
			}
			if own.IPv6.IsValid() {
				p.out.Firewall.Sources[desired.Source{Port: port, MAC: e.MAC, Addr: linkLocal(own.MAC)}] = struct{}{}
			}
		}
	}
}

// flowKey is what two flows must share to overlap.
type flowKey struct {
	from, to netip.Addr
	proto    string
}

// flows plans what the links of an active container open: on a network that
// denies their ports, and between networks those or everything.
func (p *plan) flows(c *model.Container) {
	for i, l := range p.snap.LinksOf[c.ID] {
		r := p.routes.of[c.ID][i]
		if r.To == nil {
			continue
		}
		deny := p.snap.Networks[r.From.NetworkID].Deny || p.snap.Networks[r.To.NetworkID].Deny
		if !deny && !r.Joined() {
			continue
		}
		for _, pair := range r.Pairs() {
			switch {
			case deny || r.Joined() && len(l.Ports) > 0:
				p.open(pair[0], pair[1], p.linkPorts(l))
			case r.Joined():
				p.openAll(pair[0], pair[1])
			}
		}
	}
}

// openAll lets from send anything to to.
func (p *plan) openAll(from, to netip.Addr) {
	if !from.IsValid() || !to.IsValid() {
		return
	}
	if p.out.Firewall.Pairs == nil {
		p.out.Firewall.Pairs = map[desired.Pair]struct{}{}
	}
	p.out.Firewall.Pairs[desired.Pair{From: from, To: to}] = struct{}{}
}

// linkPorts gives the ports that a link opens: its own, or those the target exposes.
func (p *plan) linkPorts(l *model.Link) []model.PortRange {
	if len(l.Ports) > 0 {
		return l.Ports
	}
	var out []model.PortRange
	if target := p.snap.Containers[l.TargetID]; target != nil {
		for _, port := range target.Config.ExposedPorts {
			out = append(out, model.PortRange{First: port.Number, Last: port.Number, Proto: port.Proto})
		}
	}
	return out
}

// open lets from open connections to some ports of to. Several links may lead
// there, so their ports are gathered first.
func (p *plan) open(from, to netip.Addr, ports []model.PortRange) {
	if !from.IsValid() || !to.IsValid() {
		return
	}
	if p.opened == nil {
		p.opened = map[flowKey][]model.PortRange{}
	}
	for _, r := range ports {
		k := flowKey{from, to, r.Proto}
		p.opened[k] = append(p.opened[k], r)
	}
}

// finishFlows makes flows of what was opened; the firewall takes no two that overlap.
func (p *plan) finishFlows() {
	if len(p.opened) == 0 {
		return
	}
	n := 0
	for _, ranges := range p.opened {
		n += len(ranges)
	}
	p.out.Firewall.Flows = make(map[desired.Flow]struct{}, n)
	for k, ranges := range p.opened {
		if _, all := p.out.Firewall.Pairs[desired.Pair{From: k.from, To: k.to}]; all {
			continue
		}
		for _, r := range mergeRanges(ranges) {
			p.out.Firewall.Flows[desired.Flow{From: k.from, To: k.to, Proto: k.proto, First: r.First, Last: r.Last}] = struct{}{}
		}
	}
}

// mergeRanges gives the same ports in as few ranges as there can be, in order.
func mergeRanges(ranges []model.PortRange) []model.PortRange {
	slices.SortFunc(ranges, func(a, b model.PortRange) int { return cmp.Compare(a.First, b.First) })
	out := ranges[:1]
	for _, r := range ranges[1:] {
		last := &out[len(out)-1]
		if uint32(r.First) > uint32(last.Last)+1 {
			out = append(out, r)
		} else {
			last.Last = max(last.Last, r.Last)
		}
	}
	return out
}
