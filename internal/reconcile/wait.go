package reconcile

import (
	"context"

	"github.com/jackstay/jackstay/internal/errs"
)

// waiter waits for one container at one revision.
type waiter struct {
	container string
	rev       uint64
	files     bool       // only until nothing writes its files any more
	result    chan error // one slot
}

// Wait returns when everything of the container's plan at revision rev or
// later is applied, or with what keeps it from being: the outcome of an
// attempt at that revision or later. For a container that is not wanted it
// returns when nothing of it is left.
func (r *Reconciler) Wait(ctx context.Context, containerID string, rev uint64) error {
	return r.await(ctx, &waiter{container: containerID, rev: rev, result: make(chan error, 1)})
}

// Quiet returns when nothing writes files any more of a container that is not
// wanted since revision rev: whoever deletes their directory meets nobody who
// makes them again. A Reconciler that has planned nothing yet, or that has ended,
// writes none.
func (r *Reconciler) Quiet(ctx context.Context, containerID string, rev uint64) error {
	r.mu.Lock()
	idle := r.taken == nil && r.planned == nil
	r.mu.Unlock()
	if idle {
		return nil
	}
	err := r.await(ctx, &waiter{container: containerID, rev: rev, files: true, result: make(chan error, 1)})
	select {
	case <-r.done:
		return nil
	default:
		return err
	}
}

func (r *Reconciler) await(ctx context.Context, w *waiter) error {
	r.mu.Lock()
	if done, err := r.settled(w); done {
		r.mu.Unlock()
		return err
	}
	r.waiters[w] = struct{}{}
	r.mu.Unlock()

	select {
	case err := <-w.result:
		return err
	case <-ctx.Done():
		r.forget(w)
		return ctx.Err()
	case <-r.done:
		r.forget(w)
		return errs.New(errs.Unavailable, "the daemon is stopping")
	}
}

func (r *Reconciler) forget(w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiters, w)
}

// settle answers the waiters that have something to be told.
func (r *Reconciler) settle() {
	for w := range r.waiters {
		if done, err := r.settled(w); done {
			delete(r.waiters, w)
			w.result <- err
		}
	}
}

// settled tells whether there is an answer for a waiter. Attempts that were
// put off are hurried for one who waits for a newer revision.
func (r *Reconciler) settled(w *waiter) (bool, error) {
	if r.taken == nil || r.rev < w.rev {
		return false, nil
	}
	if w.files { // the applier writes those of containers without a sandbox, and has this plan
		rec := r.recs[w.container]
		return rec == nil || !rec.making, nil
	}
	hurry, done := false, true
	for _, part := range []func(*waiter) (error, bool, bool){r.portsSettled, r.filesSettled, r.sandboxSettled, r.firewallSettled, r.addressSettled} {
		err, soon, ok := part(w)
		if err != nil {
			return true, err
		}
		hurry, done = hurry || soon, done && ok
	}
	if hurry {
		r.poke()
	}
	return done, nil
}

func (r *Reconciler) portsSettled(w *waiter) (err error, hurry, done bool) {
	err, hurry = r.claims.verdict(r.taken.Claims, w.container, w.rev)
	return err, hurry, !hurry
}

func (r *Reconciler) filesSettled(w *waiter) (err error, hurry, done bool) {
	t := r.files[w.container]
	if t == nil {
		return nil, false, true
	}
	err, hurry = t.verdict(w.rev)
	return err, hurry, false
}

func (r *Reconciler) sandboxSettled(w *waiter) (err error, hurry, done bool) {
	rec := r.recs[w.container]
	if rec == nil || rec.clean() || rec.want != nil && rec.doneRev >= w.rev {
		return nil, false, true
	}
	if rec.busy {
		return nil, false, false
	}
	err, hurry = rec.trial.verdict(w.rev)
	if hurry && rec.want != nil {
		for _, i := range rec.want.Interfaces {
			if b := r.bridges[i.Bridge]; b != nil {
				b.trial.verdict(w.rev)
			}
		}
	}
	return err, hurry, false
}

func (r *Reconciler) firewallSettled(w *waiter) (err error, hurry, done bool) {
	if r.fw.rev >= w.rev && r.fw.gen == r.claims.gen { // gen: with the ports that are held by now
		return nil, false, true
	}
	err, hurry = r.fw.trial.verdict(w.rev)
	return err, hurry, false
}
