package dns

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// sock is a connected UDP socket to an upstream that many questions share,
// each under a random id of its own.
type sock struct {
	conn *net.UDPConn

	mu    sync.Mutex
	calls map[uint16]*call
	over  bool
}

// call is a question that waits for its answer. The channel is closed when the
// upstream's host refused the datagram.
type call struct {
	q     *query
	reply chan []byte
}

const (
	// sockIdle is how long a socket without questions stays open. Every time
	// another port is used, guessing answers gets harder (RFC 5452).
	sockIdle = 3 * time.Second
	// sockCalls bounds the questions of one socket, so that a free id is found at once.
	sockCalls = 1 << 14
)

func dialSock(addr netip.AddrPort) (*sock, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	enlarge(c)
	sk := &sock{conn: c, calls: map[uint16]*call{}}
	go sk.read()
	return sk, nil
}

func (sk *sock) ended() bool {
	sk.mu.Lock()
	defer sk.mu.Unlock()
	return sk.over
}

func (sk *sock) idle() bool {
	sk.mu.Lock()
	defer sk.mu.Unlock()
	return len(sk.calls) == 0 && !sk.over
}

func (sk *sock) register(c *call) (uint16, error) {
	sk.mu.Lock()
	defer sk.mu.Unlock()
	if sk.over {
		return 0, net.ErrClosed
	}
	if len(sk.calls) >= sockCalls {
		return 0, errors.New("too many questions wait for this upstream")
	}
	for {
		id := uint16(rand.Uint32()) // three of four are free
		if _, taken := sk.calls[id]; !taken {
			sk.calls[id] = c
			return id, nil
		}
	}
}

// forget takes a call's id back, unless another question has it by now.
func (sk *sock) forget(id uint16, c *call) {
	sk.mu.Lock()
	defer sk.mu.Unlock()
	if sk.calls[id] == c {
		delete(sk.calls, id)
	}
}

// read hands answers to those who wait, until the socket was idle for a while.
func (sk *sock) read() {
	defer sk.conn.Close()
	buf := make([]byte, dns.MaxMsgSize) // clients may offer upstream that much
	for {
		_ = sk.conn.SetReadDeadline(time.Now().Add(sockIdle))
		n, err := sk.conn.Read(buf)
		switch {
		case err == nil:
			sk.deliver(buf[:n])
		case errors.Is(err, unix.ECONNREFUSED):
			sk.fail()
		case !errors.Is(err, unix.EAGAIN) && !isTimeout(err), sk.end():
			sk.mu.Lock()
			sk.over = true
			sk.mu.Unlock()
			sk.fail()
			return
		}
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// end closes a socket nobody waits at.
func (sk *sock) end() bool {
	sk.mu.Lock()
	defer sk.mu.Unlock()
	sk.over = len(sk.calls) == 0
	return sk.over
}

func (sk *sock) deliver(b []byte) {
	if len(b) < headerLen {
		return
	}
	id := binary.BigEndian.Uint16(b)
	sk.mu.Lock()
	defer sk.mu.Unlock()
	if c := sk.calls[id]; c != nil && c.q.answeredBy(b) {
		delete(sk.calls, id)
		c.reply <- append([]byte(nil), b...)
	}
}

// fail tells all who wait: an ICMP error doesn't say whose datagram it was.
func (sk *sock) fail() {
	sk.mu.Lock()
	defer sk.mu.Unlock()
	for id, c := range sk.calls {
		delete(sk.calls, id)
		close(c.reply)
	}
}
