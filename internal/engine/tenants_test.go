package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// fakeSockets remembers who is served.
type fakeSockets struct {
	open []string
	fail error
}

func (s *fakeSockets) Set(_ context.Context, tenants []*model.Tenant) error {
	s.open = nil
	for _, t := range tenants {
		if s.fail != nil && t.Group == "bad" {
			return s.fail
		}
		s.open = append(s.open, t.Name)
	}
	return nil
}

func (s *fakeSockets) Path(tenant string) string { return "/sockets/" + tenant }

// as is the rig as a tenant has it.
func (r *rig) as(tenant string) *rig {
	t := *r
	t.Engine = r.For(tenant)
	return &t
}

func (r *rig) tenant(t *testing.T, name string) *rig {
	t.Helper()
	if _, err := r.CreateTenant(t.Context(), model.Tenant{Name: name, FIPQuota: model.Unlimited}); err != nil {
		t.Fatal(err)
	}
	return r.as(name)
}

func withVolume(name string) func(*model.CreateRequest) {
	return func(r *model.CreateRequest) { r.Host.Binds = append(r.Host.Binds, name+":/data") }
}

// A tenant's container has the tenant's volume of the name, also when the
// administrator's engine starts it again, and ends are the tenant's to see.
func TestTenantsContainersRestart(t *testing.T) {
	w := newWorld(t)
	r := w.engine()
	acme := r.tenant(t, "acme")
	if _, err := r.CreateVolume(t.Context(), model.VolumeRequest{Name: "data"}); err != nil {
		t.Fatal(err)
	}
	own := r.create(t, "web", "serve")
	id := acme.runContainer(t, "web", "serve", withVolume("data"), restartPolicy("always", 0))
	source := func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, m := range w.procs[id].spec.Mounts {
			if m.Destination == "/data" {
				return m.Source
			}
		}
		return ""
	}
	want := filepath.Join(w.root, "volumes", "data@acme", "_data")
	if got := source(); got != want {
		t.Errorf("the volume is at %s, want %s", got, want)
	}
	w.end(id, 1)
	acme.eventuallyStatus(t, id, model.StatusRestarting)
	r.clock.Advance(r.due(t))
	acme.eventuallyStatus(t, id, model.StatusRunning)
	if got := source(); got != want {
		t.Errorf("after a restart the volume is at %s, want %s", got, want)
	}
	if users := volumeUsers(r.Snapshot(), r.Snapshot().Volumes["data"]); len(users) > 0 {
		t.Errorf("the administrator's volume is used by %v", users)
	}
	if err := r.RemoveVolume(t.Context(), "data", false); err != nil {
		t.Errorf("remove the administrator's: %v", err)
	}
	if _, err := os.Stat(want); err != nil {
		t.Errorf("the tenant's went with it: %v", err)
	}
	for ref, found := range map[string]string{"web": own, "web@acme": id, id[:12]: id} {
		if c, err := r.FindContainer(ref); err != nil || c.ID != found {
			t.Errorf("%s as the administrator: %v %v", ref, c, err)
		}
	}
	// Renaming is within the tenant, whoever does it.
	if err := r.RenameContainer(t.Context(), "web@acme", "front"); err != nil {
		t.Fatal(err)
	}
	if c, err := acme.FindContainer("front"); err != nil || c.ID != id {
		t.Errorf("renamed by the administrator: %v %v", c, err)
	}
	if err := r.RenameContainer(t.Context(), "front@acme", "web"); err != nil {
		t.Errorf("to a name only the administrator has: %v", err)
	}
}

// Events are a tenant's own; the administrator sees whose.
func TestTenantsEvents(t *testing.T) {
	r := newWorld(t).engine()
	acme, umbrella := r.tenant(t, "acme"), r.tenant(t, "umbrella")
	acme.runContainer(t, "web", "serve")
	umbrella.runContainer(t, "web", "serve")
	r.Emit(model.Event{Type: "image", Action: "pull", ID: "img"})
	list := func(e *rig) (out []model.Event) {
		ch, err := e.Events(t.Context(), time.Unix(1, 0), e.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		for ev := range ch {
			out = append(out, ev)
		}
		return out
	}
	theirs := list(acme)
	if len(theirs) != 3 { // create, connect, start
		t.Errorf("acme's events: %v", theirs)
	}
	for _, ev := range theirs {
		if ev.Attributes["tenant"] != "" || ev.Tenant != "" {
			t.Errorf("an event tells a tenant of tenants: %v", ev)
		}
	}
	var whose []string
	for _, ev := range list(r) {
		if ev.Type == "container" {
			whose = append(whose, ev.Attributes["tenant"]+" "+ev.Action+" "+ev.Attributes["name"])
		}
	}
	if want := []string{"acme create web", "acme start web", "umbrella create web", "umbrella start web"}; !slices.Equal(whose, want) {
		t.Errorf("the administrator's: %v", whose)
	}
}

// A tenant that can't be served is not made, and one that goes leaves nothing,
// also when the daemon is killed over it.
func TestTenantsComeAndGo(t *testing.T) {
	w := newWorld(t)
	sockets := &fakeSockets{fail: errors.New("no such group")}
	r := w.engine(func(o *Options) { o.Sockets = sockets })
	if _, err := r.CreateTenant(t.Context(), model.Tenant{Name: "late", Group: "bad"}); err == nil || !strings.Contains(err.Error(), "no such group") {
		t.Errorf("a tenant without a socket: %v", err)
	}
	if s := r.Snapshot(); len(s.Tenants) != 0 || len(s.Networks) != 3 {
		t.Errorf("left behind: %v, %d networks", s.Tenants, len(s.Networks))
	}
	acme := r.tenant(t, "acme")
	r.tenant(t, "umbrella")
	if !slices.Equal(sockets.open, []string{"acme", "umbrella"}) {
		t.Errorf("served: %v", sockets.open)
	}
	bad := "bad"
	if _, err := r.UpdateTenant(t.Context(), "acme", model.TenantUpdate{Group: &bad}); err == nil || r.Snapshot().Tenants["acme"].Group != "" {
		t.Errorf("a group that is not there: %v, %+v", err, r.Snapshot().Tenants["acme"])
	}
	acme.runContainer(t, "web", "serve", withVolume("data"))
	if err := r.RemoveTenant(t.Context(), "acme", false); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "1 container, 1 volume") {
		t.Errorf("removing one that has something: %v", err)
	}
	if _, err := acme.tryCreate(t, "still", "serve"); err != nil {
		t.Errorf("a refused removal left its mark: %v", err)
	}
	// Only the administrator does such things.
	for _, err := range []error{
		acme.RemoveTenant(t.Context(), "umbrella", true),
		func() error { _, err := acme.CreateTenant(t.Context(), model.Tenant{Name: "x"}); return err }(),
		func() error { _, err := acme.UpdateTenant(t.Context(), "acme", model.TenantUpdate{}); return err }(),
		func() error { _, err := acme.AddFIPPool(t.Context(), "203.0.113.0/24", "eth0"); return err }(),
		acme.RemoveFIPPool(t.Context(), "203.0.113.0/24"),
	} {
		if !errs.Is(err, errs.Forbidden) {
			t.Errorf("as a tenant: %v", err)
		}
	}
}

// Killed at any moment while a tenant goes with all it has, the next start
// finishes it, and the other tenant is as it was.
func TestTenantRemovalIsFinished(t *testing.T) {
	for at := 1; ; at++ {
		w := newWorld(t)
		r := w.engine()
		acme, umbrella := r.tenant(t, "acme"), r.tenant(t, "umbrella")
		acme.runContainer(t, "web", "serve", withVolume("data"))
		acme.runContainer(t, "db", "serve")
		other := umbrella.runContainer(t, "web", "serve", withVolume("data"))
		w.mu.Lock()
		w.calls, w.killAt = 0, at
		w.mu.Unlock()
		done := make(chan error, 1)
		go func() { done <- r.RemoveTenant(t.Context(), "acme", true) }()
		killed := func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.killedDB != ""
		}
		eventually(t, "the removal or its end", func() bool { return killed() || len(done) > 0 })
		last := !killed()
		if last {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		} else {
			r = w.engine()
		}
		marked := r.Snapshot().Tenants["acme"] != nil && !r.Snapshot().Tenants["acme"].Removing
		if marked {
			t.Fatalf("killed at call %d: the tenant is there and is not being removed", at)
		}
		eventually(t, "the removal is finished", func() bool { return r.Snapshot().Tenants["acme"] == nil })
		for name, has := range store.Of(r.Snapshot(), "acme") {
			if has != 0 {
				t.Errorf("killed at call %d: %d %ss are left", at, has, name)
			}
		}
		r.noLeaks(t)
		if c := r.container(other); c == nil || !c.State.Running() || r.Snapshot().Volumes["data@umbrella"] == nil {
			t.Errorf("killed at call %d: the other tenant's container is %+v", at, c)
		}
		if last {
			if at < 4 {
				t.Errorf("only %d calls: nothing was killed", at)
			}
			return
		}
	}
}

// The administrator links inside a tenant: the alias is what the tenant calls
// the target. What is of different tenants is told so, whatever the link.
func TestAdministratorsLinks(t *testing.T) {
	r := newWorld(t).engine()
	acme, umbrella := r.tenant(t, "acme"), r.tenant(t, "umbrella")
	acme.create(t, "web", "serve")
	acme.create(t, "db", "serve")
	umbrella.create(t, "db", "serve")
	l, err := r.AddLink(t.Context(), "web@acme", model.LinkRequest{Target: "db@acme"})
	if err != nil || l.Alias != "db" || l.TargetID != acme.Snapshot().ContainerNames["db"] {
		t.Errorf("the link %+v: %v", l, err)
	}
	later, err := r.AddLink(t.Context(), "web@acme", model.LinkRequest{Target: "cache@acme", Wait: true})
	if err != nil || later.Alias != "cache" {
		t.Fatalf("the link that waits %+v: %v", later, err)
	}
	cache := acme.create(t, "cache", "serve")
	if got := r.Snapshot().Links[later.ID]; got == nil || got.TargetID != cache {
		t.Errorf("the link that waited leads to %+v, want %s", got, cache)
	}
	const apart = "they belong to different tenants"
	for _, target := range []string{"db@umbrella", "later@umbrella"} {
		_, err := r.AddLink(t.Context(), "web@acme", model.LinkRequest{Target: target, Wait: true, Alias: "other"})
		if want := "container web@acme can't be linked to container " + target + ": " + apart; errs.KindOf(err) != errs.Invalid || err.Error() != want {
			t.Errorf("link to %s: %v, want %q", target, err, want)
		}
	}
	if _, err := r.AddLink(t.Context(), "db@umbrella", model.LinkRequest{Target: "web@acme"}); err == nil || !strings.Contains(err.Error(), apart) {
		t.Errorf("link of db@umbrella to web@acme: %v", err)
	}
	_, err = r.tryCreate(t, "mine", "serve", func(q *model.CreateRequest) { q.Host.Links = []string{"db@acme"} })
	if errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), apart) {
		t.Errorf("run --link db@acme: %v", err)
	}
	if _, err := acme.AddLink(t.Context(), "web", model.LinkRequest{Target: "later@acme", Wait: true}); err == nil {
		t.Error("a tenant has names with @")
	}
}
