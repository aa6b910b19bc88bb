package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func nicRig(t *testing.T) *rig {
	w := newWorld(t)
	w.hostLinks = map[string]*model.HostLink{
		"lan0": {Name: "lan0", Type: "bridge"}, "wan0": {Name: "wan0", Type: "device", Addrs: []netip.Addr{netip.MustParseAddr("10.7.0.1")}},
		"jvours": {Name: "jvours", Type: "veth", Ours: true}, "lo": {Name: "lo", Type: "device"}, "wan1": {Name: "wan1", Type: "device"},
	}
	return w.engine()
}

// interfaces lists a container's interfaces.
func (r *rig) interfaces(t *testing.T, ref string) string {
	t.Helper()
	views, err := r.NICs(ref)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, v := range views {
		out = append(out, fmt.Sprintf("%s:%s:%s", v.NIC.Name, v.NIC.Kind, v.NIC.On))
	}
	return strings.Join(out, " ")
}

func TestNICKinds(t *testing.T) {
	r := nicRig(t)
	web := r.runContainer(t, "web", "serve")
	for _, req := range []model.NICRequest{
		{On: "bridge"}, {On: "lan0"}, {On: "br9", Name: "lan"}, {On: "wan0"}, {On: "wan0", VLAN: 5}, {On: "ovs0"},
	} {
		if _, err := r.AddNIC(t.Context(), "web", req); err != nil {
			t.Errorf("%+v: %v", req, err)
		}
	}
	want := "eth0:network:bridge eth1:network:bridge eth2:bridge:lan0 lan:bridge:br9 eth3:macvlan:wan0 eth4:vlan:wan0 eth5:ovs:ovs0"
	if got := r.interfaces(t, "web"); got != want {
		t.Errorf("interfaces\n%s, want\n%s", got, want)
	}
	for _, n := range r.container(web).NICs {
		if made := n.On == "br9" || n.On == "ovs0"; n.Made != made || n.MAC == "" {
			t.Errorf("%+v", n)
		}
	}
	// The first of two on a network goes, and the other takes its place.
	if err := r.RemoveNIC(t.Context(), "web", "eth0"); err != nil {
		t.Error(err)
	}
	if ep := r.Snapshot().ByContainer[web][0]; ep.Extra || ep.Interface != "eth1" {
		t.Errorf("%+v", ep)
	}
	r.noLeaks(t)
}

// What is refused, and what fails, leaves nothing.
func TestNICRefused(t *testing.T) {
	r := nicRig(t)
	ctx := t.Context()
	web := r.runContainer(t, "web", "serve")
	other := r.runContainer(t, "other", "serve")
	r.runContainer(t, "hosted", "serve", onNetwork("host"))
	r.runContainer(t, "joined", "serve", onNetwork("container:web"))
	if _, err := r.AddNIC(ctx, "other", model.NICRequest{On: "wan0", Direct: true}); err != nil {
		t.Fatal(err)
	}
	_ = other
	p := netip.MustParsePrefix
	for _, tt := range []struct {
		ref  string
		req  model.NICRequest
		kind errs.Kind
		want string
	}{
		{"nobody", model.NICRequest{On: "lan0"}, errs.NotFound, "No such container: nobody"},
		{"hosted", model.NICRequest{On: "lan0"}, errs.Invalid, "container hosted is in the host's network"},
		{"joined", model.NICRequest{On: "lan0"}, errs.Invalid, "container joined is in the network of container web"},
		{"web", model.NICRequest{}, errs.Invalid, "--on"},
		{"web", model.NICRequest{On: "nowhere"}, errs.NotFound, "no network, bridge or device of that name"},
		{"web", model.NICRequest{On: "jvours"}, errs.Invalid, "Jackstay's own"},
		{"web", model.NICRequest{On: "lo"}, errs.Invalid, "loopback"},
		{"web", model.NICRequest{On: "host"}, errs.Invalid, "no bridge"},
		{"web", model.NICRequest{On: "wan0"}, errs.Conflict, "the device is in container other, whole"},
		{"web", model.NICRequest{On: "dummy0"}, errs.Unavailable, "no dummy here"},
		{"web", model.NICRequest{On: "lan0", Name: "eth0"}, errs.Conflict, "has an interface eth0 already"},
		{"web", model.NICRequest{On: "lan0", Addrs: []netip.Prefix{p("10.0.0.0/24")}}, errs.Invalid, "subnet's own"},
		{"web", model.NICRequest{On: "lan0", Addrs: []netip.Prefix{p("10.0.0.1/24"), p("10.0.0.1/16")}}, errs.Invalid, "given twice"},
		{"web", model.NICRequest{On: "lan0", DHCP: true, Addrs: []netip.Prefix{p("10.0.0.1/24")}}, errs.Invalid, "not both"},
		{"web", model.NICRequest{On: "bridge", Addrs: []netip.Prefix{p("172.17.0.2/16")}}, errs.Forbidden, "172.17.0.2"},
		{"web", model.NICRequest{On: "bridge", Addrs: []netip.Prefix{p("10.0.0.1/24")}}, errs.Invalid, "10.0.0.1"},
		{"web", model.NICRequest{On: "lan0", Routes: []model.Route{{Dst: p("10.0.0.0/8"), Via: netip.MustParseAddr("10.9.0.1")}}}, errs.Invalid, "in no subnet"},
	} {
		_, err := r.AddNIC(ctx, tt.ref, tt.req)
		if !errs.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %+v: %v", tt.ref, tt.req, err)
		}
	}
	if err := r.change(web, func(c *model.Container) error { c.Rates.In.Every, c.Host.Privileged = 1e6, true; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.AddNIC(ctx, "web", model.NICRequest{On: "wan1"}); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "which its interface eth1 can't be: a macvlan") {
		t.Errorf("a macvlan of a limited container: %v", err)
	}
	r.w.failWait.Store(true)
	for _, on := range []string{"lan0", "bridge"} {
		if _, err := r.AddNIC(ctx, "web", model.NICRequest{On: on}); err == nil {
			t.Errorf("a NIC on %s whose network fails", on)
		}
	}
	if err := r.ChangeRoute(ctx, "web", "add", model.Route{Dst: p("10.0.0.0/8"), Via: netip.MustParseAddr("172.17.0.9")}); err == nil {
		t.Error("a route that fails")
	}
	r.w.failWait.Store(false)
	if got := r.interfaces(t, "web"); got != "eth0:network:bridge" || len(r.container(web).Routes) > 0 {
		t.Errorf("left: %s, %v", got, r.container(web).Routes)
	}
	r.noLeaks(t)
}

// fakeDHCP gives the same address for ten seconds, as often as it may.
type fakeDHCP struct {
	mu     sync.Mutex
	clock  *fakeClock
	refuse error
	renew  error // what Renew says
	log    []string
}

func (d *fakeDHCP) note(what string) (*model.DHCPLease, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, what)
	now := d.clock.Now()
	return &model.DHCPLease{
		Address: netip.MustParsePrefix("10.5.0.7/24"), Held: true,
		Renew: now.Add(5 * time.Second), Rebind: now.Add(8 * time.Second), Expires: now.Add(10 * time.Second),
	}, d.refuse
}

func (d *fakeDHCP) set(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuse = err
}

func (d *fakeDHCP) did() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.log, " ")
}

func (d *fakeDHCP) Acquire(_ context.Context, _, _, _ string, last *model.DHCPLease) (*model.DHCPLease, error) {
	what := "acquire"
	if last != nil {
		what = "again"
	}
	return d.note(what)
}

func (d *fakeDHCP) Renew(_ context.Context, _, _ string, _ *model.DHCPLease, rebind bool) (*model.DHCPLease, error) {
	what := "renew"
	if rebind {
		what = "rebind"
	}
	l, err := d.note(what)
	d.mu.Lock()
	defer d.mu.Unlock()
	return l, errors.Join(err, d.renew)
}

func (d *fakeDHCP) Release(string, string, *model.DHCPLease) error {
	_, err := d.note("release")
	return err
}

func TestLeaseKeeper(t *testing.T) {
	w := newWorld(t)
	w.hostLinks = map[string]*model.HostLink{"lan0": {Name: "lan0", Type: "bridge"}}
	d := &fakeDHCP{clock: w.clock}
	r := w.engine(func(o *Options) { o.DHCP = d })
	web := r.runContainer(t, "web", "serve")
	d.set(errs.New(errs.Unavailable, "nobody answers"))
	if _, err := r.AddNIC(t.Context(), "web", model.NICRequest{On: "lan0", DHCP: true}); err == nil || r.interfaces(t, "web") != "eth0:network:bridge" {
		t.Errorf("without a server: %v, %s", err, r.interfaces(t, "web"))
	}
	d.set(nil)
	d.log = nil
	v, err := r.AddNIC(t.Context(), "web", model.NICRequest{On: "lan0", DHCP: true})
	if err != nil || len(v.NIC.Addrs) != 1 {
		t.Fatalf("%+v, %v", v, err)
	}
	after := func(by time.Duration, want string, held bool) {
		t.Helper()
		// The keeper waits for its time before it is moved on.
		eventually(t, "the keeper waits", func() bool { _, ok := w.clock.next(); return ok })
		w.clock.Advance(by)
		eventually(t, want, func() bool {
			n := r.container(web).NICs[0]
			return strings.HasPrefix(d.did(), want) && n.Lease.Held == held
		})
	}
	after(5*time.Second, "acquire renew", true)
	d.set(errs.New(errs.Unavailable, "nobody answers"))
	after(5*time.Second, "acquire renew renew", true)
	after(4*time.Second, "acquire renew renew rebind", true)
	after(3*time.Second, "acquire renew renew rebind again", false)
	d.set(nil)
	after(20*time.Second, "acquire renew renew rebind again again", true)
	if err := r.RemoveNIC(t.Context(), "web", "eth1"); err != nil || !strings.HasSuffix(d.did(), "release") {
		t.Errorf("%v: %s", err, d.did())
	}
	r.noLeaks(t)
}

func TestRoutesInside(t *testing.T) {
	r := nicRig(t)
	ctx := t.Context()
	r.runContainer(t, "web", "serve")
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	ten := model.Route{Dst: p("10.0.0.0/8"), Via: a("172.17.0.9")}
	step := func(op string, route model.Route, want string) {
		t.Helper()
		err := r.ChangeRoute(ctx, "web", op, route)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s %+v: %v, want %q", op, route, err, want)
		}
	}
	step("add", ten, "")
	step("add", ten, "has the route 10.0.0.0/8 via 172.17.0.9 already")
	step("replace", model.Route{Dst: ten.Dst, Dev: "eth0"}, "")
	step("add", model.Route{Dst: ten.Dst, Via: ten.Via, Metric: 7}, "")
	step("del", model.Route{Dst: ten.Dst, Via: a("172.17.0.8")}, "no such route")
	step("del", model.Route{Dst: ten.Dst}, "")
	step("del", model.Route{}, "") // the network's own
	step("del", model.Route{}, "no such route")
	step("add", model.Route{Via: a("172.17.0.7")}, "")
	step("flush", ten, "unknown change")
	step("add", model.Route{Dst: p("10.1.0.0/16"), Dev: "eth0", Src: a("10.9.9.9")}, "src 10.9.9.9 is no address of container web")
	step("add", model.Route{Dst: p("10.1.0.0/16"), Via: a("172.17.0.2")}, "the gateway 172.17.0.2 is the container's own address, on eth0")
	step("add", model.Route{Dst: p("10.1.0.0/16"), Dev: "eth0", Via: a("172.17.0.2"), OnLink: true}, "own address")
	step("add", model.Route{Dst: p("10.1.0.0/16"), Dev: "eth0", Src: a("172.17.0.2")}, "")
	step("del", model.Route{Dst: p("10.1.0.0/16")}, "")
	got, _ := r.Routes("web")
	if strings.Join(got, "; ") != "10.0.0.0/8 via 172.17.0.9 metric 7; default via 172.17.0.7" {
		t.Errorf("routes %q", got)
	}
	for range 2 {
		_ = r.ChangeRule(ctx, "web", "add", model.RouteRule{From: p("10.0.0.0/8"), Table: 7})
	}
	_ = r.ChangeRule(ctx, "web", "add", model.RouteRule{IIf: "eth0", Table: 8})
	got, _ = r.Rules("web")
	if strings.Join(got, "; ") != "priority 32698 from all iif eth0 lookup 8; priority 32699 from 10.0.0.0/8 lookup 7" {
		t.Errorf("rules %q", got)
	}
}
