package store

import (
	"fmt"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// PutFIP stores f, which the caller gives up. A name that another floating IP
// has, or a container that has another one, is errs.Conflict. Moving one from
// container to container is one call.
func (tx *Tx) PutFIP(f *model.FloatingIP) error {
	if !f.Address.IsValid() || !f.Pool.Contains(f.Address) {
		return errs.New(errs.Invalid, "floating IP %s is not of pool %s", f.Address, f.Pool)
	}
	s, id := tx.snap, f.ID()
	if err := owned(tx, &f.Tenant, s.FIPs[id]); err != nil {
		return err
	}
	if s.FIPs[id] == nil {
		if err := underQuota(s, f.Tenant, 1); err != nil {
			return err
		}
	}
	if holder, ok := s.FIPNames[f.FullName()]; ok && holder != id {
		return errs.New(errs.Conflict, "the floating IP name %q is already in use by %s", f.Name, holder)
	}
	if has, ok := s.FIPOf[f.ContainerID]; ok && has != id {
		return errs.New(errs.Conflict, "container %s has the floating IP %s already", f.ContainerID, has)
	}
	tx.touch(kindFIP, id)
	tx.unindexFIP(s.FIPs[id])
	mine(tx, ownFIPs, &s.FIPs)[id] = f
	if f.Name != "" {
		mine(tx, ownFIPNames, &s.FIPNames)[f.FullName()] = id
	}
	if f.ContainerID != "" {
		mine(tx, ownFIPOf, &s.FIPOf)[f.ContainerID] = id
	}
	return nil
}

// unindexFIP takes a record, or nil, out of the indexes.
func (tx *Tx) unindexFIP(f *model.FloatingIP) {
	if f == nil {
		return
	}
	if f.Name != "" {
		delete(mine(tx, ownFIPNames, &tx.snap.FIPNames), f.FullName())
	}
	if f.ContainerID != "" {
		delete(mine(tx, ownFIPOf, &tx.snap.FIPOf), f.ContainerID)
	}
}

// DeleteFIP deletes a floating IP by its address.
func (tx *Tx) DeleteFIP(id string) {
	old, ok := tx.snap.FIPs[id]
	if !ok || !tx.sees(old.Tenant) {
		return
	}
	tx.touch(kindFIP, id)
	tx.unindexFIP(old)
	delete(mine(tx, ownFIPs, &tx.snap.FIPs), id)
}

// detachFIP frees the floating IP of a container that goes, or deletes it if it
// was allocated for the container.
func (tx *Tx) detachFIP(containerID string) {
	id, ok := tx.snap.FIPOf[containerID]
	if !ok {
		return
	}
	f := *tx.snap.FIPs[id]
	if f.Auto {
		tx.DeleteFIP(id)
		return
	}
	tx.touch(kindFIP, id)
	tx.unindexFIP(&model.FloatingIP{ContainerID: containerID})
	f.ContainerID, f.ExposeOnly, f.Finishing = "", false, ""
	mine(tx, ownFIPs, &tx.snap.FIPs)[id] = &f
}

// PutFIPPool stores p, which the caller gives up. A prefix that overlaps with
// another pool is errs.Conflict.
func (tx *Tx) PutFIPPool(p *model.FIPPool) error {
	if !p.Prefix.IsValid() || p.Prefix != p.Prefix.Masked() || p.Device == "" {
		return errs.New(errs.Invalid, "pool of floating IPs %s has no prefix or no device", p.Prefix)
	}
	for id, o := range tx.snap.FIPPools {
		if id != p.ID() && o.Prefix.Overlaps(p.Prefix) {
			return errs.New(errs.Conflict, "pool %s overlaps with pool %s", p.Prefix, id)
		}
	}
	tx.touch(kindFIPPool, p.ID())
	mine(tx, ownFIPPools, &tx.snap.FIPPools)[p.ID()] = p
	return nil
}

// DeleteFIPPool deletes a pool by its prefix. Its floating IPs must be gone by
// the end of the transaction.
func (tx *Tx) DeleteFIPPool(id string) {
	if _, ok := tx.snap.FIPPools[id]; !ok {
		return
	}
	tx.touch(kindFIPPool, id)
	delete(mine(tx, ownFIPPools, &tx.snap.FIPPools), id)
}

func checkFIP(s *model.Snapshot, f *model.FloatingIP) error {
	if f == nil {
		return nil
	}
	if s.FIPPools[f.Pool.String()] == nil {
		return fmt.Errorf("floating IP %s is of pool %s, which does not exist", f.Address, f.Pool)
	}
	if f.ContainerID != "" && s.Containers[f.ContainerID] == nil {
		return fmt.Errorf("floating IP %s is attached to container %s, which does not exist", f.Address, f.ContainerID)
	}
	if c := s.Containers[f.ContainerID]; c != nil && c.Tenant != f.Tenant {
		return errs.New(errs.Invalid, "floating IP %s can't be attached to container %s: they belong to different tenants", f.Address, c.FullName())
	}
	return nil
}

// checkPoolGone: a deleted pool has left nothing behind.
func checkPoolGone(s *model.Snapshot, id string) error {
	if s.FIPPools[id] != nil {
		return nil
	}
	for _, f := range s.FIPs {
		if f.Pool.String() == id {
			return checkFIP(s, f)
		}
	}
	return nil
}

// checkUniqueFIPs: no name twice, and one floating IP per container.
func checkUniqueFIPs(s *model.Snapshot) error {
	names, of := map[string]string{}, map[string]string{}
	for id, f := range s.FIPs {
		if other, ok := names[f.FullName()]; ok && f.Name != "" {
			return fmt.Errorf("floating IPs %s and %s are both called %s", other, id, f.FullName())
		}
		if other, ok := of[f.ContainerID]; ok && f.ContainerID != "" {
			return fmt.Errorf("floating IPs %s and %s are both attached to container %s", other, id, f.ContainerID)
		}
		names[f.FullName()], of[f.ContainerID] = id, id
	}
	return nil
}
