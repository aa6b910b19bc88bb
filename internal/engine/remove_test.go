package engine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/jackstay/jackstay/internal/model"
)

// A container's directory goes when nobody writes to it any more: what an older
// plan writes late is neither in the way nor left.
func TestRemoveAfterTheLastWrite(t *testing.T) {
	r := newWorld(t).engine()
	id := r.runContainer(t, "web", "serve")
	dir := r.containerDir(id)
	wrote := false
	late := func() {
		wrote = true
		if err := os.MkdirAll(dir, 0o711); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "hosts"), []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
			t.Error(err)
		}
	}
	r.w.lateWrite.Store(&late)
	if err := r.RemoveContainer(t.Context(), "web", model.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !wrote || !os.IsNotExist(err) {
		t.Errorf("written late: %t; afterwards: %v", wrote, err)
	}
}
