//go:build linux

package link

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
)

// A line that does not end is ended.
func TestTCEnds(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "tc"), []byte("#!/bin/sh\necho begun\nexec sleep 1000\n"), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	began := time.Now()
	_, err := runTCWithin(200*time.Millisecond, []string{"monitor"})
	refused(t, err, errs.Invalid, "tc monitor", "not ended within 200ms")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}
