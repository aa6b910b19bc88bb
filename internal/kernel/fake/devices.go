package fake

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/jackstay/jackstay/internal/desired"
)

const nicPrefix = "jackstay-nic:"

// dropDevices takes away the devices inside that are not wanted.
func (l *Links) dropDevices(s *desired.Sandbox) error {
	for {
		name := ""
		err := l.h.look(func() error {
			if n := l.h.ns[s.Container]; n != nil {
				name = n.unwanted(s.Devices)
			}
			return nil
		})
		if err != nil || name == "" {
			return err
		}
		err = l.inside(s.Container, "device del "+name, func(n *namespace) bool { return n.links[name] == nil },
			func(n *namespace) error { l.h.giveBack(n, name); return nil })
		if err != nil {
			return err
		}
	}
}

// unwanted gives the name of a device that is not among these, "" for none.
func (n *namespace) unwanted(devices []desired.Device) string {
	for name, k := range n.links {
		id, device := strings.CutPrefix(k.alias, nicPrefix)
		if device && !slices.ContainsFunc(devices, func(d desired.Device) bool { return d.NIC == id && d.Name == name }) {
			return name
		}
	}
	return ""
}

// giveBack deletes a device, or puts it back on the host as it was; the caller
// holds the lock.
func (h *Host) giveBack(n *namespace, name string) {
	if was := n.links[name].was; was != nil {
		h.links[was.name] = was
		signal(h.linksWatch)
	}
	n.drop(name)
}

func (l *Links) ensureDevice(container string, d desired.Device) error {
	h := l.h
	err := l.inside(container, "device add "+d.Name,
		func(n *namespace) bool { k := n.links[d.Name]; return k != nil && k.alias == nicPrefix+d.NIC },
		func(n *namespace) error { return h.addDevice(n, d) })
	if err != nil {
		return err
	}
	return l.correctInside(container, d.Name, wish{mac: d.MAC, mtu: d.MTU, addrs: d.Addrs})
}

func (h *Host) addDevice(n *namespace, d desired.Device) error {
	if len(d.Name) > maxName || d.Name == "" {
		return fmt.Errorf("interface name %q: %w", d.Name, syscall.ERANGE)
	}
	if n.links[d.Name] != nil {
		return fmt.Errorf("%s: %w", d.Name, eexist)
	}
	k := &link{name: d.Name, alias: nicPrefix + d.NIC, mtu: 1500, addrs: map[string]bool{}}
	if d.Kind != desired.Dummy {
		parent := h.links[d.Parent]
		switch {
		case parent == nil:
			return fmt.Errorf("%s: %w", d.Parent, enodev)
		case parent.master != "":
			return fmt.Errorf("%s is a port: %w", d.Parent, syscall.EBUSY)
		case d.Kind == desired.Direct:
			delete(h.links, d.Parent)
			k.was, k.mtu, k.mac = parent, parent.mtu, parent.mac
			signal(h.linksWatch)
		}
	}
	n.links[d.Name] = k
	return nil
}

// ensureRules makes the rules, and notes the lines of tc.
func (l *Links) ensureRules(s *desired.Sandbox) error {
	err := l.inside(s.Container, fmt.Sprintf("rules %d", len(s.Rules)),
		func(n *namespace) bool { return slices.Equal(n.rules, s.Rules) },
		func(n *namespace) error { n.rules = s.Rules; return nil })
	if err != nil {
		return err
	}
	return l.inside(s.Container, fmt.Sprintf("tc %d", len(s.TC)),
		func(n *namespace) bool { return slices.EqualFunc(n.tc, s.TC, slices.Equal[[]string]) },
		func(n *namespace) error { n.tc = s.TC; return nil })
}

// devicesIntact tells whether devices, rules and tc are as wanted.
func (n *namespace) devicesIntact(s *desired.Sandbox) bool {
	for _, d := range s.Devices {
		k := n.links[d.Name]
		if k == nil || k.alias != nicPrefix+d.NIC {
			return false
		}
		if _, change := (wish{mac: d.MAC, mtu: d.MTU, addrs: d.Addrs}).next(k); change != nil {
			return false
		}
	}
	return n.unwanted(s.Devices) == "" && slices.Equal(n.rules, s.Rules) && slices.EqualFunc(n.tc, s.TC, slices.Equal[[]string])
}
