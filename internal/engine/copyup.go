package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/go-archive"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
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
		if err := fillVolume(rootfs, m.Mount, m.dir); err != nil {
			return err
		}
	}
	return nil
}

// fillVolume copies one destination. Symbolic links are followed inside the
// container's files only.
func fillVolume(rootfs string, m model.Mount, dir string) error {
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
		if err := archive.NewDefaultArchiver().CopyWithTar(src, dir); err != nil {
			return fmt.Errorf("copy the image's %s into volume %s: %w", m.Destination, m.Name, err)
		}
	}
	return copyOwner(info, dir)
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
