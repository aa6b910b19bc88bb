package netplan

import (
	"maps"
	"net/netip"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// publisher is what an active container publishes, and where it leads.
type publisher struct {
	first   *model.PortMapping // of its record's list, which never changes in place
	count   int
	targets [2]netip.Addr // IPv4, IPv6
}

// madePorts is what was planned for all published ports, and what it came from.
type madePorts struct {
	from    map[string]publisher // by container ID
	claims  map[desired.Claim]string
	publish map[desired.Claim]desired.Target
	any     map[desired.PortKey]desired.Target
}

// ports takes note of the published ports of an active container.
func (p *plan) ports(c *model.Container) {
	if len(c.Ports) == 0 {
		return
	}
	from := publisher{first: &c.Ports[0], count: len(c.Ports)}
	eps := p.snap.ByContainer[c.ID]
	for i, v6 := range [...]bool{false, true} {
		from.targets[i] = p.publisher(c, eps, v6)
	}
	if p.published.from == nil {
		p.published.from = make(map[string]publisher, len(p.snap.Containers))
	}
	p.published.from[c.ID] = from
}

// finishPorts plans the published ports: a claim on the host for each, and the
// element that leads it to its container's address.
func (p *plan) finishPorts() {
	m := p.published
	if was := p.portsBefore; was != nil && maps.Equal(was.from, m.from) {
		m = was
		p.published = was
	} else {
		m.make(p.snap)
	}
	p.out.Claims, p.out.Firewall.Publish, p.out.Firewall.PublishAny = m.claims, m.publish, m.any
}

func (m *madePorts) make(snap *model.Snapshot) {
	n := 0
	for _, from := range m.from {
		n += from.count
	}
	m.claims, m.publish, m.any = make(map[desired.Claim]string, n), map[desired.Claim]desired.Target{}, make(map[desired.PortKey]desired.Target, n)
	for id, from := range m.from {
		for _, port := range snap.Containers[id].Ports {
			m.put(id, port, from.targets)
		}
	}
}

func (m *madePorts) put(id string, port model.PortMapping, targets [2]netip.Addr) {
	claim := desired.Claim{IP: port.HostIP, Proto: port.Port.Proto, Port: port.HostPort}
	m.claims[claim] = id
	v6 := port.HostIP.Is6()
	ip := targets[0]
	if v6 {
		ip = targets[1]
	}
	if !ip.IsValid() {
		return // on no network now; the port stays the container's
	}
	target := desired.Target{IP: ip, Port: port.Port.Number}
	if port.HostIP.IsUnspecified() {
		m.any[desired.PortKey{V6: v6, Proto: port.Port.Proto, Port: port.HostPort}] = target
	} else {
		m.publish[claim] = target
	}
}

// publisher gives the address that published ports lead to: the one whose
// network holds the default route, so that answers go back the way the
// questions came, or else the first.
func (p *plan) publisher(c *model.Container, eps []*model.Endpoint, v6 bool) netip.Addr {
	if e, _ := p.gateway(c, eps, v6); e != nil {
		return inside(e, v6)
	}
	for _, e := range eps {
		if a := inside(e, v6); a.IsValid() && bridged(p.snap.Networks[e.NetworkID]) {
			return a
		}
	}
	return netip.Addr{}
}
