package nft

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// The sets and the map of security groups.
const (
	setGuarded4      = "guarded4"
	setGuarded6      = "guarded6"
	setAdmit4        = "admit4"
	setAdmit6        = "admit6"
	mapMembers4      = "members4"
	mapMembers6      = "members6"
	setAdmitMembers4 = "admitmembers4"
	setAdmitMembers6 = "admitmembers6"
)

func layGroups(l layout, fw desired.Firewall) error {
	for a := range fw.Guarded {
		if !a.IsValid() || a.Zone() != "" {
			return errs.New(errs.Invalid, "address %v can't be guarded by the firewall", a)
		}
		l.add(pick(a, setGuarded4, setGuarded6), element{key: a.AsSlice(), text: a.String()})
	}
	for a, mark := range fw.Members {
		if !a.IsValid() || !isMark(mark) {
			return errs.New(errs.Invalid, "address %v can't be told to the firewall with mark %d", a, mark)
		}
		l.add(pick(a, mapMembers4, mapMembers6), element{key: a.AsSlice(), val: markKey(mark), text: fmt.Sprintf("%s : %#x", a, mark)})
	}
	for a := range fw.Admit {
		if !sameFamily(a.From, a.To) || !sameFamily(a.FromLast, a.To) || a.FromLast.Less(a.From) || !sound(a.Span) {
			return errs.New(errs.Invalid, "admission %v can't be told to the firewall", a)
		}
		from, to := spanKeys(a.To, a.Span)
		l.add(pick(a.To, setAdmit4, setAdmit6), element{
			key: append(a.From.AsSlice(), from...), end: append(a.FromLast.AsSlice(), to...),
			text: fmt.Sprintf("%s . %s", addrRange(a.From, a.FromLast), spanText(a.To, a.Span)),
		})
	}
	for a := range fw.AdmitMembers {
		if !isMark(a.Mark) || !a.To.IsValid() || !sound(a.Span) {
			return errs.New(errs.Invalid, "admission %v can't be told to the firewall", a)
		}
		from, to := spanKeys(a.To, a.Span)
		l.add(pick(a.To, setAdmitMembers4, setAdmitMembers6), element{
			key: append(markKey(a.Mark), from...), end: append(markKey(a.Mark), to...),
			text: fmt.Sprintf("%#x . %s", a.Mark, spanText(a.To, a.Span)),
		})
	}
	return nil
}

func sound(s desired.Span) bool { return s.FirstProto <= s.LastProto && s.First <= s.Last }

// isMark tells whether a mark reads the same in both byte orders. nft has them in
// the host's in a map, and in network order in a set with intervals, where its
// rules turn a packet's mark round.
func isMark(mark uint32) bool { return mark != 0 && bits.ReverseBytes32(mark) == mark }

func markKey(mark uint32) []byte { return binary.NativeEndian.AppendUint32(nil, mark) }

// spanKeys gives the first and the last key of an address with a span.
func spanKeys(to netip.Addr, s desired.Span) (first, last []byte) {
	return append(to.AsSlice(), portKey(s.FirstProto, s.First)...), append(to.AsSlice(), portKey(s.LastProto, s.Last)...)
}

func spanText(to netip.Addr, s desired.Span) string {
	return fmt.Sprintf("%s . %s . %s", to, portRange(uint16(s.FirstProto), uint16(s.LastProto)), portRange(s.First, s.Last))
}

func addrRange(first, last netip.Addr) string {
	if first == last {
		return first.String()
	}
	return first.String() + "-" + last.String()
}

// unlayGroups reads back what layGroups wrote.
func unlayGroups(l layout, fw *desired.Firewall) {
	fw.Guarded, fw.Members = map[netip.Addr]struct{}{}, map[netip.Addr]uint32{}
	fw.Admit, fw.AdmitMembers = map[desired.Admission]struct{}{}, map[desired.MemberAdmission]struct{}{}
	for _, e := range slices.Concat(l[setGuarded4], l[setGuarded6]) {
		fw.Guarded[addr(e.key)] = struct{}{}
	}
	for _, e := range slices.Concat(l[mapMembers4], l[mapMembers6]) {
		fw.Members[addr(e.key)] = binary.NativeEndian.Uint32(e.val)
	}
	for _, e := range slices.Concat(l[setAdmit4], l[setAdmit6]) {
		n := (len(e.key) - portKeySize) / 2
		a := desired.Admission{From: addr(e.key[:n]), FromLast: addr(e.end[:n]), To: addr(e.key[n : 2*n]), Span: unspan(e)}
		if slices.Equal(e.key[n:2*n], e.end[n:2*n]) { // a range of destinations is not ours
			fw.Admit[a] = struct{}{}
		}
	}
	for _, e := range slices.Concat(l[setAdmitMembers4], l[setAdmitMembers6]) {
		n := len(e.key) - portKeySize
		a := desired.MemberAdmission{Mark: binary.NativeEndian.Uint32(e.key), To: addr(e.key[4:n]), Span: unspan(e)}
		if slices.Equal(e.key[:n], e.end[:n]) {
			fw.AdmitMembers[a] = struct{}{}
		}
	}
}

// unspan reads what a key ends with.
func unspan(e element) desired.Span {
	first, last := e.key[len(e.key)-portKeySize:], e.end[len(e.end)-portKeySize:]
	return desired.Span{
		FirstProto: first[0], LastProto: last[0],
		First: binary.BigEndian.Uint16(first[4:]), Last: binary.BigEndian.Uint16(last[4:]),
	}
}
