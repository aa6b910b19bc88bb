//go:build linux

package link

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
)

// announcement is a gratuitous ARP (RFC 5227 §3) to send: neighbours that knew
// the address at another MAC, or the MAC behind another port, learn at once.
type announcement struct {
	socket int // AF_PACKET, of the namespace
	index  int
	frames [][]byte
}

// announceAfter gives the bridge time to let a new port forward: it does so
// when the kernel's link watch has seen the carrier (net/core/link_watch.c).
const announceAfter = 10 * time.Millisecond

// announce prepares announcements of an interface's IPv4 addresses. They are a
// kindness: a socket that can't be opened is not an error of the container's.
func (v *visit) announce(inner netlink.Link, i *desired.Interface, mac net.HardwareAddr) {
	var frames [][]byte
	for _, p := range i.Addrs {
		if p.Addr().Is4() {
			frames = append(frames, arpAnnouncement(mac, p.Addr()))
		}
	}
	if frames == nil {
		return
	}
	// Protocol 0: it sends, and receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		v.host.log.Debug("no gratuitous ARP", "container", v.container, "error", err)
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

// send broadcasts an announcement and closes its socket.
func send(a announcement) error {
	defer unix.Close(a.socket)
	to := &unix.SockaddrLinklayer{
		Protocol: bigEndian(unix.ETH_P_ARP), Ifindex: a.index, Halen: 6,
		Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	}
	var err error
	for _, f := range a.frames {
		err = errors.Join(err, unix.Sendto(a.socket, f, 0, to))
	}
	return err
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

func bigEndian(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
