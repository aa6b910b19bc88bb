package reconcile_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/fake"
)

func moveToLoopback(s *desired.State, id string, port uint16) {
	k := desired.Claim{IP: netip.MustParseAddr("127.0.0.1"), Proto: "tcp", Port: port}
	s.Claims[k] = id
	s.Firewall.Publish = map[desired.Claim]desired.Target{k: {IP: addr(id, 'a'), Port: 80}}
}

func waitShort(g *rig) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Millisecond)
	defer cancel()
	return g.Resync(ctx)
}

var outside = netip.MustParseAddr("192.0.2.1")

// A port that another program has fails its container alone, with the kind
// kept, and works as soon as it is free.
func TestTakenPort(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	host.TakePort(anyPort(80))
	rev := g.put(box{"c1", "a", []uint16{80, 81}}, box{"c2", "a", []uint16{82}})
	err := g.waitErr("c1", rev)
	if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("c1: %v", err)
	}
	g.wait("c2", rev)
	for port, want := range map[uint16]string{80: "", 82: "c2"} {
		if got, _ := host.Reaches("", outside, port); got != want {
			t.Errorf("port %d reaches %q, want %q", port, got, want)
		}
	}
	if g.Status().Containers["c1"] == nil || g.Status().Containers["c2"] != nil {
		t.Errorf("status: %v", g.Status().Containers)
	}

	host.FreePort(anyPort(80))
	eventually(t, func() bool { got, _ := host.Reaches("", outside, 80); return got == "c1" }, host.Dump)
	g.wait("c1", rev)
	if len(g.Status().Containers) > 0 {
		t.Errorf("status afterwards: %v", g.Status().Containers)
	}
}

// A container that is withdrawn takes its error along.
func TestErrorIsCleared(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	host.TakePort(anyPort(80))
	if g.waitErr("c1", g.put(box{"c1", "a", []uint16{80}})) == nil {
		t.Fatal("a taken port is no error")
	}
	g.wait("c1", g.put())
	if s := g.Status(); len(s.Containers) > 0 || s.Claims > 0 {
		t.Errorf("status: %+v", s)
	}
	g.wait("c1", g.put(box{"c1", "a", []uint16{81}}))
}

// A second start is told what became of the second attempt, not of the first.
func TestSecondStartIsTriedAtOnce(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	broken := errors.New("no more memory")
	host.Hook(func(op string) error {
		if strings.HasPrefix(op, "c1: veth add") {
			return broken
		}
		return nil
	})
	if err := g.waitErr("c1", g.put(box{"c1", "a", nil})); !errors.Is(err, broken) {
		t.Fatalf("first: %v", err)
	}
	host.Hook(nil)
	g.wait("c1", g.put(box{"c1", "a", nil}))
}

func TestWaitForRevision(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	rev := g.put(box{"c1", "a", nil})
	g.wait("c1", rev)
	g.wait("c1", rev-1)
	g.wait("of no network", rev)

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := g.Wait(ctx, "c1", rev+1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a revision that is not there: %v", err)
	}
	late := make(chan error, 1)
	go func() { late <- g.waitErr("c2", rev+1) }()
	g.put(box{"c1", "a", nil}, box{"c2", "a", nil})
	if err := <-late; err != nil {
		t.Error(err)
	}
	if _, ok := host.Reaches("c1", addr("c2", 'a'), 80); !ok {
		t.Error("c2 is not there when its wait returns")
	}
	go func() { late <- g.waitErr("c3", rev+100) }()
	time.Sleep(5 * time.Millisecond)
	g.stop()
	if err := <-late; !errs.Is(err, errs.Unavailable) {
		t.Errorf("when the daemon stops: %v", err)
	}
}

// What is gone is gone when its wait returns.
func TestWaitForRemoval(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	g.wait("c1", g.put(box{"c1", "a", []uint16{80}}, box{"c2", "a", nil}))
	g.wait("c1", g.put(box{"c2", "a", nil}))
	if d := host.Dump(); strings.Contains(d, "c1") {
		t.Errorf("left over:\n%s", d)
	}
}

// Slow sandboxes hold up nobody else, not even those that come later.
func TestSlowSandboxes(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	release := make(chan struct{})
	host.Hook(func(op string) error {
		if strings.HasPrefix(op, "c1: ") || strings.HasPrefix(op, "netns add c2") {
			<-release
		}
		return nil
	})
	slow := []box{{"c1", "a", nil}, {"c2", "a", nil}}
	rev := g.put(slow...)
	results := make(chan error, 2)
	go func() { results <- g.waitErr("c1", rev) }()
	go func() { results <- g.waitErr("c2", rev) }()

	boxes := slow
	for _, id := range []string{"c3", "c4", "c5"} {
		boxes = append(boxes, box{id, "a", []uint16{uint16(9000 + len(boxes))}})
		g.wait(id, g.put(boxes...))
	}
	select {
	case err := <-results:
		t.Fatalf("a slow one is done: %v", err)
	default:
	}
	close(release)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// A broken firewall doesn't keep names and links of a network from being made
// that it guarded before.
func TestBrokenFirewall(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	g.wait("c1", g.put(box{"c1", "a", nil}))
	boxes := []box{{"c1", "a", nil}, {"c2", "a", []uint16{80}}}
	broken := errors.New("nft is broken")
	host.Hook(func(op string) error {
		if strings.HasPrefix(op, "firewall") {
			return broken
		}
		return nil
	})
	if err := g.waitErr("c2", g.put(boxes...)); !errors.Is(err, broken) {
		t.Errorf("wait: %v", err)
	}
	host.DeleteLink("jk-a")
	eventually(t, func() bool { _, ok := host.Reaches("c1", addr("c2", 'a'), 80); return ok }, host.Dump)
	if strings.Count(host.Dump(), "served=true") != 2 {
		t.Error("no names")
	}
	if !errors.Is(g.Status().Host, broken) {
		t.Errorf("status: %v", g.Status().Host)
	}
	host.Hook(nil)
	g.becomes(fresh(t, boxes...))
}

// A host port is held as long as an element leads there: no other program gets
// a port whose packets it would never see.
func TestPortIsHeldUntilItsElementIsGone(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	g.wait("c1", g.put(box{"c1", "a", []uint16{80}}))
	host.Hook(func(op string) error {
		if strings.HasPrefix(op, "firewall") {
			return errors.New("nft is broken")
		}
		return nil
	})
	if g.waitErr("c1", g.put()) == nil {
		t.Fatal("a broken firewall is no error")
	}
	eventually(t, func() bool { return !strings.Contains(host.Dump(), "netns c1") }, host.Dump)
	if _, held := host.Claims()[anyPort(80)]; !held {
		t.Error("the port was released while its element was there")
	}
	host.Hook(nil)
	g.becomes(fresh(t))
}

// A bridge that can't be made fails who is on it, and nobody else.
func TestForeignBridge(t *testing.T) {
	host, src := fake.New(), newSource()
	host.AddForeignLink("jk-a", true)
	g := start(t, host, src)
	rev := g.put(box{"c1", "a", nil}, box{"c2", "b", nil})
	if err := g.waitErr("c1", rev); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "jk-a") {
		t.Errorf("c1: %v", err)
	}
	g.wait("c2", rev)
	host.DeleteLink("jk-a")
	g.becomes(fresh(t, box{"c1", "a", nil}, box{"c2", "b", nil}))
}

// Who deletes a container's files waits for the one who writes them still, by a
// plan of before, and for nothing else of its network.
func TestQuiet(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	g.wait("c1", g.put(box{"c1", "a", nil}))
	writing, goOn := make(chan struct{}), make(chan struct{})
	host.Hook(func(op string) error {
		switch {
		case strings.HasPrefix(op, "write /c/c1/hosts"):
			close(writing)
			<-goOn
		case strings.Contains(op, "jvc1a") || strings.HasPrefix(op, "c1: netns del"):
			return errors.New("the network can't be taken away")
		}
		return nil
	})
	s := world(box{"c1", "a", nil})
	s.Sandboxes["c1"].Files[0].Content += "10.0.0.1 db\n"
	g.src.set(s)
	<-writing
	rev := g.put()
	short, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	if err := g.Quiet(short, "c1", rev); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the file is written: %v", err)
	}
	close(goOn)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := g.Quiet(ctx, "c1", rev); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := g.Quiet(ctx, "nobody", rev); err != nil {
		t.Errorf("of a container that never was: %v", err)
	}
}
