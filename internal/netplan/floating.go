package netplan

import (
	"net/netip"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// fipOf gives the floating IP that is attached to a container, or nil.
func (p *plan) fipOf(c *model.Container) *model.FloatingIP {
	return p.snap.FIPs[p.snap.FIPOf[c.ID]]
}

// floating plans the floating IP of an active container: on its pool's device,
// and in both directions between it and the container's address, the one whose
// network holds the default route. Without such an address nothing answers.
func (p *plan) floating(c *model.Container) {
	f := p.fipOf(c)
	if f == nil {
		return
	}
	pool := p.snap.FIPPools[f.Pool.String()]
	inside := p.publisher(c, p.snap.ByContainer[c.ID], f.Address.Is6())
	if pool == nil || !inside.IsValid() {
		return
	}
	if p.out.Addresses == nil {
		n := len(p.snap.FIPOf)
		p.out.Addresses = make(map[desired.DeviceAddress]string, n)
		p.out.Firewall.FIPIn = make(map[netip.Addr]netip.Addr, n)
		p.out.Firewall.FIPOut = make(map[netip.Addr]netip.Addr, n)
	}
	p.out.Firewall.FIPIn[f.Address] = inside
	p.out.Firewall.FIPOut[inside] = f.Address
	p.out.Addresses[desired.DeviceAddress{Device: pool.Device, Addr: f.Address}] = c.ID
}
