package engine

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"syscall"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// fakeRuntime runs programs named for what they do: true and false end at once
// with 0 and 1, missing is not there, stubborn ignores SIGTERM, others serve
// until they get it.
type fakeRuntime struct {
	handle
	exits chan Exit
}

func (f *fakeRuntime) Check(h model.HostConfig) error {
	if slices.Contains(h.SecurityOpt, "apparmor=mine") {
		return errs.New(errs.Invalid, "AppArmor profiles are not supported")
	}
	return nil
}

func (f *fakeRuntime) Create(_ context.Context, spec RunSpec) (int, error) {
	if err := f.hit("Runtime.Create"); err != nil {
		return 0, err
	}
	id := spec.Container.ID
	if spec.Container.Path == "missing" {
		return 0, &StartError{Code: 127, Err: fmt.Errorf("exec: %q: executable file not found in $PATH: unknown", "missing")}
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if p := f.w.procs[id]; p != nil && p.state != "exited" {
		return 0, fmt.Errorf("container %s has a process already", id)
	}
	f.w.pids++
	f.w.procs[id] = &proc{spec: spec, pid: f.w.pids, state: "created"}
	return f.w.pids, nil
}

func (f *fakeRuntime) Start(_ context.Context, id string) error {
	if err := f.hit("Runtime.Start"); err != nil {
		return err
	}
	f.w.mu.Lock()
	p := f.w.procs[id]
	if p == nil || p.state != "created" {
		f.w.mu.Unlock()
		return fmt.Errorf("container %s is not created", id)
	}
	p.state, p.started = "running", f.r.clock.Now()
	path := p.spec.Container.Path
	f.w.mu.Unlock()
	switch path {
	case "true":
		f.w.end(id, 0)
	case "false":
		f.w.end(id, 1)
	}
	return nil
}

// end ends a process and tells the engine that lives.
func (w *world) end(id string, code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.procs[id]
	if p == nil || (p.state != "running" && p.state != "paused") {
		return
	}
	p.state, p.code, p.ended = "exited", code, w.clock.Now()
	w.exits <- Exit{ID: id, ExitCode: code, FinishedAt: p.ended}
}

func (f *fakeRuntime) Signal(_ context.Context, id string, signal int) error {
	if err := f.hit("Runtime.Signal"); err != nil {
		return err
	}
	f.w.mu.Lock()
	p := f.w.procs[id]
	f.w.mu.Unlock()
	if p == nil || p.state == "exited" {
		return fmt.Errorf("container %s: no such process", id)
	}
	path := p.spec.Container.Path
	switch {
	case signal == int(syscall.SIGKILL):
		f.w.end(id, 137)
	case signal == int(syscall.SIGTERM) && path != "stubborn", signal == int(syscall.SIGINT) && path == "int":
		f.w.end(id, 128+signal)
	}
	return nil
}

func (f *fakeRuntime) setState(name, id, state string) error {
	if err := f.hit(name); err != nil {
		return err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if p := f.w.procs[id]; p != nil && p.state != "exited" {
		p.state = state
	}
	return nil
}

func (f *fakeRuntime) Pause(_ context.Context, id string) error {
	return f.setState("Runtime.Pause", id, "paused")
}

func (f *fakeRuntime) Resume(_ context.Context, id string) error {
	return f.setState("Runtime.Resume", id, "running")
}

func (f *fakeRuntime) Delete(_ context.Context, id string) error {
	if err := f.hit("Runtime.Delete"); err != nil {
		return err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	delete(f.w.procs, id)
	return nil
}

func (f *fakeRuntime) State(_ context.Context, id string) (RunState, error) {
	if err := f.hit("Runtime.State"); err != nil {
		return RunState{}, err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	p := f.w.procs[id]
	if p == nil {
		return RunState{}, nil
	}
	rs := RunState{Known: true, StartedAt: p.started}
	switch p.state {
	case "running", "paused":
		rs.Running, rs.Paused, rs.Pid = true, p.state == "paused", p.pid
	case "created":
		rs.Pid = p.pid
	case "exited":
		rs.Exited, rs.ExitCode, rs.FinishedAt = true, p.code, p.ended
	}
	return rs, nil
}

func (f *fakeRuntime) Exits() <-chan Exit { return f.exits }

func (f *fakeRuntime) Attach(ctx context.Context, id string, s model.Streams, ready func()) error {
	if err := f.hit("Runtime.Attach"); err != nil {
		return err
	}
	ready()
	if s.Stdout != nil {
		_, _ = io.WriteString(s.Stdout, "attached to "+f.w.stateOf(id))
	}
	<-ctx.Done()
	return ctx.Err()
}

func (w *world) stateOf(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.procs[id]; p != nil {
		return p.state
	}
	return "absent"
}

func (f *fakeRuntime) Resize(context.Context, string, uint, uint) error {
	return f.hit("Runtime.Resize")
}

func (f *fakeRuntime) Exec(_ context.Context, x model.Exec, s model.Streams, started func(int)) (int, error) {
	if err := f.hit("Runtime.Exec"); err != nil {
		return 0, err
	}
	if x.Cmd[0] == "missing" {
		return 0, &StartError{Code: 127, Err: fmt.Errorf("exec: \"missing\": executable file not found in $PATH")}
	}
	started(4711)
	if s.Stdout != nil {
		_, _ = io.WriteString(s.Stdout, strings.Join(x.Env, "\n"))
	}
	return 3, nil
}

func (f *fakeRuntime) ExecResize(context.Context, string, uint, uint) error {
	return f.hit("Runtime.ExecResize")
}

func (f *fakeRuntime) Top(context.Context, string, string) ([]string, [][]string, error) {
	return []string{"PID"}, [][]string{{"1"}}, f.hit("Runtime.Top")
}

func (f *fakeRuntime) Logs(_ context.Context, _ string, _ model.LogQuery, emit func(model.LogLine) error) error {
	if err := f.hit("Runtime.Logs"); err != nil {
		return err
	}
	return emit(model.LogLine{Data: []byte("logged\n")})
}

func (f *fakeRuntime) Stats(context.Context, string) (model.Stats, error) {
	return model.Stats{Pids: 1}, f.hit("Runtime.Stats")
}

func (f *fakeRuntime) Update(_ context.Context, id string, r model.Resources) error {
	if err := f.hit("Runtime.Update"); err != nil {
		return err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.procs[id].limits = r
	return nil
}

func (f *fakeRuntime) Version(context.Context) (model.RuntimeVersion, error) {
	return model.RuntimeVersion{Runtime: "runc"}, f.hit("Runtime.Version")
}

func (f *fakeRuntime) List(context.Context) ([]string, error) {
	if err := f.hit("Runtime.List"); err != nil {
		return nil, err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return slices.Collect(maps.Keys(f.w.procs)), nil
}
