package netplan

import (
	"net/netip"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// tenants keeps the host's addresses on others' bridges from answering to
// tenants: theirs are the gateways of the network they are on, and of their
// default network, which host-gateway stands for. Without tenants it plans
// nothing. And what they reach through published ports sees the host's address.
func (p *plan) tenants() {
	if len(p.snap.Tenants) == 0 {
		return
	}
	fw := &p.out.Firewall
	fw.TenantNets = map[netip.Prefix]struct{}{}
	fw.Tenants, fw.Gateways, fw.OwnGateways = map[string]struct{}{}, map[netip.Addr]struct{}{}, map[desired.GatewayKey]struct{}{}
	for _, n := range p.snap.Networks {
		if !bridged(n) {
			continue
		}
		for _, g := range gateways(n) {
			fw.Gateways[g] = struct{}{}
		}
		if n.Tenant == "" {
			continue
		}
		fw.Tenants[n.Bridge] = struct{}{}
		for _, s := range n.Subnets {
			fw.TenantNets[s.Prefix.Masked()] = struct{}{}
		}
		for _, own := range []*model.Network{n, defaultNetwork(p.snap, n.Tenant)} {
			for _, g := range gateways(own) {
				fw.OwnGateways[desired.GatewayKey{Bridge: n.Bridge, Addr: g}] = struct{}{}
			}
		}
	}
}

// gateways lists the host's addresses on a network.
func gateways(n *model.Network) []netip.Addr {
	if n == nil {
		return nil
	}
	var out []netip.Addr
	for _, s := range n.Subnets {
		if s.Gateway.IsValid() {
			out = append(out, s.Gateway)
		}
	}
	return out
}
