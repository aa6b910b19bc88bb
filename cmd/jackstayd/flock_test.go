package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A lock that is given up a moment later, as by a child of a killed daemon, is
// waited for; another daemon's is not for long.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	held, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, func() { held.Close() })
	again, err := lock(dir)
	if err != nil {
		t.Fatalf("a lock that is let go: %v", err)
	}
	defer again.Close()
	if _, err := lock(dir); err == nil || !strings.Contains(err.Error(), "another jackstayd") {
		t.Errorf("beside another daemon: %v", err)
	}
	f, err := os.Open(filepath.Join(dir, "jackstayd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := flock(f); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("flock: %v", err)
	}
}
