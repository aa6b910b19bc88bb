package fake_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/fake"
)

var ctx = context.Background()

func bridge(name string) *desired.Bridge {
	return &desired.Bridge{Name: name, Network: "net" + name, Addrs: []netip.Prefix{netip.MustParsePrefix("172.17.0.1/16")}}
}

func sandbox(id, bridge string) *desired.Sandbox {
	return &desired.Sandbox{
		Container:  id,
		Interfaces: []desired.Interface{{Endpoint: "ep" + id, Host: "jv" + id, Name: "eth0", Bridge: bridge, Addrs: []netip.Prefix{netip.MustParsePrefix("172.17.0.2/16")}}},
		Routes:     []desired.Route{{Via: netip.MustParseAddr("172.17.0.1"), Dev: "eth0"}},
	}
}

// What Linux refuses is refused, with its error, and leaves no trace.
func TestRefused(t *testing.T) {
	port := desired.Claim{IP: netip.IPv4Unspecified(), Proto: "tcp", Port: 80}
	key := desired.PortKey{Proto: "tcp", Port: 80}
	to := func(last byte) map[desired.PortKey]desired.Target {
		return map[desired.PortKey]desired.Target{key: {IP: netip.AddrFrom4([4]byte{172, 17, 0, last}), Port: 80}}
	}
	subnets := func(s ...string) desired.Firewall {
		fw := desired.Firewall{Masquerade: map[netip.Prefix]struct{}{}}
		for _, p := range s {
			fw.Masquerade[netip.MustParsePrefix(p)] = struct{}{}
		}
		return fw
	}
	for _, tc := range []struct {
		name string
		do   func(h *fake.Host) error
		is   error
		kind errs.Kind
	}{
		{"a long name", func(h *fake.Host) error { return h.Links().EnsureBridge(ctx, bridge("jk-0123456789abc")) }, syscall.ERANGE, 0},
		{"a bridge over a foreign link", func(h *fake.Host) error {
			h.AddForeignLink("docker0", true)
			return h.Links().EnsureBridge(ctx, bridge("docker0"))
		}, nil, errs.Conflict},
		{"deleting a foreign link", func(h *fake.Host) error {
			h.AddForeignLink("docker0", true)
			return errors.Join(h.Links().DeleteBridge(ctx, "docker0"))
		}, nil, errs.Conflict},
		{"a sandbox without namespace", func(h *fake.Host) error { return h.Links().EnsureSandbox(ctx, sandbox("c1", "jk-a")) }, syscall.ENOENT, 0},
		{"a multicast MAC", func(h *fake.Host) error {
			b := bridge("jk-b")
			b.MAC = "01:00:5e:00:00:01"
			return h.Links().EnsureBridge(ctx, b)
		}, syscall.EADDRNOTAVAIL, 0},
		{"sockets without namespace", func(h *fake.Host) error {
			_, _, err := h.Links().Listen(ctx, "c1", netip.MustParseAddrPort("127.0.0.11:53"))
			return err
		}, syscall.ENOENT, 0},
		{"a device that is not there", func(h *fake.Host) error { return device(h, desired.Macvlan, "gone0") }, syscall.ENODEV, 0},
		{"a device that is a port", func(h *fake.Host) error {
			if err := h.Links().EnsureBridge(ctx, bridge("jk-a")); err != nil {
				return err
			}
			s := sandbox("c1", "jk-a")
			if _, err := h.Links().EnsureNamespace(ctx, "c1"); err != nil {
				return err
			}
			err := h.Links().EnsureSandbox(ctx, s)
			err = errors.Join(err, device(h, desired.Direct, s.Interfaces[0].Host))
			return errors.Join(err, h.Links().DeleteNamespace(ctx, "c1"))
		}, syscall.EBUSY, 0},
		{"a port of another program", func(h *fake.Host) error { h.TakePort(port); return h.Ports().Claim(port) }, nil, errs.Conflict},
		{"elements without a table", func(h *fake.Host) error { return h.Firewall().Update(ctx, subnets("10.0.0.0/8"), desired.Firewall{}) }, syscall.ENOENT, 0},
		{"overlapping intervals", func(h *fake.Host) error { return h.Firewall().Load(ctx, subnets("10.0.0.0/8", "10.1.0.0/16")) }, syscall.EEXIST, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := fake.New()
			err := tc.do(h)
			if err == nil || tc.is != nil && !errors.Is(err, tc.is) || errs.KindOf(err) != tc.kind {
				t.Errorf("error %v", err)
			}
			if d := h.Dump(); strings.Contains(d, "netns") || strings.Contains(d, "table") || strings.Contains(d, "claim") {
				t.Errorf("left behind:\n%s", d)
			}
		})
	}

	h := fake.New()
	if err := h.Firewall().Load(ctx, desired.Firewall{PublishAny: to(2)}); err != nil {
		t.Fatal(err)
	}
	before := h.Dump()
	if err := h.Firewall().Update(ctx, desired.Firewall{PublishAny: to(3)}, desired.Firewall{}); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("a key with two values: %v", err)
	}
	absent := desired.Firewall{Bridges: map[string]struct{}{"jk-a": {}}}
	if err := h.Firewall().Update(ctx, desired.Firewall{}, desired.Firewall{PublishAny: to(2), Bridges: absent.Bridges}); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("deleting what is absent: %v", err)
	}
	if h.Dump() != before {
		t.Errorf("half a transaction was made:\n%s", h.Dump())
	}
	if err := h.Firewall().Update(ctx, desired.Firewall{PublishAny: to(3)}, desired.Firewall{PublishAny: to(2)}); err != nil {
		t.Errorf("a changed value: %v", err)
	}
}

func TestMissingBridgeAndGateway(t *testing.T) {
	h := fake.New()
	l := h.Links()
	if _, err := l.EnsureNamespace(ctx, "c1"); err != nil {
		t.Fatal(err)
	}
	if err := l.EnsureSandbox(ctx, sandbox("c1", "jk-a")); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("missing bridge: %v", err)
	}
	if err := l.EnsureBridge(ctx, bridge("jk-a")); err != nil {
		t.Fatal(err)
	}
	far := sandbox("c1", "jk-a")
	far.Routes[0].Via = netip.MustParseAddr("10.0.0.1")
	if err := l.EnsureSandbox(ctx, far); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("gateway elsewhere: %v", err)
	}
	good := sandbox("c1", "jk-a")
	if err := l.EnsureSandbox(ctx, good); err != nil {
		t.Fatal(err)
	}
	if intact, err := l.ObserveSandbox(ctx, good); !intact || err != nil {
		t.Errorf("intact %t %v", intact, err)
	}
	h.Journal()
	if err := l.EnsureSandbox(ctx, good); err != nil || len(h.Journal()) > 0 {
		t.Errorf("not idempotent: %v", err)
	}
	h.DeleteLink("jk-a")
	if intact, _ := l.ObserveSandbox(ctx, good); intact {
		t.Error("intact without its bridge")
	}
	if err := l.DeleteNamespace(ctx, "c1"); err != nil || h.Dump() != "\n" {
		t.Errorf("%v, left:\n%s", err, h.Dump())
	}
}

func TestBridgeIsFull(t *testing.T) {
	h := fake.New()
	l := h.Links()
	if err := l.EnsureBridge(ctx, bridge("jk-a")); err != nil {
		t.Fatal(err)
	}
	for n := range 1025 {
		id := fmt.Sprint("c", n)
		if _, err := l.EnsureNamespace(ctx, id); err != nil {
			t.Fatal(err)
		}
		err := l.EnsureSandbox(ctx, sandbox(id, "jk-a"))
		if full := errors.Is(err, syscall.EXFULL); full != (n == 1024) || err != nil && !full {
			t.Fatalf("port %d: %v", n+1, err)
		}
	}
}

func TestFaults(t *testing.T) {
	h := fake.New()
	h.FailAt(2)
	if err := h.Links().EnsureBridge(ctx, bridge("jk-a")); !errors.Is(err, fake.ErrInjected) {
		t.Errorf("second change: %v", err)
	}
	if err := h.Links().EnsureBridge(ctx, bridge("jk-a")); err != nil {
		t.Errorf("after it: %v", err)
	}
	dead := make(chan struct{})
	h.KillAt(1, func() { close(dead) })
	if _, err := h.Links().EnsureNamespace(ctx, "c1"); err != nil {
		t.Errorf("the last change: %v", err)
	}
	<-dead
	if _, err := h.Links().Observe(ctx); !errors.Is(err, fake.ErrKilled) {
		t.Errorf("a dead daemon sees: %v", err)
	}
	h.Restart()
	if o, err := h.Links().Observe(ctx); err != nil || len(o.Namespaces) != 1 || len(o.Bridges) != 1 {
		t.Errorf("the next one sees: %+v %v", o, err)
	}
}

// device puts a device into a namespace of its own, which goes again.
func device(h *fake.Host, kind desired.DeviceKind, parent string) error {
	if _, err := h.Links().EnsureNamespace(ctx, "c2"); err != nil {
		return err
	}
	s := &desired.Sandbox{Container: "c2", Devices: []desired.Device{{NIC: "n", Kind: kind, Name: "eth1", Parent: parent}}}
	return errors.Join(h.Links().EnsureSandbox(ctx, s), h.Links().DeleteNamespace(ctx, "c2"))
}

// A device that was moved in is on the host again when its namespace goes.
func TestDeviceIsGivenBack(t *testing.T) {
	h := fake.New()
	h.AddForeignLink("wan0", false)
	before := h.Dump()
	if err := device(h, desired.Direct, "wan0"); err != nil || h.Dump() != before {
		t.Errorf("%v\n%s", err, h.Dump())
	}
}
