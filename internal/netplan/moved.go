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
		for _, v6 := range [...]bool{false, true} {
			_, in := e.Family(v6)
			if c := snap.Containers[e.ContainerID]; !in.IsValid() || c == nil || !c.Active {
				continue
			}
			if out == nil {
				out = map[place]struct{}{}
			}
			out[place{e.NetworkID, in.Addr()}] = struct{}{}
		}
	}
	return out
}

// inside gives an endpoint's address on its interface.
func inside(e *model.Endpoint, v6 bool) netip.Addr { return e.On(v6).Addr() }

// both tells whether a swapped endpoint has the address of one family it is
// reached by on its interface, too: when no other container has it there any
// more, somebody has to answer for it.
func (p *plan) both(e *model.Endpoint, v6 bool) bool {
	reached, in := e.Family(v6)
	if !in.IsValid() || *in == *reached {
		return false
	}
	_, elsewhere := p.insides[place{e.NetworkID, reached.Addr()}]
	return !elsewhere
}

// onInterface gives the addresses of an endpoint's interface.
func (p *plan) onInterface(e *model.Endpoint) []netip.Prefix {
	out := make([]netip.Prefix, 0, 2)
	for _, v6 := range [...]bool{false, true} {
		if a := e.On(v6); a.IsValid() {
			out = append(out, a)
		}
	}
	for _, v6 := range [...]bool{false, true} {
		if p.both(e, v6) {
			reached, _ := e.Family(v6)
			out = append(out, *reached)
		}
	}
	return out
}

// moved plans what leads to the addresses of an active container that was swapped.
func (p *plan) moved(c *model.Container) {
	for _, e := range p.snap.ByContainer[c.ID] {
		n := p.snap.Networks[e.NetworkID]
		for _, v6 := range [...]bool{false, true} {
			reached, in := e.Family(v6)
			if !in.IsValid() || !reached.IsValid() || !bridged(n) {
				continue
			}
			fw := &p.out.Firewall
			if fw.Moved == nil {
				fw.Moved, fw.Swapped = map[desired.MovedKey]netip.Addr{}, map[netip.Addr]struct{}{}
			}
			fw.Swapped[reached.Addr()], fw.Swapped[in.Addr()] = struct{}{}, struct{}{}
			if b := p.out.Bridges[n.Bridge]; b != nil {
				b.NoRedirects = true
			}
			if *in != *reached {
				fw.Moved[desired.MovedKey{Bridge: n.Bridge, Addr: reached.Addr()}] = in.Addr()
			}
		}
	}
}
