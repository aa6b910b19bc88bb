package fake

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// Ports is the host's ports.
type Ports struct{ h *Host }

// Ports gives the host's reconcile.Ports.
func (h *Host) Ports() *Ports { return &Ports{h} }

// Claim binds a port.
func (p *Ports) Claim(c desired.Claim) error {
	h := p.h
	return h.do("claim "+claimString(c), func() error {
		for _, set := range []map[desired.Claim]struct{}{h.foreign, h.held} {
			for have := range set {
				if have.Overlaps(c) {
					return errs.New(errs.Conflict, "failed to bind host port %s: address already in use", claimString(c))
				}
			}
		}
		h.held[c] = struct{}{}
		return nil
	})
}

// Release closes it.
func (p *Ports) Release(c desired.Claim) {
	_ = p.h.sure("release "+claimString(c), func() { delete(p.h.held, c) })
}

func claimString(c desired.Claim) string {
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(c.IP, c.Port), c.Proto)
}

// Files is the host's file system.
type Files struct{ h *Host }

// Files gives the host's reconcile.Files.
func (h *Host) Files() *Files { return &Files{h} }

// Ensure writes a file in place unless it is so already.
func (f *Files) Ensure(want desired.File) error {
	h := f.h
	same := false
	if err := h.look(func() error { have := h.files[want.Path]; same = have != nil && have.File == want; return nil }); err != nil || same {
		return err
	}
	return h.do("write "+want.Path, func() error {
		if have := h.files[want.Path]; have != nil {
			have.File = want
			return nil
		}
		h.files[want.Path] = &file{File: want, inode: len(h.files) + 1}
		return nil
	})
}

// Resolver answers nobody; it keeps the sockets it is given.
type Resolver struct{ h *Host }

// Resolver gives the host's reconcile.Resolver.
func (h *Host) Resolver() *Resolver { return &Resolver{h} }

// SetZones keeps the names.
func (r *Resolver) SetZones(z *desired.Zones) {
	_ = r.h.sure("zones", func() { r.h.zones = z })
}

// Serve takes over a container's sockets.
func (r *Resolver) Serve(container string, udp net.PacketConn, _ net.Listener) {
	s := udp.(packetConn).socket
	err := r.h.sure(container+": serve", func() {
		if old := r.h.served[container]; old != nil {
			old.close()
		}
		r.h.served[container] = s
	})
	if err != nil {
		s.close()
	}
}

// Stop closes them.
func (r *Resolver) Stop(container string) {
	_ = r.h.sure(container+": stop serving", func() {
		if s := r.h.served[container]; s != nil {
			s.close()
			delete(r.h.served, container)
		}
	})
}

// socket is a pair of sockets in a namespace.
type socket struct {
	ns   int
	addr netip.AddrPort
	once *sync.Once
	done chan struct{}
}

func newSocket(ns int, addr netip.AddrPort) *socket {
	return &socket{ns: ns, addr: addr, once: &sync.Once{}, done: make(chan struct{})}
}

func (s *socket) close() { s.once.Do(func() { close(s.done) }) }

func (s *socket) closed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

type packetConn struct{ *socket }

func (p packetConn) ReadFrom([]byte) (int, net.Addr, error) {
	<-p.done
	return 0, nil, net.ErrClosed
}
func (p packetConn) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }
func (p packetConn) Close() error                              { p.close(); return nil }
func (p packetConn) LocalAddr() net.Addr                       { return net.UDPAddrFromAddrPort(p.addr) }
func (p packetConn) SetDeadline(time.Time) error               { return nil }
func (p packetConn) SetReadDeadline(time.Time) error           { return nil }
func (p packetConn) SetWriteDeadline(time.Time) error          { return nil }

type listener struct{ *socket }

func (l listener) Accept() (net.Conn, error) {
	<-l.done
	return nil, net.ErrClosed
}
func (l listener) Close() error   { l.close(); return nil }
func (l listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }
