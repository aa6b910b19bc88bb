package model

import (
	"net/netip"
	"slices"
	"time"
)

// NICKind says what a NIC is made of.
type NICKind string

// The kinds of NICs.
const (
	NICNetwork NICKind = "network" // an endpoint of a network of ours
	NICBridge  NICKind = "bridge"  // a veth pair, the host end on a bridge
	NICOVS     NICKind = "ovs"     // a veth pair, the host end on an Open vSwitch bridge
	NICMacvlan NICKind = "macvlan" // on a device of the host
	NICVLAN    NICKind = "vlan"    // 802.1q on a device of the host
	NICDirect  NICKind = "direct"  // the device itself, which is away from the host meanwhile
	NICDummy   NICKind = "dummy"   // leads nowhere
)

// HostEnd tells whether a NIC of this kind is a pair whose other end is on the
// host.
func (k NICKind) HostEnd() bool { return k == NICNetwork || k == NICBridge || k == NICOVS }

// NIC is a further interface of a container that is no endpoint of a network
// of ours. What is picked once, as its MAC, is its until it is removed.
type NIC struct {
	ID   string // 64 hex digits
	Kind NICKind
	Name string // inside
	On   string // the bridge or device of the host
	// Made says that the bridge was not there: it is ours, and goes with the
	// last NIC on it.
	Made     bool   `json:",omitempty"`
	HostName string `json:",omitempty"` // link name of the host end; empty: jv and digits of the ID
	Addrs    []netip.Prefix
	Gateways []netip.Addr `json:",omitempty"` // they take the place of the networks' default routes
	MAC      string       // empty: the device's own
	MTU      int          `json:",omitempty"` // 0: the kernel's, or the device's
	VLAN     int          `json:",omitempty"`
	DHCP     bool         `json:",omitempty"`
	Lease    *DHCPLease   `json:",omitempty"` // nil: none yet, or given back
}

// DHCPLease is what a DHCP server gave a NIC.
type DHCPLease struct {
	Address netip.Prefix
	Gateway netip.Addr `json:",omitzero"`
	// Routes are the further ones, through routers that are neighbours.
	Routes  []LeasedRoute `json:",omitempty"`
	Server  netip.Addr
	Renew   time.Time // T1: asked again from then on
	Rebind  time.Time // T2: of any server
	Expires time.Time
	Offer   []byte // the acknowledgement as it came, to renew and release it by
	Held    bool   // false: released or ended; asked for again at the next start
}

// LeasedRoute is a route that a DHCP server gives.
type LeasedRoute struct {
	Dst netip.Prefix
	Via netip.Addr `json:",omitzero"` // invalid: Dst is on the link
}

// Neighbour tells whether an address is on the lease's link: in its subnet, or
// in that of a route without a router.
func (l *DHCPLease) Neighbour(a netip.Addr) bool {
	return l.Address.Masked().Contains(a) ||
		slices.ContainsFunc(l.Routes, func(r LeasedRoute) bool { return !r.Via.IsValid() && r.Dst.Contains(a) })
}

// Route is one route inside a container.
type Route struct {
	Type   string       `json:",omitempty"` // empty: unicast; blackhole, unreachable or prohibit
	Dst    netip.Prefix `json:",omitzero"`  // invalid: the default route
	Via    netip.Addr   `json:",omitzero"`
	Dev    string       `json:",omitempty"`
	Src    netip.Addr   `json:",omitzero"`
	Metric int          `json:",omitempty"`
	Table  int          `json:",omitempty"` // 0: main
	MTU    int          `json:",omitempty"`
	OnLink bool         `json:",omitempty"`
	V6     bool         `json:",omitempty"`
	// Deleted says that there is none at this place, whatever networks and NICs
	// would have there.
	Deleted bool `json:",omitempty"`
}

// SamePlace tells whether the kernel takes only one of two routes.
func (r Route) SamePlace(o Route) bool {
	return r.Dst == o.Dst && r.V6 == o.V6 && r.Metric == o.Metric && r.table() == o.table()
}

func (r Route) table() int {
	if r.Table == 0 {
		return 254
	}
	return r.Table
}

// RouteRule says by which table a packet is routed inside a container.
type RouteRule struct {
	Priority int          `json:",omitempty"` // 0: picked when it is made
	V6       bool         `json:",omitempty"`
	Not      bool         `json:",omitempty"`
	From, To netip.Prefix `json:",omitzero"`
	IIf, OIf string       `json:",omitempty"`
	Mark     uint32       `json:",omitempty"`
	Mask     uint32       `json:",omitempty"`
	Table    int
	Action   string `json:",omitempty"` // empty: look up Table; blackhole, unreachable, prohibit
}

// NICRequest asks for a NIC.
type NICRequest struct {
	On       string // a network, a bridge or a device of the host, or dummy
	Name     string // empty: the first free ethN from eth1 on
	HostName string
	Addrs    []netip.Prefix
	Gateways []netip.Addr
	MAC      string
	MACFrom  string // a word that the MAC is made from
	MTU      int
	VLAN     int
	Routes   []Route
	DHCP     bool
	Direct   bool
	// RateIn and RateOut limit it, in tc(8)'s units; empty: as the container is.
	RateIn, RateOut string
	// Wait returns only when the NIC is up inside: for a container that does not
	// run, after its start.
	Wait bool
}

// NICView is an interface of a container as it is shown: a NIC or an endpoint.
type NICView struct {
	Container *Container
	NIC       NIC
	Network   *Network // of an endpoint
	Endpoint  *Endpoint
}

// HostLink is a link of the host as a NIC may be put on it.
type HostLink struct {
	Name    string
	Type    string // the kernel's word: bridge, veth, device, …
	Network string // ID of the network whose bridge it is; empty: none of ours
	NICs    bool   // a bridge that was made for NICs
	Ours    bool   // anything else of ours
	Master  string
	Addrs   []netip.Addr
}
