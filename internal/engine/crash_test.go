package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// step is something a user does; confirmed tells what holds once it answered.
type step struct {
	name      string
	do        func(t *testing.T, r *rig) error
	confirmed func(r *rig) error
	mayGo     bool // it ends the thing
}

func byName(r *rig, name string) *model.Container {
	c, _ := r.FindContainer(name)
	return c
}

func mustStatus(name string, want ...model.Status) func(r *rig) error {
	return func(r *rig) error {
		c := byName(r, name)
		if c == nil {
			return fmt.Errorf("%s is gone", name)
		}
		for _, w := range want {
			if c.State.Status == w {
				return nil
			}
		}
		return fmt.Errorf("%s is %s, not %v", name, c.State.Status, want)
	}
}

func mustBeGone(name string) func(r *rig) error {
	return func(r *rig) error {
		if byName(r, name) != nil {
			return fmt.Errorf("%s is there", name)
		}
		return nil
	}
}

// story touches every port: what a few users do in a minute.
func story() []step {
	vol := func(q *model.CreateRequest) {
		q.Host.Binds = []string{"data:/data"}
		q.Config.Volumes = []string{"/anon"}
	}
	return []step{
		{"network create", func(t *testing.T, r *rig) error {
			_, _, err := r.CreateNetwork(t.Context(), model.NetworkRequest{Name: "dev"})
			return err
		}, func(r *rig) error { _, err := r.FindNetwork("dev"); return err }, false},
		{"create web", func(t *testing.T, r *rig) error {
			_, err := r.tryCreate(t, "web", "serve", vol, publish("", 8080, 0, 80), restartPolicy("always", 0))
			return err
		}, mustStatus("web", model.StatusCreated), false},
		{"start web", func(t *testing.T, r *rig) error { return r.StartContainer(t.Context(), "web") }, mustStatus("web", model.StatusRunning), false},
		{"create job", func(t *testing.T, r *rig) error {
			_, err := r.tryCreate(t, "job", "serve", autoRemove, vol, onNetwork("dev"))
			return err
		}, mustStatus("job", model.StatusCreated), false},
		{"start job", func(t *testing.T, r *rig) error { return r.StartContainer(t.Context(), "job") }, mustStatus("job", model.StatusRunning), false},
		{"connect web", func(t *testing.T, r *rig) error {
			return r.ConnectNetwork(t.Context(), "dev", "web", model.EndpointRequest{Aliases: []string{"www"}})
		}, func(r *rig) error {
			if c := byName(r, "web"); c == nil || len(r.Snapshot().ByContainer[c.ID]) != 2 {
				return errors.New("web is not on dev")
			}
			return nil
		}, false},
		{"restart web", func(t *testing.T, r *rig) error { return r.RestartContainer(t.Context(), "web", "", nil) }, mustStatus("web", model.StatusRunning), false},
		{"stop job", func(t *testing.T, r *rig) error { return r.StopContainer(t.Context(), "job", "", nil) }, nil, true},
		{"stop web", func(t *testing.T, r *rig) error { return r.StopContainer(t.Context(), "web", "", nil) }, mustStatus("web", model.StatusExited), false},
		{"rm web", func(t *testing.T, r *rig) error {
			return r.RemoveContainer(t.Context(), "web", model.RemoveOptions{Force: true, Volumes: true})
		}, mustBeGone("web"), true},
	}
}

// TestKilledAnywhere kills the engine at every call it makes of the world, one
// per run, and checks that its successor finds all that was confirmed and
// leaves nothing over.
func TestKilledAnywhere(t *testing.T) {
	var tail bool
	for at := 1; !tail; at++ {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			w := newWorld(t)
			r := w.engine()
			r.noLeaks(t)
			w.mu.Lock()
			w.calls, w.log, w.killAt = 0, nil, at
			w.mu.Unlock()
			confirmed, during := playUntilKilled(t, r, story())
			if during == "" {
				eventually(t, "the end of the job", func() bool { return byName(r, "job") == nil })
				r.noLeaks(t)
				w.mu.Lock()
				tail = w.killedDB == "" // everything passed: no calls left to be killed at
				w.mu.Unlock()
				if tail {
					return
				}
			}
			killRecovery(w, 1+at%9)
			next := w.engine()
			for _, c := range confirmed {
				if err := c(next); err != nil {
					t.Errorf("killed at %s during %q: confirmed and lost: %v", w.log[len(w.log)-1], during, err)
				}
			}
			next.noLeaks(t)
			useAgain(t, next)
		})
		if at > 200 {
			t.Fatal("the story never ends")
		}
	}
}

// killRecovery lets the next engine be killed too, at one of its first calls,
// if it makes as many.
func killRecovery(w *world, at int) {
	r := w.start()
	w.mu.Lock()
	w.killAt = at
	w.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		if err := r.Recover(w.t.Context()); err != nil {
			w.t.Error(err)
		}
		r.run()
		<-r.finished
		close(ended)
	}()
	for range 2000 {
		w.mu.Lock()
		killed := w.killedDB != ""
		w.mu.Unlock()
		select {
		case <-ended: // it made fewer calls: it is ended as any daemon
			r.Close()
			_ = r.store.Close()
			w.killedDB = w.dbPath()
			return
		default:
		}
		if killed {
			time.Sleep(5 * time.Millisecond)
			return
		}
		time.Sleep(time.Millisecond)
	}
	w.t.Error("the recovery neither ends nor is killed")
}

// playUntilKilled does the steps until the engine is killed, and gives what
// must hold: what the last confirmed step about each thing said.
func playUntilKilled(t *testing.T, r *rig, steps []step) (confirmed []func(*rig) error, during string) {
	last := map[string]func(*rig) error{}
	for _, s := range steps {
		thing := s.name[strings.LastIndex(s.name, " ")+1:]
		done := make(chan error, 1)
		go func() { done <- s.do(t, r) }()
		killed := make(chan struct{})
		go func() {
			for range 5000 {
				r.w.mu.Lock()
				dead := r.w.gen != r.gen
				r.w.mu.Unlock()
				if dead {
					time.Sleep(5 * time.Millisecond) // what needs no port may still be done
					close(killed)
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			delete(last, thing)
			if s.confirmed != nil {
				last[thing] = s.confirmed
			}
		case <-killed:
			during = s.name
			if last[thing] != nil && s.mayGo {
				delete(last, thing)
			} else if last[thing] != nil { // half done or not: it is there
				last[thing] = func(r *rig) error {
					_, err := r.FindContainer(thing)
					return err
				}
			}
		}
		if during != "" {
			break
		}
	}
	for _, c := range last {
		confirmed = append(confirmed, c)
	}
	return confirmed, during
}

// useAgain checks that what is there can be used: names and ports are free or
// taken by somebody.
func useAgain(t *testing.T, r *rig) {
	t.Helper()
	if c := byName(r, "web"); c != nil {
		if err := r.RemoveContainer(t.Context(), "web", model.RemoveOptions{Force: true, Volumes: true}); err != nil {
			t.Errorf("remove what was left: %v", err)
		}
	}
	id := r.create(t, "web", "serve", publish("", 8080, 0, 80))
	if err := r.StartContainer(t.Context(), id); err != nil {
		t.Errorf("start with the port of before: %v", err)
	}
	r.noLeaks(t)
}

// TestFailedAnywhere lets every call of the world fail once: the operation
// fails with the reason, or the failure is cleaned up after, and nothing
// half-made is left.
func TestFailedAnywhere(t *testing.T) {
	ops := map[string]func(t *testing.T, r *rig) error{
		"create": func(t *testing.T, r *rig) error {
			_, err := r.tryCreate(t, "new", "serve", func(q *model.CreateRequest) { q.Host.Binds = []string{"fresh:/data"} })
			return err
		},
		"start":  func(t *testing.T, r *rig) error { return r.StartContainer(t.Context(), "web") },
		"run rm": func(t *testing.T, r *rig) error { return r.StartContainer(t.Context(), "auto") },
		"network": func(t *testing.T, r *rig) error {
			_, _, err := r.CreateNetwork(t.Context(), model.NetworkRequest{Name: "new"})
			return err
		},
		"connect": func(t *testing.T, r *rig) error {
			return r.ConnectNetwork(t.Context(), "dev", "up", model.EndpointRequest{})
		},
	}
	for name, op := range ops {
		for at := 1; ; at++ {
			w := newWorld(t)
			r := w.engine()
			if _, _, err := r.CreateNetwork(t.Context(), model.NetworkRequest{Name: "dev"}); err != nil {
				t.Fatal(err)
			}
			r.create(t, "web", "serve", publish("", 8080, 0, 80))
			r.create(t, "auto", "serve", autoRemove)
			r.runContainer(t, "up", "serve")
			r.noLeaks(t)
			before := len(r.Snapshot().Endpoints)
			w.mu.Lock()
			w.calls, w.failAt, w.log = 0, at, nil
			w.mu.Unlock()
			err := op(t, r)
			w.mu.Lock()
			reached, log := w.calls >= at, w.log
			w.failAt = 0
			w.mu.Unlock()
			if !reached {
				break
			}
			failed := log[at-1]
			if err == nil || !strings.Contains(err.Error(), failed+": the disk is on fire") {
				t.Errorf("%s, failing at %s: %v", name, failed, err)
			}
			r.noLeaks(t)
			after := len(r.Snapshot().Endpoints)
			if name == "run rm" {
				after++ // it is removed with its failed start
			}
			if after != before {
				t.Errorf("%s, failing at %s: %d endpoints, %d before", name, failed, after, before)
			}
			if name == "start" {
				if err := op(t, r); err != nil {
					t.Errorf("start after a start that failed at %s: %v", failed, err)
				}
			}
			if at > 50 {
				t.Fatal("too many calls")
			}
		}
	}
}

func TestRecoverFindsWhatHappenedMeanwhile(t *testing.T) {
	w := newWorld(t)
	r := w.engine()
	ids := map[string]string{}
	for name, mods := range map[string][]func(*model.CreateRequest){
		"stays": nil, "ends": nil, "auto": {autoRemove}, "always": {restartPolicy("always", 0)},
		"failing": {restartPolicy("on-failure", 0)}, "fine": {restartPolicy("on-failure", 0)},
		"unless": {restartPolicy("unless-stopped", 0)}, "stopped": {restartPolicy("unless-stopped", 0)},
		"stoppedalways": {restartPolicy("always", 0)},
	} {
		ids[name] = r.runContainer(t, name, "serve", mods...)
	}
	idle := r.create(t, "idle", "serve", restartPolicy("always", 0))
	for _, name := range []string{"stopped", "stoppedalways"} {
		if err := r.StopContainer(t.Context(), name, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	pid := r.container(ids["stays"]).State.Pid
	r.Close()
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	w.killedDB = w.dbPath()
	for name, code := range map[string]int{"ends": 3, "auto": 0, "always": 0, "failing": 1, "fine": 0, "unless": 0} {
		w.end(ids[name], code)
	}
	r = w.start()
	if err := r.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := r.container(ids["ends"]); c.State.Status != model.StatusExited || c.State.ExitCode != 3 || !c.State.FinishedAt.Equal(w.endOf(ids["ends"])) && w.endOf(ids["ends"]) != (time.Time{}) {
		t.Errorf("ended meanwhile: %+v", c.State)
	}
	r.run()
	for name, want := range map[string]model.Status{
		"stays": model.StatusRunning, "ends": model.StatusExited, "always": model.StatusRunning,
		"failing": model.StatusRunning, "fine": model.StatusExited, "unless": model.StatusRunning,
		"stopped": model.StatusExited, "stoppedalways": model.StatusRunning,
	} {
		r.eventuallyStatus(t, ids[name], want)
	}
	r.noLeaks(t)
	if r.container(ids["auto"]) != nil {
		t.Error("--rm is still there")
	}
	if c := r.container(idle); c.State.Status != model.StatusCreated {
		t.Errorf("one that never ran is %s", c.State.Status)
	}
	if c := r.container(ids["stays"]); c.State.Pid != pid {
		t.Error("the running one was touched")
	}
}

func (w *world) endOf(id string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.procs[id]; p != nil {
		return p.ended
	}
	return time.Time{}
}

func TestReboot(t *testing.T) {
	w := newWorld(t)
	r := w.engine()
	web := r.runContainer(t, "web", "serve", restartPolicy("always", 0), publish("", 0, 0, 80))
	job := r.runContainer(t, "job", "serve")
	auto := r.runContainer(t, "auto", "serve", autoRemove)
	port, addr := r.container(web).Ports[0].HostPort, r.Snapshot().ByContainer[web][0].IPv4
	r.Close()
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	w.killedDB = w.dbPath()
	w.procs = map[string]*proc{} // nothing outlives it
	for id := range w.layers {
		w.layers[id] = false
	}
	r = w.engine()
	r.eventuallyStatus(t, web, model.StatusRunning)
	r.noLeaks(t)
	if c := r.container(job); c.State.Status != model.StatusExited || c.State.ExitCode != 255 {
		t.Errorf("after the reboot: %+v", c.State)
	}
	if r.container(auto) != nil {
		t.Error("--rm is still there")
	}
	if got := r.Snapshot().ByContainer[web][0].IPv4; got != addr {
		t.Errorf("address %s, not %s", got, addr)
	}
	if got := r.container(web).Ports[0].HostPort; got != port {
		t.Errorf("port %d, not %d", got, port)
	}
}

func TestRecoverIsQuick(t *testing.T) {
	w := newWorld(t)
	r := w.engine()
	for i := range 100 {
		r.runContainer(t, fmt.Sprintf("c%d", i), "serve")
	}
	r.Close()
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	w.killedDB = w.dbPath()
	r = w.start()
	began := time.Now()
	if err := r.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("recovery of 100 running containers took %s", time.Since(began))
	r.noLeaks(t)
}

func TestDefaultNetworkAvoidsTheHost(t *testing.T) {
	w := newWorld(t)
	w.routes = []netip.Prefix{netip.MustParsePrefix("172.17.5.0/24")}
	r := w.engine()
	n, err := r.FindNetwork("bridge")
	if err != nil {
		t.Fatal(err)
	}
	if n.Subnets[0].Prefix.Overlaps(w.routes[0]) || !n.Subnets[0].Prefix.Contains(n.Subnets[0].Gateway) {
		t.Errorf("subnet %+v", n.Subnets[0])
	}
	for _, name := range []string{"bridge", "host", "none"} {
		want := name + " is a pre-defined network and cannot be removed"
		if err := r.RemoveNetwork(t.Context(), name); !errs.Is(err, errs.Forbidden) || err.Error() != want {
			t.Errorf("rm %s: %v", name, err)
		}
	}
	id := n.ID
	r.Close()
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	w.killedDB, w.routes = w.dbPath(), nil
	if n, _ = w.engine().FindNetwork("bridge"); n.ID != id {
		t.Error("the default network was made anew")
	}
}
