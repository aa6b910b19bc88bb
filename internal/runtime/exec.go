//go:build linux

package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/engine"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// termGrace is how long an exec has to end after SIGTERM when its context ends.
const termGrace = 10 * time.Second

// outputGrace is how long an exec's output is waited for after its end: what it
// left in the background may hold it open for ever. Docker's too.
const outputGrace = 2 * time.Second

// execSession is a running exec.
type execSession struct {
	dir string
	io  *execIO
	cmd *exec.Cmd
	// done is closed when the runtime's process has been waited for; code is valid then.
	done chan struct{}
	code int
}

// Exec runs a process in a running container, with the OCI runtime as our
// child: it stays until the process ends, copies its streams and passes its
// exit code on. A program that is not there or can't be executed gives
// *engine.StartError and its code. When ctx ends the process gets SIGTERM, and
// SIGKILL 10 s later. After the detach keys it runs on by itself.
//
// To e.Env the OCI runtime adds HOME, of the user.
func (r *Runtime) Exec(ctx context.Context, e model.Exec, s model.Streams, started func(pid int)) (int, error) {
	if !validID(e.ID) {
		return 0, errs.New(errs.Invalid, "invalid exec ID %q", e.ID)
	}
	rec, err := r.live(e.ContainerID)
	if err != nil {
		return 0, err
	}
	x, err := r.startExec(rec, e, s)
	if err != nil {
		return 0, err
	}
	pid := x.waitStarted()
	if pid == 0 {
		<-x.done
		x.io.abandon()
		err := r.execFailure(rec, x)
		r.endExec(e.ID, x)
		var failed *engine.StartError
		if errors.As(err, &failed) {
			return failed.Code, err
		}
		return 0, err
	}
	if started != nil {
		started(pid)
	}
	streams := x.io.connect(s)
	ended, stop := processEnd(pid)
	defer stop()
	var late <-chan time.Time
	for {
		select {
		case <-ended:
			ended, late = nil, time.After(outputGrace)
		case <-late:
			if late = nil; !x.cutOff(pid) {
				late = time.After(outputGrace)
			}
		case err := <-streams.input:
			if errors.Is(err, model.ErrDetached) {
				go func() { <-x.done; x.io.abandon(); r.endExec(e.ID, x) }()
				return 0, err
			}
			streams.input = nil
		case err := <-streams.output: // all written, or the client is gone
			<-x.done
			r.endExec(e.ID, x)
			return x.code, err
		case <-ctx.Done():
			x.terminate(pid)
			x.io.abandon()
			r.endExec(e.ID, x)
			return x.code, ctx.Err()
		}
	}
}

// startExec starts the OCI runtime's exec.
func (r *Runtime) startExec(rec *record, e model.Exec, s model.Streams) (*execSession, error) {
	process, err := r.execProcess(rec, e)
	if err != nil {
		return nil, err
	}
	x := &execSession{dir: filepath.Join(r.execDir(), e.ID), done: make(chan struct{})}
	if err := os.Mkdir(x.dir, 0o700); err != nil {
		return nil, fmt.Errorf("exec %s: %w", e.ID, err)
	}
	data, err := json.Marshal(process)
	if err == nil {
		err = os.WriteFile(x.file("process.json"), data, 0o600)
	}
	if err == nil {
		x.io, err = newExecIO(e.Tty, s.Stdin != nil)
	}
	if err != nil {
		_ = os.RemoveAll(x.dir)
		return nil, fmt.Errorf("exec %s: %w", e.ID, err)
	}
	x.cmd = exec.Command(r.runc.path, "--debug", "--root="+r.stateDir(), "--log="+x.file("log"), "--log-format=json", // cutOff reads it
		"exec", "--process", x.file("process.json"), "--pid-file", x.file("pid"), rec.ID)
	x.io.give(x.cmd)
	r.mu.Lock()
	r.execs[e.ID] = x
	r.mu.Unlock()
	err = x.cmd.Start()
	x.io.given()
	if err != nil {
		x.io.abandon()
		r.endExec(e.ID, x)
		return nil, errs.New(errs.Unavailable, "exec %s: %w", e.ID, err)
	}
	go func() {
		defer close(x.done)
		_ = x.cmd.Wait() // its status tells
		x.code = exitCode(x.cmd.ProcessState)
	}()
	return x, nil
}

func (x *execSession) file(name string) string { return filepath.Join(x.dir, name) }

// exitCode is a shell's: 128+n for signal n.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// waitStarted gives the process's pid once the runtime has written it, 0 if it
// ended without.
func (x *execSession) waitStarted() int {
	for wait := time.Millisecond; ; wait = min(wait+time.Millisecond, 20*time.Millisecond) {
		ended := false
		select {
		case <-x.done:
			ended = true
		case <-time.After(wait):
		}
		if pid := readPid(x.file("pid")); pid != 0 || ended {
			return pid
		}
	}
}

// terminate ends the process, politely first, and waits for the runtime.
func (x *execSession) terminate(pid int) {
	ticks, err := startTicks(pid)
	if err == nil {
		_ = signalProcess(pid, ticks, unix.SIGTERM)
	}
	select {
	case <-x.done:
		return
	case <-time.After(termGrace):
	}
	if err == nil {
		_ = signalProcess(pid, ticks, unix.SIGKILL)
	}
	select {
	case <-x.done:
	case <-time.After(termGrace): // something else holds its output open
		_ = x.cmd.Process.Kill()
		<-x.done
	}
}

// processEnd gives a channel that is closed when the process has ended.
func processEnd(pid int) (ended <-chan struct{}, stop func()) {
	ticks, err := startTicks(pid)
	if err == nil {
		ended, stop, err = whenGone(pid, ticks)
	}
	switch {
	case err == nil:
		return ended, stop
	case sameProcess(pid, ticks): // before Linux 5.10: its output is waited for
		return nil, func() {}
	}
	gone := make(chan struct{})
	close(gone)
	return gone, func() {}
}

// cutOff ends the runtime after the process, whose exit code it knows but does
// not give before all output is read: what the process left in the background
// holds that open. The code is in the runtime's debug log; false: not yet.
func (x *execSession) cutOff(pid int) bool {
	select {
	case <-x.done:
	default:
		code, known := loggedExit(x.file("log"), pid)
		if !known {
			return false
		}
		_ = x.cmd.Process.Kill()
		<-x.done
		x.code = code
	}
	x.io.abandon()
	return true
}

// loggedExit finds the line of runc's log that tells of a process's end
// (signals.go: "process exited").
func loggedExit(file string, pid int) (code int, ok bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(data) {
		var entry struct {
			Msg         string
			Pid, Status int
		}
		if json.Unmarshal(line, &entry) == nil && entry.Msg == "process exited" && entry.Pid == pid {
			return entry.Status, true
		}
	}
	return 0, false
}

func (r *Runtime) endExec(id string, x *execSession) {
	r.mu.Lock()
	delete(r.execs, id)
	r.mu.Unlock()
	x.io.close()
	if err := os.RemoveAll(x.dir); err != nil {
		r.log.Warn("remove exec", "exec", id, "error", err)
	}
}

// execFailure says why an exec did not start, in Docker's words.
func (r *Runtime) execFailure(rec *record, x *execSession) error {
	message := lastRuntimeError(x.file("log"))
	if !rec.alive() || strings.Contains(message, "stopped container") {
		return errs.New(errs.Conflict, "container %s is not running", rec.ID)
	}
	if message == "" {
		message = fmt.Sprintf("%s ended with code %d and no message", r.runc.path, x.code)
	}
	return startFailure("OCI runtime exec failed: ", message)
}

// execProcess describes the process: the container's own, with what differs.
func (r *Runtime) execProcess(rec *record, e model.Exec) (*specs.Process, error) {
	if len(e.Cmd) == 0 {
		return nil, errs.New(errs.Invalid, "no exec command specified")
	}
	var spec specs.Spec
	data, err := os.ReadFile(filepath.Join(r.bundle(rec.ID), "config.json"))
	if err == nil {
		err = json.Unmarshal(data, &spec)
	}
	if err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", rec.ID, err)
	}
	p := spec.Process
	p.Args, p.Env, p.Terminal, p.ConsoleSize = e.Cmd, e.Env, e.Tty, nil
	if e.WorkingDir != "" {
		if !path.IsAbs(e.WorkingDir) {
			return nil, errs.New(errs.Invalid, "Cwd must be an absolute path, but is %q", e.WorkingDir)
		}
		p.Cwd = path.Clean(e.WorkingDir)
	}
	if e.User != "" {
		if p.User, err = resolveUser(spec.Root.Path, e.User, e.GroupAdd); err != nil {
			return nil, err
		}
	}
	if e.Privileged {
		p.Capabilities = capabilitySets(availableCaps())
	}
	return p, nil
}

// ExecResize sets the size of an exec's terminal.
func (r *Runtime) ExecResize(_ context.Context, execID string, rows, cols uint) error {
	r.mu.Lock()
	x := r.execs[execID]
	r.mu.Unlock()
	if x == nil {
		return errs.New(errs.NotFound, "No such exec instance: %s", execID)
	}
	return x.io.resize(rows, cols)
}
