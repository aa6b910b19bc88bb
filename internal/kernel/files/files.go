// Package files writes the engine's files that are mounted into containers. A
// bind mount shows an inode, so a file is rewritten in place, never replaced.
//
// The file is the container's too: a VPN client in it sets its own
// resolv.conf, a script adds to hosts, as under Docker. So what was written is
// marked with its hash in an extended attribute, which a container without
// CAP_SYS_ADMIN can neither see nor set (xattr(7)), and is not written again
// before other content is wanted. Where the file system takes no such
// attribute, every Ensure makes the content as wanted.
package files

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// Writer implements the reconciler's Files.
type Writer struct{}

// New gives a Writer.
func New() *Writer { return &Writer{} }

// mark is the attribute that holds the hash of what was last written.
const mark = "trusted.jackstay"

// Ensure gives the file this content and mode, keeping its inode, unless it was
// given this content before: then it is as its container wants it. Missing
// parents are made; equal content is not written again. It is written over the
// old one and cut off after, so a reader inside never finds the file empty, and
// a full disk leaves what was there.
func (*Writer) Ensure(f desired.File) error {
	sum := sha256.Sum256([]byte(f.Content))
	var have [sha256.Size + 1]byte
	if n, err := unix.Getxattr(f.Path, mark, have[:]); err == nil && string(have[:n]) == string(sum[:]) {
		return nil
	}
	if err := ensure(f, sum[:]); err != nil {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) {
			err = errs.Wrap(errs.Unavailable, err)
		}
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	return nil
}

func ensure(want desired.File, sum []byte) error {
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
	_ = unix.Fsetxattr(int(f.Fd()), mark, sum, 0) // without it, it is written once too often
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
	_ = unix.Fremovexattr(int(f.Fd()), mark) // what is half written is nobody's
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(content)))
}
