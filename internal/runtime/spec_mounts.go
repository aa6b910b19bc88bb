//go:build linux

package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/engine"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// defaultShmSize is Docker's, 64 MiB.
const defaultShmSize = 64 << 20

func shmSize(h model.HostConfig) int64 {
	if h.ShmSize > 0 {
		return h.ShmSize
	}
	return defaultShmSize
}

// setMounts puts Docker's default mounts before the container's own. An own
// mount replaces a default one at the same place.
func (r *Runtime) setMounts(spec *specs.Spec, in engine.RunSpec, sec security) error {
	h := in.Container.Host
	var own []specs.Mount
	at := map[string]bool{}
	for _, m := range in.Mounts {
		own = append(own, specs.Mount{Type: m.Type, Source: m.Source, Destination: m.Destination, Options: m.Options})
		at[m.Destination] = true
		raisePropagation(spec, m.Options)
	}
	shm, err := r.shmMount(h, in.Container.ID)
	if err != nil {
		return err
	}
	for _, m := range append(defaultMounts(sec), shm...) {
		if at[m.Destination] || at["/dev"] && strings.HasPrefix(m.Destination, "/dev/") {
			continue
		}
		spec.Mounts = append(spec.Mounts, m)
	}
	if h.ReadonlyRootfs {
		for i, m := range spec.Mounts {
			if m.Destination == "/sys" || m.Destination == "/sys/fs/cgroup" {
				spec.Mounts[i].Options = withReadOnly(m.Options)
			}
		}
	}
	spec.Mounts = append(spec.Mounts, own...)
	return nil
}

// defaultMounts are moby's, oci/defaults.go, without /dev/shm.
func defaultMounts(sec security) []specs.Mount {
	sys := []string{"nosuid", "noexec", "nodev"}
	cgroup := []string{"nosuid", "noexec", "nodev"}
	if !sec.privileged {
		sys = withReadOnly(sys)
	}
	if !sec.writableCgroups {
		cgroup = withReadOnly(cgroup)
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: sys},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: cgroup},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	}
}

func withReadOnly(options []string) []string {
	if slices.Contains(options, "ro") {
		return options
	}
	return append(slices.Clone(options), "ro")
}

// raisePropagation makes the root file system's propagation let a shared or
// slave mount be one.
func raisePropagation(spec *specs.Spec, options []string) {
	for _, o := range options {
		switch o {
		case "shared", "rshared":
			spec.Linux.RootfsPropagation = "shared"
		case "slave", "rslave":
			if spec.Linux.RootfsPropagation == "" {
				spec.Linux.RootfsPropagation = "rslave"
			}
		}
	}
}

// shmMount is /dev/shm by IPC mode: none, the host's, another container's, one
// that others may join, or its own.
func (r *Runtime) shmMount(h model.HostConfig, id string) ([]specs.Mount, error) {
	m := specs.Mount{Destination: "/dev/shm", Type: "bind", Options: []string{"rbind", "nosuid", "noexec", "nodev", "rprivate"}}
	switch donor, joins := strings.CutPrefix(h.IpcMode, "container:"); {
	case h.IpcMode == "none":
		return nil, nil
	case h.IpcMode == "host":
		m.Source = "/dev/shm"
	case h.IpcMode == "shareable":
		m.Source = r.shmDir(id)
	case joins:
		m.Source = r.shmDir(donor)
		if _, err := os.Stat(m.Source); errors.Is(err, fs.ErrNotExist) {
			return nil, errs.New(errs.Conflict, "cannot join IPC of container %s: non-shareable IPC (hint: use IpcMode:shareable for the donor container)", donor)
		}
	default:
		m.Type, m.Source = "tmpfs", "shm"
		m.Options = []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.FormatInt(shmSize(h), 10)}
	}
	return []specs.Mount{m}, nil
}

// prepareShm mounts what containers joining a shareable one will bind.
func (r *Runtime) prepareShm(c *model.Container) error {
	if c.Host.IpcMode != "shareable" {
		return nil
	}
	dir := r.shmDir(c.ID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("shm: %w", err)
	}
	data := "mode=1777,size=" + strconv.FormatInt(shmSize(c.Host), 10)
	if err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return fmt.Errorf("mount shm of container %s: %w", c.ID, err)
	}
	return nil
}

func (r *Runtime) unmountShm(id string) error {
	err := unix.Unmount(r.shmDir(id), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount shm of container %s: %w", id, err)
	}
	return nil
}
