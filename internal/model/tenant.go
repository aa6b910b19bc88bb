package model

import (
	"net/netip"
	"time"
)

// Tenant is somebody with names, networks and addresses of its own, who knows
// of nobody else's. What belongs to no tenant is the administrator's.
type Tenant struct {
	Name     string
	Created  time.Time
	Group    string // that may use its socket, by name or number; empty: root alone
	FIPQuota int    // how many floating IPs it may have; Unlimited: as many as there are
	// Removing is set from the beginning of its removal: it gets nothing new.
	Removing bool
}

// Unlimited is the quota of a tenant without one.
const Unlimited = -1

// Qualify gives the name by which the administrator knows what a tenant calls
// name. No name has an '@' of its own.
func Qualify(name, tenant string) string {
	if tenant == "" {
		return name
	}
	return name + "@" + tenant
}

// FullName is the container's name among everybody's.
func (c *Container) FullName() string { return Qualify(c.Name, c.Tenant) }

// FullName is the network's name among everybody's.
func (n *Network) FullName() string { return Qualify(n.Name, n.Tenant) }

// FullName is the floating IP's name among everybody's; empty: it has none.
func (f *FloatingIP) FullName() string {
	if f.Name == "" {
		return ""
	}
	return Qualify(f.Name, f.Tenant)
}

// FullName is the security group's name among everybody's.
func (g *SecurityGroup) FullName() string { return Qualify(g.Name, g.Tenant) }

// Key is what the volume is filed under, and the name of its directory.
func (v *Volume) Key() string { return Qualify(v.Name, v.Tenant) }

// Shown is how a record called name of that tenant is called in this snapshot:
// plainly in the tenant's own, NAME@TENANT in the administrator's.
func (s *Snapshot) Shown(name, tenant string) string {
	if s.Tenant != "" {
		return name
	}
	return Qualify(name, tenant)
}

// VolumeOf gives the volume that a container calls name, or nil.
func (s *Snapshot) VolumeOf(c *Container, name string) *Volume {
	return s.Volumes[Qualify(name, c.Tenant)]
}

// TenantUpdate changes a tenant; nil leaves as is.
type TenantUpdate struct {
	FIPQuota *int
	Group    *string
}

// OffLimits tells whether what the host connects to for a tenant must not be at
// this address: the host itself, what is on a link of it, and others' networks
// answer the host, and would not answer the tenant.
func (s *Snapshot) OffLimits(a netip.Addr, tenant string) bool {
	if tenant == "" {
		return false
	}
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() { // loopback, link-local, multicast, none
		return true
	}
	for _, n := range s.Networks {
		for _, sub := range n.Subnets {
			if n.Tenant != tenant && sub.Prefix.Contains(a) {
				return true
			}
		}
	}
	return false
}
