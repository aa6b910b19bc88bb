package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/fake"
)

// What others break is repaired without any change of the store.
func TestRepair(t *testing.T) {
	boxes := []box{{"c1", "ab", []uint16{80}}, {"c2", "a", nil}, {"c3", "b", []uint16{81}}}
	for name, harm := range map[string]func(*fake.Host){
		"ruleset flushed":        func(h *fake.Host) { h.Flush() },
		"element deleted":        func(h *fake.Host) { h.DropElement(desired.PortKey{Proto: "tcp", Port: 80}) },
		"bridge deleted":         func(h *fake.Host) { h.DeleteLink("jk-a") },
		"both bridges deleted":   func(h *fake.Host) { h.DeleteLink("jk-a"); h.DeleteLink("jk-b") },
		"bridge's address moved": func(h *fake.Host) { h.SetAddress("jk-b", "10.0.0.1/8") },
		"limits taken off":       func(h *fake.Host) { h.DropRates("jvc1b") },
		"veth deleted":           func(h *fake.Host) { h.DeleteLink("jvc1b") },
		"namespace deleted":      func(h *fake.Host) { h.DeleteNamespace("c2") },
		"everything deleted": func(h *fake.Host) {
			h.Flush()
			for _, l := range []string{"jk-a", "jk-b", "jvc1a", "jvc1b", "jvc3b"} {
				h.DeleteLink(l)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			host, src := fake.New(), newSource()
			rev := src.set(world(boxes...))
			g := start(t, host, src)
			for _, b := range boxes {
				g.wait(b.id, rev)
			}
			want := fresh(t, boxes...)
			g.becomes(want)
			host.Journal()
			harm(host)
			eventually(t, func() bool { return host.Dump() == want }, host.Dump)
			g.becomes(want)
			for _, b := range boxes {
				g.wait(b.id, rev)
			}
		})
	}
}

// A namespace's inside signals nothing; a look at everything finds it.
func TestResyncLooksInside(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	g.wait("c1", g.put(box{"c1", "a", nil}))
	want := fresh(t, box{"c1", "a", nil})
	g.becomes(want)
	host.BreakInside("c1")
	if err := g.resync(); err != nil {
		t.Fatal(err)
	}
	if got := host.Dump(); got != want {
		t.Errorf("after resync\n%s\nwanted\n%s", got, want)
	}
	if g.Status().RepairedSandboxes != 1 {
		t.Errorf("status: %+v", g.Status())
	}
}

// A storm of signals is few looks; none is lost.
func TestStormOfSignals(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	g.wait("c1", g.put(box{"c1", "a", []uint16{80}}))
	want := fresh(t, box{"c1", "a", []uint16{80}})
	for range 200 {
		host.Flush()
		time.Sleep(200 * time.Microsecond)
	}
	g.becomes(want)
	if loads := g.Status().FirewallLoads; loads > 20 {
		t.Errorf("200 flushes in 40 ms were %d loads", loads)
	}
}

// What is not ours stays.
func TestForeignLinksStay(t *testing.T) {
	host, src := fake.New(), newSource()
	host.AddForeignLink("docker0", true)
	host.AddForeignLink("jvforeign", false)
	g := start(t, host, src)
	g.wait("c1", g.put(box{"c1", "a", nil}))
	g.wait("c1", g.put())
	if err := g.resync(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link docker0", "link jvforeign"} {
		if !strings.Contains(host.Dump(), name) {
			t.Errorf("%s is gone:\n%s", name, host.Dump())
		}
	}
}

// The namespace is there when Prepare returns, with its files, whatever the
// applier does; the same file stays when the container is started again.
func TestPrepare(t *testing.T) {
	ctx := context.Background()
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	rev := g.put(box{"c1", "a", nil})
	path, err := g.Prepare(ctx, "c1")
	if err != nil || path == "" {
		t.Fatal(path, err)
	}
	content, inode := host.File("/c/c1/hosts")
	if inode == 0 || content == "" {
		t.Fatal("no file")
	}
	g.wait("c1", rev)
	g.wait("c1", g.put(box{"c1", "ab", nil}))
	again, same := host.File("/c/c1/hosts")
	if same != inode || again == content {
		t.Errorf("file %d %q became %d %q", inode, content, same, again)
	}
	if _, err := g.Prepare(ctx, "c9"); !errs.Is(err, errs.Conflict) {
		t.Errorf("a container that is not active: %v", err)
	}
	g.put(box{"c1", "ab", nil})
	g.becomes(fresh(t, box{"c1", "ab", nil}))
}

// A start that is given up before any plan had it leaves no namespace.
func TestPreparedAndGivenUp(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	g.wait("", g.put())
	for n := range 50 {
		id := fmt.Sprint("c", n)
		g.put(box{id, "a", nil})
		if _, err := g.Prepare(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		g.put()
	}
	g.becomes(fresh(t))
}

// A namespace that Prepare gave out is never deleted while the container is
// wanted: stop and start race with the applier, the look and others.
func TestPrepareRacesWithRemoval(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = g.resync()
			}
		}
	})
	for range 300 {
		rev := g.put(box{"c1", "a", []uint16{80}}, box{"c2", "a", nil})
		if _, err := g.Prepare(context.Background(), "c1"); err != nil {
			t.Fatal(err)
		}
		before := host.NamespaceID("c1")
		g.wait("c1", rev)
		if after := host.NamespaceID("c1"); before == 0 || after != before {
			t.Fatalf("namespace %d became %d", before, after)
		}
		g.put(box{"c2", "a", nil})
	}
	close(stop)
	wg.Wait()
	g.becomes(fresh(t, box{"c2", "a", nil}))
}

// A container in the host's namespace has files and nothing else.
func TestFilesWithoutSandbox(t *testing.T) {
	host, src := fake.New(), newSource()
	g := start(t, host, src)
	of := func(content string) *desired.State {
		st := world(box{"c1", "a", nil})
		st.Files = map[string][]desired.File{"c2": {{Path: "/c/c2/hosts", Content: content}}}
		return st
	}
	rev := src.set(of("one"))
	if path, err := g.Prepare(context.Background(), "c2"); err != nil || path != "" {
		t.Errorf("prepare: %q %v", path, err)
	}
	first, inode := host.File("/c/c2/hosts")
	g.wait("c2", rev)
	g.wait("c2", src.set(of("two")))
	second, same := host.File("/c/c2/hosts")
	if first != "one" || second != "two" || same != inode {
		t.Errorf("file %d %q became %d %q", inode, first, same, second)
	}

	full := errors.New("no space left on device")
	host.Hook(func(op string) error {
		if strings.HasPrefix(op, "write /c/c2") {
			return full
		}
		return nil
	})
	if err := g.waitErr("c2", src.set(of("three"))); !errors.Is(err, full) {
		t.Errorf("full disk: %v", err)
	}
	host.Hook(nil)
	eventually(t, func() bool { c, _ := host.File("/c/c2/hosts"); return c == "three" && len(g.Status().Containers) == 0 }, host.Dump)
	g.becomes(fresh(t, box{"c1", "a", nil}))
}
