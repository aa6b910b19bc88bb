//go:build linux

package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// routesBuffer is the receive buffer in bytes: a routing daemon may bring
	// thousands at once.
	routesBuffer = 4 << 20
	// subscribeAgain keeps a socket that fails at once from spinning.
	subscribeAgain = 100 * time.Millisecond
)

// WatchRoutes signals, coalesced, that a route or an address of the host came
// or went for which matters says so. IPv4 routes that go with their link are not
// told one by one (net/ipv4/fib_trie.c: fib_table_flush): matters is asked with
// the zero prefix then. It ends with ctx; the channel stays open then and silent.
func (h *Host) WatchRoutes(ctx context.Context, matters func(netip.Prefix) bool) (<-chan struct{}, error) {
	sock, err := subscribeRoutes()
	if err != nil {
		return nil, err
	}
	signal := make(chan struct{}, 1)
	tell := func() {
		select {
		case signal <- struct{}{}:
		default:
		}
	}
	go func() {
		for ctx.Err() == nil {
			stop := context.AfterFunc(ctx, sock.Close)
			receiveRoutes(sock, matters, tell)
			if stop() {
				sock.Close()
			}
			for sock = nil; sock == nil && sleep(ctx, subscribeAgain); {
				sock, _ = subscribeRoutes()
			}
			if sock == nil {
				return
			}
			tell() // for what was missed
		}
	}()
	return signal, nil
}

func subscribeRoutes() (*nl.NetlinkSocket, error) {
	sock, err := nl.SubscribeAt(netns.None(), netns.None(), unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return nil, fmt.Errorf("watch routes: %w", err)
	}
	if sock.SetReceiveBufferSize(routesBuffer, true) != nil {
		_ = sock.SetReceiveBufferSize(routesBuffer, false)
	}
	return sock, nil
}

// receiveRoutes reads until the socket fails or is closed.
func receiveRoutes(sock *nl.NetlinkSocket, matters func(netip.Prefix) bool, tell func()) {
	for {
		msgs, from, err := sock.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			tell()
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return
		case from.Pid != nl.PidKernel:
			continue
		}
		for _, m := range msgs {
			if p, ok := routeOf(m.Header.Type, m.Data); ok && matters(p) {
				tell()
			}
		}
	}
}

// routeOf gives the prefix that a message is about; the zero one for a link
// that is down or gone. Routes of the local table repeat the addresses.
func routeOf(kind uint16, data []byte) (netip.Prefix, bool) {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		down := len(data) >= unix.SizeofIfInfomsg && nl.DeserializeIfInfomsg(data).Flags&unix.IFF_UP == 0
		return netip.Prefix{}, kind == unix.RTM_DELLINK || down
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if len(data) < unix.SizeofRtMsg {
			return netip.Prefix{}, false
		}
		r := nl.DeserializeRtMsg(data)
		p, ok := addressIn(data[unix.SizeofRtMsg:], unix.RTA_DST, int(r.Dst_len))
		return p, ok && r.Table != unix.RT_TABLE_LOCAL && counts(p)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(data) < unix.SizeofIfAddrmsg {
			return netip.Prefix{}, false
		}
		p, ok := addressIn(data[unix.SizeofIfAddrmsg:], unix.IFA_ADDRESS, int(nl.DeserializeIfAddrmsg(data).Prefixlen))
		return p, ok && counts(p)
	}
	return netip.Prefix{}, false
}

func addressIn(data []byte, attribute uint16, bits int) (netip.Prefix, bool) {
	attrs, err := nl.ParseRouteAttr(data)
	if err != nil {
		return netip.Prefix{}, false
	}
	for _, a := range attrs {
		if addr, ok := netip.AddrFromSlice(a.Value); ok && a.Attr.Type == attribute {
			p, err := addr.Prefix(bits)
			return p, err == nil
		}
	}
	return netip.Prefix{}, false
}
