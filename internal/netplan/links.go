package netplan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/model"
)

// linkTarget is where a link leads: nowhere while its target is not there, not
// active, or on no network that the link goes over.
func (p *plan) linkTarget(l *model.Link) (*model.Container, *model.Endpoint) {
	target := p.snap.Containers[l.TargetID]
	if target != nil {
		target = ownerOf(p.snap, target)
	}
	if target == nil || !target.Active {
		return nil, nil
	}
	if l.NetworkID != "" {
		return target, p.endpointOn(target, l.NetworkID)
	}
	for _, own := range p.snap.ByContainer[l.ContainerID] { // any network: the first both are on
		if e := p.endpointOn(target, own.NetworkID); e != nil && bridged(p.snap.Networks[own.NetworkID]) {
			return target, e
		}
	}
	return nil, nil
}

// endpointOn gives a container's endpoint on a network, or nil.
func (p *plan) endpointOn(c *model.Container, networkID string) *model.Endpoint {
	for _, e := range p.snap.ByContainer[c.ID] {
		if e.NetworkID == networkID {
			return e
		}
	}
	return nil
}

// aliases gives the link aliases of a container, on every network.
func (p *plan) aliases(c *model.Container) map[string][]netip.Addr {
	ls := p.snap.LinksOf[c.ID]
	if len(ls) == 0 {
		return nil
	}
	out := make(map[string][]netip.Addr, len(ls))
	for _, l := range ls {
		_, e := p.linkTarget(l)
		if e == nil {
			continue
		}
		name := strings.ToLower(l.Alias)
		for _, a := range addresses(e) {
			if !slices.Contains(out[name], a) {
				out[name] = append(out[name], a)
			}
		}
	}
	return out
}

// addresses gives an endpoint's addresses, IPv4 first.
func addresses(e *model.Endpoint) []netip.Addr {
	out := make([]netip.Addr, 0, 2)
	for _, v6 := range [...]bool{false, true} {
		if a := address(e, v6); a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}
