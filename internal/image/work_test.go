//go:build linux

package image

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// TestCollectAtStart: layers a killed pull left, several on each other, are gone after a start.
func TestCollectAtStart(t *testing.T) {
	s := newStore(t)
	importImage(t, s, "app")
	parent := ""
	for range 3 {
		l, _, err := s.store.PutLayer("", parent, nil, "", false, nil, bytes.NewReader(rootTar(t)))
		if err != nil {
			t.Fatal(err)
		}
		parent = l.ID
	}
	checkClean(t, s, 1, 4)
	if err := s.recover(); err != nil {
		t.Fatal(err)
	}
	checkClean(t, s, 1, 1)
}

// TestCollectWaits: a failed operation does not take the layers of one still on its way.
func TestCollectWaits(t *testing.T) {
	s := newStore(t)
	endSlow := s.begin()
	if _, err := s.putLayer(ctx, bytes.NewReader(rootTar(t))); err != nil {
		t.Fatal(err)
	}
	s.begin()(errors.New("failed"))
	checkClean(t, s, 0, 1)
	endSlow(nil)
	checkClean(t, s, 0, 0)
}

func TestKeyedLocks(t *testing.T) {
	var k keyed
	var wg sync.WaitGroup
	a, b := 0, 0
	for range 100 {
		wg.Go(func() {
			unlock, err := k.lock(ctx, "a")
			equal(t, "error", err, nil)
			a++
			unlock()
		})
		wg.Go(func() {
			unlock, err := k.lock(ctx, "b")
			equal(t, "error", err, nil)
			b++
			unlock()
		})
	}
	wg.Wait()
	equal(t, "a", a, 100)
	equal(t, "b", b, 100)
	equal(t, "locks kept", len(k.locks), 0)

	unlock, _ := k.lock(ctx, "a")
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := k.lock(short, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a held lock: %v", err)
	}
	unlock()
}

// TestOwnThread: what f unshares is not the process's, whichever thread is free.
func TestOwnThread(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: unshares")
	}
	before, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			err := onOwnThread(func() error {
				if unix.Gettid() == unix.Getpid() {
					t.Error("on the process's first thread")
				}
				return errors.Join(unix.Unshare(unix.CLONE_FS), unix.Chdir("/"))
			})
			equal(t, "error", err, nil)
		})
	}
	wg.Wait()
	after, err := os.Getwd()
	equal(t, "error", err, nil)
	equal(t, "working directory", after, before)
}

func TestNewErrors(t *testing.T) {
	for name, o := range map[string]Options{
		"driver": {GraphRoot: "/tmp/x", RunRoot: "/tmp/y", Driver: "btrfs"},
		"comma":  {GraphRoot: "/tmp/a,b", RunRoot: "/tmp/y"},
	} {
		if _, err := New(o); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOverlayChanges: every way a file or folder can differ from the image's,
// over an image of two layers.
func TestOverlayChanges(t *testing.T) {
	s := newStore(t)
	image := importImage(t, s, "app")
	img, err := s.find(image)
	if err != nil {
		t.Fatal(err)
	}
	top, _, err := s.store.PutLayer("", img.TopLayer, nil, "", false, nil, bytes.NewReader(makeTar(t,
		file{name: "data/"}, file{name: "data/.wh.old"}, file{name: "dir/"}, file{name: "dir/a", body: "a"}, file{name: "dir/b", body: "b"}, file{name: "file", body: "x"})))
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.createImage(imageJSON{Created: &img.Created, OS: "linux", Architecture: "amd64"}, top, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(root string) error
		want   []model.Change
	}{
		"nothing": {func(string) error { return nil }, nil},
		"a folder replaced": {func(r string) error {
			return errors.Join(os.RemoveAll(r+"/dir"), os.Mkdir(r+"/dir", 0o755), os.WriteFile(r+"/dir/a", nil, 0o644))
		}, []model.Change{{Path: "/dir"}, {Path: "/dir/a"}, {Path: "/dir/b", Kind: deleted}}},
		"a file to a folder": {func(r string) error { return errors.Join(os.Remove(r+"/file"), os.MkdirAll(r+"/file/x", 0o755)) }, []model.Change{{Path: "/file"}, {Path: "/file/x", Kind: added}}},
		"a folder to a link": {func(r string) error { return errors.Join(os.RemoveAll(r+"/dir"), os.Symlink("/etc", r+"/dir")) }, []model.Change{{Path: "/dir"}}},
		"a new link":         {func(r string) error { return os.Symlink("/nowhere", r+"/etc/link") }, []model.Change{{Path: "/etc"}, {Path: "/etc/link", Kind: added}}},
		"a deleted one back": {func(r string) error { return os.WriteFile(r+"/data/old", nil, 0o644) }, []model.Change{{Path: "/data"}, {Path: "/data/old", Kind: added}}},
		"a mode":             {func(r string) error { return os.Chmod(r+"/dir", 0o700) }, []model.Change{{Path: "/dir"}}},
		"a removed folder":   {func(r string) error { return os.RemoveAll(r + "/dir") }, []model.Change{{Path: "/dir", Kind: deleted}}},
		"deep":               {func(r string) error { return os.MkdirAll(filepath.Join(r, "new/a/b"), 0o755) }, []model.Change{{Path: "/new", Kind: added}, {Path: "/new/a", Kind: added}, {Path: "/new/a/b", Kind: added}}},
	} {
		if err := s.CreateLayer(ctx, cid(1), two); err != nil {
			t.Fatal(err)
		}
		if err := c.change(mustMount(t, s, cid(1))); err != nil {
			t.Fatal(name, err)
		}
		got, err := s.Changes(ctx, cid(1))
		equal(t, name, err, nil)
		equalList(t, name, got, c.want)
		if err := s.RemoveLayer(ctx, cid(1)); err != nil {
			t.Fatal(err)
		}
	}
}
