package fake

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

const (
	aliasPrefix = "jackstay:"
	maxName     = 15   // IFNAMSIZ-1
	maxPorts    = 1024 // BR_MAX_PORTS
)

// Links is the host's links and namespaces.
type Links struct{ h *Host }

// Links gives the host's reconcile.Links.
func (h *Host) Links() *Links { return &Links{h} }

// Observe lists what carries our alias, and the namespaces.
func (l *Links) Observe(context.Context) (desired.Observed, error) {
	o := desired.Observed{Bridges: map[string]desired.Bridge{}, HostEnds: map[string]desired.HostEnd{}, Namespaces: map[string]struct{}{}, Addresses: map[desired.DeviceAddress]struct{}{}}
	err := l.h.look(func() error {
		for name, k := range l.h.links {
			owner, ours := strings.CutPrefix(k.alias, aliasPrefix)
			for a := range k.marked {
				o.Addresses[desired.DeviceAddress{Device: name, Addr: netip.MustParseAddr(a)}] = struct{}{}
			}
			switch {
			case !ours:
			case k.bridge:
				b := desired.Bridge{Name: name, Network: owner, MAC: k.mac, MTU: k.mtu, RouteLocalnet: k.localnet, OwnARP: k.ownARP, Plain: strings.HasPrefix(owner, "nic:") && k.up}
				if k.up { // one that is down has no address in effect
					b.Addrs = k.prefixes()
				}
				o.Bridges[name] = b
			default:
				o.HostEnds[name] = desired.HostEnd{Endpoint: owner, Bridge: k.master, Up: k.up, Altered: k.limits.altered}
			}
		}
		for id := range l.h.ns {
			o.Namespaces[id] = struct{}{}
		}
		return nil
	})
	return o, err
}

func (k *link) prefixes() []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range slices.Sorted(maps.Keys(k.addrs)) {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// EnsureBridge makes or corrects a bridge.
func (l *Links) EnsureBridge(_ context.Context, b *desired.Bridge) error {
	h := l.h
	alias := aliasPrefix + b.Network
	var have link
	var exists bool
	if err := h.look(func() error { have, exists = h.linkCopy(b.Name); return nil }); err != nil {
		return err
	}
	if exists && (!have.bridge || have.alias != alias) {
		return errs.New(errs.Conflict, "link %s is not a bridge of network %s", b.Name, b.Network)
	}
	if !exists {
		if err := h.do("bridge add "+b.Name, func() error { return h.addLink(&link{name: b.Name, alias: alias, bridge: true, mtu: 1500}) }); err != nil {
			return err
		}
	}
	return l.correct(b.Name, b.Name, func() map[string]*link { return h.links }, wish{
		mac: b.MAC, mtu: b.MTU, addrs: b.Addrs, localnet: b.RouteLocalnet, ownARP: b.OwnARP, others: b.Plain,
	})
}

// linkCopy reads a link; the caller holds the lock.
func (h *Host) linkCopy(name string) (link, bool) {
	k := h.links[name]
	if k == nil {
		return link{}, false
	}
	c := *k
	c.addrs = maps.Clone(k.addrs)
	return c, true
}

func (h *Host) addLink(k *link) error {
	if len(k.name) > maxName || k.name == "" {
		return fmt.Errorf("interface name %q: %w", k.name, syscall.ERANGE)
	}
	if h.links[k.name] != nil {
		return fmt.Errorf("%s: %w", k.name, eexist)
	}
	if k.addrs == nil {
		k.addrs = map[string]bool{}
	}
	h.links[k.name] = k
	signal(h.linksWatch)
	return nil
}

// wish is how a link is wanted.
type wish struct {
	mac      string
	mtu      int
	addrs    []netip.Prefix
	localnet bool
	others   bool // addresses of others stay
	ownARP   bool
}

// correct brings a link of a host or namespace to what is wished, a change at
// a time; label names it in the journal.
func (l *Links) correct(label, name string, in func() map[string]*link, w wish) error {
	for {
		var op string
		var change func(k *link) error
		err := l.h.look(func() error {
			k := in()[name]
			if k == nil {
				return fmt.Errorf("%s: %w", name, enodev)
			}
			op, change = w.next(k)
			return nil
		})
		if err != nil || change == nil {
			return err
		}
		err = l.h.do("link set "+label+" "+op, func() error {
			k := in()[name]
			if k == nil {
				return enodev
			}
			signal(l.h.linksWatch)
			return change(k)
		})
		if err != nil {
			return err
		}
	}
}

// next is the next change a link needs, nil for none.
func (w wish) next(k *link) (string, func(*link) error) {
	if w.mac != "" && !strings.EqualFold(w.mac, k.mac) {
		return "mac " + w.mac, func(k *link) error {
			hw, err := net.ParseMAC(w.mac)
			if err != nil || hw[0]&1 != 0 {
				return fmt.Errorf("mac %q: %w", w.mac, syscall.EADDRNOTAVAIL)
			}
			k.mac = w.mac
			return nil
		}
	}
	if w.mtu != 0 && w.mtu != k.mtu {
		return fmt.Sprint("mtu ", w.mtu), func(k *link) error {
			if w.mtu < 68 || w.mtu > 65535 {
				return syscall.EINVAL
			}
			k.mtu = w.mtu
			return nil
		}
	}
	for _, a := range w.addrs {
		if !k.addrs[a.String()] {
			return "address add " + a.String(), func(k *link) error { k.addrs[a.String()] = true; return nil }
		}
	}
	for _, have := range k.prefixes() {
		if !w.others && !slices.Contains(w.addrs, have) {
			return "address del " + have.String(), func(k *link) error { delete(k.addrs, have.String()); return nil }
		}
	}
	if w.ownARP != k.ownARP {
		return fmt.Sprint("arp_ignore ", w.ownARP), func(k *link) error { k.ownARP = w.ownARP; return nil }
	}
	if w.localnet != k.localnet {
		return fmt.Sprint("route_localnet ", w.localnet), func(k *link) error { k.localnet = w.localnet; return nil }
	}
	if !k.up {
		return "up", func(k *link) error { k.up = true; return nil }
	}
	return "", nil
}

// DeleteBridge deletes a bridge of ours; its ports stay, without a master.
func (l *Links) DeleteBridge(_ context.Context, name string) error {
	have, err := l.ours(name, true)
	if err != nil || !have {
		return err
	}
	return l.h.do("bridge del "+name, func() error { l.h.dropLink(name); return nil })
}

// ours tells whether the link is there; one that isn't ours is a conflict.
func (l *Links) ours(name string, bridge bool) (have bool, err error) {
	err = l.h.look(func() error {
		k := l.h.links[name]
		if have = k != nil; have && (k.bridge != bridge || !strings.HasPrefix(k.alias, aliasPrefix)) {
			return errs.New(errs.Conflict, "link %s is not ours", name)
		}
		return nil
	})
	return have, err
}

// dropLink deletes a link and what hangs on it; the caller holds the lock.
func (h *Host) dropLink(name string) {
	k := h.links[name]
	if k == nil {
		return
	}
	delete(h.links, name)
	for _, port := range h.links {
		if port.master == name {
			port.master = ""
		}
	}
	if n := h.ns[k.peerNS]; n != nil && k.peer != "" {
		n.drop(k.peer)
	}
	signal(h.linksWatch)
}

// drop deletes a link inside with its routes, as the kernel does.
func (n *namespace) drop(name string) {
	delete(n.links, name)
	maps.DeleteFunc(n.routes, func(_ string, r desired.Route) bool { return r.Dev == name })
}

// DeleteHostEnd deletes a veth pair.
func (l *Links) DeleteHostEnd(_ context.Context, name string) error {
	have, err := l.ours(name, false)
	if err != nil || !have {
		return err
	}
	return l.h.do("veth del "+name, func() error { l.h.dropLink(name); return nil })
}

// Watch signals every change of a link, by anybody.
func (l *Links) Watch(ctx context.Context) (<-chan struct{}, error) {
	return l.h.watch(ctx, &l.h.linksWatch)
}

func (h *Host) watch(ctx context.Context, list *[]chan struct{}) (<-chan struct{}, error) {
	in, out := make(chan struct{}, 1), make(chan struct{})
	h.mu.Lock()
	*list = append(*list, in)
	h.mu.Unlock()
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case <-in:
			}
			select {
			case <-ctx.Done():
				return
			case out <- struct{}{}:
			}
		}
	}()
	return out, nil
}
