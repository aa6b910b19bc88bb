package reconcile

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
)

// bridge is one bridge by link name.
type bridge struct {
	want  *desired.Bridge // nil: to be deleted
	made  *desired.Bridge // as it was last made or seen right; nil: unknown
	other bool            // what is there belongs to another network of ours
	trial trial
}

// bridge gives the record of a name, a new one if there is none.
func (r *Reconciler) bridge(name string) *bridge {
	b := r.bridges[name]
	if b == nil {
		b = &bridge{}
		r.bridges[name] = b
	}
	return b
}

// wantBridge notes what is wanted of a bridge.
func (r *Reconciler) wantBridge(name string, want *desired.Bridge) {
	b := r.bridge(name)
	b.want, b.trial = want, trial{}
}

// right notes that a bridge is as wanted; sandboxes that waited for it are
// tried at once.
func (r *Reconciler) right(b *bridge) {
	r.hurryOn(b.want.Name)
	b.made, b.other, b.trial = b.want, false, trial{}
}

// applyBridges makes and corrects bridges. One that belonged to another
// network is made anew, and what was on it comes back. One that the firewall
// never kept apart from the others waits for it; what it guarded when it was
// last known is repaired all the same.
func (r *Reconciler) applyBridges(ctx context.Context) {
	for _, name := range r.dueBridges() {
		r.applyBridge(ctx, name)
	}
}

func (r *Reconciler) dueBridges() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	var todo []string
	for name, b := range r.bridges {
		if b.want != nil && b.want != b.made && b.trial.due(now) && (b.want.Plain || r.guarded(name)) {
			todo = append(todo, name)
		}
	}
	slices.Sort(todo)
	return todo
}

// guarded tells whether the firewall, when last known, kept a bridge apart.
func (r *Reconciler) guarded(bridge string) bool {
	_, ok := r.fw.has.Bridges[bridge]
	return ok
}

func (r *Reconciler) applyBridge(ctx context.Context, name string) {
	r.mu.Lock()
	b := r.bridges[name]
	want := b.want
	renew := b.other || b.made != nil && b.made.Network != want.Network
	r.mu.Unlock()

	began := time.Now()
	var err error
	if renew {
		err = r.o.Links.DeleteBridge(ctx, name)
	}
	if err == nil {
		err = r.o.Links.EnsureBridge(ctx, want)
	}
	if err != nil && ctx.Err() == nil { // deleted while it was made, perhaps
		err = r.o.Links.EnsureBridge(ctx, want)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	r.ownAt = time.Now()
	if err != nil {
		if ctx.Err() == nil && b.trial.fail(fmt.Errorf("bridge %s: %w", name, err), r.taken.Revision, &r.o) {
			r.o.Log.Error("bridge not made", "bridge", name, "network", want.Network, "err", err)
		}
		return
	}
	r.right(b)
	if renew {
		r.damageOn(name)
	}
	r.o.Log.Debug("bridge", "bridge", name, "took", r.ownAt.Sub(began))
}

// hurryOn lets the sandboxes that waited for the bridge be tried now.
func (r *Reconciler) hurryOn(bridge string) {
	for _, rec := range r.dirty {
		if rec.want != nil && slices.ContainsFunc(rec.want.Interfaces, func(i desired.Interface) bool { return i.Bridge == bridge }) {
			rec.trial.at = time.Time{}
		}
	}
}

// dropBridges deletes the bridges nobody wants and no host end is on.
func (r *Reconciler) dropBridges(ctx context.Context) {
	r.mu.Lock()
	now := time.Now()
	var todo []string
	for name, b := range r.bridges {
		if b.want == nil && b.trial.due(now) && !r.inUse(name) {
			todo = append(todo, name)
		}
	}
	r.mu.Unlock()
	slices.Sort(todo)
	for _, name := range todo {
		err := r.o.Links.DeleteBridge(ctx, name)
		r.mu.Lock()
		r.ownAt = time.Now()
		if err == nil {
			delete(r.bridges, name)
		} else if ctx.Err() == nil && r.bridges[name].trial.fail(fmt.Errorf("bridge %s: %w", name, err), r.taken.Revision, &r.o) {
			r.o.Log.Error("bridge not deleted", "bridge", name, "err", err)
		}
		r.mu.Unlock()
	}
}

// inUse tells whether a host end of ours may be on the bridge; the end of the
// job that takes it off wakes the applier.
func (r *Reconciler) inUse(name string) bool {
	for _, rec := range r.recs {
		for _, on := range rec.hosts {
			if on == name {
				return true
			}
		}
	}
	return false
}

// matches tells whether an observed bridge is as wanted. The kernel's own
// link-local addresses and an MTU nobody chose don't count.
func matches(want *desired.Bridge, have desired.Bridge) bool {
	if want.Plain { // its addresses are its administrator's
		return want.Network == have.Network && have.Plain && (want.OVS || want.MAC == have.MAC)
	}
	return want.Network == have.Network && want.RouteLocalnet == have.RouteLocalnet && want.OwnARP == have.OwnARP &&
		(want.MTU == 0 || want.MTU == have.MTU) &&
		(want.MAC == "" || strings.EqualFold(want.MAC, have.MAC)) &&
		maps.Equal(addrSet(want.Addrs, want.Addrs), addrSet(have.Addrs, want.Addrs))
}

func addrSet(addrs, keep []netip.Prefix) map[netip.Prefix]struct{} {
	set := map[netip.Prefix]struct{}{}
	for _, a := range addrs {
		if !a.Addr().IsLinkLocalUnicast() || slices.Contains(keep, a) {
			set[a] = struct{}{}
		}
	}
	return set
}
