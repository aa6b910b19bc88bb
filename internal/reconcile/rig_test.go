package reconcile_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/kernel/fake"
	"github.com/jackstay/jackstay/internal/reconcile"
)

// box is a container of a test's world: its networks, by letter, and the host
// ports that lead to its port 80. Network p is a bridge made for NICs, d a device
// of the host's own.
type box struct {
	id    string
	nets  string
	ports []uint16
}

// world makes the state that netplan would make of these containers. A network
// exists when somebody is on it.
func world(boxes ...box) *desired.State {
	s := &desired.State{
		Bridges: map[string]*desired.Bridge{}, Sandboxes: map[string]*desired.Sandbox{},
		Claims: map[desired.Claim]string{},
		Zones:  &desired.Zones{Networks: map[string]*desired.Zone{}, Views: map[string]*desired.View{}},
		Firewall: desired.Firewall{
			Bridges: map[string]struct{}{}, Masquerade: map[netip.Prefix]struct{}{}, Hairpin: map[desired.HairpinKey]struct{}{},
			PublishAny: map[desired.PortKey]desired.Target{},
		},
	}
	for _, b := range boxes {
		sb := &desired.Sandbox{Container: b.id, Sysctls: map[string]string{"net/ipv4/ip_unprivileged_port_start": "0"}}
		for i, n := range b.nets {
			if n == 'd' { // a device of the host's, whole
				sb.Devices = append(sb.Devices, desired.Device{NIC: b.id + "d", Kind: desired.Direct, Name: fmt.Sprint("eth", i), Parent: "wan" + b.id})
				continue
			}
			addNet(s, n)
			sb.Interfaces = append(sb.Interfaces, desired.Interface{
				Endpoint: b.id + string(n), Host: "jv" + b.id + string(n), Name: fmt.Sprint("eth", i), Bridge: "jk-" + string(n),
				MAC: fmt.Sprintf("02:42:ac:%02x:%02x:%02x", n, number(b.id)>>8, number(b.id)&255), Addrs: []netip.Prefix{netip.PrefixFrom(addr(b.id, n), 16)},
				RateOut: map[rune]uint64{'b': 1e6}[n],
			})
		}
		if len(b.nets) > 0 {
			gw := netip.AddrFrom4([4]byte{172, b.nets[0], 0, 1})
			sb.Routes = []desired.Route{{Via: gw, Dev: "eth0"}}
			sb.Resolver = netip.MustParseAddrPort("127.0.0.11:53")
			s.Zones.Views[b.id] = &desired.View{}
		}
		sb.Files = []desired.File{{Path: "/c/" + b.id + "/hosts", Content: "127.0.0.1 localhost\n" + b.nets, Mode: 0o644}}
		for _, p := range b.ports {
			s.Claims[anyPort(p)] = b.id
			s.Firewall.PublishAny[desired.PortKey{Proto: "tcp", Port: p}] = desired.Target{IP: addr(b.id, rune(b.nets[0])), Port: 80}
		}
		s.Sandboxes[b.id] = sb
	}
	return s
}

func addNet(s *desired.State, n rune) {
	name := "jk-" + string(n)
	if n == 'p' {
		s.Bridges[name] = &desired.Bridge{Name: name, Network: "nic:" + name, MAC: "02:42:00:00:01:01", Plain: true}
		return
	}
	subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(n), 0, 0}), 16)
	s.Bridges[name] = &desired.Bridge{
		Name: name, Network: "net" + string(n), MAC: fmt.Sprintf("02:42:00:00:00:%02x", n),
		Addrs: []netip.Prefix{netip.PrefixFrom(subnet.Addr().Next(), 16)}, RouteLocalnet: true,
	}
	s.Firewall.Bridges[name] = struct{}{}
	s.Firewall.Masquerade[subnet] = struct{}{}
	s.Firewall.Hairpin[desired.HairpinKey{Subnet: subnet, Bridge: name}] = struct{}{}
	s.Zones.Networks["net"+string(n)] = &desired.Zone{}
}

func number(id string) int {
	n := 0
	_, _ = fmt.Sscanf(id, "c%d", &n)
	return n
}

func addr(id string, net rune) netip.Addr {
	n := number(id) + 2
	return netip.AddrFrom4([4]byte{172, byte(net), byte(n >> 8), byte(n)})
}

func anyPort(p uint16) desired.Claim {
	return desired.Claim{IP: netip.IPv4Unspecified(), Proto: "tcp", Port: p}
}

// source is the store and planner of a test.
type source struct {
	mu      sync.Mutex
	state   *desired.State
	rev     uint64
	changed chan struct{}
}

func newSource() *source { return &source{changed: make(chan struct{})} }

// set makes the state the next plan and gives its revision.
func (s *source) set(st *desired.State) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rev++
	if st != nil {
		c := *st
		c.Revision = s.rev
		st = &c
	}
	s.state = st
	close(s.changed)
	s.changed = make(chan struct{})
	return s.rev
}

func (s *source) plan() *desired.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *source) moved() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// rig is a reconciler at work on a fake host.
type rig struct {
	*reconcile.Reconciler
	t    testing.TB
	host *fake.Host
	src  *source
	stop func()
}

// start runs a daemon on the host.
func start(t testing.TB, host *fake.Host, src *source) *rig {
	t.Helper()
	r := reconcile.New(reconcile.Options{
		Links: host.Links(), Firewall: host.Firewall(), Ports: host.Ports(), Files: host.Files(), Resolver: host.Resolver(),
		Plan: src.plan, Changed: src.moved, Every: time.Hour, Quiet: 20 * time.Millisecond,
		RetryMin: 5 * time.Millisecond, RetryMax: 20 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Run(ctx) }()
	var once sync.Once
	stop := func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	return &rig{Reconciler: r, t: t, host: host, src: src, stop: stop}
}

// put makes boxes the world and gives the revision.
func (g *rig) put(boxes ...box) uint64 { return g.src.set(world(boxes...)) }

// wait waits for a container at a revision and fails the test if that fails.
func (g *rig) wait(id string, rev uint64) {
	g.t.Helper()
	if err := g.waitErr(id, rev); err != nil {
		g.t.Fatalf("wait for %s at %d: %v\n%s", id, rev, err, g.host.Dump())
	}
}

func (g *rig) waitErr(id string, rev uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return g.Wait(ctx, id, rev)
}

func (g *rig) resync() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return g.Resync(ctx)
}

// becomes waits until the host is as a text says, and looks again after the
// whole host was observed once more.
func (g *rig) becomes(want string) {
	g.t.Helper()
	eventually(g.t, func() bool { return g.host.Dump() == want }, func() string {
		return fmt.Sprintf("host is\n%s\nwanted\n%s\nstatus %+v", g.host.Dump(), want, g.Status())
	})
	if err := g.resync(); err != nil {
		g.t.Fatalf("resync: %v", err)
	}
	if got := g.host.Dump(); got != want {
		g.t.Fatalf("after another look the host is\n%s\nwanted\n%s", got, want)
	}
}

func eventually(t testing.TB, ok func() bool, say func() string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal(say())
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// fresh gives what a host looks like on which a daemon was started with these
// boxes and nothing was before.
func fresh(t testing.TB, boxes ...box) string {
	t.Helper()
	return freshOn(t, fake.New(), boxes...)
}

func freshOn(t testing.TB, host *fake.Host, boxes ...box) string {
	t.Helper()
	src := newSource()
	rev := src.set(world(boxes...))
	g := start(t, host, src)
	for _, b := range boxes {
		g.wait(b.id, rev)
	}
	g.wait("nobody", rev)
	if err := g.resync(); err != nil {
		t.Fatal(err)
	}
	g.stop()
	return g.host.Dump()
}
