//go:build linux

package link

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/netns"
	"golang.org/x/sys/unix"
)

// tc runs tc(8) on the host.
func tc(t *testing.T, line string) string {
	t.Helper()
	return program(t, "tc", line)
}

// sink takes what is sent to port 81 of a sandbox, and source sends without end
// to who connects to port 82, until the test ends.
func sinkAndSource(t *testing.T, h *Host, s *desired.Sandbox) {
	t.Helper()
	for _, port := range []string{":81", ":82"} {
		var l net.Listener
		must(t, netns.Do(h.dir.Path(s.Container), func() (err error) { l, err = net.Listen("tcp4", port); return }))
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					if port == ":81" {
						_, _ = io.Copy(io.Discard, c)
						return
					}
					for buf := make([]byte, 1<<16); ; {
						if _, err := c.Write(buf); err != nil {
							return
						}
					}
				}()
			}
		}()
	}
}

// speed gives the bits a second that pass into (port 81) or out of (82) a
// sandbox from the host during a time.
func speed(t *testing.T, s *desired.Sandbox, port string, during time.Duration) float64 {
	t.Helper()
	return speedAt(t, addrOf(s), port, during)
}

func speedAt(t *testing.T, addr, port string, during time.Duration) float64 {
	t.Helper()
	c, err := net.DialTimeout("tcp", net.JoinHostPort(addr, port), 10*time.Second)
	must(t, err)
	defer c.Close()
	_ = c.(*net.TCPConn).SetWriteBuffer(64 << 10) // what waits there has not passed
	began := time.Now()
	_ = c.SetDeadline(began.Add(during))
	n, buf := 0, make([]byte, 1<<16)
	for time.Since(began) < during {
		var m int
		if port == "81" {
			m, err = c.Write(buf)
		} else {
			m, err = c.Read(buf)
		}
		n += m
		if err != nil {
			break
		}
	}
	return float64(n*8) / time.Since(began).Seconds()
}

func limited(s *desired.Sandbox, in, out uint64) *desired.Sandbox {
	c := *s
	c.Interfaces = append([]desired.Interface{}, s.Interfaces...)
	c.Interfaces[0].RateIn, c.Interfaces[0].RateOut = in, out
	return &c
}

// Limits come, change and go while a connection lives; without there is nothing.
func TestRates(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		_, list := build(t, h, 2)
		s, host := list[0], list[0].Interfaces[0].Host
		none := func() {
			t.Helper()
			if got := tc(t, "qdisc show dev "+host); !strings.Contains(got, "noqueue") || strings.Contains(got, "ingress") {
				t.Errorf("without a limit: %s", got)
			}
			if got := ip(t, "-o link show type ifb"); got != "" {
				t.Errorf("without a limit: %s", got)
			}
		}
		none()
		sinkAndSource(t, h, s)
		greeter(t, h, s, "tcp4")
		const rate = 20e6
		in, out := speed(t, s, "81", 300*time.Millisecond), speed(t, s, "82", 300*time.Millisecond)
		if in < 4*rate || out < 4*rate {
			t.Fatalf("unlimited: %.0f and %.0f bit/s; this machine can't show a limit of %.0f", in, out, float64(rate))
		}
		check := func(what string, s *desired.Sandbox) {
			t.Helper()
			must(t, h.EnsureSandbox(ctx, s))
			if ok, err := h.ObserveSandbox(ctx, s); err != nil || !ok {
				t.Errorf("%s: made and not intact: %v", what, err)
			}
			for port, limit := range map[string]uint64{"81": s.Interfaces[0].RateIn, "82": s.Interfaces[0].RateOut} {
				got := speed(t, s, port, 500*time.Millisecond)
				for range 5 { // less may be a busy machine's
					if limit == 0 && got < 4*rate || got < float64(limit)/2 {
						got = speed(t, s, port, 500*time.Millisecond)
					}
				}
				switch {
				case limit == 0 && got < 4*rate:
					t.Errorf("%s: port %s: %.0f bit/s without a limit", what, port, got)
				case limit > 0 && (got > 2*float64(limit) || got < float64(limit)/2):
					t.Errorf("%s: port %s: %.0f bit/s, limit %d", what, port, got, limit)
				}
			}
		}
		check("in", limited(s, rate, 0))
		if got := ip(t, "-o link show type ifb"); got != "" {
			t.Errorf("limited inwards only: %s", got)
		}
		check("out", limited(s, 0, rate))
		check("both", limited(s, rate, rate))
		check("changed", limited(s, rate/2, 2*rate))
		reaches(t, h, list[1], s)
		must(t, h.EnsureSandbox(ctx, s))
		none()
		check("lifted", s)
		// One that was made with limits, and goes with all that is its own.
		must(t, h.EnsureSandbox(ctx, limited(s, rate, rate)))
		must(t, h.DeleteHostEnd(ctx, host))
		if got := ip(t, "-o link show type ifb"); got != "" {
			t.Errorf("left behind: %s", got)
		}
	})
}

// A limit made lower while much is waiting stops nobody: no packet of the old
// size is left at the head of the queue.
func TestLowerRateKeepsGoing(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		_, list := build(t, h, 1)
		s := list[0]
		sinkAndSource(t, h, s)
		dial := func(port string) net.Conn {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(addrOf(s), port), 10*time.Second)
			must(t, err)
			t.Cleanup(func() { c.Close() })
			_ = c.(*net.TCPConn).SetWriteBuffer(64 << 10) // what waits there has not passed
			return c
		}
		const before, after = 1 << 20, 1 << 17 // bytes
		buf := make([]byte, 1<<16)
		pass := func(what string, use func([]byte) (int, error), bytes int) {
			t.Helper()
			for n := 0; n < bytes; {
				m, err := use(buf)
				if n += m; err != nil {
					t.Fatalf("%s, after %d bytes: %v\n%s", what, n, err, tc(t, "-s qdisc show"))
				}
			}
		}
		for range 4 {
			must(t, h.EnsureSandbox(ctx, limited(s, 80e6, 80e6)))
			in, out := dial("81"), dial("82")
			must(t, in.SetDeadline(time.Now().Add(20*time.Second)))
			must(t, out.SetDeadline(time.Now().Add(20*time.Second)))
			pass("in, before", in.Write, before)
			pass("out, before", out.Read, before)
			pass("in, before", in.Write, before)
			must(t, h.EnsureSandbox(ctx, limited(s, 2e6, 2e6)))
			pass("in, lowered", in.Write, after)
			pass("out, lowered", out.Read, after)
			in.Close()
			out.Close()
			dial("81").Close()
			dial("82").Close()
		}
	})
}

// What somebody else takes away is noticed, found by a look, and made again.
func TestRatesAreHealed(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		c, err := h.Watch(ctx)
		must(t, err)
		_, list := build(t, h, 2)
		s := limited(list[0], 1e6, 2e6)
		must(t, h.EnsureSandbox(ctx, s))
		host, dev := s.Interfaces[0].Host, rateDevice(s.Interfaces[0].Endpoint)
		for range 5 {
			if !signalled(c, quietTime) {
				break
			}
			observe(t, h)
		}
		for _, harm := range []string{
			"tc qdisc del dev " + host + " root",
			"tc qdisc replace dev " + host + " root tbf rate 5mbit burst 20000 limit 100000",
			"tc qdisc change dev " + host + " root handle HANDLE tbf rate 9mbit burst 20000 limit 100000",
			"tc qdisc del dev " + host + " ingress",
			"tc filter del dev " + host + " ingress",
			"tc qdisc del dev " + dev + " root",
			"ip link set " + dev + " down",
			"ip link del " + dev,
		} {
			word, line, _ := strings.Cut(harm, " ")
			if strings.Contains(line, "HANDLE") { // one of two
				line = strings.Replace(line, "HANDLE", strings.Fields(tc(t, "qdisc show dev "+host+" root"))[2], 1)
			}
			program(t, word, line)
			if !signalled(c, 10*time.Second) {
				t.Errorf("%s: not signalled", harm)
			}
			if o := observe(t, h); !o.HostEnds[host].Altered {
				t.Errorf("%s: not observed: %+v", harm, o.HostEnds)
			}
			if ok, err := h.ObserveSandbox(ctx, s); err != nil || ok {
				t.Errorf("%s: seen as intact (%v)", harm, err)
			}
			must(t, h.EnsureSandbox(ctx, s))
			if ok, err := h.ObserveSandbox(ctx, s); err != nil || !ok {
				t.Errorf("%s: not healed (%v)", harm, err)
			}
			if o := observe(t, h); o.HostEnds[host].Altered || len(o.HostEnds) != 2 {
				t.Errorf("%s: healed, and observed as %+v", harm, o.HostEnds)
			}
			for range 5 {
				if !signalled(c, quietTime) {
					break
				}
			}
		}
		if signalled(c, 500*time.Millisecond) {
			t.Error("signalled without end")
		}
		// A daemon that starts anew finds them right.
		other, err := New(t.TempDir(), h.log)
		must(t, err)
		t.Cleanup(func() { _ = other.Close() })
		own := other.dir
		other.dir = h.dir
		if ok, err := other.ObserveSandbox(ctx, s); err != nil || !ok {
			t.Errorf("by another daemon: %v, %v", ok, err)
		}
		if ok, err := other.ObserveSandbox(ctx, list[0]); err != nil || ok {
			t.Errorf("limits that are not wanted any more are seen as intact (%v)", err)
		}
		other.dir = own
		// A device whose host end is gone is a leftover.
		ip(t, "link del "+host)
		if o := observe(t, h); o.HostEnds[dev].Endpoint != s.Interfaces[0].Endpoint {
			t.Errorf("without its host end: %+v", o.HostEnds)
		}
		must(t, h.DeleteHostEnd(ctx, dev))
		if got := ip(t, "-o link show type ifb"); got != "" {
			t.Errorf("left behind: %s", got)
		}
		// What is another program's is left alone.
		ip(t, "link add "+dev+" type ifb")
		ip(t, "link set "+dev+" alias other")
		if err := h.EnsureSandbox(ctx, s); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), dev) {
			t.Errorf("its name is taken: %v", err)
		}
	})
}

func TestBuckets(t *testing.T) {
	for _, bits := range []uint64{8e3, 1e6, 1e9, 100e9} {
		b := bucketFor(bits, 1500)
		if r := float64(b.rate) * 8 / float64(bits); r < 1.04 || r > 1.05 {
			t.Errorf("%d bit/s: the bucket has %.4f of it", bits, r)
		}
		if burst := burstOf(b.rate, 1500); burst < 8*1518 || b.queue <= burst {
			t.Errorf("%d bit/s: burst %d, queue %d", bits, burst, b.queue)
		}
	}
	if burst := burstOf(1000, 65535); burst < 65535+14 {
		t.Errorf("a frame of 64 kB does not fit a burst of %d", burst)
	}
	if b := bucketFor(0, 1500); b != (bucket{}) {
		t.Errorf("no limit: %+v", b)
	}
}

func TestMissingKernelFeaturesAreNamed(t *testing.T) {
	for _, errno := range []error{unix.ENOENT, unix.EOPNOTSUPP} {
		err := lacks(fmt.Errorf("x: %w", errno), "token buckets", "sch_tbf", "CONFIG_NET_SCH_TBF")
		for _, want := range []string{"this kernel has no token buckets", "--net-rate-in", "modprobe sch_tbf", "CONFIG_NET_SCH_TBF"} {
			if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v, want %q", errno, err, want)
			}
		}
	}
	if lacks(nil, "", "", "") != nil {
		t.Error("nothing lacks")
	}
	on(t, func(t *testing.T, _ *Host) { must(t, netns.Try(TryRates)) })
}

// The kernel says nothing of the queueing discipline of a link that is not up
// yet; reading it ends all the same.
func TestBucketOfALinkThatIsDown(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		program(t, "ip", "link add down0 type veth peer name down1")
		l, err := find(h.nl, "down0")
		must(t, err)
		ended := make(chan error, 1)
		go func() {
			for range 3 {
				if b, _, err := h.shaper().bucketOf(l.Attrs().Index); err != nil || b != (bucket{}) {
					ended <- fmt.Errorf("%+v, %w", b, err)
					return
				}
			}
			ended <- nil
		}()
		select {
		case err := <-ended:
			must(t, err)
		case <-time.After(5 * time.Second):
			t.Fatal("the kernel is waited for without end")
		}
		// And the next request is answered with its own.
		if l, err = find(h.nl, "down1"); err != nil || l == nil || l.Attrs().Name != "down1" {
			t.Errorf("after it: %v, %v", l, err)
		}
	})
}
