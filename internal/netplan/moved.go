package netplan

import (
	"net/netip"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// A swap exchanges the addresses of two containers without touching what is
// inside them, so that no connection of either is cut: each keeps the address
// on its interface, and what is new is led from the address a container is
// reached by to the one it has inside.

// place is an address on a network.
type place struct {
	network string
	addr    netip.Addr
}

// insides lists the addresses that swapped containers have on their interfaces.
func insides(snap *model.Snapshot) map[place]struct{} {
	var out map[place]struct{}
	for _, e := range snap.Endpoints {
		if c := snap.Containers[e.ContainerID]; !e.Inside4.IsValid() || c == nil || !c.Active {
			continue
		}
		if out == nil {
			out = map[place]struct{}{}
		}
		out[place{e.NetworkID, e.Inside4.Addr()}] = struct{}{}
	}
	return out
}

// inside gives an endpoint's address on its interface.
func inside(e *model.Endpoint, v6 bool) netip.Addr {
	if !v6 {
		return e.On4().Addr()
	}
	return address(e, v6)
}

// both tells whether a swapped endpoint has the address it is reached by on its
// interface, too: when no other container has it there any more, somebody has
// to answer for it.
func (p *plan) both(e *model.Endpoint) bool {
	if !e.Inside4.IsValid() || e.Inside4 == e.IPv4 {
		return false
	}
	_, elsewhere := p.insides[place{e.NetworkID, e.IPv4.Addr()}]
	return !elsewhere
}

// onInterface gives the addresses of an endpoint's interface.
func (p *plan) onInterface(e *model.Endpoint) []netip.Prefix {
	out := make([]netip.Prefix, 0, 1)
	for _, a := range [...]netip.Prefix{e.On4(), e.IPv6} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	if p.both(e) {
		out = append(out, e.IPv4)
	}
	return out
}

// moved plans what leads to the addresses of an active container that was swapped.
func (p *plan) moved(c *model.Container) {
	for _, e := range p.snap.ByContainer[c.ID] {
		n := p.snap.Networks[e.NetworkID]
		if !e.Inside4.IsValid() || !e.IPv4.IsValid() || !bridged(n) {
			continue
		}
		fw := &p.out.Firewall
		if fw.Moved == nil {
			fw.Moved, fw.Swapped = map[desired.MovedKey]netip.Addr{}, map[netip.Addr]struct{}{}
		}
		fw.Swapped[e.IPv4.Addr()], fw.Swapped[e.Inside4.Addr()] = struct{}{}, struct{}{}
		if b := p.out.Bridges[n.Bridge]; b != nil {
			b.NoRedirects = true
		}
		if e.Inside4 != e.IPv4 {
			fw.Moved[desired.MovedKey{Bridge: n.Bridge, Addr: e.IPv4.Addr()}] = e.Inside4.Addr()
		}
	}
}
