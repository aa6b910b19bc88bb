//go:build linux

package link

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/netns"
)

// movedIn gives a container wan0 whole, under the name eth1.
func movedIn(t *testing.T, h *Host) (s, without *desired.Sandbox, m *moved) {
	t.Helper()
	ip(t, "link add wan0 type veth peer name far0")
	ip(t, "link set wan0 up")
	ip(t, "link set far0 up")
	ip(t, "addr add 10.7.0.1/24 dev wan0")
	s = &desired.Sandbox{Container: id("c0de", 1), Devices: []desired.Device{{NIC: nicID(1), Kind: desired.Direct, Name: "eth1", Parent: "wan0"}}}
	must(t, h.EnsureSandbox(context.Background(), s))
	intact(t, h, s, true)
	m, err := h.readMoved(s.Container, nicID(1))
	must(t, err)
	return s, &desired.Sandbox{Container: s.Container}, m
}

// takeOut is the first half of giving a device back.
func takeOut(t *testing.T, h *Host, m *moved) netlink.Link {
	t.Helper()
	must(t, netns.Do(h.dir.Path(m.Container), func() error {
		in, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer in.Close()
		l, err := find(in, "eth1")
		if err != nil {
			return err
		}
		return h.moveOut(in, l, m)
	}))
	l, err := h.stray(m.NIC)
	must(t, err)
	return l
}

// wholeAgain fails the test unless wan0 is on the host as it was, unnoted.
func wholeAgain(t *testing.T, h *Host, s *desired.Sandbox) {
	t.Helper()
	if got := ip(t, "addr show wan0"); !strings.Contains(got, "inet 10.7.0.1/24") || !strings.Contains(got, ",UP") || strings.Contains(got, "alias") {
		t.Errorf("given back: %s", got)
	}
	if list, err := h.movedInto(s.Container); err != nil || len(list) > 0 {
		t.Errorf("noted still: %v, %v", list, err)
	}
	intact(t, h, s, true)
}

// A device whose NIC is taken away while the container runs, and whose name
// another link has: nothing says that it is back until it is. The rest of the
// container is made meanwhile.
func TestNameTakenWhileRunning(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		_, without, _ := movedIn(t, h)
		ip(t, "link add wan0 type bridge")
		b := testBridge(1)
		must(t, h.EnsureBridge(ctx, b))
		without.Interfaces = testSandbox(b, 1).Interfaces
		for n := range 3 {
			if err := h.EnsureSandbox(ctx, without); err == nil || !strings.Contains(err.Error(), "its name wan0 back") {
				t.Errorf("try %d, while another link has its name: %v", n, err)
			}
			intact(t, h, without, false)
		}
		if got := inside(t, h, without, "ip -o link"); !strings.Contains(got, "eth0") {
			t.Errorf("what is wanted is not made: %s", got)
		}
		ip(t, "link del wan0")
		must(t, h.EnsureSandbox(ctx, without))
		wholeAgain(t, h, without)
	})
}

// A daemon that ends while a device is given back to the host, its container
// running on: the next one finishes it.
func TestGiveBackCutOff(t *testing.T) {
	for _, tt := range []struct {
		name string
		cut  func(t *testing.T, h *Host, m *moved)
	}{
		{"moved out", func(t *testing.T, h *Host, m *moved) { takeOut(t, h, m) }},
		{"alias given back", func(t *testing.T, h *Host, m *moved) {
			must(t, h.restore(takeOut(t, h, m), m))
			must(t, h.writeMoved(m))
		}},
	} {
		for _, stop := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				on(t, func(t *testing.T, h *Host) {
					s, without, m := movedIn(t, h)
					tt.cut(t, h, m)
					intact(t, h, without, false)
					var log bytes.Buffer
					h.log = slog.New(slog.NewTextHandler(&log, nil))
					if stop {
						must(t, h.DeleteNamespace(context.Background(), s.Container))
						must(t, h.EnsureSandbox(context.Background(), without))
					} else {
						must(t, h.EnsureSandbox(context.Background(), without))
					}
					wholeAgain(t, h, without)
					if log.Len() > 0 {
						t.Errorf("it is back, and logged is %s", log.String())
					}
				})
			})
		}
	}
}

// A device that is on the host already, or gone: what has its name inside is
// another's, and stays there.
func TestAnotherOfItsNameInside(t *testing.T) {
	for _, tt := range []struct {
		name string
		cut  func(t *testing.T, h *Host, m *moved)
	}{
		{"on the host", func(t *testing.T, h *Host, m *moved) { takeOut(t, h, m) }},
		{"back", func(t *testing.T, h *Host, m *moved) {
			must(t, h.restore(takeOut(t, h, m), m))
			must(t, h.writeMoved(m))
		}},
		{"gone", func(t *testing.T, h *Host, _ *moved) { ip(t, "link del far0") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			on(t, func(t *testing.T, h *Host) {
				ctx := context.Background()
				s, without, m := movedIn(t, h)
				tt.cut(t, h, m)
				alias := ""
				if tt.name == "gone" { // else nothing tells it from ours
					alias = NICAlias + nicID(2)
				}
				inside(t, h, s, "ip link add eth1 type veth peer name peer1")
				if alias != "" {
					inside(t, h, s, "ip link set eth1 alias "+alias)
					without.Devices = []desired.Device{{NIC: nicID(2), Kind: desired.Dummy, Name: "eth1"}}
				}
				must(t, h.EnsureSandbox(ctx, without))
				if got := inside(t, h, s, "ip -o link show eth1"); !strings.Contains(got, "eth1@peer1") {
					t.Errorf("inside: %s", got)
				}
				if entries, _ := os.ReadDir(h.movedDir("")); len(entries) > 0 {
					t.Errorf("noted still: %v", entries)
				}
			})
		})
	}
}

// Under a name that was asked for, a veth without an alias may be anybody's:
// ours is the one whose other end is inside.
func TestHostNameOfAnother(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b := testBridge(1)
		must(t, h.EnsureBridge(ctx, b))
		s := testSandbox(b, 1)
		s.Interfaces[0].Host = "c-lan"
		ip(t, "link add c-lan type veth peer name far0")
		before := ip(t, "addr show c-lan")
		refused(t, h.EnsureSandbox(ctx, s), errs.Conflict, "a veth named c-lan", "not Jackstay's")
		if after := ip(t, "addr show c-lan"); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		ip(t, "link del c-lan")
		for _, name := range []string{"c-lan", usualHostEnd(s.Interfaces[0].Endpoint)} { // a crash came between making and naming it
			s.Interfaces[0].Host = name
			ip(t, "link add "+name+" type veth peer name half0")
			ip(t, "link set half0 netns "+h.dir.Path(s.Container)+" name eth0")
			must(t, h.EnsureSandbox(ctx, s))
			intact(t, h, s, true)
			must(t, h.DeleteHostEnd(ctx, name))
		}
	})
}
