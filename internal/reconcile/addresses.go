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

// address is one address on a device of the host that is not ours.
type address struct {
	want  string // the container it is there for; empty: to be taken off
	made  string // the one it was last announced for; empty: not there, as far as known
	trial trial
}

// wantAddress notes for whom an address is wanted.
func (r *Reconciler) wantAddress(key desired.DeviceAddress, container string) {
	a := r.addrs[key]
	if a == nil {
		a = &address{}
		r.addrs[key] = a
	}
	a.want, a.trial = container, trial{}
	r.undone[key] = a
}

// compareAddresses judges the addresses that carry our mark. One that is there
// when the daemon starts was announced by the last one.
func (r *Reconciler) compareAddresses(s *sight) {
	for key := range s.Addresses {
		a := r.addrs[key]
		switch {
		case a == nil:
			r.stats.leftovers++
			r.wantAddress(key, "")
		case a.want != "" && a.made == "":
			a.made, a.trial = a.want, trial{}
			delete(r.undone, key)
		}
	}
	for key, a := range r.addrs {
		if _, there := s.Addresses[key]; !there && a.made != "" {
			a.made = ""
			r.undone[key] = a
		}
	}
}

// dropAddresses takes off what is not wanted: before the elements go that lead
// from there to a container, as the host's own programs would answer then.
func (r *Reconciler) dropAddresses(ctx context.Context) {
	for _, key := range r.dueAddresses(func(a *address) bool { return a.want == "" }) {
		err := r.o.Links.DeleteAddress(ctx, key)
		r.mu.Lock()
		r.ownAt = time.Now()
		a := r.addrs[key]
		if err == nil {
			delete(r.addrs, key)
			delete(r.undone, key)
		} else if ctx.Err() == nil && a.trial.fail(fmt.Errorf("address %s on %s: %w", key.Addr, key.Device, err), r.taken.Revision, &r.o) {
			r.o.Log.Error("address not taken off", "address", key.Addr, "device", key.Device, "err", err)
		}
		r.mu.Unlock()
	}
}

// applyAddresses puts on and announces what is wanted, once the firewall leads
// it to its container.
func (r *Reconciler) applyAddresses(ctx context.Context) {
	r.mu.Lock()
	ready := r.fw.known && r.fw.of == r.taken
	r.mu.Unlock()
	if !ready {
		return
	}
	for _, key := range r.dueAddresses(func(a *address) bool { return a.want != "" }) {
		err := r.o.Links.EnsureAddress(ctx, key)
		r.mu.Lock()
		r.ownAt = time.Now()
		a := r.addrs[key]
		if err == nil {
			a.made, a.trial = a.want, trial{}
			delete(r.undone, key)
		} else if ctx.Err() == nil && a.trial.fail(fmt.Errorf("address %s on %s: %w", key.Addr, key.Device, err), r.taken.Revision, &r.o) {
			r.o.Log.Error("address not put on", "address", key.Addr, "device", key.Device, "container", a.want, "err", err)
		}
		r.mu.Unlock()
	}
}

func (r *Reconciler) dueAddresses(which func(*address) bool) []desired.DeviceAddress {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.undone) == 0 {
		return nil
	}
	now := time.Now()
	return slices.SortedFunc(func(yield func(desired.DeviceAddress) bool) {
		for key := range maps.Keys(r.undone) {
			if a := r.undone[key]; which(a) && a.trial.due(now) && !yield(key) {
				return
			}
		}
	}, desired.DeviceAddress.Compare)
}

// addressSettled tells whether the container's addresses, and those it has no
// more, were tried. One that can't be put on is the host's trouble: a device
// that comes later gets it then, and the container runs without until then.
func (r *Reconciler) addressSettled(w *waiter) (err error, hurry, done bool) {
	done = true
	for _, a := range r.undone {
		if a.want != w.container && a.made != w.container {
			continue
		}
		if a.trial.err == nil || a.trial.rev < w.rev {
			a.trial.at = time.Time{}
			hurry, done = a.trial.err != nil, false
		}
	}
	return nil, hurry, done
}

// Address tells what keeps an address from being on, or off, a device of the
// host's as planned; nil: nothing does. Wait for its container first.
func (r *Reconciler) Address(addr netip.Addr) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []error
	for key, a := range r.undone {
		if key.Addr == addr {
			all = append(all, a.trial.err)
		}
	}
	return errors.Join(all...)
}
