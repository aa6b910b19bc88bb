package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Reading the tracked flows takes as long as the kernel's table is large, some
// ten milliseconds with nothing in it, for it locks bucket after bucket. What
// went through a floating IP is told by two addresses of a flow, and the kernel
// deletes by them in a fiftieth of that (CTA_FILTER, which a flush takes since
// Linux 6.9; net/netfilter/nf_conntrack_netlink.c, ctnetlink_flush_conntrack).
// Of IPv6 it takes those that have not the address (ctnetlink_filter_match_tuple
// has the sense of ipv6_addr_cmp wrong), so that is for IPv4 alone.

// flowFilter is a source or destination of a flow's first packet and one of its
// answers; invalid ones are any.
type flowFilter struct {
	origSrc, origDst, replySrc, replyDst netip.Addr
}

// exactLimit is how many filters cost less than reading the table once.
const exactLimit = 16

// exact gives the filters that say the same as e; false: there are none, or too
// many of them.
func (e ending) exact() ([]flowFilter, bool) {
	if len(e.dropped)+len(e.fresh)+len(e.closed)+len(e.closedPorts)+len(e.only) > 0 || len(e.in)+len(e.out)+len(e.new) > exactLimit {
		return nil, false
	}
	if e.stray.any() || slices.Contains(e.families(), unix.AF_INET6) {
		return nil, false
	}
	var out []flowFilter
	for fip, inside := range e.in {
		if e.finishing[fip].IsValid() {
			return nil, false
		}
		out = append(out, flowFilter{origDst: fip, replySrc: inside})
	}
	for fip := range e.new {
		out = append(out, flowFilter{origDst: fip, replySrc: fip})
	}
	for inside, fip := range e.out {
		if e.finishing[fip].IsValid() {
			return nil, false
		}
		out = append(out, flowFilter{origSrc: inside, replyDst: fip})
	}
	return out, true
}

// Attributes of linux/netfilter/nfnetlink_conntrack.h that netlink does not name.
const (
	ctDelete     = 2 // IPCTNL_MSG_CT_DELETE
	ctFilter     = 25
	ctOrigFlags  = 1
	ctReplyFlags = 2
	ctFlagSrc    = 1 << 0 // CTA_FILTER_F_CTA_IP_SRC of nf_conntrack_netlink.c
	ctFlagDst    = 1 << 1
	ctThisFamily = 1 // version of a message that is about its family alone
)

// flush deletes the flows that a filter tells. A kernel that can't do that says
// so: it takes the two tuples for one flow's, and they are not whole.
func (f flowFilter) flush(sockets map[int]*nl.SocketHandle) error {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|ctDelete, unix.NLM_F_ACK)
	req.Sockets = sockets
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: ctThisFamily})
	filter := nl.NewRtAttr(ctFilter|unix.NLA_F_NESTED, nil)
	for _, t := range []struct {
		tuple, flags int
		src, dst     netip.Addr
	}{{nl.CTA_TUPLE_ORIG, ctOrigFlags, f.origSrc, f.origDst}, {nl.CTA_TUPLE_REPLY, ctReplyFlags, f.replySrc, f.replyDst}} {
		attr, flags := tuple(t.tuple, t.src, t.dst)
		req.AddData(attr)
		filter.AddRtAttr(t.flags, binary.NativeEndian.AppendUint32(nil, flags))
	}
	req.AddData(filter)
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

// tuple is a direction's addresses, and the flags that say which are given.
func tuple(kind int, src, dst netip.Addr) (attr *nl.RtAttr, flags uint32) {
	attr = nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	ip := attr.AddRtAttr(nl.CTA_TUPLE_IP|unix.NLA_F_NESTED, nil)
	if src.IsValid() {
		ip.AddRtAttr(nl.CTA_IP_V4_SRC, src.AsSlice())
		flags |= ctFlagSrc
	}
	if dst.IsValid() {
		ip.AddRtAttr(nl.CTA_IP_V4_DST, dst.AsSlice())
		flags |= ctFlagDst
	}
	return attr, flags
}

// filtered deletes by filters, over a socket of its own that stays open: closing
// one waits until the kernel has freed what nf_tables deleted before, which takes
// as long as what is saved here (nft_rcv_nl_event). One at a time may use it.
type filtered struct{ sockets map[int]*nl.SocketHandle }

// end ends flows by filters, and tells whether the kernel could.
func (d *filtered) end(e ending) bool {
	filters, ok := e.exact()
	if !ok {
		return false
	}
	if d.sockets == nil {
		s, err := nl.Subscribe(unix.NETLINK_NETFILTER)
		if err != nil {
			return false
		}
		d.sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: s}}
	}
	for _, f := range filters {
		if f.flush(d.sockets) != nil { // reading the table finds out what it is
			d.sockets[unix.NETLINK_NETFILTER].Close() // an answer may wait in it
			d.sockets = nil
			return false
		}
	}
	return true
}
