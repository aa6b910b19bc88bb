//go:build linux

package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackstay/jackstay/internal/engine"
	"github.com/jackstay/jackstay/internal/errs"
)

// createLimit bounds how long conmon and the OCI runtime may take to make a
// process, tens of milliseconds on an idle machine.
const createLimit = 2 * time.Minute

// Create makes the bundle and has conmon make the process, stopped before its
// program. Whatever fails leaves nothing behind. Leftovers of an earlier run of
// the same container are removed first; a live process is errs.Conflict.
// To the environment the OCI runtime adds HOME, from the container's /etc/passwd.
func (r *Runtime) Create(ctx context.Context, spec engine.RunSpec) (int, error) {
	id := spec.Container.ID
	if !validID(id) {
		return 0, errs.New(errs.Invalid, "invalid container ID %q", id)
	}
	defer r.locks.Lock(id)()
	if err := r.clear(ctx, id); err != nil {
		return 0, err
	}
	defer r.joins.begin()()
	rec, err := r.create(ctx, spec)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if rmErr := r.remove(context.WithoutCancel(ctx), id); rmErr != nil {
			r.log.Error("remove a container that could not be created", "container", id, "error", rmErr)
		}
		return 0, err
	}
	r.guard(rec)
	r.startRotation(rec)
	return rec.Pid, nil
}

// clear makes room for a new process of the container.
func (r *Runtime) clear(ctx context.Context, id string) error {
	if rec, err := r.load(id); err == nil && rec.alive() {
		return errs.New(errs.Conflict, "container %s already has a process, %d", id, rec.Pid)
	}
	if r.absent(id) {
		return nil
	}
	return r.remove(ctx, id)
}

func (r *Runtime) create(ctx context.Context, spec engine.RunSpec) (*record, error) {
	c := spec.Container
	rec := &record{
		ID: c.ID, Tty: c.Config.Tty, OpenStdin: c.Config.OpenStdin, StdinOnce: c.Config.StdinOnce,
		SharedPids: c.Host.PidMode != "" && c.Host.PidMode != "private",
	}
	var err error
	if rec.LogDriver, rec.LogMaxSize, rec.LogMaxFile, err = logSettings(c.Host.LogDriver, c.Host.LogOptions); err != nil {
		return nil, err
	}
	if err := os.Mkdir(r.bundle(c.ID), 0o700); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if err := r.prepareShm(c); err != nil {
		return nil, err
	}
	oci, err := r.ociSpec(spec)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(r.bundle(c.ID), "config.json"), oci, 0o600); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(r.logFile(c.ID)), 0o700); err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	if rec.Pid, err = r.runConmon(rec); err != nil {
		return nil, err
	}
	if rec.StartTicks, err = startTicks(rec.Pid); err != nil {
		return nil, fmt.Errorf("container %s ended while it was created: %w", c.ID, err)
	}
	rec.Conmon = readPid(r.conmonPid(c.ID))
	if rec.Cgroups, err = r.cgroups.of(rec.Pid, c.ID); err != nil {
		return nil, err
	}
	return rec, r.save(rec)
}

// runConmon starts conmon and waits for what it says on its sync pipe: the
// process's id, or that there is none. conmon forks twice and leads a session
// of its own, so it lives on when the daemon doesn't.
func (r *Runtime) runConmon(rec *record) (int, error) {
	readEnd, writeEnd, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("conmon: %w", err)
	}
	defer readEnd.Close()
	stderr, err := os.Create(filepath.Join(r.bundle(rec.ID), "conmon.log"))
	if err != nil {
		writeEnd.Close()
		return 0, fmt.Errorf("conmon: %w", err)
	}
	defer stderr.Close()

	cmd := exec.Command(r.conmon.path, r.conmonArgs(rec)...)
	cmd.Dir = r.bundle(rec.ID) // conmon notes an OOM kill in its working directory
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "_OCI_SYNCPIPE=3"}
	cmd.ExtraFiles = []*os.File{writeEnd}
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	writeEnd.Close()
	if err != nil {
		return 0, errs.New(errs.Unavailable, "start %s: %w", r.conmon.path, err)
	}
	if err := readEnd.SetReadDeadline(time.Now().Add(createLimit)); err != nil {
		return 0, fmt.Errorf("conmon: %w", err)
	}
	var report struct {
		Data    int    `json:"data"`
		Message string `json:"message"`
	}
	decodeErr := json.NewDecoder(readEnd).Decode(&report)
	if waitErr := r.reap(cmd, decodeErr); decodeErr == nil && report.Data > 0 {
		return report.Data, nil
	} else if waitErr != nil && decodeErr != nil {
		decodeErr = errors.Join(decodeErr, waitErr)
	}
	return 0, r.createFailure(rec.ID, report.Message, decodeErr)
}

// reap waits for conmon's first process, which ends once it has forked. If
// conmon said nothing in time it is ended first.
func (r *Runtime) reap(cmd *exec.Cmd, decodeErr error) error {
	if errors.Is(decodeErr, os.ErrDeadlineExceeded) {
		_ = cmd.Process.Kill() // its child, if any, is found by its pid file
	}
	return cmd.Wait()
}

// conmonArgs is conmon's command line, conmon(8).
func (r *Runtime) conmonArgs(rec *record) []string {
	args := []string{
		"--api-version", "1",
		"-c", rec.ID, "-u", rec.ID, "-n", rec.ID,
		"-r", r.runc.path, "-b", r.bundle(rec.ID),
		"-p", r.pidFile(rec.ID), "-P", r.conmonPid(rec.ID),
		"--exit-dir", r.exitDir(),
		"--full-attach",
		"--log-level", "error",
		"--no-sync-log", // no fsync(2) of the log between exit and exit file
		"--runtime-arg", "--root=" + r.stateDir(),
		"--runtime-arg", "--log=" + r.runtimeLog(rec.ID),
		"--runtime-arg", "--log-format=json",
	}
	if rec.LogDriver == logNone {
		args = append(args, "-l", "none")
	} else {
		args = append(args, "-l", "k8s-file:"+r.logFile(rec.ID))
		if limit := rec.conmonLogLimit(); limit > 0 {
			args = append(args, "--log-size-max", strconv.FormatInt(limit, 10))
		}
	}
	if rec.Tty {
		args = append(args, "-t")
	}
	if rec.OpenStdin {
		args = append(args, "-i")
		if rec.keepsStdin() {
			args = append(args, "--leave-stdin-open")
		}
	}
	return args
}

// createFailure says why there is no process, from the OCI runtime's log or
// what conmon heard from it.
func (r *Runtime) createFailure(id, message string, cause error) error {
	if logged := lastRuntimeError(r.runtimeLog(id)); logged != "" {
		return startFailure("failed to create task for container: failed to create shim task: OCI runtime create failed: ", logged)
	}
	if message = strings.TrimSpace(message); message != "" {
		return startFailure("failed to create task for container: failed to create shim task: OCI runtime create failed: ", message)
	}
	said, _ := os.ReadFile(filepath.Join(r.bundle(id), "conmon.log")) // absent: it said nothing
	return errs.New(errs.Unavailable, "conmon could not create container %s: %v: %s", id, cause, strings.TrimSpace(string(said)))
}
