package alloc

import (
	"net/netip"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Addresses gives the set of addresses that a network's endpoints have, as
// Address and CheckAddress take it.
func Addresses(endpoints map[string]*model.Endpoint) func(netip.Addr) bool {
	set := make(map[netip.Addr]struct{}, len(endpoints))
	for _, e := range endpoints {
		for _, p := range [...]netip.Prefix{e.IPv4, e.IPv6, e.Inside4, e.Inside6} {
			if p.IsValid() {
				set[p.Addr()] = struct{}{}
			}
		}
	}
	return func(a netip.Addr) bool { _, ok := set[a]; return ok }
}

// Address gives the lowest free IPv4 address of a network with its subnet's
// length, over its subnets in order. A full network is errs.Unavailable.
func Address(n *model.Network, used func(netip.Addr) bool) (netip.Prefix, error) {
	return lowest(n, false, used)
}

// Address6 is Address for IPv6.
func Address6(n *model.Network, used func(netip.Addr) bool) (netip.Prefix, error) {
	return lowest(n, true, used)
}

func lowest(n *model.Network, v6 bool, used func(netip.Addr) bool) (netip.Prefix, error) {
	for _, s := range n.Subnets {
		if s.Prefix.Addr().Is6() != v6 {
			continue
		}
		if a := lowestOf(s, used); a.IsValid() {
			return netip.PrefixFrom(a, s.Prefix.Bits()), nil
		}
	}
	return netip.Prefix{}, errs.New(errs.Unavailable,
		"no available IPv%d addresses on this network's address pools: %s (%s)", version(v6), n.Name, n.ID)
}

// lowestOf gives the lowest free address of one subnet, or the zero one.
func lowestOf(s model.Subnet, used func(netip.Addr) bool) netip.Addr {
	within := s.Prefix
	if s.Range.IsValid() {
		within = s.Range.Masked()
	}
	reserved := reservedOf(s)
	for a := within.Addr(); within.Contains(a); a = a.Next() {
		if _, ok := reserved[a]; !ok && !used(a) {
			return a
		}
	}
	return netip.Addr{}
}

// reservedOf gives the addresses of a subnet that no endpoint gets: its own
// (RFC 4291 section 2.6.1 for IPv6), broadcast, gateway and those set aside.
func reservedOf(s model.Subnet) map[netip.Addr]struct{} {
	out := map[netip.Addr]struct{}{s.Prefix.Masked().Addr(): {}, s.Gateway: {}}
	if s.Prefix.Addr().Is4() {
		out[last(s.Prefix)] = struct{}{}
	}
	for _, a := range s.Reserved {
		out[a] = struct{}{}
	}
	return out
}

// CheckAddress tells whether an endpoint may have the address it asks for, and
// gives it with its subnet's length. Docker lets a user ask for one outside
// --ip-range, and so does this.
func CheckAddress(n *model.Network, addr netip.Addr, used func(netip.Addr) bool) (netip.Prefix, error) {
	addr = addr.Unmap()
	for _, s := range n.Subnets {
		if !s.Prefix.Contains(addr) {
			continue
		}
		if what := role(s, addr); what != "" {
			return netip.Prefix{}, errs.New(errs.Invalid, "invalid address %s: it is %s of network %s's subnet %s", addr, what, n.Name, s.Prefix)
		}
		if used(addr) {
			return netip.Prefix{}, errs.New(errs.Forbidden, "Address already in use: %s on network %s", addr, n.Name)
		}
		return netip.PrefixFrom(addr, s.Prefix.Bits()), nil
	}
	return netip.Prefix{}, errs.New(errs.Invalid,
		"invalid address %s: It does not belong to any of this network's subnets: network %s has %s", addr, n.Name, prefixes(n.Subnets))
}

// role says what a subnet uses an address for, if not for endpoints.
func role(s model.Subnet, a netip.Addr) string {
	switch {
	case a == s.Gateway:
		return "the gateway"
	case a == s.Prefix.Masked().Addr():
		return "the network address"
	case a.Is4() && a == last(s.Prefix):
		return "the broadcast address"
	}
	for name, r := range s.Reserved {
		if r == a {
			return "the auxiliary address " + name
		}
	}
	return ""
}

func prefixes(subnets []model.Subnet) string {
	out := ""
	for i, s := range subnets {
		if i > 0 {
			out += ", "
		}
		out += s.Prefix.String()
	}
	if out == "" {
		return "no subnet"
	}
	return out
}

// last gives a prefix's highest address.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
