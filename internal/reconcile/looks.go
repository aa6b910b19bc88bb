package reconcile

import "time"

// look is a part of the host that is to be observed.
type look int

const (
	lookLinks    look = iota // bridges, host ends, namespaces
	lookInside               // every sandbox, as well
	lookFirewall             // rules and elements
	looks
)

// signals says which looks are asked for. A signal of somebody else's change
// is followed at once if things were quiet, and else within Quiet of it, so
// that a storm, or our own changes that are signalled as well, cost no more
// than one look per Quiet.
type signals struct {
	asked  [looks]time.Time // first signal since the last look; zero: none
	urgent [looks]bool      // at once, whatever was before
	last   [looks]time.Time
}

// note asks for a look because of something that happened at t.
func (s *signals) note(l look, t time.Time) {
	if s.asked[l].IsZero() {
		s.asked[l] = t
	}
}

// demand asks for every look at once.
func (s *signals) demand() {
	for l := range looks {
		s.note(l, time.Now())
		s.urgent[l] = true
	}
}

// due is when the look is to be taken; zero: not asked for. own is when we
// last touched what the look is at.
func (s *signals) due(l look, own time.Time, quiet time.Duration) time.Time {
	at := s.asked[l]
	if at.IsZero() || s.urgent[l] {
		return at
	}
	calm := s.last[l]
	if own.After(calm) {
		calm = own
	}
	if calm = calm.Add(quiet); calm.Before(at) {
		return at
	}
	if latest := at.Add(quiet); calm.After(latest) {
		return latest
	}
	return calm
}

// take gives the looks that are due and counts them as taken.
func (r *Reconciler) takeLooks() (set [looks]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if !r.nextFull.After(now) {
		r.signals.demand()
	}
	for l := range looks {
		at := r.lookDue(l, now)
		if at.IsZero() || at.After(now) {
			continue
		}
		set[l] = true
		r.signals.asked[l], r.signals.urgent[l], r.signals.last[l] = time.Time{}, false, now
	}
	if set[lookInside] {
		r.nextFull = now.Add(jitter(r.o.Every))
	}
	return set
}

// lookDue is when a look is to be taken, with what we are doing ourselves
// taken into account. The firewall's port doesn't signal our own changes.
func (r *Reconciler) lookDue(l look, now time.Time) time.Time {
	var own time.Time
	if l != lookFirewall {
		own = r.ownAt
		if r.running > 0 {
			own = now
		}
	}
	at := r.signals.due(l, own, r.o.Quiet)
	if l == lookLinks && r.lookTrial.err != nil && r.lookTrial.at.After(at) && !at.IsZero() {
		return r.lookTrial.at
	}
	return at
}
