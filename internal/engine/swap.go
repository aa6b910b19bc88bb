package engine

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/links"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// Swap moves what others reach one running container by to another, in one
// step: its addresses on the networks both are on, its floating IP, published
// ports, aliases, and links that lead to it. TCP connections of the old one go
// on; every new one meets the new one. The old one gets the addresses, and the
// floating IP, that the new one had. Names stay.
func (e *Engine) Swap(ctx context.Context, oldRef, newRef string) error {
	from, err := e.FindContainer(oldRef)
	if err != nil {
		return err
	}
	to, err := e.FindContainer(newRef)
	if err != nil {
		return err
	}
	if from.ID == to.ID {
		return errs.New(errs.Invalid, "container %s cannot be swapped with itself", from.Name)
	}
	return e.swap(ctx, from, to, oldRef, newRef, e.swapsOf(from.ID, to.ID))
}

// swapsOf counts the swaps that containers took part in.
func (e *Engine) swapsOf(ids ...string) (n int64) {
	for _, id := range ids {
		n += e.live(id).swaps.Load()
	}
	return n
}

// swap swaps two containers that took part in so many swaps when it was asked
// for. Another one meanwhile makes it fail: of two at once, the second would give
// the addresses back and leave the ports.
func (e *Engine) swap(ctx context.Context, from, to *model.Container, oldRef, newRef string, swaps int64) error {
	for _, id := range sorted(from.ID, to.ID) { // always in this order: two swaps must not wait for each other
		_, unlock := e.lock(id)
		defer unlock()
	}
	if e.swapsOf(from.ID, to.ID) != swaps {
		return errs.New(errs.Conflict, "containers %s and %s can't be swapped: another swap of one of them came first; look what it did, and say it again if need be", from.Name, to.Name)
	}
	var sw *swap
	snap, err := e.store.Update(func(tx *store.Tx) (err error) {
		if sw, err = newSwap(tx.Snapshot(), from.ID, to.ID, oldRef, newRef); err != nil {
			return err
		}
		return sw.put(tx)
	})
	if err != nil {
		return err
	}
	doing := fmt.Sprintf("put container %s in the place of %s", to.Name, from.Name)
	if err := e.orTakeBack(ctx, snap, effect{doing: doing, of: []string{to.ID, from.ID}}, sw.undo); err != nil {
		return err
	}
	e.live(from.ID).swaps.Add(1)
	e.live(to.ID).swaps.Add(1)
	e.containerEvent(sw.to, "swap", "from", from.ID)
	for _, f := range sw.fips {
		e.fipEvent(f, "attach", "container", f.ContainerID)
	}
	return nil
}

func sorted(ids ...string) []string { slices.Sort(ids); return ids }

// swap is what moves: the new records of both and those of their memberships.
type swap struct {
	from, to  *model.Container
	endpoints []*model.Endpoint
	links     []*model.Link
	fips      []*model.FloatingIP
	before    *model.Snapshot
}

func newSwap(s *model.Snapshot, from, to, oldRef, newRef string) (*swap, error) {
	a, err := changeable(s, from, oldRef)
	if err != nil {
		return nil, err
	}
	b, err := changeable(s, to, newRef)
	if err != nil {
		return nil, err
	}
	if a.Tenant != b.Tenant {
		return nil, errs.New(errs.Invalid, "containers %s and %s can't be swapped: they belong to different tenants", a.FullName(), b.FullName())
	}
	for _, c := range []*model.Container{a, b} {
		if !c.Active || !c.State.Running() {
			return nil, errs.New(errs.Conflict, "container %s is not running: a swap needs both to run", c.Name)
		}
	}
	if !hasBridge(s, a) {
		return nil, errs.New(errs.Invalid, "container %s has nothing to swap: it is on no bridge network of its own (its network mode is %s)", a.Name, a.Host.NetworkMode)
	}
	before := *s // whose maps a transaction copies before it changes them
	sw := &swap{before: &before}
	for _, step := range []func(*model.Snapshot, *model.Container, *model.Container) error{sw.movePorts, sw.exchangeAddresses, sw.moveAliases, sw.moveLinks, sw.exchangeFIPs} {
		if err := step(s, a, b); err != nil {
			return nil, err
		}
	}
	if len(sw.endpoints)+len(sw.links)+len(sw.fips) == 0 && !publishes(a) {
		return nil, errs.New(errs.Invalid,
			"containers %s and %s have nothing to swap: they are on no common network, and %s has no published port, floating IP or link to it", a.Name, b.Name, a.Name)
	}
	return sw, nil
}

func publishes(c *model.Container) bool {
	return len(c.Ports) > 0 || len(c.Host.PortBindings) > 0 || c.Host.PublishAllPorts
}

// movePorts makes new records: the host ports held now move with their bindings.
func (sw *swap) movePorts(s *model.Snapshot, a, b *model.Container) error {
	old, next := *a, *b
	sw.from, sw.to = &old, &next
	if !publishes(a) {
		return nil
	}
	if _, err := publishingNetwork(s, b); err != nil {
		return err
	}
	if at := slices.IndexFunc(a.Ports, func(m model.PortMapping) bool { return m.HostIP.Is6() }); at >= 0 && !hasIPv6(s, b) {
		return errs.New(errs.Conflict, "container %s publishes %s, and container %s has no IPv6 address that it could lead to: connect it to a network made with --ipv6 first",
			a.Name, portWords(a.Ports[at:at+1]), b.Name)
	}
	unrollPublishAll(&old)
	next.Host.PortBindings = append(slices.Clone(b.Host.PortBindings), old.Host.PortBindings...)
	next.Ports = append(slices.Clone(b.Ports), a.Ports...)
	next.Remembered = slices.Clone(next.Ports)
	expose(&next, old.Host.PortBindings)
	old.Host.PortBindings, old.Ports, old.Remembered = nil, nil, nil
	unexpose(&old)
	return nil
}

func (sw *swap) moveAliases(s *model.Snapshot, a, b *model.Container) error {
	for _, ep := range s.ByContainer[a.ID] {
		if len(ep.Aliases) == 0 {
			continue
		}
		n := s.Networks[ep.NetworkID]
		other := endpointOn(s, b.ID, n.ID)
		if other == nil {
			return errs.New(errs.Conflict, "container %s has aliases on network %s (%s) and container %s is not on it: connect it first (jackstay network connect %s %s)",
				a.Name, n.Name, strings.Join(ep.Aliases, ", "), b.Name, n.Name, b.Name)
		}
		old, next := sw.endpoint(ep), sw.endpoint(other)
		old.Aliases, next.Aliases = nil, slices.Clone(other.Aliases)
		for _, name := range ep.Aliases {
			if indexName(next.Aliases, name) < 0 {
				next.Aliases = append(next.Aliases, name)
			}
		}
	}
	return nil
}

// endpoint gives the new record of an endpoint.
func (sw *swap) endpoint(of *model.Endpoint) *model.Endpoint {
	for _, ep := range sw.endpoints {
		if ep.ID == of.ID {
			return ep
		}
	}
	next := *of
	sw.endpoints = append(sw.endpoints, &next)
	return &next
}

// exchangeAddresses gives each container the address that the other is reached
// by, on every network both are on. What is on their interfaces stays.
func (sw *swap) exchangeAddresses(s *model.Snapshot, a, b *model.Container) error {
	for _, ep := range s.ByContainer[a.ID] {
		n, other := s.Networks[ep.NetworkID], endpointOn(s, b.ID, ep.NetworkID)
		if ep.Extra || other == nil || other.Extra || n == nil || n.Driver != model.DriverBridge {
			continue
		}
		old, next := sw.endpoint(ep), sw.endpoint(other)
		exchange(old, next, false)
		old.RequestedIPv4, next.RequestedIPv4 = next.RequestedIPv4, old.RequestedIPv4
		exchange(old, next, true)
		old.RequestedIPv6, next.RequestedIPv6 = next.RequestedIPv6, old.RequestedIPv6
	}
	return nil
}

// exchange gives each of two endpoints the other's address of one family, if
// both have one.
func exchange(a, b *model.Endpoint, v6 bool) {
	one, oneInside := a.Family(v6)
	two, twoInside := b.Family(v6)
	if !one.IsValid() || !two.IsValid() {
		return
	}
	*oneInside, *twoInside = a.On(v6), b.On(v6)
	*one, *two = *two, *one
}

// exchangeFIPs gives the floating IP of a to b, and b's, if any, to a.
func (sw *swap) exchangeFIPs(s *model.Snapshot, a, b *model.Container) error {
	f := s.FIPs[s.FIPOf[a.ID]]
	if f == nil {
		return nil
	}
	if !hasBridge(s, b) {
		return errs.New(errs.Conflict, "container %s has the floating IP %s, and container %s is on no bridge network that it could go to: connect it first (jackstay network connect)",
			a.Name, f.Address, b.Name)
	}
	for _, x := range []struct {
		fip *model.FloatingIP
		to  *model.Container
	}{{f, b}, {s.FIPs[s.FIPOf[b.ID]], a}} {
		if x.fip != nil && !hasFamily(s, x.to, x.fip.Address.Is6()) {
			return errs.New(errs.Conflict, "container %s has no address of the family of floating IP %s, which would go to it: connect it to a network made with --ipv6 first", x.to.Name, x.fip.Address)
		}
	}
	give := func(f *model.FloatingIP, from, to *model.Container) {
		moved := *f
		moved.ContainerID, moved.Finishing, moved.Auto = to.ID, from.ID, false
		sw.fips = append(sw.fips, &moved)
	}
	give(f, a, b)
	if has := s.FIPs[s.FIPOf[b.ID]]; has != nil {
		give(has, b, a)
	}
	return nil
}

// moveLinks leads others' links to b. Those of b itself stay.
func (sw *swap) moveLinks(s *model.Snapshot, a, b *model.Container) error {
	for _, l := range s.Links {
		if l.TargetID != a.ID || l.ContainerID == b.ID {
			continue
		}
		moved := *l
		moved.TargetID = b.ID
		if links.Find(s, l).To != nil && links.Find(s, &moved).To == nil {
			return errs.New(errs.Conflict, "the link %s of container %s leads to %s, and container %s is on no network it could go over: connect it first (jackstay network connect)",
				l.Alias, nameOf(s, l.ContainerID), a.Name, b.Name)
		}
		sw.links = append(sw.links, &moved)
	}
	return nil
}

// put stores the new records, the giver's first: what it held is free then.
func (sw *swap) put(tx *store.Tx) error {
	return putSwapped(tx, []*model.Container{sw.from, sw.to}, sw.endpoints, sw.links, sw.fips)
}

// undo stores the records as they were. The locks of both containers are held
// since; links and floating IPs that somebody changed meanwhile stay so.
func (sw *swap) undo(tx *store.Tx) error {
	s := tx.Snapshot()
	var cs []*model.Container
	for _, put := range []*model.Container{sw.to, sw.from} {
		now, was := s.Containers[put.ID], sw.before.Containers[put.ID]
		if now == nil {
			return noSuchContainer(put.Name)
		}
		back := *now
		back.Host.PortBindings, back.Host.PublishAllPorts = was.Host.PortBindings, was.Host.PublishAllPorts
		back.Ports, back.Remembered, back.Config.ExposedPorts, back.Opened = was.Ports, was.Remembered, was.Config.ExposedPorts, was.Opened
		cs = append(cs, &back)
	}
	var eps []*model.Endpoint
	for _, put := range sw.endpoints {
		back := *sw.before.Endpoints[put.ID]
		eps = append(eps, &back)
	}
	var ls []*model.Link
	for _, put := range sw.links {
		if now := s.Links[put.ID]; now != nil && now.TargetID == put.TargetID {
			back := *now
			back.TargetID = sw.before.Links[put.ID].TargetID
			ls = append(ls, &back)
		}
	}
	var fips []*model.FloatingIP
	for _, put := range sw.fips {
		now, was := s.FIPs[put.ID()], sw.before.FIPs[put.ID()]
		other := s.FIPOf[was.ContainerID]
		mine := other == "" || slices.ContainsFunc(sw.fips, func(f *model.FloatingIP) bool { return f.ID() == other })
		if now != nil && now.ContainerID == put.ContainerID && mine {
			back := *now
			back.ContainerID, back.Auto, back.Finishing = was.ContainerID, was.Auto && now.Name == "", was.Finishing
			fips = append(fips, &back)
		}
	}
	if len(fips) < len(sw.fips) { // one may be where another would go
		fips = nil
	}
	return putSwapped(tx, cs, eps, ls, fips)
}

func putSwapped(tx *store.Tx, cs []*model.Container, eps []*model.Endpoint, ls []*model.Link, fips []*model.FloatingIP) error {
	for _, c := range cs {
		if err := tx.PutContainer(c); err != nil {
			return err
		}
	}
	for _, l := range ls {
		if err := tx.PutLink(l); err != nil {
			return err
		}
	}
	for _, f := range fips { // they cross
		free := *f
		free.ContainerID = ""
		if err := tx.PutFIP(&free); err != nil {
			return err
		}
	}
	for _, f := range fips {
		if err := tx.PutFIP(f); err != nil {
			return err
		}
	}
	for _, ep := range eps {
		tx.DeleteEndpoint(ep.ID) // addresses cross
	}
	return putEndpoints(tx, eps)
}

// settleInside gives a container that starts the addresses for its interfaces:
// those it is reached by, unless a container that it was swapped with has one
// of them on its own interface still.
func settleInside(tx *store.Tx, c *model.Container) error {
	for _, ep := range slices.Clone(tx.Snapshot().ByContainer[c.ID]) {
		next := *ep
		for _, v6 := range [...]bool{false, true} {
			if err := settleFamily(tx.Snapshot(), c, &next, v6); err != nil {
				return err
			}
		}
		if next.Inside4 == ep.Inside4 && next.Inside6 == ep.Inside6 {
			continue
		}
		if err := tx.PutEndpoint(&next); err != nil {
			return err
		}
	}
	return nil
}

func settleFamily(s *model.Snapshot, c *model.Container, ep *model.Endpoint, v6 bool) error {
	reached, inside := ep.Family(v6)
	*inside = netip.Prefix{}
	if !reached.IsValid() || !onAnother(s, ep, v6) {
		return nil
	}
	pick := alloc.Address
	if v6 {
		pick = alloc.Address6
	}
	a, err := pick(s.Networks[ep.NetworkID], alloc.Addresses(s.ByNetwork[ep.NetworkID]))
	if err != nil {
		return fmt.Errorf("container %s: its address %s is still on the interface of the one it was swapped with, which should be stopped first: %w", c.Name, reached.Addr(), err)
	}
	*inside = a
	return nil
}

// onAnother tells whether the address an endpoint is reached by is on the
// interface of another container that runs.
func onAnother(s *model.Snapshot, ep *model.Endpoint, v6 bool) bool {
	reached, _ := ep.Family(v6)
	for _, o := range s.ByNetwork[ep.NetworkID] {
		if _, inside := o.Family(v6); o.ID != ep.ID && *inside == *reached {
			if holder := s.Containers[o.ContainerID]; holder != nil && holder.Active {
				return true
			}
		}
	}
	return false
}
