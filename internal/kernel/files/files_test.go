package files

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
)

func stat(t *testing.T, path string) (os.FileInfo, uint64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info, info.Sys().(*syscall.Stat_t).Ino
}

func TestEnsure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "containers", "id", "hosts")
	var inode uint64
	for _, c := range []struct {
		content string
		mode    uint32
	}{
		{"127.0.0.1 localhost\n", 0o644},
		{"127.0.0.1 localhost\n172.17.0.2 web\n", 0o644}, // longer
		{"127.0.0.1 localhost\n172.17.0.3 web\n", 0o644}, // as long
		{"short\n", 0o600},                               // shorter, and another mode
		{"", 0o644},                                      // empty
	} {
		if err := New().Ensure(desired.File{Path: path, Content: c.content, Mode: c.mode}); err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(path)
		if err != nil || string(have) != c.content {
			t.Errorf("content %q, %v; want %q", have, err, c.content)
		}
		info, ino := stat(t, path)
		if info.Mode().Perm() != os.FileMode(c.mode) {
			t.Errorf("mode %v, want %o", info.Mode(), c.mode)
		}
		if inode != 0 && ino != inode {
			t.Error("the file was replaced: a container would keep the old one")
		}
		inode = ino
	}
}

func TestEqualContentIsNotWritten(t *testing.T) {
	f := desired.File{Path: filepath.Join(t.TempDir(), "hosts"), Content: "a\n", Mode: 0o644}
	if err := New().Ensure(f); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(f.Path, old, old); err != nil {
		t.Fatal(err)
	}
	if err := New().Ensure(f); err != nil {
		t.Fatal(err)
	}
	if info, _ := stat(t, f.Path); !info.ModTime().Equal(old) {
		t.Errorf("written again at %v", info.ModTime())
	}
}

// What a container makes of its files stays until something else is wanted, in
// the next daemon's life too.
func TestAContainersOwnEditStays(t *testing.T) {
	f := desired.File{Path: filepath.Join(t.TempDir(), "resolv.conf"), Content: "nameserver 127.0.0.11\n", Mode: 0o644}
	ensure := func() {
		t.Helper()
		if err := New().Ensure(f); err != nil {
			t.Fatal(err)
		}
	}
	is := func(want string) {
		t.Helper()
		if have, err := os.ReadFile(f.Path); err != nil || string(have) != want {
			t.Errorf("content %q, %v; want %q", have, err, want)
		}
	}
	ensure()
	if _, err := unix.Getxattr(f.Path, mark, nil); err != nil {
		t.Skipf("%s takes no %s here (root and a file system with it needed): %v", f.Path, mark, err)
	}
	const own = "nameserver 10.8.0.1\n"
	if err := os.WriteFile(f.Path, []byte(own), 0); err != nil {
		t.Fatal(err)
	}
	ensure()
	is(own)
	f.Content = "nameserver 127.0.0.11\nsearch example.com\n"
	ensure()
	is(f.Content)
	// A write that fails half-way leaves no mark, so that going back is a write.
	half, err := os.Open(f.Path) // can't be written
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if err := rewrite(half, "something else", 0o644); err == nil {
		t.Fatal("written")
	}
	if n, err := unix.Getxattr(f.Path, mark, nil); err == nil {
		t.Errorf("a mark of %d bytes says that it is as wanted", n)
	}
	if err := os.Remove(f.Path); err != nil { // another file has no mark
		t.Fatal(err)
	}
	ensure()
	is(f.Content)
}

func TestErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	err := New().Ensure(desired.File{Path: dir, Content: "x", Mode: 0o644})
	if err == nil {
		t.Fatal("a directory was written")
	}
	if want := "write " + dir; len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
		t.Errorf("got %q", err)
	}
}
