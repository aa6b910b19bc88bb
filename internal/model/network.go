package model

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Names and drivers of the networks every host has.
const (
	DefaultNetwork = "bridge"
	DriverBridge   = "bridge"
	DriverHost     = "host"
	DriverNull     = "null"
)

// Network is a network as chosen.
type Network struct {
	ID         string // 64 hex digits
	Name       string
	Tenant     string // whose it is; empty: the administrator's
	Created    time.Time
	Driver     string
	Scope      string // local
	Internal   bool
	Attachable bool
	EnableIPv4 bool
	EnableIPv6 bool
	Labels     map[string]string
	Options    map[string]string // as given
	Subnets    []Subnet

	// Deny says that nobody on it reaches anybody but along a link.
	Deny bool

	Bridge     string     // the bridge's link name
	MTU        int        // bytes; 0: the kernel's default
	Masquerade bool       // outgoing traffic takes the host's address
	HostIP     netip.Addr // address that -p without one binds; unspecified: all
}

// Default tells whether this is the default network, of the administrator or a tenant.
func (n *Network) Default() bool { return n.Name == DefaultNetwork }

// Subnet is one address pool of a network.
type Subnet struct {
	Prefix   netip.Prefix // masked
	Gateway  netip.Addr
	Range    netip.Prefix          // of the addresses handed out; invalid: all of Prefix
	Reserved map[string]netip.Addr // aux addresses: name to address
}

// Endpoint is a container's membership in a network. Its address and MAC are
// picked when it is made and are its until it is removed.
type Endpoint struct {
	ID          string // 64 hex digits
	ContainerID string
	NetworkID   string
	Order       int          // order of request: the interface is ethN for the Nth
	Interface   string       // name inside the container; empty for host and none
	IPv4        netip.Prefix // address with the subnet's length
	IPv6        netip.Prefix
	MAC         string // colon-separated hex
	// Inside4 and Inside6 are the addresses on the interface after a swap: IPv4 and
	// IPv6 are then those the container is reached by, and what is new goes from
	// there to here, until the container stops. Invalid: there was no swap.
	Inside4    netip.Prefix `json:",omitzero"`
	Inside6    netip.Prefix `json:",omitzero"`
	Aliases    []string     // user's aliases, without name and short ID
	Links      []string     // user's links on this network as given, NAME:ALIAS
	GwPriority int
	DriverOpts map[string]string
	HostName   string `json:",omitempty"` // link name of the host end; empty: jv and digits of the ID
	MTU        int    `json:",omitempty"` // 0: the network's
	// Extra marks the second interface on one network, and any further one.
	Extra    bool         `json:",omitempty"`
	Gateways []netip.Addr `json:",omitempty"` // they take the place of the networks' default routes
	// RequestedIPv4, RequestedIPv6 and RequestedMAC echo what the user asked for.
	RequestedIPv4, RequestedIPv6 netip.Addr
	RequestedMAC                 string
}

// Family gives where the record has the address of one family, and the one on
// the interface after a swap.
func (e *Endpoint) Family(v6 bool) (reached, inside *netip.Prefix) {
	if v6 {
		return &e.IPv6, &e.Inside6
	}
	return &e.IPv4, &e.Inside4
}

// On is the address of one family on the endpoint's interface.
func (e *Endpoint) On(v6 bool) netip.Prefix {
	reached, inside := e.Family(v6)
	if inside.IsValid() {
		return *inside
	}
	return *reached
}

// Link makes a target reachable under an alias for one container alone.
type Link struct {
	ID          string // ContainerID/NetworkID/Alias
	ContainerID string // who uses the alias
	TargetID    string // empty: it waits for a container called TargetName
	Alias       string
	NetworkID   string // the network it goes over; empty: any that both are on
	// TargetName is set while the target is not there. The store binds the link
	// to the first container that takes the name.
	TargetName string `json:",omitempty"`
	// Ports are those of the target that the link opens where nothing else does;
	// none: those that the target exposes.
	Ports []PortRange `json:",omitempty"`
	// Strict links lead nowhere while the two are on no common network; others
	// join them.
	Strict bool `json:",omitempty"`
}

// PortRange is ports of one protocol, First and Last included.
type PortRange struct {
	First, Last uint16
	Proto       string // tcp, udp or sctp
}

func (r PortRange) String() string {
	if r.First == r.Last {
		return fmt.Sprintf("%d/%s", r.First, r.Proto)
	}
	return fmt.Sprintf("%d-%d/%s", r.First, r.Last, r.Proto)
}

// LinkID is a link's key.
func LinkID(containerID, networkID, alias string) string {
	return containerID + "/" + networkID + "/" + alias
}

// Port is a container's port.
type Port struct {
	Number uint16
	Proto  string // tcp, udp or sctp
}

func (p Port) String() string { return fmt.Sprintf("%d/%s", p.Number, p.Proto) }

// SortPorts orders by number, tcp before udp before sctp, and drops doubles.
func SortPorts(ports []Port) []Port {
	rank := map[string]int{"tcp": 0, "udp": 1, "sctp": 2}
	out := slices.Clone(ports)
	slices.SortFunc(out, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(rank[a.Proto], rank[b.Proto]))
	})
	return slices.Compact(out)
}

// PortBinding is one -p as asked for: a zero HostPort wants any port, a
// HostPortEnd above it any in that range.
type PortBinding struct {
	Port        Port
	HostIP      netip.Addr // invalid: the network's HostIP
	HostPort    uint16
	HostPortEnd uint16
	// HostIPGiven and HostPortGiven echo the request for inspect.
	HostIPGiven   string
	HostPortGiven string
}

// PortMapping is a host port held by a container.
type PortMapping struct {
	HostIP   netip.Addr // unspecified (0.0.0.0, ::): every address of the host
	HostPort uint16
	Port     Port // inside
}

// PortKey is what two containers can't both hold.
type PortKey struct {
	HostIP netip.Addr
	Proto  string
	Port   uint16
}

// Key gives the mapping's key.
func (m PortMapping) Key() PortKey { return PortKey{m.HostIP, m.Port.Proto, m.HostPort} }
