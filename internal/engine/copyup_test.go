package engine

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/jackstay/jackstay/internal/model"
)

// A container that has the volume mounted while another's image fills it can
// neither lead what is written elsewhere nor see it half written.
func TestCopyUpBesideARunningContainer(t *testing.T) {
	w := newWorld(t)
	r := w.engine()
	for _, file := range []string{"data/a/b", "data/c/d"} {
		p := filepath.Join(w.rootfs, file)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("from the image"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	acme := r.tenant(t, "acme")
	acme.runContainer(t, "first", "serve", func(q *model.CreateRequest) { q.Host.Binds = []string{"vol:/data:nocopy"} })
	dir, outside := acme.Snapshot().Volumes["vol@acme"].Mountpoint, t.TempDir()
	if err := os.WriteFile(filepath.Join(filepath.Dir(dir), stagingDir), nil, 0o600); err != nil { // of a crash
		t.Fatal(err)
	}
	w.mounting = func() { // it was empty a moment ago
		if err := os.Symlink(outside, filepath.Join(dir, "a")); err != nil && !os.IsExist(err) {
			t.Error(err)
		}
	}
	acme.runContainer(t, "second", "serve", func(q *model.CreateRequest) { q.Host.Binds = []string{"vol:/data"} })
	if to, err := os.Readlink(filepath.Join(dir, "a")); err != nil || to != outside {
		t.Errorf("the first container's own link: %q %v", to, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "c/d")); err != nil || string(b) != "from the image" {
		t.Errorf("the image's file: %q %v", b, err)
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("written outside the volume: %v %v", left, err)
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || !slices.EqualFunc(left, []string{"_data"}, func(e os.DirEntry, n string) bool { return e.Name() == n }) {
		t.Errorf("beside the volume's content: %v %v", left, err)
	}
}
