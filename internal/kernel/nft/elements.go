package nft

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// The sets and maps of ruleset.nft.
const (
	setFingerprint = "fingerprint"
	setBridges     = "bridges"
	setSameBridge  = "samebridge"
	setInternal    = "internal"
	setMasquerade4 = "masquerade4"
	setMasquerade6 = "masquerade6"
	setHairpin4    = "hairpin4"
	setHairpin6    = "hairpin6"
	mapPublish4    = "publish4"
	mapPublish6    = "publish6"
	mapAny4        = "publishany4"
	mapAny6        = "publishany6"
	mapFIPIn4      = "fip_in4"
	mapFIPIn6      = "fip_in6"
	mapFIPOut4     = "fip_out4"
	mapFIPOut6     = "fip_out6"
	setFIPOnly4    = "fip_only4"
	setFIPOnly6    = "fip_only6"
	setFIPPorts4   = "fip_ports4"
	setFIPPorts6   = "fip_ports6"
	mapMoved4      = "moved4"
	mapMoved6      = "moved6"
	setSwapped4    = "swapped4"
	setSwapped6    = "swapped6"
	setTenants     = "tenants"
	setGateways4   = "gateways4"
	setGateways6   = "gateways6"
	setOwnGates4   = "own_gateways4"
	setOwnGates6   = "own_gateways6"
	setTenantNets4 = "tenant_nets4"
	setTenantNets6 = "tenant_nets6"
)

// setNames lists those that hold elements of a desired.Firewall.
func setNames() []string {
	return append(bridgeSets(), setVeths, setBridges, setSameBridge, setInternal, setFlows4, setFlows6, setPairs4, setPairs6,
		setGuarded4, setGuarded6, setAdmit4, setAdmit6, mapMembers4, mapMembers6, setAdmitMembers4, setAdmitMembers6,
		setMasquerade4, setMasquerade6, setHairpin4, setHairpin6, mapPublish4, mapPublish6, mapAny4, mapAny6,
		mapFIPIn4, mapFIPIn6, mapFIPOut4, mapFIPOut6,
		setFIPOnly4, setFIPOnly6, setFIPPorts4, setFIPPorts6, mapMoved4, mapMoved6, setSwapped4, setSwapped6,
		setTenants, setGateways4, setGateways6, setOwnGates4, setOwnGates6, setTenantNets4, setTenantNets6)
}

// ifnameSize is IFNAMSIZ of linux/if.h: 15 characters and a NUL.
const ifnameSize = 16

// element is one element of a set or map: the bytes the kernel holds and what
// nft reads. end is the last key of the range in a concatenated interval set,
// and the first key after it in a plain one; nil: a single key. In a
// concatenation each field is padded to 4 bytes (nft(8), CONCATENATIONS;
// net/netfilter/nf_tables_api.c).
type element struct {
	key, end, val []byte
	text          string
}

func (e element) id() string { return string(e.key) + "-" + string(e.end) }

// layout is elements by the name of their set.
type layout map[string][]element

func (l layout) add(set string, e element) { l[set] = append(l[set], e) }

// lay turns the wanted firewall into elements, in an order that depends on
// nothing but their values.
func lay(fw desired.Firewall) (layout, error) {
	l := layout{}
	for _, part := range [...]func(layout, desired.Firewall) error{
		layBridges, laySubnets, layPorts, layFIPs, layMoved, layPolicy, layGroups, layTenants,
	} {
		if err := part(l, fw); err != nil {
			return nil, err
		}
	}
	for _, es := range l {
		slices.SortFunc(es, func(a, b element) int { return bytes.Compare(a.key, b.key) })
	}
	return l, nil
}

func layBridges(l layout, fw desired.Firewall) error {
	for name := range fw.Open {
		if err := checkIfname(name); err != nil {
			return err
		}
		l.add(setSameBridge, element{key: append(ifname(name), ifname(name)...),
			text: strconv.Quote(name) + " . " + strconv.Quote(name)})
	}
	return errors.Join(layNames(l, setBridges, fw.Bridges), layNames(l, setInternal, fw.Internal))
}

// layNames lays a set of interfaces' names.
func layNames(l layout, set string, names map[string]struct{}) error {
	for name := range names {
		if err := checkIfname(name); err != nil {
			return err
		}
		l.add(set, element{key: ifname(name), text: strconv.Quote(name)})
	}
	return nil
}

func laySubnets(l layout, fw desired.Firewall) error {
	for p := range fw.Masquerade {
		if !p.IsValid() {
			return errs.New(errs.Invalid, "masquerade: subnet missing")
		}
		p = p.Masked()
		l.add(pick(p.Addr(), setMasquerade4, setMasquerade6), element{
			key: p.Addr().AsSlice(), end: after(last(p)), text: p.String(),
		})
	}
	for k := range fw.Hairpin {
		if !k.Subnet.IsValid() {
			return errs.New(errs.Invalid, "hairpin on %s: subnet missing", k.Bridge)
		}
		if err := checkIfname(k.Bridge); err != nil {
			return err
		}
		p := k.Subnet.Masked()
		l.add(pick(p.Addr(), setHairpin4, setHairpin6), element{
			key:  append(p.Addr().AsSlice(), ifname(k.Bridge)...),
			end:  append(last(p).AsSlice(), ifname(k.Bridge)...),
			text: p.String() + " . " + strconv.Quote(k.Bridge),
		})
	}
	return nil
}

func layPorts(l layout, fw desired.Firewall) error {
	for c, t := range fw.Publish {
		num, ok := protoNumber(c.Proto)
		if !ok || !c.IP.IsValid() || c.IP.IsUnspecified() || c.IP.Is4() != t.IP.Is4() || !t.IP.IsValid() {
			return errs.New(errs.Invalid, "published port %v: can't lead to %v", c, t)
		}
		l.add(pick(c.IP, mapPublish4, mapPublish6), element{
			key: append(c.IP.AsSlice(), portKey(num, c.Port)...), val: target(t),
			text: fmt.Sprintf("%s . %s . %d : %s . %d", c.IP, c.Proto, c.Port, t.IP, t.Port),
		})
	}
	for k, t := range fw.PublishAny {
		num, ok := protoNumber(k.Proto)
		if !ok || !t.IP.IsValid() || k.V6 != t.IP.Is6() {
			return errs.New(errs.Invalid, "published port %v: can't lead to %v", k, t)
		}
		l.add(pick(t.IP, mapAny4, mapAny6), element{
			key: portKey(num, k.Port), val: target(t),
			text: fmt.Sprintf("%s . %d : %s . %d", k.Proto, k.Port, t.IP, t.Port),
		})
	}
	return nil
}

func layFIPs(l layout, fw desired.Firewall) error {
	lay := func(m map[netip.Addr]netip.Addr, v4, v6 string) error {
		for from, to := range m {
			if !from.IsValid() || !to.IsValid() || from.Is4() != to.Is4() {
				return errs.New(errs.Invalid, "floating IP: %v can't lead to %v", from, to)
			}
			l.add(pick(from, v4, v6), element{
				key: from.AsSlice(), val: to.AsSlice(), text: fmt.Sprintf("%s : %s", from, to),
			})
		}
		return nil
	}
	for a := range fw.FIPOnly {
		l.add(pick(a, setFIPOnly4, setFIPOnly6), element{key: a.AsSlice(), text: a.String()})
	}
	for c := range fw.FIPPorts {
		num, ok := protoNumber(c.Proto)
		if !ok || !c.IP.IsValid() {
			return errs.New(errs.Invalid, "floating IP: %v is no port", c)
		}
		l.add(pick(c.IP, setFIPPorts4, setFIPPorts6), element{
			key: append(c.IP.AsSlice(), portKey(num, c.Port)...), text: fmt.Sprintf("%s . %s . %d", c.IP, c.Proto, c.Port),
		})
	}
	return errors.Join(lay(fw.FIPIn, mapFIPIn4, mapFIPIn6), lay(fw.FIPOut, mapFIPOut4, mapFIPOut6))
}

func layMoved(l layout, fw desired.Firewall) error {
	for k, to := range fw.Moved {
		if err := checkIfname(k.Bridge); err != nil {
			return err
		}
		if !k.Addr.IsValid() || !to.IsValid() || k.Addr.Is4() != to.Is4() {
			return errs.New(errs.Invalid, "moved address: %v can't lead to %v", k.Addr, to)
		}
		l.add(pick(to, mapMoved4, mapMoved6), element{
			key: append(ifname(k.Bridge), k.Addr.AsSlice()...), val: to.AsSlice(),
			text: fmt.Sprintf("%q . %s : %s", k.Bridge, k.Addr, to),
		})
	}
	for a := range fw.Swapped {
		if !a.IsValid() {
			return errs.New(errs.Invalid, "the address of a swapped container is missing")
		}
		e := element{key: a.AsSlice(), text: a.String()}
		l.add(pick(a, setSwapped4, setSwapped6), e)
		l.add(pick(a, setRouted4, setRouted6), e)
	}
	return nil
}

// unlayMoved takes an address for swapped only when it is in both of its sets.
func unlayMoved(l layout, fw *desired.Firewall) {
	fw.FIPOnly, fw.FIPPorts = map[netip.Addr]struct{}{}, map[desired.Claim]struct{}{}
	fw.Moved, fw.Swapped = map[desired.MovedKey]netip.Addr{}, map[netip.Addr]struct{}{}
	for _, e := range slices.Concat(l[setFIPOnly4], l[setFIPOnly6]) {
		fw.FIPOnly[addr(e.key)] = struct{}{}
	}
	for _, e := range slices.Concat(l[setFIPPorts4], l[setFIPPorts6]) {
		n := len(e.key) - 8
		proto, port := unportKey(e.key[n:])
		fw.FIPPorts[desired.Claim{IP: addr(e.key[:n]), Proto: proto, Port: port}] = struct{}{}
	}
	for _, e := range slices.Concat(l[mapMoved4], l[mapMoved6]) {
		fw.Moved[desired.MovedKey{Bridge: name(e.key[:ifnameSize]), Addr: addr(e.key[ifnameSize:])}] = addr(e.val)
	}
	routed := map[netip.Addr]bool{}
	for _, e := range slices.Concat(l[setRouted4], l[setRouted6]) {
		routed[addr(e.key)] = true
	}
	for _, e := range slices.Concat(l[setSwapped4], l[setSwapped6]) {
		if a := addr(e.key); routed[a] {
			fw.Swapped[a] = struct{}{}
		}
	}
}

func layTenants(l layout, fw desired.Firewall) error {
	if err := layNames(l, setTenants, fw.Tenants); err != nil {
		return err
	}
	for p := range fw.TenantNets {
		if !p.IsValid() {
			return errs.New(errs.Invalid, "a tenant's subnet is missing")
		}
		p = p.Masked()
		l.add(pick(p.Addr(), setTenantNets4, setTenantNets6), element{key: p.Addr().AsSlice(), end: after(last(p)), text: p.String()})
	}
	for a := range fw.Gateways {
		if !a.IsValid() {
			return errs.New(errs.Invalid, "a gateway's address is missing")
		}
		l.add(pick(a, setGateways4, setGateways6), element{key: a.AsSlice(), text: a.String()})
	}
	for k := range fw.OwnGateways {
		if err := checkIfname(k.Bridge); err != nil {
			return err
		}
		if !k.Addr.IsValid() {
			return errs.New(errs.Invalid, "gateway of %s: address missing", k.Bridge)
		}
		l.add(pick(k.Addr, setOwnGates4, setOwnGates6), element{
			key: append(ifname(k.Bridge), k.Addr.AsSlice()...), text: strconv.Quote(k.Bridge) + " . " + k.Addr.String(),
		})
	}
	return nil
}

// unlay reads elements back.
func unlay(l layout) desired.Firewall {
	fw := desired.Firewall{
		Bridges: map[string]struct{}{}, Open: map[string]struct{}{}, Internal: map[string]struct{}{},
		Masquerade: map[netip.Prefix]struct{}{}, Hairpin: map[desired.HairpinKey]struct{}{},
		Publish: map[desired.Claim]desired.Target{}, PublishAny: map[desired.PortKey]desired.Target{},
		FIPIn: map[netip.Addr]netip.Addr{}, FIPOut: map[netip.Addr]netip.Addr{},
		Tenants: map[string]struct{}{}, Gateways: map[netip.Addr]struct{}{}, OwnGateways: map[desired.GatewayKey]struct{}{},
		TenantNets: map[netip.Prefix]struct{}{},
	}
	unlayMoved(l, &fw)
	unlayPolicy(l, &fw)
	unlayGroups(l, &fw)
	for _, e := range l[setSameBridge] {
		if a, b := name(e.key[:ifnameSize]), name(e.key[ifnameSize:]); a == b {
			fw.Open[a] = struct{}{}
		}
	}
	for _, e := range l[setBridges] {
		fw.Bridges[name(e.key)] = struct{}{}
	}
	for _, e := range l[setInternal] {
		fw.Internal[name(e.key)] = struct{}{}
	}
	for _, e := range slices.Concat(l[setMasquerade4], l[setMasquerade6]) {
		fw.Masquerade[prefix(addr(e.key), addr(e.end).Prev())] = struct{}{}
	}
	for _, e := range slices.Concat(l[setHairpin4], l[setHairpin6]) {
		n := len(e.key) - ifnameSize
		k := desired.HairpinKey{Subnet: prefix(addr(e.key[:n]), addr(e.end[:n])), Bridge: name(e.key[n:])}
		fw.Hairpin[k] = struct{}{}
	}
	for _, e := range slices.Concat(l[mapPublish4], l[mapPublish6]) {
		n := len(e.key) - 8
		proto, port := unportKey(e.key[n:])
		fw.Publish[desired.Claim{IP: addr(e.key[:n]), Proto: proto, Port: port}] = untarget(e.val)
	}
	for _, e := range slices.Concat(l[mapAny4], l[mapAny6]) {
		proto, port := unportKey(e.key)
		t := untarget(e.val)
		fw.PublishAny[desired.PortKey{V6: t.IP.Is6(), Proto: proto, Port: port}] = t
	}
	for _, e := range slices.Concat(l[mapFIPIn4], l[mapFIPIn6]) {
		fw.FIPIn[addr(e.key)] = addr(e.val)
	}
	for _, e := range slices.Concat(l[mapFIPOut4], l[mapFIPOut6]) {
		fw.FIPOut[addr(e.key)] = addr(e.val)
	}
	for _, e := range l[setTenants] {
		fw.Tenants[name(e.key)] = struct{}{}
	}
	for _, e := range slices.Concat(l[setTenantNets4], l[setTenantNets6]) {
		fw.TenantNets[prefix(addr(e.key), addr(e.end).Prev())] = struct{}{}
	}
	for _, e := range slices.Concat(l[setGateways4], l[setGateways6]) {
		fw.Gateways[addr(e.key)] = struct{}{}
	}
	for _, e := range slices.Concat(l[setOwnGates4], l[setOwnGates6]) {
		fw.OwnGateways[desired.GatewayKey{Bridge: name(e.key[:ifnameSize]), Addr: addr(e.key[ifnameSize:])}] = struct{}{}
	}
	return fw
}

// told tells whether fw tells all of l: somebody may have added elements that
// we never would, a pair of two bridges or a range that is no subnet, which
// Update can't name to delete them.
func told(l layout, fw desired.Firewall) bool {
	again, err := lay(fw)
	return err == nil && !slices.ContainsFunc(setNames(), func(set string) bool { return len(l[set]) != len(again[set]) })
}

// script writes `add element` commands for nft -f.
func (l layout) script(b *strings.Builder) {
	for _, set := range slices.Sorted(maps.Keys(l)) {
		fmt.Fprintf(b, "add element %s %s %s {", familyName(set), tableName, set)
		for i, e := range l[set] {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteByte('\n')
			b.WriteString(e.text)
		}
		b.WriteString("\n}\n")
	}
}

// correct limits deletions to what is there and additions to what is not; an
// element that is there with another value is deleted first.
func correct(add, del, have layout) (layout, layout) {
	adds, dels := layout{}, layout{}
	for _, set := range setNames() {
		there := map[string]element{}
		for _, e := range have[set] {
			there[e.id()] = e
		}
		for _, e := range del[set] {
			if _, ok := there[e.id()]; ok {
				dels.add(set, e)
				delete(there, e.id())
			}
		}
		for _, e := range add[set] {
			old, ok := there[e.id()]
			if ok && bytes.Equal(old.val, e.val) {
				continue
			}
			if ok {
				dels.add(set, old)
			}
			adds.add(set, e)
		}
	}
	return adds, dels
}

// pairRanges joins the start and end marks, which the kernel keeps of a plain
// interval set, to ranges. Where one range ends and the next starts, the end
// comes first.
func pairRanges(marks []mark) []element {
	slices.SortFunc(marks, func(a, b mark) int {
		return cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(b2i(b.end), b2i(a.end)))
	})
	var out []element
	var start []byte
	for _, m := range marks {
		switch {
		case !m.end:
			start = m.key
		case start != nil:
			out = append(out, element{key: start, end: m.key})
			start = nil
		}
	}
	return out
}

type mark struct {
	key []byte
	end bool
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func pick(a netip.Addr, v4, v6 string) string {
	if a.Is4() {
		return v4
	}
	return v6
}

// checkIfname refuses what nft reads otherwise: an asterisk means every name
// that starts so.
func checkIfname(s string) error {
	odd := func(r rune) bool { return r == ' ' || !strconv.IsPrint(r) || strings.ContainsRune(`"\/*`, r) }
	if s == "" || len(s) >= ifnameSize || strings.ContainsFunc(s, odd) {
		return errs.New(errs.Invalid, "%q can't be the name of a network interface: 1 to 15 characters without blanks, quotes, slashes and asterisks", s)
	}
	return nil
}

func ifname(s string) []byte {
	b := make([]byte, ifnameSize)
	copy(b, s)
	return b
}

func name(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

func addr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return addr(b)
}

// after gives the next address, the first one of all after the last.
func after(a netip.Addr) []byte {
	if next := a.Next(); next.IsValid() {
		return next.AsSlice()
	}
	return make([]byte, a.BitLen()/8)
}

// prefix gives the prefix from first to last; invalid when that is none.
func prefix(first, end netip.Addr) netip.Prefix {
	for bits := 0; bits <= first.BitLen(); bits++ {
		if p := netip.PrefixFrom(first, bits); p.Masked().Addr() == first && last(p) == end {
			return p
		}
	}
	return netip.PrefixFrom(first, -1)
}

func protoNumber(s string) (byte, bool) {
	switch s {
	case "tcp":
		return 6, true
	case "udp":
		return 17, true
	case "sctp":
		return 132, true
	}
	return 0, false
}

func protoName(n byte) string {
	for _, s := range []string{"tcp", "udp", "sctp"} {
		if m, _ := protoNumber(s); m == n {
			return s
		}
	}
	return strconv.Itoa(int(n))
}

// portKeySize is the length of a protocol and a port in a concatenation.
const portKeySize = 8

func portKey(proto byte, port uint16) []byte {
	b := make([]byte, portKeySize)
	b[0] = proto
	binary.BigEndian.PutUint16(b[4:], port)
	return b
}

func unportKey(b []byte) (string, uint16) {
	return protoName(b[0]), binary.BigEndian.Uint16(b[4:])
}

func target(t desired.Target) []byte {
	return append(t.IP.AsSlice(), byte(t.Port>>8), byte(t.Port), 0, 0)
}

func untarget(b []byte) desired.Target {
	n := len(b) - 4
	return desired.Target{IP: addr(b[:n]), Port: binary.BigEndian.Uint16(b[n:])}
}
