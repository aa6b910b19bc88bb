package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Rates limit what goes into a container, and what comes out of it.
type Rates struct {
	In  Rate `json:",omitzero"`
	Out Rate `json:",omitzero"`
}

// Limited tells whether there is any limit.
func (r Rates) Limited() bool { return r.In.limited() || r.Out.limited() }

// Equal tells whether both limit the same.
func (r Rates) Equal(o Rates) bool { return r.In.equal(o.In) && r.Out.equal(o.Out) }

// Rate is a limit in bits a second; 0 is none.
type Rate struct {
	Every uint64            `json:",omitempty"` // of each interface that On has nothing for
	On    map[string]uint64 `json:",omitempty"` // by the ID of an interface (endpoint or NIC) or of a network
}

// For gives the limit of the first of some IDs that has one of its own:
// an interface's, then its network's.
func (r Rate) For(ids ...string) uint64 {
	for _, id := range ids {
		if bits, ok := r.On[id]; ok {
			return bits
		}
	}
	return r.Every
}

// With gives a limit that has one more of its own.
func (r Rate) With(id string, bits uint64) Rate {
	on := make(map[string]uint64, len(r.On)+1)
	maps.Copy(on, r.On)
	on[id] = bits
	return Rate{Every: r.Every, On: on}
}

// Without gives the limits without those of one interface's own.
func (r Rates) Without(id string) Rates { return Rates{In: r.In.without(id), Out: r.Out.without(id)} }

func (r Rate) without(id string) Rate {
	if _, ok := r.On[id]; !ok {
		return r
	}
	on := maps.Clone(r.On)
	delete(on, id)
	return Rate{Every: r.Every, On: on}
}

func (r Rate) equal(o Rate) bool { return r.Every == o.Every && maps.Equal(r.On, o.On) }

func (r Rate) limited() bool {
	for _, bits := range r.On {
		if bits > 0 {
			return true
		}
	}
	return r.Every > 0
}

// Words writes a container's limit as --net-rate-in takes it:
// RATE[,NAME=RATE…], with the names of networks and interfaces, and none for no
// limit. What is gone is left out.
func (r Rate) Words(s *Snapshot, c *Container) string {
	var on []string
	for id, bits := range r.On {
		if name := limitedName(s, c, id); name != "" {
			on = append(on, name+"="+RateWords(bits))
		}
	}
	slices.Sort(on)
	return strings.Join(append([]string{RateWords(r.Every)}, on...), ",")
}

func limitedName(s *Snapshot, c *Container, id string) string {
	if n := s.Networks[id]; n != nil {
		return n.Name
	}
	for _, ep := range s.ByContainer[c.ID] {
		if ep.ID == id {
			return ep.Interface
		}
	}
	for i := range c.NICs {
		if c.NICs[i].ID == id {
			return c.NICs[i].Name
		}
	}
	return ""
}

// RateWords writes bits a second in the largest of tc(8)'s units that needs no
// fraction.
func RateWords(bits uint64) string {
	switch {
	case bits == 0:
		return "none"
	case bits%1e9 == 0:
		return fmt.Sprint(bits/1e9, "gbit")
	case bits%1e6 == 0:
		return fmt.Sprint(bits/1e6, "mbit")
	case bits%1e3 == 0:
		return fmt.Sprint(bits/1e3, "kbit")
	}
	return fmt.Sprint(bits, "bit")
}
