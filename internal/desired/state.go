// Package desired holds the wanted state of the host's network as plain
// values: what netplan computes, reconcile compares, and the kernel ports
// apply. It imports the standard library only.
package desired

import "net/netip"

// State is everything Jackstay wants of the host at one revision of the store.
type State struct {
	Revision  uint64
	Bridges   map[string]*Bridge  // by link name
	Sandboxes map[string]*Sandbox // by container ID
	Firewall  Firewall
	Claims    map[Claim]string // host port to the container ID that holds it
	Zones     *Zones
	// Files are those of active containers without a sandbox of their own (host,
	// container:ID), by container ID. A sandbox has its owner's in it.
	Files map[string][]File
	// Addresses are put on the host's own devices, for the container with this ID.
	Addresses map[DeviceAddress]string
}

// DeviceAddress is an address on a device of the host that is not ours. It is
// put there with its full length: it is no other neighbour's.
type DeviceAddress struct {
	Device string // link name
	Addr   netip.Addr
}

// Bridge is one network's bridge.
type Bridge struct {
	Name    string
	Network string         // network ID: the alias of the link says it
	MAC     string         // stable, so that neighbours keep their entries when it is made again
	Addrs   []netip.Prefix // the gateway addresses
	MTU     int            // 0: the kernel's
	// RouteLocalnet lets 127.0.0.1's published ports leave through the bridge
	// (net.ipv4.conf.NAME.route_localnet).
	RouteLocalnet bool
	// NoRedirects keeps the host from telling containers of a shorter way to each
	// other: what is routed back into the bridge goes the way it shall.
	NoRedirects bool
	// Plain is a switch for NICs and no network's: the host's administrator may
	// give it addresses, and no setting but these is touched.
	Plain bool
	OVS   bool // Open vSwitch's
	// OwnARP has the host answer ARP on the bridge for the bridge's own addresses
	// alone (net.ipv4.conf.NAME.arp_ignore), not for all it has.
	OwnARP bool
}

// Sandbox is one container's network: a namespace and what is in it. The
// containers that join it (--net container:) have none of their own.
type Sandbox struct {
	Container  string // ID
	Interfaces []Interface
	Devices    []Device
	Routes     []Route
	Rules      []Rule
	TC         [][]string        // words of tc(8), a line each, in order
	Sysctls    map[string]string // path below /proc/sys, e.g. net/ipv4/ip_unprivileged_port_start
	// Resolver is where the daemon serves names inside the namespace,
	// 127.0.0.11:53; invalid: none (no network, or only `none`).
	Resolver netip.AddrPort
	// ResolverVia, when its port differs from Resolver's, is where the daemon
	// really listens, with the namespace's own nftables redirecting: for
	// containers that want port 53 of every address for themselves.
	ResolverVia netip.AddrPort
	Files       []File
}

// Interface is a veth pair: Host end on Bridge, Name inside.
type Interface struct {
	Endpoint string // ID: the alias of the host end says it
	Host     string // link name of the host end
	Name     string // link name inside
	Bridge   string
	MAC      string
	Addrs    []netip.Prefix
	MTU      int
	// RateIn and RateOut limit what goes into and comes out of the container
	// here, in bits a second; 0: no limit.
	RateIn, RateOut uint64
	VLAN            int  // untagged at the port; 0: as the bridge has it
	OVS             bool // Bridge is Open vSwitch's
	Leased          bool // Addrs come and go with a lease
}

// Device is an interface of a sandbox without a host end.
type Device struct {
	NIC    string // ID: the alias of the link inside says it
	Kind   DeviceKind
	Name   string // link name inside
	Parent string // link name on the host, of all but Dummy
	VLAN   int
	MAC    string // empty: the parent's or the kernel's choice
	MTU    int
	Addrs  []netip.Prefix
	Leased bool // Addrs come and go with a lease
	// RateIn and RateOut limit what goes in and comes out here, in bits a second;
	// 0: no limit. They are set inside: whoever has CAP_NET_ADMIN there lifts them.
	RateIn, RateOut uint64
}

// DeviceKind is the kernel's word for a link, or Direct.
type DeviceKind string

// The kinds of devices.
const (
	Macvlan DeviceKind = "macvlan"
	VLAN    DeviceKind = "vlan"
	Dummy   DeviceKind = "dummy"
	Direct  DeviceKind = "direct" // Parent itself: given back when it is not wanted any more
)

// Route is one route inside a sandbox. A zero Dst is the default route.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr
	Dev string // link name inside; empty: the kernel finds it by Via

	Type   string // empty: unicast; blackhole, unreachable or prohibit
	V6     bool   // of a default route without Via
	Src    netip.Addr
	Metric int
	Table  int // 0: main
	MTU    int
	OnLink bool
	// Asked says that a user asked for just this: a route of the container's own
	// in its place is replaced.
	Asked bool
}

// Rule is one routing rule inside a sandbox.
type Rule struct {
	Priority int
	V6, Not  bool
	From, To netip.Prefix
	IIf, OIf string
	Mark     uint32
	Mask     uint32
	Table    int
	Action   string // empty: look up Table; blackhole, unreachable, prohibit
}

// File is a file of the engine's that is mounted into a container: written in
// place, so that the mount keeps showing it.
type File struct {
	Path    string
	Content string
	Mode    uint32
}

// Claim is a host port that is held so that no other program takes it.
type Claim struct {
	IP    netip.Addr // unspecified: every address of the family
	Proto string     // tcp, udp, sctp
	Port  uint16
}

// Target is where a published port leads.
type Target struct {
	IP   netip.Addr
	Port uint16
}

// Firewall is every element of the named sets and maps of the tables `inet
// jackstay` and `bridge jackstay`. The rules themselves are constant; see
// kernel/nft/ruleset.nft.
type Firewall struct {
	// Bridges are the link names of our bridges.
	Bridges map[string]struct{}
	// Open are those whose containers reach each other; those of another one do by
	// Flows and Pairs only.
	Open map[string]struct{}
	// Internal are those whose containers reach nothing outside.
	Internal map[string]struct{}
	// Masquerade are the subnets whose traffic leaves with the host's address.
	Masquerade map[netip.Prefix]struct{}
	// Hairpin pairs a subnet with its bridge: traffic that comes back to the
	// subnet it came from through a published port takes the bridge's address,
	// or the answer would not come back this way.
	Hairpin map[HairpinKey]struct{}
	// Publish maps a host address and port, PublishAny a port of every address.
	Publish    map[Claim]Target
	PublishAny map[PortKey]Target
	// FIPIn maps a floating IP to its container's address, FIPOut the latter to
	// the former.
	FIPIn  map[netip.Addr]netip.Addr
	FIPOut map[netip.Addr]netip.Addr
	// Flows and Pairs are who may open connections to whom, whatever networks
	// they are on. No two flows of the same addresses and protocol overlap.
	Flows map[Flow]struct{}
	Pairs map[Pair]struct{}
	// Guarded are addresses to which connections are opened only by those whom
	// Admit or AdmitMembers names, whatever else would let them. Members are
	// addresses with the mark by which AdmitMembers speaks of them: not 0, and the
	// same in both byte orders.
	Guarded      map[netip.Addr]struct{}
	Members      map[netip.Addr]uint32
	Admit        map[Admission]struct{}
	AdmitMembers map[MemberAdmission]struct{}
	// Ports are the host ends of containers' links on our bridges, by link name.
	Ports map[string]BridgePort
	// MACs and Addresses are somebody's: only who is named by Ports and Sources
	// sends from them. A MAC's value tells whether its owner is Routed.
	MACs      map[string]bool
	Addresses map[netip.Addr]struct{}
	Sources   map[Source]struct{}
	// FIPOnly are the floating IPs that answer at FIPPorts alone.
	FIPOnly  map[netip.Addr]struct{}
	FIPPorts map[Claim]struct{}
	// Moved maps an address of a bridge's network to the one that is on the
	// interface of the container which has it since a swap, for what is new.
	Moved map[MovedKey]netip.Addr
	// Swapped are the addresses of containers that were swapped: what is sent to
	// them is routed by the host, and not switched.
	Swapped map[netip.Addr]struct{}
	// Finishing are the floating IPs that a swap moved, with the address where
	// TCP connections may finish. It is in no set: it says which flows to end.
	Finishing map[netip.Addr]netip.Addr
	// Tenants are the bridges of tenants' networks: from there, of all Gateways,
	// only those of OwnGateways answer.
	Tenants     map[string]struct{}
	Gateways    map[netip.Addr]struct{}
	OwnGateways map[GatewayKey]struct{}
	// TenantNets are the tenants' subnets: through published ports and floating
	// IPs their containers are seen with the host's address, not their own.
	TenantNets map[netip.Prefix]struct{}
}

// GatewayKey is a gateway address with a bridge from which it may be reached.
type GatewayKey struct {
	Bridge string
	Addr   netip.Addr
}

// Flow lets From open connections to some ports of To.
type Flow struct {
	From, To    netip.Addr
	Proto       string // tcp, udp, sctp
	First, Last uint16
}

// Span is some ports of some protocols, by number, all ends included.
// Protocols without ports have all.
type Span struct {
	FirstProto, LastProto uint8
	First, Last           uint16
}

// Admission lets the addresses from From to FromLast open connections to a
// guarded one. No two overlap.
type Admission struct {
	From, FromLast, To netip.Addr
	Span
}

// MemberAdmission lets the members with a mark open
// connections to a guarded address. No two overlap.
type MemberAdmission struct {
	Mark uint32
	To   netip.Addr
	Span
}

// Pair lets From send anything to To.
type Pair struct{ From, To netip.Addr }

// BridgePort is a port of a bridge with a container behind it.
type BridgePort struct {
	MAC    string // the container's, colon-separated hex
	Bridge string // the bridge's
	// Routed says that the container's traffic is routed by the host, where the
	// rules of `table inet jackstay` judge it, and not switched.
	Routed bool
}

// Source is an address from which the container behind a port sends.
type Source struct {
	Port string // link name of the host end
	MAC  string
	Addr netip.Addr
}

// MovedKey is an address behind a bridge.
type MovedKey struct {
	Bridge string
	Addr   netip.Addr
}

// HairpinKey is an element of the hairpin set.
type HairpinKey struct {
	Subnet netip.Prefix
	Bridge string
}

// PortKey is a protocol and a port on every address of a family.
type PortKey struct {
	V6    bool
	Proto string
	Port  uint16
}

// Zones is what the resolver answers from.
type Zones struct {
	// Networks: network ID to its names.
	Networks map[string]*Zone
	// Views: container ID (the owner of a sandbox) to what it sees.
	Views map[string]*View
	// Upstreams are the host's resolvers; Search its search list.
	Upstreams []netip.AddrPort
}

// Zone is one network's names, lower-case without a final dot, to addresses in
// no particular order; Reverse holds address to name for PTR. A name that
// begins with "*." is a wildcard (RFC 4592); a zone with one has in Nodes every
// name that exists below it, also those with names below them only.
type Zone struct {
	Names   map[string][]netip.Addr
	Reverse map[netip.Addr]string
	Nodes   map[string]struct{}
}

// View is one container's sight: its own link aliases first, then the
// networks it is on in order, then upstream.
type View struct {
	Aliases   map[string][]netip.Addr
	Networks  []string
	Upstreams []netip.AddrPort // --dns; empty: the host's
	// NoForward is set for containers on internal networks only: foreign names are not looked up.
	NoForward bool
}
