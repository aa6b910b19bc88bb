package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// addresses tells each container's addresses: by which it is reached, and
// behind a slash the one inside if that is another.
func (r *rig) addresses(ids ...string) string {
	var out []string
	for _, id := range ids {
		ep := r.Snapshot().ByContainer[id][0]
		word := ep.IPv4.Addr().String()
		if ep.Inside4.IsValid() && ep.Inside4 != ep.IPv4 {
			word += "/" + ep.Inside4.Addr().String()
		}
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

// Addresses go round, through swaps, stops and starts, and nobody ever has one
// that is on another's interface.
func TestSwapAddresses(t *testing.T) {
	r := newWorld(t).engine()
	ctx := t.Context()
	r.network(t, "dev", subnet("10.9.0.0/24"))
	var ids []string
	for _, name := range []string{"blue", "green", "red"} {
		ids = append(ids, r.runContainer(t, name, "serve", onNetwork("dev")))
	}
	for _, step := range []struct {
		do   func() error
		what string
		want string
	}{
		{func() error { return r.Swap(ctx, "blue", "green") }, "swap", "10.9.0.3/10.9.0.2 10.9.0.2/10.9.0.3 10.9.0.4"},
		{func() error { return r.Swap(ctx, "green", "red") }, "swap on", "10.9.0.3/10.9.0.2 10.9.0.4/10.9.0.3 10.9.0.2/10.9.0.4"},
		{func() error { return r.StopContainer(ctx, "blue", "", nil) }, "stop", "10.9.0.3/10.9.0.2 10.9.0.4/10.9.0.3 10.9.0.2/10.9.0.4"},
		// Its own is on green's interface: it gets another one inside.
		{func() error { return r.StartContainer(ctx, "blue") }, "start", "10.9.0.3/10.9.0.5 10.9.0.4/10.9.0.3 10.9.0.2/10.9.0.4"},
		{func() error { return r.Swap(ctx, "green", "blue") }, "swap again", "10.9.0.4/10.9.0.5 10.9.0.3 10.9.0.2/10.9.0.4"},
		{func() error { return r.StopContainer(ctx, "red", "", nil) }, "stop red", "10.9.0.4/10.9.0.5 10.9.0.3 10.9.0.2/10.9.0.4"},
		{func() error { return r.StartContainer(ctx, "red") }, "start red", "10.9.0.4/10.9.0.5 10.9.0.3 10.9.0.2"},
		{func() error {
			_, err := r.tryCreate(t, "new", "serve", onNetwork("dev"))
			return err
		}, "create", "10.9.0.4/10.9.0.5 10.9.0.3 10.9.0.2"},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if got := r.addresses(ids...); got != step.want {
			t.Errorf("after %s: %s, want %s", step.what, got, step.want)
		}
		if err := store.Check(r.Snapshot()); err != nil {
			t.Errorf("after %s: %v", step.what, err)
		}
	}
	leases, err := r.Leases("dev")
	if err != nil {
		t.Fatal(err)
	}
	if len(leases) != 6 { // the gateway, four containers, and the one that is only inside
		t.Errorf("leases: %+v", leases)
	}
	if got := r.addresses(r.Snapshot().ContainerNames["new"]); got != "10.9.0.6" {
		t.Errorf("a new container has %s", got)
	}
}

// Floating IPs change sides; one that only the new container has stays.
func TestSwapFIPs(t *testing.T) {
	r := fipRig(t, "203.0.113.16/29")
	ctx := t.Context()
	r.fips(t, 2)
	blue, green := r.runContainer(t, "blue", "serve"), r.runContainer(t, "green", "serve")
	of := func() string { return r.Snapshot().FIPOf[blue] + " " + r.Snapshot().FIPOf[green] }
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return r.AttachFIP(ctx, "203.0.113.17", "blue", false, true) }, "203.0.113.17 "},
		{func() error { return r.Swap(ctx, "blue", "green") }, " 203.0.113.17"},
		{func() error { return r.Swap(ctx, "blue", "green") }, " 203.0.113.17"},
		{func() error { return r.AttachFIP(ctx, "203.0.113.19", "blue", false, false) }, "203.0.113.19 203.0.113.17"},
		{func() error { return r.Swap(ctx, "blue", "green") }, "203.0.113.17 203.0.113.19"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if of() != step.want {
			t.Errorf("blue and green have %q, want %q", of(), step.want)
		}
	}
	f := r.Snapshot().FIPs["203.0.113.17"]
	if !f.ExposeOnly || f.Finishing != green {
		t.Errorf("after swaps: %+v", f)
	}
	if _, err := r.DetachFIP(ctx, "blue"); err != nil {
		t.Fatal(err)
	}
	if f = r.Snapshot().FIPs["203.0.113.17"]; f.ExposeOnly || f.Finishing != "" {
		t.Errorf("detached: %+v", f)
	}
}

// A container is created with its floating IP, or not at all.
func TestCreateWithFIP(t *testing.T) {
	r := fipRig(t, "203.0.113.16/29")
	ctx := t.Context()
	r.fips(t, 1)
	label := func(fip string) func(*model.CreateRequest) {
		return func(req *model.CreateRequest) { req.Config.Labels = map[string]string{"com.jackstay.fip": fip} }
	}
	web := r.create(t, "web", "serve", label("203.0.113.17"))
	auto := r.create(t, "auto", "serve", label("auto"))
	if s := r.Snapshot(); s.FIPOf[web] != "203.0.113.17" || s.FIPOf[auto] != "203.0.113.19" {
		t.Errorf("attached: %v", s.FIPOf)
	}
	before := fmt.Sprint(len(r.Snapshot().Containers), r.Snapshot().FIPOf, len(r.Snapshot().FIPs))
	for fip, want := range map[string]string{
		"203.0.113.17": "is attached to container web", "203.0.113.22": "no such floating IP", "": "give auto, or the address",
	} {
		if _, err := r.tryCreate(t, "late", "serve", label(fip)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", fip, err, want)
		}
	}
	if after := fmt.Sprint(len(r.Snapshot().Containers), r.Snapshot().FIPOf, len(r.Snapshot().FIPs)); after != before {
		t.Errorf("refused creations left %s, before %s", after, before)
	}
	for _, name := range []string{"auto", "web"} {
		if err := r.RemoveContainer(ctx, name, model.RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if s := r.Snapshot(); s.FIPs["203.0.113.17"] == nil || s.FIPs["203.0.113.19"] != nil {
		t.Errorf("left: %v", s.FIPs)
	}
}
