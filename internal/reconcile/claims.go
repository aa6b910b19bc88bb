package reconcile

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
)

// claims are the host ports. One that is wanted and held is in held alone.
type claims struct {
	held   map[desired.Claim]struct{}
	unheld map[desired.Claim]*trial   // wanted, not held
	stale  map[desired.Claim]struct{} // held, not wanted; released once no element leads there
	gen    uint64                     // moves when unheld gets or loses one
}

func newClaims() claims {
	return claims{
		held:   map[desired.Claim]struct{}{},
		unheld: map[desired.Claim]*trial{},
		stale:  map[desired.Claim]struct{}{},
	}
}

// take notes what a new plan wants.
func (c *claims) take(claim, release []desired.Claim) {
	for _, k := range claim {
		if _, ok := c.held[k]; ok {
			delete(c.stale, k)
		} else {
			c.unheld[k] = &trial{}
			c.gen++
		}
	}
	for _, k := range release {
		delete(c.unheld, k)
		if _, ok := c.held[k]; ok {
			c.stale[k] = struct{}{}
		}
	}
}

// due lists, in order, what is to be claimed now.
func (c *claims) due(now time.Time) []desired.Claim {
	var todo []desired.Claim
	for k, t := range c.unheld {
		if t.due(now) {
			todo = append(todo, k)
		}
	}
	slices.SortFunc(todo, desired.Claim.Compare)
	return todo
}

// inTheWay tells whether a claim that isn't wanted any more keeps one of todo
// from being taken: a port that moves from 0.0.0.0 to 127.0.0.1.
func (c *claims) inTheWay(todo []desired.Claim) bool {
	for k := range c.stale {
		if slices.ContainsFunc(todo, k.Overlaps) {
			return true
		}
	}
	return false
}

// withhold gives the firewall without the elements of ports that are not held.
func (c *claims) withhold(fw desired.Firewall) desired.Firewall {
	if len(c.unheld) == 0 {
		return fw
	}
	fw.Publish, fw.PublishAny = maps.Clone(fw.Publish), maps.Clone(fw.PublishAny)
	for k := range c.unheld {
		delete(fw.Publish, k)
		if k.IP.IsUnspecified() {
			delete(fw.PublishAny, anyKey(k))
		}
	}
	return fw
}

func anyKey(k desired.Claim) desired.PortKey {
	return desired.PortKey{V6: k.IP.Is6(), Proto: k.Proto, Port: k.Port}
}

// verdict is what keeps the ports of a container from being held.
func (c *claims) verdict(owner map[desired.Claim]string, container string, rev uint64) (err error, hurry bool) {
	for k, t := range c.unheld {
		if owner[k] != container {
			continue
		}
		e, h := t.verdict(rev)
		if e != nil {
			return e, false
		}
		hurry = hurry || h
	}
	return nil, hurry
}

// applyClaims takes the host ports that are wanted and not held. One that
// another program has fails its container alone.
func (r *Reconciler) applyClaims(ctx context.Context) {
	began := time.Now()
	r.mu.Lock()
	todo := r.claims.due(began)
	blocked := r.claims.inTheWay(todo)
	r.mu.Unlock()
	if len(todo) == 0 {
		return
	}
	if blocked {
		r.applyFirewall(ctx) // elements first, as ever
		r.releaseClaims()
	}
	for _, k := range todo {
		r.claimed(k, r.o.Ports.Claim(k))
	}
	r.o.Log.Debug("claimed host ports", "ports", len(todo), "took", time.Since(began))
}

func (r *Reconciler) claimed(k desired.Claim, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.claims.held[k] = struct{}{}
		delete(r.claims.unheld, k)
		r.claims.gen++
		return
	}
	if r.claims.unheld[k].fail(err, r.taken.Revision, &r.o) {
		r.o.Log.Warn("host port not held", "container", r.taken.Claims[k], "port", k.Port, "proto", k.Proto, "err", err)
	}
}

// releaseClaims lets go of host ports that are not wanted and that no element
// leads away from any more: else another program could bind one and never see
// a packet.
func (r *Reconciler) releaseClaims() {
	r.mu.Lock()
	var gone []desired.Claim
	for k := range r.claims.stale {
		if !leads(r.fw.has, k) {
			gone = append(gone, k)
			delete(r.claims.stale, k)
			delete(r.claims.held, k)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(gone, desired.Claim.Compare)
	for _, k := range gone {
		r.o.Ports.Release(k)
	}
}

// leads tells whether fw has an element for the claim.
func leads(fw desired.Firewall, k desired.Claim) bool {
	if _, ok := fw.Publish[k]; ok {
		return true
	}
	_, ok := fw.PublishAny[anyKey(k)]
	return ok && k.IP.IsUnspecified()
}
