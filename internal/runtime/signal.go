//go:build linux

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
)

// Signal sends a signal to the container's first process, and to no other that
// may have its pid by now. A paused container is thawed after SIGKILL: cgroup
// v1 delivers nothing to frozen processes.
func (r *Runtime) Signal(_ context.Context, id string, signal int) error {
	rec, err := r.live(id)
	if err != nil {
		return err
	}
	switch err := signalProcess(rec.Pid, rec.StartTicks, unix.Signal(signal)); {
	case errors.Is(err, os.ErrProcessDone):
		return errs.New(errs.Conflict, "container %s is not running", id)
	case errors.Is(err, unix.EINVAL):
		return errs.New(errs.Invalid, "invalid signal: %d", signal)
	case err != nil:
		return fmt.Errorf("signal %d to container %s: %w", signal, id, err)
	}
	if unix.Signal(signal) == unix.SIGKILL {
		return rec.thaw()
	}
	return nil
}

// Pause freezes every process of the container.
func (r *Runtime) Pause(ctx context.Context, id string) error {
	return r.freezer(ctx, id, "pause", true)
}

// Resume thaws a paused container.
func (r *Runtime) Resume(ctx context.Context, id string) error {
	return r.freezer(ctx, id, "resume", false)
}

func (r *Runtime) freezer(ctx context.Context, id, command string, freeze bool) error {
	rec, err := r.live(id)
	if err != nil {
		return err
	}
	if rec.frozen() == freeze {
		if freeze {
			return errs.New(errs.Conflict, "container %s is already paused", id)
		}
		return errs.New(errs.Conflict, "container %s is not paused", id)
	}
	_, err = r.runtime(ctx, command, id)
	return err
}
