package reconcile

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
)

// sight is what was seen of the host's links, before the plan it is compared
// with was made: a namespace made in between is never taken for a leftover.
type sight struct {
	desired.Observed
	stamp uint64 // jobs that ended later are not judged by it
	pass  *pass  // set when every sandbox is to be looked into
}

// pass is one look at the whole host; it ends when its last sandbox was seen.
type pass struct {
	began   time.Time
	left    int
	queue   []string // sandboxes to look into
	answers []chan error
	err     error
}

// observe looks at the links.
func (r *Reconciler) observe(ctx context.Context, inside bool) *sight {
	s := &sight{}
	r.mu.Lock()
	s.stamp = r.stamp
	if inside {
		s.pass = &pass{began: time.Now(), left: 1, answers: r.resyncs}
		r.resyncs = nil
	}
	r.mu.Unlock()
	began := time.Now()
	seen, err := r.o.Links.Observe(ctx)
	r.o.Log.Debug("observed the links", "namespaces", len(seen.Namespaces), "took", time.Since(began), "err", err)

	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.lookTrial = trial{}
		s.Observed = seen
		return s
	}
	if ctx.Err() == nil && r.lookTrial.fail(err, r.rev, &r.o) {
		r.o.Log.Error("the host's links can't be read", "err", err)
	}
	for _, rec := range r.dirty {
		rec.unseen = false // then without
	}
	r.signals.note(lookLinks, time.Now())
	if inside {
		r.signals.note(lookInside, r.lookTrial.at)
		s.pass.err = err
		r.passed(s.pass)
	}
	return nil
}

// compare judges what was seen by what is wanted, and notes what there is to
// do. It gives the host ends nobody knows.
func (r *Reconciler) compare(s *sight) (leftovers []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.compareBridges(s)
	r.compareAddresses(s)
	owners := map[string]bool{}
	for id, rec := range r.recs {
		for host := range rec.hosts {
			owners[host] = true
		}
		if rec.stamp <= s.stamp {
			rec.unseen = false
		}
		if rec.want == nil {
			continue
		}
		for _, i := range rec.want.Interfaces {
			owners[i.Host] = true
		}
		if !rec.busy && rec.stamp <= s.stamp {
			r.compareSandbox(s, id, rec)
		}
	}
	for id := range s.Namespaces {
		if r.recs[id] == nil {
			r.stats.leftovers++
			r.want(id, nil)
		}
	}
	for host := range s.HostEnds {
		if !owners[host] {
			leftovers = append(leftovers, host)
		}
	}
	slices.Sort(leftovers)
	if s.pass != nil {
		r.fill(s.pass)
	}
	return leftovers
}

// compareBridges judges the bridges. One that seems right is made sure of all
// the same when everything is looked into: Observe doesn't tell all of it.
func (r *Reconciler) compareBridges(s *sight) {
	for name, have := range s.Bridges {
		b := r.bridge(name)
		switch {
		case b.want == nil:
		case !matches(b.want, have):
			r.stats.bridges++
			b.made, b.other = nil, have.Network != b.want.Network
		case s.pass != nil:
			b.made = nil
		}
	}
	for name, b := range r.bridges {
		if _, ok := s.Bridges[name]; !ok && b.made != nil && b.want != nil {
			r.stats.bridges++
			b.made = nil
			r.damageOn(name)
		}
	}
}

// compareSandbox judges a sandbox that no job has touched since the look.
func (r *Reconciler) compareSandbox(s *sight, id string, rec *record) {
	if _, ok := s.Namespaces[id]; !ok {
		rec.renewed = true
		rec.check = false
		if rec.applied != nil {
			rec.harmed = true
		}
		r.damaged(rec)
		return
	}
	if _, uprooted := s.Uprooted[id]; uprooted && (rec.applied != nil || rec.trial.err != nil) {
		rec.harmed, rec.trial.at = true, time.Time{} // one that came is not waited for any longer
		r.damaged(rec)
		return
	}
	if rec.applied == nil && rec.stamp == 0 && s.pass != nil {
		rec.check = true // the daemon was started anew: it is probably right
	}
	if rec.applied == nil {
		return
	}
	for _, i := range rec.want.Interfaces {
		end, ok := s.HostEnds[i.Host]
		if !ok || !end.Up || end.Altered || end.Bridge != i.Bridge && !i.OVS || end.Endpoint != i.Endpoint {
			rec.harmed = true
			r.damaged(rec)
			return
		}
	}
}

// fill puts every sandbox into the pass: the sound ones into its queue, to be
// looked into; the others are being seen to.
func (r *Reconciler) fill(p *pass) {
	r.wantFiles(slices.Collect(maps.Keys(r.taken.Files)))
	done := func() { r.passed(p) }
	for id, rec := range r.recs {
		p.left++
		rec.checked = append(rec.checked, done)
		if rec.want == nil || rec.applied == nil && !rec.check {
			continue
		}
		rec.check = true
		if rec.busy || rec.trial.err != nil {
			r.dirty[id] = rec
			continue
		}
		delete(r.dirty, id)
		p.queue = append(p.queue, id)
	}
	slices.Sort(p.queue)
}

// lookInto looks into the sandboxes of a pass, beside the hot path's jobs.
func (r *Reconciler) lookInto(ctx context.Context, p *pass, gate <-chan struct{}) {
	next := make(chan string, len(p.queue))
	for _, id := range p.queue {
		next <- id
	}
	close(next)
	for range min(r.o.Checks, len(p.queue)) {
		r.jobs.Go(func() {
			for id := range next {
				if j, ok := r.beginCheck(id, gate); ok {
					r.run(ctx, j)
				}
			}
		})
	}
}

func (r *Reconciler) beginCheck(id string, gate <-chan struct{}) (job, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.recs[id]
	if rec == nil || !rec.check {
		return job{}, false // somebody was faster
	}
	if rec.busy || rec.want == nil {
		r.dirty[id] = rec
		r.poke()
		return job{}, false
	}
	return r.begin(rec, gate), true
}

// passed counts a part of a pass as done; the last one ends it.
func (r *Reconciler) passed(p *pass) {
	if p.left--; p.left > 0 {
		return
	}
	r.stats.observed, r.stats.took = time.Now(), time.Since(p.began)
	if len(p.answers) == 0 {
		return
	}
	err := p.err
	if err == nil {
		err = r.trouble()
	}
	for _, a := range p.answers {
		a <- err
	}
}

// dropLeftovers deletes host ends of ours that nobody wants or knows: before
// sandboxes are made, which may want the name one of them has inside, and after
// the elements that lead there.
func (r *Reconciler) dropLeftovers(ctx context.Context, hosts []string) {
	if len(hosts) == 0 {
		return
	}
	r.applyFirewall(ctx)
	var wg sync.WaitGroup
	slots := make(chan struct{}, r.o.Parallel)
	for _, host := range hosts {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			err := r.o.Links.DeleteHostEnd(ctx, host)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.stats.leftovers++
			r.ownAt = time.Now()
			if err != nil && ctx.Err() == nil {
				r.signals.note(lookLinks, time.Now())
				r.o.Log.Error("leftover not deleted", "link", host, "err", err)
			}
		})
	}
	wg.Wait()
}
