//go:build linux

package link

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// NICAlias begins the alias of every interface of ours inside a container that
// has no host end; the NIC's full ID follows. It differs from Alias, so that a
// device that was moved in is never taken for a link of ours on the host.
const NICAlias = "jackstay-nic:"

// dropDevices takes away what is not wanted any more, or has another name than
// wanted. Devices of the host that are not wanted are left to giveBackUnwanted.
func (v *visit) dropDevices(s *desired.Sandbox) error {
	links, limits, err := v.devices()
	if err != nil {
		return err
	}
	for _, l := range limits {
		if deviceOf(s, strings.TrimPrefix(l.Attrs().Alias, Alias)) != nil {
			continue
		}
		if err := retryDelete(func() error { return v.in.LinkDel(l) }); err != nil {
			return fmt.Errorf("take away %s: %w", l.Attrs().Name, err)
		}
	}
	for _, l := range links {
		id := strings.TrimPrefix(l.Attrs().Alias, NICAlias)
		d := deviceOf(s, id)
		if d != nil && d.Name == l.Attrs().Name {
			continue
		}
		m, err := v.host.readMoved(v.container, id)
		if err != nil {
			return err
		}
		switch {
		case m == nil:
			err = retryDelete(func() error { return v.in.LinkDel(l) })
		case d != nil:
			err = v.host.giveBack(v.in, m)
		}
		if err != nil {
			return fmt.Errorf("take away %s: %w", l.Attrs().Name, err)
		}
	}
	return nil
}

// giveBackUnwanted gives the host back what was moved in and is not wanted any
// more, wherever an earlier attempt that was cut off has left it.
func (v *visit) giveBackUnwanted(s *desired.Sandbox) error {
	list, err := v.unwanted(s)
	return errors.Join(err, v.host.giveBackEach(v.in, list))
}

// unwanted lists the devices that were moved in, are not wanted, and not back.
func (v *visit) unwanted(s *desired.Sandbox) ([]*moved, error) {
	list, err := v.host.movedInto(v.container)
	return slices.DeleteFunc(list, func(m *moved) bool { return deviceOf(s, m.NIC) != nil }), err
}

// devices lists the links inside that carry a NIC's alias, and those that limit
// what such a NIC gets.
func (v *visit) devices() (nics, limits []netlink.Link, err error) {
	var links []netlink.Link
	if err := retry(func() (err error) { links, err = v.in.LinkList(); return }); err != nil {
		return nil, nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		switch alias := l.Attrs().Alias; {
		case strings.HasPrefix(alias, NICAlias):
			nics = append(nics, l)
		case l.Type() == "ifb" && strings.HasPrefix(alias, Alias):
			limits = append(limits, l)
		}
	}
	return nics, limits, nil
}

func deviceOf(s *desired.Sandbox, nic string) *desired.Device {
	for n := range s.Devices {
		if s.Devices[n].NIC == nic {
			return &s.Devices[n]
		}
	}
	return nil
}

// inner is the part of a device that is as any interface's.
func inner(d *desired.Device) *desired.Interface {
	return &desired.Interface{Endpoint: d.NIC, Name: d.Name, MAC: d.MAC, MTU: d.MTU, Addrs: d.Addrs, Leased: d.Leased}
}

func (v *visit) ensureDevice(d *desired.Device) error {
	mac, err := parseMAC(d.MAC)
	if err != nil {
		return errs.Wrap(errs.Invalid, err)
	}
	l, err := v.device(d)
	if err != nil {
		return err
	}
	fresh := l == nil
	if fresh {
		if d.Kind == desired.Direct {
			err = v.moveIn(d)
		} else {
			err = v.makeDevice(d, mac)
		}
		if err != nil {
			return err
		}
		if l, err = find(v.in, d.Name); err != nil || l == nil {
			return errs.New(errs.Unavailable, "it is made and gone again: %w", err)
		}
		v.fresh = true
	}
	v.found = v.found || !fresh
	v.index[d.Name] = l.Attrs().Index
	v.onParent(d, l.Attrs().ParentIndex)
	// Before it goes up: not one packet passes without its limit.
	if err := v.limitDevice(d, l, fresh); err != nil {
		return err
	}
	return v.setInner(inner(d), l, mac, false)
}

// device finds the interface, nil if it must be made. One of that name that a
// crash left without its alias is deleted.
func (v *visit) device(d *desired.Device) (netlink.Link, error) {
	l, err := find(v.in, d.Name)
	if err != nil || l == nil {
		return nil, err
	}
	a := l.Attrs()
	switch {
	case a.Alias == NICAlias+d.NIC:
		return l, nil
	case a.Alias == "" && l.Type() == string(d.Kind):
		return nil, retryDelete(func() error { return v.in.LinkDel(l) })
	}
	return nil, errs.New(errs.Conflict, "the container has a %s of that name already: give the NIC another (--name)", l.Type())
}

// makeDevice makes the interface where it belongs, so that it is never seen on
// the host.
func (v *visit) makeDevice(d *desired.Device, mac []byte) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = d.Name, d.MTU, mac
	if d.Kind != desired.Dummy {
		v.onParent(d, 0) // until it is
		parent, err := v.host.device(d.Parent)
		if err != nil {
			return err
		}
		attrs.ParentIndex, attrs.Namespace = parent.Attrs().Index, netlink.NsFd(v.fd)
	}
	var err error
	switch d.Kind {
	case desired.Macvlan:
		err = v.host.nl.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE})
	case desired.VLAN:
		err = v.host.nl.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: d.VLAN})
	case desired.Dummy:
		err = v.in.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})
	default:
		return errs.New(errs.Invalid, "a device of unknown kind %q", d.Kind)
	}
	if err := explainDevice(err, d); err != nil {
		return err
	}
	l, err := find(v.in, d.Name)
	if err != nil || l == nil {
		return errs.New(errs.Unavailable, "it is made and gone again: %w", err)
	}
	return retry(func() error { return v.in.LinkSetAlias(l, NICAlias+d.NIC) })
}

// onParent has the watch keep a device in sight that an interface is on.
func (v *visit) onParent(d *desired.Device, index int) {
	if d.Kind == desired.Macvlan || d.Kind == desired.VLAN {
		v.host.parents.set(v.container, d.Parent, index)
	}
}

// explainDevice puts the kernel's refusals into words.
func explainDevice(err error, d *desired.Device) error {
	switch {
	case err == nil || errors.Is(err, unix.EEXIST) && d.Kind != desired.VLAN:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return errs.New(errs.Unavailable, "this kernel has no %s interfaces: load the module %s, or use a kernel with it", d.Kind, moduleOf(d.Kind))
	case errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EINVAL) && d.Kind == desired.Macvlan:
		return errs.New(errs.Conflict, "device %s can't carry a %s: it is in use otherwise, as the port of a bridge perhaps: put the NIC on that bridge: %w", d.Parent, d.Kind, err)
	case errors.Is(err, unix.EEXIST):
		return errs.New(errs.Conflict, "VLAN %d of %s is in use already: one interface can have it", d.VLAN, d.Parent)
	}
	return fmt.Errorf("make a %s interface: %w", d.Kind, err)
}

// moduleOf names the kernel's module for a kind of link.
func moduleOf(k desired.DeviceKind) string {
	if k == desired.VLAN {
		return "8021q (CONFIG_VLAN_8021Q)"
	}
	return string(k) + " (CONFIG_" + strings.ToUpper(string(k)) + ")"
}

// deviceIntact tells whether a device is there and as wanted.
func (v *visit) deviceIntact(d *desired.Device, l netlink.Link) (bool, error) {
	a := l.Attrs()
	if a.Alias != NICAlias+d.NIC || !up(l) || d.MTU != 0 && d.MTU != a.MTU {
		return false, nil
	}
	if d.Kind == desired.Macvlan || d.Kind == desired.VLAN {
		parent, err := find(v.host.nl, d.Parent)
		if err != nil || parent == nil || parent.Attrs().Index != a.ParentIndex {
			return false, err
		}
	}
	v.onParent(d, a.ParentIndex)
	if ok, err := v.deviceLimited(d, l); err != nil || !ok {
		return false, err
	}
	mac, err := parseMAC(d.MAC)
	if err != nil || mac != nil && mac.String() != a.HardwareAddr.String() {
		return false, err
	}
	return v.addrsThere(l, d.Addrs)
}
