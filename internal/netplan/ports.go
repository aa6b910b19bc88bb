package netplan

import (
	"net/netip"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// ports plans the published ports of an active container: a claim on the host
// for each, and the element that leads it to the container's address.
func (p *plan) ports(c *model.Container) {
	if len(c.Ports) == 0 {
		return
	}
	var targets [2]netip.Addr // IPv4, IPv6
	eps := p.snap.ByContainer[c.ID]
	for i, v6 := range [...]bool{false, true} {
		targets[i] = p.publisher(c, eps, v6)
	}
	for _, m := range c.Ports {
		claim := desired.Claim{IP: m.HostIP, Proto: m.Port.Proto, Port: m.HostPort}
		p.out.Claims[claim] = c.ID
		v6 := m.HostIP.Is6()
		ip := targets[0]
		if v6 {
			ip = targets[1]
		}
		if !ip.IsValid() {
			continue // on no network now; the port stays the container's
		}
		target := desired.Target{IP: ip, Port: m.Port.Number}
		if m.HostIP.IsUnspecified() {
			p.out.Firewall.PublishAny[desired.PortKey{V6: v6, Proto: m.Port.Proto, Port: m.HostPort}] = target
		} else {
			p.out.Firewall.Publish[claim] = target
		}
	}
}

// publisher gives the address that published ports lead to: the one whose
// network holds the default route, so that answers go back the way the
// questions came, or else the first.
func (p *plan) publisher(c *model.Container, eps []*model.Endpoint, v6 bool) netip.Addr {
	if e, _ := p.gateway(c, eps, v6); e != nil {
		return inside(e, v6)
	}
	for _, e := range eps {
		if a := inside(e, v6); a.IsValid() && bridged(p.snap.Networks[e.NetworkID]) {
			return a
		}
	}
	return netip.Addr{}
}
