//go:build linux

package netns_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/kernel/netns"
	"github.com/jackstay/jackstay/internal/kernel/netns/nettest"
)

func dir(t *testing.T, path string) *netns.Dir {
	t.Helper()
	d, err := netns.NewDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		names, _ := d.List()
		for _, n := range names {
			if err := d.Delete(n); err != nil {
				t.Error(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func self(t *testing.T) string {
	t.Helper()
	s, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLife(t *testing.T) {
	nettest.Run(t, life)
}

func life(t *testing.T) {
	d := dir(t, filepath.Join(t.TempDir(), "a", "netns"))
	home := self(t)
	seen := map[string]bool{home: true}
	for _, name := range []string{"one", "two", "three", "four"} {
		path, err := d.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		again, err := d.Create(name)
		if err != nil || again != path {
			t.Fatalf("made again: %s, %v", again, err)
		}
		err = netns.Do(path, func() error {
			inside := self(t)
			if seen[inside] {
				t.Errorf("%s is not a namespace of its own: %s", name, inside)
			}
			seen[inside] = true
			l, err := net.Listen("tcp", "127.0.0.11:53") // lo is up, and 127/8 local
			if err != nil {
				return err
			}
			return l.Close()
		})
		if err != nil {
			t.Errorf("inside %s: %v", name, err)
		}
	}
	if got := self(t); got != home {
		t.Errorf("the caller is in %s now, was in %s", got, home)
	}
	names, err := d.List()
	if err != nil || len(names) != 4 {
		t.Errorf("List: %v, %v", names, err)
	}
	for _, name := range []string{"one", "one", "never"} {
		if err := d.Delete(name); err != nil {
			t.Errorf("Delete(%s): %v", name, err)
		}
	}
	if _, err := os.Stat(d.Path("one")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if err := netns.Do(d.Path("one"), func() error { return nil }); !errors.Is(err, unix.ENOENT) {
		t.Errorf("entering a deleted one: %v", err)
	}
}

func TestErrorsOfTheVisitorAreReturned(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		d := dir(t, t.TempDir())
		path, err := d.Create("x")
		if err != nil {
			t.Fatal(err)
		}
		want := errors.New("mine")
		if err := netns.Do(path, func() error { return want }); !errors.Is(err, want) {
			t.Errorf("got %v", err)
		}
		for _, bad := range []string{"", ".", "..", "a/b", ".hidden"} {
			if _, err := d.Create(bad); err == nil {
				t.Errorf("Create(%q) succeeded", bad)
			}
		}
	})
}

// After a reboot the files are there and nothing is mounted on them.
func TestStaleFiles(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		path := t.TempDir()
		stale := filepath.Join(path, "stale")
		if err := os.WriteFile(stale, nil, 0o444); err != nil {
			t.Fatal(err)
		}
		d := dir(t, path)
		if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("leftover not collected: %v", err)
		}
		// One that comes later: not listed, not entered, made and deleted all the same.
		if err := os.WriteFile(stale, nil, 0o444); err != nil {
			t.Fatal(err)
		}
		if names, _ := d.List(); len(names) != 0 {
			t.Errorf("listed: %v", names)
		}
		if err := netns.Do(stale, func() error { return nil }); !errors.Is(err, unix.ENOENT) {
			t.Errorf("entering a plain file: %v", err)
		}
		if _, err := d.Create("stale"); err != nil {
			t.Error(err)
		}
		if names, _ := d.List(); len(names) != 1 {
			t.Errorf("not made over it: %v", names)
		}
		// A second daemon on the directory, as after kill -9, keeps what is there.
		if again, err := netns.NewDir(path); err != nil {
			t.Error(err)
		} else if names, _ := again.List(); len(names) != 1 {
			t.Errorf("after a restart: %v", names)
		}
	})
}

// What a mount namespace cloned meanwhile holds goes with ours.
func TestUnmountReachesCopies(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		d := dir(t, t.TempDir())
		if _, err := d.Create("x"); err != nil {
			t.Fatal(err)
		}
		mounts := func(pid int) int {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
			if err != nil {
				t.Fatal(err)
			}
			return countLines(string(b), "nsfs")
		}
		pid, stop := sleeper(t)
		defer stop()
		if n := mounts(pid); n != 1 {
			t.Fatalf("the copy has %d namespaces mounted, want 1", n)
		}
		if err := d.Delete("x"); err != nil {
			t.Fatal(err)
		}
		if n := mounts(pid); n != 0 {
			t.Errorf("the copy still holds %d namespaces", n)
		}
	})
}

// TestLatency logs what making costs; the numbers are the machine's.
func TestLatency(t *testing.T) {
	nettest.Run(t, func(t *testing.T) {
		d := dir(t, t.TempDir())
		one := func(name string) time.Duration {
			start := time.Now()
			if _, err := d.Create(name); err != nil {
				t.Error(err)
			}
			return time.Since(start)
		}
		single := func(prefix string) (sum time.Duration) {
			for n := range 20 {
				sum += one(fmt.Sprint(prefix, n))
			}
			return sum / 20
		}
		burst := func(prefix string) time.Duration {
			start := time.Now()
			var wg sync.WaitGroup
			for n := range 50 {
				wg.Go(func() { one(fmt.Sprint(prefix, n)) })
			}
			wg.Wait()
			return time.Since(start)
		}
		t.Logf("empty host: single %v, 50 at once %v", single("a"), burst("b"))
		for n := range 130 {
			one(fmt.Sprint("c", n))
		}
		t.Logf("200 there: single %v, 50 at once %v", single("d"), burst("e"))
	})
}
