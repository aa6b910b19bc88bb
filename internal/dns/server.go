// Package dns is the resolver that every container asks at 127.0.0.11: it
// answers for the names of the container's networks and links and forwards the
// rest. It implements reconcile.Resolver.
package dns

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
)

// maxUDP is the longest datagram that is read or written.
const maxUDP = 4096

// Options are a Server's settings.
type Options struct {
	Log *slog.Logger // nil: slog.Default()
}

// Server answers for any number of containers, each through sockets of its own
// that were opened in its namespace. Questions that are not ours are sent from
// the daemon's namespace, the host's, whatever upstream they go to: one that
// only the container's own networks reach can't be used.
type Server struct {
	log    *slog.Logger
	zones  atomic.Pointer[desired.Zones]
	pool   sync.Pool // *scratch: an idle container holds no buffers
	queue  queue
	ups    pool
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	closed   bool
	serving  map[string]*service
	routines sync.WaitGroup
}

// scratch is what answering one question needs.
type scratch struct {
	q       query
	in, out [maxUDP]byte
}

// service is one container's sockets.
type service struct {
	container string
	udp       *net.UDPConn
	tcp       net.Listener
	ctx       context.Context
	cancel    context.CancelFunc
}

// New gives a server that knows no names yet and answers SERVFAIL until SetZones.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Server{log: o.Log, serving: map[string]*service{}}
	s.pool.New = func() any { return new(scratch) }
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// SetZones replaces all names at once; the next question meets the new ones.
// z must not be changed afterwards.
func (s *Server) SetZones(z *desired.Zones) { s.zones.Store(z) }

// Serve takes over a container's sockets, replacing those it had. udp must be
// a *net.UDPConn.
func (s *Server) Serve(container string, udp net.PacketConn, tcp net.Listener) {
	conn, ok := udp.(*net.UDPConn)
	if !ok {
		s.log.Error("names are not served: not a UDP socket", "container", container)
		_ = udp.Close()
		_ = tcp.Close()
		return
	}
	sv := &service{container: container, udp: conn, tcp: tcp}
	sv.ctx, sv.cancel = context.WithCancel(s.ctx)
	enlarge(conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.serving[container]; old != nil {
		old.close()
	}
	if s.closed {
		sv.close()
		return
	}
	s.serving[container] = sv
	s.routines.Go(func() { s.serveUDP(sv) })
	s.routines.Go(func() { s.serveTCP(sv) })
}

// burst is the receive buffer of a socket, in bytes: room for 10,000 questions
// at once, each of which the kernel counts with about 800 bytes. It is used
// only while they wait.
const burst = 16 << 20

func enlarge(c *net.UDPConn) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			// Beyond net.core.rmem_max needs CAP_NET_ADMIN; what there is serves, too.
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, burst) != nil {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, burst)
			}
		})
	}
}

// Stop closes a container's sockets; one that is not served is success.
func (s *Server) Stop(container string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sv := s.serving[container]; sv != nil {
		delete(s.serving, container)
		sv.close()
	}
}

// Close stops everything and waits until it has ended.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for id, sv := range s.serving {
		delete(s.serving, id)
		sv.close()
	}
	s.mu.Unlock()
	s.cancel()
	s.ups.close()
	s.routines.Wait()
	s.queue.finish()
	return nil
}

func (sv *service) close() {
	sv.cancel()
	_ = sv.udp.Close()
	_ = sv.tcp.Close()
}

// serveUDP answers what it can on the spot: handing a local question to another
// goroutine would cost more than answering it.
func (s *Server) serveUDP(sv *service) {
	raw, err := sv.udp.SyscallConn()
	if err != nil {
		s.log.Error("names are not served", "container", sv.container, "error", err)
		return
	}
	for {
		// Buffers are taken only when there is something to read.
		if err := raw.Read(readable); err != nil {
			return
		}
		if err := s.readUDP(sv); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// readable tells whether a datagram or an error waits.
func readable(fd uintptr) bool {
	var b [1]byte
	_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return !errors.Is(err, unix.EAGAIN)
}

func (s *Server) readUDP(sv *service) error {
	sc := s.pool.Get().(*scratch)
	defer s.pool.Put(sc)
	n, from, err := sv.udp.ReadFromUDPAddrPort(sc.in[:])
	if err != nil {
		return err
	}
	reply, v := sc.q.answer(s.zones.Load(), sv.container, sc.in[:n], sc.out[:0], false)
	switch v {
	case answered:
		_, err = sv.udp.WriteToUDPAddrPort(reply, from)
	case forward:
		request := append([]byte(nil), sc.in[:n]...)
		s.queue.run(sv, n,
			func() { sv.send(s.resolve(sv, request, false), from) },
			func() { sv.send(failure(request), from) }) // so that the client goes on at once
	}
	return err
}

// send answers by UDP without ever waiting: a container may slow down its own
// loopback (tc-netem(8)), and the goroutines of the queue serve others too. As
// on any network, what there is no room for is lost.
func (sv *service) send(b []byte, to netip.AddrPort) {
	if b == nil {
		return
	}
	raw, err := sv.udp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, sockaddr(to)) })
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if ip := a.Addr(); ip.Is4() {
		return &unix.SockaddrInet4{Addr: ip.As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

const (
	// tcpIdle is how long a connection may wait for its next question (RFC 7766
	// section 6.2.3 speaks of seconds).
	tcpIdle = 10 * time.Second
	// tcpConns bounds a container's connections; more wait to be accepted.
	tcpConns = 128
)

func (s *Server) serveTCP(sv *service) {
	slots := make(chan struct{}, tcpConns)
	for {
		select {
		case slots <- struct{}{}:
		case <-sv.ctx.Done():
			return
		}
		c, err := sv.tcp.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || sv.ctx.Err() != nil {
				return
			}
			s.log.Warn("accept of a name server connection failed", "container", sv.container, "error", err)
			select {
			case <-time.After(100 * time.Millisecond): // no file descriptors, likely
			case <-sv.ctx.Done():
				return
			}
			<-slots
			continue
		}
		s.routines.Go(func() {
			defer func() { <-slots }()
			defer context.AfterFunc(sv.ctx, func() { _ = c.Close() })()
			defer c.Close()
			s.serveConn(sv, c)
		})
	}
}

// serveConn answers one question after the other.
func (s *Server) serveConn(sv *service, c net.Conn) {
	var q query
	out := make([]byte, 0, minUDPSize)
	for {
		_ = c.SetDeadline(time.Now().Add(tcpIdle))
		request, err := readTCP(c)
		if err != nil {
			return
		}
		reply, v := q.answer(s.zones.Load(), sv.container, request, out, true)
		if v == forward {
			reply = s.resolve(sv, request, true)
		}
		if v == silent || reply == nil {
			return
		}
		_ = c.SetDeadline(time.Now().Add(tcpIdle))
		if err := writeTCP(c, reply); err != nil {
			return
		}
	}
}

// readTCP reads a message with its length before it (RFC 1035 section 4.2.2).
func readTCP(r io.Reader) ([]byte, error) {
	var l [2]byte
	if _, err := io.ReadFull(r, l[:]); err != nil {
		return nil, err
	}
	b := make([]byte, int(l[0])<<8|int(l[1]))
	_, err := io.ReadFull(r, b)
	return b, err
}

// writeTCP sends length and message in one segment (RFC 7766 section 8).
func writeTCP(w io.Writer, b []byte) error {
	_, err := w.Write(append([]byte{byte(len(b) >> 8), byte(len(b))}, b...))
	return err
}
