//go:build linux

package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
)

// defaultParent is the cgroup containers' are in unless Options say otherwise.
const defaultParent = "/jackstay"

// hierarchy is how cgroups are mounted here. The cgroupfs driver is used on v1
// and v2 alike, under systemd too: systemd leaves alone what is outside its
// slices, and making a scope over D-Bus would cost each start milliseconds.
type hierarchy struct {
	v2     bool
	mounts map[string]cgroupMount // by controller; "" is v2's, name=systemd a named one
}

// cgroupMount is where a hierarchy is mounted, and which of its directories is.
type cgroupMount struct{ point, root string }

// findCgroups reads /proc/self/mountinfo. A v2 mount beside v1 controllers
// (hybrid) makes it v1.
func findCgroups(mountinfo string) (*hierarchy, error) {
	data, err := os.ReadFile(mountinfo)
	if err != nil {
		return nil, fmt.Errorf("cgroups: %w", err)
	}
	h := &hierarchy{v2: true, mounts: map[string]cgroupMount{}}
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		mount := cgroupMount{point: left[4], root: left[3]}
		switch right[0] {
		case "cgroup2":
			h.add("", mount)
		case "cgroup":
			for option := range strings.SplitSeq(right[2], ",") {
				switch option {
				case "rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "none":
					continue
				}
				if !strings.Contains(option, "=") {
					h.v2 = false
				}
				if !strings.HasPrefix(option, "release_agent=") {
					h.add(option, mount)
				}
			}
		}
	}
	if len(h.mounts) == 0 {
		return nil, errs.New(errs.Unavailable, "no cgroup file system is mounted; mount one at /sys/fs/cgroup (package cgroupfs-mount, or systemd)")
	}
	return h, nil
}

func (h *hierarchy) add(controller string, m cgroupMount) {
	if _, ok := h.mounts[controller]; !ok { // the first mount, should there be bind mounts
		h.mounts[controller] = m
	}
}

func (m cgroupMount) dir(cgroup string) string {
	return filepath.Join(m.point, strings.TrimPrefix(cgroup, strings.TrimSuffix(m.root, "/")))
}

// of gives the directories of a container's cgroups from its process's
// /proc/PID/cgroup; those not named after it (a controller the runtime does
// not use) are left out.
func (h *hierarchy) of(pid int, id string) (map[string]string, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return nil, fmt.Errorf("cgroups of process %d: %w", pid, err)
	}
	out := map[string]string{}
	for line := range strings.Lines(strings.TrimSpace(string(data))) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 || path.Base(parts[2]) != id {
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			if m, ok := h.mounts[controller]; ok {
				out[controller] = m.dir(parts[2])
			}
		}
	}
	return out, nil
}

// find gives the directories that exist for a cgroup.
func (h *hierarchy) find(cgroup string) map[string]string {
	out := map[string]string{}
	for controller, m := range h.mounts {
		dir := filepath.Join(m.point, cgroup)
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			out[controller] = dir
		}
	}
	return out
}

// processes lists the pids in a cgroup and those below.
func processes(dir string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return ignoreGone(err)
		}
		data, err := os.ReadFile(filepath.Join(name, "cgroup.procs"))
		if err != nil {
			return ignoreGone(err)
		}
		for field := range bytes.FieldsSeq(data) {
			if pid, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids, err
}

// ignoreGone makes a cgroup that was removed meanwhile no error.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// mainCgroup is the directory that is asked for processes.
func mainCgroup(cgroups map[string]string) string {
	for _, controller := range []string{"pids", "freezer", "memory", "name=systemd", ""} {
		if dir, ok := cgroups[controller]; ok {
			return dir
		}
	}
	return ""
}

// killCgroups ends every process in the cgroups and waits until they are gone.
func killCgroups(cgroups map[string]string) error {
	dir := mainCgroup(cgroups)
	if dir == "" {
		return nil
	}
	deadline := time.Now().Add(killLimit)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		pids, err := processes(dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return errs.New(errs.Unavailable, "processes %v in %s do not end after SIGKILL", pids, dir)
		}
		for _, pid := range pids {
			// Gone meanwhile, or about to be: the next look tells.
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(wait)
	}
}

// RemoveParent removes the cgroup every container's was in, where nothing is in
// it any more: the last trace of a runtime on a host. Empty means /jackstay.
func RemoveParent(parent string) error {
	if parent == "" {
		parent = defaultParent
	}
	h, err := findCgroups("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, dir := range h.find(parent) {
		err := unix.Rmdir(dir)
		if err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove cgroup: %w", &fs.PathError{Op: "rmdir", Path: dir, Err: err})
		}
	}
	return nil
}

// removeCgroups removes the directories, with what the container made below.
// rmdir(2) says EBUSY for a moment after the last process has ended.
func removeCgroups(cgroups map[string]string) error {
	for _, dir := range cgroups {
		deadline := time.Now().Add(2 * time.Second)
		for wait := time.Millisecond; ; wait *= 2 {
			err := removeCgroup(dir)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
				return fmt.Errorf("remove cgroup: %w", err)
			}
			time.Sleep(wait)
		}
	}
	return nil
}

func removeCgroup(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	entries, readErr := os.ReadDir(dir)
	if readErr != nil {
		return ignoreGone(readErr)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err = unix.Rmdir(dir); err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
}

// frozen tells whether the container is paused.
func (rec *record) frozen() bool {
	if dir, ok := rec.Cgroups["freezer"]; ok {
		return strings.HasPrefix(readString(filepath.Join(dir, "freezer.state")), "FR") // FROZEN, FREEZING
	}
	if dir, ok := rec.Cgroups[""]; ok {
		return readString(filepath.Join(dir, "cgroup.freeze")) == "1"
	}
	return false
}

// thaw lets a paused container's processes go on, if it is paused.
func (rec *record) thaw() error {
	if !rec.frozen() {
		return nil
	}
	name, value := filepath.Join(rec.Cgroups[""], "cgroup.freeze"), "0"
	if dir, ok := rec.Cgroups["freezer"]; ok {
		name, value = filepath.Join(dir, "freezer.state"), "THAWED"
	}
	if err := os.WriteFile(name, []byte(value), 0); ignoreGone(err) != nil {
		return fmt.Errorf("thaw container %s: %w", rec.ID, err)
	}
	return nil
}

// readString reads a small file without its newline; empty if it can't.
func readString(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
