package engine

import (
	"net/netip"

	"github.com/jackstay/jackstay/internal/model"
)

// bindingPair is a binding with the host port it has, or last had, or wants; of
// one that means both families, on both.
type bindingPair struct {
	asked model.PortBinding
	held  []model.PortMapping
}

// bindingPairs finds the host port of each binding of a container.
func bindingPairs(s *model.Snapshot, c *model.Container, n *model.Network) []bindingPair {
	have := newHeldPorts(c)
	out := make([]bindingPair, len(c.Host.PortBindings))
	for _, wantFixed := range [...]bool{true, false} {
		for i, b := range c.Host.PortBindings {
			if fixedPort(b) != wantFixed {
				continue
			}
			out[i].asked = b
			for k, ip := range bindingIPs(s, c, n, b) {
				port := uint16(0)
				if k > 0 && len(out[i].held) > 0 {
					if port = out[i].held[0].HostPort; port == 0 {
						continue // not chosen yet, so in no family
					}
				}
				m, ok := have.take(b, ip, port)
				switch {
				case ok:
					out[i].held = append(out[i].held, m)
				case wantFixed && (k == 0 || !c.Active):
					out[i].held = append(out[i].held, model.PortMapping{HostIP: ip, HostPort: b.HostPort, Port: b.Port})
				case k == 0: // not chosen yet
					out[i].held = append(out[i].held, model.PortMapping{HostIP: ip, Port: b.Port})
				}
			}
		}
	}
	return out
}

// heldPorts are the host ports that no binding has been found for yet, by what
// they lead to, and of each in the order they were chosen in.
type heldPorts struct {
	all  []model.PortMapping
	at   map[model.PortMapping]int // in all
	by   map[portWay][]int         // in all; those at the front may be taken
	gone []bool
}

// portWay is what mappings share that answer alike but for their host port.
type portWay struct {
	ip   netip.Addr
	port model.Port
}

func newHeldPorts(c *model.Container) *heldPorts {
	h := &heldPorts{all: c.Ports}
	if !c.Active {
		h.all = c.Remembered
	}
	h.gone, h.at, h.by = make([]bool, len(h.all)), make(map[model.PortMapping]int, len(h.all)), map[portWay][]int{}
	for i, m := range h.all {
		way := portWay{m.HostIP, m.Port}
		h.at[m], h.by[way] = i, append(h.by[way], i)
	}
	return h
}

// take gives a mapping that can be what a binding asked for on an address; with
// this host port, if it is not 0.
func (h *heldPorts) take(b model.PortBinding, ip netip.Addr, port uint16) (m model.PortMapping, ok bool) {
	if port == 0 && fixedPort(b) {
		port = b.HostPort
	}
	way := portWay{ip, b.Port}
	if port != 0 {
		m = model.PortMapping{HostIP: ip, HostPort: port, Port: b.Port}
		at, there := h.at[m]
		if !there || h.gone[at] || !answers(m, b, ip) {
			return m, false
		}
		h.gone[at] = true
		return m, true
	}
	for len(h.by[way]) > 0 && h.gone[h.by[way][0]] {
		h.by[way] = h.by[way][1:]
	}
	for _, at := range h.by[way] {
		if !h.gone[at] && answers(h.all[at], b, ip) {
			h.gone[at] = true
			return h.all[at], true
		}
	}
	return m, false
}

// answers tells whether a mapping can be what a binding asked for.
func answers(m model.PortMapping, b model.PortBinding, ip netip.Addr) bool {
	return m.Port == b.Port && m.HostIP == ip &&
		(b.HostPort == 0 || m.HostPort >= b.HostPort && m.HostPort <= max(b.HostPort, b.HostPortEnd))
}
