//go:build linux

package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
)

// Start lets a created process run its program.
func (r *Runtime) Start(ctx context.Context, id string) error {
	defer r.locks.Lock(id)()
	rec, err := r.live(id)
	if err != nil {
		return err
	}
	if !rec.StartedAt.IsZero() {
		return errs.New(errs.Conflict, "container %s is already running", id)
	}
	if err := r.release(ctx, rec); err != nil {
		return err
	}
	rec.StartedAt = time.Now()
	return r.save(rec)
}

// release lets the process go on. It waits in open(2) of exec.fifo for
// writing; all that `runc start` does is open that fifo for reading, see one
// byte come and unlink it (libcontainer/container_linux.go, exec), which spares
// the 10 ms of running it. Another runtime, or a fifo that is not as expected,
// gets `RUNTIME start`.
func (r *Runtime) release(ctx context.Context, rec *record) error {
	if r.runc.isRunc {
		err := readExecFifo(filepath.Join(r.stateDir(), rec.ID, "exec.fifo"), rec)
		if err == nil {
			return nil
		}
		if errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("container %s: its process is already dead", rec.ID)
		}
		r.log.Warn("start through the runtime", "container", rec.ID, "error", err)
	}
	if _, err := r.runtime(ctx, "start", rec.ID); err != nil {
		return startFailure("failed to start task for container: OCI runtime start failed: ", err.Error())
	}
	return nil
}

func readExecFifo(name string, rec *record) error {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(createLimit)
	for time.Now().Before(deadline) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 50)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll %s: %w", name, err)
		}
		if n > 0 {
			var b [1]byte
			if got, err := unix.Read(fd, b[:]); err != nil || got != 1 {
				return fmt.Errorf("read %s: %d bytes, %w", name, got, err)
			}
			return os.Remove(name)
		}
		if !rec.alive() {
			return os.ErrProcessDone
		}
	}
	return fmt.Errorf("%s: %w", name, os.ErrDeadlineExceeded)
}

// runtime runs a command of the OCI runtime and gives its output; its error is
// the one it logged.
func (r *Runtime) runtime(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, r.runc.path, append([]string{"--root=" + r.stateDir()}, args...)...)
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(r.runc.path), args[0], err, runtimeMessage(stderr.String()))
	}
	return out.String(), nil
}

// runtimeMessage takes the message out of logrus's text format,
// time="…" level=error msg="…".
func runtimeMessage(stderr string) string {
	stderr = strings.TrimSpace(stderr)
	if i := strings.LastIndex(stderr, "\n"); i >= 0 {
		stderr = stderr[i+1:]
	}
	if i := strings.Index(stderr, "msg="); i >= 0 {
		return strings.Trim(stderr[i+len("msg="):], `"`)
	}
	return stderr
}
