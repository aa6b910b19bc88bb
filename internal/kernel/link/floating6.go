//go:build linux

package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
)

// addressProtocol marks the IPv6 addresses that we put on a device which is not
// ours; iproute2 from 6.3 on shows it as "proto 0x4a". The attribute is IFA_PROTO of
// include/uapi/linux/if_addr.h, there from Linux 5.18 on; the library lacks it.
const (
	addressProtocol = 74
	ifaProto        = 11
)

// forever is a lifetime that does not end.
const forever = 0xffffffff

// onDevice is an address on a link.
type onDevice struct {
	index int
	addr  netip.Addr
}

// putOn6 adds an IPv6 address with our mark, ready at once, and deprecated from
// the beginning (RFC 4862 section 5.5.4): the host's own programs don't take it
// for theirs, while what is sent to it arrives.
func (h *Host) putOn6(l netlink.Link, addr netip.Addr) error {
	err := retryAdd(func() error {
		req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
		req.Sockets = h.wire
		msg := nl.NewIfAddrmsg(unix.AF_INET6)
		msg.Index, msg.Prefixlen, msg.Scope = uint32(l.Attrs().Index), 128, unix.RT_SCOPE_UNIVERSE
		req.AddData(msg)
		req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, addr.AsSlice()))
		req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, addr.AsSlice()))
		req.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE)))
		req.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, cacheInfo(0, forever)))
		req.AddData(nl.NewRtAttr(ifaProto, nl.Uint8Attr(addressProtocol)))
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
	if errors.Is(err, unix.EACCES) {
		return errs.New(errs.Unavailable, "IPv6 is off on this device (net.ipv6.conf.%s.disable_ipv6)", l.Attrs().Name)
	}
	if err != nil {
		return err
	}
	marked, err := floating6(h.wire)
	if err != nil {
		return err
	}
	if _, ok := marked[onDevice{l.Attrs().Index, addr}]; !ok { // an older kernel leaves out what it does not know
		err := h.nl.AddrDel(l, address(netip.PrefixFrom(addr, 128)))
		return errors.Join(errs.New(errs.Unavailable, "this kernel can't mark an IPv6 address as ours (IFA_PROTO, Linux 5.18)"), err)
	}
	return nil
}

// cacheInfo is a struct ifa_cacheinfo with these lifetimes in seconds.
func cacheInfo(preferred, valid uint32) []byte {
	b := binary.NativeEndian.AppendUint32(nil, preferred)
	b = binary.NativeEndian.AppendUint32(b, valid)
	return append(b, make([]byte, 8)...)
}

// Floating6 gives the IPv6 addresses that we put on devices not ours.
func Floating6() (map[netip.Addr]struct{}, error) {
	marked, err := floating6(nil)
	out := make(map[netip.Addr]struct{}, len(marked))
	for a := range marked {
		out[a.addr] = struct{}{}
	}
	return out, err
}

// floating6 gives the IPv6 addresses with our mark.
func floating6(w wire) (map[onDevice]struct{}, error) {
	var msgs [][]byte
	err := retry(func() (err error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		req.Sockets = w
		req.AddData(nl.NewIfAddrmsg(unix.AF_INET6))
		msgs, err = req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list IPv6 addresses: %w", err)
	}
	out := map[onDevice]struct{}{}
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[min(len(m), unix.SizeofIfAddrmsg):])
		if err != nil || len(m) < unix.SizeofIfAddrmsg {
			continue
		}
		a := onDevice{index: int(nl.DeserializeIfAddrmsg(m).Index)}
		ours := false
		for _, attr := range attrs {
			switch attr.Attr.Type {
			case unix.IFA_ADDRESS:
				a.addr, _ = netip.AddrFromSlice(attr.Value)
			case ifaProto:
				ours = len(attr.Value) > 0 && attr.Value[0] == addressProtocol
			}
		}
		if ours && a.addr.Is6() && !a.addr.IsLinkLocalUnicast() {
			out[a] = struct{}{}
		}
	}
	return out, nil
}
