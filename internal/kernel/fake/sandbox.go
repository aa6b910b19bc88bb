package fake

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/jackstay/jackstay/internal/desired"
)

// EnsureNamespace makes a namespace that has nothing but lo.
func (l *Links) EnsureNamespace(_ context.Context, container string) (string, error) {
	h, path := l.h, "/run/fake/netns/"+container
	exists := false
	if err := h.look(func() error { exists = h.ns[container] != nil; return nil }); err != nil || exists {
		return path, err
	}
	return path, h.do("netns add "+container, func() error {
		if h.ns[container] != nil {
			return nil
		}
		h.made++
		h.ns[container] = &namespace{
			id: h.made, links: map[string]*link{}, routes: map[string]desired.Route{},
			sysctls: map[string]string{}, listeners: map[string]*socket{},
		}
		return nil
	})
}

// DeleteNamespace deletes a namespace; pairs that end in it go too.
func (l *Links) DeleteNamespace(_ context.Context, container string) error {
	h := l.h
	exists := false
	if err := h.look(func() error { exists = h.ns[container] != nil; return nil }); err != nil || !exists {
		return err
	}
	return h.do("netns del "+container, func() error { h.dropNamespace(container); return nil })
}

func (h *Host) dropNamespace(container string) {
	if n := h.ns[container]; n != nil {
		for name := n.unwanted(nil); name != ""; name = n.unwanted(nil) {
			h.giveBack(n, name)
		}
	}
	for name, k := range h.links {
		if k.peer != "" && k.peerNS == container {
			h.dropLink(name)
		}
	}
	delete(h.ns, container)
}

// EnsureSandbox makes the inside as wanted, a change at a time.
func (l *Links) EnsureSandbox(_ context.Context, s *desired.Sandbox) error {
	if err := l.dropDevices(s); err != nil {
		return err
	}
	for _, i := range s.Interfaces { // first, because two may swap their names
		if err := l.dropOther(s.Container, i); err != nil {
			return err
		}
	}
	for _, i := range s.Interfaces {
		if err := l.ensureInterface(s.Container, i); err != nil {
			return err
		}
	}
	for _, d := range s.Devices {
		if err := l.ensureDevice(s.Container, d); err != nil {
			return err
		}
	}
	if err := l.ensureRoutes(s); err != nil {
		return err
	}
	if err := l.ensureRules(s); err != nil {
		return err
	}
	for key, value := range s.Sysctls {
		if err := l.ensureSysctl(s.Container, key, value); err != nil {
			return err
		}
	}
	redirect := redirectOf(s)
	return l.inside(s.Container, "redirect "+redirect,
		func(n *namespace) bool { return n.redirect == redirect },
		func(n *namespace) error { n.redirect = redirect; return nil })
}

func redirectOf(s *desired.Sandbox) string {
	if !s.ResolverVia.IsValid() {
		return ""
	}
	return s.Resolver.String() + " to " + s.ResolverVia.String()
}

// correctInside is correct for a link in a namespace.
func (l *Links) correctInside(container, name string, w wish) error {
	links := func() map[string]*link {
		if n := l.h.ns[container]; n != nil {
			return n.links
		}
		return nil
	}
	return l.correct(container+"/"+name, name, links, w)
}

// inside makes a change in a namespace unless it is so already.
func (l *Links) inside(container, op string, so func(*namespace) bool, change func(*namespace) error) error {
	h := l.h
	fine := false
	err := h.look(func() error {
		n := h.ns[container]
		if n == nil {
			return fmt.Errorf("netns %s: %w", container, enoent)
		}
		fine = so(n)
		return nil
	})
	if err != nil || fine {
		return err
	}
	return h.do(container+": "+op, func() error {
		n := h.ns[container]
		if n == nil {
			return fmt.Errorf("netns %s: %w", container, enoent)
		}
		return change(n)
	})
}

func (l *Links) ensureInterface(container string, i desired.Interface) error {
	h := l.h
	err := l.inside(container, "veth add "+i.Host,
		func(*namespace) bool { return h.links[i.Host] != nil },
		func(n *namespace) error { return h.addVeth(n, container, i) })
	if err != nil {
		return err
	}
	limits := rates{in: i.RateIn, out: i.RateOut}
	err = l.inside(container, fmt.Sprintf("limit %s %+v", i.Host, limits),
		func(*namespace) bool { k := h.links[i.Host]; return k == nil || k.limits == limits },
		func(*namespace) error {
			if k := h.links[i.Host]; k != nil {
				k.limits = limits
			}
			return nil
		})
	if err != nil {
		return err
	}
	err = l.inside(container, "master "+i.Host+" "+i.Bridge,
		func(*namespace) bool { k := h.links[i.Host]; return k != nil && k.master == i.Bridge && k.up },
		func(*namespace) error { return h.enslave(i.Host, i.Bridge) })
	if err != nil {
		return err
	}
	return l.correctInside(container, i.Name, wish{mac: i.MAC, mtu: i.MTU, addrs: i.Addrs})
}

// dropOther deletes a host end of ours that leads somewhere else.
func (l *Links) dropOther(container string, i desired.Interface) error {
	wrong := false
	err := l.h.look(func() error {
		k := l.h.links[i.Host]
		wrong = k != nil && (k.alias != aliasPrefix+i.Endpoint || k.peerNS != container || k.peer != i.Name)
		return nil
	})
	if err != nil || !wrong {
		return err
	}
	return l.DeleteHostEnd(context.Background(), i.Host)
}

func (h *Host) addVeth(n *namespace, container string, i desired.Interface) error {
	if len(i.Name) > maxName || i.Name == "" {
		return fmt.Errorf("interface name %q: %w", i.Name, syscall.ERANGE)
	}
	if n.links[i.Name] != nil {
		return fmt.Errorf("%s in netns %s: %w", i.Name, container, eexist)
	}
	if err := h.addLink(&link{name: i.Host, alias: aliasPrefix + i.Endpoint, mtu: 1500, peerNS: container, peer: i.Name}); err != nil {
		return err
	}
	n.links[i.Name] = &link{name: i.Name, mtu: 1500, addrs: map[string]bool{}}
	return nil
}

func (h *Host) enslave(host, bridge string) error {
	b, k := h.links[bridge], h.links[host]
	if b == nil || k == nil {
		return fmt.Errorf("%s on bridge %s: %w", host, bridge, enodev)
	}
	if !b.bridge {
		return fmt.Errorf("%s is no bridge: %w", bridge, syscall.EINVAL)
	}
	ports := 0
	for _, p := range h.links {
		if p.master == bridge {
			ports++
		}
	}
	if k.master != bridge && ports >= maxPorts {
		return fmt.Errorf("bridge %s has %d ports: %w", bridge, ports, syscall.EXFULL)
	}
	k.master, k.up = bridge, true
	signal(h.linksWatch)
	return nil
}

func routeKey(r desired.Route) string {
	key := "default"
	if r.Dst.IsValid() && r.Dst.Bits() != 0 {
		key = r.Dst.String()
	}
	if r.Table != 0 || r.Metric != 0 {
		key += fmt.Sprintf(" table %d metric %d", r.Table, r.Metric)
	}
	return key
}

func (l *Links) ensureRoutes(s *desired.Sandbox) error {
	want := map[string]bool{}
	for _, r := range s.Routes {
		key := routeKey(r)
		want[key] = true
		err := l.inside(s.Container, fmt.Sprintf("route add %s via %s dev %s", key, r.Via, r.Dev),
			func(n *namespace) bool { return n.routes[key] == r },
			func(n *namespace) error { return n.route(key, r) })
		if err != nil {
			return err
		}
	}
	var gone []string
	err := l.h.look(func() error {
		for key := range l.h.ns[s.Container].routes {
			if !want[key] {
				gone = append(gone, key)
			}
		}
		return nil
	})
	for _, key := range gone {
		if err == nil {
			err = l.inside(s.Container, "route del "+key, func(*namespace) bool { return false },
				func(n *namespace) error { delete(n.routes, key); return nil })
		}
	}
	return err
}

// route adds or replaces a route; a gateway must be on the link.
func (n *namespace) route(key string, r desired.Route) error {
	if r.Dev == "" || r.Dev == "lo" {
		n.routes[key] = r
		return nil
	}
	dev := n.links[r.Dev]
	if dev == nil {
		return fmt.Errorf("dev %s: %w", r.Dev, enodev)
	}
	if !dev.up {
		return syscall.ENETDOWN
	}
	if r.Via.IsValid() && !dev.onLink(r.Via) {
		return fmt.Errorf("gateway %s: %w", r.Via, syscall.ENETUNREACH)
	}
	n.routes[key] = r
	return nil
}

func (k *link) onLink(a netip.Addr) bool {
	for _, p := range k.prefixes() {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (l *Links) ensureSysctl(container, key, value string) error {
	return l.inside(container, "sysctl "+key+"="+value,
		func(n *namespace) bool { return n.sysctls[key] == value },
		func(n *namespace) error {
			if !strings.HasPrefix(key, "net/") {
				return fmt.Errorf("sysctl %s is not a namespace's own: %w", key, syscall.EPERM)
			}
			n.sysctls[key] = value
			return nil
		})
}

// ObserveSandbox compares the inside with what is wanted.
func (l *Links) ObserveSandbox(_ context.Context, s *desired.Sandbox) (intact bool, err error) {
	h := l.h
	err = h.look(func() error {
		n := h.ns[s.Container]
		if n == nil {
			return nil
		}
		for _, i := range s.Interfaces {
			k, host := n.links[i.Name], h.links[i.Host]
			if k == nil || host == nil || host.peerNS != s.Container || host.peer != i.Name || host.master != i.Bridge || !host.up ||
				host.limits != (rates{in: i.RateIn, out: i.RateOut}) {
				return nil
			}
			if _, change := (wish{mac: i.MAC, mtu: i.MTU, addrs: i.Addrs}).next(k); change != nil {
				return nil
			}
		}
		if !n.devicesIntact(s) {
			return nil
		}
		for _, r := range s.Routes {
			if n.routes[routeKey(r)] != r {
				return nil
			}
		}
		for key, value := range s.Sysctls {
			if n.sysctls[key] != value {
				return nil
			}
		}
		intact = n.redirect == redirectOf(s) && len(n.routes) == len(s.Routes)
		return nil
	})
	return intact, err
}

// Listen opens sockets in a namespace. They hear nothing; they are counted.
func (l *Links) Listen(_ context.Context, container string, addr netip.AddrPort) (net.PacketConn, net.Listener, error) {
	h := l.h
	var s *socket
	err := h.do(container+": listen "+addr.String(), func() error {
		n := h.ns[container]
		if n == nil {
			return fmt.Errorf("netns %s: %w", container, enoent)
		}
		if have := n.listeners[addr.String()]; have != nil && !have.closed() {
			return syscall.EADDRINUSE
		}
		s = newSocket(n.id, addr)
		n.listeners[addr.String()] = s
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return packetConn{s}, listener{s}, nil
}
