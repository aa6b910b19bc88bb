package netplan

import (
	"hash/fnv"
	"net"
	"net/netip"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// bridged tells whether a network is a bridge of ours.
func bridged(n *model.Network) bool {
	return n != nil && n.Driver == model.DriverBridge && n.Bridge != ""
}

// network plans a network's bridge, its firewall elements and its empty zone.
// Bridges stay while nobody is on them, as Docker's do: their gateway answers.
func (p *plan) network(n *model.Network) {
	if !bridged(n) {
		return
	}
	fw := &p.out.Firewall
	fw.Bridges[n.Bridge] = struct{}{}
	if !n.Deny {
		fw.Open[n.Bridge] = struct{}{}
	}
	if n.Internal {
		fw.Internal[n.Bridge] = struct{}{}
	}
	b := &desired.Bridge{
		Name: n.Bridge, Network: n.ID, MAC: bridgeMAC(n.ID), MTU: n.MTU, RouteLocalnet: true, NoRedirects: n.Deny, OwnARP: n.Tenant != "",
		Addrs: make([]netip.Prefix, 0, len(n.Subnets)),
	}
	for _, s := range n.Subnets {
		if s.Gateway.IsValid() {
			p.own(s.Gateway)
			b.Addrs = append(b.Addrs, netip.PrefixFrom(s.Gateway, s.Prefix.Bits()))
		}
		subnet := s.Prefix.Masked()
		fw.Hairpin[desired.HairpinKey{Subnet: subnet, Bridge: n.Bridge}] = struct{}{}
		if n.Masquerade && !n.Internal {
			fw.Masquerade[subnet] = struct{}{}
		}
	}
	p.out.Bridges[n.Bridge] = b
	p.zones[n.ID] = &madeZone{from: make(map[*model.Endpoint]named, len(p.snap.ByNetwork[n.ID]))}
}

// bridgeMAC derives a unicast, locally administered address from a network's
// ID: a bridge made again has the one its neighbours remember.
func bridgeMAC(networkID string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(networkID))
	hw := net.HardwareAddr(h.Sum(nil)[:6])
	hw[0] = hw[0]&^1 | 2
	return hw.String()
}
