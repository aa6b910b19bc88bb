package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/storage/pkg/mount"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
)

// Mount mounts a container's layer and gives the path of its root file system;
// mounting a mounted one gives the same path.
func (s *Store) Mount(ctx context.Context, containerID string) (string, error) {
	unlock, err := s.containers.lock(ctx, containerID)
	if err != nil {
		return "", err
	}
	defer unlock()
	id, err := s.layerImage(containerID)
	if err != nil {
		return "", err
	}
	if s.driver == driverVFS {
		return filepath.Join(s.layerDir(containerID), "diff"), nil
	}
	merged := filepath.Join(s.layerDir(containerID), "merged")
	if mounted, err := isOverlay(merged); err != nil || mounted {
		return merged, err
	}
	img, err := s.store.Image(id)
	if err != nil {
		return "", errs.New(errs.Unavailable, "the image %s of container %s is gone from the store: %w", shortID(id), containerID, err)
	}
	base, err := s.lowersOf(img)
	if err != nil {
		return "", err
	}
	if err := s.mountOverlay(base.mount, containerID); err != nil {
		return "", errs.New(errs.Unavailable, "mounting the layer of container %s: %w", containerID, err)
	}
	return merged, nil
}

// mountOverlay mounts with relative paths, for mount(2) takes one page of
// options, on a thread that may change its folder.
func (s *Store) mountOverlay(lower []string, containerID string) error {
	layer := filepath.Join("..", "containers", containerID)
	options := strings.Join(append([]string{
		"lowerdir=" + strings.Join(lower, ":"),
		"upperdir=" + filepath.Join(layer, "diff"),
		"workdir=" + filepath.Join(layer, "work"),
	}, overlayFeatures()...), ",")
	if len(options) >= os.Getpagesize() {
		return fmt.Errorf("the image has too many layers: %d", len(lower))
	}
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("leaving the shared working directory: %w", err)
		}
		if err := unix.Chdir(s.driverHome()); err != nil {
			return fmt.Errorf("entering %s: %w", s.driverHome(), err)
		}
		return unix.Mount("overlay", filepath.Join(layer, "merged"), "overlay", 0, options)
	})
}

// overlayFeatures turns off what makes an upper directory mean something only
// together with its lower ones, where the kernel has it: a layer's changes are
// read from its upper directory alone.
// Source: Documentation/filesystems/overlayfs.rst.
func overlayFeatures() []string {
	var off []string
	for _, f := range []string{"index", "redirect_dir", "metacopy"} {
		if _, err := os.Stat("/sys/module/overlay/parameters/" + f); err == nil {
			off = append(off, f+"=off")
		}
	}
	return off
}

// isOverlay tells whether an overlay is mounted at path. The folder it is
// mounted on is never on one: an overlay's upper directory can't be.
func isOverlay(path string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, fmt.Errorf("looking at %s: %w", path, err)
	}
	return st.Type == unix.OVERLAYFS_SUPER_MAGIC, nil
}

// Unmount unmounts a container's layer; one that is not mounted is success.
func (s *Store) Unmount(ctx context.Context, containerID string) error {
	unlock, err := s.containers.lock(ctx, containerID)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.layerImage(containerID); err != nil {
		return err
	}
	return s.unmount(containerID)
}

// unmount detaches: a file a process still holds open keeps the file system,
// not the mount.
func (s *Store) unmount(containerID string) error {
	merged := filepath.Join(s.layerDir(containerID), "merged")
	err := unix.Unmount(merged, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // EINVAL: not a mount point
		return nil
	}
	return errs.New(errs.Unavailable, "unmounting the layer of container %s: %w", containerID, err)
}

// makePrivate keeps mounts under dir from spreading to other mount namespaces,
// where they would keep layers busy.
func makePrivate(dir string) error {
	if err := mount.MakePrivate(dir); err != nil {
		return fmt.Errorf("making %s a private mount: %w", dir, err)
	}
	return nil
}

// unmountIdle undoes makePrivate unless something is mounted below.
func unmountIdle(dir string) error {
	err := unix.Unmount(dir, 0)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBUSY) {
		return nil
	}
	return fmt.Errorf("unmounting %s: %w", dir, err)
}
