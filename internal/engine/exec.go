package engine

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// execKept is how long an ended exec can be inspected.
const execKept = 10 * time.Minute

// execs are the processes made by exec; they live as long as the daemon does.
type execs struct {
	mu sync.Mutex
	m  map[string]*execState
}

type execState struct {
	model.Exec
	started bool
	ended   time.Time
	size    [2]uint // rows, columns it starts with
}

func newExecs() *execs { return &execs{m: map[string]*execState{}} }

// add keeps a new exec, and lets go of those long ended.
func (x *execs) add(st *execState, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, old := range x.m {
		if !old.ended.IsZero() && now.Sub(old.ended) > execKept {
			delete(x.m, id)
		}
	}
	x.m[st.ID] = st
}

func (x *execs) get(id string) (execState, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	st := x.m[id]
	if st == nil {
		return execState{}, noSuchExec(id)
	}
	return *st, nil
}

// update changes an exec, if it is still kept.
func (x *execs) update(id string, f func(*execState) error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	st := x.m[id]
	if st == nil {
		return noSuchExec(id)
	}
	return f(st)
}

// drop forgets the execs of a container that have not started: they never will.
func (x *execs) drop(containerID string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, st := range x.m {
		if st.ContainerID == containerID && !st.started {
			delete(x.m, id)
		}
	}
}

// CreateExec prepares a process in a running container.
func (e *Engine) CreateExec(ctx context.Context, ref string, req model.ExecRequest) (id string, err error) {
	c, err := e.FindContainer(ref)
	if err != nil {
		return "", err
	}
	if err := checkExecutable(c); err != nil {
		return "", err
	}
	if len(req.Cmd) == 0 {
		return "", errs.New(errs.Invalid, "No exec command specified")
	}
	if req.DetachKeys != "" {
		if _, err := detachKeys(true, nil, req.DetachKeys); err != nil {
			return "", errs.New(errs.Invalid, "Invalid escape keys (%s) provided", req.DetachKeys)
		}
	}
	if req.Privileged {
		if err := e.administrators("exec --privileged"); err != nil {
			return "", err
		}
	}
	st := &execState{Exec: model.Exec{
		ID: alloc.ID(), ContainerID: c.ID, Cmd: slices.Clone(req.Cmd), User: req.User, GroupAdd: c.Host.GroupAdd, WorkingDir: req.WorkingDir,
		Tty: req.Tty, Privileged: req.Privileged, DetachKeys: req.DetachKeys,
		AttachStdin: req.AttachStdin, AttachStdout: req.AttachStdout, AttachStderr: req.AttachStderr,
	}, size: req.ConsoleSize}
	st.Env = overrideEnv(e.environment(e.store.Snapshot(), c, c.Config.Hostname, req.Tty), req.Env)
	if st.User == "" {
		st.User = c.Config.User
	}
	if st.WorkingDir == "" {
		st.WorkingDir = c.Config.WorkingDir
	}
	e.execs.add(st, e.clock.Now())
	e.containerEvent(c, "exec_create: "+strings.Join(st.Cmd, " "), "execID", st.ID)
	return st.ID, nil
}

func checkExecutable(c *model.Container) error {
	if err := checkRunning(c); err != nil {
		return err
	}
	if c.State.Status == model.StatusPaused {
		return errs.New(errs.Conflict, "Container %s is paused, unpause the container before exec", c.ID)
	}
	return nil
}

// FindExec gives an exec by its ID.
func (e *Engine) FindExec(id string) (model.Exec, error) {
	st, err := e.findExec(id)
	return st.Exec, err
}

// findExec gives an exec of a container that this engine sees.
func (e *Engine) findExec(id string) (execState, error) {
	st, err := e.execs.get(id)
	if err == nil && e.tenant != "" && e.store.Snapshot().Containers[st.ContainerID] == nil {
		return execState{}, noSuchExec(id)
	}
	return st, err
}

func noSuchExec(id string) error {
	return errs.New(errs.NotFound, "No such exec instance: %s", id)
}

// Execs lists the exec IDs of a container that run or are still to.
func (e *Engine) Execs(containerID string) []string {
	e.execs.mu.Lock()
	defer e.execs.mu.Unlock()
	var ids []string
	for id, st := range e.execs.m {
		if st.ContainerID == containerID && st.ExitCode == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// StartExec runs an exec to its end or detach; detached from the start, it
// returns once the process is there.
func (e *Engine) StartExec(ctx context.Context, id string, s model.Streams, detach bool, ready func() error) error {
	st, err := e.findExec(id)
	if err != nil {
		return err
	}
	c := e.store.Snapshot().Containers[st.ContainerID]
	if c == nil {
		return noSuchContainer(st.ContainerID)
	}
	if err := checkExecutable(c); err != nil {
		return err
	}
	if s.DetachKeys, err = detachKeys(st.Tty, s.DetachKeys, st.DetachKeys); err != nil {
		return err
	}
	if err := e.beginExec(id); err != nil {
		return err
	}
	if !detach && ready != nil {
		if err := ready(); err != nil {
			e.endExec(c, id, 126)
			return err
		}
	}
	e.containerEvent(c, "exec_start: "+strings.Join(st.Cmd, " "), "execID", id)
	if !detach {
		return e.runExec(ctx, c, st, s, func() {})
	}
	return e.runDetached(c, st)
}

// beginExec makes sure that an exec starts once.
func (e *Engine) beginExec(id string) error {
	return e.execs.update(id, func(st *execState) error {
		switch {
		case st.ExitCode != nil:
			return errs.New(errs.Conflict, "exec command %s has already run", id)
		case st.started:
			return errs.New(errs.Conflict, "exec command %s is already running", id)
		}
		st.started, st.Running = true, true
		return nil
	})
}

func (e *Engine) runDetached(c *model.Container, st execState) error {
	started, ended := make(chan struct{}), make(chan error, 1)
	// It outlives the daemon as its container does: Close does not wait for it.
	go func() {
		ended <- e.runExec(context.WithoutCancel(e.ctx), c, st, model.Streams{}, sync.OnceFunc(func() { close(started) }))
	}()
	select {
	case <-started:
		return nil
	case err := <-ended:
		return err
	case <-e.ctx.Done():
		return errs.New(errs.Unavailable, "the daemon is stopping")
	}
}

// runExec runs the process and records how it went.
func (e *Engine) runExec(ctx context.Context, c *model.Container, st execState, s model.Streams, started func()) error {
	code, err := e.runtime.Exec(ctx, st.Exec, s, func(pid int) {
		_ = e.execs.update(st.ID, func(st *execState) error { st.Pid = pid; return nil }) // forgotten: nobody asks
		if st.Tty && st.size != [2]uint{} {
			if err := e.runtime.ExecResize(ctx, st.ID, st.size[0], st.size[1]); err != nil {
				e.log.Warn("an exec's terminal can't be resized", "exec", st.ID, "error", err)
			}
		}
		started()
	})
	if errors.Is(err, model.ErrDetached) {
		e.containerEvent(c, "exec_detach", "execID", st.ID)
		return err
	}
	if err != nil {
		code = 126
		var program *StartError
		if errors.As(err, &program) {
			code = program.Code
		}
		if ctx.Err() != nil {
			code = 137 // killed with its client
		}
	}
	e.endExec(c, st.ID, code)
	return startError(err)
}

func (e *Engine) endExec(c *model.Container, id string, code int) {
	_ = e.execs.update(id, func(st *execState) error { // forgotten: nobody asks
		st.Running, st.ExitCode, st.Pid, st.ended = false, &code, 0, e.clock.Now()
		return nil
	})
	e.containerEvent(c, "exec_die", "execID", id, "exitCode", strconv.Itoa(code))
}

// ResizeExec changes the size of an exec's terminal.
func (e *Engine) ResizeExec(ctx context.Context, id string, rows, cols uint) error {
	st, err := e.findExec(id)
	if err != nil {
		return err
	}
	if !st.Running {
		return errs.New(errs.Conflict, "exec %s is not running", id)
	}
	return e.runtime.ExecResize(ctx, id, rows, cols)
}
