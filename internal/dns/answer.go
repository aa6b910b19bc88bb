package dns

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/jackstay/jackstay/internal/desired"
)

// ttl is the life of our answers in caches, in seconds. 0, as a name must lead
// to its container's new address at once, and asking again costs microseconds
// (Docker's 600 is one reason why its links go stale).
const ttl = 0

// verdict says what became of a question.
type verdict int

const (
	answered verdict = iota // the reply is complete
	silent                  // nothing is sent
	forward                 // not ours: upstream knows
)

// answer replies to a question from the zones, as the container sees them. out
// is where the reply is built.
func (q *query) answer(z *desired.Zones, container string, request, out []byte, tcp bool) ([]byte, verdict) {
	switch rcode := q.parse(request); rcode {
	case -1:
		return nil, silent
	case dns.RcodeSuccess:
	default:
		return q.status(out, rcode, 0), answered
	}
	if z == nil || z.Views[container] == nil {
		return q.status(out, dns.RcodeServerFailure, 0), answered
	}
	view := z.Views[container]
	if addrs, ok := lookup(z, view, q.name); ok {
		return q.addresses(addrs, out, tcp), answered
	}
	if q.qtype == dns.TypePTR {
		if name, ok := reverse(z, view, string(q.name)); ok {
			if out, ok = q.pointer(name, out); ok {
				return out, answered
			}
		}
	}
	switch {
	case view.NoForward:
		return q.status(out, dns.RcodeNameError, 0), answered
	case len(upstreams(z, view)) == 0:
		return q.status(out, dns.RcodeServerFailure, 0), answered
	}
	return nil, forward
}

// lookup finds a name's addresses: the container's own aliases first, then its
// networks in order. The first that has the name decides, and only where none
// has it do their wildcards count.
func lookup(z *desired.Zones, view *desired.View, name []byte) ([]netip.Addr, bool) {
	if addrs, ok := view.Aliases[string(name)]; ok {
		return addrs, true
	}
	wild := false
	for _, network := range view.Networks {
		if zone := z.Networks[network]; zone != nil {
			if addrs, ok := zone.Names[string(name)]; ok {
				return addrs, true
			}
			wild = wild || zone.Nodes != nil
		}
	}
	if !wild {
		return nil, false
	}
	for _, network := range view.Networks {
		if zone := z.Networks[network]; zone != nil {
			if addrs, ok := wildcard(zone, name); ok {
				return addrs, true
			}
		}
	}
	return nil, false
}

// wildcard finds what a zone's wildcards say of a name it does not have (RFC
// 4592 section 3.3.1): that of the closest name above it that exists, and none
// further up. A name that only has others below it exists, too: it has no
// records, and no wildcard covers it.
func wildcard(zone *desired.Zone, name []byte) ([]netip.Addr, bool) {
	if zone.Nodes == nil {
		return nil, false
	}
	if _, exists := zone.Nodes[string(name)]; exists {
		return nil, true
	}
	var buf [258]byte
	star := append(buf[:0], "*."...)
	for {
		dot := bytes.IndexByte(name, '.')
		if dot < 0 {
			return nil, false
		}
		name = name[dot+1:]
		if addrs, ok := zone.Names[string(append(star, name...))]; ok {
			return addrs, true
		}
		if _, exists := zone.Nodes[string(name)]; exists {
			return nil, false
		}
	}
}

// reverse finds the name of an address in one of the container's networks.
func reverse(z *desired.Zones, view *desired.View, name string) (string, bool) {
	a := reverseAddr(name)
	if !a.IsValid() {
		return "", false
	}
	for _, network := range view.Networks {
		if zone := z.Networks[network]; zone != nil {
			if n, ok := zone.Reverse[a]; ok {
				return n, true
			}
		}
	}
	return "", false
}

// reverseAddr reads a name of in-addr.arpa (RFC 1035 section 3.5) or ip6.arpa
// (RFC 3596 section 2.5); invalid: it is none of a whole address.
func reverseAddr(name string) netip.Addr {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		p := strings.Split(rest, ".")
		if len(p) != 4 {
			return netip.Addr{}
		}
		a, _ := netip.ParseAddr(p[3] + "." + p[2] + "." + p[1] + "." + p[0])
		return a
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(rest) != 63 {
		return netip.Addr{}
	}
	var b strings.Builder
	for i := 62; i >= 0; i -= 2 { // the most significant digit comes last
		b.WriteByte(rest[i])
		if i > 0 && rest[i-1] != '.' {
			return netip.Addr{}
		}
		if i > 0 && i%8 == 0 {
			b.WriteByte(':')
		}
	}
	a, _ := netip.ParseAddr(b.String())
	return a
}

// addresses answers with those of the asked family, beginning anywhere, so
// that clients which take the first share the load. None of that family is
// NODATA: NOERROR without answers (RFC 2308 section 2.2), as NXDOMAIN for AAAA
// would make clients forget the A.
func (q *query) addresses(addrs []netip.Addr, out []byte, tcp bool) []byte {
	out = q.reply(out, dns.RcodeSuccess, bitAA)
	limit := q.limit(tcp)
	if q.edns {
		limit -= optLen
	}
	count, start := 0, 0
	if len(addrs) > 1 {
		start = rand.IntN(len(addrs))
	}
	for i := range addrs {
		a := addrs[(start+i)%len(addrs)]
		rrtype, rdlen := dns.TypeA, 4
		if a.Is6() {
			rrtype, rdlen = dns.TypeAAAA, 16
		}
		if q.qtype != rrtype && q.qtype != dns.TypeANY {
			continue
		}
		if len(out)+12+rdlen > limit {
			out[2] |= bitTC >> 8
			break
		}
		out = q.rr(out, rrtype, rdlen)
		if a.Is4() {
			b := a.As4()
			out = append(out, b[:]...)
		} else {
			b := a.As16()
			out = append(out, b[:]...)
		}
		count++
	}
	binary.BigEndian.PutUint16(out[6:], uint16(count))
	return q.finish(out, dns.RcodeSuccess)
}

// pointer answers with a name; ok is false when it can't be one.
func (q *query) pointer(name string, out []byte) ([]byte, bool) {
	var rdata [256]byte
	n, err := dns.PackDomainName(dns.Fqdn(name), rdata[:], 0, nil, false)
	if err != nil {
		return out, false
	}
	out = q.reply(out, dns.RcodeSuccess, bitAA)
	out[7] = 1
	out = append(q.rr(out, dns.TypePTR, n), rdata[:n]...)
	return q.finish(out, dns.RcodeSuccess), true
}

// rr starts a record whose owner is the question's name (a pointer to byte 12,
// RFC 1035 section 4.1.4, so it has the case it was asked in).
func (q *query) rr(out []byte, rrtype uint16, rdlen int) []byte {
	return append(out, 0xc0, headerLen, byte(rrtype>>8), byte(rrtype), 0, dns.ClassINET,
		0, 0, 0, ttl, byte(rdlen>>8), byte(rdlen))
}

// upstreams are the container's own (--dns) or the host's.
func upstreams(z *desired.Zones, view *desired.View) []netip.AddrPort {
	if len(view.Upstreams) > 0 {
		return view.Upstreams
	}
	return z.Upstreams
}
