package netplan

import (
	"net/netip"
	"slices"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// nicBridges plans the bridges that were made for a container's NICs. They are
// there whether it runs or not: others may be on them.
func (p *plan) nicBridges(c *model.Container) {
	for i := range c.NICs {
		n := &c.NICs[i]
		if !n.Made || p.out.Bridges[n.On] != nil {
			continue
		}
		id := "nic:" + n.On
		p.out.Bridges[n.On] = &desired.Bridge{Name: n.On, Network: id, MAC: bridgeMAC(id), Plain: true, OVS: n.Kind == model.NICOVS}
	}
}

// nics plans a container's NICs: those with a host end as the interfaces of
// networks, the others as devices.
func nics(c *model.Container, s *desired.Sandbox) {
	for i := range c.NICs {
		n := &c.NICs[i]
		switch n.Kind {
		case model.NICBridge, model.NICOVS:
			s.Interfaces = append(s.Interfaces, desired.Interface{
				Endpoint: n.ID, Host: endName(n.HostName, n.ID), Name: n.Name, Bridge: n.On, MAC: n.MAC, MTU: n.MTU,
				Addrs: addrsOf(n), VLAN: n.VLAN, OVS: n.Kind == model.NICOVS, Leased: n.DHCP,
				RateIn: c.Rates.In.For(n.ID), RateOut: c.Rates.Out.For(n.ID),
			})
		default:
			d := desired.Device{
				NIC: n.ID, Kind: desired.DeviceKind(n.Kind), Name: n.Name, Parent: n.On, VLAN: n.VLAN,
				MAC: n.MAC, MTU: n.MTU, Addrs: addrsOf(n), Leased: n.DHCP,
			}
			if n.Kind == model.NICDummy {
				d.Parent = ""
			} else {
				d.RateIn, d.RateOut = c.Rates.In.For(n.ID), c.Rates.Out.For(n.ID)
			}
			s.Devices = append(s.Devices, d)
		}
	}
}

func endName(name, id string) string {
	if name != "" {
		return name
	}
	return "jv" + shortID(id)
}

// addrsOf gives a NIC's addresses: those asked for, or the lease's.
func addrsOf(n *model.NIC) []netip.Prefix {
	if n.DHCP && n.Lease != nil && n.Lease.Held {
		return []netip.Prefix{n.Lease.Address}
	}
	return n.Addrs
}

// exit is a way out that a NIC gives: its interface and a router on it.
type exit struct {
	dev string
	via netip.Addr
	far bool // the router is a neighbour in no subnet of the interface
}

// nicExit gives the last way out that was asked for with a NIC, or, when no
// network gives one, that of a lease.
func nicExit(c *model.Container, eps []*model.Endpoint, v6, leased bool) (out exit) {
	take := func(dev string, gateways ...netip.Addr) {
		for _, g := range gateways {
			if g.IsValid() && g.Is6() == v6 {
				out = exit{dev: dev, via: g}
			}
		}
	}
	if !leased {
		for _, e := range eps {
			take(e.Interface, e.Gateways...)
		}
	}
	for i := range c.NICs {
		n := &c.NICs[i]
		switch {
		case !leased:
			take(n.Name, n.Gateways...)
		case n.Lease != nil && n.Lease.Held:
			take(n.Name, n.Lease.Gateway)
			if out.dev == n.Name {
				out.far = !n.Lease.Address.Masked().Contains(out.via)
			}
		}
	}
	return out
}

// onePerLink are the settings of an interface that shares its subnet with
// another: it answers for its own addresses only, so that neighbours find each
// of them behind its own MAC (ip-sysctl: arp_ignore, arp_announce).
func onePerLink(s *desired.Sandbox, names ...string) {
	sysctls := make(map[string]string, len(s.Sysctls)+2*len(names))
	for k, v := range s.Sysctls {
		sysctls[k] = v
	}
	for _, name := range names {
		sysctls["net/ipv4/conf/"+name+"/arp_ignore"] = "1"
		sysctls["net/ipv4/conf/"+name+"/arp_announce"] = "2"
	}
	s.Sysctls = sysctls
}

// twins plans what further interfaces on one network need.
func (p *plan) twins(c *model.Container, eps []*model.Endpoint, s *desired.Sandbox, main []desired.Route) {
	for _, e := range eps {
		if !e.Extra {
			continue
		}
		names := []string{e.Interface}
		for _, o := range eps {
			if o != e && o.NetworkID == e.NetworkID && !o.Extra {
				names = append(names, o.Interface)
			}
		}
		onePerLink(s, names...)
		for _, v6 := range [...]bool{false, true} {
			n, a := p.snap.Networks[e.NetworkID], inside(e, v6)
			if !a.IsValid() || !bridged(n) {
				continue
			}
			gw := gatewayOf(n, a)
			if n.Internal {
				gw = netip.Addr{}
			}
			p.sourceRoutes(c, eps, s, e, gw, main, v6)
		}
	}
}

// askedRoutes adds the routes and rules that were asked for inside. A route
// whose way is not there, its NIC being without a lease perhaps, waits.
func askedRoutes(c *model.Container, s *desired.Sandbox) {
	for _, r := range c.Routes {
		if r.Deleted || !passable(s, r) {
			continue
		}
		s.Routes = append(s.Routes, desired.Route{
			Dst: r.Dst, Via: r.Via, Dev: r.Dev, Type: r.Type, V6: r.V6, Src: r.Src,
			Metric: r.Metric, Table: r.Table, MTU: r.MTU, OnLink: r.OnLink, Asked: true,
		})
	}
	for _, r := range c.Rules {
		s.Rules = append(s.Rules, desired.Rule(r))
	}
}

// passable tells whether the interface of a route is planned, its router behind
// it, and the address it is to send from. The kernel refuses another's, and the
// container's own as a router (net/ipv4/fib_semantics.c: fib_valid_prefsrc,
// fib_check_nh).
func passable(s *desired.Sandbox, r model.Route) bool {
	if r.Type != "" {
		return true
	}
	if r.Src.IsValid() && !ownAddress(s, r.Src) || r.Via.IsValid() && ownAddress(s, r.Via) {
		return false
	}
	if r.Dev == "lo" {
		return true
	}
	behind := func(dev string, addrs []netip.Prefix) bool {
		if r.Dev != "" && r.Dev != dev {
			return false
		}
		return !r.Via.IsValid() || r.OnLink || slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Masked().Contains(r.Via) })
	}
	return slices.ContainsFunc(s.Interfaces, func(i desired.Interface) bool { return behind(i.Name, i.Addrs) }) ||
		slices.ContainsFunc(s.Devices, func(d desired.Device) bool { return behind(d.Name, d.Addrs) })
}

// ownAddress tells whether an interface of the sandbox has the address.
func ownAddress(s *desired.Sandbox, a netip.Addr) bool {
	has := func(addrs []netip.Prefix) bool {
		return slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr() == a })
	}
	return slices.ContainsFunc(s.Interfaces, func(i desired.Interface) bool { return has(i.Addrs) }) ||
		slices.ContainsFunc(s.Devices, func(d desired.Device) bool { return has(d.Addrs) })
}

// askedAt tells whether a user decided on the place of a default route: another
// is there, or none.
func askedAt(c *model.Container, s *desired.Sandbox, v6 bool) bool {
	return slices.ContainsFunc(c.Routes, func(r model.Route) bool {
		return r.SamePlace(model.Route{V6: v6}) && (r.Deleted || passable(s, r))
	})
}
