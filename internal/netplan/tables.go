package netplan

import (
	"net/netip"
	"slices"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// Where what leaves from an address is routed by a table of its interface's own:
// such tables are numbered from here on, by the order of endpoints, and their
// rules stand before the main table's.
const (
	sourceTable    = 7400
	sourcePriority = 32700
)

// way is an interface with a routing table of its own.
type way struct {
	name     string
	addrs    []netip.Prefix
	beside   []string // the interfaces on its segment, itself included
	gateways []netip.Addr
	table    int
}

// plan routes what leaves from a way's addresses by its table: into its subnets,
// by its own routers, and along the routes of main that lead over it or, through
// a router that is its neighbour too, over another of the same segment. What a
// user forbids is forbidden there as well. What that leaves is for the main table.
func (w way) plan(s *desired.Sandbox, main []desired.Route) {
	before := len(s.Routes)
	add := func(r desired.Route) {
		r.Table = w.table
		if !slices.ContainsFunc(s.Routes[before:], func(o desired.Route) bool { return samePlace(o, r) }) {
			s.Routes = append(s.Routes, r)
		}
	}
	for _, p := range w.addrs {
		s.Rules = append(s.Rules, desired.Rule{Priority: sourcePriority, V6: p.Addr().Is6(), From: netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), Table: w.table})
		if !forbidden(s, p) {
			add(desired.Route{Dst: p.Masked(), Dev: w.name, Src: p.Addr()})
		}
	}
	var gateways [2]bool // of IPv4 and IPv6
	for _, gw := range w.gateways {
		if v6 := family(gw.Is6()); w.near(s, gw) && !gateways[v6] {
			gateways[v6] = true
			add(desired.Route{Via: gw, Dev: w.name})
		}
	}
	for _, r := range main {
		v6 := wantsV6(r)
		switch {
		case r.Table != 0 || !slices.ContainsFunc(w.addrs, func(p netip.Prefix) bool { return p.Addr().Is6() == v6 }),
			isDefault(r) && !r.Asked && gateways[family(v6)]:
			continue
		case forbids(r):
		case w.leads(s, r):
			r.Dev, r.Asked = w.name, false
		case slices.ContainsFunc(w.addrs, func(p netip.Prefix) bool { return p.Addr() == r.Src }),
			slices.ContainsFunc(main, func(o desired.Route) bool { return forbids(o) && covers(o, r) }):
			r.Dev = devOf(s, r) // this table must not forbid what main does not
		default:
			continue
		}
		r.Src = netip.Addr{} // the rule has chosen the address already, and another's is refused
		add(r)
	}
}

// near tells whether an address is a neighbour's.
func (w way) near(s *desired.Sandbox, a netip.Addr) bool {
	return slices.ContainsFunc(w.addrs, func(p netip.Prefix) bool { return p.Contains(a) && !forbidden(s, p) }) && !ownAddress(s, a)
}

// forbidden tells whether a user forbids an address's whole subnet: the kernel
// takes no router in it then.
func forbidden(s *desired.Sandbox, p netip.Prefix) bool {
	return slices.ContainsFunc(s.Routes, func(r desired.Route) bool {
		return forbids(r) && r.Table == 0 && samePlace(r, desired.Route{Dst: p.Masked()})
	})
}

// leads tells whether a route of main leads over the way, or may as well.
func (w way) leads(s *desired.Sandbox, r desired.Route) bool {
	if r.Dev != "" && !slices.Contains(w.beside, r.Dev) ||
		slices.ContainsFunc(w.addrs, func(p netip.Prefix) bool { return p.Contains(r.Via) && forbidden(s, p) }) {
		return false
	}
	return r.Dev == w.name || r.Via.IsValid() && w.near(s, r.Via)
}

// answersAside has the address that ports are published at answer through its
// own network wherever the main table may lead a client's packets elsewhere: by
// a NIC, or by a route that a user or a lease gave.
func (p *plan) answersAside(c *model.Container, eps []*model.Endpoint, s *desired.Sandbox, main []desired.Route) {
	for _, v6 := range [...]bool{false, true} {
		e, via := p.gateway(c, eps, v6)
		if e == nil || !e.On(v6).IsValid() || !ledElsewhere(c, eps, s, e, main, v6) {
			continue
		}
		p.sourceRoutes(c, eps, s, e, via, main, v6)
	}
}

// ledElsewhere tells whether answers of an endpoint's address may leave by an
// interface that is not a network's, or by one that a route leads over.
func ledElsewhere(c *model.Container, eps []*model.Endpoint, s *desired.Sandbox, e *model.Endpoint, main []desired.Route, v6 bool) bool {
	if out := nicExit(c, eps, v6, false); out.dev != "" && out.dev != e.Interface {
		return true
	}
	return slices.ContainsFunc(c.NICs, func(n model.NIC) bool {
		return slices.ContainsFunc(addrsOf(&n), func(p netip.Prefix) bool { return p.Addr().Is6() == v6 })
	}) || slices.ContainsFunc(main, func(r desired.Route) bool {
		return r.Asked && r.Table == 0 && !forbids(r) && wantsV6(r) == v6 && devOf(s, r) != e.Interface
	})
}

// sourceRoutes has an endpoint's own address answer through its own interface:
// the second interface on a network, and the one that ports are published at. A
// default route that a user asked for over it, or forbade, takes the place of
// its gateway's.
func (p *plan) sourceRoutes(c *model.Container, eps []*model.Endpoint, s *desired.Sandbox, e *model.Endpoint, gateway netip.Addr, main []desired.Route, v6 bool) {
	w := way{name: e.Interface, addrs: []netip.Prefix{e.On(v6)}, table: sourceTable + e.Order}
	for _, o := range eps {
		if o.NetworkID == e.NetworkID {
			w.beside = append(w.beside, o.Interface)
		}
	}
	decided := slices.ContainsFunc(c.Routes, func(r model.Route) bool { return r.Deleted && r.SamePlace(model.Route{V6: v6}) }) ||
		slices.ContainsFunc(main, func(r desired.Route) bool {
			return r.Asked && samePlace(r, desired.Route{V6: v6}) && r.Table == 0 && (forbids(r) || w.leads(s, r))
		})
	if gateway.IsValid() && !decided {
		w.gateways = []netip.Addr{gateway}
	}
	w.plan(s, main)
}

// devOf gives the interface that a route leads over; empty if it is not known.
func devOf(s *desired.Sandbox, r desired.Route) string {
	if r.Dev != "" {
		return r.Dev
	}
	near := func(p netip.Prefix) bool { return p.Contains(r.Via) }
	for _, i := range s.Interfaces {
		if slices.ContainsFunc(i.Addrs, near) {
			return i.Name
		}
	}
	for _, d := range s.Devices {
		if slices.ContainsFunc(d.Addrs, near) {
			return d.Name
		}
	}
	return ""
}

// family is the index of an address family: 0 for IPv4, 1 for IPv6.
func family(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

func wantsV6(r desired.Route) bool {
	return r.V6 || r.Via.Is6() || r.Dst.IsValid() && r.Dst.Addr().Is6()
}

func isDefault(r desired.Route) bool { return !r.Dst.IsValid() || r.Dst.Bits() == 0 }

// forbids tells whether a route leads nowhere, as a user wants it.
func forbids(r desired.Route) bool { return r.Type != "" }

// samePlace tells whether a table takes only one of two routes.
func samePlace(a, b desired.Route) bool {
	return wantsV6(a) == wantsV6(b) && a.Metric == b.Metric && (a.Dst == b.Dst || isDefault(a) && isDefault(b))
}

// covers tells whether all that a route is for is another's as well.
func covers(r, other desired.Route) bool {
	if r.Table != 0 || wantsV6(r) != wantsV6(other) {
		return false
	}
	return isDefault(r) || !isDefault(other) && r.Dst.Bits() <= other.Dst.Bits() && r.Dst.Contains(other.Dst.Addr())
}
