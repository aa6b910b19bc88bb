//go:build linux

package hostinfo

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/link"
)

// Addresses gives every address that is somebody's already, as far as the host
// knows, with whose it is: its own, but for floating IPs of ours, and those of
// the routers it sends to.
func (h *Host) Addresses(ctx context.Context) (map[netip.Addr]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := map[netip.Addr]string{}
	add := func(ip net.IP, whose string) {
		if a, ok := netip.AddrFromSlice(ip); ok {
			out[a.Unmap()] = whose
		}
	}
	routes, err := h.routes()
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		add(r.Gw, "a router of the host's")
		for _, hop := range r.MultiPath {
			add(hop.Gw, "a router of the host's")
		}
	}
	var addrs []netlink.Addr
	if err := again(func() (err error) { addrs, err = h.nl.AddrList(nil, netlink.FAMILY_ALL); return }); err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	floating6, err := link.Floating6()
	if err != nil {
		return nil, err
	}
	for i := range addrs {
		a, _ := netip.AddrFromSlice(addrs[i].IP)
		if _, ours := floating6[a]; !ours && !link.Floating(&addrs[i]) {
			add(addrs[i].IP, "the host's own")
		}
	}
	return out, nil
}

// Device says whether floating IPs can be put on the link of that name:
// errs.NotFound without one, errs.Invalid for one of our own.
func (h *Host) Device(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var l netlink.Link
	err := again(func() (err error) { l, err = h.nl.LinkByName(name); return })
	if _, missing := err.(netlink.LinkNotFoundError); missing {
		return errs.New(errs.NotFound, "the host has no device %s: `ip link` lists those it has", name)
	}
	if err != nil {
		return fmt.Errorf("look up device %s: %w", name, err)
	}
	if strings.HasPrefix(l.Attrs().Alias, link.Alias) {
		return errs.New(errs.Invalid, "device %s is Jackstay's own: give the one by which clients reach this host", name)
	}
	return nil
}
