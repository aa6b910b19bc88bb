package engine

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func TestLifeOfAContainer(t *testing.T) {
	r := newWorld(t).engine()
	evs, err := r.Events(t.Context(), time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	id := r.runContainer(t, "web", "serve")
	c := r.container(id)
	if c.State.Status != model.StatusRunning || !c.Active || c.State.Pid == 0 || c.State.StartedAt.IsZero() {
		t.Fatalf("after start: %+v", c.State)
	}
	addr := r.Snapshot().ByContainer[id][0].IPv4.String()
	if addr != "172.17.0.2/16" {
		t.Errorf("address %s", addr)
	}
	if err := r.StartContainer(t.Context(), "web"); !errs.Is(err, errs.NotModified) {
		t.Errorf("start of a running one: %v", err)
	}
	if err := r.StopContainer(t.Context(), id[:5], "", nil); err != nil {
		t.Fatal(err)
	}
	if c = r.container(id); c.State.Status != model.StatusExited || c.State.ExitCode != 143 || c.Active {
		t.Fatalf("after stop: %+v active=%v", c.State, c.Active)
	}
	if err := r.StopContainer(t.Context(), "web", "", nil); !errs.Is(err, errs.NotModified) {
		t.Errorf("stop of a stopped one: %v", err)
	}
	if err := r.StartContainer(t.Context(), "/web"); err != nil {
		t.Fatal(err)
	}
	if got := r.Snapshot().ByContainer[id][0].IPv4.String(); got != addr {
		t.Errorf("address after a restart: %s, not %s", got, addr)
	}
	if err := r.RemoveContainer(t.Context(), "web", model.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	r.noLeaks(t)
	want := "create connect start kill die disconnect stop connect start kill die disconnect destroy"
	if got := actions(evs, 13); got != want {
		t.Errorf("events\n %s, want\n %s", got, want)
	}
}

// actions reads n events.
func actions(evs <-chan model.Event, n int) string {
	var out []string
	for range n {
		select {
		case ev := <-evs:
			out = append(out, ev.Action)
		case <-time.After(10 * time.Second):
			out = append(out, "(nothing more)")
			return strings.Join(out, " ")
		}
	}
	return strings.Join(out, " ")
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	r := newWorld(t).engine()
	id := r.runContainer(t, "web", "stubborn")
	done := make(chan error, 1)
	seconds := 3
	go func() { done <- r.StopContainer(t.Context(), id, "", &seconds) }()
	eventually(t, "the wait for the end", func() bool { d, ok := r.clock.next(); return ok && d > 2*time.Second && d <= 3*time.Second })
	select {
	case err := <-done:
		t.Fatalf("stop returned before its time: %v", err)
	default:
	}
	r.clock.Advance(3 * time.Second)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if c := r.container(id); c.State.ExitCode != 137 {
		t.Errorf("exit code %d", c.State.ExitCode)
	}
}

func TestStopSignal(t *testing.T) {
	r := newWorld(t).engine()
	id := r.runContainer(t, "web", "int", func(q *model.CreateRequest) { q.Config.StopSignal = "SIGINT" })
	if err := r.StopContainer(t.Context(), id, "", nil); err != nil {
		t.Fatal(err)
	}
	if c := r.container(id); c.State.ExitCode != 130 {
		t.Errorf("exit code %d", c.State.ExitCode)
	}
}

func TestKillWithAnotherSignalIsNoStop(t *testing.T) {
	r := newWorld(t).engine()
	id := r.runContainer(t, "web", "serve", restartPolicy("always", 0))
	if err := r.KillContainer(t.Context(), id, "HUP"); err != nil {
		t.Fatal(err)
	}
	if r.container(id).ManuallyStopped {
		t.Error("SIGHUP counts as a stop")
	}
	if err := r.KillContainer(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if c := r.container(id); c.State.Status != model.StatusExited || c.State.ExitCode != 137 {
		t.Errorf("after kill: %+v", c.State)
	}
}

func TestPauseAndUnpause(t *testing.T) {
	r := newWorld(t).engine()
	id := r.runContainer(t, "web", "serve")
	for _, step := range []struct {
		do   func(context.Context, string) error
		err  string
		want model.Status
	}{
		{r.UnpauseContainer, "Container " + id + " is not paused", model.StatusRunning},
		{r.PauseContainer, "", model.StatusPaused},
		{r.PauseContainer, "Container " + id + " is already paused", model.StatusPaused},
		{r.StartContainer, "cannot start a paused container, try unpause instead", model.StatusPaused},
		{r.UnpauseContainer, "", model.StatusRunning},
		{r.PauseContainer, "", model.StatusPaused},
	} {
		if err := step.do(t.Context(), id); fmt.Sprint(err) != step.err && (err != nil || step.err != "") {
			t.Errorf("%v, want %q", err, step.err)
		}
		if got := r.container(id).State.Status; got != step.want {
			t.Errorf("status %s, want %s", got, step.want)
		}
	}
	if err := r.StopContainer(t.Context(), id, "", nil); err != nil {
		t.Errorf("stop of a paused one: %v", err)
	}
}

func TestFailedProgram(t *testing.T) {
	r := newWorld(t).engine()
	id := r.create(t, "web", "missing")
	err := r.StartContainer(t.Context(), id)
	if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "executable file not found in $PATH") {
		t.Fatalf("start: %v (kind %d)", err, errs.KindOf(err))
	}
	c := r.container(id)
	if c.State.Status != model.StatusCreated || c.State.ExitCode != 127 || !strings.Contains(c.State.Error, "not found") || c.Active {
		t.Errorf("after a failed start: %+v", c.State)
	}
	r.noLeaks(t)

	id = r.create(t, "gone", "missing", autoRemove)
	if err := r.StartContainer(t.Context(), id); err == nil {
		t.Error("no error")
	}
	if r.container(id) != nil {
		t.Error("--rm left a container that could not be started")
	}
}

func TestWaitConditions(t *testing.T) {
	r := newWorld(t).engine()
	wait := func(id string, cond model.WaitCondition) <-chan model.WaitResult {
		ch, err := r.WaitContainer(t.Context(), id, cond)
		if err != nil {
			t.Fatal(err)
		}
		return ch
	}
	pending := func(what string, ch <-chan model.WaitResult) {
		t.Helper()
		select {
		case x := <-ch:
			t.Errorf("%s: answered at once with %+v", what, x)
		case <-time.After(10 * time.Millisecond):
		}
	}
	result := func(what string, ch <-chan model.WaitResult, code int) {
		t.Helper()
		select {
		case x := <-ch:
			if x.ExitCode != code {
				t.Errorf("%s: exit code %d, want %d", what, x.ExitCode, code)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: no answer", what)
		}
	}
	id := r.create(t, "web", "serve")
	result("not-running of a created one", wait(id, model.WaitNotRunning), 0)
	next := wait(id, model.WaitNextExit)
	if err := r.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	running, removed := wait(id, model.WaitNotRunning), wait(id, model.WaitRemoved)
	pending("next-exit", next)
	pending("not-running", running)
	r.w.end(id, 7)
	result("next-exit", next, 7)
	result("not-running", running, 7)
	pending("removed", removed)
	if err := r.RemoveContainer(t.Context(), id, model.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	result("removed", removed, 7)

	id = r.create(t, "auto", "true", autoRemove)
	removed = wait(id, model.WaitRemoved)
	if err := r.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	result("removed with its end", removed, 0)
	if r.container(id) != nil {
		t.Error("answered before it was gone")
	}
	if _, err := r.WaitContainer(t.Context(), "web", "often"); !errs.Is(err, errs.Invalid) && !errs.Is(err, errs.NotFound) {
		t.Errorf("unknown condition: %v", err)
	}
	r.noLeaks(t)
}

func TestRestartKeepsNetworkAndPorts(t *testing.T) {
	r := newWorld(t).engine()
	id := r.runContainer(t, "web", "serve", publish("", 0, 0, 80))
	before := r.container(id).Ports
	r.store.Snapshot()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() { // watches every revision
		defer wg.Done()
		for {
			changed := r.store.Changed()
			if c := r.container(id); !c.Active || len(c.Ports) != 1 {
				t.Errorf("given up in a restart: active=%v ports=%v", c.Active, c.Ports)
			}
			select {
			case <-changed:
			case <-stop:
				return
			}
		}
	}()
	pid := r.container(id).State.Pid
	if err := r.RestartContainer(t.Context(), "web", "", nil); err != nil {
		t.Fatal(err)
	}
	close(stop)
	wg.Wait()
	c := r.container(id)
	if c.State.Status != model.StatusRunning || c.State.Pid == pid || c.Ports[0] != before[0] {
		t.Errorf("after restart: %+v %v", c.State, c.Ports)
	}
	if err := r.RestartContainer(t.Context(), "nobody", "", nil); !errs.Is(err, errs.NotFound) {
		t.Errorf("restart of nobody: %v", err)
	}
	// A stopped one is started.
	if err := r.StopContainer(t.Context(), id, "", nil); err != nil {
		t.Fatal(err)
	}
	if err := r.RestartContainer(t.Context(), id, "", nil); err != nil || r.container(id).State.Status != model.StatusRunning {
		t.Errorf("restart of a stopped one: %v", err)
	}
}

func TestAttachBeforeStartSeesTheFirstByte(t *testing.T) {
	r := newWorld(t).engine()
	id := r.create(t, "web", "serve")
	var out lockedBuffer
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- r.AttachContainer(ctx, id, model.Streams{Stdout: &out}, model.AttachOptions{Stream: true}, func() error { close(ready); return nil })
	}()
	<-ready
	if err := r.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "output", func() bool { return out.String() != "" })
	if got := out.String(); got != "attached to created" && got != "attached to running" {
		t.Errorf("output %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("attach: %v", err)
	}
	calls := strings.Join(r.w.log, " ")
	if strings.Index(calls, "Runtime.Attach") > strings.Index(calls, "Runtime.Start") {
		t.Errorf("started before the client was connected: %s", calls)
	}
}

func TestAttachOfAFailedStartEnds(t *testing.T) {
	r := newWorld(t).engine()
	id := r.create(t, "web", "missing")
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- r.AttachContainer(t.Context(), id, model.Streams{}, model.AttachOptions{Stream: true}, func() error { close(ready); return nil })
	}()
	<-ready
	if err := r.StartContainer(t.Context(), id); err == nil {
		t.Fatal("started")
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the client waits for ever")
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestExec(t *testing.T) {
	r := newWorld(t).engine()
	id := r.runContainer(t, "web", "serve", func(q *model.CreateRequest) { q.Config.Env = []string{"A=1", "B=2"} })
	var out lockedBuffer
	x, err := r.CreateExec(t.Context(), "web", model.ExecRequest{Cmd: []string{"env"}, Env: []string{"A=3"}, AttachStdout: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Execs(id); len(got) != 1 || got[0] != x {
		t.Errorf("execs %v", got)
	}
	if err := r.StartExec(t.Context(), x, model.Streams{Stdout: &out}, false, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "A=3") || !strings.Contains(got, "B=2") || strings.Contains(got, "A=1") {
		t.Errorf("environment %q", got)
	}
	x2, _ := r.CreateExec(t.Context(), "web", model.ExecRequest{Cmd: []string{"env"}, Env: []string{"A"}, Tty: true})
	if got, _ := r.FindExec(x2); !slices.Equal(got.Env, []string{defaultPath, "HOSTNAME=" + id[:12], "TERM=xterm", "B=2"}) {
		t.Errorf("environment with a terminal and without A: %q", got.Env)
	}
	if got, _ := r.FindExec(x); got.ExitCode == nil || *got.ExitCode != 3 || got.Running {
		t.Errorf("after its end: %+v", got)
	}
	if err := r.StartExec(t.Context(), x, model.Streams{}, true, nil); err == nil || !errs.Is(err, errs.Conflict) {
		t.Errorf("started twice: %v", err)
	}
	x, _ = r.CreateExec(t.Context(), "web", model.ExecRequest{Cmd: []string{"missing"}})
	if err := r.StartExec(t.Context(), x, model.Streams{}, true, nil); !errs.Is(err, errs.Invalid) {
		t.Errorf("missing program: %v", err)
	}
	if got, _ := r.FindExec(x); got.ExitCode == nil || *got.ExitCode != 127 {
		t.Errorf("exit code of a missing program: %+v", got)
	}
	if _, err := r.FindExec("beef"); err == nil || err.Error() != "No such exec instance: beef" {
		t.Errorf("unknown exec: %v", err)
	}
	if err := r.StopContainer(t.Context(), id, "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreateExec(t.Context(), "web", model.ExecRequest{Cmd: []string{"env"}}); err == nil || err.Error() != "container "+id+" is not running" {
		t.Errorf("exec in a stopped one: %v", err)
	}
}

func TestRename(t *testing.T) {
	r := newWorld(t).engine()
	id := r.runContainer(t, "web", "serve")
	other := r.create(t, "db", "serve")
	for name, want := range map[string]string{
		"db":  fmt.Sprintf("Error when allocating new name: Conflict. The container name \"/db\" is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", other),
		"web": "Renaming a container with the same name as its current name",
		"":    "Neither old nor new names may be empty",
		"a b": "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
	} {
		if err := r.RenameContainer(t.Context(), "web", name); err == nil || err.Error() != want {
			t.Errorf("rename to %q: %v, want %s", name, err, want)
		}
	}
	if err := r.RenameContainer(t.Context(), "web", "/www"); err != nil {
		t.Fatal(err)
	}
	if c, err := r.FindContainer("www"); err != nil || c.ID != id {
		t.Errorf("by the new name: %v", err)
	}
	if _, err := r.FindContainer("web"); err == nil || err.Error() != "No such container: web" {
		t.Errorf("by the old name: %v", err)
	}
}

func TestFiftyAtOnce(t *testing.T) {
	r := newWorld(t).engine()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			id, err := r.tryCreate(t, fmt.Sprintf("c%d", i), "serve", publish("", 0, 0, 80))
			if err == nil {
				err = r.StartContainer(t.Context(), id)
			}
			if err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	s := r.Snapshot()
	if len(s.Containers) != 50 || len(s.Ports) != 50 {
		t.Errorf("%d containers, %d ports", len(s.Containers), len(s.Ports))
	}
	r.noLeaks(t)
}

func TestOfManyCreatesOfOneNameOneSucceeds(t *testing.T) {
	r := newWorld(t).engine()
	count := func(create func() error, taken string) {
		t.Helper()
		var wg sync.WaitGroup
		var mu sync.Mutex
		made := 0
		for range 100 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				err := create()
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					made++
				} else if !strings.Contains(err.Error(), taken) || !errs.Is(err, errs.Conflict) {
					t.Error(err)
				}
			}()
		}
		wg.Wait()
		if made != 1 {
			t.Errorf("%d were made", made)
		}
	}
	count(func() error { _, _, err := r.CreateNetwork(t.Context(), model.NetworkRequest{Name: "dev"}); return err }, "network with name dev already exists")
	count(func() error { _, err := r.tryCreate(t, "web", "serve"); return err }, "is already in use by container")
	r.noLeaks(t)
}
