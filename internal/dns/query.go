package dns

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// Sizes in bytes: RFC 1035 section 4.1.1 and 4.2.1, RFC 6891 section 6.2.3.
const (
	headerLen  = 12
	minUDPSize = 512
	// ourUDPSize is what we offer; it fits an Ethernet frame, so that forwarded
	// answers are not fragmented (DNS flag day 2020).
	ourUDPSize = 1232
	optLen     = 11
)

// Bits of the second half of the header (RFC 1035 section 4.1.1).
const (
	bitQR = 1 << 15
	bitAA = 1 << 10
	bitTC = 1 << 9
	bitRD = 1 << 8
	bitRA = 1 << 7
	bitCD = 1 << 4
)

// query is what of a request matters for its answer. It is reused, so that
// answering allocates nothing.
type query struct {
	wire   []byte // the whole request
	flags  uint16
	qend   int // where the question ends
	name   []byte
	qtype  uint16
	qclass uint16

	edns    bool
	version byte
	do      bool
	size    int // what the client takes by UDP

	buf [256]byte // holds name
}

// parse reads a request. It gives the response code that is due at once:
// dns.RcodeSuccess when the question can be answered, and -1 when nothing may
// be sent, as to what is no request.
func (q *query) parse(b []byte) int {
	*q = query{wire: b, size: minUDPSize}
	if len(b) < headerLen {
		return -1
	}
	q.flags = binary.BigEndian.Uint16(b[2:])
	q.qend = headerLen
	if q.flags&bitQR != 0 {
		return -1 // an answer; answering those would loop
	}
	if q.flags>>11&0xf != dns.OpcodeQuery {
		return dns.RcodeNotImplemented
	}
	if binary.BigEndian.Uint16(b[4:]) != 1 {
		return dns.RcodeFormatError // RFC 9619
	}
	if !q.question(b) || !q.records(b) {
		return dns.RcodeFormatError
	}
	switch {
	case q.edns && q.version != 0:
		return dns.RcodeBadVers
	case q.qclass != dns.ClassINET, q.qtype == dns.TypeAXFR, q.qtype == dns.TypeIXFR:
		return dns.RcodeRefused
	}
	return dns.RcodeSuccess
}

// question reads the name, lower-case and without its final dot, type and class.
func (q *query) question(b []byte) bool {
	i, n := headerLen, 0
	for {
		if i >= len(b) {
			return false
		}
		l := int(b[i])
		i++
		if l == 0 {
			break
		}
		if l > 63 || i+l > len(b) || n+l+1 > 254 { // pointers have nothing to point at here
			return false
		}
		if n > 0 {
			q.buf[n] = '.'
			n++
		}
		for _, c := range b[i : i+l] {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			if c == '.' {
				c = 0 // a dot inside a label: no name of ours has that
			}
			q.buf[n] = c
			n++
		}
		i += l
	}
	if i+4 > len(b) {
		return false
	}
	q.name = q.buf[:n]
	q.qtype, q.qclass = binary.BigEndian.Uint16(b[i:]), binary.BigEndian.Uint16(b[i+2:])
	q.qend = i + 4
	return true
}

// records walks what follows the question, looking for OPT (RFC 6891).
func (q *query) records(b []byte) bool {
	i := q.qend
	before := int(binary.BigEndian.Uint16(b[6:])) + int(binary.BigEndian.Uint16(b[8:]))
	for n := range before + int(binary.BigEndian.Uint16(b[10:])) {
		root := i < len(b) && b[i] == 0
		if i = skipName(b, i); i < 0 || i+10 > len(b) {
			return false
		}
		if binary.BigEndian.Uint16(b[i:]) == dns.TypeOPT {
			if q.edns || n < before || !root {
				return false
			}
			q.edns = true
			q.size = max(minUDPSize, int(binary.BigEndian.Uint16(b[i+2:])))
			q.version, q.do = b[i+5], b[i+6]&0x80 != 0
		}
		if i += 10 + int(binary.BigEndian.Uint16(b[i+8:])); i > len(b) {
			return false
		}
	}
	return true
}

// skipName gives where the name at i ends, or -1.
func skipName(b []byte, i int) int {
	for i < len(b) {
		switch l := int(b[i]); {
		case l == 0:
			return i + 1
		case l >= 0xc0:
			return i + 2
		case l > 63:
			return -1
		default:
			i += l + 1
		}
	}
	return -1
}

// reply starts an answer: header, the question as it was asked, no records.
// More flags come from the caller. Its id is the request's.
func (q *query) reply(out []byte, rcode int, flags uint16) []byte {
	flags |= bitQR | bitRA | q.flags&(bitRD|bitCD|0xf<<11) | uint16(rcode&0xf)
	out = append(out[:0], q.wire[0], q.wire[1], byte(flags>>8), byte(flags), 0, 0, 0, 0, 0, 0, 0, 0)
	if q.qend > headerLen {
		out[5] = 1
		out = append(out, q.wire[headerLen:q.qend]...)
	}
	return out
}

// finish adds OPT when the request had one.
func (q *query) finish(out []byte, rcode int) []byte {
	if !q.edns {
		return out
	}
	out[11]++
	var do byte
	if q.do {
		do = 0x80
	}
	return append(out, 0, 0, byte(dns.TypeOPT), ourUDPSize>>8, ourUDPSize&0xff, byte(rcode>>4), 0, do, 0, 0, 0)
}

// status is an answer without records.
func (q *query) status(out []byte, rcode int, flags uint16) []byte {
	return q.finish(q.reply(out, rcode, flags), rcode)
}

// limit is how long an answer may be.
func (q *query) limit(tcp bool) int {
	if tcp {
		return dns.MaxMsgSize
	}
	return min(q.size, maxUDP)
}
