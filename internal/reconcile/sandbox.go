package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
)

// record is what is known of one container's sandbox. It exists while the
// sandbox is wanted or something of it may be left.
type record struct {
	id      string
	want    *desired.Sandbox  // nil: to be deleted
	applied *desired.Sandbox  // as it was last made or seen right; nil: unknown
	doneRev uint64            // the newest revision a finished job applied
	hosts   map[string]string // host ends that may exist, to their bridge
	served  netip.AddrPort    // where its resolver sockets are; invalid: none
	renewed bool              // its namespace is another than the sockets'
	check   bool              // look before making: it is probably right
	harmed  bool              // somebody else changed it
	again   bool              // it failed once, which is not told yet
	unseen  bool              // not tried again before the links were looked at
	busy    bool              // a job runs
	making  bool              // one that makes, not one that deletes
	stamp   uint64            // when its last job ended
	trial   trial
	checked []func() // called when the next check is done
}

// clean tells whether nothing is left to do.
func (rec *record) clean() bool { return rec.want != nil && rec.applied == rec.want && !rec.check }

// record gives the record of a container, a new one if there is none.
func (r *Reconciler) record(id string) *record {
	rec := r.recs[id]
	if rec == nil {
		rec = &record{id: id, hosts: map[string]string{}}
		r.recs[id] = rec
	}
	return rec
}

// damaged notes that a sandbox is not as it was made.
func (r *Reconciler) damaged(rec *record) {
	rec.applied = nil
	r.dirty[rec.id] = rec
}

// damageOn notes that every host end on the bridge has to be put there again.
func (r *Reconciler) damageOn(bridge string) {
	for _, rec := range r.recs {
		for _, on := range rec.hosts {
			if on == bridge {
				r.damaged(rec)
				break
			}
		}
	}
}

// job is one attempt at one sandbox, with what it needs of the record.
type job struct {
	rec     *record
	want    *desired.Sandbox
	applied *desired.Sandbox
	check   bool
	harmed  bool
	rev     uint64
	gate    <-chan struct{} // open once the elements that lead to what goes are out
}

// dispatch starts a job for every sandbox that has something left to do.
func (r *Reconciler) dispatch(ctx context.Context, gate <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, id := range slices.Sorted(maps.Keys(r.dirty)) {
		rec := r.dirty[id]
		if rec.busy || rec.unseen || !rec.trial.due(now) {
			continue
		}
		if err := r.bridgeTrouble(rec); err != nil {
			r.failed(rec, err)
			continue
		}
		j := r.begin(rec, gate)
		r.jobs.Go(func() {
			if j.want == nil {
				j.waitGate(ctx) // without a slot: others need none of this
			}
			r.hot <- struct{}{}
			defer func() { <-r.hot }()
			r.run(ctx, j)
		})
	}
}

// waitGate waits until no element leads any more to what is to be deleted.
func (j *job) waitGate(ctx context.Context) {
	select {
	case <-j.gate:
	case <-ctx.Done():
	}
}

// bridgeTrouble is what is wrong with a bridge the sandbox needs, or with the
// firewall without which it is not made.
func (r *Reconciler) bridgeTrouble(rec *record) error {
	if rec.want == nil {
		return nil
	}
	for _, i := range rec.want.Interfaces {
		switch b := r.bridges[i.Bridge]; {
		case b == nil:
		case b.trial.err != nil:
			return b.trial.err
		case b.made == nil && !(b.want != nil && b.want.Plain) && r.fw.trial.err != nil && !r.guarded(i.Bridge):
			return fmt.Errorf("firewall: %w", r.fw.trial.err)
		}
	}
	return nil
}

// begin takes the record for a job.
func (r *Reconciler) begin(rec *record, gate <-chan struct{}) job {
	j := job{rec: rec, want: rec.want, applied: rec.applied, check: rec.check, harmed: rec.harmed, rev: r.rev, gate: gate}
	rec.busy, rec.making, rec.check, rec.harmed = true, j.want != nil, false, false
	r.running++
	return j
}

// run does a job and notes how it went.
func (r *Reconciler) run(ctx context.Context, j job) {
	began := time.Now()
	var err error
	repaired := false
	if j.want == nil {
		err = r.remove(ctx, j)
	} else {
		repaired, err = r.make(ctx, j)
	}
	r.o.Log.Debug("sandbox", "container", j.rec.id, "revision", j.rev, "removed", j.want == nil,
		"checked", j.check, "repaired", repaired, "took", time.Since(began), "err", err)
	r.finish(ctx, j, repaired, err)
}

func (r *Reconciler) finish(ctx context.Context, j job, repaired bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := j.rec
	rec.busy, rec.making = false, false
	r.running--
	r.stamp++
	rec.stamp = r.stamp
	if !j.check || repaired {
		r.ownAt = time.Now()
	}
	if repaired {
		r.stats.sandboxes++
	}
	switch {
	case ctx.Err() != nil:
	case err != nil && rec.want == j.want:
		rec.applied = nil
		r.retry(rec, err)
	case err != nil:
		rec.applied = nil // a newer wish is waiting already
	default:
		rec.applied, rec.trial, rec.again = j.want, trial{}, false
		rec.doneRev = max(rec.doneRev, j.rev)
	}
	if err == nil && j.want == nil && rec.want == nil && r.recs[rec.id] == rec {
		delete(r.recs, rec.id)
		delete(r.dirty, rec.id)
	}
	if rec.clean() {
		delete(r.dirty, rec.id)
	} else if r.recs[rec.id] == rec {
		r.dirty[rec.id] = rec
	}
	if !rec.check {
		for _, f := range rec.checked {
			f()
		}
		rec.checked = nil
	}
	r.settle()
	r.poke()
}

// retry has a sandbox tried again after a look at the links: at once the first
// time, because what it needs, its bridge perhaps, may just have been deleted.
// A failure after that is told and tried again later.
func (r *Reconciler) retry(rec *record, err error) {
	r.signals.note(lookLinks, time.Now())
	if rec.again {
		r.failed(rec, err)
		return
	}
	rec.again, rec.unseen = true, true
	r.signals.urgent[lookLinks] = true
	r.o.Log.Debug("sandbox failed, trying again", "container", rec.id, "err", err)
}

// failed records a failure of the container's sandbox.
func (r *Reconciler) failed(rec *record, err error) {
	if rec.trial.fail(err, r.rev, &r.o) {
		r.o.Log.Error("network of a container is not as wanted", "container", rec.id, "err", err)
	}
}

// make brings a sandbox up, or corrects it. It tells whether one that should
// have been right was not.
func (r *Reconciler) make(ctx context.Context, j job) (repaired bool, err error) {
	intact := j.applied != nil && j.applied.SameInside(j.want)
	renew := false
	if j.check {
		seen, err := r.o.Links.ObserveSandbox(ctx, j.want)
		intact = err == nil && seen
		renew = !intact // perhaps the namespace itself is another
	}
	repaired = renew || j.harmed
	if err := r.prepare(ctx, j, intact); err != nil {
		return repaired, err
	}
	if err := r.dropHosts(ctx, j); err != nil {
		return repaired, err
	}
	r.noteHosts(j)
	if !intact {
		if err := r.o.Links.EnsureSandbox(ctx, j.want); err != nil {
			return repaired, err
		}
	}
	return repaired, r.serve(ctx, j, renew)
}

// prepare makes namespace and files.
func (r *Reconciler) prepare(ctx context.Context, j job, intact bool) error {
	unlock := r.locks.Lock(j.rec.id)
	defer unlock()
	if !intact {
		if _, err := r.o.Links.EnsureNamespace(ctx, j.rec.id); err != nil {
			return fmt.Errorf("network namespace: %w", err)
		}
	}
	return r.writeFiles(j.want.Files)
}

// noteHosts remembers which host ends may exist from now on.
func (r *Reconciler) noteHosts(j job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range j.want.Interfaces {
		j.rec.hosts[i.Host] = i.Bridge
	}
}

// dropHosts deletes the host ends that may exist and are not wanted, once the
// elements that led there are out. It comes before new interfaces are made,
// which may take the name of an old one inside.
func (r *Reconciler) dropHosts(ctx context.Context, j job) error {
	r.mu.Lock()
	var gone []string
	for host := range j.rec.hosts {
		if j.want == nil || !slices.ContainsFunc(j.want.Interfaces, func(i desired.Interface) bool { return i.Host == host }) {
			gone = append(gone, host)
		}
	}
	r.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	j.waitGate(ctx)
	slices.Sort(gone)
	for _, host := range gone {
		if err := r.o.Links.DeleteHostEnd(ctx, host); err != nil {
			return fmt.Errorf("interface %s: %w", host, err)
		}
		r.mu.Lock()
		delete(j.rec.hosts, host)
		r.mu.Unlock()
	}
	return nil
}

// serve opens the resolver's sockets in the namespace, if it has none where
// they are wanted or those it has are in a namespace of before.
func (r *Reconciler) serve(ctx context.Context, j job, renew bool) error {
	rec, at := j.rec, j.want.Listen()
	r.mu.Lock()
	was := rec.served
	renew = renew || rec.renewed
	rec.renewed = false
	r.mu.Unlock()
	if was == at && !renew {
		return nil
	}
	if was.IsValid() {
		r.o.Resolver.Stop(rec.id)
		r.setServed(rec, netip.AddrPort{})
	}
	if !at.IsValid() {
		return nil
	}
	udp, tcp, err := r.o.Links.Listen(ctx, rec.id, at)
	if err != nil {
		return fmt.Errorf("resolver at %s: %w", at, err)
	}
	r.o.Resolver.Serve(rec.id, udp, tcp)
	r.setServed(rec, at)
	return nil
}

func (r *Reconciler) setServed(rec *record, at netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec.served = at
}

// remove takes a sandbox away: names, links, namespace. A start that came in
// between keeps the namespace; the plan that wants it does the rest.
func (r *Reconciler) remove(ctx context.Context, j job) error {
	if j.rec.served.IsValid() {
		r.o.Resolver.Stop(j.rec.id)
		r.setServed(j.rec, netip.AddrPort{})
	}
	err := r.dropHosts(ctx, j)
	unlock := r.locks.Lock(j.rec.id)
	defer unlock()
	if r.wanted(j.rec.id) {
		return err
	}
	if e := r.o.Links.DeleteNamespace(ctx, j.rec.id); e != nil {
		err = errors.Join(err, fmt.Errorf("network namespace: %w", e))
	}
	return err
}
