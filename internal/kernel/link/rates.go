//go:build linux

package link

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// A container's rates are limited at the host end of its pair, where it can't
// lift them: what goes in by a token bucket (tc-tbf(8)) on the host end itself,
// what comes out by one on a device of its own (ifb), to which all that the host
// end receives is redirected and from where it goes its way. An interface without
// a host end is limited inside in the same way, the directions exchanged.
const (
	// ratePrefix begins the name of such a device; its endpoint's ID follows.
	ratePrefix = "ji"
	// rateHandle, otherRateHandle and ratePriority mark the buckets and the
	// redirection as ours.
	rateHandle      = 0x6a6b << 16
	otherRateHandle = 0x6a6c << 16
	ratePriority    = 0x6a6b
)

// What a bucket holds, in time at its rate and at least: enough for a timer's
// lateness on a busy machine, where with 5 ms a thirtieth of the rate was lost,
// and for a few packets. What waits before it: enough for a TCP connection to
// keep it busy.
const (
	burstTime, burstFrames = 20, 8 // milliseconds, frames of full size
	queueTime, queueBytes  = 50, 32 << 10
)

// bucket is a token bucket as the kernel has it; zero: none.
type bucket struct {
	rate  uint64 // bytes a second
	queue uint32 // bytes that may wait
}

// buckets are the two of a link: one for what it sends, and one for what it gets.
type buckets struct{ sends, gets bucket }

// shaper limits the links of one network namespace.
type shaper struct {
	nl    *netlink.Handle
	wire  wire
	known *ledger // of the host's
	del   func(netlink.Link) error
}

func (h *Host) shaper() shaper {
	return shaper{nl: h.nl, wire: h.wire, known: h.known, del: h.deleteFromInside}
}

// bucketFor gives the bucket of a rate in bits a second on a link. A user counts
// what programs send and get; the kernel counts frames with all their headers.
// So the bucket has more by what a full frame of TCP has.
func bucketFor(bits uint64, mtu int) bucket {
	if bits == 0 {
		return bucket{}
	}
	const ethernet, headers = 14, 52 // IPv4, TCP and its timestamps
	frame, payload := uint64(mtu+ethernet), uint64(max(mtu-headers, mtu/2))
	rate := bits * frame / payload / 8
	return bucket{rate: rate, queue: uint32(max(rate*queueTime/1000, queueBytes)) + burstOf(rate, mtu)}
}

// burstOf is how many bytes a bucket holds. A packet of the kernel's offloads
// that is larger is cut into frames, and a frame that is larger would be lost
// (net/sched/sch_tbf.c: tbf_enqueue).
func burstOf(rate uint64, mtu int) uint32 {
	return uint32(max(rate*burstTime/1000, uint64(burstFrames*(mtu+18))))
}

// hostBuckets are those of an interface's host end: it sends what goes in.
func hostBuckets(i *desired.Interface, mtu int) buckets {
	return buckets{sends: bucketFor(i.RateIn, mtu), gets: bucketFor(i.RateOut, mtu)}
}

func rateDevice(endpoint string) string { return ratePrefix + short(endpoint) }

// set gives a link its limits and takes away those that are not wanted. One made
// just now that is to have none costs nothing.
func (s shaper) set(l netlink.Link, id string, want buckets, mtu int, fresh bool) error {
	var have buckets
	if !fresh {
		var err error
		if have, err = s.buckets(l, id); err != nil {
			return err
		}
	}
	if want.sends != have.sends {
		if err := s.setBucket(l, want.sends, mtu); err != nil {
			return fmt.Errorf("limit what %s sends: %w", l.Attrs().Name, err)
		}
	}
	switch {
	case want.gets == have.gets && !fresh && want.gets == (bucket{}):
		return s.dropDevice(id) // if one was left without its redirection
	case want.gets == have.gets:
		return nil
	case want.gets == (bucket{}):
		return s.free(l, id)
	}
	if err := s.limitGets(l, id, want.gets, mtu); err != nil {
		return fmt.Errorf("limit what %s gets: %w", l.Attrs().Name, err)
	}
	return nil
}

// setBucket puts a bucket on a link, changes the one it has, where what waits
// keeps its place, or takes ours away. One that shall hold less than it did is
// replaced, under the other handle, and what waits is lost: a packet of the
// kernel's offloads that was let in when more was held, and comes to the head of
// the queue now, would wait for ever, and all behind it (net/sched/sch_tbf.c:
// tbf_change leaves the queue as it is, tbf_dequeue wants tokens for all of it).
func (s shaper) setBucket(l netlink.Link, b bucket, mtu int) error {
	have, handle, err := s.bucketOf(l.Attrs().Index)
	if err != nil {
		return err
	}
	q := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: handle, Parent: netlink.HANDLE_ROOT},
		Rate:       b.rate, Limit: b.queue,
	}
	switch {
	case b == (bucket{}) && handle == 0:
		return nil
	case b == (bucket{}):
		if err := retryDelete(func() error { return s.nl.QdiscDel(q) }); err != nil {
			return fmt.Errorf("take the token bucket off %s: %w", l.Attrs().Name, err)
		}
		return nil
	case handle == 0:
		q.Handle = rateHandle
	case burstOf(b.rate, mtu) < burstOf(have.rate, mtu):
		q.Handle = rateHandle ^ otherRateHandle ^ handle
	}
	q.Buffer = netlink.Xmittime(b.rate, burstOf(b.rate, mtu))
	return lacks(retry(func() error { return s.nl.QdiscReplace(q) }), "token buckets", "sch_tbf", "CONFIG_NET_SCH_TBF")
}

// limitGets makes the device with its bucket, or corrects it, and then
// redirects to it.
func (s shaper) limitGets(l netlink.Link, id string, b bucket, mtu int) error {
	dev, err := s.device(id)
	if err != nil {
		return err
	}
	if err := s.setBucket(dev, b, mtu); err != nil {
		return err
	}
	if s.redirected(l, dev.Attrs().Index) {
		return nil
	}
	return s.redirect(l, dev.Attrs().Index)
}

// device finds an endpoint's or NIC's device or makes it, up and with our alias.
func (s shaper) device(endpoint string) (netlink.Link, error) {
	name := rateDevice(endpoint)
	l, err := find(s.nl, name)
	if err != nil {
		return nil, err
	}
	if l != nil && !ownRateDevice(l, endpoint) {
		return nil, errs.New(errs.Conflict,
			"there is a %s named %s which is not Jackstay's: delete or rename it (ip link del %s)", l.Type(), name, name)
	}
	if l == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.NumTxQueues, attrs.NumRxQueues = name, 1, 1
		err := retryAdd(func() error { return s.nl.LinkAdd(&netlink.Ifb{LinkAttrs: attrs}) })
		if err := lacks(err, "intermediate functional blocks", "ifb", "CONFIG_IFB"); err != nil {
			return nil, err
		}
		if l, err = find(s.nl, name); err != nil {
			return nil, err
		}
		if l == nil {
			return nil, errs.New(errs.Unavailable, "%s is made and gone again: another program deletes it", name)
		}
	}
	if l.Attrs().Alias == "" || !up(l) {
		if err := s.wire.apply(setting{index: l.Attrs().Index, alias: Alias + endpoint, up: true}); err != nil {
			return nil, fmt.Errorf("set up %s: %w", name, err)
		}
	}
	if s.known != nil {
		s.known.remember(name, shape{index: l.Attrs().Index, alias: Alias + endpoint, up: true}, "")
	}
	return l, nil
}

// ownRateDevice tells whether a link is the endpoint's device. One without an
// alias is: a crash came between making and naming it.
func ownRateDevice(l netlink.Link, endpoint string) bool {
	alias := l.Attrs().Alias
	return l.Type() == "ifb" && (alias == Alias+endpoint || alias == "")
}

// redirect leads all that a link receives to the device.
func (s shaper) redirect(l netlink.Link, to int) error {
	q := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}}
	if err := lacks(retryAdd(func() error { return s.nl.QdiscAdd(q) }), "ingress hooks", "sch_ingress", "CONFIG_NET_SCH_INGRESS"); err != nil {
		return err
	}
	// One to a device that is gone, or was replaced, drops everything.
	if err := retryDelete(func() error { return s.nl.FilterDel(redirection(l, 0)) }); err != nil {
		return fmt.Errorf("take the old redirection off: %w", err)
	}
	return lacks(retry(func() error { return s.nl.FilterAdd(redirection(l, to)) }),
		"redirecting packets", "cls_u32 and act_mirred", "CONFIG_NET_CLS_U32 and CONFIG_NET_ACT_MIRRED")
}

func redirection(l netlink.Link, to int) *netlink.U32 {
	f := &netlink.U32{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: l.Attrs().Index, Parent: netlink.MakeHandle(0xffff, 0), Priority: ratePriority, Protocol: unix.ETH_P_ALL,
	}}
	if to != 0 {
		f.Actions = []netlink.Action{netlink.NewMirredAction(to)}
	}
	return f
}

// free takes the redirection off, and then the device.
func (s shaper) free(l netlink.Link, endpoint string) error {
	if err := retryDelete(func() error { return s.nl.FilterDel(redirection(l, 0)) }); err != nil {
		return fmt.Errorf("take the redirection off: %w", err)
	}
	others, err := s.filters(l)
	if err != nil {
		return err
	}
	if len(others) == 0 {
		q := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
		}}
		if err := retryDelete(func() error { return s.nl.QdiscDel(q) }); err != nil {
			return fmt.Errorf("take the ingress hook off: %w", err)
		}
	}
	return s.dropDevice(endpoint)
}

// dropDevice deletes an endpoint's or NIC's device, if it has one.
func (s shaper) dropDevice(endpoint string) error {
	name := rateDevice(endpoint)
	if s.known != nil {
		s.known.forget(name)
	}
	l, err := find(s.nl, name)
	if err != nil || l == nil || !ownRateDevice(l, endpoint) {
		return err
	}
	if err := s.del(l); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

// deleteFromInside is deleteLink for a thread that is in a container's
// namespace, where a new socket would be, too.
func (h *Host) deleteFromInside(l netlink.Link) error {
	return retryDelete(func() error { return h.slow.LinkDel(l) })
}

// lacks puts into words what the kernel says when a part of it is missing:
// ENOENT for queueing disciplines, filters and actions (net/sched), EOPNOTSUPP
// for kinds of links (net/core/rtnetlink.c).
func lacks(err error, what, module, config string) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return errs.New(errs.Unavailable,
			"this kernel has no %s, which --net-rate-in and --net-rate-out need: load the module (modprobe %s) or use a kernel with %s: %w",
			what, module, config, err)
	}
	if err != nil {
		return fmt.Errorf("%s (%s): %w", what, module, err)
	}
	return nil
}

// TryRates tells by name what the kernel lacks for limiting rates. It must be
// called in a network namespace that ends afterwards.
func TryRates() error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer nl.Close()
	s := shaper{nl: nl}
	if s.wire, err = dial(); err != nil {
		return err
	}
	defer s.wire.close()
	on, err := s.device("0123456789ab") // what it is on matters to none of it
	if err != nil {
		return err
	}
	const mtu = 1500
	return s.limitGets(on, "ba9876543210", bucketFor(1e6, mtu), mtu)
}
