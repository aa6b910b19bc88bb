package netplan

import (
	"net/netip"
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
func sharedSegments(c *model.Container, s *desired.Sandbox, main []desired.Route) {
	if len(c.NICs) < 2 {
		return
	}
	shared := map[segment][]string{}
	for i := range c.NICs {
		if n := &c.NICs[i]; n.Kind != model.NICDummy {
			on := segment{n.On, n.VLAN}
			shared[on] = append(shared[on], n.Name)
		}
	}
	tables := map[int]bool{}
	var names []string
	for i := range c.NICs { // in their order, for equal plans
		n := &c.NICs[i]
		if on := shared[segment{n.On, n.VLAN}]; len(on) > 1 {
			names = append(names, n.Name)
			w := way{name: n.Name, addrs: addrsOf(n), beside: on, table: nicTable(n, tables)}
			for _, gw := range gatewaysOf(n) {
				if !askedAt(c, s, gw.Is6()) {
					w.gateways = append(w.gateways, gw)
				}
			}
			w.plan(s, main)
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

// gatewaysOf gives a NIC's routers: those asked for, or the lease's.
func gatewaysOf(n *model.NIC) []netip.Addr {
	if n.DHCP && n.Lease != nil && n.Lease.Held && n.Lease.Gateway.IsValid() {
		return []netip.Addr{n.Lease.Gateway}
	}
	return n.Gateways
}
