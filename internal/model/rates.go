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
	Every uint64            `json:",omitempty"` // on each network that is not in On
	On    map[string]uint64 `json:",omitempty"` // by network ID
}

// For gives the limit on a network.
func (r Rate) For(network string) uint64 {
	if bits, ok := r.On[network]; ok {
		return bits
	}
	return r.Every
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

// Words writes a limit as --net-rate-in takes it: RATE[,NETWORK=RATE…], with
// none for no limit. Networks that are gone are left out.
func (r Rate) Words(networks map[string]*Network) string {
	var on []string
	for id, bits := range r.On {
		if n := networks[id]; n != nil {
			on = append(on, n.Name+"="+RateWords(bits))
		}
	}
	slices.Sort(on)
	return strings.Join(append([]string{RateWords(r.Every)}, on...), ",")
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
