//go:build linux

package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// settleTime is how long the watch gathers names before it looks: one
	// container's start is a dozen messages.
	settleTime = 10 * time.Millisecond
	// watchBuffer is the socket's receive buffer in bytes, of about 1.5 kB a message.
	watchBuffer = 4 << 20
	// resubscribeAfter keeps a socket that fails at once from spinning.
	resubscribeAfter = 100 * time.Millisecond
)

// Watch signals, coalesced, that a link or address of ours was changed or
// deleted on the host by somebody else, or that forwarding was turned off. It ends with ctx; the channel stays
// open then and silent.
//
// The kernel announces our own changes like anybody's. So a message only says
// which link to look at: a moment later the link is compared with what we last
// made or saw, and only a difference is signalled. When messages were lost,
// that is signalled too.
func (h *Host) Watch(ctx context.Context) (<-chan struct{}, error) {
	sock, err := subscribe()
	if err != nil {
		return nil, err
	}
	signal := make(chan struct{}, 1)
	w := &watcher{host: h, signal: signal, port: h.wire.port(), touched: make(chan string, 1024)}
	go w.judge(ctx)
	go w.listen(ctx, sock)
	return signal, nil
}

func subscribe() (*nl.NetlinkSocket, error) {
	sock, err := nl.SubscribeAt(netns.None(), netns.None(), unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_TC, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF)
	if err != nil {
		return nil, fmt.Errorf("watch links: %w", err)
	}
	if sock.SetReceiveBufferSize(watchBuffer, true) != nil {
		_ = sock.SetReceiveBufferSize(watchBuffer, false)
	}
	return sock, nil
}

type watcher struct {
	host    *Host
	signal  chan struct{}
	port    uint32      // of the socket through which we ask for limits
	touched chan string // names of links to look at; "" to have everything observed
}

// listen reads messages until ctx ends, opening the socket again when it fails.
func (w *watcher) listen(ctx context.Context, sock *nl.NetlinkSocket) {
	for {
		stop := context.AfterFunc(ctx, sock.Close)
		err := w.receive(ctx, sock)
		if stop() {
			sock.Close()
		}
		if ctx.Err() != nil {
			return
		}
		w.host.log.Warn("the watch of links is opened again", "error", err)
		for sock = nil; sock == nil; sock, err = subscribe() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(resubscribeAfter):
			}
		}
		w.touch(ctx, "")
	}
}

func (w *watcher) receive(ctx context.Context, sock *nl.NetlinkSocket) error {
	for {
		msgs, from, err := sock.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			w.touch(ctx, "")
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case from.Pid != nl.PidKernel:
			continue
		}
		for _, m := range msgs {
			if trafficControl(m.Header.Type) && m.Header.Pid == w.port {
				continue // we asked
			}
			if name, ok := w.subject(m.Header.Type, m.Data); ok {
				w.touch(ctx, name)
			}
		}
	}
}

func (w *watcher) touch(ctx context.Context, name string) {
	select {
	case w.touched <- name:
	case <-ctx.Done():
	}
}

// subject is the name of the link that a message is about, if we know it.
func (w *watcher) subject(kind uint16, data []byte) (string, bool) {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(data) < unix.SizeofIfInfomsg {
			return "", false
		}
		if w.host.parents.touched(kind, data) {
			return "", true // have everything observed
		}
		// By index: a link that was renamed is still the one we know.
		return w.host.known.limitedBy(int(nl.DeserializeIfInfomsg(data).Index))
	case unix.RTM_NEWQDISC, unix.RTM_DELQDISC, unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER:
		if len(data) < nl.SizeofTcMsg {
			return "", false
		}
		return w.host.known.limitedBy(int(nl.DeserializeTcMsg(data).Ifindex))
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(data) < unix.SizeofIfAddrmsg {
			return "", false
		}
		if kind == unix.RTM_DELADDR && w.tookOff(data) {
			return "", true // have everything observed
		}
		return w.host.known.byIndex(int(nl.DeserializeIfAddrmsg(data).Index))
	case unix.RTM_NEWNETCONF:
		index, off := forwardingOff(data)
		name, ours := w.host.known.byIndex(index)
		if index == netconfAll {
			name, ours = "all", true
		}
		on := forwards(name)
		if len(data) > 0 && data[0] == unix.AF_INET6 {
			on = forwards6()
		}
		if off && ours && !on { // a late message may tell of how a bridge began
			return "", true // nothing of the link itself differs: have everything observed
		}
	}
	return "", false
}

func trafficControl(kind uint16) bool {
	return kind >= unix.RTM_NEWQDISC && kind <= unix.RTM_GETTFILTER
}

// tookOff tells whether a message says that somebody else took an address of
// ours off a device of the host's: we forget those we take off before we do.
func (w *watcher) tookOff(data []byte) bool {
	attrs, err := nl.ParseRouteAttr(data[unix.SizeofIfAddrmsg:])
	if err != nil {
		return false
	}
	for _, a := range attrs {
		if addr, ok := netip.AddrFromSlice(a.Value); ok && (a.Attr.Type == unix.IFA_LOCAL || a.Attr.Type == unix.IFA_ADDRESS) && w.host.placed.has(addr) {
			return true
		}
	}
	return false
}

// judge gathers touched names for settleTime and then looks at each.
func (w *watcher) judge(ctx context.Context) {
	pending := map[string]struct{}{}
	timer := time.NewTimer(settleTime)
	timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case name := <-w.touched:
			if len(pending) == 0 {
				timer.Reset(settleTime)
			}
			pending[name] = struct{}{}
		case <-timer.C:
			if w.settle(pending) {
				select {
				case w.signal <- struct{}{}:
				default:
				}
			}
			if len(pending) > 0 {
				timer.Reset(settleTime)
			}
		}
	}
}

// settle looks at the names and tells whether to signal. Names that we are
// changing right now stay for the next time.
func (w *watcher) settle(pending map[string]struct{}) bool {
	for name := range pending {
		want, known, busy := w.host.known.get(name)
		switch {
		case name == "":
			clear(pending)
			return true
		case busy:
			continue
		case known && w.host.differs(name, want):
			clear(pending) // one signal has everything observed
			return true
		}
		delete(pending, name)
	}
	return false
}

// differs compares a link with what we know of it. When it can't be looked at,
// it does: the observation that follows says why.
func (h *Host) differs(name string, want shape) bool {
	l, err := find(h.nl, name)
	if err != nil || l == nil {
		return !h.stale(name, want)
	}
	have := linkShape(l)
	if _, bridge := l.(*netlink.Bridge); bridge {
		if have, err = h.bridgeShape(l); err != nil {
			return true
		}
	}
	have.rates = want.rates
	return (have != want || h.ratesDiffer(l, want.rates)) && !h.stale(name, want)
}

// stale tells that what we compared with has been changed by us meanwhile.
func (h *Host) stale(name string, compared shape) bool {
	now, known, busy := h.known.get(name)
	return busy || !known || now != compared
}
