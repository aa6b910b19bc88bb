//go:build linux

package link

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// ensurePlain makes a bridge that is a switch for NICs and no network's: it is
// up and has our alias, and what its administrator gives it beside stays.
func (h *Host) ensurePlain(b *desired.Bridge) error {
	mac, err := parseMAC(b.MAC)
	if err != nil {
		return errs.Wrap(errs.Invalid, err)
	}
	if b.OVS {
		if _, err := ovs("--may-exist", "add-br", b.Name); err != nil {
			return err
		}
		mac = nil // Open vSwitch sets it from its own database
	}
	l, err := h.bridgeLink(b, mac)
	if err != nil {
		return err
	}
	if s := correction(l, b, mac); s != nil {
		if b.OVS {
			s.bridge = nil
		}
		if err := h.wire.apply(*s); err != nil {
			return fmt.Errorf("set: %w", err)
		}
	}
	if l, err = find(h.nl, b.Name); err != nil || l == nil {
		return fmt.Errorf("vanished while it was made: %w", err)
	}
	seen, err := h.bridgeShape(l)
	if err == nil {
		h.known.remember(b.Name, seen, "")
	}
	return err
}

// plainNetwork begins the owner's ID of a plain bridge: `nic:NAME`.
const plainNetwork = "nic:"

// PlainBridge tells whether a link is a bridge that was made for NICs.
func PlainBridge(l netlink.Link) bool {
	id, ours := owner(l)
	return ours && strings.HasPrefix(id, plainNetwork)
}

// setVLAN makes a port belong to one VLAN, untagged. A bridge of ours filters
// VLANs from then on; any other has to do so already, for its administrator
// knows what else is on it.
func (v *visit) setVLAN(i *desired.Interface, outer netlink.Link) error {
	l, err := find(v.host.nl, i.Bridge)
	if err != nil || l == nil {
		return err
	}
	b, ok := l.(*netlink.Bridge)
	if filters := ok && b.VlanFiltering != nil && *b.VlanFiltering; !filters {
		if !PlainBridge(l) {
			return errs.New(errs.Conflict, "bridge %s does not filter VLANs: have it do so (ip link set %s type bridge vlan_filtering 1)", i.Bridge, i.Bridge)
		}
		if err := retry(func() error { return v.host.nl.BridgeSetVlanFiltering(l, true) }); err != nil {
			return noVLANs(err)
		}
	}
	vid := uint16(i.VLAN)
	if err := retry(func() error { return v.host.nl.BridgeVlanAdd(outer, vid, true, true, false, true) }); err != nil {
		return noVLANs(err)
	}
	if vid == 1 {
		return nil
	}
	return retryDelete(func() error { return v.host.nl.BridgeVlanDel(outer, 1, true, true, false, true) })
}

func noVLANs(err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return errs.New(errs.Unavailable, "the bridges of this kernel can't filter VLANs: use a kernel with CONFIG_BRIDGE_VLAN_FILTERING")
	}
	return fmt.Errorf("set the port's VLAN: %w", err)
}

// ovs runs ovs-vsctl(8), on a goroutine of its own: the caller's thread may be
// visiting a container's namespace.
func ovs(words ...string) (string, error) {
	path, err := exec.LookPath("ovs-vsctl")
	if err != nil {
		return "", errs.New(errs.Unavailable, "the host has no ovs-vsctl: install openvswitch-switch for Open vSwitch bridges")
	}
	cmd := exec.Command(path, append([]string{"--timeout=10"}, words...)...)
	var out []byte
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		out, err = cmd.CombinedOutput()
	}()
	<-ended
	if err != nil {
		return "", errs.New(errs.Unavailable, "ovs-vsctl %s: %s (%w)", strings.Join(words, " "), strings.TrimSpace(string(out)), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// setPort puts the host end on an Open vSwitch bridge.
func (v *visit) setPort(i *desired.Interface) error {
	words := []string{"--may-exist", "add-port", i.Bridge, i.Host}
	if i.VLAN != 0 {
		words = append(words, fmt.Sprintf("tag=%d", i.VLAN))
	}
	_, err := ovs(words...)
	return err
}

// dropPort takes a host end out of Open vSwitch's database.
func dropPort(l netlink.Link) error {
	if s := l.Attrs().Slave; s == nil || s.SlaveType() != "openvswitch" {
		return nil
	}
	_, err := ovs("--if-exists", "del-port", l.Attrs().Name)
	return err
}

// HasOVS tells what is missing for Open vSwitch bridges.
func HasOVS() error {
	_, err := ovs("--version")
	return err
}
