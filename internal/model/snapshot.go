// Package model holds the plain values the rest of Jackstay speaks in:
// containers, networks, endpoints, links, ports, volumes, and the immutable
// snapshot of all of them. It imports the standard library only.
package model

// Snapshot is every choice at one revision. It is immutable: readers share it
// without locks, and nobody changes a record reached through it.
type Snapshot struct {
	Revision uint64
	// Tenant is whose choices these are; empty: everybody's, as the planner and
	// the administrator see them.
	Tenant         string
	Containers     map[string]*Container     // by ID
	Networks       map[string]*Network       // by ID
	Endpoints      map[string]*Endpoint      // by ID
	Links          map[string]*Link          // by ID
	Volumes        map[string]*Volume        // by Key
	FIPs           map[string]*FloatingIP    // by address
	FIPPools       map[string]*FIPPool       // by prefix
	SecurityGroups map[string]*SecurityGroup // by ID
	Tenants        map[string]*Tenant        // by name; in a tenant's: itself alone

	// Indexes, derived from the above and never stored. Names are as Shown gives
	// them. Ports are everybody's in a tenant's, too: the host has them once.
	ContainerNames map[string]string               // name to ID
	NetworkNames   map[string]string               // name to ID
	ByContainer    map[string][]*Endpoint          // container ID to endpoints, in Order
	ByNetwork      map[string]map[string]*Endpoint // network ID to endpoints by ID
	LinksOf        map[string][]*Link              // container ID to its links, sorted by ID
	Ports          map[PortKey]string              // held host port to container ID
	FIPNames       map[string]string               // name of a floating IP to its address
	FIPOf          map[string]string               // container ID to the address of its floating IP
	GroupNames     map[string]string               // name of a security group to its ID
}
