//go:build linux

// Package claims holds host ports, so that no other program takes a port that
// the firewall leads into a container.
//
// A claimed TCP port is bound and not listened on. Bound alone it would not be
// safe: Linux lets two sockets with SO_REUSEADDR bind and one of them listen,
// as long as the other does not, and every server sets SO_REUSEADDR. So the
// option is set while we bind, for connections in TIME_WAIT would be in the way
// otherwise, and cleared after: then nobody's bind or listen succeeds beside it
// (net/ipv4/inet_connection_sock.c: inet_bind_conflict). A packet that the
// firewall does not lead away, in the moment before it is repaired, meets a
// port nobody listens on, and the client is refused instead of waiting.
//
// A claimed UDP port is bound without the option, which is enough, with the
// smallest receive buffer: what arrives there is dropped.
package claims

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// unclaimed stands for a port that can't be held: the kernel lacks its protocol.
const unclaimed = -1

// Set is the host ports held; each costs one descriptor.
type Set struct {
	mu   sync.Mutex
	held map[desired.Claim]int // socket
}

// New gives an empty set.
func New() *Set { return &Set{held: map[desired.Claim]int{}} }

// Claim holds the port; one that is held already is success. A port that
// another program has is errs.Conflict, an address that no interface of the
// host has is errs.Unavailable.
func (s *Set) Claim(c desired.Claim) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.held[c]; ok {
		return nil
	}
	fd, err := hold(c)
	if err != nil {
		return explain(c, err)
	}
	s.held[c] = fd
	return nil
}

// Release lets the port go; one that is not held is success.
func (s *Set) Release(c desired.Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fd, ok := s.held[c]; ok {
		delete(s.held, c)
		closeFD(fd)
	}
}

// Close lets every port go.
func (s *Set) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fd := range s.held {
		closeFD(fd)
	}
	clear(s.held)
}

func closeFD(fd int) {
	if fd != unclaimed {
		unix.Close(fd)
	}
}

func hold(c desired.Claim) (int, error) {
	if !c.IP.IsValid() || c.Port == 0 {
		return 0, unix.EINVAL
	}
	kind, proto, err := protocol(c.Proto)
	if err != nil {
		return 0, err
	}
	family := unix.AF_INET
	if c.IP.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if proto == unix.IPPROTO_SCTP && (errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT)) {
		return unclaimed, nil // no program can serve it either
	}
	if err != nil {
		return 0, err
	}
	if err := bind(fd, c, family, proto); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

func protocol(name string) (kind, proto int, err error) {
	switch name {
	case "tcp":
		return unix.SOCK_STREAM, unix.IPPROTO_TCP, nil
	case "udp":
		return unix.SOCK_DGRAM, unix.IPPROTO_UDP, nil
	case "sctp":
		return unix.SOCK_STREAM, unix.IPPROTO_SCTP, nil
	}
	return 0, 0, unix.EPROTONOSUPPORT
}

func bind(fd int, c desired.Claim, family, proto int) error {
	if family == unix.AF_INET6 {
		// [::] and 0.0.0.0 are claims of their own.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
	}
	if proto == unix.IPPROTO_UDP {
		// The kernel raises it to its minimum, a packet or two.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
			return err
		}
		return unix.Bind(fd, sockaddr(c))
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, sockaddr(c)); err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
}

func sockaddr(c desired.Claim) unix.Sockaddr {
	if c.IP.Is6() {
		return &unix.SockaddrInet6{Addr: c.IP.As16(), Port: int(c.Port)}
	}
	return &unix.SockaddrInet4{Addr: c.IP.As4(), Port: int(c.Port)}
}

// explain puts a failure into Docker's words where it has them.
func explain(c desired.Claim, err error) error {
	what := fmt.Sprintf("failed to bind host port %s/%s", netip.AddrPortFrom(c.IP, c.Port), c.Proto)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return errs.New(errs.Conflict, "%s: address already in use", what)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return errs.New(errs.Unavailable,
			"%s: cannot assign requested address: no interface of this host has %s", what, c.IP)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return errs.New(errs.Forbidden, "%s: %w (ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE)", what, err)
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return errs.New(errs.Unavailable, "%s: %w (raise LimitNOFILE of the daemon: each host port needs one)", what, err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT):
		return errs.New(errs.Invalid, "%s: not an address, port and protocol that can be held: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
