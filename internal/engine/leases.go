package engine

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Leases lists the addresses of a network that are not free, in order.
func (e *Engine) Leases(ref string) ([]model.Lease, error) {
	s := e.store.Snapshot()
	n, err := findNetwork(s, ref)
	if err != nil {
		return nil, err
	}
	if n.Driver != model.DriverBridge {
		return nil, errs.New(errs.Invalid, "network %s has no addresses of its own", n.Name)
	}
	var out []model.Lease
	for _, sub := range n.Subnets {
		if sub.Gateway.IsValid() {
			out = append(out, model.Lease{Address: sub.Gateway, Container: "gateway", State: model.LeaseReserved})
		}
		for _, name := range slices.Sorted(maps.Keys(sub.Reserved)) {
			out = append(out, model.Lease{Address: sub.Reserved[name], Container: name, State: model.LeaseReserved})
		}
	}
	for _, ep := range s.ByNetwork[n.ID] {
		l := model.Lease{MAC: ep.MAC, Container: nameOf(s, ep.ContainerID), ContainerID: ep.ContainerID, State: model.LeaseKept}
		if c := s.Containers[ep.ContainerID]; c != nil && c.Active {
			l.State = model.LeaseActive
		}
		addrs := []netip.Prefix{ep.IPv4, ep.IPv6}
		for _, v6 := range [...]bool{false, true} {
			addrs = append(addrs, insideOnly(s, ep, v6))
		}
		for _, p := range addrs {
			if p.IsValid() {
				l.Address = p.Addr()
				out = append(out, l)
			}
		}
	}
	slices.SortFunc(out, func(a, b model.Lease) int { return a.Address.Compare(b.Address) })
	return out, nil
}

// insideOnly gives the address of one family on the interface of a swapped
// container by which nobody is reached; mostly somebody is by it.
func insideOnly(s *model.Snapshot, ep *model.Endpoint, v6 bool) netip.Prefix {
	_, inside := ep.Family(v6)
	for _, other := range s.ByNetwork[ep.NetworkID] {
		if reached, _ := other.Family(v6); *reached == *inside {
			return netip.Prefix{}
		}
	}
	return *inside
}
