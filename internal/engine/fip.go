package engine

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// maxAllocate bounds one allocation.
const maxAllocate = 65536

// findFIP resolves an address or a name.
func findFIP(s *model.Snapshot, ref string) (*model.FloatingIP, error) {
	a, err := netip.ParseAddr(ref)
	if err == nil {
		if f := s.FIPs[a.String()]; f != nil {
			return f, nil
		}
	}
	if f := s.FIPs[s.FIPNames[ref]]; f != nil {
		return f, nil
	}
	if ref == "" {
		return nil, errs.New(errs.Invalid, "the floating IP is missing: give its address or its name")
	}
	which := "`jackstay fip allocate 1` makes one"
	if err == nil {
		which = fmt.Sprintf("`jackstay fip allocate %s` allocates it if it is in a pool", a)
	}
	return nil, errs.New(errs.NotFound, "no such floating IP: %s; `jackstay fip ls` shows those there are, %s", ref, which)
}

// AllocateFIPs takes the lowest free addresses of the pools, all or none; of one
// pool, if that is named.
func (e *Engine) AllocateFIPs(ctx context.Context, count int, pool string) ([]*model.FloatingIP, error) {
	if count < 1 || count > maxAllocate {
		return nil, errs.New(errs.Invalid, "can't allocate %d floating IPs: the number must be between 1 and %d", count, maxAllocate)
	}
	return e.allocate(ctx, count, func(s *model.Snapshot, used map[netip.Addr]string) ([]*model.FloatingIP, error) {
		return freeFIPsOf(s, used, count, pool)
	})
}

// AllocateFIP takes a certain address of a pool.
func (e *Engine) AllocateFIP(ctx context.Context, address string) (*model.FloatingIP, error) {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return nil, errs.New(errs.Invalid, "%q is not an address such as 203.0.113.17", address)
	}
	fips, err := e.allocate(ctx, 1, func(s *model.Snapshot, used map[netip.Addr]string) ([]*model.FloatingIP, error) {
		f, err := freeFIP(s, used, a)
		if held := s.FIPs[a.String()]; err != nil && e.tenant != "" && (held == nil || held.Tenant != e.tenant) { // whose it is is not theirs to know
			err = errs.New(errs.Conflict, "can't allocate floating IP %s: the address is not available; `jackstay fip allocate 1` takes one that is", a)
		}
		return []*model.FloatingIP{f}, err
	})
	if err != nil {
		return nil, err
	}
	return fips[0], nil
}

// allocate stores the floating IPs that pick finds free, all or none. What a
// tenant may have is looked at first: it is told nothing of pools beyond that.
func (e *Engine) allocate(ctx context.Context, count int, pick func(*model.Snapshot, map[netip.Addr]string) ([]*model.FloatingIP, error)) ([]*model.FloatingIP, error) {
	used, err := e.host.Addresses(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the host's addresses: %w", err)
	}
	var out []*model.FloatingIP
	_, err = e.store.Update(func(tx *store.Tx) error {
		if err := tx.FIPsLeft(count); err != nil {
			return err
		}
		if out, err = pick(tx.All(), used); err != nil {
			return err
		}
		for _, f := range out {
			if err := tx.PutFIP(f); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, f := range out {
		e.fipEvent(f, "allocate")
	}
	return out, nil
}

// freeFIP gives a floating IP with this address, or why there can't be one.
func freeFIP(s *model.Snapshot, used map[netip.Addr]string, a netip.Addr) (*model.FloatingIP, error) {
	for _, p := range SortedFIPPools(s) {
		if !p.Prefix.Contains(a) {
			continue
		}
		first, last := hostRange(p.Prefix)
		why := ""
		switch whose, taken := used[a]; {
		case s.FIPs[a.String()] != nil:
			why = "it is allocated already"
		case a.Less(first) || last.Less(a):
			why = fmt.Sprintf("it is the first or the last of pool %s, which are the network's own", p.Prefix)
		case taken:
			why = "the address is " + whose
		case publishedOn(s)[a]:
			why = "a port is published on it"
		default:
			return &model.FloatingIP{Address: a, Pool: p.Prefix}, nil
		}
		return nil, errs.New(errs.Conflict, "can't allocate floating IP %s: %s", a, why)
	}
	return nil, errs.New(errs.Invalid, "can't allocate floating IP %s: it is in no pool; `jackstay fip pool ls` shows those there are", a)
}

// publishedOn gives the addresses that ports are published on: as a floating
// IP's, those would be led to who publishes them.
func publishedOn(s *model.Snapshot) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for k := range s.Ports {
		out[k.HostIP] = true
	}
	return out
}

// freeFIPsOf picks count addresses of the pool with this prefix, or of all.
func freeFIPsOf(s *model.Snapshot, used map[netip.Addr]string, count int, pool string) ([]*model.FloatingIP, error) {
	if pool == "" {
		return freeFIPs(s, used, count)
	}
	prefix, err := fipPrefix(pool)
	if err != nil {
		return nil, err
	}
	p := s.FIPPools[prefix.String()]
	if p == nil {
		return nil, noSuchPool(prefix)
	}
	one := *s
	one.FIPPools = map[string]*model.FIPPool{p.ID(): p}
	return freeFIPs(&one, used, count)
}

func noSuchPool(p netip.Prefix) error {
	return errs.New(errs.NotFound, "no such pool of floating IPs: %s; `jackstay fip pool ls` shows those there are", p)
}

// freeFIPs picks count addresses, pool after pool in order of their prefixes,
// those of IPv4 first.
func freeFIPs(s *model.Snapshot, used map[netip.Addr]string, count int) ([]*model.FloatingIP, error) {
	if len(s.FIPPools) == 0 {
		return nil, errs.New(errs.Unavailable, "there is no pool of floating IPs: add one with `jackstay fip pool add CIDR --dev DEVICE`")
	}
	published := publishedOn(s)
	var out []*model.FloatingIP
	for _, p := range SortedFIPPools(s) {
		first, last := hostRange(p.Prefix)
		for a := first; a.IsValid() && a.Compare(last) <= 0 && len(out) < count; a = a.Next() {
			if _, taken := used[a]; taken || published[a] || s.FIPs[a.String()] != nil {
				continue
			}
			out = append(out, &model.FloatingIP{Address: a, Pool: p.Prefix})
		}
	}
	if len(out) < count {
		return nil, errs.New(errs.Unavailable, "can't allocate %d floating IPs: the pools have %d free; release some or add a pool", count, len(out))
	}
	return out, nil
}

// hostRange gives the first and last address of a prefix that a host may have:
// the first and last of all are the network's own in prefixes shorter than /31
// (RFC 3021).
func hostRange(p netip.Prefix) (first, last netip.Addr) {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	first = p.Addr()
	last, _ = netip.AddrFromSlice(b)
	if p.Bits() < p.Addr().BitLen()-1 {
		return first.Next(), last.Prev()
	}
	return first, last
}

// SortedFIPPools gives the pools in order of their prefixes.
func SortedFIPPools(s *model.Snapshot) []*model.FIPPool {
	return slices.SortedFunc(maps.Values(s.FIPPools), func(a, b *model.FIPPool) int { return a.Prefix.Compare(b.Prefix) })
}

// AttachFIP gives a container a floating IP. One that another container has,
// and a container that has another one, are refused unless force is set: then
// it moves in one step. A stopped container has it from its start on. With
// exposeOnly it answers at the container's exposed ports only; attaching it
// again to the container that has it changes that.
func (e *Engine) AttachFIP(ctx context.Context, ref, container string, force, exposeOnly bool) error {
	used, err := e.host.Addresses(ctx)
	if err != nil {
		return fmt.Errorf("read the host's addresses: %w", err)
	}
	s := e.store.Snapshot()
	if f, err := findFIP(s, ref); err == nil {
		if err := e.host.Device(ctx, s.FIPPools[f.Pool.String()].Device); err != nil {
			return fmt.Errorf("can't attach floating IP %s: %w", f.Address, err)
		}
	}
	m := move{ref: ref, container: container, force: force, exposeOnly: exposeOnly, used: used}
	snap, err := e.store.Update(m.run)
	if err != nil || m.to == nil {
		return err
	}
	doing := fmt.Sprintf("attach floating IP %s to container %s", m.fip.Address, shown(snap, m.to))
	if err := e.orTakeBack(ctx, snap, e.fipEffect(doing, m.fip, m.to), m.undo); err != nil {
		return err
	}
	if m.from != nil {
		e.fipEvent(m.fip, "detach", "container", m.from.ID)
	}
	if m.lost != nil {
		e.fipEvent(m.lost, "detach", "container", m.to.ID)
	}
	e.fipEvent(m.fip, "attach", "container", m.to.ID)
	return nil
}

// fipEffect is that of a floating IP which a container gets or loses: the rules
// and, on the host's device, the address.
func (e *Engine) fipEffect(doing string, f *model.FloatingIP, c *model.Container) effect {
	return effect{doing: doing, of: []string{c.ID}, more: func(context.Context) error { return e.network.Address(f.Address) }}
}

// move is one attachment under way.
type move struct {
	ref, container string
	force          bool
	exposeOnly     bool
	used           map[netip.Addr]string

	fip  *model.FloatingIP // as attached
	was  *model.FloatingIP // the same before
	to   *model.Container  // nil: it is so already
	from *model.Container  // who had it
	lost *model.FloatingIP // what the container had
}

func (m *move) run(tx *store.Tx) error {
	s := tx.Snapshot()
	*m = move{ref: m.ref, container: m.container, force: m.force, exposeOnly: m.exposeOnly, used: m.used}
	f, err := findFIP(s, m.ref)
	if err != nil {
		return err
	}
	c, err := findContainer(s, m.container)
	if err != nil {
		return err
	}
	if f.ContainerID == c.ID {
		return m.again(tx, f, c)
	}
	if err := m.refuse(s, f, c); err != nil {
		return err
	}
	m.was, m.to, m.from = f, c, s.Containers[f.ContainerID]
	if has := s.FIPs[s.FIPOf[c.ID]]; has != nil {
		m.lost = has
		free := *has
		freed(&free)
		if err := tx.PutFIP(&free); err != nil {
			return err
		}
	}
	moved := *f
	moved.ContainerID, moved.ExposeOnly, moved.Auto, moved.Finishing = c.ID, m.exposeOnly, false, ""
	m.fip = &moved
	return tx.PutFIP(&moved)
}

// again changes at which ports a floating IP answers that is attached already.
func (m *move) again(tx *store.Tx, f *model.FloatingIP, c *model.Container) error {
	if f.ExposeOnly == m.exposeOnly {
		return nil
	}
	next := *f
	next.ExposeOnly = m.exposeOnly
	m.fip, m.was, m.to = &next, f, c
	return tx.PutFIP(&next)
}

// undo attaches everything to whom it was attached to, if nobody has changed
// that since.
func (m *move) undo(tx *store.Tx) error {
	now := tx.Snapshot().FIPs[m.fip.ID()]
	if now == nil || now.ContainerID != m.fip.ContainerID || now.ExposeOnly != m.fip.ExposeOnly {
		return nil
	}
	if err := attachAgain(tx, now, m.was); err != nil || m.lost == nil {
		return err
	}
	if now = tx.Snapshot().FIPs[m.lost.ID()]; now == nil || now.ContainerID != "" {
		return nil
	}
	return attachAgain(tx, now, m.lost)
}

// attachAgain attaches a floating IP as it was; one whose container is gone, or
// has another one by now, to none.
func attachAgain(tx *store.Tx, now, was *model.FloatingIP) error {
	s := tx.Snapshot()
	back := *now
	back.ContainerID, back.ExposeOnly, back.Auto, back.Finishing = was.ContainerID, was.ExposeOnly, was.Auto && now.Name == "", was.Finishing
	if has := s.FIPOf[was.ContainerID]; s.Containers[was.ContainerID] == nil || has != "" && has != now.ID() {
		freed(&back)
	}
	return tx.PutFIP(&back)
}

// freed makes a record that of a floating IP which is attached to none.
func freed(f *model.FloatingIP) {
	f.ContainerID, f.ExposeOnly, f.Auto, f.Finishing = "", false, false, ""
}

// refuse says why the floating IP can't go to the container.
func (m *move) refuse(s *model.Snapshot, f *model.FloatingIP, c *model.Container) error {
	if whose, taken := m.used[f.Address]; taken {
		return errs.New(errs.Conflict, "can't attach floating IP %s: the address is %s now", f.Address, whose)
	}
	if c.State.Status == model.StatusRemoving || c.State.Status == model.StatusDead {
		return errs.New(errs.Conflict, "can't attach floating IP %s: container %s is being removed", f.Address, shown(s, c))
	}
	if !hasBridge(s, c) {
		return errs.New(errs.Conflict, "can't attach floating IP %s: container %s is on no bridge network (its network mode is %s)",
			f.Address, shown(s, c), c.Host.NetworkMode)
	}
	if !hasFamily(s, c, f.Address.Is6()) {
		return errs.New(errs.Conflict, "can't attach floating IP %s: container %s has no address of its family: connect it to a network made with --ipv6 first",
			f.Address, shown(s, c))
	}
	if m.force {
		return nil
	}
	if holder := s.Containers[f.ContainerID]; holder != nil {
		return errs.New(errs.Conflict, "floating IP %s is attached to container %s: detach it first, or move it with -f", f.Address, shown(s, holder))
	}
	if has, ok := s.FIPOf[c.ID]; ok {
		return errs.New(errs.Conflict, "container %s has the floating IP %s already: detach it first, or replace it with -f", shown(s, c), has)
	}
	return nil
}

// shown is what whoever asks calls a container.
func shown(s *model.Snapshot, c *model.Container) string { return s.Shown(c.Name, c.Tenant) }

func hasBridge(s *model.Snapshot, c *model.Container) bool {
	return slices.ContainsFunc(s.ByContainer[c.ID], func(ep *model.Endpoint) bool {
		n := s.Networks[ep.NetworkID]
		return n != nil && n.Driver == model.DriverBridge && ep.IPv4.IsValid()
	})
}

// hasFamily tells whether a container has an address that a floating IP of this
// family can lead to.
func hasFamily(s *model.Snapshot, c *model.Container, v6 bool) bool {
	return !v6 || hasIPv6(s, c)
}

// DetachFIP takes a container's floating IP away and gives it.
func (e *Engine) DetachFIP(ctx context.Context, container string) (*model.FloatingIP, error) {
	var free model.FloatingIP
	var c *model.Container
	snap, err := e.store.Update(func(tx *store.Tx) (err error) {
		s := tx.Snapshot()
		if c, err = findContainer(s, container); err != nil {
			return err
		}
		f := s.FIPs[s.FIPOf[c.ID]]
		if f == nil {
			return errs.New(errs.Conflict, "container %s has no floating IP", shown(s, c))
		}
		free = *f
		freed(&free)
		put := free
		return tx.PutFIP(&put)
	})
	if err != nil {
		return nil, err
	}
	e.fipEvent(&free, "detach", "container", c.ID)
	return &free, e.orKeep(ctx, snap, e.fipEffect(fmt.Sprintf("detach floating IP %s from container %s", free.Address, shown(snap, c)), &free, c))
}

// ReleaseFIP gives an address back to its pool.
func (e *Engine) ReleaseFIP(_ context.Context, ref string) error {
	var gone *model.FloatingIP
	_, err := e.store.Update(func(tx *store.Tx) (err error) {
		s := tx.Snapshot()
		if gone, err = findFIP(s, ref); err != nil {
			return err
		}
		if c := s.Containers[gone.ContainerID]; c != nil {
			return errs.New(errs.Conflict, "floating IP %s is attached to container %s: detach it first (jackstay fip detach %s)", gone.Address, shown(s, c), shown(s, c))
		}
		tx.DeleteFIP(gone.ID())
		return nil
	})
	if err == nil {
		e.fipEvent(gone, "release")
	}
	return err
}

var fipName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// NameFIP names a floating IP; an empty name takes its name away.
func (e *Engine) NameFIP(_ context.Context, ref, name string) error {
	if _, err := netip.ParseAddr(name); name != "" && (err == nil || !fipName.MatchString(name)) {
		return errs.New(errs.Invalid, "invalid floating IP name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed, and no address", name)
	}
	if name == fipAuto {
		return errs.New(errs.Invalid, "invalid floating IP name %q: --fip %[1]s means a new one, so none can be called that", name)
	}
	var f model.FloatingIP
	_, err := e.store.Update(func(tx *store.Tx) error {
		old, err := findFIP(tx.Snapshot(), ref)
		if err != nil {
			return err
		}
		f = *old
		f.Name, f.Auto = name, f.Auto && name == ""
		put := f
		return tx.PutFIP(&put)
	})
	if err == nil {
		e.fipEvent(&f, "name")
	}
	return err
}

// fipEvent records what happened to a floating IP.
func (e *Engine) fipEvent(f *model.FloatingIP, action string, attrs ...string) {
	e.Emit(model.Event{Type: "fip", Action: action, ID: f.ID(), Tenant: f.Tenant, Attributes: pairs(map[string]string{"name": f.Name}, attrs)})
}
