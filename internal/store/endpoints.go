package store

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// PutEndpoint stores e, which the caller gives up. An address that another
// endpoint of the network has is errs.Conflict.
func (tx *Tx) PutEndpoint(e *model.Endpoint) error {
	if e.ID == "" || e.ContainerID == "" || e.NetworkID == "" {
		return errs.New(errs.Invalid, "endpoint %q has no ID, no container or no network", e.ID)
	}
	s := tx.snap
	old := s.Endpoints[e.ID]
	if old == nil || old.NetworkID != e.NetworkID || old.IPv4 != e.IPv4 || old.IPv6 != e.IPv6 {
		if err := freeAddress(s, e); err != nil {
			return err
		}
	}
	tx.touch(kindEndpoint, e.ID)
	mine(tx, ownEndpoints, &s.Endpoints)[e.ID] = e
	if old != nil && (old.ContainerID != e.ContainerID || old.NetworkID != e.NetworkID) {
		tx.unindexEndpoint(old)
	}
	tx.members(e.NetworkID)[e.ID] = e
	of := without(s.ByContainer[e.ContainerID], func(o *model.Endpoint) bool { return o.ID == e.ID })
	of = append(of, e)
	slices.SortFunc(of, compareEndpoints)
	mine(tx, ownByContainer, &s.ByContainer)[e.ContainerID] = of
	return nil
}

// freeAddress refuses an address that another endpoint of the network has.
func freeAddress(s *model.Snapshot, e *model.Endpoint) error {
	for _, o := range s.ByNetwork[e.NetworkID] {
		if o.ID == e.ID {
			continue
		}
		if e.IPv4.IsValid() && o.IPv4.Addr() == e.IPv4.Addr() {
			return addressHeld(e.IPv4.Addr(), o)
		}
		if e.IPv6.IsValid() && o.IPv6.Addr() == e.IPv6.Addr() {
			return addressHeld(e.IPv6.Addr(), o)
		}
	}
	return nil
}

func addressHeld(addr netip.Addr, holder *model.Endpoint) error {
	return errs.New(errs.Conflict, "address %s of network %s is held by container %s", addr, holder.NetworkID, holder.ContainerID)
}

// compareEndpoints sorts a container's endpoints: in order of request.
func compareEndpoints(a, b *model.Endpoint) int {
	return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.ID, b.ID))
}

// DeleteEndpoint deletes an endpoint.
func (tx *Tx) DeleteEndpoint(id string) {
	old, ok := tx.snap.Endpoints[id]
	if !ok {
		return
	}
	tx.touch(kindEndpoint, id)
	delete(mine(tx, ownEndpoints, &tx.snap.Endpoints), id)
	tx.unindexEndpoint(old)
}

// unindexEndpoint takes an endpoint out of ByNetwork and ByContainer.
func (tx *Tx) unindexEndpoint(e *model.Endpoint) {
	s := tx.snap
	if members := tx.members(e.NetworkID); len(members) > 1 {
		delete(members, e.ID)
	} else {
		delete(s.ByNetwork, e.NetworkID)
		delete(tx.own, membersOf(e.NetworkID))
	}
	setOrDelete(mine(tx, ownByContainer, &s.ByContainer), e.ContainerID,
		without(s.ByContainer[e.ContainerID], func(o *model.Endpoint) bool { return o.ID == e.ID }))
}

// membersOf names the transaction's own copy of ByNetwork[id].
type membersOf string

// members gives the transaction's own ByNetwork[id].
func (tx *Tx) members(networkID string) map[string]*model.Endpoint {
	byNetwork := mine(tx, ownByNetwork, &tx.snap.ByNetwork)
	m := byNetwork[networkID]
	m = mine(tx, membersOf(networkID), &m)
	byNetwork[networkID] = m
	return m
}

// PutLink stores l, which the caller gives up. Its ID must be its LinkID.
func (tx *Tx) PutLink(l *model.Link) error {
	if l.Alias == "" || l.ID != model.LinkID(l.ContainerID, l.NetworkID, l.Alias) {
		return errs.New(errs.Invalid, "link %q does not carry the ID of its container, network and alias", l.ID)
	}
	tx.putLink(l)
	return nil
}

func (tx *Tx) putLink(l *model.Link) {
	s := tx.snap
	tx.touch(kindLink, l.ID)
	mine(tx, ownLinks, &s.Links)[l.ID] = l
	of := without(s.LinksOf[l.ContainerID], func(o *model.Link) bool { return o.ID == l.ID })
	of = append(of, l)
	slices.SortFunc(of, compareLinks)
	mine(tx, ownLinksOf, &s.LinksOf)[l.ContainerID] = of
}

func compareLinks(a, b *model.Link) int { return cmp.Compare(a.ID, b.ID) }

// DeleteLink deletes a link.
func (tx *Tx) DeleteLink(id string) {
	s := tx.snap
	old, ok := s.Links[id]
	if !ok {
		return
	}
	tx.touch(kindLink, id)
	delete(mine(tx, ownLinks, &s.Links), id)
	setOrDelete(mine(tx, ownLinksOf, &s.LinksOf), old.ContainerID,
		without(s.LinksOf[old.ContainerID], func(o *model.Link) bool { return o.ID == id }))
}
