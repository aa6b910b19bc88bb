package engine

import (
	"fmt"
	"net/netip"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// claimPorts chooses the host ports of a start: those asked for with -p, and
// with -P one for every other exposed port. avoid are ports another program
// was found to hold. A container that kept its ports through a restart keeps
// them, unless one is to be avoided.
func claimPorts(s *model.Snapshot, c *model.Container, avoid map[model.PortKey]bool) ([]model.PortMapping, error) {
	if c.Active && len(c.Ports) > 0 && len(avoid) == 0 {
		return c.Ports, nil
	}
	ep, n := publishing(s, c)
	if ep == nil {
		return nil, nil
	}
	ports := alloc.NewPorts(s, c.ID)
	for k := range avoid {
		ports.Avoid(k)
	}
	var out []model.PortMapping
	for _, b := range bindings(c) {
		if err := checkFamily(s, c, b); err != nil {
			return nil, err
		}
		ms, err := ports.Pick(b, bindingIPs(s, c, n, b), c.Remembered)
		if err != nil {
			return nil, errs.Wrap(errs.KindOf(err), endpointError(c, ep, err))
		}
		out = append(out, ms...)
	}
	return out, nil
}

// bindingIPs gives the host addresses that a binding means: its own, or the
// network's; and where that is every one, those of both families that the
// container has.
func bindingIPs(s *model.Snapshot, c *model.Container, n *model.Network, b model.PortBinding) []netip.Addr {
	if b.HostIP.IsValid() {
		return []netip.Addr{b.HostIP.Unmap()}
	}
	ips := []netip.Addr{hostIP(n)}
	if ips[0] == netip.IPv4Unspecified() && hasIPv6(s, c) {
		ips = append(ips, netip.IPv6Unspecified())
	}
	return ips
}

// hasIPv6 tells whether a container has an IPv6 address.
func hasIPv6(s *model.Snapshot, c *model.Container) bool {
	for _, ep := range s.ByContainer[c.ID] {
		if ep.IPv6.IsValid() {
			return true
		}
	}
	return false
}

// checkFamily refuses to publish at an IPv6 address what has none.
func checkFamily(s *model.Snapshot, c *model.Container, b model.PortBinding) error {
	if ip := b.HostIP; ip.IsValid() && ip.Unmap().Is6() && !hasIPv6(s, c) {
		return errs.New(errs.Invalid, "can't publish port %s of container %s at %s: it has no IPv6 address; put it on a network made with --ipv6", b.Port, c.Name, ip)
	}
	return nil
}

// hostIP is the address -p without one binds on the network.
func hostIP(n *model.Network) netip.Addr {
	if n.HostIP.IsValid() {
		return n.HostIP
	}
	return netip.IPv4Unspecified()
}

// publishing gives the endpoint that ports are published through: the first on
// a bridge.
func publishing(s *model.Snapshot, c *model.Container) (*model.Endpoint, *model.Network) {
	for _, ep := range s.ByContainer[c.ID] {
		if n := s.Networks[ep.NetworkID]; n != nil && n.Driver == model.DriverBridge {
			return ep, n
		}
	}
	return nil, nil
}

// bindings lists every -p, fixed ones first so that a chosen one does not take
// theirs, and then what -P adds.
func bindings(c *model.Container) []model.PortBinding {
	var fixed, chosen []model.PortBinding
	bound := map[model.Port]bool{}
	for _, b := range c.Host.PortBindings {
		bound[b.Port] = true
		if fixedPort(b) {
			fixed = append(fixed, b)
		} else {
			chosen = append(chosen, b)
		}
	}
	if c.Host.PublishAllPorts {
		for _, p := range c.Config.ExposedPorts {
			if !bound[p] {
				chosen = append(chosen, model.PortBinding{Port: p})
			}
		}
	}
	return append(fixed, chosen...)
}

func fixedPort(b model.PortBinding) bool { return b.HostPort != 0 && b.HostPortEnd <= b.HostPort }

// otherPorts gives the host ports of a container that may be exchanged for
// others when somebody else has one of them.
func otherPorts(c *model.Container) []model.PortKey {
	fixed := map[model.PortKey]bool{}
	for _, b := range c.Host.PortBindings {
		if fixedPort(b) {
			for _, m := range c.Ports {
				if m.HostPort == b.HostPort && m.Port == b.Port {
					fixed[m.Key()] = true
				}
			}
		}
	}
	var out []model.PortKey
	for _, m := range c.Ports {
		if !fixed[m.Key()] {
			out = append(out, m.Key())
		}
	}
	return out
}

// endpointError puts Docker's words about an endpoint's ports before err.
func endpointError(c *model.Container, ep *model.Endpoint, err error) error {
	return fmt.Errorf("driver failed programming external connectivity on endpoint %s (%s): %w", c.Name, ep.ID, err)
}
