package alloc

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// The ports given out when none is asked for: Linux's default
// net.ipv4.ip_local_port_range, and so Docker's.
const (
	FirstEphemeral = 32768
	LastEphemeral  = 60999
)

// Ports chooses host ports for one container against those others hold. What
// it gives out it holds itself, so that several picks do not meet.
type Ports struct {
	held  map[model.PortKey]string // by others
	owner func(id string) string   // a holder's name; "": it is none of the asker's business
	self  string
	mine  map[model.PortKey]struct{}
	any   map[pool]*portSet
}

// pool is one space of ports: a family's and a protocol's.
type pool struct {
	v6    bool
	proto string
}

// portSet says which ports of a pool are held on any address.
type portSet [65536 / 64]uint64

func (s *portSet) add(port uint16)      { s[port/64] |= 1 << (port % 64) }
func (s *portSet) has(port uint16) bool { return s[port/64]>>(port%64)&1 != 0 }

// after gives the port after the highest one held in from..to, or from.
func (s *portSet) after(from, to uint16) uint16 {
	for i := int(to) / 64; i >= int(from)/64; i-- {
		if s[i] == 0 {
			continue
		}
		for high := i*64 + 63 - bits.LeadingZeros64(s[i]); high >= int(from); high-- {
			if high <= int(to) && s.has(uint16(high)) {
				if high == int(to) {
					return from
				}
				return uint16(high) + 1
			}
		}
	}
	return from
}

// NewPorts starts picking for a container; what it holds already counts as free.
func NewPorts(snap *model.Snapshot, containerID string) *Ports {
	return &Ports{
		held: snap.Ports, self: containerID, mine: map[model.PortKey]struct{}{}, any: map[pool]*portSet{},
		owner: func(id string) string {
			if c := snap.Containers[id]; c != nil {
				return snap.Shown(c.Name, c.Tenant)
			}
			return ""
		},
	}
}

// Avoid takes a port out of the choice: another program has it.
func (p *Ports) Avoid(k model.PortKey) {
	p.set(poolOf(k)).add(k.Port)
	p.mine[k] = struct{}{}
}

func poolOf(k model.PortKey) pool { return pool{k.HostIP.Is6(), k.Proto} }

// set gives the ports of a pool that are held on any address.
func (p *Ports) set(at pool) *portSet {
	if s := p.any[at]; s != nil {
		return s
	}
	s := new(portSet)
	for k, id := range p.held {
		if id != p.self && poolOf(k) == at {
			s.add(k.Port)
		}
	}
	p.any[at] = s
	return s
}

// Pick chooses the host port of one -p, the same one on each of these addresses,
// which are at most one of each family. A port that may be chosen is the one
// remembered for the same container port if it is free, else the next after the
// highest held. A held one is errs.Conflict and names its holder.
func (p *Ports) Pick(b model.PortBinding, ips []netip.Addr, remembered []model.PortMapping) ([]model.PortMapping, error) {
	ms := make([]model.PortMapping, len(ips))
	for i, ip := range ips {
		ms[i] = model.PortMapping{HostIP: ip.Unmap(), Port: b.Port}
	}
	if b.HostPort != 0 && b.HostPortEnd <= b.HostPort {
		return p.fixed(at(ms, b.HostPort))
	}
	from, to := b.HostPort, b.HostPortEnd
	if from == 0 {
		from, to = FirstEphemeral, LastEphemeral
	}
	for _, r := range remembered {
		if r.Port == b.Port && r.HostIP == ms[0].HostIP && r.HostPort >= from && r.HostPort <= to && p.allFree(at(ms, r.HostPort)) {
			return p.take(ms), nil
		}
	}
	return p.anyOf(ms, from, to)
}

// at gives all the mappings one host port.
func at(ms []model.PortMapping, port uint16) []model.PortMapping {
	for i := range ms {
		ms[i].HostPort = port
	}
	return ms
}

func (p *Ports) fixed(ms []model.PortMapping) ([]model.PortMapping, error) {
	for _, m := range ms {
		if p.free(m.Key()) {
			continue
		}
		err := fmt.Errorf("Bind for %s failed: port is already allocated", netip.AddrPortFrom(m.HostIP, m.HostPort)) //nolint:staticcheck // Docker's words
		if name := p.owner(p.holder(m.Key())); name != "" {
			err = fmt.Errorf("%w to container %s", err, name)
		}
		return nil, errs.Wrap(errs.Conflict, err)
	}
	return p.take(ms), nil
}

// anyOf takes a free port of a range, starting behind the highest one held, so
// that a port just given back is not the next one's.
func (p *Ports) anyOf(ms []model.PortMapping, from, to uint16) ([]model.PortMapping, error) {
	start := from
	for _, m := range ms {
		start = max(start, p.set(poolOf(m.Key())).after(from, to))
	}
	n := int(to) - int(from) + 1
	for i := range n {
		if p.allFree(at(ms, from+uint16((int(start)-int(from)+i)%n))) {
			return p.take(ms), nil
		}
	}
	return nil, errs.New(errs.Conflict, "Bind for %s:%d-%d failed: all ports are allocated", ms[0].HostIP, from, to)
}

func (p *Ports) allFree(ms []model.PortMapping) bool {
	return !slices.ContainsFunc(ms, func(m model.PortMapping) bool { return !p.free(m.Key()) })
}

// free tells whether nobody holds a port that the kernel would not bind beside
// this one: the same address, or every address on either side.
func (p *Ports) free(k model.PortKey) bool {
	if !p.set(poolOf(k)).has(k.Port) {
		return true
	}
	return !k.HostIP.IsUnspecified() && !p.holds(k) && !p.holds(everywhere(k))
}

// holds tells whether exactly this key is held.
func (p *Ports) holds(k model.PortKey) bool {
	if _, ok := p.mine[k]; ok {
		return true
	}
	id, ok := p.held[k]
	return ok && id != p.self
}

func everywhere(k model.PortKey) model.PortKey {
	if k.HostIP.Is6() {
		k.HostIP = netip.IPv6Unspecified()
	} else {
		k.HostIP = netip.IPv4Unspecified()
	}
	return k
}

// holder gives the container that is in k's way, or "".
func (p *Ports) holder(k model.PortKey) string {
	for _, at := range []model.PortKey{k, everywhere(k)} {
		if id := p.held[at]; id != "" && id != p.self {
			return id
		}
	}
	for o, id := range p.held {
		if id != p.self && o.Port == k.Port && poolOf(o) == poolOf(k) {
			return id
		}
	}
	return ""
}

func (p *Ports) take(ms []model.PortMapping) []model.PortMapping {
	for _, m := range ms {
		p.Avoid(m.Key())
	}
	return ms
}
