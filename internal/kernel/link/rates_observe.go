//go:build linux

package link

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// buckets gives those of ours that work on a link: that for what it gets counts
// only if the redirection leads to its device and that is up.
func (s shaper) buckets(l netlink.Link, id string) (b buckets, err error) {
	if b.sends, _, err = s.bucketOf(l.Attrs().Index); err != nil {
		return b, err
	}
	dev, err := find(s.nl, rateDevice(id))
	if err != nil || dev == nil || !up(dev) || dev.Attrs().Alias != Alias+id {
		return b, err
	}
	if !s.redirected(l, dev.Attrs().Index) {
		return b, nil
	}
	b.gets, _, err = s.bucketOf(dev.Attrs().Index)
	return b, err
}

// redirected tells whether our redirection on a link leads to a device.
func (s shaper) redirected(l netlink.Link, to int) bool {
	list, err := s.filters(l)
	if err != nil {
		return false // made anew then, which says what is wrong
	}
	for _, f := range list {
		u, ok := f.(*netlink.U32)
		if !ok || u.Priority != ratePriority {
			continue
		}
		for _, a := range u.Actions {
			if m, ok := a.(*netlink.MirredAction); ok && m.Ifindex == to && m.MirredAction == netlink.TCA_EGRESS_REDIR {
				return true
			}
		}
	}
	return false
}

func (s shaper) filters(l netlink.Link) (list []netlink.Filter, err error) {
	err = retry(func() (err error) { list, err = s.nl.FilterList(l, netlink.MakeHandle(0xffff, 0)); return })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // no ingress hook, or a kernel without any
	}
	if err != nil {
		return nil, fmt.Errorf("list filters of %s: %w", l.Attrs().Name, err)
	}
	return list, nil
}

// bucketOf reads a link's bucket if it is ours, with its handle, which is 0 if
// there is none. The library can only list every
// link's. The kernel tells what it is asked to all that listen, too: our watch
// leaves out what our own sockets cause. Of a link that is not up it says nothing
// at all (tc_qdisc_dump_ignore, net/sched/sch_api.c): the acknowledgement ends
// the waiting, and that of an answer is passed over by the next request.
func (s shaper) bucketOf(index int) (b bucket, handle uint32, err error) {
	var msgs [][]byte
	err = retry(func() (err error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_ECHO|unix.NLM_F_ACK)
		req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Parent: netlink.HANDLE_ROOT})
		req.Sockets = s.wire
		msgs, err = req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
		return err
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
		return b, 0, nil // none, or a kernel without traffic control
	}
	if err != nil {
		return b, 0, fmt.Errorf("read the queueing discipline: %w", err)
	}
	for _, m := range msgs {
		if b, handle = parseBucket(m); handle != 0 {
			break
		}
	}
	return b, handle, nil
}

func parseBucket(m []byte) (b bucket, handle uint32) {
	msg := nl.DeserializeTcMsg(m)
	attrs, err := nl.ParseRouteAttr(m[msg.Len():])
	if err != nil || msg.Handle != rateHandle && msg.Handle != otherRateHandle {
		return b, 0
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case nl.TCA_KIND:
			if strings.TrimRight(string(a.Value), "\x00") == "tbf" {
				handle = msg.Handle
			}
		case nl.TCA_OPTIONS:
			options, err := nl.ParseRouteAttr(a.Value)
			if err != nil {
				return b, 0
			}
			for _, o := range options {
				switch o.Attr.Type {
				case nl.TCA_TBF_PARMS:
					p := nl.DeserializeTcTbfQopt(o.Value)
					b.queue = p.Limit
					if b.rate == 0 {
						b.rate = uint64(p.Rate.Rate)
					}
				case nl.TCA_TBF_RATE64:
					b.rate = nl.NativeEndian().Uint64(o.Value)
				}
			}
		}
	}
	return b, handle
}

// orphans gives the devices of ours for limits whose host end is gone, by name,
// with their endpoint: nothing but a deletion is left for them.
func orphans(links []netlink.Link) map[string]string {
	ends, devs := map[string]bool{}, map[string]string{}
	for _, l := range links {
		switch id, ours := owner(l); {
		case l.Type() == "veth":
			ends[l.Attrs().Name], ends[id] = true, true
		case ours && l.Type() == "ifb":
			devs[l.Attrs().Name] = id
		}
	}
	for name, id := range devs {
		if ends[id] || ends[usualHostEnd(id)] {
			delete(devs, name)
		}
	}
	return devs
}

// usualHostEnd is how a host end is called: one that is being made has no alias
// yet when its device has.
func usualHostEnd(endpoint string) string { return "jv" + short(endpoint) }

// ratesDiffer tells whether a host end's limits are others than we made.
func (h *Host) ratesDiffer(outer netlink.Link, want buckets) bool {
	if want == (buckets{}) {
		return false
	}
	id, _ := owner(outer)
	have, err := h.shaper().buckets(outer, id)
	return err != nil || have != want
}

// wirePort is the netlink port of the socket that bucketOf asks through.
func (w wire) port() uint32 {
	pid, err := w[unix.NETLINK_ROUTE].Socket.GetPid()
	if err != nil {
		return 0
	}
	return pid
}
