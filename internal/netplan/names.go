package netplan

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// namesPerEndpoint is how many names most endpoints have: the container's, its
// short ID, and the name with the network's behind it.
const namesPerEndpoint = 3

func newZone(endpoints int) *desired.Zone {
	return &desired.Zone{
		Names:   make(map[string][]netip.Addr, namesPerEndpoint*endpoints),
		Reverse: make(map[netip.Addr]string, endpoints),
	}
}

// named is what a container is called, on a network that may be renamed, too.
type named struct{ container, id, network string }

// madeZone is a network's names, and what they came from: the endpoints of
// active containers, which have the addresses and aliases.
type madeZone struct {
	from map[*model.Endpoint]named
	zone *desired.Zone
}

// names takes note of an active container's names on its networks: its own, its
// short ID and aliases, and NAME.NETWORK, which its address resolves to. The host
// name is no name, as in Docker: two containers may have the same.
func (p *plan) names(c *model.Container) {
	for _, e := range p.snap.ByContainer[c.ID] {
		if z := p.zones[e.NetworkID]; z != nil {
			z.from[e] = named{c.Name, c.ID, p.snap.Networks[e.NetworkID].Name}
		}
	}
}

// finishZones makes the zones of networks whose names are not what they were.
func (p *plan) finishZones() {
	for id, z := range p.zones {
		if was := p.zonesBefore[id]; was != nil && maps.Equal(was.from, z.from) {
			z.zone = was.zone
		} else {
			z.make()
		}
		p.out.Zones.Networks[id] = z.zone
	}
}

// make enters every endpoint. What came in the order of a map is sorted, so that
// equal choices make equal plans.
func (z *madeZone) make() {
	z.zone = newZone(len(z.from))
	shared := map[string]struct{}{} // names of several endpoints
	wild := false
	for e, of := range z.from {
		addrs := slices.Clip(addresses(e)) // shared by the names until one gets another address
		if len(addrs) == 0 {
			continue
		}
		full := strings.ToLower(of.container + "." + of.network)
		z.enter(shared, full[:len(of.container)], addrs)
		z.enter(shared, shortID(of.id), addrs)
		z.enter(shared, full, addrs)
		for _, alias := range e.Aliases {
			alias = strings.ToLower(alias)
			z.enter(shared, alias, addrs)
			wild = wild || strings.HasPrefix(alias, "*.")
		}
		for _, a := range addrs {
			z.zone.Reverse[a] = full
		}
	}
	for name := range shared {
		slices.SortFunc(z.zone.Names[name], netip.Addr.Compare)
	}
	if wild {
		z.zone.Nodes = nodes(z.zone.Names)
	}
}

// enter adds an endpoint's addresses to a name. An endpoint enters all its names
// before the next does, so one that has a name twice finds itself at its end.
func (z *madeZone) enter(shared map[string]struct{}, name string, addrs []netip.Addr) {
	have, more := z.zone.Names[name]
	if !more {
		z.zone.Names[name] = addrs
		return
	}
	if have[len(have)-1] == addrs[len(addrs)-1] {
		return
	}
	z.zone.Names[name] = append(have, addrs...)
	shared[name] = struct{}{}
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
