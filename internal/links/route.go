package links

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/model"
)

// Route is the way a link goes: from an endpoint of its container to one of its
// target's. Both are nil while there is no way.
type Route struct {
	Target   *model.Container // nil while the link waits for one
	Owner    *model.Container // in whose network the target is: mostly its own
	From, To *model.Endpoint
}

// Joined tells whether the two ends are on different networks, so that the link
// alone joins them.
func (r Route) Joined() bool { return r.To != nil && r.From.NetworkID != r.To.NetworkID }

// Addresses are the target's at the end of the route, IPv4 first.
func (r Route) Addresses() []netip.Addr {
	if r.To == nil {
		return nil
	}
	out := make([]netip.Addr, 0, 2)
	if r.Joined() {
		for _, p := range r.Pairs() {
			out = append(out, p[1])
		}
		return out
	}
	for _, p := range [...]netip.Prefix{r.To.IPv4, r.To.IPv6} {
		if p.IsValid() {
			out = append(out, p.Addr())
		}
	}
	return out
}

// Pairs are the addresses on both ends' interfaces, From's and To's, one pair for each family
// that both have.
func (r Route) Pairs() [][2]netip.Addr {
	if r.To == nil {
		return nil
	}
	out := make([][2]netip.Addr, 0, 2)
	for _, p := range [...][2]netip.Prefix{{r.From.On(false), r.To.On(false)}, {r.From.On(true), r.To.On(true)}} {
		if p[0].IsValid() && p[1].IsValid() {
			out = append(out, [2]netip.Addr{p[0].Addr(), p[1].Addr()})
		}
	}
	return out
}

// Find gives the route of a link: over its own network, if the target is on
// that; else over the first network both are on; else, unless the link is
// strict, between two networks.
func Find(snap *model.Snapshot, l *model.Link) Route {
	r := Route{Target: snap.Containers[l.TargetID]}
	if r.Target == nil {
		return Route{}
	}
	if r.Owner = Owner(snap, r.Target); r.Owner == nil {
		return r
	}
	own, theirs := snap.ByContainer[l.ContainerID], snap.ByContainer[r.Owner.ID]
	for _, e := range own {
		other := on(theirs, e.NetworkID)
		if other == nil || !bridged(snap, e) {
			continue
		}
		if r.To == nil || e.NetworkID == l.NetworkID {
			r.From, r.To = e, other
		}
	}
	if r.To == nil && !l.Strict {
		r.From, r.To = gate(snap, own), gate(snap, theirs)
		if r.From == nil || len(r.Pairs()) == 0 {
			r.From, r.To = nil, nil
		}
	}
	return r
}

// gate gives the endpoint at which a container is joined with one on another
// network: the first that reaches outside, or the first, if none does. Whoever
// is joined with whom, each has one gate: so there is one route between two.
func gate(snap *model.Snapshot, eps []*model.Endpoint) *model.Endpoint {
	var inside *model.Endpoint
	for _, e := range eps {
		switch {
		case !bridged(snap, e) || !routed(snap.Networks[e.NetworkID], e):
		case !snap.Networks[e.NetworkID].Internal:
			return e
		case inside == nil:
			inside = e
		}
	}
	return inside
}

// routed tells whether the endpoint has the host for a router.
func routed(n *model.Network, e *model.Endpoint) bool {
	return slices.ContainsFunc(n.Subnets, func(s model.Subnet) bool {
		return s.Gateway.IsValid() && (e.IPv4.IsValid() && s.Prefix.Contains(e.IPv4.Addr()) || e.IPv6.IsValid() && s.Prefix.Contains(e.IPv6.Addr()))
	})
}

func bridged(snap *model.Snapshot, e *model.Endpoint) bool {
	n := snap.Networks[e.NetworkID]
	return n != nil && n.Driver == model.DriverBridge
}

func on(eps []*model.Endpoint, networkID string) *model.Endpoint {
	for _, e := range eps {
		if e.NetworkID == networkID {
			return e
		}
	}
	return nil
}

// Owner gives the container whose network namespace c is in: itself, or the one
// at the end of its --net container: chain; nil if that is absent.
func Owner(snap *model.Snapshot, c *model.Container) *model.Container {
	for range len(snap.Containers) {
		of, joins := strings.CutPrefix(string(c.Host.NetworkMode), "container:")
		if !joins {
			return c
		}
		if c = snap.Containers[of]; c == nil {
			return nil
		}
	}
	return nil // a circle
}
