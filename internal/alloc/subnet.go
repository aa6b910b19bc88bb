package alloc

import (
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// DefaultPools gives where networks without --subnet take theirs from: after
// the default network's 172.17.0.0/16, in pieces of 1,022 hosts. A bridge has
// at most 1,024 ports (BR_MAX_PORTS in net/bridge/br_private.h), so larger ones
// would only make the pools run out sooner; this way 1,024 networks fit.
func DefaultPools() []model.AddressPool {
	return []model.AddressPool{
		{Base: "172.18.0.0/15", Size: 22},
		{Base: "172.20.0.0/14", Size: 22},
		{Base: "172.24.0.0/13", Size: 22},
		{Base: "192.168.0.0/16", Size: 22},
		{Base: "10.213.0.0/16", Size: 22},
	}
}

// ParsePool checks a --default-address-pool.
func ParsePool(p model.AddressPool) (netip.Prefix, error) {
	base, err := netip.ParsePrefix(p.Base)
	if err != nil {
		return netip.Prefix{}, errs.New(errs.Invalid, "invalid default address pool %q: invalid CIDR block notation", p.Base)
	}
	if p.Size < base.Bits() || p.Size > largest(base) {
		return netip.Prefix{}, errs.New(errs.Invalid,
			"invalid default address pool %s: size %d is not between %d and %d", p.Base, p.Size, base.Bits(), largest(base))
	}
	return base.Masked(), nil
}

// largest is the longest prefix of a usable subnet: gateway and one container.
func largest(p netip.Prefix) int { return p.Addr().BitLen() - 2 }

// ULAPool gives where IPv6 networks without --subnet take theirs from: 65,536
// of 64 bits in a /48 of unique local addresses (RFC 4193 section 3.1), whose 40
// random bits are the first of seed, the hexadecimal ID of something that stays.
func ULAPool(seed string) (model.AddressPool, error) {
	global, err := hex.DecodeString(seed[:min(len(seed), 10)])
	if err != nil || len(global) != 5 {
		return model.AddressPool{}, errs.New(errs.Invalid, "no prefix of unique local addresses can be made of the ID %q", seed)
	}
	var b [16]byte
	b[0] = 0xfd
	copy(b[1:], global)
	return model.AddressPool{Base: netip.PrefixFrom(netip.AddrFrom16(b), 48).String(), Size: 64}, nil
}

// Subnet gives the first IPv4 piece of the pools that overlaps nothing taken:
// networks' subnets and whatever the host has routes for. None left is
// errs.Unavailable.
func Subnet(pools []model.AddressPool, taken []netip.Prefix) (netip.Prefix, error) {
	return subnet(pools, false, taken)
}

// Subnet6 is Subnet for IPv6.
func Subnet6(pools []model.AddressPool, taken []netip.Prefix) (netip.Prefix, error) {
	return subnet(pools, true, taken)
}

func subnet(pools []model.AddressPool, v6 bool, taken []netip.Prefix) (netip.Prefix, error) {
	for _, pool := range pools {
		base, err := ParsePool(pool)
		if err != nil {
			return netip.Prefix{}, err
		}
		if base.Addr().Is6() != v6 {
			continue
		}
		if p := firstFree(base, pool.Size, taken); p.IsValid() {
			return p, nil
		}
	}
	return netip.Prefix{}, errs.New(errs.Unavailable, "could not find an available, non-overlapping IPv%d address pool among the defaults to assign to the network: remove networks that are not used, give this one a --subnet, or start jackstayd with another --default-address-pool", version(v6))
}

func version(v6 bool) int {
	if v6 {
		return 6
	}
	return 4
}

// firstFree gives the first piece of base with size bits that overlaps nothing
// taken, or the zero prefix. Every piece costs one look-up, however many are taken.
func firstFree(base netip.Prefix, size int, taken []netip.Prefix) netip.Prefix {
	var wide []netip.Prefix               // larger than a piece
	pieces := map[netip.Prefix]struct{}{} // those with something taken inside
	for _, t := range taken {
		switch {
		case !t.IsValid() || !t.Overlaps(base):
		case t.Bits() < size:
			wide = append(wide, t)
		default:
			pieces[netip.PrefixFrom(t.Addr(), size).Masked()] = struct{}{}
		}
	}
	for p := netip.PrefixFrom(base.Addr(), size); p.IsValid() && base.Contains(p.Addr()); {
		blocker := p
		if _, ok := pieces[p]; !ok {
			i := overlapping(wide, p)
			if i < 0 {
				return p
			}
			blocker = wide[i]
		}
		p = netip.PrefixFrom(last(blocker).Next(), size)
	}
	return netip.Prefix{}
}

func overlapping(in []netip.Prefix, p netip.Prefix) int {
	for i, o := range in {
		if o.Overlaps(p) {
			return i
		}
	}
	return -1
}

// CheckOverlap refuses subnets that overlap another network's.
func CheckOverlap(subnets []model.Subnet, networks map[string]*model.Network) error {
	for _, s := range subnets {
		for _, n := range networks {
			for _, o := range n.Subnets {
				if o.Prefix.Overlaps(s.Prefix) {
					return errs.New(errs.Forbidden,
						"invalid pool request: Pool overlaps with other one on this address space: %s overlaps network %s (%s)", s.Prefix, n.Name, o.Prefix)
				}
			}
		}
	}
	return nil
}

// ParseSubnets checks what a network request says about addresses. A subnet
// with host bits set means the one it lies in; a gateway not given is the first
// address that is not set aside.
func ParseSubnets(r model.NetworkRequest) ([]model.Subnet, error) {
	var out []model.Subnet
	for _, q := range r.Subnets {
		s, err := parseSubnet(q)
		if err != nil {
			return nil, errs.New(errs.Invalid, "invalid network config: %w", err)
		}
		for _, o := range out {
			if o.Prefix.Overlaps(s.Prefix) {
				return nil, errs.New(errs.Invalid, "invalid network config: subnets %s and %s overlap", o.Prefix, s.Prefix)
			}
		}
		out = append(out, s)
	}
	return out, nil
}

func parseSubnet(q model.SubnetRequest) (model.Subnet, error) {
	if q.Prefix == "" {
		return model.Subnet{}, fmt.Errorf("gateway, ip-range and auxiliary addresses need a --subnet")
	}
	p, err := netip.ParsePrefix(q.Prefix)
	if err != nil {
		return model.Subnet{}, fmt.Errorf("invalid subnet %s: invalid CIDR block notation", q.Prefix)
	}
	if p != p.Masked() {
		return model.Subnet{}, fmt.Errorf("invalid subnet %s: it should be %s", q.Prefix, p.Masked())
	}
	s := model.Subnet{Prefix: p}
	if err := checkPrefix(s.Prefix); err != nil {
		return model.Subnet{}, err
	}
	if s.Range, err = parseRange(q.Range, s.Prefix); err != nil {
		return model.Subnet{}, err
	}
	for name, given := range q.Reserved {
		a, err := within(given, s.Prefix)
		if err != nil {
			return model.Subnet{}, fmt.Errorf("invalid auxiliary address %s: %w", name, err)
		}
		if s.Reserved == nil {
			s.Reserved = map[string]netip.Addr{}
		}
		s.Reserved[name] = a
	}
	if s.Gateway, err = gateway(q.Gateway, s); err != nil {
		return model.Subnet{}, fmt.Errorf("invalid gateway %s: %w", q.Gateway, err)
	}
	return s, nil
}

// checkPrefix refuses what no host can have on an interface.
func checkPrefix(p netip.Prefix) error {
	switch {
	case p.Addr().Is4In6():
		return fmt.Errorf("invalid subnet %s: write it as IPv4", p)
	case p.Bits() > largest(p):
		return fmt.Errorf("invalid subnet %s: it is too small, at most /%d has room for a gateway and a container", p, largest(p))
	case p.Bits() == 0 || p.Addr().IsMulticast() || p.Addr().IsLoopback() || p.Addr().IsUnspecified() ||
		p.Addr().Is6() && p.Addr().IsLinkLocalUnicast():
		return fmt.Errorf("invalid subnet %s: containers can't have addresses of this range", p)
	}
	return nil
}

func parseRange(given string, subnet netip.Prefix) (netip.Prefix, error) {
	if given == "" {
		return netip.Prefix{}, nil
	}
	r, err := netip.ParsePrefix(given)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("invalid ip-range %s: invalid CIDR block notation", given)
	case r.Addr().Is4() != subnet.Addr().Is4():
		return netip.Prefix{}, fmt.Errorf("invalid ip-range %s: parent subnet is an %s block", given, family(subnet))
	case r.Bits() < subnet.Bits():
		return netip.Prefix{}, fmt.Errorf("invalid ip-range %s: CIDR block is bigger than its parent subnet %s", given, subnet)
	case !subnet.Overlaps(r):
		return netip.Prefix{}, fmt.Errorf("invalid ip-range %s: parent subnet %s doesn't contain ip-range", given, subnet)
	}
	return r.Masked(), nil
}

func family(p netip.Prefix) string {
	if p.Addr().Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// within parses an address that must lie in the subnet.
func within(given string, subnet netip.Prefix) (netip.Addr, error) {
	a, err := netip.ParseAddr(given)
	switch {
	case err != nil || a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("invalid address %q", given)
	case a.Is4() != subnet.Addr().Is4():
		return netip.Addr{}, fmt.Errorf("parent subnet is an %s block", family(subnet))
	case !subnet.Contains(a):
		return netip.Addr{}, fmt.Errorf("parent subnet %s doesn't contain this address", subnet)
	}
	return a, nil
}

// gateway gives the gateway asked for, or the first address not set aside.
func gateway(given string, s model.Subnet) (netip.Addr, error) {
	if given == "" {
		s.Range = netip.Prefix{}
		return lowestOf(s, func(netip.Addr) bool { return false }), nil
	}
	a, err := within(given, s.Prefix)
	if err != nil {
		return netip.Addr{}, err
	}
	if what := role(s, a); what != "" {
		return netip.Addr{}, fmt.Errorf("it is %s of %s", what, s.Prefix)
	}
	return a, nil
}
