package model

import "net/netip"

// LinkRequest asks for a link on a container that is there already.
type LinkRequest struct {
	Target string // name or ID of a container
	Alias  string // empty: the target's name as given
	// Ports are PORT[-PORT][/PROTO] of the target; none: what it exposes.
	Ports []string
	// Wait stores the link even if it leads nowhere yet: the first container
	// that is called Target gets it.
	Wait bool
	// Strict refuses a link between containers on no common network.
	Strict bool
}

// PublishedPort names host ports to take back: those from From to To of one
// protocol, on HostIP alone or, when that is invalid, on whatever address.
type PublishedPort struct {
	HostIP   netip.Addr
	From, To uint16
	Proto    string
}

// Lease is one address of a network that is not free.
type Lease struct {
	Address     netip.Addr
	MAC         string // empty: reserved
	Container   string // name; of a reserved one what it is for
	ContainerID string
	State       LeaseState
}

// Overlap is a route or an address of the host's that is where a network is, so
// that not everybody there is reached.
type Overlap struct {
	NetworkID string
	Subnet    netip.Prefix // the network's
	Route     netip.Prefix // the host's
	Device    string       // that the route leads to; empty: none
}

// LeaseState says what an address is taken by.
type LeaseState string

// The states of a lease: in use by a container with a network now, kept for
// one that is stopped, or given to no container at all.
const (
	LeaseActive   LeaseState = "active"
	LeaseKept     LeaseState = "kept"
	LeaseReserved LeaseState = "reserved"
)
