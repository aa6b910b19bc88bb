//go:build linux

package link

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/netns"
)

// A device of the host that is moved into a container whole is given back as it
// was. What it was is written to a file in the run directory before it moves,
// and the file goes when it is back: whatever ends the daemon in between, the
// next one knows. A namespace is never deleted with such a device in it: the
// kernel would hand a physical one back bare, and destroy any other
// (net/core/dev.c: default_device_exit_net).

// moved is a device as it was on the host.
type moved struct {
	NIC, Container string // IDs
	Inside         string // link name inside

	Name   string
	Alias  string
	MAC    string
	MTU    int
	Up     bool
	Addrs  []movedAddr
	Routes []movedRoute
}

type movedAddr struct {
	Prefix    netip.Prefix
	Label     string
	Broadcast net.IP
	Scope     int
}

type movedRoute struct {
	Dst      netip.Prefix
	V6       bool
	Via, Src netip.Addr
	Metric   int
	Table    int
	Scope    uint8
	Protocol int
	Flags    int
}

func (h *Host) movedDir(container string) string { return filepath.Join(h.run, "moved", container) }

// readMoved gives what is known of a device that was moved in, nil if none was.
func (h *Host) readMoved(container, nic string) (*moved, error) {
	b, err := os.ReadFile(filepath.Join(h.movedDir(container), nic))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	m := &moved{}
	if err == nil {
		err = json.Unmarshal(b, m)
	}
	if err != nil {
		return nil, fmt.Errorf("what a device was before it was moved in: %w", err)
	}
	return m, nil
}

func (h *Host) writeMoved(m *moved) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	dir := h.movedDir(m.Container)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	part := filepath.Join(dir, m.NIC+".part")
	if err := os.WriteFile(part, b, 0o600); err != nil {
		return err
	}
	return os.Rename(part, filepath.Join(dir, m.NIC))
}

func (h *Host) forgetMoved(m *moved) error {
	dir := h.movedDir(m.Container)
	if err := os.Remove(filepath.Join(dir, m.NIC)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	_ = os.Remove(dir) // it stays while there are others
	return nil
}

// moveIn moves a device of the host into the namespace, under its name there.
func (v *visit) moveIn(d *desired.Device) error {
	h := v.host
	m, err := h.readMoved(v.container, d.NIC)
	if err != nil {
		return err
	}
	l, err := h.stray(d.NIC) // on its way, or thrown out of a namespace that went
	if err != nil {
		return err
	}
	if l == nil || m == nil {
		if l == nil {
			if l, err = h.device(d.Parent); err != nil {
				return err
			}
		}
		if m, err = h.asItIs(l, d, v.container); err != nil {
			return err
		}
		if err := h.writeMoved(m); err != nil {
			return errs.New(errs.Unavailable, "note what %s is, to give it back so: %w", d.Parent, err)
		}
		if err := retry(func() error { return h.nl.LinkSetAlias(l, NICAlias+d.NIC) }); err != nil {
			return errors.Join(fmt.Errorf("mark %s: %w", d.Parent, err), h.forgetMoved(m))
		}
	}
	err = h.wire.apply(setting{index: l.Attrs().Index, netns: v.fd, name: d.Name})
	if errors.Is(err, unix.EINVAL) {
		err = errs.New(errs.Invalid, "device %s can't leave the host: %w", d.Parent, err)
	}
	if err != nil {
		back := h.restore(l, m)
		return errors.Join(fmt.Errorf("move %s in: %w", d.Parent, err), back)
	}
	return nil
}

// asItIs notes a device of the host. A port of a bridge or bond is refused: it
// would leave that too.
func (h *Host) asItIs(l netlink.Link, d *desired.Device, container string) (*moved, error) {
	a := l.Attrs()
	thrownOut := a.Alias == NICAlias+d.NIC
	if _, ours := owner(l); ours || strings.HasPrefix(a.Alias, NICAlias) && !thrownOut {
		return nil, errs.New(errs.Conflict, "device %s belongs to another NIC or network of Jackstay's", a.Name)
	}
	if a.MasterIndex != 0 {
		return nil, errs.New(errs.Conflict, "device %s is the port of a bridge or bond: take it off (ip link set %s nomaster), or put the NIC on that", a.Name, a.Name)
	}
	m := &moved{
		NIC: d.NIC, Container: container, Inside: d.Name,
		Name: a.Name, Alias: a.Alias, MAC: a.HardwareAddr.String(), MTU: a.MTU, Up: up(l),
	}
	if thrownOut { // of a namespace that went, after a file that is gone too: its name is what is known
		m.Name, m.Alias, m.Up = d.Parent, "", true
	}
	var addrs []netlink.Addr
	if err := retry(func() (err error) { addrs, err = h.nl.AddrList(l, netlink.FAMILY_ALL); return }); err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", a.Name, err)
	}
	for _, x := range addrs {
		if p, ok := toPrefix(x.IPNet); ok && !(p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()) {
			m.Addrs = append(m.Addrs, movedAddr{p, x.Label, x.Broadcast, x.Scope})
		}
	}
	var routes []netlink.Route
	filter := &netlink.Route{LinkIndex: a.Index}
	if err := retry(func() (err error) {
		routes, err = h.nl.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
		return
	}); err != nil {
		return nil, fmt.Errorf("list routes of %s: %w", a.Name, err)
	}
	for i := range routes {
		if r := &routes[i]; r.Protocol != unix.RTPROT_KERNEL && r.Protocol != unix.RTPROT_RA && r.Table != unix.RT_TABLE_LOCAL {
			m.Routes = append(m.Routes, noteRoute(r))
		}
	}
	return m, nil
}

func noteRoute(r *netlink.Route) movedRoute {
	out := movedRoute{
		V6: r.Family == netlink.FAMILY_V6, Metric: r.Priority, Table: r.Table,
		Scope: uint8(r.Scope), Protocol: int(r.Protocol), Flags: r.Flags & unix.RTNH_F_ONLINK,
	}
	out.Dst, _ = toPrefix(r.Dst)
	if via, ok := netip.AddrFromSlice(r.Gw); ok {
		out.Via = via.Unmap()
	}
	if src, ok := netip.AddrFromSlice(r.Src); ok {
		out.Src = src.Unmap()
	}
	return out
}

// stray finds the device of a NIC on the host, nil if it is not there.
func (h *Host) stray(nic string) (netlink.Link, error) {
	var links []netlink.Link
	if err := retry(func() (err error) { links, err = h.nl.LinkList(); return }); err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		if l.Attrs().Alias == NICAlias+nic {
			return l, nil
		}
	}
	return nil, nil
}

// giveBack moves a device out of the namespace of the netlink handle, unless it
// is on the host already, and makes it what it was.
func (h *Host) giveBack(in *netlink.Handle, m *moved) error {
	l, err := h.stray(m.NIC)
	if err != nil {
		return err
	}
	if l != nil {
		return h.restore(l, m)
	}
	back, err := h.isBack(m)
	if err != nil {
		return err
	}
	if in != nil {
		if l, err = movedInside(in, m, !back); err != nil {
			return err
		}
	}
	switch {
	case l != nil:
		if err := h.moveOut(in, l, m); err != nil {
			return err
		}
		if l, err = h.stray(m.NIC); err != nil {
			return err
		}
	case back:
		return h.forgetMoved(m)
	}
	if l == nil {
		h.log.Error("a device that was moved into a container is gone: it can't be given back", "device", m.Name, "container", m.Container)
		return h.forgetMoved(m)
	}
	return h.restore(l, m)
}

// isBack tells whether the device is on the host as it was, its alias too: a
// crash came before its note was deleted.
func (h *Host) isBack(m *moved) (bool, error) {
	l, err := find(h.nl, m.Name)
	if err != nil || l == nil {
		return false, err
	}
	return l.Attrs().Alias == m.Alias && l.Attrs().HardwareAddr.String() == m.MAC, nil
}

// movedInside finds the device by its alias, or, if the container changed that,
// by the name it was given inside. Another NIC's device is never taken for it.
func movedInside(in *netlink.Handle, m *moved, byName bool) (netlink.Link, error) {
	var links []netlink.Link
	if err := retry(func() (err error) { links, err = in.LinkList(); return }); err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var named netlink.Link
	for _, l := range links {
		switch a := l.Attrs(); {
		case a.Alias == NICAlias+m.NIC:
			return l, nil
		case byName && a.Name == m.Inside && !strings.HasPrefix(a.Alias, NICAlias):
			named = l
		}
	}
	return named, nil
}

// moveOut moves the device to the host under its old name. While another link
// has that, it comes under another and is given its own as soon as it can.
func (h *Host) moveOut(in *netlink.Handle, l netlink.Link, m *moved) error {
	if l.Attrs().Alias != NICAlias+m.NIC { // the container changed it
		if err := retry(func() error { return in.LinkSetAlias(l, NICAlias+m.NIC) }); err != nil {
			return fmt.Errorf("mark %s: %w", m.Name, err)
		}
	}
	sock, err := dial()
	if err != nil {
		return err
	}
	defer sock.close()
	s := setting{index: l.Attrs().Index, netns: h.home, name: m.Name}
	if err = sock.apply(s); errors.Is(err, unix.EEXIST) {
		s.name = "jx" + short(m.NIC)
		// Where the host has no link of its name inside, it has moved with that
		// before the kernel refused the other (net/core/rtnetlink.c: do_setlink).
		if err = sock.apply(s); errors.Is(err, unix.ENODEV) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("give %s back to the host: %w", m.Name, err)
	}
	return nil
}

// restore makes a device on the host what it was.
func (h *Host) restore(l netlink.Link, m *moved) error {
	s := setting{index: l.Attrs().Index, mtu: m.MTU}
	if l.Attrs().Name != m.Name {
		if err := retry(func() error { return h.nl.LinkSetName(l, m.Name) }); err != nil {
			return fmt.Errorf("give device %s its name %s back: if another link of the host has it, rename or delete that: %w", l.Attrs().Name, m.Name, err)
		}
	}
	if mac, err := parseMAC(m.MAC); err == nil && mac.String() != l.Attrs().HardwareAddr.String() {
		s.mac = mac
	}
	if err := h.wire.apply(s); err != nil {
		return fmt.Errorf("give %s its MTU %d and MAC %s back: %w", m.Name, m.MTU, m.MAC, err)
	}
	_ = ifThere(writeSysctl("net/ipv6/conf/"+m.Name+"/disable_ipv6", "0"))
	for _, x := range m.Addrs {
		if x.Broadcast == nil {
			x.Broadcast = net.IPv4zero // the library's word for none
		}
		a := &netlink.Addr{IPNet: toIPNet(x.Prefix), Label: x.Label, Broadcast: x.Broadcast, Scope: x.Scope}
		if err := retryAdd(func() error { return h.nl.AddrAdd(l, a) }); err != nil {
			return fmt.Errorf("give %s its address %s back: %w", m.Name, x.Prefix, err)
		}
	}
	if m.Up {
		if err := retry(func() error { return h.nl.LinkSetUp(l) }); err != nil {
			return fmt.Errorf("take %s up again: %w", m.Name, err)
		}
		for _, r := range m.Routes {
			if err := retryAdd(func() error { return h.nl.RouteAdd(r.route(l.Attrs().Index)) }); err != nil {
				h.log.Warn("a route of a device that is given back can't be made again", "device", m.Name, "route", destination(r.Dst), "error", err)
			}
		}
	}
	if err := retry(func() error { return h.nl.LinkSetAlias(l, m.Alias) }); err != nil {
		return fmt.Errorf("give %s its alias back: %w", m.Name, err)
	}
	return h.forgetMoved(m)
}

func (r movedRoute) route(index int) *netlink.Route {
	out := &netlink.Route{
		LinkIndex: index, Priority: r.Metric, Table: r.Table, Scope: netlink.Scope(r.Scope),
		Protocol: netlink.RouteProtocol(r.Protocol), Flags: r.Flags,
	}
	switch {
	case r.Dst.IsValid():
		out.Dst = toIPNet(r.Dst)
	default:
		out.Dst = defaultDst(desired.Route{V6: r.V6})
	}
	if r.Via.IsValid() {
		out.Gw = r.Via.AsSlice()
	}
	if r.Src.IsValid() {
		out.Src = r.Src.AsSlice()
	}
	return out
}

// movedInto lists the devices that are noted as moved into the container.
func (h *Host) movedInto(container string) (out []*moved, err error) {
	entries, err := os.ReadDir(h.movedDir(container))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("devices that were moved in: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".part") {
			continue
		}
		m, unread := h.readMoved(container, e.Name())
		if m != nil {
			out = append(out, m)
		}
		err = errors.Join(err, unread)
	}
	return out, err
}

// giveBackEach gives back these devices as far as it can.
func (h *Host) giveBackEach(in *netlink.Handle, list []*moved) error {
	var all error
	for _, m := range list {
		all = errors.Join(all, h.giveBack(in, m))
	}
	return all
}

// giveBackAll gives back every device that was moved into the container.
func (h *Host) giveBackAll(container string) error {
	list, unread := h.movedInto(container)
	if len(list) == 0 {
		return unread
	}
	err := netns.Do(h.dir.Path(container), func() error {
		in, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer in.Close()
		return h.giveBackEach(in, list)
	})
	if errors.Is(err, unix.ENOENT) { // the namespace is gone: what could fall out of it did
		err = h.giveBackEach(nil, list)
	}
	return errors.Join(unread, err)
}

// netNSFD is IFLA_NET_NS_FD.
func netNSFD(fd int) *nl.RtAttr { return nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(fd))) }
