package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
)

// owners are the netlink port IDs through which we change the ruleset. An
// event names the port of who caused it in its header. (NFTA_GEN_PROC_PID would
// not do: it is the ID of a thread, seen from the first PID namespace.)
type owners struct {
	mu   sync.Mutex
	port map[uint32]time.Time // zero: ours for good; else when it was given up
}

// ownerGrace is how long after its end a process's port is still taken for
// ours: its last events may be waiting in a socket.
const ownerGrace = 5 * time.Second

func (o *owners) add(port uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.port == nil {
		o.port = map[uint32]time.Time{}
	}
	o.port[port] = time.Time{}
}

func (o *owners) retire(port uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.port[port] = time.Now()
	for p, t := range o.port {
		if !t.IsZero() && time.Since(t) > ownerGrace {
			delete(o.port, p)
		}
	}
}

func (o *owners) has(port uint32) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	t, ok := o.port[port]
	return ok && (t.IsZero() || time.Since(t) <= ownerGrace)
}

// Watch signals, coalesced, that somebody else changed our tables or a foreign
// chain that concerns us, or that events were lost. It ends with ctx, closing
// the channel.
func (f *Firewall) Watch(ctx context.Context) (<-chan struct{}, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "open netlink socket for nf_tables events: %w", err)
	}
	if err := errors.Join(c.SetReadBuffer(f.eventBuffer), c.JoinGroup(unix.NFNLGRP_NFTABLES)); err != nil {
		_ = c.Close()
		return nil, errs.New(errs.Unavailable, "subscribe to nf_tables events: %w", err)
	}
	changed := make(chan struct{}, 1)
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	go func() {
		defer close(changed)
		defer stop()
		defer c.Close()
		f.watch(ctx, c, changed)
	}()
	return changed, nil
}

func (f *Firewall) watch(ctx context.Context, c *netlink.Conn, changed chan<- struct{}) {
	signal := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	concerned := false
	for ctx.Err() == nil {
		msgs, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, unix.ENOBUFS):
			signal() // events were lost: look
			continue
		case err != nil:
			f.log.Error("nf_tables events can't be read any more; damage to the firewall is found by the timer only",
				"error", fmt.Errorf("netlink: %w", err))
			return
		}
		for _, m := range msgs {
			if f.own.has(m.Header.PID) {
				continue
			}
			// A transaction's events end with the number of the new generation.
			if int(m.Header.Type) == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN {
				if concerned {
					signal()
				}
				concerned = false
				continue
			}
			concerned = concerned || concerns(m)
		}
	}
}

// concerns tells whether an event is about our tables or about a chain that
// foreign.go writes to. The first attribute of every object is its table.
func concerns(m netlink.Message) bool {
	if int(m.Header.Type)>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.Data) < 4 {
		return false
	}
	family := m.Data[0]
	a := attrsOf(m.Data[4:])
	table := cstring(a[unix.NFTA_TABLE_NAME])
	if table == tableName && slices.Contains(ourFamilies(), family) {
		return true
	}
	for _, fc := range foreignChains() {
		if fc.family != family || fc.table != table {
			continue
		}
		switch int(m.Header.Type) & 0xff {
		case unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE:
			return true
		case unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN:
			return cstring(a[unix.NFTA_CHAIN_NAME]) == fc.chain
		case unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE:
			return cstring(a[unix.NFTA_RULE_CHAIN]) == fc.chain
		}
	}
	return false
}
