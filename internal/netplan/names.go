package netplan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// sharedName is a name that several endpoints of a network have.
type sharedName struct {
	zone *desired.Zone
	name string
}

// namesPerEndpoint is how many names most endpoints have: the container's, its
// short ID, and the name with the network's behind it.
const namesPerEndpoint = 3

func newZone(endpoints int) *desired.Zone {
	return &desired.Zone{
		Names:   make(map[string][]netip.Addr, namesPerEndpoint*endpoints),
		Reverse: make(map[netip.Addr]string, endpoints),
	}
}

// names enters an active container into the zones of its networks: name, short
// ID and aliases, and NAME.NETWORK, which its address resolves to. The host name
// is no name, as in Docker: two containers may have the same.
func (p *plan) names(c *model.Container) {
	for _, e := range p.snap.ByContainer[c.ID] {
		n := p.snap.Networks[e.NetworkID]
		zone := p.out.Zones.Networks[e.NetworkID]
		addrs := slices.Clip(addresses(e)) // shared by the names until one gets another address
		if zone == nil || len(addrs) == 0 {
			continue
		}
		full := strings.ToLower(c.Name + "." + n.Name)
		p.enter(zone, full[:len(c.Name)], addrs)
		p.enter(zone, shortID(c.ID), addrs)
		p.enter(zone, full, addrs)
		for _, alias := range e.Aliases {
			alias = strings.ToLower(alias)
			p.enter(zone, alias, addrs)
			if strings.HasPrefix(alias, "*.") {
				p.wild[zone] = struct{}{}
			}
		}
		for _, a := range addrs {
			zone.Reverse[a] = full
		}
	}
}

// enter adds an endpoint's addresses to a name. An endpoint enters all its names
// before the next does, so one that has a name twice finds itself at its end.
func (p *plan) enter(zone *desired.Zone, name string, addrs []netip.Addr) {
	have, shared := zone.Names[name]
	if !shared {
		zone.Names[name] = addrs
		return
	}
	if have[len(have)-1] == addrs[len(addrs)-1] {
		return
	}
	zone.Names[name] = append(have, addrs...)
	p.shared[sharedName{zone, name}] = struct{}{}
}

// finishZones sorts what came in the order of a map, so that equal choices make
// equal plans, and lists the nodes of zones with wildcards.
func (p *plan) finishZones() {
	for s := range p.shared {
		slices.SortFunc(s.zone.Names[s.name], netip.Addr.Compare)
	}
	for zone := range p.wild {
		zone.Nodes = nodes(zone.Names)
	}
}

// nodes gives every name below one that has a wildcard, those in between without
// addresses included: they exist in the sense of RFC 4592 section 2.2, so that
// the wildcard does not cover them. Names elsewhere can be looked up upstream.
func nodes(names map[string][]netip.Addr) map[string]struct{} {
	out := map[string]struct{}{}
	for name := range names {
		var below []string
		for up, more := name, true; more; {
			below = append(below, up)
			if _, up, more = strings.Cut(up, "."); !more {
				break
			}
			if _, wild := names["*."+up]; wild {
				for _, n := range below {
					out[n] = struct{}{}
				}
			}
		}
	}
	return out
}

// view gives what a container with at least one interface sees.
func (p *plan) view(c *model.Container, eps []*model.Endpoint) *desired.View {
	v := &desired.View{Aliases: p.aliases(c), Networks: make([]string, 0, len(eps)), NoForward: true}
	for _, e := range eps {
		n := p.snap.Networks[e.NetworkID]
		if !bridged(n) {
			continue
		}
		v.Networks = append(v.Networks, n.ID)
		v.NoForward = v.NoForward && n.Internal
	}
	v.Upstreams = p.upstreams(c)
	return v
}

// upstreams are those of --dns. It is the host that asks them, so a tenant's are
// left out where others' networks have come to be.
func (p *plan) upstreams(c *model.Container) (out []netip.AddrPort) {
	for _, a := range c.Host.DNS {
		if !p.snap.OffLimits(a, c.Tenant) {
			out = append(out, netip.AddrPortFrom(a, 53))
		}
	}
	return out
}
