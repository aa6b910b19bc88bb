//go:build linux

package store

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// TestDiskFull fills a small tmpfs in a mount namespace of its own: the update
// that finds no room fails clearly and changes nothing, and the first one after
// room was made works.
func TestDiskFull(t *testing.T) {
	const env = "STORE_FULL_DISK"
	if dir := os.Getenv(env); dir != "" {
		fillDisk(t, dir)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts a tmpfs in a mount namespace of its own")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDiskFull$", "-test.v")
	cmd.Env = append(os.Environ(), env+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func fillDisk(t *testing.T, dir string) {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 512<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "db")
	s := open(t, path)
	big := func(id string) func(*Tx) error {
		return func(tx *Tx) error {
			return tx.PutContainer(&model.Container{ID: id, Name: id, Path: strings.Repeat("x", 20<<10)})
		}
	}
	stored := 0
	var failure error
	for ; stored < 100; stored++ {
		before := s.Snapshot()
		if _, failure = s.Update(big(fmt.Sprint(stored))); failure != nil {
			if s.Snapshot() != before {
				t.Error("the failed update moved the state")
			}
			break
		}
	}
	if !errs.Is(failure, errs.Unavailable) || !strings.Contains(failure.Error(), "no space left on device") || !strings.Contains(failure.Error(), path) {
		t.Fatalf("after %d updates: %v, want unavailable, the file and the reason", stored, failure)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	must(t, s, big("after"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	snap := open(t, path).Snapshot()
	if err := Check(snap); err != nil || len(snap.Containers) != stored+1 || snap.Containers["after"] == nil {
		t.Errorf("%d containers after reopening, want %d: %v", len(snap.Containers), stored+1, err)
	}
	_ = s.Close()
}
