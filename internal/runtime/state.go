//go:build linux

package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackstay/jackstay/internal/engine"
	"github.com/jackstay/jackstay/internal/errs"
)

// lostExitCode is the exit code of a process whose conmon was killed, and with
// it the only one who could know: 128+SIGKILL, as the process is killed then.
const lostExitCode = 137

// State tells what became of a container's process.
func (r *Runtime) State(_ context.Context, id string) (engine.RunState, error) {
	var s engine.RunState
	rec, err := r.load(id)
	switch {
	case errs.Is(err, errs.NotFound):
		// After a reboot the bundle is gone, and the exit file may be there.
	case err != nil:
		return s, err
	default:
		s.Known, s.StartedAt = true, rec.StartedAt
		if rec.alive() {
			s.Pid, s.Running = rec.Pid, !rec.StartedAt.IsZero()
			s.Paused = rec.frozen()
		}
	}
	exit, err := r.readExit(id)
	if errors.Is(err, fs.ErrNotExist) {
		if s.Known && s.Pid == 0 && !r.conmonAlive(rec) {
			// One more look: it may have written the file and ended in between.
			if exit, err = r.readExit(id); errors.Is(err, fs.ErrNotExist) {
				exit, err = engine.Exit{ExitCode: lostExitCode, FinishedAt: time.Now()}, nil
			}
		} else {
			return s, nil
		}
	}
	if err != nil {
		return s, err
	}
	s.Known, s.Exited, s.Running, s.Paused, s.Pid = true, true, false, false, 0
	s.ExitCode, s.OOMKilled, s.FinishedAt = exit.ExitCode, exit.OOMKilled, exit.FinishedAt
	return s, nil
}

// readExit reads conmon's exit file; fs.ErrNotExist if the process has not ended.
func (r *Runtime) readExit(id string) (engine.Exit, error) {
	exit := engine.Exit{ID: id}
	f, err := os.Open(r.exitFile(id))
	if err != nil {
		return exit, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return exit, err
	}
	var buf [16]byte
	n, err := f.Read(buf[:])
	if err != nil {
		return exit, fmt.Errorf("exit file of container %s: %w", id, err)
	}
	if exit.ExitCode, err = strconv.Atoi(strings.TrimSpace(string(buf[:n]))); err != nil {
		return exit, fmt.Errorf("exit file of container %s: %w", id, err)
	}
	exit.FinishedAt = info.ModTime()
	_, err = os.Stat(filepath.Join(r.bundle(id), "oom"))
	exit.OOMKilled = err == nil
	return exit, nil
}

func (r *Runtime) conmonAlive(rec *record) bool {
	pid := rec.Conmon
	if pid == 0 {
		pid = readPid(r.conmonPid(rec.ID))
	}
	return pid != 0 && isConmonOf(pid, rec.ID)
}
