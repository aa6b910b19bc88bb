//go:build linux

package link

import (
	"encoding/binary"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes of RTM_NEWNETCONF, include/uapi/linux/netconf.h.
const (
	netconfIfindex    = 1
	netconfForwarding = 2
	netconfAll        = -1 // net.ipv4.ip_forward, which sets every interface
	sizeofNetconfmsg  = 1
)

// ensureForwarding lets the host forward packets, and those that come from the
// bridge. Turning ip_forward on sets every interface, but only when it was off.
func ensureForwarding(bridge string) error {
	if err := setSysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	return setSysctl("net/ipv4/conf/"+bridge+"/forwarding", "1")
}

// noRedirects keeps the host from sending ICMP redirects into the bridge. The
// kernel sends them where either setting is on, the interface's or that of all
// (IN_DEV_TX_REDIRECTS, include/linux/inetdevice.h); other interfaces keep theirs.
func noRedirects(bridge string) error {
	for _, dev := range []string{bridge, "all"} {
		if err := setSysctl("net/ipv4/conf/"+dev+"/send_redirects", "0"); err != nil {
			return err
		}
	}
	return nil
}

// forwards tells whether packets that come from the bridge are forwarded. Both
// settings count: an interface may be set apart from the host.
func forwards(bridge string) bool {
	for _, path := range []string{"net/ipv4/ip_forward", "net/ipv4/conf/" + bridge + "/forwarding"} {
		if v, err := getSysctl(path); err == nil && v == "0" {
			return false
		}
	}
	return true
}

// forwardingOff reads RTM_NEWNETCONF: the interface for which forwarding was
// turned off, netconfAll for the host. Of IPv6 only the latter counts.
func forwardingOff(data []byte) (index int, off bool) {
	if len(data) < sizeofNetconfmsg || data[0] != unix.AF_INET && data[0] != unix.AF_INET6 {
		return 0, false
	}
	// The header of one byte is padded to four.
	attrs, err := nl.ParseRouteAttr(data[min(len(data), unix.NLMSG_ALIGNTO):])
	if err != nil {
		return 0, false
	}
	for _, a := range attrs {
		if len(a.Value) < 4 {
			continue
		}
		switch value := int(int32(binary.NativeEndian.Uint32(a.Value))); a.Attr.Type {
		case netconfIfindex:
			index = value
		case netconfForwarding:
			off = value == 0
		}
	}
	if data[0] == unix.AF_INET6 && index != netconfAll {
		return index, false // see forwards6
	}
	return index, off
}
