//go:build linux

package link

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/kernel/netns"
	"github.com/jackstay/jackstay/internal/kernel/netns/nettest"
)

// on runs a test on a machine of its own with a Host.
func on(t *testing.T, fn func(t *testing.T, h *Host)) {
	nettest.Run(t, func(t *testing.T) {
		h, err := New(t.TempDir(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			names, _ := h.dir.List()
			for _, n := range names {
				_ = h.dir.Delete(n)
			}
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
		fn(t, h)
	})
}

func id(prefix string, n int) string { return fmt.Sprintf("%s%060x", prefix, n) }

func testBridge(n int) *desired.Bridge {
	return &desired.Bridge{
		Name: fmt.Sprintf("jk-%012x", n), Network: fmt.Sprintf("%012x%052d", n, 0),
		MAC:   fmt.Sprintf("02:42:00:00:01:%02x", n),
		Addrs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("172.%d.0.1/16", 20+n))}, RouteLocalnet: true,
	}
}

// testSandbox is the nth container of bridge b.
func testSandbox(b *desired.Bridge, n int) *desired.Sandbox {
	gw := b.Addrs[0].Addr()
	a := gw.As4()
	a[2], a[3] = byte((n+1)>>8), byte(n+1)
	return &desired.Sandbox{
		Container: id("c0de", n),
		Interfaces: []desired.Interface{{
			Endpoint: fmt.Sprintf("%012x%052x", n, 1), Host: fmt.Sprintf("jv%012x", n), Name: "eth0", Bridge: b.Name,
			MAC: fmt.Sprintf("02:42:01:%02x:%02x:%02x", n>>16, n>>8&255, n&255), Addrs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(a), 16)},
		}},
		Routes: []desired.Route{{Via: gw, Dev: "eth0"}},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ip runs ip(8) on the host, with words separated by blanks.
func ip(t *testing.T, line string) string {
	t.Helper()
	return program(t, "ip", line)
}

// program runs a program on the host, with words separated by blanks.
func program(t *testing.T, name, line string) string {
	t.Helper()
	out, err := exec.Command(name, strings.Fields(line)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, line, err, out)
	}
	return string(out)
}

// inside runs a program in a sandbox's namespace and gives what it prints.
func inside(t *testing.T, h *Host, s *desired.Sandbox, line string) string {
	t.Helper()
	var out []byte
	err := netns.Do(h.dir.Path(s.Container), func() (err error) {
		f := strings.Fields(line)
		out, err = exec.Command(f[0], f[1:]...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// build makes a bridge and n sandboxes on it.
func build(t *testing.T, h *Host, n int) (*desired.Bridge, []*desired.Sandbox) {
	t.Helper()
	b := testBridge(1)
	must(t, h.EnsureBridge(context.Background(), b))
	var list []*desired.Sandbox
	for i := range n {
		s := testSandbox(b, i+1)
		must(t, h.EnsureSandbox(context.Background(), s))
		list = append(list, s)
	}
	return b, list
}

func addrOf(s *desired.Sandbox) string { return s.Interfaces[0].Addrs[0].Addr().String() }

// greeter answers every TCP connection to port 80 of a sandbox with its
// container's ID.
func greeter(t *testing.T, h *Host, s *desired.Sandbox, network string) {
	t.Helper()
	var l net.Listener
	must(t, netns.Do(h.dir.Path(s.Container), func() (err error) { l, err = net.Listen(network, ":80"); return }))
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, s.Container)
			c.Close()
		}
	}()
}

// ask gives what the greeter at addr says, from inside a sandbox or, with nil,
// from the host.
func ask(h *Host, from *desired.Sandbox, addr string) (string, error) {
	var said []byte
	dial := func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(addr, "80"), 10*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		said, err = io.ReadAll(c)
		return err
	}
	if from == nil {
		err := dial()
		return string(said), err
	}
	err := netns.Do(h.dir.Path(from.Container), dial)
	return string(said), err
}

// reaches fails the test unless both the host and from reach to's greeter.
func reaches(t *testing.T, h *Host, from, to *desired.Sandbox) {
	t.Helper()
	for _, f := range []*desired.Sandbox{nil, from} {
		if said, err := ask(h, f, addrOf(to)); err != nil || said != to.Container {
			t.Errorf("from %v: %q, %v", f != nil, said, err)
		}
	}
}
