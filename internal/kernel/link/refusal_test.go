//go:build linux

package link

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/netns"
)

func refused(t *testing.T, err error, kind errs.Kind, words ...string) {
	t.Helper()
	if !errs.Is(err, kind) {
		t.Errorf("kind %v, want %v: %v", errs.KindOf(err), kind, err)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestForeignLinksAreUntouched(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b := testBridge(1)
		b.Name = "br0"
		s := testSandbox(b, 1)
		host := s.Interfaces[0].Host
		for _, line := range []string{"link add br0 type bridge", "addr add 10.50.0.1/24 dev br0", "link add " + host + " type bridge"} {
			ip(t, line)
		}
		before := ip(t, "-d addr")
		refused(t, h.EnsureBridge(ctx, b), errs.Conflict, "br0", "not Jackstay's")
		refused(t, h.EnsureSandbox(ctx, s), errs.Conflict, host, "not Jackstay's")
		refused(t, h.DeleteBridge(ctx, "br0"), errs.Conflict, "br0")
		refused(t, h.DeleteHostEnd(ctx, host), errs.Conflict, host)
		if after := ip(t, "-d addr"); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		if seen := observe(t, h); len(seen.Bridges)+len(seen.HostEnds) != 0 {
			t.Errorf("observed %+v", seen)
		}
	})
}

func TestBadWishes(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b, _ := build(t, h, 0)
		for _, c := range []struct {
			change func(*desired.Sandbox)
			kind   errs.Kind
			words  string
		}{
			{func(s *desired.Sandbox) { s.Interfaces[0].Bridge = "jk-none" }, errs.Unavailable, "network bridge jk-none is not there"},
			{func(s *desired.Sandbox) { s.Interfaces[0].MAC = "nonsense" }, errs.Invalid, `"nonsense"`},
			{func(s *desired.Sandbox) { s.Routes[0].Via = netip.MustParseAddr("10.1.1.1") }, errs.Invalid, "10.1.1.1"},
			{func(s *desired.Sandbox) { s.Routes[0].Dev = "eth9" }, errs.Invalid, "no interface eth9"},
			{func(s *desired.Sandbox) { s.Sysctls = map[string]string{"net/ipv4/nonsense": "1"} }, errs.Invalid, "net.ipv4.nonsense"},
			{func(s *desired.Sandbox) { s.Sysctls = map[string]string{"kernel/panic": "1"} }, errs.Invalid, "kernel.panic"},
			{func(s *desired.Sandbox) { s.Sysctls = map[string]string{"net/ipv4/ip_forward": "x"} }, errs.Invalid, `"x"`},
		} {
			s := testSandbox(b, 1)
			c.change(s)
			refused(t, h.EnsureSandbox(ctx, s), c.kind, c.words, short(s.Container))
		}
		// And a good one over what they left.
		s := testSandbox(b, 1)
		s.Sysctls = map[string]string{"net/ipv4/ip_unprivileged_port_start": "0", "net/ipv4/ip_local_port_range": "2000 3000"}
		must(t, h.EnsureSandbox(ctx, s))
		must(t, h.EnsureSandbox(ctx, s))
		if got := inside(t, h, s, "cat /proc/sys/net/ipv4/ip_local_port_range"); got != "2000\t3000\n" {
			t.Errorf("sysctl is %q", got)
		}
	})
}

func TestAFullBridge(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b, s := build(t, h, 1)
		var batch strings.Builder
		for n := range 1022 {
			fmt.Fprintf(&batch, "link add v%d numtxqueues 1 numrxqueues 1 master %s type veth peer name w%d numtxqueues 1 numrxqueues 1\n", n, b.Name, n)
		}
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(batch.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		// Port numbers begin at 1: 1,023 of them.
		refused(t, h.EnsureSandbox(ctx, testSandbox(b, 2)), errs.Unavailable,
			"network bridge "+b.Name+" is full: Linux allows 1,024 ports", "another network")
		must(t, h.DeleteHostEnd(ctx, s[0].Interfaces[0].Host))
		must(t, h.EnsureSandbox(ctx, testSandbox(b, 2)))
	})
}

func TestListen(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		_, s := build(t, h, 2)
		at := netip.MustParseAddrPort("127.0.0.11:53")
		for _, x := range s { // the same address in each
			udp, tcp, err := h.Listen(ctx, x.Container, at)
			must(t, err)
			defer udp.Close()
			defer tcp.Close()
			echo(udp, x.Container)
		}
		for _, x := range s {
			if said, err := query(h, x, at.String()); err != nil || said != x.Container {
				t.Errorf("%q, %v", said, err)
			}
		}
		_, _, err := h.Listen(ctx, s[0].Container, at)
		refused(t, err, errs.Conflict, "127.0.0.11:53", short(s[0].Container))
		if _, _, err := h.Listen(ctx, "absent", at); err == nil {
			t.Error("listening in no namespace")
		}
	})
}

// A container that serves port 53 of every address still reaches the resolver.
func TestRedirectedResolver(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b, _ := build(t, h, 0)
		s := testSandbox(b, 1)
		s.Resolver, s.ResolverVia = netip.MustParseAddrPort("127.0.0.11:53"), netip.MustParseAddrPort("127.0.0.11:41053")
		for range 2 {
			must(t, h.EnsureSandbox(ctx, s))
		}
		udp, tcp, err := h.Listen(ctx, s.Container, s.ResolverVia)
		must(t, err)
		defer udp.Close()
		defer tcp.Close()
		echo(udp, "resolver")
		var own net.PacketConn
		must(t, netns.Do(h.dir.Path(s.Container), func() (err error) { own, err = net.ListenPacket("udp4", "0.0.0.0:53"); return }))
		defer own.Close()
		echo(own, "container")
		for addr, want := range map[string]string{"127.0.0.11:53": "resolver", "127.0.0.1:53": "container", addrOf(s) + ":53": "container"} {
			if said, err := query(h, s, addr); err != nil || said != want {
				t.Errorf("%s: %q, %v; want %s", addr, said, err, want)
			}
		}
		go func() {
			if c, err := tcp.Accept(); err == nil {
				c.Close()
			}
		}()
		must(t, netns.Do(h.dir.Path(s.Container), func() error {
			c, err := net.DialTimeout("tcp", "127.0.0.11:53", 10*time.Second)
			if err == nil {
				c.Close()
			}
			return err
		}))
		if got := inside(t, h, s, "nft list ruleset"); strings.Count(got, "dnat") != 2 {
			t.Errorf("ruleset inside:\n%s", got)
		}
	})
}

// echo answers every datagram with text.
func echo(c net.PacketConn, text string) {
	go func() {
		buf := make([]byte, 512)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo([]byte(text), from)
		}
	}()
}

// query sends a datagram from inside a sandbox and gives the answer of exactly
// that address.
func query(h *Host, s *desired.Sandbox, addr string) (string, error) {
	buf := make([]byte, 512)
	n := 0
	err := netns.Do(h.dir.Path(s.Container), func() error {
		c, err := net.Dial("udp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte("?")); err != nil {
			return err
		}
		n, err = c.Read(buf)
		return err
	})
	return string(buf[:n]), err
}
