package reconcile_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/kernel/fake"
)

// The order in which the host is changed: each step's changes, as the start of
// the line in the journal, come in this order; others may lie between.
func TestOrder(t *testing.T) {
	for _, tc := range []struct {
		name     string
		from, to []box
		order    []string
		never    string
	}{
		{
			"the first container of a network", nil, []box{{"c1", "a", []uint16{80}}},
			[]string{"claim 0.0.0.0:80/tcp", "firewall update +4 -0", "bridge add jk-a", "netns add c1", "write /c/c1/hosts",
				"c1: veth add jvc1a", "c1: master jvc1a jk-a", "c1: route add default", "c1: listen 127.0.0.11:53", "c1: serve"}, "",
		},
		{
			"another on it", []box{{"c1", "a", nil}}, []box{{"c1", "a", nil}, {"c2", "a", []uint16{80}}},
			[]string{"claim 0.0.0.0:80/tcp", "firewall update +1 -0"}, "c1",
		},
		{
			"stop", []box{{"c1", "a", []uint16{80}}, {"c2", "a", nil}}, []box{{"c2", "a", nil}},
			[]string{"firewall update +0 -1", "c1: stop serving", "veth del jvc1a", "netns del c1"}, "c2",
		},
		{
			"a stopped container's port", []box{{"c1", "a", []uint16{80}}, {"c2", "a", nil}}, []box{{"c2", "a", nil}},
			[]string{"firewall update +0 -1", "release 0.0.0.0:80/tcp"}, "bridge",
		},
		{
			"the last of a network", []box{{"c1", "a", nil}}, nil,
			[]string{"firewall update +0 -3", "veth del jvc1a", "netns del c1", "bridge del jk-a"}, "",
		},
		{
			"disconnect", []box{{"c1", "ab", []uint16{80}}}, []box{{"c1", "b", []uint16{80}}},
			[]string{"firewall update +1 -4", "veth del jvc1a", "bridge del jk-a"}, "netns",
		},
		{
			"connect", []box{{"c1", "a", nil}, {"c2", "b", nil}}, []box{{"c1", "ab", nil}, {"c2", "b", nil}},
			[]string{"c1: veth add jvc1b", "c1: master jvc1b jk-b"}, "firewall",
		},
		{
			"publish", []box{{"c1", "a", nil}}, []box{{"c1", "a", []uint16{80, 81, 82}}},
			[]string{"claim 0.0.0.0:80/tcp", "claim 0.0.0.0:81/tcp", "claim 0.0.0.0:82/tcp", "firewall update +3 -0"}, "c1",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			host, src := fake.New(), newSource()
			src.set(world(tc.from...))
			g := start(t, host, src)
			g.becomes(fresh(t, tc.from...))
			host.Journal()
			g.put(tc.to...)
			want := fresh(t, tc.to...)
			eventually(t, func() bool { return host.Dump() == want }, host.Dump)
			checkOrder(t, host.Journal(), tc.order, tc.never)
		})
	}
}

func checkOrder(t *testing.T, journal, order []string, never string) {
	t.Helper()
	left := order
	for _, op := range journal {
		if len(left) > 0 && strings.HasPrefix(op, left[0]) {
			left = left[1:]
		}
		if never != "" && strings.HasPrefix(op, never) {
			t.Errorf("%q should not have been touched: %s", never, op)
		}
	}
	if len(left) > 0 {
		t.Errorf("%q is not in its place in\n%s", left[0], strings.Join(journal, "\n"))
	}
}

// A port that moves to another address of the host is claimed after the old
// claim is given up, and that after its element is gone.
func TestPortMovesToLoopback(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	g.wait("c1", g.put(box{"c1", "a", []uint16{80}}))
	host.Journal()
	st := world(box{"c1", "a", nil})
	moveToLoopback(st, "c1", 80)
	g.wait("c1", src.set(st))
	checkOrder(t, host.Journal(), []string{"firewall update +0 -1", "release 0.0.0.0:80/tcp", "claim 127.0.0.1:80/tcp", "firewall update +1 -0"}, "")
}

// Many starts at once are few transactions.
func TestStartsAreCoalesced(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	boxes := []box{{"c0", "a", nil}}
	g.wait("c0", g.put(boxes...))
	release := make(chan struct{})
	host.Hook(func(op string) error {
		if strings.HasPrefix(op, "firewall update") {
			<-release // the applier is busy meanwhile
		}
		return nil
	})
	host.Journal()
	var rev uint64
	for n := range 50 {
		boxes = append(boxes, box{"c" + string(rune('A'+n)), "a", []uint16{uint16(9000 + n)}})
	}
	for n := 2; n <= len(boxes); n++ {
		rev = g.put(boxes[:n]...)
	}
	close(release)
	for _, b := range boxes {
		g.wait(b.id, rev)
	}
	updates := 0
	for _, op := range host.Journal() {
		if strings.HasPrefix(op, "firewall update") {
			updates++
		}
	}
	if updates > 3 {
		t.Errorf("50 starts took %d transactions", updates)
	}
}

// A daemon that starts on an intact host changes nothing but its own sockets.
func TestRestartTouchesNothing(t *testing.T) {
	boxes := []box{{"c1", "ab", []uint16{80}}, {"c2", "a", nil}, {"c3", "c", []uint16{81, 82}}}
	host, src := fake.New(), newSource()
	rev := src.set(world(boxes...))
	g := start(t, host, src)
	for _, b := range boxes {
		g.wait(b.id, rev)
	}
	before := host.Dump()
	g.stop()
	host.Restart()
	host.Journal()
	start(t, host, src).becomes(before)
	for _, op := range host.Journal() {
		if !strings.HasPrefix(op, "claim ") && !strings.HasSuffix(op, "serve") && !strings.Contains(op, ": listen ") && op != "zones" {
			t.Errorf("a restart changed the host: %s", op)
		}
	}
}

// Before the first plan there is, nothing is deleted.
func TestNothingIsDeletedBeforeThePlan(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	g.wait("c1", g.put(box{"c1", "a", []uint16{80}}))
	before := host.Dump()
	g.stop()
	host.Restart()
	host.Journal()
	src.set(nil)
	g = start(t, host, src)
	host.DeleteLink("jvc1a") // a signal makes it look, and yet
	if err := waitShort(g); err == nil {
		t.Error("a resync without a plan succeeded")
	}
	if ops := host.Journal(); len(ops) > 0 {
		t.Errorf("changed without a plan: %q", ops)
	}
	g.put(box{"c1", "a", []uint16{80}})
	g.becomes(before)
}

// After a reboot everything comes back from the plan alone.
func TestReboot(t *testing.T) {
	boxes := []box{{"c1", "ab", []uint16{80}}, {"c2", "a", nil}}
	host, src := fake.New(), newSource()
	rev := src.set(world(boxes...))
	g := start(t, host, src)
	g.wait("c1", rev)
	g.wait("c2", rev)
	before := host.Dump()
	g.stop()
	host.Reboot()
	start(t, host, src).becomes(before)
}

// A network that the firewall does not keep apart is not made: nothing comes up
// unguarded, and everything does once the firewall takes its elements.
func TestNothingComesUpUnguarded(t *testing.T) {
	host, src := fake.New(), newSource()
	refused := errors.New("netlink: no")
	host.Hook(func(op string) error {
		if strings.HasPrefix(op, "firewall") {
			return refused
		}
		return nil
	})
	g := start(t, host, src)
	boxes := []box{{"c1", "a", []uint16{80}}, {"c2", "ab", nil}}
	rev := g.put(boxes...)
	for _, b := range boxes {
		if err := g.waitErr(b.id, rev); !errors.Is(err, refused) {
			t.Errorf("%s: %v, want what the firewall says", b.id, err)
		}
	}
	time.Sleep(50 * time.Millisecond) // some attempts more
	if dump := host.Dump(); strings.Contains(dump, "link ") {
		t.Errorf("unguarded:\n%s", dump)
	}
	host.Hook(nil)
	g.becomes(fresh(t, boxes...))
}
