package netplan

import (
	"net/netip"
	"slices"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// leasedRoutes plans the further routes of DHCP leases, those on the link first.
// What a user decided comes before them, and no server leads away what is for
// another interface's subnet, or takes the place of a default route by halves.
func leasedRoutes(c *model.Container, s *desired.Sandbox) {
	for i := range c.NICs {
		n := &c.NICs[i]
		if !n.DHCP || n.Lease == nil || !n.Lease.Held {
			continue
		}
		for _, r := range n.Lease.Routes {
			asked := slices.ContainsFunc(c.Routes, func(o model.Route) bool { return o.SamePlace(model.Route{Dst: r.Dst}) })
			planned := slices.ContainsFunc(s.Routes, func(o desired.Route) bool { return o.Table == 0 && o.Dst == r.Dst })
			if wide(r.Dst) && defaultBeside(c, s, n.Name) {
				continue
			}
			if asked || planned || ownAddress(s, r.Via) || othersSubnet(s, n.Name, r.Dst) {
				continue
			}
			s.Routes = append(s.Routes, desired.Route{
				Dst: r.Dst, Via: r.Via, Dev: n.Name, OnLink: r.Via.IsValid() && !n.Lease.Address.Masked().Contains(r.Via),
			})
		}
	}
}

// wide tells whether a route stands for a default one: no network is as large,
// and two of them, or a few more, take everything (CVE-2024-3661). Those for
// multicast are for nothing else.
func wide(dst netip.Prefix) bool {
	return dst.Bits() < 8 && !dst.Addr().IsMulticast()
}

// defaultBeside tells whether the IPv4 default route is another interface's than
// the named one, or a user decided on it.
func defaultBeside(c *model.Container, s *desired.Sandbox, name string) bool {
	return askedAt(c, s, false) || slices.ContainsFunc(s.Routes, func(r desired.Route) bool {
		return r.Table == 0 && isDefault(r) && !wantsV6(r) && r.Dev != name
	})
}

// othersSubnet tells whether a destination is in a subnet of another interface.
func othersSubnet(s *desired.Sandbox, name string, dst netip.Prefix) bool {
	in := func(dev string, addrs []netip.Prefix) bool {
		return dev != name && slices.ContainsFunc(addrs, func(p netip.Prefix) bool {
			return p.Bits() <= dst.Bits() && p.Contains(dst.Addr())
		})
	}
	return slices.ContainsFunc(s.Interfaces, func(i desired.Interface) bool { return in(i.Name, i.Addrs) }) ||
		slices.ContainsFunc(s.Devices, func(d desired.Device) bool { return in(d.Name, d.Addrs) })
}
