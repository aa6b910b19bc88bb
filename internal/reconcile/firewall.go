package reconcile

import (
	"context"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
)

// table is what is known of the firewall.
type table struct {
	known bool
	has   desired.Firewall // its elements, when last known
	rev   uint64           // the revision it has
	of    *desired.State   // the plan that is of
	gen   uint64           // the state of the claims that is of
	trial trial
}

// applyFirewall makes the table hold what is taken up, in one transaction. One
// whose state is in doubt is read first, and loaded anew if it isn't the one
// that Load makes; an intact one is never reloaded.
func (r *Reconciler) applyFirewall(ctx context.Context) {
	began := time.Now()
	r.mu.Lock()
	if !r.fw.trial.due(began) {
		r.mu.Unlock()
		return
	}
	known, has, of, gen := r.fw.known, r.fw.has, r.taken, r.claims.gen
	if known && r.fw.of == of && r.fw.gen == gen {
		r.mu.Unlock()
		return
	}
	want := r.claims.withhold(of.Firewall)
	r.mu.Unlock()

	loaded, changed, err := r.setFirewall(ctx, known, has, want)
	if err != nil && known { // what we took for known was not: somebody flushed it
		loaded, changed, err = r.setFirewall(ctx, false, has, want)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.fw.known = false
		if ctx.Err() == nil && r.fw.trial.fail(err, of.Revision, &r.o) {
			r.o.Log.Error("the firewall is not as wanted", "err", err)
		}
		return
	}
	if r.fw.trial.err != nil {
		r.poke() // bridges may have waited for it
	}
	r.fw = table{known: true, has: want, rev: of.Revision, of: of, gen: gen}
	if loaded {
		r.stats.loads++
	}
	if loaded || changed > 0 {
		r.o.Log.Debug("firewall", "elements", changed, "loaded", loaded, "took", time.Since(began))
	}
}

// setFirewall makes one attempt. It tells whether the table was loaded, and
// how many elements were changed otherwise.
func (r *Reconciler) setFirewall(ctx context.Context, known bool, has, want desired.Firewall) (loaded bool, changed int, err error) {
	if !known {
		intact := false
		if has, intact, err = r.o.Firewall.Observe(ctx); err != nil {
			return false, 0, err
		}
		if !intact {
			return true, 0, r.o.Firewall.Load(ctx, want)
		}
	}
	add, del := has.Diff(want)
	if add.Empty() && del.Empty() {
		return false, 0, nil
	}
	return false, add.Len() + del.Len(), r.o.Firewall.Update(ctx, add, del)
}

// guardFirst applies the firewall ahead of the links when it is in doubt or
// when there is a network or a container that it doesn't know: no link comes up
// before what keeps it apart from others.
func (r *Reconciler) guardFirst(ctx context.Context) {
	r.mu.Lock()
	early := !r.fw.known
	if !early {
		add, _ := r.fw.has.Guards().Diff(r.taken.Firewall.Guards())
		early = !add.Empty()
	}
	r.mu.Unlock()
	if early {
		r.applyFirewall(ctx)
	}
}
