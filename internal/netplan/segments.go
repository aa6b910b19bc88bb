package netplan

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// segment is what NICs are on: a bridge, or a device and a VLAN of it.
type segment struct {
	on   string
	vlan int
}

// sharedSegments has a container's NICs on one segment answer each for its own
// addresses, and sends what leaves from an address through its own NIC. Else all
// of it would come and go by the first: past the limits of the others, with the
// wrong MAC, and against a host that insists on the way back (rp_filter).
func sharedSegments(c *model.Container, s *desired.Sandbox) {
	if len(c.NICs) < 2 {
		return
	}
	shared := map[segment][]*model.NIC{}
	for i := range c.NICs {
		if n := &c.NICs[i]; n.Kind != model.NICDummy {
			on := segment{n.On, n.VLAN}
			shared[on] = append(shared[on], n)
		}
	}
	tables := map[int]bool{}
	main := s.Routes
	var names []string
	for i := range c.NICs { // in their order, for equal plans
		n := &c.NICs[i]
		if on := shared[segment{n.On, n.VLAN}]; len(on) > 1 {
			names = append(names, n.Name)
			nicRoutes(s, n, on, main, nicTable(n, tables))
		}
	}
	if len(names) > 0 {
		onePerLink(s, names...)
	}
}

// nicTables begin the tables of NICs: by their IDs, so that none moves when
// another NIC goes.
const nicTables = 7400000

func nicTable(n *model.NIC, taken map[int]bool) int {
	table := nicTables
	if digits, err := strconv.ParseUint(n.ID[:min(5, len(n.ID))], 16, 32); err == nil {
		table += int(digits)
	}
	for taken[table] {
		table++
	}
	taken[table] = true
	return table
}

// nicRoutes routes what leaves from a NIC's addresses by a table of its own:
// into its subnets, by its own routers, and along the routes of main that lead
// over this NIC or, through a router that is its neighbour too, over another of
// the same segment. What that leaves is for the main table.
func nicRoutes(s *desired.Sandbox, n *model.NIC, on []*model.NIC, main []desired.Route, table int) {
	addrs, before := addrsOf(n), len(s.Routes)
	var gateways [2]bool // of IPv4 and IPv6
	for _, p := range addrs {
		s.Rules = append(s.Rules, desired.Rule{Priority: sourcePriority, V6: p.Addr().Is6(), From: netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), Table: table})
		if first := slices.IndexFunc(addrs, func(q netip.Prefix) bool { return q.Masked() == p.Masked() }); addrs[first] == p {
			s.Routes = append(s.Routes, desired.Route{Dst: p.Masked(), Dev: n.Name, Src: p.Addr(), Table: table})
		}
	}
	near := func(a netip.Addr) bool {
		return slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Contains(a) }) && !ownAddress(s, a)
	}
	for _, gw := range gatewaysOf(n) {
		if v6 := family(gw.Is6()); near(gw) && !gateways[v6] {
			gateways[v6] = true
			s.Routes = append(s.Routes, desired.Route{Via: gw, Dev: n.Name, Table: table})
		}
	}
	for _, r := range main {
		isDefault := !r.Dst.IsValid() || r.Dst.Bits() == 0
		switch v6 := wantsV6(r); {
		case r.Table != 0 || r.Type != "" || isDefault && gateways[family(v6)]:
			continue
		case r.Via.IsValid() && !near(r.Via) && r.Dev != n.Name,
			!r.Via.IsValid() && r.Dev != n.Name,
			r.Dev != "" && !slices.ContainsFunc(on, func(o *model.NIC) bool { return o.Name == r.Dev }),
			!slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Is6() == v6 }),
			slices.ContainsFunc(s.Routes[before:], func(o desired.Route) bool { return o.Dst == r.Dst && o.Metric == r.Metric && wantsV6(o) == v6 }):
			continue
		}
		// The rule has chosen the address already, and another's is refused.
		r.Dev, r.Src, r.Table, r.Asked = n.Name, netip.Addr{}, table, false
		s.Routes = append(s.Routes, r)
	}
}

// gatewaysOf gives a NIC's routers: those asked for, or the lease's.
func gatewaysOf(n *model.NIC) []netip.Addr {
	if n.DHCP && n.Lease != nil && n.Lease.Held && n.Lease.Gateway.IsValid() {
		return []netip.Addr{n.Lease.Gateway}
	}
	return n.Gateways
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
