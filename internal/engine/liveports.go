package engine

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// AddPorts publishes further ports of a container, as if it had been created
// with them. On a running one they lead to it when this returns, or nothing is
// changed; the host ports it got are returned. Of a stopped one the host ports
// are claimed at its next start.
func (e *Engine) AddPorts(ctx context.Context, ref string, bs []model.PortBinding) ([]model.PortMapping, error) {
	if len(bs) == 0 {
		return nil, errs.New(errs.Invalid, "no port is given: name at least one, such as 8080:80")
	}
	if err := checkPortBindings(bs); err != nil {
		return nil, err
	}
	if err := e.permitHostIPs(bs); err != nil {
		return nil, err
	}
	c, err := e.FindContainer(ref)
	if err != nil {
		return nil, err
	}
	_, unlock := e.lock(c.ID)
	defer unlock()

	avoid := map[model.PortKey]bool{}
	for try := 1; ; try++ {
		a := &addition{id: c.ID, ref: ref, bindings: bs, avoid: avoid}
		snap, err := e.store.Update(a.put)
		if err != nil {
			return nil, err
		}
		if !a.after.Active {
			e.containerEvent(a.after, "port-add", "ports", bindingWords(bs))
			return nil, nil
		}
		err = e.orTakeBack(ctx, snap, effect{doing: "publish ports of container " + c.Name, of: []string{c.ID}}, changing(c.ID, a.undo))
		if err == nil {
			e.containerEvent(a.after, "port-add", "ports", portWords(a.added))
			return a.added, nil
		}
		if !errs.Is(err, errs.Conflict) || try == portTries || !a.chooseOthers() {
			return nil, err
		}
	}
}

// addition is one attempt to publish ports.
type addition struct {
	id, ref       string
	bindings      []model.PortBinding
	avoid         map[model.PortKey]bool // chosen before, and held by other programs
	before, after *model.Container
	added         []model.PortMapping
}

// put stores the bindings and, for an active container, claims host ports.
func (a *addition) put(tx *store.Tx) error {
	s := tx.Snapshot()
	c, err := changeable(s, a.id, a.ref)
	if err != nil {
		return err
	}
	n, err := publishingNetwork(s, c)
	if err != nil {
		return err
	}
	if err := permitClaim(tx, c, a.bindings); err != nil {
		return err
	}
	a.before, a.added = c, nil
	next := *c
	have := heldOrWanted(s, c, n)
	for _, b := range a.bindings {
		if err := checkNotPublished(c, have, b, bindingIPs(s, c, n, b)); err != nil {
			return err
		}
	}
	next.Host.PortBindings = append(slices.Clone(c.Host.PortBindings), a.bindings...)
	expose(&next, a.bindings)
	if c.Active {
		if a.added, err = a.pick(s, c, n); err != nil {
			return err
		}
		next.Ports = append(slices.Clone(c.Ports), a.added...)
		next.Remembered = slices.Clone(next.Ports)
	}
	a.after = &next
	return tx.PutContainer(&next)
}

// pick chooses the host ports, fixed ones first so that a chosen one does not
// take theirs.
func (a *addition) pick(s *model.Snapshot, c *model.Container, n *model.Network) ([]model.PortMapping, error) {
	ports := alloc.NewPorts(s, "") // what it has already is not free
	for k := range a.avoid {
		ports.Avoid(k)
	}
	var out []model.PortMapping
	for _, wantFixed := range [...]bool{true, false} {
		for _, b := range a.bindings {
			if fixedPort(b) != wantFixed {
				continue
			}
			if err := checkFamily(s, c, b); err != nil {
				return nil, err
			}
			ms, err := ports.Pick(b, bindingIPs(s, c, n, b), nil)
			if err != nil {
				return nil, err
			}
			out = append(out, ms...)
		}
	}
	return out, nil
}

// chooseOthers tells whether another attempt may get other host ports.
func (a *addition) chooseOthers() bool {
	fixed := map[uint16]bool{}
	for _, b := range a.bindings {
		if fixedPort(b) {
			fixed[b.HostPort] = true
		}
	}
	any := false
	for _, m := range a.added {
		if !fixed[m.HostPort] {
			a.avoid[m.Key()], any = true, true
		}
	}
	return any
}

// undo takes an addition out of a container's record.
func (a *addition) undo(c *model.Container) error {
	c.Host.PortBindings, c.Remembered = a.before.Host.PortBindings, a.before.Remembered
	c.Config.ExposedPorts, c.Opened = a.before.Config.ExposedPorts, a.before.Opened
	c.Ports = slices.DeleteFunc(slices.Clone(c.Ports), func(m model.PortMapping) bool { return slices.Contains(a.added, m) })
	return nil
}

// RemovePorts takes published ports back. Connections through them end before
// this returns or very soon after; others do not notice. Each named port must
// be published, or nothing is changed.
func (e *Engine) RemovePorts(ctx context.Context, ref string, ports []model.PublishedPort) error {
	if len(ports) == 0 {
		return errs.New(errs.Invalid, "no port is given: name at least one, such as 8080/tcp")
	}
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	_, unlock := e.lock(c.ID)
	defer unlock()
	var gone []model.PortMapping
	snap, err := e.store.Update(func(tx *store.Tx) error {
		old, err := changeable(tx.Snapshot(), c.ID, ref)
		if err != nil {
			return err
		}
		n, err := publishingNetwork(tx.Snapshot(), old)
		if err != nil {
			return err
		}
		next := *old
		if gone, err = withoutPorts(tx.Snapshot(), &next, n, ports); err != nil {
			return err
		}
		c = &next
		return tx.PutContainer(&next)
	})
	if err != nil {
		return err
	}
	e.containerEvent(c, "port-rm", "ports", portWords(gone))
	// What keeps other ports of the container from being held is no failure of this.
	err = e.orKeep(ctx, snap, effect{doing: "take ports of container " + c.Name + " back", of: []string{c.ID}})
	if errs.Is(err, errs.Conflict) {
		return nil
	}
	return err
}

// withoutPorts takes ports out of a container's record and gives them.
func withoutPorts(s *model.Snapshot, c *model.Container, n *model.Network, ports []model.PublishedPort) ([]model.PortMapping, error) {
	unrollPublishAll(c)
	pairs := bindingPairs(s, c, n)
	type hostPort struct {
		port  uint16
		proto string
	}
	at := map[hostPort][]int{} // in pairs
	for i, b := range pairs {
		for _, m := range b.held {
			k := hostPort{m.HostPort, m.Port.Proto}
			at[k] = append(at[k], i)
		}
	}
	gone := map[int]bool{}
	for _, p := range ports {
		if p.From == 0 || p.To < p.From {
			return nil, errs.New(errs.Invalid, "invalid port range %d-%d", p.From, p.To)
		}
		for port := int(p.From); port <= int(p.To); port++ {
			found := false
			for _, i := range at[hostPort{uint16(port), p.Proto}] {
				if slices.ContainsFunc(pairs[i].held, func(m model.PortMapping) bool {
					return m.HostPort == uint16(port) && m.Port.Proto == p.Proto && (!p.HostIP.IsValid() || p.HostIP == m.HostIP)
				}) {
					gone[i], found = true, true
				}
			}
			if !found {
				return nil, notPublished(c, p.HostIP, port, p.Proto, pairs)
			}
		}
	}
	var out []model.PortMapping
	dropped := map[model.PortKey]bool{}
	c.Host.PortBindings = nil
	for i, b := range pairs {
		if gone[i] {
			out = append(out, b.held...)
			for _, m := range b.held {
				dropped[m.Key()] = true
			}
		} else {
			c.Host.PortBindings = append(c.Host.PortBindings, b.asked)
		}
	}
	held := func(m model.PortMapping) bool { return dropped[m.Key()] }
	c.Ports = slices.DeleteFunc(slices.Clone(c.Ports), held)
	c.Remembered = slices.DeleteFunc(slices.Clone(c.Remembered), held)
	unexpose(c)
	return out, nil
}

// expose makes a container expose what it publishes, as at create.
func expose(c *model.Container, bindings []model.PortBinding) {
	c.Config.ExposedPorts, c.Opened = slices.Clone(c.Config.ExposedPorts), slices.Clone(c.Opened)
	exposed := make(map[model.Port]bool, len(c.Config.ExposedPorts))
	for _, p := range c.Config.ExposedPorts {
		exposed[p] = true
	}
	for _, b := range bindings {
		if !exposed[b.Port] {
			exposed[b.Port] = true
			c.Config.ExposedPorts, c.Opened = append(c.Config.ExposedPorts, b.Port), append(c.Opened, b.Port)
		}
	}
	c.Config.ExposedPorts = model.SortPorts(c.Config.ExposedPorts)
}

// unexpose ends that for what is published no more: links and floating IPs open
// what a container exposes, and what was opened with a port closes with it. What
// was exposed when the container was created stays so.
func unexpose(c *model.Container) {
	published := make(map[model.Port]bool, len(c.Host.PortBindings))
	for _, b := range c.Host.PortBindings {
		published[b.Port] = true
	}
	closed := map[model.Port]bool{}
	c.Opened = slices.DeleteFunc(slices.Clone(c.Opened), func(p model.Port) bool {
		closed[p] = !published[p]
		return closed[p]
	})
	c.Config.ExposedPorts = slices.DeleteFunc(slices.Clone(c.Config.ExposedPorts), func(p model.Port) bool { return closed[p] })
}

// unrollPublishAll writes what -P asks for as single bindings, so that one can
// be taken out.
func unrollPublishAll(c *model.Container) {
	if !c.Host.PublishAllPorts {
		return
	}
	c.Host.PortBindings, c.Host.PublishAllPorts = bindings(c), false
}

// heldOrWanted lists the host ports that a container has, or would have if it ran.
func heldOrWanted(s *model.Snapshot, c *model.Container, n *model.Network) []model.PortMapping {
	if c.Active {
		return c.Ports
	}
	var out []model.PortMapping
	for _, p := range bindingPairs(s, c, n) {
		out = append(out, p.held...)
	}
	return out
}

func notPublished(c *model.Container, ip netip.Addr, port int, proto string, have []bindingPair) error {
	what := fmt.Sprintf("%d/%s", port, proto)
	if ip.IsValid() {
		what = fmt.Sprintf("%s/%s", netip.AddrPortFrom(ip, uint16(port)), proto)
	}
	if len(have) == 0 {
		return errs.New(errs.NotFound, "container %s does not publish host port %s: it publishes none", c.Name, what)
	}
	var held []model.PortMapping
	for _, b := range have {
		held = append(held, b.held...)
	}
	return errs.New(errs.NotFound, "container %s does not publish host port %s: it publishes %s", c.Name, what, portWords(held))
}

// checkNotPublished refuses a fixed host port that the container has already.
func checkNotPublished(c *model.Container, have []model.PortMapping, b model.PortBinding, wants []netip.Addr) error {
	if !fixedPort(b) {
		return nil
	}
	for _, m := range have {
		if m.HostPort == b.HostPort && m.Port.Proto == b.Port.Proto && slices.ContainsFunc(wants, func(want netip.Addr) bool {
			return m.HostIP.Is6() == want.Is6() && (m.HostIP == want || m.HostIP.IsUnspecified() || want.IsUnspecified())
		}) {
			return errs.New(errs.Conflict, "container %s publishes host port %s already, for its port %s: take that back first",
				c.Name, netip.AddrPortFrom(m.HostIP, m.HostPort), m.Port)
		}
	}
	return nil
}

// changeable gives a container's record for a change of its network, unless it
// is on its way out.
func changeable(s *model.Snapshot, id, ref string) (*model.Container, error) {
	c := s.Containers[id]
	switch {
	case c == nil:
		return nil, noSuchContainer(ref)
	case c.State.Status == model.StatusRemoving || c.State.Status == model.StatusDead:
		return nil, errs.New(errs.Conflict, "container %s is marked for removal and cannot be changed", c.Name)
	}
	return c, nil
}

// publishingNetwork gives the network whose options published ports follow.
func publishingNetwork(s *model.Snapshot, c *model.Container) (*model.Network, error) {
	if of, joined := joinedContainer(c.Host.NetworkMode); joined {
		return nil, errs.New(errs.Invalid, "container %s is in the network of container %s: publish ports of that one", c.Name, nameOf(s, of))
	}
	if c.Host.NetworkMode == "host" {
		return nil, errs.New(errs.Invalid, "container %s is in the host's network: its ports are the host's already", c.Name)
	}
	_, n := publishing(s, c)
	if n == nil {
		return nil, errs.New(errs.Invalid, "container %s is on no network that ports can be published through: connect it to one first", c.Name)
	}
	return n, nil
}

// portWords lists mappings as ps does.
func portWords(ms []model.PortMapping) string {
	var out []string
	for _, m := range ms {
		out = append(out, fmt.Sprintf("%s->%s", netip.AddrPortFrom(m.HostIP, m.HostPort), m.Port))
	}
	return strings.Join(out, ", ")
}

// bindingWords lists bindings as -p takes them.
func bindingWords(bs []model.PortBinding) string {
	var out []string
	for _, b := range bs {
		word := b.HostPortGiven + ":" + b.Port.String()
		if b.HostIPGiven != "" {
			word = b.HostIPGiven + ":" + word
		}
		out = append(out, word)
	}
	return strings.Join(out, ", ")
}
