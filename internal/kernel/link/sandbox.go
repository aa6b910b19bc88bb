//go:build linux

package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/netns"
)

// EnsureSandbox makes the namespace's inside as wanted: missing veth pairs,
// addresses, MACs, MTUs, routes, sysctls. What the container added for itself
// stays: other addresses, other interfaces, a default route of its own.
//
// Looking up links by name only, it takes the same time on a host with a
// thousand containers as on an empty one.
func (h *Host) EnsureSandbox(ctx context.Context, s *desired.Sandbox) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer h.lock("sandbox", s.Container)()
	defer h.known.begin(hostEnds(s)...)()
	h.parents.forget(s.Container) // until they are found again
	path, err := h.dir.Create(s.Container)
	if err != nil {
		return err
	}
	fd, err := netns.Open(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var anew []announcement
	err = netns.DoFD(fd, func() error {
		in, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer in.Close()
		v := &visit{host: h, in: in, fd: fd, container: s.Container, index: map[string]int{}}
		defer func() { anew = v.anew }()
		defer v.close()
		return v.ensure(s)
	})
	announce(anew)
	if err != nil {
		return fmt.Errorf("network of container %s: %w", short(s.Container), err)
	}
	return nil
}

// visit is one stay in a container's namespace. Its thread is in the
// namespace, and so is the netlink handle in; host's handles are the host's.
type visit struct {
	host      *Host
	in        *netlink.Handle
	fd        int // the namespace
	container string
	anew      []announcement         // addresses that came with a new interface
	index     map[string]int         // of the wanted interfaces, by name
	found     bool                   // an interface was there already, and maybe routes over it
	fresh     bool                   // one was made
	addrs     map[int][]netip.Prefix // by interface index, see addrsOf
	wire      wire                   // the namespace's, see shaper
}

// close lets go of what the visit opened.
func (v *visit) close() { v.wire.close() }

func (v *visit) ensure(s *desired.Sandbox) error {
	if err := v.dropDevices(s); err != nil { // first: another may be given its name
		return err
	}
	// A device that the host can't have back, its name being taken perhaps, keeps
	// nothing of the container's from being made.
	back := v.giveBackUnwanted(s)
	return errors.Join(back, v.ensureWanted(s))
}

func (v *visit) ensureWanted(s *desired.Sandbox) error {
	for i := range s.Interfaces {
		if err := v.ensureInterface(&s.Interfaces[i]); err != nil {
			return fmt.Errorf("interface %s: %w", s.Interfaces[i].Name, err)
		}
	}
	for i := range s.Devices {
		if err := v.ensureDevice(&s.Devices[i]); err != nil {
			return fmt.Errorf("interface %s: %w", s.Devices[i].Name, err)
		}
	}
	if err := v.ensureRoutes(s); err != nil {
		return err
	}
	if err := v.ensureRules(s); err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(s.Sysctls)) {
		if !strings.HasPrefix(path, "net/") || strings.Contains(path, "..") {
			return errs.New(errs.Invalid, "sysctl %s: not one of a network namespace", dotted(path))
		}
		if err := setSysctl(path, s.Sysctls[path]); err != nil {
			return errs.Wrap(errs.Invalid, err)
		}
	}
	if redirected(s) {
		if err := ensureRedirect(s.Resolver, s.ResolverVia); err != nil {
			return err
		}
	}
	return v.ensureTC(s)
}

func (v *visit) ensureInterface(i *desired.Interface) error {
	mac, err := parseMAC(i.MAC)
	if err != nil {
		return errs.Wrap(errs.Invalid, err)
	}
	bridge, err := v.host.bridge(i.Bridge)
	if err != nil {
		return err
	}
	master := bridge.Attrs().Index
	if i.OVS {
		master = 0 // its datapath's, which Open vSwitch sees to
	}
	outer, inner, err := v.pair(i)
	if err != nil {
		return err
	}
	fresh := outer == nil
	if fresh {
		if outer, inner, err = v.makePair(i, mac); err != nil {
			return err
		}
	}
	v.found, v.fresh = v.found || !fresh, v.fresh || fresh
	v.index[i.Name] = inner.Attrs().Index
	// Before it goes up: not one packet passes without its limit.
	mtu := cmp.Or(i.MTU, outer.Attrs().MTU)
	rates := hostBuckets(i, mtu)
	if err := v.host.shaper().set(outer, i.Endpoint, rates, mtu, fresh); err != nil {
		return err
	}
	if err := v.setOuter(i, outer, bridge); err != nil {
		return err
	}
	if err := v.setInner(i, inner, mac, fresh); err != nil {
		return err
	}
	v.host.known.remember(i.Host, shape{
		index: outer.Attrs().Index, alias: Alias + i.Endpoint, master: master, up: true, rates: rates,
	}, v.container)
	if !fresh {
		return nil
	}
	if mac != nil {
		v.announce(inner, i.Addrs, mac)
	}
	// Looking at the link makes the kernel (6.7 and later: rtnl_getlink,
	// linkwatch_sync_dev) take note of its carrier now, and the bridge forward
	// what the container sends first. Else a lost question for an address costs
	// the container a second, sometimes.
	_, err = find(v.host.nl, i.Host)
	return err
}

func (h *Host) bridge(name string) (netlink.Link, error) {
	l, err := find(h.nl, name)
	if err != nil {
		return nil, err
	}
	if l == nil {
		return nil, errs.New(errs.Unavailable, "network bridge %s is not there", name)
	}
	return l, nil
}

// portMAC gives the MAC that a host end needs on a bridge, nil for any. A bridge
// whose MAC nobody chose takes the lowest of its ports' (net/bridge/br_stp_if.c:
// br_stp_recalculate_bridge_id): a lower one of ours would change it, and
// whoever knows the old one would send to nobody, for seconds. With the bridge's
// own the bridge stays as it is.
func portMAC(bridge netlink.Link) net.HardwareAddr {
	mac := bridge.Attrs().HardwareAddr
	if _, ours := owner(bridge); ours || bridge.Type() != "bridge" || len(mac) != 6 || slices.Max(mac) == 0 {
		return nil
	}
	return mac
}

// pair finds the veth pair, nil if it must be made. Half a pair, or an
// interface of that name which is connected elsewhere, is deleted.
func (v *visit) pair(i *desired.Interface) (outer, inner netlink.Link, err error) {
	if outer, err = find(v.host.nl, i.Host); err != nil {
		return nil, nil, err
	}
	if inner, err = find(v.in, i.Name); err != nil {
		return nil, nil, err
	}
	if outer != nil && !ownHostEnd(outer, inner, i) {
		return nil, nil, errs.New(errs.Conflict,
			"the host has a %s named %s which is not Jackstay's: delete or rename it (ip link del %s)",
			outer.Type(), i.Host, i.Host)
	}
	if outer != nil && inner != nil && paired(outer, inner) {
		return outer, inner, nil
	}
	if inner != nil {
		if inner.Type() != "veth" {
			return nil, nil, errs.New(errs.Conflict, "the container has a %s of that name", inner.Type())
		}
		if err := retryDelete(func() error { return v.in.LinkDel(inner) }); err != nil {
			return nil, nil, fmt.Errorf("delete what is in its place: %w", err)
		}
	}
	if outer != nil {
		if err := retryDelete(func() error { return v.host.slow.LinkDel(outer) }); err != nil {
			return nil, nil, fmt.Errorf("delete half a pair, %s: %w", i.Host, err)
		}
	}
	return nil, nil, nil
}

// ownHostEnd tells whether a link is the interface's host end. A veth without an
// alias may be, if a crash came between making and naming it: under a name that
// only we give, or with its other end inside. A name that was asked for
// (--host-name) may be another program's.
func ownHostEnd(outer, inner netlink.Link, i *desired.Interface) bool {
	if outer.Type() != "veth" {
		return false
	}
	switch outer.Attrs().Alias {
	case Alias + i.Endpoint:
		return true
	case "":
		return i.Host == usualHostEnd(i.Endpoint) || inner != nil && paired(outer, inner)
	}
	return false
}

func paired(a, b netlink.Link) bool {
	return a.Type() == "veth" && b.Type() == "veth" &&
		a.Attrs().ParentIndex == b.Attrs().Index && b.Attrs().ParentIndex == a.Attrs().Index
}

// makePair makes both ends in one message, the inner one where it belongs, so
// that a container's interface is never seen on the host. One queue each is
// all that a device without a queueing discipline uses, where the kernel would
// make one per possible CPU.
func (v *visit) makePair(i *desired.Interface, mac []byte) (outer, inner netlink.Link, err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = i.Host, i.MTU
	attrs.NumTxQueues, attrs.NumRxQueues = 1, 1
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerNamespace = i.Name, netlink.NsFd(v.fd)
	veth.PeerHardwareAddr, veth.PeerMTU = mac, uint32(i.MTU)
	if err := retryAdd(func() error { return v.host.nl.LinkAdd(veth) }); err != nil {
		return nil, nil, fmt.Errorf("make veth pair: %w", err)
	}
	if inner, err = find(v.in, i.Name); err != nil {
		return nil, nil, err
	}
	// LinkAdd has looked up the index, if it made the link just now.
	if veth.Attrs().Index == 0 || inner == nil {
		return nil, nil, errs.New(errs.Unavailable, "it is made and gone again: another program deletes it")
	}
	// What the library filled in from the request is not yet so.
	veth.Attrs().MTU = inner.Attrs().MTU
	return veth, inner, nil
}

// setOuter names the host end's owner and puts it on its bridge, up.
func (v *visit) setOuter(i *desired.Interface, outer, bridge netlink.Link) error {
	a, master := outer.Attrs(), bridge.Attrs().Index
	if i.OVS {
		master = 0
	}
	s := setting{index: a.Index, up: true}
	same := up(outer)
	if a.Alias != Alias+i.Endpoint {
		s.alias, s.noLinkLocal, same = Alias+i.Endpoint, true, false
	}
	if master != 0 && a.MasterIndex != master {
		s.master, s.mac, same = master, portMAC(bridge), false
	}
	if i.MTU != 0 && a.MTU != i.MTU {
		s.mtu, same = i.MTU, false
	}
	if same {
		return nil
	}
	if err := explainFull(v.host.wire.apply(s), i); err != nil || s.master == 0 && !i.OVS {
		return err
	}
	switch {
	case i.OVS:
		return v.setPort(i)
	case i.VLAN != 0:
		if err := v.setVLAN(i, outer); err != nil {
			return err
		}
	}
	// With br_netfilter a packet from a container to its own published port is
	// turned round inside the bridge (net/bridge/br_netfilter_hooks.c), which
	// a port refuses unless it is a hairpin one. The mode goes with the master.
	return retry(func() error { return v.host.nl.LinkSetHairpin(outer, true) })
}

// hostEnds are the names of a sandbox's host ends.
func hostEnds(s *desired.Sandbox) []string {
	names := make([]string, len(s.Interfaces))
	for n, i := range s.Interfaces {
		names[n] = i.Host
	}
	return names
}

// DeleteHostEnd deletes a veth pair of ours by its host end, with the device
// that limits what comes out of it; or such a device that is left alone.
func (h *Host) DeleteHostEnd(_ context.Context, name string) error {
	was, _, _ := h.known.get(name)
	h.known.forget(name)
	l, err := find(h.nl, name)
	if err != nil {
		return err
	}
	endpoint, _ := strings.CutPrefix(was.alias, Alias)
	if l != nil {
		id, ours := owner(l)
		if !ours || l.Type() != "veth" && l.Type() != "ifb" {
			return errs.New(errs.Conflict, "link %s: not deleted, for it is not Jackstay's", name)
		}
		if l.Type() == "ifb" {
			if end, err := find(h.nl, usualHostEnd(id)); err != nil || end != nil {
				return err // its host end was made meanwhile
			}
		}
		if err := dropPort(l); err != nil {
			return err
		}
		if err := deleteLink(l); err != nil {
			return fmt.Errorf("delete veth pair %s: %w", name, err)
		}
		endpoint = id
	}
	if endpoint == "" {
		return nil
	}
	s := h.shaper()
	s.del = deleteLink
	return s.dropDevice(endpoint)
}

// short is how people see an ID.
func short(id string) string { return id[:min(12, len(id))] }
