package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// due waits until a restart waits for its time and gives how long it has to.
func (r *rig) due(t *testing.T) time.Duration {
	t.Helper()
	var d time.Duration
	eventually(t, "a restart that waits", func() (ok bool) { d, ok = r.clock.next(); return ok })
	return d.Round(time.Millisecond)
}

func TestRestartPolicies(t *testing.T) {
	for _, tc := range []struct {
		policy  model.RestartPolicy
		code    int
		restart bool
	}{
		{model.RestartPolicy{}, 1, false},
		{model.RestartPolicy{Name: "no"}, 1, false},
		{model.RestartPolicy{Name: "always"}, 0, true},
		{model.RestartPolicy{Name: "unless-stopped"}, 0, true},
		{model.RestartPolicy{Name: "on-failure"}, 1, true},
		{model.RestartPolicy{Name: "on-failure"}, 0, false},
	} {
		r := newWorld(t).engine()
		id := r.runContainer(t, "web", "serve", restartPolicy(tc.policy.Name, tc.policy.MaxRetries))
		r.w.end(id, tc.code)
		if !tc.restart {
			r.eventuallyStatus(t, id, model.StatusExited)
			r.noLeaks(t)
			continue
		}
		r.eventuallyStatus(t, id, model.StatusRestarting)
		if d := r.due(t); d != 100*time.Millisecond {
			t.Errorf("%+v: first wait %s", tc.policy, d)
		}
		if !r.container(id).Active {
			t.Error("the network is given up while it waits")
		}
		r.clock.Advance(time.Second)
		r.eventuallyStatus(t, id, model.StatusRunning)
		if n := r.container(id).State.RestartCount; n != 1 {
			t.Errorf("restart count %d", n)
		}
		// A user's stop ends it.
		if err := r.StopContainer(t.Context(), id, "", nil); err != nil {
			t.Fatal(err)
		}
		r.eventuallyStatus(t, id, model.StatusExited)
		r.noLeaks(t)
	}
}

func TestBackoff(t *testing.T) {
	r := newWorld(t).engine()
	id := r.runContainer(t, "web", "serve", restartPolicy("on-failure", 4))
	for _, want := range []time.Duration{100, 200, 400, 800} {
		r.w.end(id, 1)
		r.eventuallyStatus(t, id, model.StatusRestarting)
		if d := r.due(t); d != want*time.Millisecond {
			t.Errorf("wait %s, want %s", d, want*time.Millisecond)
		}
		r.clock.Advance(time.Minute)
		r.eventuallyStatus(t, id, model.StatusRunning)
	}
	r.w.end(id, 1) // the fifth failure is one too many
	r.eventuallyStatus(t, id, model.StatusExited)
	if err := r.StartContainer(t.Context(), id); err != nil || r.container(id).State.RestartCount != 0 {
		t.Errorf("a user's start begins anew: %v, count %d", err, r.container(id).State.RestartCount)
	}
}

func TestBackoffLimits(t *testing.T) {
	r := newWorld(t).engine()
	l := r.live("x")
	var got []string
	for range 12 {
		r.scheduleRestart(l, "x", time.Second)
		got = append(got, l.backoff.String())
	}
	r.scheduleRestart(l, "x", 10*time.Second)
	got = append(got, l.backoff.String())
	want := "[100ms 200ms 400ms 800ms 1.6s 3.2s 6.4s 12.8s 25.6s 51.2s 1m0s 1m0s 100ms]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestWhileItWaitsForItsRestart(t *testing.T) {
	for name, do := range map[string]func(r *rig, id string) error{
		"stop": func(r *rig, id string) error { return r.StopContainer(context.Background(), id, "", nil) },
		"kill": func(r *rig, id string) error { return r.KillContainer(context.Background(), id, "") },
		"rm -f": func(r *rig, id string) error {
			return r.RemoveContainer(context.Background(), id, model.RemoveOptions{Force: true})
		},
	} {
		r := newWorld(t).engine()
		id := r.runContainer(t, "web", "serve", restartPolicy("always", 0))
		r.w.end(id, 1)
		r.eventuallyStatus(t, id, model.StatusRestarting)
		r.due(t)
		if err := r.RemoveContainer(t.Context(), id, model.RemoveOptions{}); !errs.Is(err, errs.Conflict) ||
			err.Error() != `cannot remove container "/web": container is restarting: stop the container before removing or force remove` {
			t.Errorf("rm without force: %v", err)
		}
		if _, err := r.CreateExec(t.Context(), id, model.ExecRequest{Cmd: []string{"x"}}); err == nil || !strings.Contains(err.Error(), "is restarting, wait until") {
			t.Errorf("exec: %v", err)
		}
		if err := do(r, id); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		r.clock.Advance(time.Hour)
		time.Sleep(5 * time.Millisecond)
		if c := r.container(id); c != nil && c.State.Status != model.StatusExited {
			t.Errorf("%s: it is %s", name, c.State.Status)
		}
		r.noLeaks(t)
	}
}

func TestRemoveRefusals(t *testing.T) {
	r := newWorld(t).engine()
	id := r.runContainer(t, "web", "stubborn")
	for _, tc := range []struct{ ref, want string }{
		{"web", `cannot remove container "/web": container is running: stop the container before removing or force remove`},
		{"nobody", "No such container: nobody"},
	} {
		if err := r.RemoveContainer(t.Context(), tc.ref, model.RemoveOptions{}); err == nil || err.Error() != tc.want {
			t.Errorf("rm %s: %v, want %s", tc.ref, err, tc.want)
		}
	}
	if err := r.PauseContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveContainer(t.Context(), id, model.RemoveOptions{}); err == nil || !strings.HasSuffix(err.Error(), "container is paused and must be unpaused first") {
		t.Errorf("rm of a paused one: %v", err)
	}
	if err := r.RemoveContainer(t.Context(), id, model.RemoveOptions{Force: true}); err != nil {
		t.Errorf("rm -f of a paused one: %v", err)
	}
	r.noLeaks(t)
}

func TestEventsSinceAndUntil(t *testing.T) {
	r := newWorld(t).engine()
	base := r.clock.Now()
	for i := range eventsKept + 10 {
		r.Emit(model.Event{Type: "image", Action: fmt.Sprint(i), Time: base.Add(time.Duration(i) * time.Second)})
	}
	r.clock.Advance(time.Hour)
	read := func(since, until time.Duration) []string {
		evs, err := r.Events(t.Context(), base.Add(since*time.Second), base.Add(until*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for ev := range evs { // it ends: until is past
			out = append(out, ev.Action)
		}
		return out
	}
	if got := fmt.Sprint(read(20, 22)); got != "[20 21 22]" {
		t.Errorf("since 20 until 22: %s", got)
	}
	if got := read(0, 2000); len(got) != eventsKept || got[0] != "10" {
		t.Errorf("%d events from %s on", len(got), got[0])
	}
	// Live ones until then, beside one who never reads.
	if _, err := r.Events(t.Context(), time.Time{}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	evs, err := r.Events(t.Context(), time.Time{}, r.clock.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		r.Emit(model.Event{Type: "image", Action: "pull"})
	}
	for range 500 {
		if ev := <-evs; ev.Action != "pull" {
			t.Fatalf("event %+v", ev)
		}
	}
	r.clock.Advance(2 * time.Minute)
	select {
	case _, open := <-evs:
		if open {
			t.Error("an event after until")
		}
	case <-time.After(10 * time.Second):
		t.Error("it does not end")
	}
}

func TestEventAttributes(t *testing.T) {
	r := newWorld(t).engine()
	evs, _ := r.Events(t.Context(), time.Time{}, time.Time{})
	r.runContainer(t, "web", "false", config(func(c *model.Config) { c.Labels = map[string]string{"tier": "front"} }))
	for ev := range evs {
		if ev.Type == "container" && (ev.Attributes["name"] != "web" || ev.Attributes["image"] != "img" || ev.Attributes["tier"] != "front") {
			t.Errorf("%s: %v", ev.Action, ev.Attributes)
		}
		if ev.Action == "die" {
			if ev.Attributes["exitCode"] != "1" {
				t.Errorf("exit code %s", ev.Attributes["exitCode"])
			}
			return
		}
	}
}

func TestUpdate(t *testing.T) {
	r := newWorld(t).engine()
	id := r.runContainer(t, "web", "serve", host(func(h *model.HostConfig) { h.Resources.Memory = 64 << 20 }))
	if _, err := r.UpdateContainer(t.Context(), "web", model.UpdateRequest{
		Resources: model.Resources{NanoCPUs: 5e8}, RestartPolicy: &model.RestartPolicy{Name: "always"},
	}); err != nil {
		t.Fatal(err)
	}
	h := r.container(id).Host
	if h.Resources.NanoCPUs != 5e8 || h.Resources.Memory != 64<<20 || h.RestartPolicy.Name != "always" || r.w.procs[id].limits.NanoCPUs != 5e8 {
		t.Errorf("after update: %+v", h.Resources)
	}
	for _, tc := range []struct {
		u    model.UpdateRequest
		want string
	}{
		{model.UpdateRequest{Resources: model.Resources{Memory: 1}}, "Minimum memory limit allowed is 6MB"},
		{model.UpdateRequest{RestartPolicy: &model.RestartPolicy{Name: "x"}}, "invalid restart policy: unknown policy 'x'"},
	} {
		if _, err := r.UpdateContainer(t.Context(), "web", tc.u); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
	auto := r.create(t, "auto", "serve", autoRemove)
	if _, err := r.UpdateContainer(t.Context(), auto, model.UpdateRequest{RestartPolicy: &model.RestartPolicy{Name: "always"}}); err == nil {
		t.Error("a policy for --rm")
	}
}

func TestPruneAndInfo(t *testing.T) {
	r := newWorld(t).engine()
	up := r.runContainer(t, "up", "serve")
	down := r.create(t, "down", "serve")
	r.create(t, "kept", "serve")
	in, err := r.Info(t.Context())
	if err != nil || in.Containers != 3 || in.Running != 1 || in.Stopped != 2 || in.ID == "" {
		t.Errorf("info %+v %v", in, err)
	}
	ids, bytes, err := r.PruneContainers(t.Context(), func(c *model.Container) bool { return c.Name == "kept" })
	if err != nil || len(ids) != 1 || ids[0] != down || bytes != 10 {
		t.Errorf("prune took %v, %d bytes, %v", ids, bytes, err)
	}
	if r.container(up) == nil || byName(r, "kept") == nil {
		t.Error("prune took too much")
	}
	again := newWorld(t)
	again.root = r.w.root
	if id, _ := engineID(r.w.root + "/engine-id"); id != in.ID {
		t.Errorf("the engine's id changed: %s", id)
	}
}

func TestLookup(t *testing.T) {
	s := &model.Snapshot{
		Containers:     map[string]*model.Container{"abc1": {ID: "abc1"}, "abd2": {ID: "abd2", Name: "abc"}},
		ContainerNames: map[string]string{"abc": "abd2"},
	}
	for ref, want := range map[string]string{
		"abc1": "abc1", "abc": "abd2", "/abc": "abd2", "abd": "abd2",
		"ab": "Multiple IDs found with provided prefix: ab", "x": "No such container: x", "": `invalid name or ID supplied: ""`,
	} {
		c, err := findContainer(s, ref)
		if got := fmt.Sprint(err); err != nil && got != want || err == nil && c.ID != want {
			t.Errorf("%q: %v %v, want %s", ref, c, err, want)
		}
	}
}
