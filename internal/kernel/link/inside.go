//go:build linux

package link

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// routeProtocol marks the routes we make inside a container (rtnetlink(7),
// rtm_protocol: values from 4 up are free for programs), so that they are told
// from the container's own.
const routeProtocol netlink.RouteProtocol = 74

// setInner gives the container's end its MAC, MTU and addresses, and takes it
// up. A fresh one came with the first two.
func (v *visit) setInner(i *desired.Interface, inner netlink.Link, mac net.HardwareAddr, fresh bool) error {
	if fresh || hasIPv6(i.Addrs) {
		// As Docker does: no IPv6 on an interface without an IPv6 address, for a
		// link-local one would let containers reach each other past the plan.
		if err := ensureIPv6(i.Name, i.Addrs); err != nil {
			return err
		}
	}
	var have []netip.Prefix
	if !fresh {
		var err error
		if have, err = v.addrsOf(inner); err != nil {
			return err
		}
		if err := v.correctInner(i, inner, mac); err != nil {
			return err
		}
	}
	if i.Leased && !fresh {
		if err := v.dropLeased(i, inner); err != nil {
			return err
		}
	}
	var added []netip.Prefix
	for n, p := range i.Addrs {
		if slices.Contains(have, p) {
			continue
		}
		a := address(p)
		if p.Addr().Is6() && slices.ContainsFunc(i.Addrs[:n], sameSubnet(p)) {
			// As IPv4's second address of a subnet: connections are not opened from it.
			a.ValidLft, a.PreferedLft = math.MaxUint32, 0
		}
		if i.Leased {
			a.Label = label(i.Name)
		}
		if err := retryAdd(func() error { return v.in.AddrAdd(inner, a) }); err != nil {
			return fmt.Errorf("add address %s: %w", p, err)
		}
		added = append(added, p)
	}
	if !fresh { // a fresh one is announced when all of it is there
		if mac == nil {
			mac = inner.Attrs().HardwareAddr
		}
		v.announce(inner, added, mac)
	}
	if !up(inner) {
		if err := retry(func() error { return v.in.LinkSetUp(inner) }); err != nil {
			return fmt.Errorf("take up: %w", err)
		}
	}
	return nil
}

func sameSubnet(as netip.Prefix) func(netip.Prefix) bool {
	return func(p netip.Prefix) bool { return p.Masked() == as.Masked() }
}

func (v *visit) correctInner(i *desired.Interface, inner netlink.Link, mac net.HardwareAddr) error {
	a := inner.Attrs()
	if mac != nil && a.HardwareAddr.String() != mac.String() {
		if err := retry(func() error { return v.in.LinkSetHardwareAddr(inner, mac) }); err != nil {
			return fmt.Errorf("set MAC address %s: %w", mac, err)
		}
	}
	if i.MTU != 0 && a.MTU != i.MTU {
		if err := retry(func() error { return v.in.LinkSetMTU(inner, i.MTU) }); err != nil {
			return fmt.Errorf("set MTU %d: %w", i.MTU, err)
		}
	}
	return nil
}

// dropLeased takes off addresses of leases that are over. They carry our mark;
// what the container added for itself does not.
func (v *visit) dropLeased(i *desired.Interface, inner netlink.Link) error {
	var list []netlink.Addr
	if err := retry(func() (err error) { list, err = v.in.AddrList(inner, netlink.FAMILY_V4); return }); err != nil {
		return fmt.Errorf("list addresses of %s: %w", i.Name, err)
	}
	for n := range list {
		if p, ok := toPrefix(list[n].IPNet); !ok || !Floating(&list[n]) || slices.Contains(i.Addrs, p) {
			continue
		}
		if err := retryDelete(func() error { return v.in.AddrDel(inner, &list[n]) }); err != nil {
			return fmt.Errorf("take off address %s: %w", list[n].IPNet, err)
		}
	}
	return nil
}

func hasIPv6(addrs []netip.Prefix) bool {
	return slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

// ensureIPv6 turns IPv6 on for an interface that has an IPv6 address among
// addrs, and off for any other; a kernel without IPv6 has nothing to turn off.
// Its link-local address can be used at once too: without one the host asks for
// no neighbour on whose behalf it forwards (ndisc_send_ns in net/ipv6/ndisc.c),
// and duplicate address detection takes a second.
func ensureIPv6(name string, addrs []netip.Prefix) error {
	if hasIPv6(addrs) {
		if err := ifThere(writeSysctl("net/ipv6/conf/"+name+"/accept_dad", "0")); err != nil {
			return err
		}
	}
	err := writeSysctl("net/ipv6/conf/"+name+"/disable_ipv6", bit(!hasIPv6(addrs)))
	if hasIPv6(addrs) && errors.Is(err, os.ErrNotExist) {
		return errs.New(errs.Unavailable, "%s has an IPv6 address, and this kernel has no IPv6 (ipv6.disable=1?)", name)
	}
	return ifThere(err)
}

// ifThere takes the error of a setting that this kernel may lack.
func ifThere(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// ensureRoutes adds what is missing, and takes away routes of ours that are not
// wanted any more. A route that the container made itself to the same
// destination wins: inside, it decides.
func (v *visit) ensureRoutes(s *desired.Sandbox) error {
	var have []netlink.Route
	if v.found || len(s.Interfaces)+len(s.Devices) == 0 {
		var err error
		if have, err = listRoutes(v.in, s.Routes); err != nil {
			return err
		}
	}
	for n := range have {
		if r := &have[n]; r.Protocol == routeProtocol && !wantedRoute(r, s.Routes, v.index) {
			if err := retryDelete(func() error { return v.in.RouteDel(r) }); err != nil {
				return fmt.Errorf("delete route %s: %w", r, err)
			}
		}
	}
	for _, r := range s.Routes {
		index, ok := v.index[r.Dev]
		if !ok && r.Asked {
			index, ok = v.other(r.Dev)
		}
		if !ok {
			return errs.New(errs.Invalid, "route to %s: the container has no interface %s", destination(r.Dst), r.Dev)
		}
		if slices.ContainsFunc(have, func(k netlink.Route) bool { return serves(&k, r, index) }) {
			continue
		}
		if err := v.addRoute(r, index); err != nil {
			return err
		}
	}
	return nil
}

// other gives the index of an interface that is not ours, such as lo; 0 without
// a name: the kernel finds the interface.
func (v *visit) other(name string) (index int, ok bool) {
	if name == "" {
		return 0, true
	}
	l, err := find(v.in, name)
	if err != nil || l == nil {
		return 0, false
	}
	return l.Attrs().Index, true
}

func (v *visit) addRoute(r desired.Route, index int) error {
	k := &netlink.Route{LinkIndex: index, Protocol: routeProtocol, Priority: r.Metric, Table: r.Table, MTU: r.MTU, Type: routeType(r.Type)}
	if r.Dst.IsValid() {
		k.Dst = toIPNet(r.Dst.Masked())
	} else {
		k.Dst = defaultDst(r)
	}
	switch {
	case r.Via.IsValid():
		k.Gw = r.Via.AsSlice()
	case r.Type == "":
		k.Scope = unix.RT_SCOPE_LINK
	}
	if r.Src.IsValid() {
		k.Src = r.Src.AsSlice()
	}
	if r.OnLink {
		k.Flags |= unix.RTNH_F_ONLINK
	}
	add := v.in.RouteAdd
	if r.Asked {
		add = v.in.RouteReplace
	}
	err := retryAdd(func() error { return add(k) })
	if errors.Is(err, unix.ENETUNREACH) {
		return errs.New(errs.Invalid, "route to %s: the gateway %s is not in a subnet of %s", destination(r.Dst), r.Via, r.Dev)
	}
	if err != nil {
		return fmt.Errorf("add route to %s via %s: %w", destination(r.Dst), r.Via, err)
	}
	return nil
}

// listRoutes gives the routes that are of ours or in the
// place of a wanted one. A container may have made a million others.
func listRoutes(h *netlink.Handle, want []desired.Route) ([]netlink.Route, error) {
	var list []netlink.Route
	err := retry(func() error {
		list = nil
		all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC, Type: unix.RTN_UNSPEC}
		return h.RouteListFilteredIter(netlink.FAMILY_ALL, all, netlink.RT_FILTER_TABLE, func(k netlink.Route) bool {
			if k.Protocol == routeProtocol || slices.ContainsFunc(want, func(r desired.Route) bool { return sameDst(&k, r) }) {
				list = append(list, k)
			}
			return true
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return list, nil
}

// serves tells whether a route of the kernel is the wanted one, or one of the
// container's own in its place.
func serves(k *netlink.Route, want desired.Route, index int) bool {
	if !sameDst(k, want) {
		return false
	}
	return k.Protocol != routeProtocol && !want.Asked || sameRoute(k, want, index)
}

func sameRoute(k *netlink.Route, want desired.Route, index int) bool {
	via, _ := netip.AddrFromSlice(k.Gw)
	src, _ := netip.AddrFromSlice(k.Src)
	return sameDst(k, want) && (k.LinkIndex == index || want.Dev == "") && via.Unmap() == want.Via &&
		src.Unmap() == want.Src && k.MTU == want.MTU && k.Type == routeType(want.Type)
}

// routeType is the kernel's number for a kind of route.
func routeType(name string) int {
	switch name {
	case "blackhole":
		return unix.RTN_BLACKHOLE
	case "unreachable":
		return unix.RTN_UNREACHABLE
	case "prohibit":
		return unix.RTN_PROHIBIT
	}
	return unix.RTN_UNICAST
}

// sameMetric: IPv6 routes without one get IP6_RT_PRIO_USER (linux/ipv6_route.h).
// A route of ours that nobody asked for is served by one of any metric.
func sameMetric(k *netlink.Route, want desired.Route) bool {
	if !want.Asked && want.Metric == 0 && k.Protocol != routeProtocol {
		return true
	}
	return k.Priority == want.Metric || want.Metric == 0 && k.Family == netlink.FAMILY_V6 && k.Priority == 1024
}

func tableOf(r desired.Route) int {
	if r.Table == 0 {
		return unix.RT_TABLE_MAIN
	}
	return r.Table
}

func sameDst(k *netlink.Route, want desired.Route) bool {
	if k.Table != tableOf(want) || !sameMetric(k, want) {
		return false
	}
	dst, ok := toPrefix(k.Dst)
	v6 := k.Family == netlink.FAMILY_V6
	if !ok || dst.Bits() == 0 { // the default route
		return v6 == wantsV6(want) && (!want.Dst.IsValid() || want.Dst.Bits() == 0)
	}
	return want.Dst.IsValid() && dst == want.Dst.Masked()
}

func wantsV6(r desired.Route) bool {
	if r.Dst.IsValid() {
		return r.Dst.Addr().Is6()
	}
	return r.V6 || r.Via.Is6()
}

func wantedRoute(k *netlink.Route, routes []desired.Route, index map[string]int) bool {
	return slices.ContainsFunc(routes, func(r desired.Route) bool {
		i, ours := index[r.Dev]
		return sameRoute(k, r, i) || !ours && r.Asked && sameRoute(k, r, k.LinkIndex)
	})
}

func defaultDst(r desired.Route) *net.IPNet {
	if wantsV6(r) {
		return &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	return &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
}

func destination(dst netip.Prefix) string {
	if !dst.IsValid() {
		return "default"
	}
	return dst.String()
}

// explainFull puts the kernel's EXFULL, "exchange full", into words
// (net/bridge/br_if.c: find_portno, BR_MAX_PORTS).
func explainFull(err error, i *desired.Interface) error {
	if errors.Is(err, unix.EXFULL) {
		return errs.New(errs.Unavailable,
			"network bridge %s is full: Linux allows 1,024 ports on a bridge; put further containers on another network", i.Bridge)
	}
	if err != nil {
		return fmt.Errorf("put %s on network bridge %s: %w", i.Host, i.Bridge, err)
	}
	return nil
}
