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
	mapMembers4      = "members4"
	setAdmitMembers4 = "admitmembers4"
)

func layGroups(l layout, fw desired.Firewall) error {
	for a := range fw.Guarded {
		if !a.IsValid() || a.Zone() != "" {
			return errs.New(errs.Invalid, "address %v can't be guarded by the firewall", a)
		}
		l.add(pick(a, setGuarded4, setGuarded6), element{key: a.AsSlice(), text: a.String()})
	}
	for a, mark := range fw.Members {
		if !a.Is4() || !isMark(mark) {
			return errs.New(errs.Invalid, "address %v can't be told to the firewall with mark %d", a, mark)
		}
		l.add(mapMembers4, element{key: a.AsSlice(), val: markKey(mark), text: fmt.Sprintf("%s : %#x", a, mark)})
	}
	for a := range fw.Admit {
		if !a.From.Is4() || !a.FromLast.Is4() || !a.To.Is4() || a.FromLast.Less(a.From) || !sound(a.Span) {
			return errs.New(errs.Invalid, "admission %v can't be told to the firewall", a)
		}
		from, to := spanKeys(a.To, a.Span)
		l.add(setAdmit4, element{
			key: append(a.From.AsSlice(), from...), end: append(a.FromLast.AsSlice(), to...),
			text: fmt.Sprintf("%s . %s", addrRange(a.From, a.FromLast), spanText(a.To, a.Span)),
		})
	}
	for a := range fw.AdmitMembers {
		if !isMark(a.Mark) || !a.To.Is4() || !sound(a.Span) {
			return errs.New(errs.Invalid, "admission %v can't be told to the firewall", a)
		}
		from, to := spanKeys(a.To, a.Span)
		l.add(setAdmitMembers4, element{
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
	for _, e := range l[mapMembers4] {
		fw.Members[addr(e.key)] = binary.NativeEndian.Uint32(e.val)
	}
	for _, e := range l[setAdmit4] {
		a := desired.Admission{From: addr(e.key[:4]), FromLast: addr(e.end[:4]), To: addr(e.key[4:8]), Span: unspan(e)}
		if slices.Equal(e.key[4:8], e.end[4:8]) { // a range of destinations is not ours
			fw.Admit[a] = struct{}{}
		}
	}
	for _, e := range l[setAdmitMembers4] {
		a := desired.MemberAdmission{Mark: binary.NativeEndian.Uint32(e.key), To: addr(e.key[4:8]), Span: unspan(e)}
		if slices.Equal(e.key[:8], e.end[:8]) {
			fw.AdmitMembers[a] = struct{}{}
		}
	}
}

// unspan reads what follows two fields of four bytes.
func unspan(e element) desired.Span {
	return desired.Span{
		FirstProto: e.key[8], LastProto: e.end[8],
		First: binary.BigEndian.Uint16(e.key[12:]), Last: binary.BigEndian.Uint16(e.end[12:]),
	}
}
