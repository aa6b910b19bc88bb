package image

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/model"
)

// Docker's numbers of model.Change.Kind.
const (
	modified = iota
	added
	deleted
)

// withImageView calls use with a folder that shows the image's files: its one
// layer, or a read-only overlay of all of them in a mount namespace of the
// thread's own, which ends with it.
func (s *Store) withImageView(base lowers, use func(dir string) error) error {
	if len(base.dirs) == 1 {
		return use(base.dirs[0])
	}
	dir, remove, err := s.tempDir("view")
	if err != nil {
		return err
	}
	defer remove()
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return os.NewSyscallError("mount", err)
		}
		if err := unix.Chdir(s.driverHome()); err != nil {
			return os.NewSyscallError("chdir", err)
		}
		options := strings.Join(append([]string{"lowerdir=" + strings.Join(base.mount, ":")}, overlayFeatures()...), ",")
		if err := unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY, options); err != nil {
			return os.NewSyscallError("mount", err)
		}
		return use(dir)
	})
}

// overlayChanges compares an upper directory with the image's files in view.
func overlayChanges(upper, view string) ([]model.Change, error) {
	var out []model.Change
	isNew := map[string]bool{"/": false} // folders the image does not have
	err := filepath.WalkDir(upper, func(full string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path := "/" + strings.TrimPrefix(strings.TrimPrefix(full, upper), "/")
		info, err := entry.Info()
		if err != nil {
			return err
		}
		var before fs.FileInfo
		if !isNew[filepath.Dir(path)] {
			if before, err = os.Lstat(filepath.Join(view, path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if entry.IsDir() {
			isNew[path] = before == nil || !before.IsDir()
			gone, err := opaqueDeletions(full, path, before, view)
			if err != nil {
				return err
			}
			out = append(out, gone...)
		}
		if path == "/" {
			return nil
		}
		switch {
		case isWhiteout(info):
			out = append(out, model.Change{Path: path, Kind: deleted})
		case before == nil:
			out = append(out, model.Change{Path: path, Kind: added})
		case !sameFolder(before, info):
			out = append(out, model.Change{Path: path, Kind: modified})
		}
		return nil
	})
	return out, err
}

// opaqueDeletions lists what a folder that replaced the image's no longer has.
// Source: Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
func opaqueDeletions(full, path string, before fs.FileInfo, view string) ([]model.Change, error) {
	if before == nil || !before.IsDir() {
		return nil, nil
	}
	value := make([]byte, 1)
	n, err := unix.Lgetxattr(full, "trusted.overlay.opaque", value)
	if err != nil || n != 1 || value[0] != 'y' {
		return nil, nil // ENODATA: not opaque
	}
	old, err := os.ReadDir(filepath.Join(view, path))
	if err != nil {
		return nil, err
	}
	var out []model.Change
	for _, entry := range old {
		if _, err := os.Lstat(filepath.Join(full, entry.Name())); errors.Is(err, fs.ErrNotExist) {
			out = append(out, model.Change{Path: filepath.Join(path, entry.Name()), Kind: deleted})
		}
	}
	return out, nil
}

// isWhiteout tells overlay's mark for a deleted file: device 0/0.
func isWhiteout(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode()&fs.ModeCharDevice != 0 && st.Rdev == 0
}

// sameFolder tells that a folder was copied up only for something below it.
func sameFolder(before, now fs.FileInfo) bool {
	a, okA := before.Sys().(*syscall.Stat_t)
	b, okB := now.Sys().(*syscall.Stat_t)
	return before.IsDir() && now.IsDir() && okA && okB &&
		before.Mode() == now.Mode() && a.Uid == b.Uid && a.Gid == b.Gid && before.ModTime().Equal(now.ModTime())
}
