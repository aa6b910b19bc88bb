//go:build linux

package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// mark ends the label of every IPv4 address that we put on a device which is
// not ours, as in `eth0:jk`: only what carries it is ever deleted. (Labels are
// shown by `ip addr` and as an interface of their own by ifconfig.)
const mark = ":jk"

// label is the mark for a device. The kernel takes IFNAMSIZ-1 characters.
func label(device string) string {
	return device[:min(len(device), unix.IFNAMSIZ-1-len(mark))] + mark
}

// Floating tells whether an address is one that we put on a device not ours.
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

// EnsureAddress puts an IPv4 address with its full length on a device of the
// host, under our mark, and announces it by gratuitous ARP, also when it is
// there already. One that is there without our mark is errs.Conflict.
func (h *Host) EnsureAddress(ctx context.Context, a desired.DeviceAddress) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer h.lock("device", a.Device)()
	l, err := h.device(a.Device)
	if err != nil {
		return err
	}
	if !a.Addr.Is4() {
		return errs.New(errs.NotImplemented, "address %s: only IPv4 addresses are put on other devices", a.Addr)
	}
	there, err := h.holder(l, a.Addr)
	if err != nil {
		return err
	}
	if there != nil && !Floating(there) {
		return errs.New(errs.Conflict, "%s has the address %s already, and not from Jackstay: take it off (ip addr del %s dev %s)",
			a.Device, a.Addr, there.IPNet, a.Device)
	}
	if there == nil {
		add := address(netip.PrefixFrom(a.Addr, 32))
		add.Label = label(a.Device)
		if err := retryAdd(func() error { return h.nl.AddrAdd(l, add) }); err != nil {
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
	there, err := h.holder(l, a.Addr)
	if err != nil || there == nil || !Floating(there) {
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

// holder gives the device's entry for an address, nil if it has none.
func (h *Host) holder(l netlink.Link, addr netip.Addr) (*netlink.Addr, error) {
	var list []netlink.Addr
	if err := retry(func() (err error) { list, err = h.nl.AddrList(l, netlink.FAMILY_V4); return }); err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
	}
	for i, a := range list {
		if p, ok := toPrefix(a.IPNet); ok && p.Addr() == addr {
			return &list[i], nil
		}
	}
	return nil, nil
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
func floating(list []netlink.Addr, names map[int]string) map[desired.DeviceAddress]struct{} {
	out := map[desired.DeviceAddress]struct{}{}
	for i := range list {
		if p, ok := toPrefix(list[i].IPNet); ok && Floating(&list[i]) {
			out[desired.DeviceAddress{Device: names[list[i].LinkIndex], Addr: p.Addr()}] = struct{}{}
		}
	}
	return out
}
