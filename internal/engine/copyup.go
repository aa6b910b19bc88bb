package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/go-archive"

	"github.com/jackstay/jackstay/internal/errs"
)

// fillVolumes copies what the image has at a volume's destination into the
// volume if that is empty, with owners, modes and attributes. The layer is
// mounted for it only when some volume is empty.
func (e *Engine) fillVolumes(ctx context.Context, id string, mounts []resolvedMount) (err error) {
	var empty []resolvedMount
	for _, m := range mounts {
		if m.fill && isEmptyDir(m.dir) {
			empty = append(empty, m)
		}
	}
	if len(empty) == 0 {
		return nil
	}
	rootfs, err := e.images.Mount(ctx, id)
	if err != nil {
		return fmt.Errorf("mount the container's files: %w", err)
	}
	defer func() {
		if uerr := e.images.Unmount(context.WithoutCancel(ctx), id); err == nil && uerr != nil {
			err = fmt.Errorf("unmount the container's files: %w", uerr)
		}
	}()
	for _, m := range empty {
		if err := fillVolume(rootfs, m); err != nil {
			return err
		}
	}
	return nil
}

// fillVolume copies one destination. Symbolic links are followed inside the
// container's files only.
func fillVolume(rootfs string, m resolvedMount) error {
	src, err := securejoin.SecureJoin(rootfs, m.Destination)
	if err != nil {
		return fmt.Errorf("find %s in the image: %w", m.Destination, err)
	}
	info, err := os.Stat(src)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find %s in the image: %w", m.Destination, err)
	}
	if !info.IsDir() {
		return errs.New(errs.Invalid, "cannot mount volume over existing file, file exists %s", m.Destination)
	}
	if !isEmptyDir(src) {
		if err := copyUp(src, m); err != nil {
			return fmt.Errorf("copy the image's %s into volume %s: %w", m.Destination, m.Name, err)
		}
	}
	return copyOwner(info, m.dir)
}

// stagingDir is beside a volume's content, where no container sees it.
const stagingDir = ".fill"

// copyUp copies a directory of the image's into an empty volume. Containers that
// run may have it mounted and could put links in the way of what is written by
// the host's root: it is written elsewhere, and moved in when it is whole.
func copyUp(src string, m resolvedMount) error {
	if m.dir != m.volume.Mountpoint { // a directory of the host's, which the administrator chose
		return archive.NewDefaultArchiver().CopyWithTar(src, m.dir)
	}
	staging := filepath.Join(filepath.Dir(m.dir), stagingDir)
	if err := os.RemoveAll(staging); err != nil { // of a crash
		return err
	}
	err := os.Mkdir(staging, 0o700)
	if err == nil {
		err = archive.NewDefaultArchiver().CopyWithTar(src, staging)
	}
	if err == nil {
		err = moveIn(staging, m.dir)
	}
	return errors.Join(err, os.RemoveAll(staging))
}

// moveIn moves what is in one directory to another; what is there by now stays.
func moveIn(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		at := filepath.Join(to, entry.Name())
		if _, err := os.Lstat(at); err == nil {
			continue
		}
		if err := os.Rename(filepath.Join(from, entry.Name()), at); err != nil {
			return err
		}
	}
	return nil
}

func copyOwner(info os.FileInfo, dir string) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if err := os.Chown(dir, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("give %s the image's owner: %w", dir, err)
	}
	mode := info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	if err := os.Chmod(dir, mode); err != nil {
		return fmt.Errorf("give %s the image's mode: %w", dir, err)
	}
	return nil
}

func isEmptyDir(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	names, _ := f.Readdirnames(1)
	return len(names) == 0
}
