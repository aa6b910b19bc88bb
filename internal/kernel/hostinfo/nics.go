//go:build linux

package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/link"
	"github.com/jackstay/jackstay/internal/kernel/netns"
	"github.com/jackstay/jackstay/internal/model"
)

// Link tells of a link of the host's; nil: there is none of that name.
func (h *Host) Link(ctx context.Context, name string) (*model.HostLink, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l, err := h.find(name)
	if err != nil || l == nil {
		return nil, err
	}
	a := l.Attrs()
	out := &model.HostLink{Name: a.Name, Type: l.Type(), NICs: link.PlainBridge(l)}
	id, ours := strings.CutPrefix(a.Alias, link.Alias)
	switch {
	case !ours || out.NICs:
		out.Ours = strings.HasPrefix(a.Alias, link.NICAlias)
	case l.Type() == "bridge":
		out.Network = id
	default:
		out.Ours = true
	}
	if a.MasterIndex != 0 {
		if m, err := h.nl.LinkByIndex(a.MasterIndex); err == nil {
			out.Master = m.Attrs().Name
		}
	}
	var addrs []netlink.Addr
	if err := again(func() (err error) { addrs, err = h.nl.AddrList(l, netlink.FAMILY_ALL); return }); err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", name, err)
	}
	for _, x := range addrs {
		if addr, ok := netip.AddrFromSlice(x.IP); ok {
			out.Addrs = append(out.Addrs, addr.Unmap())
		}
	}
	return out, nil
}

func (h *Host) find(name string) (netlink.Link, error) {
	var l netlink.Link
	err := again(func() (err error) { l, err = h.nl.LinkByName(name); return })
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up device %s: %w", name, err)
	}
	return l, nil
}

// Supports tells by name what the kernel or the host lacks for a kind of NIC,
// by making one in a namespace that ends at once; vlan says that it is to be in
// a VLAN.
func (h *Host) Supports(ctx context.Context, kind model.NICKind, vlan bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var probe func(nl *netlink.Handle) error
	switch {
	case kind == model.NICOVS:
		return link.HasOVS()
	case kind == model.NICBridge && vlan:
		probe = filtersVLANs
	case kind == model.NICMacvlan:
		probe = func(nl *netlink.Handle) error {
			a := named("probe0")
			a.ParentIndex = 1 // lo, which the kernel refuses only after it has found the kind
			err := nl.LinkAdd(&netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_BRIDGE})
			if !errors.Is(err, unix.EOPNOTSUPP) {
				return nil
			}
			return lacks("macvlan", "CONFIG_MACVLAN", err)
		}
	case kind == model.NICDummy:
		probe = func(nl *netlink.Handle) error {
			return lacks("dummy", "CONFIG_DUMMY", nl.LinkAdd(&netlink.Dummy{LinkAttrs: named("probe0")}))
		}
	case kind == model.NICVLAN:
		probe = func(nl *netlink.Handle) error {
			a := named("probe0")
			a.ParentIndex = 1
			if err := nl.LinkAdd(&netlink.Vlan{LinkAttrs: a, VlanId: 2}); errors.Is(err, unix.EOPNOTSUPP) {
				return lacksVLAN(err)
			}
			return nil
		}
	default:
		return nil
	}
	err := netns.Try(func() error {
		nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer nl.Close()
		return probe(nl)
	})
	return errs.Wrap(errs.Unavailable, err)
}

func lacksVLAN(err error) error {
	return fmt.Errorf("this kernel has no 802.1q VLANs: load the module (modprobe 8021q) or use a kernel with CONFIG_VLAN_8021Q: %w", err)
}

// filtersVLANs puts a port of a bridge into a VLAN.
func filtersVLANs(nl *netlink.Handle) error {
	br, port := &netlink.Bridge{LinkAttrs: named("probe0")}, &netlink.Veth{LinkAttrs: named("probe1"), PeerName: "probe2"}
	if err := errors.Join(nl.LinkAdd(br), nl.LinkAdd(port)); err != nil {
		return err
	}
	if err := nl.LinkSetMaster(port, br); err != nil {
		return err
	}
	err := nl.BridgeVlanAdd(port, 2, true, true, false, true)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("the bridges of this kernel can't filter VLANs: use a kernel with CONFIG_BRIDGE_VLAN_FILTERING: %w", err)
	}
	return err
}

// TC runs tc(8) of the host in a container's namespace, for what only shows
// something.
func (h *Host) TC(ctx context.Context, nsPath string, words []string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return link.TC(nsPath, words)
}
