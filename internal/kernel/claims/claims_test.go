//go:build linux

package claims

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/netns/nettest"
)

func claim(addr, proto string) desired.Claim {
	ap := netip.MustParseAddrPort(addr)
	return desired.Claim{IP: ap.Addr(), Port: ap.Port(), Proto: proto}
}

// inPrivate runs fn on a machine of its own with lo up.
func inPrivate(t *testing.T, fn func(t *testing.T, s *Set)) {
	nettest.Run(t, func(t *testing.T) {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		s := New()
		defer s.Close()
		fn(t, s)
	})
}

// serve tries what a server does: SO_REUSEADDR, bind, listen.
func serve(network, addr string) error {
	if strings.HasPrefix(network, "udp") {
		c, err := net.ListenPacket(network, addr)
		if err == nil {
			c.Close()
		}
		return err
	}
	l, err := net.Listen(network, addr)
	if err == nil {
		l.Close()
	}
	return err
}

func TestNobodyElseGetsAClaimedPort(t *testing.T) {
	inPrivate(t, func(t *testing.T, s *Set) {
		for _, c := range []struct {
			held          desired.Claim
			network, addr string
			taken         bool
		}{
			{claim("0.0.0.0:80", "tcp"), "tcp4", "0.0.0.0:80", true},
			{claim("0.0.0.0:80", "tcp"), "tcp4", "127.0.0.1:80", true},
			{claim("0.0.0.0:80", "tcp"), "tcp", ":80", true}, // both families in one socket
			{claim("0.0.0.0:80", "tcp"), "tcp6", "[::1]:80", false},
			{claim("0.0.0.0:80", "tcp"), "udp4", "0.0.0.0:80", false},
			{claim("0.0.0.0:80", "tcp"), "tcp4", "0.0.0.0:81", false},
			{claim("127.0.0.1:80", "tcp"), "tcp4", "0.0.0.0:80", true},
			{claim("127.0.0.1:80", "tcp"), "tcp4", "127.0.0.2:80", false},
			{claim("[::]:80", "tcp"), "tcp6", "[::]:80", true},
			{claim("[::]:80", "tcp"), "tcp4", "0.0.0.0:80", false},
			{claim("0.0.0.0:53", "udp"), "udp4", "127.0.0.1:53", true},
			{claim("0.0.0.0:53", "udp"), "udp", ":53", true},
			{claim("0.0.0.0:53", "udp"), "tcp4", "127.0.0.1:53", false},
		} {
			if err := s.Claim(c.held); err != nil {
				t.Fatal(err)
			}
			if err := s.Claim(c.held); err != nil {
				t.Errorf("claimed again: %v", err)
			}
			err := serve(c.network, c.addr)
			if c.taken != errors.Is(err, unix.EADDRINUSE) || !c.taken && err != nil {
				t.Errorf("%v held, a server at %s %s: %v", c.held, c.network, c.addr, err)
			}
			s.Release(c.held)
			s.Release(c.held)
			if err := serve(c.network, c.addr); err != nil {
				t.Errorf("%v released, a server at %s %s: %v", c.held, c.network, c.addr, err)
			}
		}
	})
}

// Programs as people run them.
func TestRealServersAreKeptOut(t *testing.T) {
	inPrivate(t, func(t *testing.T, s *Set) {
		if err := s.Claim(claim("0.0.0.0:8080", "tcp")); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		conf := filepath.Join(dir, "nginx.conf")
		// As root of a user namespace nginx has no other user to become, and no /var/lib/nginx.
		text := fmt.Sprintf("user root root; daemon off; pid %s/pid; error_log stderr; events {} http { access_log off; server { listen 8080; }", dir)
		for _, temp := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			text += fmt.Sprintf(" %s_temp_path %s/%s;", temp, dir, temp)
		}
		text += " }"
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, argv := range [][]string{
			{"python3", "-m", "http.server", "8080"},
			{"nginx", "-c", conf, "-p", dir},
		} {
			if _, err := exec.LookPath(argv[0]); err != nil {
				t.Logf("%s is not installed", argv[0])
				continue
			}
			argv = append([]string{"timeout", "10"}, argv...) // nginx tries five times
			out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "ddress already in use") {
				t.Errorf("%v: %v\n%s", argv, err, out)
			}
		}
	})
}

func TestPacketsPastTheFirewallAreRefused(t *testing.T) {
	inPrivate(t, func(t *testing.T, s *Set) {
		if err := s.Claim(claim("0.0.0.0:80", "tcp")); err != nil {
			t.Fatal(err)
		}
		conn, err := net.DialTimeout("tcp", "127.0.0.1:80", time.Second)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("a client gets %v, want connection refused", err)
		}
	})
}

func TestWhatCanNotBeClaimed(t *testing.T) {
	inPrivate(t, func(t *testing.T, s *Set) {
		l, err := net.Listen("tcp4", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for _, c := range []struct {
			claim desired.Claim
			kind  errs.Kind
			words string
		}{
			{claim("0.0.0.0:80", "tcp"), errs.Conflict, "failed to bind host port 0.0.0.0:80/tcp: address already in use"},
			{claim("127.0.0.1:80", "tcp"), errs.Conflict, "failed to bind host port 127.0.0.1:80/tcp: address already in use"},
			{claim("10.9.9.9:80", "tcp"), errs.Unavailable, "no interface of this host has 10.9.9.9"},
			{claim("[fd00::9]:80", "udp"), errs.Unavailable, "failed to bind host port [fd00::9]:80/udp"},
			{claim("0.0.0.0:0", "tcp"), errs.Invalid, "0.0.0.0:0/tcp"},
			{claim("0.0.0.0:81", "icmp"), errs.Invalid, "0.0.0.0:81/icmp"},
			{desired.Claim{Proto: "tcp", Port: 80}, errs.Invalid, "/tcp"},
		} {
			err := s.Claim(c.claim)
			if !errs.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v: %v", c.claim, err)
			}
		}
		if err := s.Claim(claim("0.0.0.0:80", "sctp")); err != nil {
			t.Errorf("sctp, in the kernel or not: %v", err)
		}
	})
}

// The connections of a server that has just stopped are no reason to refuse.
func TestConnectionsInTimeWait(t *testing.T) {
	inPrivate(t, func(t *testing.T, s *Set) {
		l, err := net.Listen("tcp4", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("tcp4", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		server.Close() // first: its end waits
		client.Close()
		l.Close()
		time.Sleep(50 * time.Millisecond)
		if err := s.Claim(claim("0.0.0.0:80", "tcp")); err != nil {
			t.Error(err)
		}
	})
}

func TestTenThousand(t *testing.T) {
	inPrivate(t, func(t *testing.T, s *Set) {
		start := time.Now()
		for n := range 10000 {
			c := claim("0.0.0.0:1", "tcp")
			c.Port = uint16(10000 + n)
			if err := s.Claim(c); err != nil {
				var lim unix.Rlimit
				_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &lim)
				if lim.Cur < 10100 && errs.Is(err, errs.Unavailable) {
					t.Skipf("RLIMIT_NOFILE is %d", lim.Cur)
				}
				t.Fatal(err)
			}
		}
		t.Logf("%v each", time.Since(start)/10000)
		start = time.Now()
		s.Close()
		t.Logf("%v each to release", time.Since(start)/10000)
	})
}
