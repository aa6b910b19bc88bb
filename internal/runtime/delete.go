//go:build linux

package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
)

// killLimit bounds the wait for killed processes to be gone.
const killLimit = 10 * time.Second

// Delete removes what is left of a container, its exit included, killing what
// still runs. The log stays: it is the container's, not its process's.
func (r *Runtime) Delete(ctx context.Context, id string) error {
	if !validID(id) {
		return errs.New(errs.Invalid, "invalid container ID %q", id)
	}
	defer r.locks.Lock(id)()
	if r.absent(id) {
		return nil
	}
	return r.remove(ctx, id)
}

// absent tells whether nothing at all is left of a container. Its cgroup is
// there when somebody emptied the run directory while it ran.
func (r *Runtime) absent(id string) bool {
	for _, name := range []string{r.bundle(id), filepath.Join(r.stateDir(), id), r.exitFile(id)} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return mainCgroup(r.cgroups.find(r.bundleCgroup(id))) == ""
}

// remove does what `runc delete --force` does, without running it: kill, wait,
// remove cgroups and state. A container without a record, because the daemon
// was killed while it made one, is left to the runtime itself.
func (r *Runtime) remove(ctx context.Context, id string) error {
	r.stopRotation(id)
	rec, err := r.load(id)
	if errs.Is(err, errs.NotFound) {
		rec, err = r.salvage(ctx, id)
	}
	if err != nil {
		return err
	}
	if err := r.end(rec); err != nil {
		return err
	}
	if err := removeCgroups(rec.Cgroups); err != nil {
		return fmt.Errorf("container %s: %w", id, err)
	}
	if err := r.unmountShm(id); err != nil {
		return err
	}
	for _, dir := range []string{filepath.Join(r.stateDir(), id), r.bundle(id)} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("container %s: %w", id, err)
		}
	}
	r.exits.forget(id)
	if err := os.Remove(r.exitFile(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("container %s: %w", id, err)
	}
	r.forget(id)
	return nil
}

// end kills the container's processes and then waits for conmon, which ends
// by itself once it has written the log's last lines and the exit file.
func (r *Runtime) end(rec *record) error {
	if err := signalProcess(rec.Pid, rec.StartTicks, unix.SIGKILL); err == nil {
		if err := rec.thaw(); err != nil {
			r.log.Warn("thaw", "container", rec.ID, "error", err)
		}
		if !waitGone(rec.Pid, rec.StartTicks, killLimit) {
			return errs.New(errs.Unavailable, "container %s: process %d does not end after SIGKILL", rec.ID, rec.Pid)
		}
	}
	if err := killCgroups(rec.Cgroups); err != nil {
		return fmt.Errorf("container %s: %w", rec.ID, err)
	}
	r.endConmon(rec)
	return nil
}

func (r *Runtime) endConmon(rec *record) {
	if !r.conmonAlive(rec) {
		return
	}
	pid := rec.Conmon
	if pid == 0 {
		pid = readPid(r.conmonPid(rec.ID))
	}
	ticks, err := startTicks(pid)
	if err != nil || !isConmonOf(pid, rec.ID) {
		return
	}
	if waitGone(pid, ticks, 2*time.Second) {
		return
	}
	r.log.Warn("conmon does not end by itself, killing it", "container", rec.ID, "pid", pid)
	if err := signalProcess(pid, ticks, unix.SIGKILL); err == nil {
		waitGone(pid, ticks, killLimit)
	}
}

// salvage makes a record of what a killed daemon left half-made: conmon is
// ended first, so nothing appears while we look.
func (r *Runtime) salvage(ctx context.Context, id string) (*record, error) {
	rec := &record{ID: id, Conmon: readPid(r.conmonPid(id))}
	if pid := rec.Conmon; pid != 0 && isConmonOf(pid, id) {
		if ticks, err := startTicks(pid); err == nil && isConmonOf(pid, id) {
			if err := signalProcess(pid, ticks, unix.SIGKILL); err == nil {
				waitGone(pid, ticks, killLimit)
			}
		}
	}
	rec.Conmon = 0
	if _, err := os.Stat(filepath.Join(r.stateDir(), id)); err == nil {
		if _, err := r.runtime(ctx, "delete", "--force", id); err != nil {
			r.log.Warn("the runtime does not delete a half-made container", "container", id, "error", err)
		}
	}
	rec.Cgroups = r.cgroups.find(r.bundleCgroup(id))
	return rec, nil
}
