//go:build linux

package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// ctx is the tests' context.
var ctx = context.Background()

func cid(n int) string { return fmt.Sprintf("%064x", n) }

func mustMount(t testing.TB, s *Store, id string) string {
	t.Helper()
	dir, err := s.Mount(ctx, id)
	if err != nil {
		t.Fatalf("mounting %s: %v", id, err)
	}
	return dir
}

func write(t testing.TB, path, body string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestLayerLife walks a layer from create to remove with both drivers.
func TestLayerLife(t *testing.T) {
	for _, driver := range []string{driverOverlay, driverVFS} {
		t.Run(driver, func(t *testing.T) {
			s := newStore(t, func(o *Options) { o.Driver = driver })
			image := importImage(t, s, "app")
			if err := s.CreateLayer(ctx, cid(1), image); err != nil {
				t.Fatal(err)
			}
			root := mustMount(t, s, cid(1))
			equal(t, "second mount", mustMount(t, s, cid(1)), root)
			if info, err := os.Stat(filepath.Join(root, "tmp")); err != nil || info.Mode()&os.ModeSticky == 0 {
				t.Errorf("/tmp: %v %v", info, err)
			}
			write(t, filepath.Join(root, "data/new"), "hello")
			write(t, filepath.Join(root, "etc/os-release"), "changed")
			if err := os.Remove(filepath.Join(root, "data/old")); err != nil {
				t.Fatal(err)
			}
			if err := s.Unmount(ctx, cid(1)); err != nil {
				t.Fatal(err)
			}
			if err := s.Unmount(ctx, cid(1)); err != nil {
				t.Errorf("unmounting twice: %v", err)
			}
			body, err := os.ReadFile(filepath.Join(mustMount(t, s, cid(1)), "data/new"))
			equal(t, "file after remount", string(body), "hello")
			equal(t, "error", err, nil)

			changes, err := s.Changes(ctx, cid(1))
			if err != nil {
				t.Fatal(err)
			}
			equalList(t, "changes", changes, []model.Change{
				{Path: "/data", Kind: 0}, {Path: "/data/new", Kind: 1}, {Path: "/data/old", Kind: 2},
				{Path: "/etc", Kind: 0}, {Path: "/etc/os-release", Kind: 0},
			})
			rw, rootfs, err := s.LayerSize(ctx, cid(1))
			if err != nil || rw < 12 || rootfs <= rw {
				t.Errorf("sizes: %d of %d, %v", rw, rootfs, err)
			}
			ids, err := s.Layers(ctx)
			equal(t, "error", err, nil)
			equalList(t, "layers", ids, []string{cid(1)})
			for range 2 {
				if err := s.RemoveLayer(ctx, cid(1)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("files stay: %v", err)
			}
		})
	}
}

// TestChangesWithoutMountPoints: what the runtime makes to mount on is not the container's.
func TestChangesWithoutMountPoints(t *testing.T) {
	s := newStore(t)
	image := importImage(t, s, "app")
	if err := s.CreateLayer(ctx, cid(1), image); err != nil {
		t.Fatal(err)
	}
	root := mustMount(t, s, cid(1))
	for _, name := range []string{"etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/console", "proc/x", "sys/x"} {
		write(t, filepath.Join(root, name), "")
	}
	changes, err := s.Changes(ctx, cid(1))
	equal(t, "error", err, nil)
	equalList(t, "changes", changes, nil)
	write(t, filepath.Join(root, "etc/hosts"), "127.0.0.1 me")
	write(t, filepath.Join(root, "etc/app.conf"), "")
	changes, err = s.Changes(ctx, cid(1))
	equal(t, "error", err, nil)
	equalList(t, "changes", changes, []model.Change{{Path: "/etc"}, {Path: "/etc/app.conf", Kind: 1}, {Path: "/etc/hosts", Kind: 1}})
}

// TestRenamedFolderIsListed: a folder of the image that moved is one deleted and one added.
func TestRenamedFolderIsListed(t *testing.T) {
	s := newStore(t)
	image := importImage(t, s, "app")
	if err := s.CreateLayer(ctx, cid(1), image); err != nil {
		t.Fatal(err)
	}
	root := mustMount(t, s, cid(1))
	err := os.Rename(filepath.Join(root, "data"), filepath.Join(root, "moved"))
	if !errors.Is(err, unix.EXDEV) { // mv(1) copies then
		t.Errorf("renaming an image's folder: got %v, want EXDEV", err)
	}
}

func TestLayerErrors(t *testing.T) {
	s := newStore(t)
	image := importImage(t, s, "app")
	if err := s.CreateLayer(ctx, cid(1), image); err != nil {
		t.Fatal(err)
	}
	_, mountErr := s.Mount(ctx, cid(9))
	_, changesErr := s.Changes(ctx, cid(9))
	for name, c := range map[string]struct {
		err  error
		kind errs.Kind
	}{
		"a second one":       {s.CreateLayer(ctx, cid(1), image), errs.Conflict},
		"of no image":        {s.CreateLayer(ctx, cid(2), "sha256:"+cid(2)), errs.NotFound},
		"a path":             {s.CreateLayer(ctx, "../x", image), errs.Invalid},
		"mount without one":  {mountErr, errs.NotFound},
		"changes of none":    {changesErr, errs.NotFound},
		"unmount of nothing": {s.Unmount(ctx, cid(9)), errs.NotFound},
	} {
		if !errs.Is(c.err, c.kind) {
			t.Errorf("%s: got %v, want kind %v", name, c.err, c.kind)
		}
	}
	ids, _ := s.Layers(ctx)
	equalList(t, "layers", ids, []string{cid(1)})
}

// TestRestart: a new daemon finds layers, mounted or not, and clears half-made ones.
func TestRestart(t *testing.T) {
	dir := tempDir(t)
	first := openStore(t, dir)
	image := importImage(t, first, "app")
	for n := range 2 {
		if err := first.CreateLayer(ctx, cid(n), image); err != nil {
			t.Fatal(err)
		}
	}
	root := mustMount(t, first, cid(0))
	write(t, filepath.Join(root, "data/new"), "kept")
	write(t, filepath.Join(first.layers, ".half", "diff", "x"), "")

	second := openStore(t, dir)
	equal(t, "the mounted one", mustMount(t, second, cid(0)), root)
	if err := unix.Unmount(root, 0); err != nil { // as a reboot does
		t.Fatal(err)
	}
	body, err := os.ReadFile(filepath.Join(mustMount(t, second, cid(0)), "data/new"))
	equal(t, "its file", string(body), "kept")
	equal(t, "error", err, nil)
	ids, _ := second.Layers(ctx)
	equalList(t, "layers", ids, []string{cid(0), cid(1)})
	if _, err := os.Stat(filepath.Join(first.layers, ".half")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the half-made one stays: %v", err)
	}
}

// TestManyLayers: an image of 120 layers mounts; its option string needs the short links.
func TestManyLayers(t *testing.T) {
	s := newStore(t)
	image := importImage(t, s, "app")
	img, err := s.find(image)
	if err != nil {
		t.Fatal(err)
	}
	parent := img.TopLayer
	for n := range 119 {
		layer, _, err := s.store.PutLayer("", parent, nil, "", false, nil, bytes.NewReader(makeTar(t, file{name: fmt.Sprintf("f%d", n), body: "x"})))
		if err != nil {
			t.Fatal(err)
		}
		parent = layer.ID
	}
	layer, err := s.store.Layer(parent)
	if err != nil {
		t.Fatal(err)
	}
	many, err := s.createImage(imageJSON{Created: &img.Created, OS: "linux", Architecture: "amd64"}, layer, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateLayer(ctx, cid(1), many); err != nil {
		t.Fatal(err)
	}
	root := mustMount(t, s, cid(1))
	for _, name := range []string{"f0", "f118", "bin/app"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestManyLayersAtOnce(t *testing.T) {
	s := newStore(t)
	image := importImage(t, s, "app")
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			if err := s.CreateLayer(ctx, cid(n), image); err != nil {
				t.Error(err)
			}
			dir, err := s.Mount(ctx, cid(n))
			if err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "bin/app")); err != nil {
				t.Error(err)
			}
			if n%2 == 0 {
				if err := s.RemoveLayer(ctx, cid(n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	ids, _ := s.Layers(ctx)
	equal(t, "layers", len(ids), 25)
	mounted := 0
	for _, m := range mountsBelow(t, s.layers) {
		if strings.HasSuffix(m, "/merged") {
			mounted++
		}
	}
	equal(t, "mounted", mounted, 25)
}

// BenchmarkStart is the image store's share of a start, with containers that exist already.
func BenchmarkStart(b *testing.B) {
	for _, existing := range []int{0, 200, 1000} {
		b.Run(fmt.Sprintf("with %d containers", existing), func(b *testing.B) {
			s := newStore(b)
			image := importImage(b, s, "app")
			for n := range existing {
				if err := s.CreateLayer(ctx, cid(n), image); err != nil {
					b.Fatal(err)
				}
				mustMount(b, s, cid(n))
			}
			n := existing
			for b.Loop() {
				n++
				if _, err := s.Lookup(ctx, "app"); err != nil {
					b.Fatal(err)
				}
				if err := s.CreateLayer(ctx, cid(n), image); err != nil {
					b.Fatal(err)
				}
				mustMount(b, s, cid(n))
				if err := s.RemoveLayer(ctx, cid(n)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
