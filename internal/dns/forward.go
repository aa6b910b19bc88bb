package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// tryTime is how long one upstream may take before the next is asked.
	tryTime = 800 * time.Millisecond
	// rounds is how often the list is gone through: a lost datagram is not the
	// end. Clients wait 5 s or more (resolv.conf(5), timeout).
	rounds = 2
	// tcpTime is how long an exchange over TCP may take, connecting included.
	tcpTime = 2 * time.Second
	// totalTime bounds all tries of one question.
	totalTime = 4500 * time.Millisecond
	// downTime is how long an upstream that did not answer is asked last.
	downTime = 5 * time.Second
)

// resolve asks the container's upstreams in order and gives the reply for the
// client; nil: the container is gone. What an upstream says is passed on as it
// is, except that SERVFAIL lets the next one try.
func (s *Server) resolve(sv *service, request []byte, tcp bool) []byte {
	ctx, cancel := context.WithTimeout(sv.ctx, totalTime)
	defer cancel()
	var q query
	if q.parse(request) != dns.RcodeSuccess {
		return failure(request)
	}
	var failed []byte
	for range rounds {
		// Read anew: the host's resolvers may have changed meanwhile.
		z := s.zones.Load()
		if z == nil || z.Views[sv.container] == nil {
			break
		}
		for _, up := range s.ups.order(upstreams(z, z.Views[sv.container])) {
			reply, err := up.ask(ctx, &q, tcp)
			if ctx.Err() != nil && sv.ctx.Err() != nil {
				return nil
			}
			if err != nil {
				s.log.Debug("upstream name server did not answer", "upstream", up.addr, "name", string(q.name), "error", err)
				continue
			}
			if int(reply[3]&0xf) != dns.RcodeServerFailure {
				return q.fit(reply, tcp)
			}
			failed = reply
		}
		if failed != nil || ctx.Err() != nil {
			break
		}
	}
	if failed != nil {
		return q.fit(failed, tcp)
	}
	return q.status(nil, dns.RcodeServerFailure, 0)
}

// failure is SERVFAIL for a request.
func failure(request []byte) []byte {
	var q query
	if q.parse(request) < 0 {
		return nil
	}
	return q.status(nil, dns.RcodeServerFailure, 0)
}

// fit gives the reply the request's id. One that is too long for the client's
// datagram is cut to the question, with TC set: the client asks again over TCP.
func (q *query) fit(reply []byte, tcp bool) []byte {
	copy(reply, q.wire[:2])
	if len(reply) <= q.limit(tcp) {
		return reply
	}
	return q.status(nil, int(reply[3]&0xf), bitTC)
}

// upstream is a name server outside.
type upstream struct {
	addr netip.AddrPort

	mu       sync.Mutex
	answered time.Time // last
	down     time.Time
	socks    []*sock
	next     int
}

// ask sends the question and gives the answer, over TCP when the client came
// so or when the datagram was truncated. One name without an answer says
// nothing about the server while it answers others: else a container that asks
// for a name whose own servers are slow would send everybody elsewhere.
func (u *upstream) ask(ctx context.Context, q *query, tcp bool) ([]byte, error) {
	asked := time.Now()
	reply, err := u.exchange(ctx, q, tcp)
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err == nil:
		u.answered, u.down = time.Now(), time.Time{}
	case ctx.Err() == nil && u.answered.Before(asked):
		u.down = time.Now()
	}
	return reply, err
}

func (u *upstream) exchange(ctx context.Context, q *query, tcp bool) ([]byte, error) {
	if tcp {
		return u.askTCP(ctx, q)
	}
	reply, err := u.askUDP(ctx, q)
	if err != nil || binary.BigEndian.Uint16(reply[2:])&bitTC == 0 {
		return reply, err
	}
	if whole, err := u.askTCP(ctx, q); err == nil {
		return whole, nil
	}
	return reply, nil // truncated, as upstream said
}

func (u *upstream) askTCP(ctx context.Context, q *query) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tcpTime)
	defer cancel()
	dialer := net.Dialer{Timeout: tryTime}
	c, err := dialer.DialContext(ctx, "tcp", u.addr.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if err := writeTCP(c, q.wire); err != nil {
		return nil, err
	}
	reply, err := readTCP(c)
	if err != nil {
		return nil, err
	}
	if !q.answeredBy(reply) {
		return nil, errors.New("the answer is to another question")
	}
	return reply, nil
}

// answeredBy checks that a reply is one to this question (RFC 5452 section
// 9.1); the id is the transport's matter.
func (q *query) answeredBy(reply []byte) bool {
	if len(reply) < headerLen || reply[2]&(bitQR>>8) == 0 {
		return false
	}
	question := q.wire[headerLen:q.qend]
	if len(reply) < q.qend || reply[4] != 0 || reply[5] != 1 {
		// Some leave the question out when they refuse to understand it.
		return reply[4] == 0 && reply[5] == 0 && reply[3]&0xf != dns.RcodeSuccess
	}
	return bytes.EqualFold(reply[headerLen:q.qend], question)
}

// askUDP sends through one of the sockets and waits.
func (u *upstream) askUDP(ctx context.Context, q *query) ([]byte, error) {
	c := &call{q: q, reply: make(chan []byte, 1)}
	sk, id, err := u.register(c)
	if err != nil {
		return nil, err
	}
	defer sk.forget(id, c)
	request := append([]byte(nil), q.wire...)
	binary.BigEndian.PutUint16(request, id)
	if _, err := sk.conn.Write(request); err != nil {
		return nil, err
	}
	timer := time.NewTimer(tryTime)
	defer timer.Stop()
	select {
	case reply, ok := <-c.reply:
		if !ok {
			return nil, errors.New("refused the datagram")
		}
		return reply, nil
	case <-timer.C:
		return nil, errors.New("no answer in time")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// sockets is how many are open to a busy upstream: answers are told apart by
// the port and the random id together.
const sockets = 4

// register puts the call under an id of a socket.
func (u *upstream) register(c *call) (*sock, uint16, error) {
	for try := 0; ; try++ {
		sk, err := u.socket()
		if err != nil {
			return nil, 0, err
		}
		id, err := sk.register(c)
		if err == nil || try > 0 || !errors.Is(err, net.ErrClosed) { // closed for idleness just now
			return sk, id, err
		}
	}
}

func (u *upstream) socket() (*sock, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	live := u.socks[:0]
	for _, sk := range u.socks {
		if !sk.ended() {
			live = append(live, sk)
		}
	}
	u.socks = live
	// A further socket is opened only when those that are there have work.
	for _, sk := range u.socks {
		if sk.idle() {
			return sk, nil
		}
	}
	if len(u.socks) < sockets {
		sk, err := dialSock(u.addr)
		if err != nil {
			return nil, err
		}
		u.socks = append(u.socks, sk)
		return sk, nil
	}
	u.next++
	return u.socks[u.next%len(u.socks)], nil
}

// pool is the upstreams that were ever asked.
type pool struct {
	mu     sync.Mutex
	byAddr map[netip.AddrPort]*upstream
}

// order gives the upstreams in the order to ask them: as listed, but those
// that did not answer lately come last.
func (p *pool) order(addrs []netip.AddrPort) []*upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byAddr == nil {
		p.byAddr = map[netip.AddrPort]*upstream{}
	}
	up, down := make([]*upstream, 0, len(addrs)), []*upstream(nil)
	for _, a := range addrs {
		u := p.byAddr[a]
		if u == nil {
			u = &upstream{addr: a}
			p.byAddr[a] = u
		}
		u.mu.Lock()
		if time.Since(u.down) < downTime {
			down = append(down, u)
		} else {
			up = append(up, u)
		}
		u.mu.Unlock()
	}
	return append(up, down...)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.byAddr {
		u.mu.Lock()
		for _, sk := range u.socks {
			_ = sk.conn.Close()
		}
		u.mu.Unlock()
	}
}
