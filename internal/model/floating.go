package model

import "net/netip"

// FIPPool is a prefix the operator gave for floating IPs, and the device of
// the host whose network expects them.
type FIPPool struct {
	Prefix netip.Prefix // masked
	Device string       // link name
}

// ID is the pool's key.
func (p *FIPPool) ID() string { return p.Prefix.String() }

// FloatingIP is an address that belongs to a container in both directions
// while it is attached, and to nobody else until it is released.
type FloatingIP struct {
	Address     netip.Addr
	Tenant      string       // whose it is; empty: the administrator's
	Name        string       // empty: none; unique among its tenant's
	ContainerID string       // empty: attached to none; at most one per container
	Pool        netip.Prefix // of which it was allocated
	// ExposeOnly lets it answer at the container's exposed ports only.
	ExposeOnly bool `json:",omitempty"`
	// Auto says that it was allocated for the container and goes with it.
	Auto bool `json:",omitempty"`
	// Finishing is the container that a swap took it from: TCP connections
	// through it may finish there.
	Finishing string `json:",omitempty"`
}

// ID is the floating IP's key.
func (f *FloatingIP) ID() string { return f.Address.String() }
