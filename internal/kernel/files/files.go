// Package files writes the engine's files that are mounted into containers. A
// bind mount shows an inode, so a file is rewritten in place, never replaced.
package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// Writer implements the reconciler's Files.
type Writer struct{}

// New gives a Writer.
func New() *Writer { return &Writer{} }

// Ensure gives the file this content and mode, keeping its inode. Missing
// parents are made; equal content is not written again. It is written over the old one
// and cut off after, so a reader inside never finds the file empty, and a full
// disk leaves what was there.
func (*Writer) Ensure(f desired.File) error {
	if err := ensure(f); err != nil {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) {
			err = errs.Wrap(errs.Unavailable, err)
		}
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	return nil
}

func ensure(want desired.File) error {
	mode := os.FileMode(want.Mode).Perm()
	f, err := os.OpenFile(want.Path, os.O_RDWR|os.O_CREATE, mode)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(want.Path), 0o711); err != nil {
			return err
		}
		f, err = os.OpenFile(want.Path, os.O_RDWR|os.O_CREATE, mode)
	}
	if err != nil {
		return err
	}
	if err := rewrite(f, want.Content, mode); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func rewrite(f *os.File, content string, mode os.FileMode) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm() != mode { // the umask, or somebody's chmod
		if err := f.Chmod(mode); err != nil {
			return err
		}
	}
	if info.Size() == int64(len(content)) {
		have, err := io.ReadAll(f)
		if err != nil || string(have) == content {
			return err
		}
	}
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(content)))
}
