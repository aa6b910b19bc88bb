package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// AddNIC gives a container a further interface: an endpoint of a network of
// ours, or a NIC on a bridge or device of the host. A running one has it when
// this returns, or nothing at all; of any other it takes effect at its start.
func (e *Engine) AddNIC(ctx context.Context, ref string, r model.NICRequest) (*model.NICView, error) {
	if err := checkNIC(&r); err != nil {
		return nil, err
	}
	c, err := e.FindContainer(ref)
	if err != nil {
		return nil, err
	}
	if r.HostName != "" || r.Direct {
		if err := e.administrators("--host-name and --direct"); err != nil {
			return nil, err
		}
	}
	a := &nicAddition{e: e, id: c.ID, ref: ref, r: r}
	if err := a.readRates(ctx); err != nil {
		return nil, err
	}
	if err := a.resolve(ctx); err != nil {
		return nil, fmt.Errorf("a NIC of container %s on %s: %w", c.Name, r.On, err)
	}
	if err := a.run(context.WithoutCancel(ctx)); err != nil {
		return nil, fmt.Errorf("a NIC of container %s on %s: %w", c.Name, r.On, err)
	}
	if r.Wait {
		if err := e.WaitNIC(ctx, c.ID, a.name(), 0); err != nil {
			return nil, err
		}
	}
	return findNIC(e.store.Snapshot(), c.ID, a.name())
}

// nicAddition is one NIC on its way.
type nicAddition struct {
	e       *Engine
	id, ref string
	r       model.NICRequest
	kind    model.NICKind
	made    bool            // its bridge is, or will be, ours
	host    *model.HostLink // what it is put on; nil: it is not there, or a network
	network string          // ID, of an endpoint

	rateIn, rateOut *uint64 // nil: as the container is limited

	nic *model.NIC
	ep  *model.Endpoint
	c   *model.Container // as stored
}

func (a *nicAddition) name() string {
	if a.ep != nil {
		return a.ep.Interface
	}
	return a.nic.Name
}

// resolve finds out what the NIC is to be put on, and what the host lacks for it.
func (a *nicAddition) resolve(ctx context.Context) error {
	on := a.r.On
	if n := networkNamed(a.e.store.Snapshot(), on); n != nil {
		a.kind, a.network = model.NICNetwork, n.ID
		return errors.Join(a.checkOptions(), a.checkHostName(ctx))
	}
	if a.e.tenant != "" { // whether the host has something of that name is not looked at
		a.kind = model.NICDummy
		if err := errors.Join(a.e.permitNIC(on), a.checkOptions()); err != nil {
			return err
		}
		return a.e.host.Supports(ctx, a.kind, false)
	}
	var err error
	if a.host, err = a.e.host.Link(ctx, on); err != nil {
		return err
	}
	if err := a.choose(); err != nil {
		return err
	}
	if err := a.checkOptions(); err != nil {
		return err
	}
	if err := a.checkHostName(ctx); err != nil || a.kind == model.NICNetwork {
		return err
	}
	return a.e.host.Supports(ctx, a.kind, a.r.VLAN != 0)
}

// networkNamed finds a network by its name or its ID as shown.
func networkNamed(s *model.Snapshot, ref string) *model.Network {
	if _, exact := s.NetworkNames[ref]; !exact && len(ref) < 12 && ref != "default" {
		return nil // a device may be called as an ID begins
	}
	n, err := findNetwork(s, ref)
	if err != nil {
		return nil
	}
	return n
}

// choose decides what the NIC is made of, as pipework does by names: what is
// there is used, a name with br in it is made as a bridge, one that begins with
// ovs as an Open vSwitch one, one that begins with dummy leads nowhere.
func (a *nicAddition) choose() error {
	on, h := a.r.On, a.host
	switch {
	case h == nil && strings.HasPrefix(on, "dummy"):
		a.kind = model.NICDummy
	case h == nil && strings.HasPrefix(on, "ovs"):
		a.kind, a.made = model.NICOVS, true
	case h == nil && strings.Contains(on, "br"):
		a.kind, a.made = model.NICBridge, true
	case h == nil:
		if holder := directHolder(a.e.store.Snapshot(), on); holder != nil {
			return errs.New(errs.Conflict, "the device is in container %s, whole: take it back first (jackstay nic rm)", holder.Name)
		}
		return errs.New(errs.NotFound, "there is no network, bridge or device of that name: `jackstay network ls` and `ip link` list those there are; a bridge is made if its name has br in it")
	case h.Network != "":
		a.kind, a.network = model.NICNetwork, h.Network
	case h.Ours:
		return errs.New(errs.Invalid, "it is an interface of Jackstay's own: name a network, a bridge or a device of the host")
	case h.Type == "bridge":
		a.kind, a.made = model.NICBridge, h.NICs
	case h.Type == "openvswitch":
		a.kind, a.made = model.NICOVS, h.NICs
	case on == "lo":
		return errs.New(errs.Invalid, "the host's loopback can't be shared: name a bridge or another device")
	case a.r.Direct:
		a.kind = model.NICDirect
	case a.r.VLAN != 0:
		a.kind = model.NICVLAN
	default:
		a.kind = model.NICMacvlan
	}
	return nil
}

func directHolder(s *model.Snapshot, device string) *model.Container {
	for _, c := range s.Containers {
		if slices.ContainsFunc(c.NICs, func(n model.NIC) bool { return n.Kind == model.NICDirect && n.On == device }) {
			return c
		}
	}
	return nil
}

// firstOn gives a container with a NIC on the device, the first by name, and that
// NIC's name; nil if there is none.
func firstOn(s *model.Snapshot, device string) (holder *model.Container, nic string) {
	for _, c := range s.Containers {
		i := slices.IndexFunc(c.NICs, func(n model.NIC) bool { return n.On == device })
		if i >= 0 && (holder == nil || c.Name < holder.Name) {
			holder, nic = c, c.NICs[i].Name
		}
	}
	return holder, nic
}

// checkHostName refuses a name that the host has already.
func (a *nicAddition) checkHostName(ctx context.Context) error {
	if a.r.HostName == "" {
		return nil
	}
	l, err := a.e.host.Link(ctx, a.r.HostName)
	if err == nil && l != nil {
		err = errs.New(errs.Conflict, "the host has a %s named %s already: give another --host-name", l.Type, l.Name)
	}
	return err
}

// checkHostNameFree refuses a name that another interface of ours is to have on
// the host, though its container may not run now.
func checkHostNameFree(s *model.Snapshot, name string) error {
	if name == "" {
		return nil
	}
	for _, c := range s.Containers {
		for _, v := range NICsOf(s, c) {
			if v.NIC.HostName == name || v.NIC.On == name && v.NIC.Kind != model.NICNetwork {
				return errs.New(errs.Conflict, "the name %s on the host is taken by interface %s of container %s: give another --host-name", name, v.NIC.Name, c.Name)
			}
		}
	}
	return nil
}

// run stores the NIC and waits for it; what fails leaves nothing.
func (a *nicAddition) run(ctx context.Context) error {
	e := a.e
	_, unlock := e.lock(a.id)
	defer unlock()
	snap, err := e.store.Update(a.put)
	if err != nil {
		return err
	}
	f := effect{of: []string{a.id}}
	if a.r.DHCP {
		f.more = func(ctx context.Context) error { return e.firstLease(ctx, a.id, a.nic.ID) }
	}
	if err := e.orTakeBack(ctx, snap, f, func(tx *store.Tx) error { return e.dropNIC(tx, a.id, a.name()) }); err != nil {
		return err
	}
	if a.c.Active && a.ep != nil {
		e.networkEvent(snap.Networks[a.network], "connect", "container", a.id)
	}
	e.containerEvent(a.c, "nic-add", "nic", a.name(), "on", a.r.On, "kind", string(a.kind))
	return nil
}

func (a *nicAddition) put(tx *store.Tx) error {
	s := tx.Snapshot()
	c, err := changeable(s, a.id, a.ref)
	if err != nil {
		return err
	}
	if err := hasOwnNetwork(s, c); err != nil {
		return err
	}
	if err := checkHostNameFree(s, a.r.HostName); err != nil {
		return err
	}
	next := *c
	a.c = &next
	if a.kind == model.NICNetwork {
		err = a.putEndpoint(tx, c)
	} else {
		a.nic, err = a.newNIC(s, c)
		if err == nil {
			next.NICs = append(slices.Clone(c.NICs), *a.nic)
		}
	}
	if err != nil {
		return err
	}
	if err := a.limit(&next); err != nil {
		return err
	}
	for _, r := range a.r.Routes {
		if r.Dev == "" {
			r.Dev = a.name()
		}
		if err := checkRoute(tx.Snapshot(), &next, r); err != nil {
			return err
		}
		if next.Routes, err = addedRoute(&next, r, false); err != nil {
			return err
		}
	}
	return tx.PutContainer(&next)
}

// limit gives the NIC the limits that were asked for it.
func (a *nicAddition) limit(c *model.Container) error {
	n := a.nic
	if a.ep != nil {
		n = &model.NIC{ID: a.ep.ID, Kind: model.NICNetwork, Name: a.ep.Interface}
	}
	if a.rateIn != nil {
		c.Rates.In = c.Rates.In.With(n.ID, *a.rateIn)
	}
	if a.rateOut != nil {
		c.Rates.Out = c.Rates.Out.With(n.ID, *a.rateOut)
	}
	return limitable(c, n, c.Rates)
}

// readRates reads the limits that are asked for the NIC.
func (a *nicAddition) readRates(ctx context.Context) error {
	for _, d := range []struct {
		text string
		bits **uint64
	}{{a.r.RateIn, &a.rateIn}, {a.r.RateOut, &a.rateOut}} {
		if d.text == "" {
			continue
		}
		bits, err := parseRate(d.text)
		if err != nil {
			return err
		}
		*d.bits = &bits
		if err := a.e.canLimit(ctx, bits > 0); err != nil {
			return err
		}
	}
	return nil
}

// hasOwnNetwork refuses containers whose interfaces are another's.
func hasOwnNetwork(s *model.Snapshot, c *model.Container) error {
	if of, joined := joinedContainer(c.Host.NetworkMode); joined {
		return errs.New(errs.Invalid, "container %s is in the network of container %s: change that one", c.Name, nameOf(s, of))
	}
	if c.Host.NetworkMode == "host" {
		return errs.New(errs.Invalid, "container %s is in the host's network: its interfaces are the host's", c.Name)
	}
	return nil
}

// putEndpoint makes the NIC a membership in a network, beside the one the
// container may have.
func (a *nicAddition) putEndpoint(tx *store.Tx, c *model.Container) (err error) {
	n := tx.Snapshot().Networks[a.network]
	if n == nil {
		return noSuchNetwork(a.r.On)
	}
	if n.Driver != model.DriverBridge {
		return errs.New(errs.Invalid, "network %s has no bridge that a NIC could be put on", n.Name)
	}
	er := model.EndpointRequest{
		Network: n.ID, MAC: a.r.MAC, Interface: a.r.Name, HostName: a.r.HostName, MTU: a.r.MTU, Gateways: a.r.Gateways,
		Extra: endpointOn(tx.Snapshot(), c.ID, n.ID) != nil,
	}
	for _, p := range a.r.Addrs {
		to := &er.IPv4
		if p.Addr().Is6() {
			to = &er.IPv6
		}
		if to.IsValid() {
			return errs.New(errs.Invalid, "an interface has one address of a family on a network: add another NIC for %s", p)
		}
		for _, sub := range n.Subnets {
			if sub.Prefix.Contains(p.Addr()) && sub.Prefix.Bits() != p.Bits() {
				return errs.New(errs.Invalid, "address %s: network %s is %s, give the address as %s/%d", p, n.Name, sub.Prefix, p.Addr(), sub.Prefix.Bits())
			}
		}
		*to = p.Addr()
	}
	a.ep, err = putEndpoint(tx, c, er)
	return err
}

// newNIC picks what has to be picked once, and refuses what is taken.
func (a *nicAddition) newNIC(s *model.Snapshot, c *model.Container) (*model.NIC, error) {
	r := a.r
	n := &model.NIC{
		ID: alloc.ID(), Kind: a.kind, Name: r.Name, On: r.On, Made: a.made, HostName: r.HostName,
		Addrs: r.Addrs, Gateways: r.Gateways, MAC: r.MAC, MTU: r.MTU, VLAN: r.VLAN, DHCP: r.DHCP,
	}
	var err error
	if n.Name, err = pickInterface(s, c, r.Name, 1); err != nil {
		return nil, err
	}
	if a.kind == model.NICDirect {
		if holder, name := firstOn(s, n.On); holder != nil {
			return nil, errs.New(errs.Conflict, "container %s has a NIC on the device (%s): remove that first", holder.Name, name)
		}
	} else if holder := directHolder(s, n.On); holder != nil {
		return nil, errs.New(errs.Conflict, "the device is in container %s, whole: take it back first (jackstay nic rm)", holder.Name)
	}
	if err := a.checkTaken(s, n); err != nil {
		return nil, err
	}
	if n.MAC == "" && a.kind != model.NICDirect {
		n.MAC = freeMAC(s, n)
	}
	return n, nil
}

// checkTaken refuses addresses, MACs and names that another NIC or the host has.
func (a *nicAddition) checkTaken(s *model.Snapshot, n *model.NIC) error {
	for _, p := range n.Addrs {
		if a.host != nil && slices.Contains(a.host.Addrs, p.Addr()) {
			return errs.New(errs.Conflict, "address %s is the host's own, on %s", p.Addr(), n.On)
		}
	}
	for _, c := range s.Containers {
		for i := range c.NICs {
			o := &c.NICs[i]
			if o.On != n.On || o.VLAN != n.VLAN || n.Kind == model.NICDummy {
				continue
			}
			if n.MAC != "" && o.MAC == n.MAC {
				return errs.New(errs.Conflict, "MAC address %s is already in use on %s by container %s", n.MAC, n.On, c.Name)
			}
			for _, p := range n.Addrs {
				if slices.ContainsFunc(o.Addrs, func(q netip.Prefix) bool { return q.Addr() == p.Addr() }) {
					return errs.New(errs.Conflict, "address %s is already in use on %s by container %s", p.Addr(), n.On, c.Name)
				}
			}
		}
	}
	return nil
}

// freeMAC gives the MAC that goes with the first address, or another one if
// somebody has that on the same bridge or device.
func freeMAC(s *model.Snapshot, n *model.NIC) string {
	var first netip.Addr
	if len(n.Addrs) > 0 {
		first = n.Addrs[0].Addr()
	}
	mac := alloc.MAC(first)
	for _, c := range s.Containers {
		for i := range c.NICs {
			if c.NICs[i].On == n.On && c.NICs[i].MAC == mac {
				return alloc.MAC(netip.Addr{})
			}
		}
	}
	return mac
}

// pickInterface checks a name inside, or gives the first free ethN from first on.
func pickInterface(s *model.Snapshot, c *model.Container, name string, first int) (string, error) {
	taken := map[string]bool{"lo": true}
	for _, ep := range s.ByContainer[c.ID] {
		taken[ep.Interface] = true
	}
	for i := range c.NICs {
		taken[c.NICs[i].Name] = true
	}
	if name != "" {
		if taken[name] {
			return "", errs.New(errs.Conflict, "container %s has an interface %s already: give another --name", c.Name, name)
		}
		return name, nil
	}
	for n := first; ; n++ {
		if name = fmt.Sprintf("eth%d", n); !taken[name] {
			return name, nil
		}
	}
}

// dropNIC deletes an interface and the routes through it within a transaction.
func (e *Engine) dropNIC(tx *store.Tx, id, name string) error {
	s := tx.Snapshot()
	c := s.Containers[id]
	if c == nil {
		return noSuchContainer(id)
	}
	v, err := findNIC(s, id, name)
	if err != nil {
		return err
	}
	next := *c
	if v.Endpoint != nil {
		if err := dropEndpointOf(tx, v.Endpoint); err != nil {
			return err
		}
	}
	next.NICs = slices.DeleteFunc(slices.Clone(c.NICs), func(n model.NIC) bool { return n.ID == v.NIC.ID })
	next.Rates = c.Rates.Without(v.NIC.ID)
	next.Routes = slices.DeleteFunc(slices.Clone(c.Routes), func(r model.Route) bool { return r.Dev == name })
	next.Rules = slices.DeleteFunc(slices.Clone(c.Rules), func(r model.RouteRule) bool { return r.IIf == name || r.OIf == name })
	next.TC = slices.DeleteFunc(slices.Clone(c.TC), func(line []string) bool { return tcDevice(line) == name })
	return tx.PutContainer(&next)
}

// dropEndpointOf deletes a membership. When it was the first of two on its
// network, the other takes its place.
func dropEndpointOf(tx *store.Tx, ep *model.Endpoint) error {
	tx.DeleteEndpoint(ep.ID)
	rest := endpointOn(tx.Snapshot(), ep.ContainerID, ep.NetworkID)
	if rest == nil {
		dropLinksOver(tx, ep.ContainerID, ep.NetworkID)
		return nil
	}
	if ep.Extra || !rest.Extra {
		return nil
	}
	first := *rest
	first.Extra = false
	return tx.PutEndpoint(&first)
}

// RemoveNIC takes an interface off a container: a NIC, or an endpoint by its
// interface's name. A device that was moved in whole is back when this returns.
func (e *Engine) RemoveNIC(ctx context.Context, ref, name string) error {
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	_, unlock := e.lock(c.ID)
	defer unlock()
	ctx = context.WithoutCancel(ctx)
	v, err := findNIC(e.store.Snapshot(), c.ID, name)
	if err != nil {
		return err
	}
	if _, err := changeable(e.store.Snapshot(), c.ID, ref); err != nil {
		return err
	}
	e.releaseLease(ctx, c.ID, &v.NIC)
	snap, err := e.store.Update(func(tx *store.Tx) (err error) {
		if c, err = changeable(tx.Snapshot(), c.ID, ref); err != nil {
			return err
		}
		return e.dropNIC(tx, c.ID, name)
	})
	if err != nil {
		e.keepLeases(v.Container.ID, true)
		return err
	}
	err = e.orKeep(ctx, snap, effect{doing: fmt.Sprintf("take the NIC %s off container %s", name, c.Name), of: []string{c.ID}})
	if c.Active && v.Network != nil {
		e.networkEvent(v.Network, "disconnect", "container", c.ID)
	}
	e.containerEvent(c, "nic-remove", "nic", name, "on", v.NIC.On, "kind", string(v.NIC.Kind))
	return err
}

// NICs lists a container's interfaces, or those of all: endpoints and NICs.
func (e *Engine) NICs(ref string) ([]model.NICView, error) {
	s := e.store.Snapshot()
	if ref != "" {
		c, err := findContainer(s, ref)
		if err != nil {
			return nil, err
		}
		return NICsOf(s, c), nil
	}
	var out []model.NICView
	for _, c := range s.Containers {
		out = append(out, NICsOf(s, c)...)
	}
	slices.SortStableFunc(out, func(a, b model.NICView) int { return strings.Compare(a.Container.FullName(), b.Container.FullName()) })
	return out, nil
}

// NICsOf lists the interfaces of one container, its endpoints first.
func NICsOf(s *model.Snapshot, c *model.Container) []model.NICView {
	var out []model.NICView
	for _, ep := range s.ByContainer[c.ID] {
		n := s.Networks[ep.NetworkID]
		if n == nil || n.Driver != model.DriverBridge {
			continue
		}
		v := model.NICView{Container: c, Network: n, Endpoint: ep, NIC: model.NIC{
			ID: ep.ID, Kind: model.NICNetwork, Name: ep.Interface, On: n.Name, HostName: ep.HostName, MAC: ep.MAC, MTU: ep.MTU, Gateways: ep.Gateways,
		}}
		for _, p := range []netip.Prefix{ep.On(false), ep.On(true)} {
			if p.IsValid() {
				v.NIC.Addrs = append(v.NIC.Addrs, p)
			}
		}
		out = append(out, v)
	}
	for _, n := range c.NICs {
		if l := n.Lease; n.DHCP && l != nil && l.Held {
			n.Addrs, n.Gateways = []netip.Prefix{l.Address}, nil
			if l.Gateway.IsValid() {
				n.Gateways = []netip.Addr{l.Gateway}
			}
		}
		out = append(out, model.NICView{Container: c, NIC: n})
	}
	return out
}

// findNIC finds an interface of a container by its name inside.
func findNIC(s *model.Snapshot, id, name string) (*model.NICView, error) {
	c := s.Containers[id]
	if c == nil {
		return nil, noSuchContainer(id)
	}
	return nicCalled(s, c, name)
}

// nicCalled is findNIC for a record that is not stored yet.
func nicCalled(s *model.Snapshot, c *model.Container, name string) (*model.NICView, error) {
	all := NICsOf(s, c)
	var names []string
	for i := range all {
		if all[i].NIC.Name == name {
			return &all[i], nil
		}
		names = append(names, all[i].NIC.Name)
	}
	has := "it has none"
	if len(names) > 0 {
		has = "it has " + strings.Join(names, ", ")
	}
	return nil, errs.New(errs.NotFound, "container %s has no interface %s: %s", c.Name, name, has)
}
