//go:build linux

package link

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// announcement tells neighbours who has an address, by gratuitous ARP (RFC 5227
// section 3) or an unsolicited neighbour advertisement (RFC 4861 section 7.2.6):
// those that knew it at another MAC, or the MAC behind another port, learn at once.
type announcement struct {
	socket int // AF_PACKET, of the namespace
	index  int
	frames []frame
}

// frame is a packet with what goes into its Ethernet header.
type frame struct {
	protocol uint16 // ETH_P_…
	to       [6]byte
	packet   []byte
}

// announceAfter gives the bridge time to let a new port forward: it does so
// when the kernel's link watch has seen the carrier (net/core/link_watch.c).
const announceAfter = 10 * time.Millisecond

// announce prepares announcements of an interface's addresses. They are a
// kindness: a socket that can't be opened is not an error of the container's.
func (v *visit) announce(inner netlink.Link, addrs []netip.Prefix, mac net.HardwareAddr) {
	if len(addrs) == 0 || len(mac) != 6 {
		return
	}
	frames := make([]frame, 0, len(addrs))
	for _, p := range addrs {
		frames = append(frames, announcementOf(mac, p.Addr(), false))
	}
	// Protocol 0: it sends, and receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		v.host.log.Debug("addresses not announced", "container", v.container, "error", err)
		return
	}
	v.anew = append(v.anew, announcement{fd, inner.Attrs().Index, frames})
}

// announce sends them, later and once.
func announce(list []announcement) {
	if len(list) == 0 {
		return
	}
	time.AfterFunc(announceAfter, func() {
		for _, a := range list {
			_ = send(a) // the interface may be gone
		}
	})
}

// send sends an announcement to every neighbour. Closing its socket waits for an
// RCU grace period (net/packet/af_packet.c, packet_release), for which nobody
// else has to wait.
func send(a announcement) error {
	defer func() { go unix.Close(a.socket) }()
	var err error
	for _, f := range a.frames {
		to := &unix.SockaddrLinklayer{Protocol: bigEndian(f.protocol), Ifindex: a.index, Halen: 6}
		copy(to.Addr[:], f.to[:])
		err = errors.Join(err, unix.Sendto(a.socket, f.packet, 0, to))
	}
	return err
}

// announcementOf says that the address is at the MAC; router, of IPv6, that it
// belongs to a host that forwards.
func announcementOf(mac net.HardwareAddr, addr netip.Addr, router bool) frame {
	if addr.Is6() {
		return frame{unix.ETH_P_IPV6, [6]byte{0x33, 0x33, 0, 0, 0, 1}, neighbourAdvertisement(mac, addr, router)}
	}
	return frame{unix.ETH_P_ARP, [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, arpAnnouncement(mac, addr)}
}

// arpAnnouncement is the request for one's own address (RFC 826's fields).
func arpAnnouncement(mac net.HardwareAddr, addr netip.Addr) []byte {
	ip := addr.As4()
	b := binary.BigEndian.AppendUint16(nil, 1)          // Ethernet
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IP) // IPv4
	b = append(b, 6, 4)                                 // lengths
	b = binary.BigEndian.AppendUint16(b, 1)             // request
	b = append(append(b, mac...), ip[:]...)             // sender
	return append(append(b, make([]byte, 6)...), ip[:]...)
}

// Flags of a neighbour advertisement (RFC 4861 section 4.4).
const (
	flagRouter   = 0x80
	flagOverride = 0x20
)

// neighbourAdvertisement is an unsolicited one of an address, to all nodes.
func neighbourAdvertisement(mac net.HardwareAddr, addr netip.Addr, router bool) []byte {
	flags := byte(flagOverride)
	if router {
		flags |= flagRouter
	}
	src, dst := addr.As16(), netip.IPv6LinkLocalAllNodes().As16()
	msg := append([]byte{136, 0, 0, 0, flags, 0, 0, 0}, src[:]...) // type, code, checksum, flags; the target
	msg = append(append(msg, 2, 1), mac...)                        // option: target link-layer address, of 8 bytes
	pseudo := binary.BigEndian.AppendUint32(slices.Concat(src[:], dst[:]), uint32(len(msg)))
	binary.BigEndian.PutUint16(msg[2:], checksum(append(pseudo, 0, 0, 0, unix.IPPROTO_ICMPV6), msg))
	ip := binary.BigEndian.AppendUint16([]byte{6 << 4, 0, 0, 0}, uint16(len(msg)))
	ip = append(ip, unix.IPPROTO_ICMPV6, 255) // the hop limit shows that no router passed it on
	return slices.Concat(ip, src[:], dst[:], msg)
}

// checksum is the Internet's (RFC 1071), over parts of even length.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for i := 0; i < len(p); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(p[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func bigEndian(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
