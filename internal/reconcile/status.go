package reconcile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
)

// stats are what is counted.
type stats struct {
	sandboxes, bridges, loads, leftovers uint64
	observed                             time.Time
	took                                 time.Duration
}

// Status is what can be told of the reconciler at one moment.
type Status struct {
	Revision   uint64           // taken up
	Firewall   uint64           // the revision the firewall has
	Sandboxes  int              // wanted
	Pending    int              // sandboxes with something left to do
	Claims     int              // host ports held
	Containers map[string]error // what keeps a container's network from being as wanted
	Host       error            // what keeps the host's, e.g. the firewall

	RepairedSandboxes uint64 // found changed by somebody else and made right
	RepairedBridges   uint64
	FirewallLoads     uint64 // whole table, at the first start or after a flush
	Leftovers         uint64 // namespaces and links of ours nobody wanted

	Observed time.Time     // end of the last look at the whole host
	Took     time.Duration // how long it took
}

// Status tells how things are.
func (r *Reconciler) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{
		Revision: r.rev, Firewall: r.fw.rev, Pending: len(r.dirty), Claims: len(r.claims.held),
		Containers: r.containerErrors(), Host: r.hostError(),
		RepairedSandboxes: r.stats.sandboxes, RepairedBridges: r.stats.bridges,
		FirewallLoads: r.stats.loads, Leftovers: r.stats.leftovers,
		Observed: r.stats.observed, Took: r.stats.took,
	}
	if r.taken != nil {
		s.Sandboxes = len(r.taken.Sandboxes)
	}
	return s
}

func (r *Reconciler) containerErrors() map[string]error {
	m := map[string]error{}
	for id, rec := range r.dirty {
		if rec.trial.err != nil {
			m[id] = rec.trial.err
		}
	}
	for id, t := range r.files {
		if t.err != nil {
			m[id] = t.err
		}
	}
	for k, t := range r.claims.unheld {
		if t.err != nil {
			id := r.taken.Claims[k]
			m[id] = errors.Join(m[id], t.err)
		}
	}
	return m
}

func (r *Reconciler) hostError() error {
	all := []error{r.lookTrial.err}
	if r.fw.trial.err != nil {
		all = append(all, fmt.Errorf("firewall: %w", r.fw.trial.err))
	}
	for _, name := range slices.Sorted(maps.Keys(r.bridges)) {
		all = append(all, r.bridges[name].trial.err)
	}
	for _, a := range slices.SortedFunc(maps.Keys(r.undone), desired.DeviceAddress.Compare) {
		all = append(all, r.undone[a].trial.err)
	}
	return errors.Join(all...)
}

// trouble is everything that is not as wanted, for one who asked for a repair.
func (r *Reconciler) trouble() error {
	all := []error{r.hostError()}
	m := r.containerErrors()
	for _, id := range slices.Sorted(maps.Keys(m)) {
		all = append(all, fmt.Errorf("container %s: %w", id, m[id]))
	}
	return errors.Join(all...)
}
