package groups

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/jackstay/jackstay/internal/model"
)

// Span is some ports of some protocols, all ends included. Protocols without
// ports have all.
type Span struct {
	FirstProto, LastProto uint8 // IANA's protocol numbers
	First, Last           uint16
}

// Sources are addresses from First to Last, and what they reach.
type Sources struct {
	First, Last netip.Addr
	Span
}

// Every port.
const lastPort = 65535

// protocol gives the numbers a rule's protocol stands for.
func protocol(name string) (first, last uint8) {
	switch name {
	case "icmp":
		return icmp, icmp
	case "tcp":
		return 6, 6
	case "udp":
		return 17, 17
	case "sctp":
		return 132, 132
	}
	return 0, 255
}

func spanOf(r model.GroupRule) Span {
	s := Span{First: r.First, Last: r.Last}
	s.FirstProto, s.LastProto = protocol(r.Proto)
	if r.First == 0 {
		s.First, s.Last = 0, lastPort
	}
	return s
}

// spans gives the protocols and ports of rules, whatever their sources, in
// order and in as few spans as there can be.
func spans(rules []model.GroupRule) []Span {
	all := make([]Span, 0, len(rules))
	for _, r := range rules {
		s := spanOf(r)
		if s.FirstProto != s.LastProto { // any
			return []Span{s}
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Span) int {
		return cmp.Or(cmp.Compare(a.FirstProto, b.FirstProto), cmp.Compare(a.First, b.First))
	})
	out := all[:0]
	for _, s := range all {
		if n := len(out); n > 0 && out[n-1].FirstProto == s.FirstProto && int(s.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, s.Last)
			continue
		}
		out = append(out, s)
	}
	return out
}

// everybody is the source of a rule that names none; it is that of both families.
var everybody = netip.MustParsePrefix("0.0.0.0/0")

// ofFamily gives the rules whose source are addresses of a family.
func ofFamily(rules []model.GroupRule, v6 bool) []model.GroupRule {
	var out []model.GroupRule
	for _, r := range rules {
		if v6 && r.Source == everybody {
			r.Source = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		if r.Source.IsValid() && r.Source.Addr().Is6() == v6 {
			out = append(out, r)
		}
	}
	return out
}

// Of gives the span as it is for addresses of a family: ICMP has another number
// in IPv6 (RFC 4443).
func (s Span) Of(v6 bool) Span {
	if v6 && s.FirstProto == icmp && s.LastProto == icmp {
		s.FirstProto, s.LastProto = icmpv6, icmpv6
	}
	return s
}

const (
	icmp   = 1
	icmpv6 = 58
)

// bySource gives the rules whose source are addresses as sources with spans, of
// which no two overlap: the firewall takes none that do. The addresses are cut
// wherever a rule's prefix begins or ends; each piece has the spans of the rules
// that cover it, and pieces beside each other with the same span are one again.
func bySource(rules []model.GroupRule) []Sources {
	var out []Sources
	open := map[Span]netip.Addr{} // spans of the piece before, with where they began
	var before netip.Addr         // that piece's end
	end := func(s Span) {
		out = append(out, Sources{First: open[s], Last: before, Span: s})
		delete(open, s)
	}
	for _, p := range pieces(rules) {
		var cover []model.GroupRule
		for _, r := range rules {
			if r.Source.IsValid() && r.Source.Contains(p.first) {
				cover = append(cover, r)
			}
		}
		has := spans(cover)
		for s := range open {
			if !slices.Contains(has, s) {
				end(s)
			}
		}
		for _, s := range has {
			if _, ok := open[s]; !ok {
				open[s] = p.first
			}
		}
		before = p.last
	}
	for s := range open {
		end(s)
	}
	slices.SortFunc(out, compareSources)
	return out
}

func compareSources(a, b Sources) int {
	return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.FirstProto, b.FirstProto), cmp.Compare(a.Span.First, b.Span.First))
}

type piece struct{ first, last netip.Addr }

// pieces cuts the addresses, from the first that any rule has to the last,
// wherever a rule's prefix begins or ends. They follow each other without gaps.
func pieces(rules []model.GroupRule) []piece {
	var starts []netip.Addr // the first address of each piece, and the one after the last
	whole := netip.Addr{}   // the last address there is, if a rule goes that far
	for _, r := range rules {
		if !r.Source.IsValid() {
			continue
		}
		starts = append(starts, r.Source.Addr())
		last := lastOf(r.Source)
		if next := last.Next(); next.IsValid() {
			starts = append(starts, next)
		} else {
			whole = last
		}
	}
	slices.SortFunc(starts, netip.Addr.Compare)
	starts = slices.Compact(starts)
	var out []piece
	for i, first := range starts {
		switch {
		case i+1 < len(starts):
			out = append(out, piece{first, starts[i+1].Prev()})
		case whole.IsValid():
			out = append(out, piece{first, whole})
		}
	}
	return out
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
