//go:build linux

package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/kernel/netns"
)

// Observe lists what of ours is on the host: bridges, host ends, namespaces.
func (h *Host) Observe(ctx context.Context) (desired.Observed, error) {
	out := desired.Observed{
		Bridges: map[string]desired.Bridge{}, HostEnds: map[string]desired.HostEnd{}, Namespaces: map[string]struct{}{},
	}
	if err := ctx.Err(); err != nil {
		return out, err
	}
	names, err := h.dir.List()
	if err != nil {
		return out, err
	}
	for _, n := range names {
		out.Namespaces[n] = struct{}{}
	}
	var links []netlink.Link
	if err := retry(func() (err error) { links, err = h.nl.LinkList(); return }); err != nil {
		return out, fmt.Errorf("list links: %w", err)
	}
	list, err := addrList(h.nl)
	if err != nil {
		return out, err
	}
	addrs := addrsByIndex(list)
	byIndex, index := map[int]string{}, map[string]int{}
	for _, l := range links {
		byIndex[l.Attrs().Index], index[l.Attrs().Name] = l.Attrs().Name, l.Attrs().Index
	}
	out.Uprooted = h.parents.changed(index)
	if out.Addresses, err = h.floating(list, byIndex); err != nil {
		return out, err
	}
	for a := range out.Addresses {
		h.placed.put(a.Addr)
	}
	seen, lost := map[string]shape{}, orphans(links)
	for _, l := range links {
		id, ours := owner(l)
		if !ours {
			continue
		}
		a, s := l.Attrs(), linkShape(l)
		switch l.Type() {
		case "bridge", "openvswitch":
			s.mac, s.addrs = a.HardwareAddr.String(), addrText(addrs[a.Index])
			out.Bridges[a.Name] = observedBridge(l, id, addrs[a.Index])
		case "veth":
			was, _, _ := h.known.get(a.Name)
			s.rates = was.rates
			out.HostEnds[a.Name] = desired.HostEnd{
				Endpoint: id, Bridge: byIndex[a.MasterIndex], Up: up(l), Altered: h.ratesDiffer(l, was.rates),
			}
		case "ifb":
			if _, alone := lost[a.Name]; alone {
				out.HostEnds[a.Name] = desired.HostEnd{Endpoint: id}
			}
		default:
			continue
		}
		seen[a.Name] = s
	}
	h.known.replace(seen)
	return out, nil
}

// observedBridge tells a bridge as it works: one that somebody took down, or
// whose packets the host was told not to forward, has no address in effect.
func observedBridge(l netlink.Link, network string, addrs []netip.Prefix) desired.Bridge {
	a := l.Attrs()
	if PlainBridge(l) {
		return desired.Bridge{Name: a.Name, Network: network, MAC: a.HardwareAddr.String(), MTU: a.MTU, Plain: up(l), OVS: l.Type() == "openvswitch"}
	}
	if !up(l) || !forwards(a.Name) || hasIPv6(addrs) && !forwards6() {
		addrs = nil
	}
	localnet, _ := getSysctl("net/ipv4/conf/" + a.Name + "/route_localnet")
	ownARP, _ := getSysctl("net/ipv4/conf/" + a.Name + "/arp_ignore")
	return desired.Bridge{
		Name: a.Name, Network: network, MAC: a.HardwareAddr.String(), Addrs: sorted(addrs),
		MTU: a.MTU, RouteLocalnet: localnet == "1", OwnARP: ownARP == "1",
	}
}

func addrList(h *netlink.Handle) (list []netlink.Addr, err error) {
	if err := retry(func() (err error) { list, err = h.AddrList(nil, netlink.FAMILY_ALL); return }); err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return list, nil
}

func addrsByIndex(list []netlink.Addr) map[int][]netip.Prefix {
	out := map[int][]netip.Prefix{}
	for _, a := range list {
		if p, ok := toPrefix(a.IPNet); ok && !(p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()) {
			out[a.LinkIndex] = append(out[a.LinkIndex], p)
		}
	}
	return out
}

// ObserveSandbox looks into a namespace: whether everything of the wanted
// sandbox is there and as wanted. Interfaces, addresses and routes it does not
// know are the container's own and left alone.
func (h *Host) ObserveSandbox(ctx context.Context, want *desired.Sandbox) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	defer h.lock("sandbox", want.Container)()
	intact := false
	fd, err := netns.Open(h.dir.Path(want.Container))
	if errors.Is(err, unix.ENOENT) {
		return false, nil // no namespace
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	err = netns.DoFD(fd, func() error {
		in, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer in.Close()
		v := &visit{host: h, in: in, fd: fd, container: want.Container}
		defer v.close()
		intact, err = v.intact(want)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("look at the network of container %s: %w", short(want.Container), err)
	}
	return intact, nil
}

func (v *visit) intact(want *desired.Sandbox) (bool, error) {
	index := map[string]int{}
	for n := range want.Interfaces {
		i := &want.Interfaces[n]
		inner, err := find(v.in, i.Name)
		if err != nil || inner == nil {
			return false, err
		}
		index[i.Name] = inner.Attrs().Index
		if ok, err := v.interfaceIntact(i, inner); err != nil || !ok {
			return false, err
		}
	}
	for n := range want.Devices {
		d := &want.Devices[n]
		l, err := find(v.in, d.Name)
		if err != nil || l == nil {
			return false, err
		}
		index[d.Name] = l.Attrs().Index
		if ok, err := v.deviceIntact(d, l); err != nil || !ok {
			return false, err
		}
	}
	if have, _, err := v.devices(); err != nil || len(have) != len(want.Devices) {
		return false, err
	}
	if owed, err := v.unwanted(want); err != nil || len(owed) > 0 {
		return false, err
	}
	if ok, err := v.rulesIntact(want); err != nil || !ok || !v.tcIntact(want) {
		return false, err
	}
	routes, err := listRoutes(v.in, want.Routes)
	if err != nil {
		return false, err
	}
	for _, r := range want.Routes {
		at, ours := index[r.Dev]
		if !ours {
			at, _ = v.other(r.Dev)
		}
		if !slices.ContainsFunc(routes, func(k netlink.Route) bool { return serves(&k, r, at) }) {
			return false, nil
		}
	}
	return true, nil
}

func (v *visit) interfaceIntact(i *desired.Interface, inner netlink.Link) (bool, error) {
	outer, err := find(v.host.nl, i.Host)
	if err != nil || outer == nil {
		return false, err
	}
	master, err := find(v.host.nl, i.Bridge)
	if err != nil || master == nil {
		return false, err
	}
	mac, err := parseMAC(i.MAC)
	if err != nil {
		return false, err
	}
	o, a := outer.Attrs(), inner.Attrs()
	if !paired(outer, inner) || o.Alias != Alias+i.Endpoint || !i.OVS && o.MasterIndex != master.Attrs().Index ||
		!up(outer) || !up(inner) || mac != nil && mac.String() != a.HardwareAddr.String() ||
		i.MTU != 0 && i.MTU != a.MTU {
		return false, nil
	}
	if ok, err := v.addrsThere(inner, i.Addrs); err != nil || !ok {
		return false, err
	}
	return v.ratesIntact(i, outer)
}

// addrsOf gives the addresses an interface had when the visit first asked for
// any: one dump of the kernel's serves all interfaces.
func (v *visit) addrsOf(l netlink.Link) ([]netip.Prefix, error) {
	if v.addrs == nil {
		list, err := addrList(v.in)
		if err != nil {
			return nil, err
		}
		v.addrs = addrsByIndex(list)
	}
	return v.addrs[l.Attrs().Index], nil
}

// addrsThere tells whether an interface has these addresses, among others perhaps.
func (v *visit) addrsThere(l netlink.Link, want []netip.Prefix) (bool, error) {
	have, err := v.addrsOf(l)
	if err != nil {
		return false, err
	}
	for _, p := range want {
		if !slices.Contains(have, p) {
			return false, nil
		}
	}
	return true, nil
}

// ratesIntact looks at the limits of a host end, and has the watch keep them
// in sight from then on.
func (v *visit) ratesIntact(i *desired.Interface, outer netlink.Link) (bool, error) {
	want := hostBuckets(i, cmp.Or(i.MTU, outer.Attrs().MTU))
	have, err := v.host.shaper().buckets(outer, i.Endpoint)
	if err != nil || have != want {
		return false, err
	}
	v.host.known.limit(i.Host, want)
	return true, nil
}
