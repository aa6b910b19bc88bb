package reconcile

import (
	"context"
	"time"
)

// round brings the host nearer to the newest plan. The order is the one in
// which nobody is reachable who should not be: ports are held before they lead
// anywhere, networks are guarded before anything is on them, and what is
// deleted goes after the elements that lead to it. An address on a device is
// there only while the element is that takes it to its container: without, the
// host's own programs would answer.
func (r *Reconciler) round(ctx context.Context, replan bool) {
	began := time.Now()
	set := r.takeLooks()
	var seen *sight
	if set[lookLinks] || set[lookInside] {
		seen = r.observe(ctx, set[lookInside])
		replan = true
	}
	if set[lookFirewall] {
		r.doubtFirewall()
	}
	if replan {
		r.plan(newest)
	}
	if !r.takeUp() {
		r.abandon(seen)
		return
	}
	var leftovers []string
	if seen != nil {
		leftovers = r.compare(seen)
	}

	r.dropAddresses(ctx)
	r.applyClaims(ctx)
	r.settleClaims()
	r.applyFiles()
	r.guardFirst(ctx)
	r.dropLeftovers(ctx, leftovers)
	r.applyBridges(ctx)
	gate := make(chan struct{})
	r.dispatch(ctx, gate)
	r.applyZones()
	r.applyFirewall(ctx)
	r.applyAddresses(ctx)
	close(gate)
	r.mu.Lock()
	r.settle()
	r.mu.Unlock()

	r.releaseClaims()
	r.dropBridges(ctx)
	if seen != nil && seen.pass != nil {
		r.lookInto(ctx, seen.pass, gate)
		r.mu.Lock()
		r.passed(seen.pass) // the round's own part
		r.mu.Unlock()
	}
	r.o.Log.Debug("round", "revision", r.taken.Revision, "looked", set, "took", time.Since(began))
}

// settleClaims makes the revision known: from here on it can be said what
// becomes of a container at it.
func (r *Reconciler) settleClaims() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rev = r.taken.Revision
	r.settle()
}

// applyZones gives the resolver the names.
func (r *Reconciler) applyZones() {
	if z := r.taken.Zones; z != r.zones && z != nil {
		r.o.Resolver.SetZones(z)
		r.zones = z
	}
}

// doubtFirewall has the table read again.
func (r *Reconciler) doubtFirewall() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fw.known = false
}

// abandon gives up a look that there is no plan to compare with: nothing is
// deleted before everything wanted is known. It is asked for again.
func (r *Reconciler) abandon(s *sight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s != nil && s.pass != nil {
		r.resyncs = append(r.resyncs, s.pass.answers...)
	}
	r.signals.demand()
	for l := range looks {
		r.signals.asked[l] = time.Now().Add(r.o.RetryMin)
	}
}
