//go:build linux

package link

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// EnsureBridge makes the bridge or corrects it: up, alias, MAC, MTU, exactly
// these addresses, spanning tree off with no forward delay, so that a new port
// forwards at once. IP forwarding is turned on for the host, that of IPv6 by the
// first bridge which has it, its redirects off
// where the bridge wants none, and nothing else of its settings is touched. A link of that name that is not ours is
// errs.Conflict. Host ends whose bridge was made anew are put back on it by
// EnsureSandbox.
func (h *Host) EnsureBridge(ctx context.Context, b *desired.Bridge) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer h.lock("bridge", b.Name)()
	defer h.known.begin(b.Name)()
	ensure := h.ensureBridge
	if b.Plain {
		ensure = h.ensurePlain
	}
	if err := ensure(b); err != nil {
		return fmt.Errorf("network bridge %s: %w", b.Name, err)
	}
	return nil
}

func (h *Host) ensureBridge(b *desired.Bridge) error {
	mac, err := parseMAC(b.MAC)
	if err != nil {
		return errs.Wrap(errs.Invalid, err)
	}
	l, err := h.bridgeLink(b, mac)
	if err != nil {
		return err
	}
	if err := ensureForwarding(b.Name); err != nil {
		return err
	}
	if err := bridgeIPv6(b); err != nil {
		return err
	}
	if s := correction(l, b, mac); s != nil {
		if err := h.wire.apply(*s); err != nil {
			return fmt.Errorf("set: %w", err)
		}
	}
	if err := setSysctl("net/ipv4/conf/"+b.Name+"/route_localnet", bit(b.RouteLocalnet)); err != nil {
		return err
	}
	if err := setSysctl("net/ipv4/conf/"+b.Name+"/arp_ignore", bit(b.OwnARP)); err != nil {
		return err
	}
	if b.NoRedirects {
		if err := noRedirects(b.Name); err != nil {
			return err
		}
	}
	if err := h.exactAddrs(l, b.Addrs); err != nil {
		return err
	}
	l, err = find(h.nl, b.Name)
	if err != nil || l == nil {
		return fmt.Errorf("vanished while it was made: %w", err)
	}
	seen, err := h.bridgeShape(l)
	if err == nil {
		h.known.remember(b.Name, seen, "")
	}
	return err
}

// bridgeIPv6 keeps the host from speaking IPv6 on a bridge without an IPv6
// address: over its link-local one, containers would reach the host past the
// plan. And the host never takes a router advertisement from a container, which
// would lead the host's own traffic there (CVE-2020-13401).
func bridgeIPv6(b *desired.Bridge) error {
	if err := ensureIPv6(b.Name, b.Addrs); err != nil {
		return err
	}
	if err := ifThere(writeSysctl("net/ipv6/conf/"+b.Name+"/accept_ra", "0")); err != nil || !hasIPv6(b.Addrs) {
		return err
	}
	return ensureForwarding6()
}

// bridgeLink finds the bridge or makes it.
func (h *Host) bridgeLink(b *desired.Bridge, mac net.HardwareAddr) (netlink.Link, error) {
	for range 2 {
		l, err := find(h.nl, b.Name)
		if err != nil {
			return nil, err
		}
		if l != nil {
			return l, ownBridge(l, b)
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr, attrs.MTU, attrs.Alias = b.Name, mac, b.MTU, Alias+b.Network
		if err := retryAdd(func() error { return h.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}) }); err != nil {
			return nil, fmt.Errorf("make: %w", err)
		}
		// The kernel takes no alias while it makes a link: at once after.
		if l, err = find(h.nl, b.Name); err == nil && l != nil && l.Attrs().Alias == "" {
			if err := h.wire.apply(setting{index: l.Attrs().Index, alias: attrs.Alias}); err != nil {
				return nil, fmt.Errorf("set alias: %w", err)
			}
		}
	}
	return nil, errs.New(errs.Unavailable, "it is made and gone again: another program deletes it")
}

// ownBridge refuses a link that is not this network's bridge. One that bears
// the name by which ours are known but no alias yet is ours: a crash came
// between making it and naming its owner.
func ownBridge(l netlink.Link, b *desired.Bridge) error {
	id, ours := owner(l)
	half := l.Attrs().Alias == "" && (halfMadeBridge(l.Attrs().Name, b.Network) || halfMadePlain(l, b))
	_, isBridge := l.(*netlink.Bridge)
	switch {
	case (isBridge || b.OVS) && (ours && id == b.Network || half):
		return nil
	case ours:
		return errs.New(errs.Conflict, "the name is taken by a link of %s%s", Alias, id)
	}
	return errs.New(errs.Conflict,
		"the host has a %s named %s which is not Jackstay's: give the network another bridge name, or that link another",
		l.Type(), l.Attrs().Name)
}

// halfMadePlain tells a plain bridge by the MAC it was made with.
func halfMadePlain(l netlink.Link, b *desired.Bridge) bool {
	return b.Plain && (b.OVS || l.Attrs().HardwareAddr.String() == b.MAC)
}

func halfMadeBridge(name, network string) bool {
	return name == "jackstay0" || len(network) >= 12 && name == "jk-"+network[:12]
}

// correction is what must be set on the bridge, nil if it is as wanted.
func correction(l netlink.Link, b *desired.Bridge, mac net.HardwareAddr) *setting {
	a := l.Attrs()
	s := setting{index: a.Index, up: true}
	same := up(l)
	if a.Alias != Alias+b.Network {
		s.alias, same = Alias+b.Network, false
	}
	if mac != nil && a.HardwareAddr.String() != mac.String() {
		s.mac, same = mac, false
	}
	if b.MTU != 0 && a.MTU != b.MTU {
		s.mtu, same = b.MTU, false
	}
	if same {
		return nil
	}
	s.bridge = []*nl.RtAttr{
		nl.NewRtAttr(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(0)),
		nl.NewRtAttr(nl.IFLA_BR_FORWARD_DELAY, nl.Uint32Attr(0)),
	}
	return &s
}

// exactAddrs gives the link these addresses and no others; the link-local ones
// the kernel makes stay. Others go first: deleting a primary address takes the
// secondary ones of its subnet along, which are then added again.
func (h *Host) exactAddrs(l netlink.Link, want []netip.Prefix) error {
	have, err := addrsOf(h.nl, l)
	if err != nil {
		return err
	}
	for _, p := range have {
		if !slices.Contains(want, p) {
			if err := retryDelete(func() error { return h.nl.AddrDel(l, address(p)) }); err != nil {
				return fmt.Errorf("delete address %s: %w", p, err)
			}
		}
	}
	if slices.Equal(sorted(have), sorted(want)) {
		return nil
	}
	for _, p := range want {
		if err := retryAdd(func() error { return h.nl.AddrAdd(l, address(p)) }); err != nil {
			return fmt.Errorf("add address %s: %w", p, err)
		}
	}
	return nil
}

// DeleteBridge deletes the bridge of that name if it is ours. Its ports lose
// their master and nothing else.
func (h *Host) DeleteBridge(_ context.Context, name string) error {
	defer h.lock("bridge", name)()
	l, err := find(h.nl, name)
	if err != nil || l == nil {
		h.known.forget(name)
		return err
	}
	if _, ours := owner(l); !ours {
		return errs.New(errs.Conflict, "network bridge %s: not deleted, for it is not Jackstay's", name)
	}
	h.known.forget(name)
	if _, linux := l.(*netlink.Bridge); !linux {
		_, err := ovs("--if-exists", "del-br", name)
		return err
	}
	if err := deleteLink(l); err != nil {
		return fmt.Errorf("delete network bridge %s: %w", name, err)
	}
	return nil
}

// bridgeShape is what the watch compares a bridge with.
func (h *Host) bridgeShape(l netlink.Link) (shape, error) {
	addrs, err := addrsOf(h.nl, l)
	if err != nil {
		return shape{}, err
	}
	s := linkShape(l)
	s.mac, s.addrs = l.Attrs().HardwareAddr.String(), addrText(addrs)
	return s, nil
}

func linkShape(l netlink.Link) shape {
	a := l.Attrs()
	return shape{index: a.Index, alias: a.Alias, master: a.MasterIndex, up: up(l)}
}

func addrText(addrs []netip.Prefix) string {
	var parts []string
	for _, p := range sorted(addrs) {
		parts = append(parts, p.String())
	}
	return strings.Join(parts, " ")
}

// addrsOf gives the addresses of a link without IPv6 link-local ones.
func addrsOf(h *netlink.Handle, l netlink.Link) ([]netip.Prefix, error) {
	var list []netlink.Addr
	err := retry(func() (err error) { list, err = h.AddrList(l, netlink.FAMILY_ALL); return })
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
	}
	var out []netip.Prefix
	for _, a := range list {
		if p, ok := toPrefix(a.IPNet); ok && !(p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()) {
			out = append(out, p)
		}
	}
	return out, nil
}

// address is an address as the kernel takes it. Duplicate address detection is
// left out for IPv6: we hand addresses out ourselves, and it would keep the
// container from using its own for a second.
func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: toIPNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func toPrefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits), ok
}

func sorted(ps []netip.Prefix) []netip.Prefix {
	out := slices.Clone(ps)
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
