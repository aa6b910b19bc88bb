package desired

import (
	"maps"
	"net/netip"
	"slices"
)

// Equal compares by value. All comparisons of this package take the shortcut
// of equal pointers first: a planner that hands out what it made before makes
// a thousand unchanged sandboxes cost a thousand comparisons of a word.

// Equal tells whether both states want the same, whatever their revisions.
func (s *State) Equal(o *State) bool {
	if s == o {
		return true
	}
	if s == nil || o == nil {
		return false
	}
	return maps.EqualFunc(s.Bridges, o.Bridges, (*Bridge).Equal) &&
		maps.EqualFunc(s.Sandboxes, o.Sandboxes, (*Sandbox).Equal) &&
		s.Firewall.Equal(o.Firewall) &&
		maps.Equal(s.Claims, o.Claims) &&
		maps.EqualFunc(s.Files, o.Files, slices.Equal) &&
		maps.Equal(s.Addresses, o.Addresses) &&
		s.Zones.Equal(o.Zones)
}

// Equal compares two bridges; addresses in order.
func (b *Bridge) Equal(o *Bridge) bool {
	if b == o {
		return true
	}
	return b != nil && o != nil && b.Name == o.Name && b.Network == o.Network && b.MAC == o.MAC &&
		b.MTU == o.MTU && b.RouteLocalnet == o.RouteLocalnet && b.NoRedirects == o.NoRedirects && b.OwnARP == o.OwnARP && b.Plain == o.Plain && b.OVS == o.OVS && slices.Equal(b.Addrs, o.Addrs)
}

// Equal compares two sandboxes, the contents of their files included.
func (s *Sandbox) Equal(o *Sandbox) bool {
	if s == o {
		return true
	}
	return s.SameInside(o) && s.Resolver == o.Resolver && slices.Equal(s.Files, o.Files)
}

// SameInside compares what Links.EnsureSandbox makes: everything but the files
// and the daemon's own sockets.
func (s *Sandbox) SameInside(o *Sandbox) bool {
	if s == o {
		return true
	}
	return s != nil && o != nil && s.Container == o.Container && s.ResolverVia == o.ResolverVia &&
		(!s.ResolverVia.IsValid() || s.Resolver == o.Resolver) &&
		slices.EqualFunc(s.Interfaces, o.Interfaces, Interface.Equal) &&
		slices.EqualFunc(s.Devices, o.Devices, Device.Equal) &&
		slices.Equal(s.Rules, o.Rules) && slices.EqualFunc(s.TC, o.TC, slices.Equal) &&
		slices.Equal(s.Routes, o.Routes) && maps.Equal(s.Sysctls, o.Sysctls)
}

// Listen is where the daemon's sockets for this sandbox are; invalid: nowhere.
func (s *Sandbox) Listen() netip.AddrPort {
	if s.ResolverVia.IsValid() {
		return s.ResolverVia
	}
	return s.Resolver
}

// Equal compares two interfaces; addresses in order.
func (i Interface) Equal(o Interface) bool {
	return i.Endpoint == o.Endpoint && i.Host == o.Host && i.Name == o.Name && i.Bridge == o.Bridge &&
		i.MAC == o.MAC && i.MTU == o.MTU && i.RateIn == o.RateIn && i.RateOut == o.RateOut && i.VLAN == o.VLAN && i.OVS == o.OVS && i.Leased == o.Leased &&
		slices.Equal(i.Addrs, o.Addrs)
}

// Equal compares two devices; addresses in order.
func (d Device) Equal(o Device) bool {
	return d.NIC == o.NIC && d.Kind == o.Kind && d.Name == o.Name && d.Parent == o.Parent && d.VLAN == o.VLAN &&
		d.MAC == o.MAC && d.MTU == o.MTU && d.Leased == o.Leased && d.RateIn == o.RateIn && d.RateOut == o.RateOut && slices.Equal(d.Addrs, o.Addrs)
}

// Equal compares what the resolver would answer, the order of addresses included.
func (z *Zones) Equal(o *Zones) bool {
	if z == o {
		return true
	}
	return z != nil && o != nil && slices.Equal(z.Upstreams, o.Upstreams) &&
		maps.EqualFunc(z.Networks, o.Networks, (*Zone).Equal) &&
		maps.EqualFunc(z.Views, o.Views, (*View).Equal)
}

// Equal compares two networks' names.
func (z *Zone) Equal(o *Zone) bool {
	if z == o {
		return true
	}
	return z != nil && o != nil && maps.Equal(z.Reverse, o.Reverse) && maps.Equal(z.Nodes, o.Nodes) &&
		maps.EqualFunc(z.Names, o.Names, slices.Equal)
}

// Equal compares two containers' sights.
func (v *View) Equal(o *View) bool {
	if v == o {
		return true
	}
	return v != nil && o != nil && v.NoForward == o.NoForward && slices.Equal(v.Networks, o.Networks) &&
		slices.Equal(v.Upstreams, o.Upstreams) && maps.EqualFunc(v.Aliases, o.Aliases, slices.Equal)
}
