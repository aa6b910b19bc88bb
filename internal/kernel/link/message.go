//go:build linux

package link

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inet6AddrGenMode and its value none: the kernel makes no link-local address
// (linux/if_link.h: IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE).
const (
	inet6AddrGenMode     = 8
	inet6AddrGenModeNone = 1
)

// setting is one RTM_NEWLINK that changes an existing link; zero fields leave
// as is. It puts into one message, and so under one hold of the kernel's rtnl
// lock, what the library sends as several.
type setting struct {
	index  int
	alias  string
	mac    net.HardwareAddr
	mtu    int
	master int
	up     bool
	// noLinkLocal keeps IPv6 link-local addresses, and the multicast they cause
	// on every port of a bridge, off a host end.
	noLinkLocal bool
	name        string
	netns       int          // moves it to this namespace, where it gets the name; 0: none
	bridge      []*nl.RtAttr // IFLA_INFO_DATA of a bridge
}

// wire is a netlink socket for messages the library has no call for. It stays
// in the namespace it was opened in, the host's.
type wire map[int]*nl.SocketHandle

func dial() (wire, error) {
	sock, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	_ = sock.SetExtAck(true) // the kernel's own words in errors, where it has them
	return wire{unix.NETLINK_ROUTE: {Socket: sock}}, nil
}

func (w wire) close() {
	for _, s := range w {
		s.Close()
	}
}

func (w wire) apply(s setting) error {
	return retry(func() error {
		req := s.request()
		req.Sockets = w
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
}

func (s setting) request() *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(s.index)
	if s.up {
		msg.Flags, msg.Change = unix.IFF_UP, unix.IFF_UP
	}
	req.AddData(msg)
	if s.alias != "" {
		req.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(s.alias)))
	}
	if s.mac != nil {
		req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, s.mac))
	}
	if s.mtu != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(s.mtu))))
	}
	if s.master != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(s.master))))
	}
	if s.name != "" {
		req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(s.name)))
	}
	if s.netns != 0 {
		req.AddData(netNSFD(s.netns))
	}
	if s.noLinkLocal {
		spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
		spec.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(inet6AddrGenMode, []byte{inet6AddrGenModeNone})
		req.AddData(spec)
	}
	if s.bridge != nil {
		info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
		info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
		data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
		for _, a := range s.bridge {
			data.AddChild(a)
		}
		req.AddData(info)
	}
	return req
}

// parseMAC reads an Ethernet address; empty gives nil.
func parseMAC(s string) (net.HardwareAddr, error) {
	if s == "" {
		return nil, nil
	}
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("MAC address %q: not six bytes of hexadecimal", s)
	}
	return mac, nil
}
