package netplan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/links"
	"github.com/jackstay/jackstay/internal/model"
)

// linkRoutes are the links of all containers with what they lead to.
type linkRoutes struct {
	of   map[string][]links.Route // container ID to its links', in LinksOf's order
	into map[string][]links.Route // the container at whose end a joined one arrives
}

// findRoutes looks up where every link leads: nowhere while its target is not
// there, not active, or out of reach.
func (p *plan) findRoutes() {
	p.routes.of = make(map[string][]links.Route, len(p.snap.LinksOf))
	p.routes.into = map[string][]links.Route{}
	for id, ls := range p.snap.LinksOf {
		routes := make([]links.Route, len(ls))
		for i, l := range ls {
			r := links.Find(p.snap, l)
			if r.Owner == nil || !r.Owner.Active {
				continue
			}
			routes[i] = r
			if c := p.snap.Containers[id]; r.Joined() && c != nil && (c.Active || len(p.joined[id]) > 0) {
				p.routes.into[r.Owner.ID] = append(p.routes.into[r.Owner.ID], r)
			}
		}
		p.routes.of[id] = routes
	}
	for _, routes := range p.routes.into { // in no map's order
		slices.SortFunc(routes, func(a, b links.Route) int { return strings.Compare(a.From.ID, b.From.ID) })
	}
}

// joinedRoutes plans the host routes to the other ends of links between
// networks: out by the interface that has the address which the link uses, as
// reverse path filters and guards against spoofing want it. Where the default
// route leaves by that very interface, and no other route leads the address
// away, it will do. A lease's own route to the address gives way, a user's stays.
func (p *plan) joinedRoutes(c *model.Container, s *desired.Sandbox) {
	var out []desired.Route
	add := func(own *model.Endpoint, from, to netip.Addr) {
		r := desired.Route{
			Dst: netip.PrefixFrom(to, to.BitLen()), Via: gatewayOf(p.snap.Networks[own.NetworkID], from), Dev: own.Interface,
		}
		if r.Via.IsValid() && !goesAnyway(s, r) && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	for _, r := range p.routes.of[c.ID] {
		if r.Joined() {
			for _, pair := range r.Pairs() {
				add(r.From, pair[0], pair[1])
			}
		}
	}
	for _, r := range p.routes.into[c.ID] {
		for _, pair := range r.Pairs() {
			add(r.To, pair[1], pair[0])
		}
	}
	slices.SortFunc(out, func(a, b desired.Route) int { return a.Dst.Addr().Compare(b.Dst.Addr()) })
	s.Routes = slices.DeleteFunc(s.Routes, func(r desired.Route) bool {
		return r.Table == 0 && !r.Asked && slices.ContainsFunc(out, func(o desired.Route) bool { return samePlace(o, r) })
	})
	s.Routes = append(s.Routes, out...)
}

// goesAnyway tells whether what is for a host route's address goes its way
// without it, or where a user has decided for just this address.
func goesAnyway(s *desired.Sandbox, host desired.Route) bool {
	goes, away := false, othersSubnet(s, host.Dev, host.Dst)
	for _, r := range s.Routes {
		switch {
		case !covers(r, host):
		case r.Asked && r.Dst == host.Dst:
			return true
		case r.Dev == host.Dev && r.Via == host.Via && !forbids(r):
			goes = true
		default:
			away = true
		}
	}
	return goes && !away
}

// aliases gives the link aliases of a container, on every network.
func (p *plan) aliases(c *model.Container) map[string][]netip.Addr {
	ls := p.snap.LinksOf[c.ID]
	if len(ls) == 0 {
		return nil
	}
	out := make(map[string][]netip.Addr, len(ls))
	for i, l := range ls {
		name := strings.ToLower(l.Alias)
		for _, a := range p.routes.of[c.ID][i].Addresses() {
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
