//go:build linux

package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/kernel/link"
)

// Host tells about the machine whose network namespace the caller is in.
type Host struct {
	nl          *netlink.Handle
	limitsRates atomic.Bool // the kernel has all that CanLimitRates looks for
}

// New opens the host.
func New() (*Host, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &Host{nl: nl}, nil
}

// Close lets go of the sockets.
func (h *Host) Close() { h.nl.Close() }

// ForeignLink tells whether the host has a link of that name that isn't ours.
func (h *Host) ForeignLink(_ context.Context, name string) (bool, error) {
	l, err := h.nl.LinkByName(name)
	if absent := (netlink.LinkNotFoundError{}); errors.As(err, &absent) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return !strings.HasPrefix(l.Attrs().Alias, link.Alias), nil
}

// Routes gives every prefix the host has a route or an address for, sorted,
// except what would forbid every subnet or is our own doing: default routes
// (0.0.0.0/1 and 128.0.0.0/1, by which VPNs say default, too), loopback,
// link-local and multicast prefixes, and all that leads over our own bridges.
func (h *Host) Routes(ctx context.Context) ([]netip.Prefix, error) {
	found, err := h.RouteDevices(ctx)
	return slices.SortedFunc(maps.Keys(found), netip.Prefix.Compare), err
}

// RouteDevices is Routes with the device by which the host reaches each; empty
// where there is none, as for an unreachable one.
func (h *Host) RouteDevices(ctx context.Context) (map[netip.Prefix]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	names, ours, err := h.devices()
	if err != nil {
		return nil, err
	}
	found := map[netip.Prefix]string{}
	add := func(index int, n *net.IPNet) {
		if p, ok := prefix(n); ok && !ours[index] && counts(p) && found[p] == "" {
			found[p] = names[index]
		}
	}
	routes, err := h.routes()
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		add(r.LinkIndex, r.Dst)
		for _, hop := range r.MultiPath {
			add(hop.LinkIndex, r.Dst)
		}
	}
	var addrs []netlink.Addr
	if err := again(func() (err error) { addrs, err = h.nl.AddrList(nil, netlink.FAMILY_ALL); return }); err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		add(a.LinkIndex, a.IPNet)
	}
	return found, nil
}

// devices gives the names of the host's links, and which of them are ours.
func (h *Host) devices() (names map[int]string, ours map[int]bool, err error) {
	var links []netlink.Link
	if err := again(func() (err error) { links, err = h.nl.LinkList(); return }); err != nil {
		return nil, nil, fmt.Errorf("list links: %w", err)
	}
	names, ours = map[int]string{}, map[int]bool{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		if strings.HasPrefix(l.Attrs().Alias, link.Alias) {
			ours[l.Attrs().Index] = true
		}
	}
	return names, ours, nil
}

// routes gives all tables but the local one, which repeats the addresses.
// Policy routing and VPNs keep theirs in tables of their own.
func (h *Host) routes() ([]netlink.Route, error) {
	var all []netlink.Route
	filter := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	err := again(func() (err error) {
		all, err = h.nl.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_TABLE)
		return
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return slices.DeleteFunc(all, func(r netlink.Route) bool { return r.Table == unix.RT_TABLE_LOCAL }), nil
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false // a default route
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits).Masked(), ok
}

func counts(p netip.Prefix) bool {
	a := p.Addr()
	return p.Bits() > 1 && !a.IsLoopback() && !a.IsMulticast() && !(a.Is6() && a.IsLinkLocalUnicast())
}

// again repeats a dump that changes interrupted, a bounded number of times.
func again(fn func() error) error {
	var err error
	for range 20 {
		if err = fn(); !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return err
}
