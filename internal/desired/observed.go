package desired

// Observed is what of ours is on the host.
type Observed struct {
	Bridges    map[string]Bridge   // by link name
	HostEnds   map[string]HostEnd  // by link name
	Namespaces map[string]struct{} // by container ID
	// Uprooted are containers, by ID, whose interfaces are on devices of the host
	// that went or came since.
	Uprooted map[string]struct{}
	// Addresses are those on other devices that carry our mark.
	Addresses map[DeviceAddress]struct{}
}

// HostEnd is the host end of a veth pair.
type HostEnd struct {
	Endpoint string // from its alias
	Bridge   string // its master's name; empty: none
	Up       bool
	Altered  bool // somebody else changed its limits since they were made
}
