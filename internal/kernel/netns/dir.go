//go:build linux

package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is a directory of bind-mounted network namespaces, one file each. A
// mounted namespace lives without any process in it.
type Dir struct {
	path string
}

// NewDir prepares a directory for namespaces and collects what a crash or a
// reboot left: files on which nothing is mounted.
//
// The directory becomes a private mount point of its own. Below a shared /run,
// the usual one, each namespace would otherwise be mounted into and unmounted
// from every service's mount namespace too. A copy in a mount namespace that is
// cloned later does no harm: the kernel takes it away when Delete unlinks the
// file (fs/namei.c: detach_mounts).
func NewDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("directory of network namespaces: %w", err)
	}
	d := &Dir{path: path}
	if err := d.private(); err != nil {
		return nil, fmt.Errorf("directory of network namespaces %s: %w", path, err)
	}
	if err := d.sweep(); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Dir) private() error {
	err := unix.Mount("", d.path, "none", unix.MS_PRIVATE, "")
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	// EINVAL: not a mount point yet.
	if err := unix.Mount(d.path, d.path, "none", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Mount("", d.path, "none", unix.MS_PRIVATE, "")
}

func (d *Dir) sweep() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("directory of network namespaces: %w", err)
	}
	for _, e := range entries {
		if p := filepath.Join(d.path, e.Name()); e.Type().IsRegular() && !mounted(p) {
			if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("leftover of a network namespace: %w", err)
			}
		}
	}
	return nil
}

// Close takes back the directory's own mount if no namespace is left in it.
func (d *Dir) Close() error {
	names, err := d.List()
	if err != nil || len(names) > 0 {
		return err
	}
	if err := unix.Unmount(d.path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", d.path, err)
	}
	return nil
}

// Path is where the namespace of that name is or would be.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Create makes a namespace with lo up and gives its path. One that is there
// already is left as it is.
func (d *Dir) Create(name string) (string, error) {
	if name == "" || strings.ContainsAny(name, "/\x00") || name[0] == '.' {
		return "", fmt.Errorf("network namespace %q: not a file name", name)
	}
	path := d.Path(name)
	if mounted(path) {
		return path, nil
	}
	if err := create(path); err != nil {
		_ = d.Delete(name)
		return "", fmt.Errorf("network namespace %s: %w", path, err)
	}
	return path, nil
}

// create takes half a millisecond to one: not worth a stock of ready ones.
func create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	return Try(func() error {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("lo: %w", err)
		}
		// Last, so that a mounted namespace is a complete one.
		if err := unix.Mount(threadSelf, path, "none", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		return nil
	})
}

// loopbackUp sets IFF_UP on lo; the kernel adds 127.0.0.1/8 and ::1/128.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return err
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// Delete unmounts and removes a namespace; an absent one is success. It ends
// once no process and no socket is in it either.
func (d *Dir) Delete(name string) error {
	path := d.Path(name)
	// Bounded: something may have been mounted over it, not endlessly.
	for range 16 {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == nil {
			continue
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // a plain file, or nothing
		}
		return fmt.Errorf("unmount network namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove network namespace: %w", err)
	}
	return nil
}

// List gives the names of the namespaces that are mounted.
func (d *Dir) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("directory of network namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if mounted(d.Path(e.Name())) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func mounted(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.NSFS_MAGIC
}
