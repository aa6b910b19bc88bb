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
	if f.ExposeOnly {
		p.exposeOnly(f, c)
	}
	p.finishing(f)
	p.out.Firewall.FIPIn[f.Address] = inside
	p.out.Firewall.FIPOut[inside] = f.Address
	p.out.Addresses[desired.DeviceAddress{Device: pool.Device, Addr: f.Address}] = c.ID
}

// exposeOnly leaves a floating IP the container's exposed ports.
func (p *plan) exposeOnly(f *model.FloatingIP, c *model.Container) {
	fw := &p.out.Firewall
	if fw.FIPOnly == nil {
		fw.FIPOnly, fw.FIPPorts = map[netip.Addr]struct{}{}, map[desired.Claim]struct{}{}
	}
	fw.FIPOnly[f.Address] = struct{}{}
	for _, q := range c.Config.ExposedPorts {
		fw.FIPPorts[desired.Claim{IP: f.Address, Proto: q.Proto, Port: q.Number}] = struct{}{}
	}
}

// finishing says where connections through a floating IP may finish that a swap
// took from a container which still runs.
func (p *plan) finishing(f *model.FloatingIP) {
	c := p.snap.Containers[f.Finishing]
	if c == nil || !c.Active {
		return
	}
	at := p.publisher(c, p.snap.ByContainer[c.ID], f.Address.Is6())
	if !at.IsValid() {
		return
	}
	if p.out.Firewall.Finishing == nil {
		p.out.Firewall.Finishing = map[netip.Addr]netip.Addr{}
	}
	p.out.Firewall.Finishing[f.Address] = at
}
