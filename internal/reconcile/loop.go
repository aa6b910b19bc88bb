package reconcile

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
)

// Run reconciles until ctx ends, and returns when its last job did. It leaves
// everything as it is: containers run on without the daemon. The one error is
// ctx's.
func (r *Reconciler) Run(ctx context.Context) error {
	defer close(r.done)
	defer r.jobs.Wait()
	r.mu.Lock()
	r.signals.demand()
	r.nextFull = time.Now().Add(jitter(r.o.Every))
	r.mu.Unlock()
	r.follow(ctx, lookLinks, "links", r.o.Links.Watch)
	r.follow(ctx, lookFirewall, "firewall", r.o.Firewall.Watch)

	changed := r.o.Changed()
	replan := true
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		r.round(ctx, replan)
		replan = false
		timer.Reset(max(time.Until(r.next()), time.Millisecond))
		select {
		case <-ctx.Done():
		case <-changed:
			changed, replan = r.o.Changed(), true
		case <-r.o.FactsChanged:
			replan = true
		case <-r.wake:
		case <-timer.C:
		}
		select { // a job's end and a new revision are one round
		case <-changed:
			changed, replan = r.o.Changed(), true
		default:
		}
	}
	return ctx.Err()
}

// next is when there is something to do if nothing happens until then.
func (r *Reconciler) next() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	at := r.nextFull
	sooner := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	for l := range looks {
		if t := r.lookDue(l, now); !t.IsZero() {
			sooner(t)
		}
	}
	retry := func(t *trial) {
		if t.err != nil {
			sooner(t.at)
		}
	}
	for _, rec := range r.dirty {
		if !rec.busy {
			retry(&rec.trial)
		}
	}
	for _, t := range r.claims.unheld {
		retry(t)
	}
	for _, t := range r.files {
		retry(t)
	}
	for _, b := range r.bridges {
		retry(&b.trial)
	}
	for _, a := range r.undone {
		retry(&a.trial)
	}
	retry(&r.fw.trial)
	return at
}

// follow watches a part of the host. When watching fails or ends it is taken
// up again, with a look for what was missed.
func (r *Reconciler) follow(ctx context.Context, l look, what string, watch func(context.Context) (<-chan struct{}, error)) {
	subscribed, err := watch(ctx)
	r.jobs.Go(func() {
		var t trial
		for ctx.Err() == nil {
			if err != nil {
				if t.fail(err, 0, &r.o) {
					r.o.Log.Error("changes by others are seen late", "of", what, "err", err)
				}
				sleep(ctx, t.delay)
			} else {
				t = trial{}
				r.relay(ctx, l, subscribed)
				sleep(ctx, r.o.RetryMin)
			}
			if subscribed, err = watch(ctx); err == nil {
				r.signal(l)
			}
		}
	})
}

// relay turns what a watch delivers into signals until it or ctx ends.
func (r *Reconciler) relay(ctx context.Context, l look, subscribed <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-subscribed:
			if !ok {
				return
			}
			r.signal(l)
		}
	}
}

func (r *Reconciler) signal(l look) {
	r.mu.Lock()
	r.signals.note(l, time.Now())
	r.mu.Unlock()
	r.poke()
}

// Resync observes the whole host and repairs it; it returns when that is done,
// with what could not be repaired.
func (r *Reconciler) Resync(ctx context.Context) error {
	answer := make(chan error, 1)
	r.mu.Lock()
	r.resyncs = append(r.resyncs, answer)
	r.signals.demand()
	r.mu.Unlock()
	r.poke()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-r.done:
		return errs.New(errs.Unavailable, "the daemon is stopping")
	}
}

// jitter spreads d by a tenth to either side, so that hosts started together
// don't stay in step.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
