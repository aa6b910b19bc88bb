//go:build linux

package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// mark ends the label of every IPv4 address that we put on a device which is
// not ours, as in `eth0:jk`: only what carries it is ever deleted. (Labels are
// shown by `ip addr` and as an interface of their own by ifconfig.) Those of IPv6
// have no labels, and another mark: addressProtocol.
const mark = ":jk"

// label is the mark for a device. The kernel takes IFNAMSIZ-1 characters.
func label(device string) string {
	return device[:min(len(device), unix.IFNAMSIZ-1-len(mark))] + mark
}

// Floating tells whether an IPv4 address is one that we put on a device not ours.
func Floating(a *netlink.Addr) bool { return strings.HasSuffix(a.Label, mark) }

// placed is which addresses we have on devices not ours: the watch tells by it
// that somebody else took one off.
type placed struct {
	mu  sync.Mutex
	set map[netip.Addr]struct{}
}

func (p *placed) put(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.set == nil {
		p.set = map[netip.Addr]struct{}{}
	}
	p.set[a] = struct{}{}
}

func (p *placed) drop(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.set, a)
}

func (p *placed) has(a netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.set[a]
	return ok
}

// EnsureAddress puts an address with its full length on a device of the host,
// under our mark, and announces it to the device's network, also when it is there
// already. One that is there without our mark is errs.Conflict.
func (h *Host) EnsureAddress(ctx context.Context, a desired.DeviceAddress) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer h.lock("device", a.Device)()
	l, err := h.device(a.Device)
	if err != nil {
		return err
	}
	there, ours, err := h.holder(l, a.Addr)
	if err != nil {
		return err
	}
	if there != nil && !ours {
		return errs.New(errs.Conflict, "%s has the address %s already, and not from Jackstay: take it off (ip addr del %s dev %s)",
			a.Device, a.Addr, there.IPNet, a.Device)
	}
	if there == nil {
		if err := h.putOn(l, a.Addr); err != nil {
			return fmt.Errorf("put address %s on %s: %w", a.Addr, a.Device, err)
		}
	}
	h.placed.put(a.Addr)
	h.announceOn(l, a.Addr)
	return nil
}

// DeleteAddress takes an address off a device if it carries our mark.
func (h *Host) DeleteAddress(_ context.Context, a desired.DeviceAddress) error {
	defer h.lock("device", a.Device)()
	h.placed.drop(a.Addr)
	l, err := find(h.nl, a.Device)
	if err != nil || l == nil {
		return err
	}
	there, ours, err := h.holder(l, a.Addr)
	if err != nil || there == nil || !ours {
		return err
	}
	if err := retryDelete(func() error { return h.nl.AddrDel(l, there) }); err != nil {
		return fmt.Errorf("take address %s off %s: %w", a.Addr, a.Device, err)
	}
	return nil
}

func (h *Host) device(name string) (netlink.Link, error) {
	l, err := find(h.nl, name)
	if err == nil && l == nil {
		err = errs.New(errs.Unavailable, "the host has no device %s", name)
	}
	return l, err
}

// putOn adds an address with our mark.
func (h *Host) putOn(l netlink.Link, addr netip.Addr) error {
	if addr.Is6() {
		return h.putOn6(l, addr)
	}
	add := address(netip.PrefixFrom(addr, 32))
	add.Label = label(l.Attrs().Name)
	return retryAdd(func() error { return h.nl.AddrAdd(l, add) })
}

// holder gives the device's entry for an address, nil if it has none, and
// whether it carries our mark.
func (h *Host) holder(l netlink.Link, addr netip.Addr) (there *netlink.Addr, ours bool, err error) {
	family := netlink.FAMILY_V4
	if addr.Is6() {
		family = netlink.FAMILY_V6
	}
	var list []netlink.Addr
	if err := retry(func() (err error) { list, err = h.nl.AddrList(l, family); return }); err != nil {
		return nil, false, fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
	}
	at := slices.IndexFunc(list, func(a netlink.Addr) bool { p, ok := toPrefix(a.IPNet); return ok && p.Addr() == addr })
	switch {
	case at < 0:
		return nil, false, nil
	case addr.Is4():
		return &list[at], Floating(&list[at]), nil
	}
	marked, err := floating6(h.wire)
	_, ours = marked[onDevice{l.Attrs().Index, addr}]
	return &list[at], ours, err
}

// announceOn tells the device's network at once who has the address. Devices
// without Ethernet addresses have nobody to tell.
func (h *Host) announceOn(l netlink.Link, addr netip.Addr) {
	mac := l.Attrs().HardwareAddr
	if len(mac) != 6 || l.Attrs().EncapType == "loopback" || !up(l) {
		return
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = send(announcement{fd, l.Attrs().Index, []frame{announcementOf(mac, addr, true)}})
	}
	if err != nil && !errors.Is(err, unix.ENETDOWN) {
		h.log.Warn("address not announced: neighbours may keep the old MAC address for a while", "address", addr, "device", l.Attrs().Name, "error", err)
	}
}

// floating gives the addresses with our mark, by device.
func (h *Host) floating(list []netlink.Addr, names map[int]string) (map[desired.DeviceAddress]struct{}, error) {
	out := map[desired.DeviceAddress]struct{}{}
	for i := range list {
		if p, ok := toPrefix(list[i].IPNet); ok && Floating(&list[i]) {
			out[desired.DeviceAddress{Device: names[list[i].LinkIndex], Addr: p.Addr()}] = struct{}{}
		}
	}
	marked, err := floating6(h.wire)
	for a := range marked {
		out[desired.DeviceAddress{Device: names[a.index], Addr: a.addr}] = struct{}{}
	}
	return out, err
}
