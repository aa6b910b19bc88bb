package nft

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// sockBuffer bounds one batch: about 100,000 elements.
const sockBuffer = 16 << 20

// chunk is how many elements go into one message: the length of an attribute
// is 16 bits, and an IPv6 port with its target takes 84 bytes.
const chunk = 500

// kernel is a netlink socket of the family NETLINK_NETFILTER.
type kernel struct {
	*nftables.Conn
	raw  *netlink.Conn
	port uint32 // the socket's port ID: events name it as the one who changed something
}

func dial() (*kernel, error) {
	k := &kernel{}
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		k.raw = c
		return errors.Join(c.SetWriteBuffer(sockBuffer), c.SetReadBuffer(sockBuffer), c.SetOption(netlink.CapAcknowledge, true))
	}))
	if err != nil {
		return nil, fmt.Errorf("open netlink socket to nf_tables: %w", err)
	}
	k.Conn = conn
	k.port, err = portOf(k.raw)
	return k, err
}

func portOf(c *netlink.Conn) (uint32, error) {
	sc, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var sa unix.Sockaddr
	var nameErr error
	if err := sc.Control(func(fd uintptr) { sa, nameErr = unix.Getsockname(int(fd)) }); err != nil {
		return 0, err
	}
	if nameErr != nil {
		return 0, nameErr
	}
	nl, ok := sa.(*unix.SockaddrNetlink)
	if !ok {
		return 0, errors.New("not a netlink socket")
	}
	return nl.Pid, nil
}

func ourSet(name string) *nftables.Set {
	return &nftables.Set{Table: tableOf(name), Name: name}
}

// plainInterval tells the sets of which the kernel keeps the marks where
// ranges start and end; in concatenated ones an element holds both.
func plainInterval(set string) bool {
	switch set {
	case setMasquerade4, setMasquerade6, setTenantNets4, setTenantNets6:
		return true
	}
	return false
}

// nftaSetElemKeyEnd is NFTA_SET_ELEM_KEY_END of linux/netfilter/nf_tables.h.
const nftaSetElemKeyEnd = 10

// elements reads one set. (Conn.GetSetElements hides the kernel's error.)
func (k *kernel) elements(set string) ([]element, error) {
	replies, err := k.request(unix.NFT_MSG_GETSETELEM, byte(tableOf(set).Family), netlink.Dump,
		netlink.Attribute{Type: unix.NFTA_SET_ELEM_LIST_TABLE, Data: []byte(tableName + "\x00")},
		netlink.Attribute{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: []byte(set + "\x00")})
	if err != nil {
		return nil, err
	}
	var out []element
	var marks []mark
	for _, r := range replies {
		for _, e := range listOf(attrsOf(r)[unix.NFTA_SET_ELEM_LIST_ELEMENTS]) {
			a := attrsOf(e)
			value := func(attr uint16) []byte { return attrsOf(a[attr])[unix.NFTA_DATA_VALUE] }
			if plainInterval(set) {
				flags := a[unix.NFTA_SET_ELEM_FLAGS]
				end := len(flags) == 4 && binary.BigEndian.Uint32(flags)&unix.NFT_SET_ELEM_INTERVAL_END != 0
				marks = append(marks, mark{value(unix.NFTA_SET_ELEM_KEY), end})
				continue
			}
			out = append(out, element{key: value(unix.NFTA_SET_ELEM_KEY), end: value(nftaSetElemKeyEnd), val: value(unix.NFTA_SET_ELEM_DATA)})
		}
	}
	if plainInterval(set) {
		return pairRanges(marks), nil
	}
	return out, nil
}

// wire gives the elements of a set as messages carry them.
func wire(set string, es []element, withValue bool) []nftables.SetElement {
	out := make([]nftables.SetElement, 0, len(es))
	for _, e := range es {
		se := nftables.SetElement{Key: e.key}
		if withValue {
			se.Val = e.val
		}
		if !plainInterval(set) {
			se.KeyEnd = e.end
		}
		out = append(out, se)
		if plainInterval(set) {
			out = append(out, nftables.SetElement{Key: e.end, IntervalEnd: true})
		}
	}
	return out
}

// commit sends deletions and additions as one transaction.
func (k *kernel) commit(add, del layout) error {
	for _, set := range setNames() {
		if err := chunks(wire(set, del[set], false), func(es []nftables.SetElement) error {
			return k.SetDeleteElements(ourSet(set), es)
		}); err != nil {
			return err
		}
		if err := chunks(wire(set, add[set], true), func(es []nftables.SetElement) error {
			return k.SetAddElements(ourSet(set), es)
		}); err != nil {
			return err
		}
	}
	return k.Flush()
}

func chunks(es []nftables.SetElement, f func([]nftables.SetElement) error) error {
	for len(es) > 0 {
		n := min(chunk, len(es))
		if err := f(es[:n]); err != nil {
			return err
		}
		es = es[n:]
	}
	return nil
}

// request sends one message of nf_tables and gives the replies' data without
// their nfgenmsg.
func (k *kernel) request(msgType int, family byte, flags netlink.HeaderFlags, attrs ...netlink.Attribute) ([][]byte, error) {
	data, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return nil, err
	}
	msgs, err := k.raw.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | msgType), Flags: netlink.Request | flags},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, data...),
	})
	if err != nil {
		return nil, err
	}
	out := make([][]byte, 0, len(msgs))
	for _, m := range msgs {
		if len(m.Data) >= 4 {
			out = append(out, m.Data[4:])
		}
	}
	return out, nil
}

// generation is the number of the ruleset's last change: equal before and
// after some reads says that they saw one state.
func (k *kernel) generation() (uint32, error) {
	replies, err := k.request(unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, 0)
	if err != nil {
		return 0, err
	}
	for _, r := range replies {
		if id := attrsOf(r)[unix.NFTA_GEN_ID]; len(id) == 4 {
			return binary.BigEndian.Uint32(id), nil
		}
	}
	return 0, errors.New("nf_tables tells no generation")
}

// attrsOf decodes one level of attributes; of repeated ones the last stays.
func attrsOf(b []byte) map[uint16][]byte {
	list, err := netlink.UnmarshalAttributes(b)
	if err != nil {
		return nil
	}
	m := make(map[uint16][]byte, len(list))
	for _, a := range list {
		m[a.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)] = a.Data
	}
	return m
}

func cstring(b []byte) string { return name(b) }

// listOf decodes a nested list.
func listOf(b []byte) [][]byte {
	list, err := netlink.UnmarshalAttributes(b)
	if err != nil {
		return nil
	}
	out := make([][]byte, 0, len(list))
	for _, a := range list {
		out = append(out, a.Data)
	}
	return out
}

// allChains lists a family's chains, each with its attributes.
func (k *kernel) allChains(family byte) ([]map[uint16][]byte, error) {
	replies, err := k.request(unix.NFT_MSG_GETCHAIN, family, netlink.Dump)
	if err != nil {
		return nil, err
	}
	out := make([]map[uint16][]byte, 0, len(replies))
	for _, r := range replies {
		out = append(out, attrsOf(r))
	}
	return out, nil
}

// chains lists a table's chains; the kernel can't be asked for less than a family's.
func (k *kernel) chains(family byte, table string) ([]map[uint16][]byte, error) {
	all, err := k.allChains(family)
	return slices.DeleteFunc(all, func(a map[uint16][]byte) bool { return cstring(a[unix.NFTA_CHAIN_TABLE]) != table }), err
}

// rules lists a table's rules in their order.
func (k *kernel) rules(family byte, table, chain string) ([]map[uint16][]byte, error) {
	attrs := []netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: []byte(table + "\x00")}}
	if chain != "" {
		attrs = append(attrs, netlink.Attribute{Type: unix.NFTA_RULE_CHAIN, Data: []byte(chain + "\x00")})
	}
	replies, err := k.request(unix.NFT_MSG_GETRULE, family, netlink.Dump, attrs...)
	if err != nil {
		return nil, err
	}
	out := make([]map[uint16][]byte, 0, len(replies))
	for _, r := range replies {
		out = append(out, attrsOf(r))
	}
	return out, nil
}

// fingerprint hashes the ruleset's text together with every chain and rule as
// the kernel tells them, so that a table that another version loaded, and a
// rule that somebody added, changed or deleted, give another one. Handles and
// use counts are left out. 15 digits fit an interface's name, the only type of
// set that shows text.
func (k *kernel) fingerprint() (string, error) {
	h := sha256.New()
	field := func(b []byte) {
		_ = binary.Write(h, binary.BigEndian, uint32(len(b)))
		h.Write(b)
	}
	field([]byte(ruleset))
	for _, family := range ourFamilies() {
		chains, err := k.chains(family, tableName)
		if err != nil {
			return "", err
		}
		rules, err := k.rules(family, tableName, "")
		if err != nil {
			return "", err
		}
		for _, c := range chains {
			for _, a := range []uint16{unix.NFTA_CHAIN_NAME, unix.NFTA_CHAIN_HOOK, unix.NFTA_CHAIN_POLICY, unix.NFTA_CHAIN_TYPE} {
				field(c[a])
			}
		}
		for _, r := range rules {
			field(r[unix.NFTA_RULE_CHAIN])
			field(r[unix.NFTA_RULE_EXPRESSIONS])
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:ifnameSize-1], nil
}

// ourFamilies are those in which we have a table.
func ourFamilies() []byte { return []byte{unix.NFPROTO_INET, unix.NFPROTO_BRIDGE} }
