//go:build linux

package link

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// redirectTable is the table inside a container's namespace that leads the
// resolver's address to the port where the daemon really listens.
const redirectTable = "jackstay_dns"

// redirected tells whether the resolver listens on another port than it is
// asked on, because the container wants that port of every address.
func redirected(s *desired.Sandbox) bool {
	return s.Resolver.IsValid() && s.ResolverVia.IsValid() && s.ResolverVia.Port() != s.Resolver.Port()
}

// ensureRedirect writes the table in the namespace of the calling thread, whole
// and in one transaction:
//
//	table inet jackstay_dns {
//		chain output {
//			type nat hook output priority dstnat
//			ip daddr 127.0.0.11 udp dport 53 dnat ip to 127.0.0.11:PORT
//			ip daddr 127.0.0.11 tcp dport 53 dnat ip to 127.0.0.11:PORT
//		}
//	}
//
// Connection tracking gives the answers their source back.
func ensureRedirect(from, to netip.AddrPort) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: redirectTable}
	c.AddTable(t) // so that deleting always succeeds
	c.DelTable(t)
	c.AddTable(t)
	chain := c.AddChain(&nftables.Chain{
		Name: "output", Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: redirectRule(proto, from, to)})
	}
	if err := c.Flush(); err != nil {
		return errs.New(errs.Unavailable, "lead %s to the resolver (nftables with NAT needed): %w", from, err)
	}
	return nil
}

func redirectRule(proto byte, from, to netip.AddrPort) []expr.Any {
	src, dst := from.Addr().As4(), to.Addr().As4()
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: src[:]},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(from.Port())},
		&expr.Immediate{Register: 1, Data: dst[:]},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	}
}
