package store

import (
	"reflect"
	"sync"

	"github.com/jackstay/jackstay/internal/model"
)

// View is the store as one tenant has it: snapshots and transactions that hold
// the tenant's own records alone, under their plain names, and whose new records
// are the tenant's. The administrator's view, of the tenant "", is the store.
type View struct {
	store  *Store
	tenant string

	mu         sync.Mutex // guards what follows
	base, last *model.Snapshot
}

// View gives a tenant's view of the store.
func (s *Store) View(tenant string) *View { return &View{store: s, tenant: tenant} }

// All is everybody's state: for choosing what nobody else may have.
func (v *View) All() *model.Snapshot { return v.store.Snapshot() }

// Snapshot gives the newest visible state of the view.
func (v *View) Snapshot() *model.Snapshot { return v.of(v.store.Snapshot()) }

// Update is Store.Update in the view.
func (v *View) Update(fn func(tx *Tx) error) (*model.Snapshot, error) { return v.run(fn, false) }

// Soft is Store.Soft in the view.
func (v *View) Soft(fn func(tx *Tx) error) (*model.Snapshot, error) { return v.run(fn, true) }

// Changed is the store's: it closes when anybody's state moves on.
func (v *View) Changed() <-chan struct{} { return v.store.Changed() }

func (v *View) run(fn func(tx *Tx) error, soft bool) (*model.Snapshot, error) {
	snap, err := v.store.run(fn, v, soft)
	if err != nil {
		return nil, err
	}
	return v.of(snap), nil
}

// of gives the view of a state; that of the last one asked for is kept.
func (v *View) of(base *model.Snapshot) *model.Snapshot {
	if v.tenant == "" {
		return base
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.base != base {
		v.base, v.last = base, viewOf(base, v.tenant, v.base, v.last)
	}
	return v.last
}

// ahead gives the view of a state that nobody has seen yet: it may be changed
// in place still, so it is not kept.
func (v *View) ahead(s *model.Snapshot) *model.Snapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	return viewOf(s, v.tenant, v.base, v.last)
}

// All shows everybody's state with the transaction's own writes so far.
func (tx *Tx) All() *model.Snapshot { return tx.snap }

// Snapshot shows the state with the transaction's own writes so far: of a
// tenant's transaction, what the tenant sees.
func (tx *Tx) Snapshot() *model.Snapshot {
	switch {
	case tx.tenant == "":
		return tx.snap
	case tx.view == nil:
		tx.view = tx.of.ahead(tx.snap)
	case tx.stale:
		*tx.view = *tx.of.ahead(tx.snap) // those who hold it see it, too
	}
	tx.stale = false
	return tx.view
}

// viewOf is what a tenant sees of a state. Records are shared, and a kind that
// is not listed here is seen by nobody but the administrator. A map of the state
// that is the very one of an earlier state, before, need not be gone through
// again: what was seen of it then is taken over.
func viewOf(s *model.Snapshot, tenant string, before, seen *model.Snapshot) *model.Snapshot {
	if seen == nil {
		before, seen = &model.Snapshot{}, &model.Snapshot{}
	}
	v := *seen
	v.Revision, v.Tenant = s.Revision, tenant
	v.FIPPools, v.Ports = s.FIPPools, s.Ports // there once for all, to choose from
	if !same(s.Tenants, before.Tenants) {
		v.Tenants = map[string]*model.Tenant{}
		if t := s.Tenants[tenant]; t != nil {
			v.Tenants[tenant] = t
		}
	}
	if !same(s.Volumes, before.Volumes) {
		v.Volumes = only(s.Volumes, tenant, len(seen.Volumes))
	}
	if !same(s.FIPs, before.FIPs) {
		v.FIPs = only(s.FIPs, tenant, len(seen.FIPs))
		v.FIPNames, v.FIPOf = map[string]string{}, map[string]string{}
		for id, f := range v.FIPs {
			if f.Name != "" {
				v.FIPNames[f.Name] = id
			}
			if f.ContainerID != "" {
				v.FIPOf[f.ContainerID] = id
			}
		}
	}
	if !same(s.SecurityGroups, before.SecurityGroups) {
		v.SecurityGroups = only(s.SecurityGroups, tenant, len(seen.SecurityGroups))
		v.GroupNames = make(map[string]string, len(v.SecurityGroups))
		for id, g := range v.SecurityGroups {
			v.GroupNames[g.Name] = id
		}
	}
	viewNetworks(&v, s, before, len(seen.Networks))
	viewContainers(&v, s, before, len(seen.Containers))
	return &v
}

func viewNetworks(v, s, before *model.Snapshot, about int) {
	changed := !same(s.Networks, before.Networks)
	if changed {
		v.Networks, v.NetworkNames = only(s.Networks, v.Tenant, about), make(map[string]string, about)
		for id, n := range v.Networks {
			v.NetworkNames[n.Name] = id
		}
	}
	if changed || !same(s.ByNetwork, before.ByNetwork) {
		v.ByNetwork = restrict(s.ByNetwork, v.Networks)
	}
}

func viewContainers(v, s, before *model.Snapshot, about int) {
	if !same(s.Containers, before.Containers) {
		v.Containers = only(s.Containers, v.Tenant, about)
	}
	others := !same(s.ContainerNames, before.ContainerNames) // some came, went, or were renamed
	if others {
		v.ContainerNames = make(map[string]string, len(v.Containers))
		for id, c := range v.Containers {
			v.ContainerNames[c.Name] = id
		}
	}
	if others || !same(s.ByContainer, before.ByContainer) {
		v.ByContainer = restrict(s.ByContainer, v.Containers)
		v.Endpoints = byID(v.ByContainer, func(e *model.Endpoint) string { return e.ID })
	}
	if others || !same(s.LinksOf, before.LinksOf) {
		v.LinksOf = restrict(s.LinksOf, v.Containers)
		v.Links = byID(v.LinksOf, func(l *model.Link) string { return l.ID })
	}
}

// same tells whether two are one map, which nobody changes any more.
func same[K comparable, V any](a, b map[K]V) bool {
	return a != nil && reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// only gives the records of a tenant, which are about so many.
func only[T belongs](m map[string]*T, tenant string, about int) map[string]*T {
	out := make(map[string]*T, about+1)
	for id, r := range m {
		if tenantOf(r) == tenant {
			out[id] = r
		}
	}
	return out
}

// restrict gives what an index has for these records.
func restrict[V, T any](index map[string]V, records map[string]*T) map[string]V {
	out := make(map[string]V, len(records))
	for id := range records {
		if of, ok := index[id]; ok {
			out[id] = of
		}
	}
	return out
}

// byID gives the records of an index by their ID.
func byID[T any](index map[string][]*T, id func(*T) string) map[string]*T {
	out := make(map[string]*T, len(index))
	for _, of := range index {
		for _, r := range of {
			out[id(r)] = r
		}
	}
	return out
}
