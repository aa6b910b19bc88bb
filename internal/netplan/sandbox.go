package netplan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// Where the resolver is inside a namespace: Docker's address, and the port it
// really listens on where port 53 is the container's own.
var (
	resolver    = netip.MustParseAddrPort("127.0.0.11:53")
	resolverVia = netip.AddrPortFrom(resolver.Addr(), 10053)
)

// defaultSysctls are Docker's: programs without privileges may listen on low
// ports and ping, which harms nobody in a network namespace of their own.
func defaultSysctls() map[string]string {
	return map[string]string{
		"net/ipv4/ip_unprivileged_port_start": "0",
		"net/ipv4/ping_group_range":           "0 2147483647",
	}
}

// sandbox plans the namespace that c owns, and what is seen from within.
func (p *plan) sandbox(c *model.Container) {
	m := p.again(c)
	if m == nil {
		m = &made{}
		m.sandbox, m.view = p.makeSandbox(c)
		p.keep(c, m)
	}
	p.out.Sandboxes[c.ID] = m.sandbox
	if m.view != nil {
		p.out.Zones.Views[c.ID] = m.view
	}
}

func (p *plan) makeSandbox(c *model.Container) (*desired.Sandbox, *desired.View) {
	var v *desired.View
	eps := p.snap.ByContainer[c.ID]
	s := &desired.Sandbox{Container: c.ID, Sysctls: p.sysctlsOf(c)}
	if len(eps) > 0 {
		s.Interfaces = make([]desired.Interface, 0, len(eps))
	}
	for _, e := range eps {
		if n := p.snap.Networks[e.NetworkID]; bridged(n) {
			s.Interfaces = append(s.Interfaces, p.interfaceOf(c, e, n))
		}
	}
	networks := len(s.Interfaces)
	nics(c, s)
	p.waysOut(c, eps, s)
	leasedRoutes(c, s)
	askedRoutes(c, s)
	p.joinedRoutes(c, s)
	main := s.Routes
	p.answersAside(c, eps, s, main)
	p.twins(c, eps, s, main)
	sharedSegments(c, s, main)
	s.TC = c.TC
	if networks > 0 {
		s.Resolver, s.ResolverVia = resolver, resolver
		if p.wantsPort53(c) {
			s.ResolverVia = resolverVia
		}
		v = p.view(c, eps)
	}
	s.Files = p.files(c.ID, c)
	return s, v
}

// hostEnd names the host end of an endpoint's link.
func hostEnd(e *model.Endpoint) string { return endName(e.HostName, e.ID) }

func (p *plan) interfaceOf(c *model.Container, e *model.Endpoint, n *model.Network) desired.Interface {
	i := desired.Interface{
		Endpoint: e.ID, Host: hostEnd(e), Name: e.Interface,
		Bridge: n.Bridge, MAC: e.MAC, MTU: n.MTU, RateIn: c.Rates.In.For(e.ID, n.ID), RateOut: c.Rates.Out.For(e.ID, n.ID), Addrs: p.onInterface(e),
	}
	if e.MTU != 0 {
		i.MTU = e.MTU
	}
	return i
}

// waysOut plans the default route of each family that has one: the one a user
// asked for, or else a NIC's, the networks', or a lease's.
func (p *plan) waysOut(c *model.Container, eps []*model.Endpoint, s *desired.Sandbox) {
	for _, v6 := range [...]bool{false, true} {
		e, via := p.gateway(c, eps, v6)
		out := nicExit(c, eps, v6, false)
		switch {
		case askedAt(c, s, v6):
			continue
		case out.dev == "" && e != nil:
			out = exit{dev: e.Interface, via: via}
		case out.dev == "":
			if out = nicExit(c, eps, v6, true); ownAddress(s, out.via) {
				continue // the kernel would refuse it
			}
		}
		if out.dev != "" {
			s.Routes = append(s.Routes, desired.Route{Via: out.via, Dev: out.dev, OnLink: out.far})
		}
	}
}

// gateway gives the endpoint that holds the default route and the router's
// address. Networks that reach outside come before internal ones, then the
// highest GwPriority, then the order of request. An internal network is taken
// only to bring back the answers of published ports and of a floating IP.
func (p *plan) gateway(c *model.Container, eps []*model.Endpoint, v6 bool) (best *model.Endpoint, via netip.Addr) {
	var internal bool
	for _, e := range eps {
		n := p.snap.Networks[e.NetworkID]
		if !bridged(n) || e.Extra || n.Internal && len(c.Ports) == 0 && p.fipOf(c) == nil {
			continue
		}
		gw := gatewayOf(n, address(e, v6))
		if !gw.IsValid() {
			continue
		}
		if best == nil || internal && !n.Internal || internal == n.Internal && e.GwPriority > best.GwPriority {
			best, via, internal = e, gw, n.Internal
		}
	}
	return best, via
}

// gatewayOf gives the gateway of the network's subnet that addr is in.
func gatewayOf(n *model.Network, addr netip.Addr) netip.Addr {
	for _, s := range n.Subnets {
		if addr.IsValid() && s.Prefix.Contains(addr) {
			return s.Gateway
		}
	}
	return netip.Addr{}
}

// address gives an endpoint's address of one family, invalid if it has none.
func address(e *model.Endpoint, v6 bool) netip.Addr {
	if v6 {
		return e.IPv6.Addr()
	}
	return e.IPv4.Addr()
}

// sysctlsOf gives the defaults with the user's own in place of or beside them.
func (p *plan) sysctlsOf(c *model.Container) map[string]string {
	if len(c.Host.Sysctls) == 0 {
		return p.sysctls
	}
	out := defaultSysctls()
	for k, v := range c.Host.Sysctls {
		if path, ok := model.SysctlPath(k); ok && strings.HasPrefix(path, "net/") {
			out[path] = v
		}
	}
	return out
}

// wantsPort53 tells whether a program in c's namespace serves port 53 itself.
func (p *plan) wantsPort53(c *model.Container) bool {
	return servesPort53(c) || slices.ContainsFunc(p.joined[c.ID], servesPort53)
}

func servesPort53(c *model.Container) bool {
	return slices.ContainsFunc(c.Config.ExposedPorts, func(q model.Port) bool { return q.Number == 53 }) ||
		slices.ContainsFunc(c.Ports, func(m model.PortMapping) bool { return m.Port.Number == 53 })
}
