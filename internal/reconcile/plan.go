package reconcile

import (
	"time"

	"github.com/jackstay/jackstay/internal/desired"
)

// plan gives a plan whose snapshot was taken after the call began, or any that
// is enough; nil: there can't be one yet. Callers who meet share one: whoever
// waited while a plan was made that began after their own call has it.
func (r *Reconciler) plan(enough func(*desired.State) bool) *desired.State {
	r.mu.Lock()
	after := r.plansSeen
	r.mu.Unlock()

	r.planMu.Lock()
	defer r.planMu.Unlock()
	r.mu.Lock()
	if s := r.planned; s != nil && (r.plannedAt > after || enough(s)) {
		r.mu.Unlock()
		return s
	}
	r.plansSeen++
	seq := r.plansSeen
	r.mu.Unlock()

	began := time.Now()
	s := r.o.Plan()
	if s == nil {
		return nil
	}
	r.o.Log.Debug("planned", "revision", s.Revision, "took", time.Since(began))
	r.mu.Lock()
	r.planned, r.plannedAt = s, seq
	r.mu.Unlock()
	return s
}

// newest is for those who need a plan of a new snapshot.
func newest(*desired.State) bool { return false }

// takeUp makes the newest plan the one that is worked on, and notes what it
// changes. It tells whether there is one.
func (r *Reconciler) takeUp() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.planned
	if next == nil {
		return false
	}
	c := desired.Diff(r.taken, next)
	r.taken = next
	r.claims.take(c.Claim, c.Release)
	for _, b := range c.Bridges {
		r.wantBridge(b.Name, b)
	}
	for _, name := range c.DropBridges {
		r.wantBridge(name, nil)
	}
	for _, s := range c.Sandboxes {
		r.want(s.Container, s)
	}
	for _, id := range c.DropSandboxes {
		r.want(id, nil)
	}
	for _, a := range c.Addresses {
		r.wantAddress(a, next.Addresses[a])
	}
	for _, a := range c.DropAddresses {
		r.wantAddress(a, "")
	}
	r.wantFiles(c.Files)
	r.unpin(next)
	return true
}

// want notes what is wanted of a container's sandbox; a new wish starts with a
// clean slate.
func (r *Reconciler) want(id string, s *desired.Sandbox) {
	rec := r.record(id)
	rec.want = s
	rec.trial, rec.again, rec.unseen = trial{}, false, false
	r.dirty[id] = rec
}

// unpin lets go of the namespaces Prepare made before the plan's snapshot was
// taken: from here on the plan says whether they are wanted. A start that was
// given up leaves one that no plan ever had.
func (r *Reconciler) unpin(s *desired.State) {
	for id, at := range r.pins {
		if at >= r.plannedAt {
			continue
		}
		delete(r.pins, id)
		if s.Sandboxes[id] == nil {
			r.want(id, nil)
		}
	}
}

// wanted tells whether a namespace must not be deleted now.
func (r *Reconciler) wanted(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, pinned := r.pins[id]
	return pinned || r.planned != nil && r.planned.Sandboxes[id] != nil
}
