package store

import (
	"errors"
	"maps"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Tx is one transaction: valid inside its closure only.
type Tx struct {
	snap *model.Snapshot  // base's maps until one is touched, then our own
	own  map[any]struct{} // which maps are ours already: field or network ID
	keys map[key]struct{} // records put or deleted
	done bool

	tenant string          // whose transaction it is; empty: the administrator's
	of     *View           // through which it came; nil for the administrator's
	view   *model.Snapshot // what the tenant sees, once somebody asked
	stale  bool            // view lacks the last writes
}

// The maps a transaction copies before it changes them.
const (
	ownContainers = iota
	ownNetworks
	ownEndpoints
	ownLinks
	ownVolumes
	ownFIPs
	ownFIPPools
	ownGroups
	ownTenants
	ownContainerNames
	ownNetworkNames
	ownByContainer
	ownByNetwork
	ownLinksOf
	ownPorts
	ownFIPNames
	ownFIPOf
	ownGroupNames
)

func newTx(base *model.Snapshot, of *View) *Tx {
	snap := *base
	snap.Revision++
	tx := &Tx{snap: &snap, own: map[any]struct{}{}, keys: map[key]struct{}{}}
	if of != nil && of.tenant != "" {
		tx.of, tx.tenant = of, of.tenant
	}
	return tx
}

// mine makes *m the transaction's own copy, once, and gives it.
func mine[K comparable, V any](tx *Tx, owner any, m *map[K]V) map[K]V {
	if _, ok := tx.own[owner]; !ok {
		tx.own[owner] = struct{}{}
		if *m = maps.Clone(*m); *m == nil {
			*m = map[K]V{}
		}
	}
	return *m
}

func (tx *Tx) touch(kind kind, id string) {
	if tx.done {
		panic("store: transaction used after its closure returned")
	}
	tx.keys[key{kind, id}] = struct{}{}
	tx.stale = true
}

// PutContainer stores c, which the caller gives up. A name or a host port that
// another container holds is errs.Conflict.
func (tx *Tx) PutContainer(c *model.Container) error {
	if c.ID == "" || c.Name == "" {
		return errs.New(errs.Invalid, "container %q has no ID or no name", c.ID+c.Name)
	}
	s := tx.snap
	if err := owned(tx, &c.Tenant, s.Containers[c.ID]); err != nil {
		return err
	}
	if holder, ok := s.ContainerNames[c.FullName()]; ok && holder != c.ID {
		return errs.New(errs.Conflict, "the container name %q is already in use by container %s", c.Name, holder)
	}
	if err := freePorts(s, s.Containers[c.ID], c); err != nil {
		return err
	}
	tx.touch(kindContainer, c.ID)
	old := s.Containers[c.ID]
	mine(tx, ownContainers, &s.Containers)[c.ID] = c
	if old == nil || old.Name != c.Name {
		names := mine(tx, ownContainerNames, &s.ContainerNames)
		if old != nil {
			delete(names, old.FullName())
		}
		names[c.FullName()] = c.ID
		if err := tx.bindLinks(c); err != nil {
			return err
		}
	}
	tx.indexPorts(c.ID, old, c)
	return nil
}

// bindLinks leads the links that wait for a container's name to it.
func (tx *Tx) bindLinks(c *model.Container) error {
	for _, l := range tx.snap.Links {
		if l.TargetID != "" || l.TargetName != c.Name || l.ContainerID == c.ID || tx.snap.Containers[l.ContainerID].Tenant != c.Tenant {
			continue
		}
		bound := *l
		bound.TargetID, bound.TargetName = c.ID, ""
		if err := tx.PutLink(&bound); err != nil {
			return err
		}
	}
	return nil
}

// DeleteContainer deletes a container with its endpoints and its links, and
// detaches its floating IP. Links of others that lead to it wait for the next
// container of its name.
func (tx *Tx) DeleteContainer(id string) {
	s := tx.snap
	old, ok := s.Containers[id]
	if !ok || !tx.sees(old.Tenant) {
		return
	}
	tx.touch(kindContainer, id)
	for _, e := range s.ByContainer[id] {
		tx.DeleteEndpoint(e.ID)
	}
	for _, l := range s.Links {
		switch {
		case l.ContainerID == id:
			tx.DeleteLink(l.ID)
		case l.TargetID == id:
			waiting := *l
			waiting.TargetID, waiting.TargetName = "", old.Name
			tx.putLink(&waiting)
		}
	}
	tx.detachFIP(id)
	delete(mine(tx, ownContainers, &s.Containers), id)
	delete(mine(tx, ownContainerNames, &s.ContainerNames), old.FullName())
	tx.indexPorts(id, old, nil)
}

// PutNetwork stores n, which the caller gives up. A name that another network
// has is errs.Conflict.
func (tx *Tx) PutNetwork(n *model.Network) error {
	if n.ID == "" || n.Name == "" {
		return errs.New(errs.Invalid, "network %q has no ID or no name", n.ID+n.Name)
	}
	s := tx.snap
	if err := owned(tx, &n.Tenant, s.Networks[n.ID]); err != nil {
		return err
	}
	if holder, ok := s.NetworkNames[n.FullName()]; ok && holder != n.ID {
		return errs.New(errs.Conflict, "network with name %s already exists: %s", n.Name, holder)
	}
	tx.touch(kindNetwork, n.ID)
	names := mine(tx, ownNetworkNames, &s.NetworkNames)
	if old := s.Networks[n.ID]; old != nil {
		delete(names, old.FullName())
	}
	names[n.FullName()] = n.ID
	mine(tx, ownNetworks, &s.Networks)[n.ID] = n
	return nil
}

// DeleteNetwork deletes a network. Its endpoints and the links over it must be
// gone by the end of the transaction.
func (tx *Tx) DeleteNetwork(id string) {
	s := tx.snap
	old, ok := s.Networks[id]
	if !ok || !tx.sees(old.Tenant) {
		return
	}
	tx.touch(kindNetwork, id)
	delete(mine(tx, ownNetworks, &s.Networks), id)
	delete(mine(tx, ownNetworkNames, &s.NetworkNames), old.FullName())
}

// PutVolume stores v, which the caller gives up.
func (tx *Tx) PutVolume(v *model.Volume) error {
	if v.Name == "" {
		return errs.New(errs.Invalid, "a volume has no name")
	}
	if v.Tenant == "" { // its key says whose it is
		v.Tenant = tx.tenant
	}
	if err := owned(tx, &v.Tenant, tx.snap.Volumes[v.Key()]); err != nil {
		return err
	}
	tx.touch(kindVolume, v.Key())
	mine(tx, ownVolumes, &tx.snap.Volumes)[v.Key()] = v
	return nil
}

// DeleteVolume deletes a volume by its key.
func (tx *Tx) DeleteVolume(key string) {
	old, ok := tx.snap.Volumes[key]
	if !ok || !tx.sees(old.Tenant) {
		return
	}
	tx.touch(kindVolume, key)
	delete(mine(tx, ownVolumes, &tx.snap.Volumes), key)
}

// without gives a new slice that lacks what drop says: readers keep the old one.
func without[T any](in []T, drop func(T) bool) []T {
	out := make([]T, 0, len(in)+1)
	for _, v := range in {
		if !drop(v) {
			out = append(out, v)
		}
	}
	return out
}

func setOrDelete[T any](m map[string][]T, id string, v []T) {
	if len(v) == 0 {
		delete(m, id)
	} else {
		m[id] = v
	}
}

// checkReferences refuses endpoints and links left without their container or
// network. It looks at what the transaction touched only.
func (tx *Tx) checkReferences() error {
	s := tx.snap
	for k := range tx.keys {
		var err error
		switch k.kind {
		case kindEndpoint:
			err = checkEndpoint(s, s.Endpoints[k.id])
		case kindLink:
			err = checkLink(s, s.Links[k.id])
		case kindNetwork:
			err = checkNetworkGone(s, k.id)
		case kindContainer:
			err = errors.Join(checkContainerGone(s, k.id), checkGroupsOf(s, s.Containers[k.id]))
		case kindFIP:
			err = checkFIP(s, s.FIPs[k.id])
		case kindFIPPool:
			err = checkPoolGone(s, k.id)
		case kindGroup:
			err = checkGroup(s, k.id)
		case kindTenant:
			err = checkTenantGone(s, k.id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
