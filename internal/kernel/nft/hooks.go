package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
)

// The kernel translates packets of open connections in hooks that are there for
// as long as some table has a chain of type nat, and finds their connections in
// hooks that are there for as long as some rule asks for connection tracking.
// Without our tables, for the milliseconds until they are loaded again, a
// connection through a published port would meet neither: its packets reach the
// host itself, which answers with a reset. So a table of its own keeps both.
// It is owned by our socket, and `nft flush ruleset` leaves alone what another
// socket owns (net/netfilter/nf_tables_api.c: nft_flush). It goes with the socket.

const (
	hooksName = "jackstay-hooks"
	// hooksComment is shown by `nft list ruleset`.
	hooksComment = "Keeps open connections while the ruleset is flushed. Leave it out of rulesets you save."
)

// From linux/netfilter/nf_tables.h and libnftnl's udata.h.
const (
	nftTableOwner     = 0x2 // NFT_TABLE_F_OWNER, Linux 5.12
	nftaTableUserdata = 6   // NFTA_TABLE_USERDATA
	udataTableComment = 0   // NFTNL_UDATA_TABLE_COMMENT
)

// hooks is the socket that owns the table.
type hooks struct {
	k   *kernel // nil: there is none
	err error   // why
	// warning is err for who asks while the firewall is at work; nil: none.
	warning atomic.Pointer[string]
}

// set notes what came of making the table.
func (h *hooks) set(k *kernel, err error) {
	h.k, h.err = k, err
	h.warning.Store(nil)
	if err != nil {
		w := fmt.Sprintf("connections through published ports and to outside may be reset by `nft flush ruleset`: %v", err)
		h.warning.Store(&w)
	}
}

// keepHooks makes the table, if it is not there. Without it everything works
// but for connections that are open when somebody flushes the ruleset, so what
// is in the way is told once.
func (f *Firewall) keepHooks() {
	if f.hooks.k != nil || errs.Is(f.hooks.err, errs.Unavailable) {
		return
	}
	told := f.hooks.err != nil
	f.hooks.set(f.ownHooks())
	if f.hooks.err != nil && !told {
		f.log.Warn("connections through published ports and to outside may be reset by `nft flush ruleset`", "error", f.hooks.err)
	}
}

func (f *Firewall) ownHooks() (*kernel, error) {
	k, err := dial()
	if err != nil {
		return nil, err
	}
	f.own.add(k.port)
	if err := errors.Join(k.ownTable(hooksName, hooksComment), k.holdHooks()); err != nil {
		_ = k.CloseLasting()
		f.own.retire(k.port)
		return nil, err
	}
	return k, nil
}

// ownTable makes a table that only this socket can change, and that goes when it is closed.
func (k *kernel) ownTable(table, comment string) error {
	data, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: []byte(table + "\x00")},
		{Type: unix.NFTA_TABLE_FLAGS, Data: binary.BigEndian.AppendUint32(nil, nftTableOwner)},
		{Type: nftaTableUserdata, Data: append([]byte{udataTableComment, byte(len(comment) + 1)}, comment+"\x00"...)},
	})
	if err != nil {
		return err
	}
	message := func(kind int, flags netlink.HeaderFlags, family byte, resource byte, data []byte) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | flags},
			Data:   append([]byte{family, unix.NFNETLINK_V0, 0, resource}, data...),
		}
	}
	if _, err = k.raw.SendMessages([]netlink.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil),
		message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE, netlink.Create|netlink.Acknowledge, unix.NFPROTO_INET, 0, data),
		message(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil),
	}); err == nil {
		_, err = k.raw.Receive()
	}
	return refusal(table, err)
}

// refusal says why the kernel did not make an owned table.
func refusal(table string, err error) error {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return errs.New(errs.Unavailable, "this kernel's nf_tables has no tables with an owner (Linux 5.12): %w", err)
	case errors.Is(err, unix.EPERM):
		return errs.New(errs.Conflict, "another process owns table inet %s; is there a second daemon? %w", table, err)
	case err != nil:
		return fmt.Errorf("make table inet %s: %w", table, err)
	}
	return nil
}

// holdHooks makes a chain of type nat, with which come those of all hooks of
// IPv4 and IPv6 (net/netfilter/nf_nat_core.c: nf_nat_register_fn), and a rule
// that asks for connection tracking. They change nothing for any packet.
func (k *kernel) holdHooks() error {
	table := &nftables.Table{Name: hooksName, Family: nftables.TableFamilyINet}
	chain := k.AddChain(&nftables.Chain{
		Name: "prerouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATSource,
	})
	k.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{ // ct direction original accept
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0}},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}})
	if err := k.Flush(); err != nil {
		return fmt.Errorf("make chain inet %s prerouting: %w", hooksName, err)
	}
	return nil
}

// drop gives the table up, and with it the hooks.
func (h *hooks) drop() {
	if h.k != nil {
		_ = h.k.CloseLasting()
		h.k = nil
	}
}

// Warnings says what the kernel lacks for the firewall to do all it can. It waits
// for nothing.
func (f *Firewall) Warnings() []string {
	if w := f.hooks.warning.Load(); w != nil {
		return []string{*w}
	}
	return nil
}
