//go:build linux

package image

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace marks the test process that has a mount namespace of its own.
const inNamespace = "JACKSTAY_IMAGE_TEST_NAMESPACE"

func TestMain(m *testing.M) {
	if Reexec() {
		return
	}
	if os.Geteuid() != 0 || os.Getenv(inNamespace) != "" {
		if os.Getenv(inNamespace) != "" {
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				fmt.Fprintln(os.Stderr, "making mounts private:", err)
				os.Exit(1)
			}
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the child dies with the thread that started it
	if err := cmd.Run(); err != nil {
		os.Exit(1)
	}
}

// newStore opens a store in a fresh folder and checks at the end that nothing
// is left mounted or spooled.
func newStore(t testing.TB, change ...func(*Options)) *Store {
	t.Helper()
	return openStore(t, tempDir(t), change...)
}

// tempDir is t.TempDir without the test's name, whose commas overlay mounts don't take.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "jackstay-image-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func openStore(t testing.TB, dir string, change ...func(*Options)) *Store {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: extracts layers and mounts overlays")
	}
	o := Options{
		GraphRoot: filepath.Join(dir, "graph"), RunRoot: filepath.Join(dir, "run"),
		CertDirs: []string{filepath.Join(dir, "certs.d")},
		Log:      slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	for _, c := range change {
		c(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	closed := false
	closeStore := func() {
		if closed {
			return
		}
		closed = true
		ids, err := s.Layers(context.Background())
		if err != nil {
			t.Errorf("listing layers: %v", err)
		}
		for _, id := range ids {
			if err := s.RemoveLayer(context.Background(), id); err != nil {
				t.Errorf("removing layer %s: %v", id, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
		if left := mountsBelow(t, dir); len(left) > 0 {
			t.Errorf("left mounted: %q", left)
		}
		if left, _ := os.ReadDir(s.tmp); len(left) > 0 {
			t.Errorf("left in %s: %v", s.tmp, left)
		}
	}
	t.Cleanup(closeStore)
	return s
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func mountsBelow(t testing.TB, dir string) []string {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir) {
			out = append(out, f[4])
		}
	}
	return out
}

// file is one entry of a test's tar archive; a name ending in / is a folder.
type file struct {
	name, body string
	mode       int64
}

func makeTar(t testing.TB, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.body)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if f.mode != 0 {
			h.Mode = f.mode
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// rootTar is a small root file system.
func rootTar(t testing.TB) []byte {
	return makeTar(t, file{name: "./"}, file{name: "bin/"}, file{name: "bin/app", body: "#!/bin/sh\n", mode: 0o755},
		file{name: "etc/"}, file{name: "etc/os-release", body: "ID=test\n"},
		file{name: "tmp/", mode: 0o1777}, file{name: "data/"}, file{name: "data/old", body: "old"})
}

// importImage imports rootTar under a name and gives the ID.
func importImage(t testing.TB, s *Store, name string, changes ...string) string {
	t.Helper()
	id, err := s.Import(context.Background(), bytes.NewReader(rootTar(t)), name, "", "", changes)
	if err != nil {
		t.Fatalf("importing %s: %v", name, err)
	}
	return id
}

// checkClean asserts that the store has exactly these images and no layer beside theirs.
func checkClean(t testing.TB, s *Store, wantImages, wantLayers int) {
	t.Helper()
	images, err := s.store.Images()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := s.store.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(images) != wantImages || len(layers) != wantLayers {
		t.Errorf("the store has %d images and %d layers, want %d and %d", len(images), len(layers), wantImages, wantLayers)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func equalList[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
