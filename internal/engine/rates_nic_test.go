package engine

import (
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Limits of single interfaces: by name at create, at update and with nic add,
// gone with the interface, refused where the host has no end of it.
func TestRatesOfInterfaces(t *testing.T) {
	r := nicRig(t)
	ctx := t.Context()
	labelled := func(in string) func(*model.CreateRequest) {
		return func(q *model.CreateRequest) { q.Config.Labels = map[string]string{"com.jackstay.net-rate-in": in} }
	}
	add := func(ref string, req model.NICRequest) {
		t.Helper()
		if _, err := r.AddNIC(ctx, ref, req); err != nil {
			t.Fatal(err)
		}
	}
	web := r.runContainer(t, "web", "serve", labelled("10mbit,eth0=5mbit"))
	add("web", model.NICRequest{On: "lan0", RateIn: "1mbit", RateOut: "2mbit"})
	add("web", model.NICRequest{On: "bridge", Name: "twin", RateIn: "none"})
	bare := r.runContainer(t, "bare", "serve", onNetwork("none"))
	add("bare", model.NICRequest{On: "br9"})
	for _, step := range []struct {
		ref  string
		u    model.UpdateRequest
		want string
	}{
		{"web", model.UpdateRequest{}, "10mbit,eth0=5mbit,eth1=1mbit,twin=none / none,eth1=2mbit"},
		{"web", limits("bridge=7mbit", "eth1=none,twin=3mbit"), "10mbit,bridge=7mbit,eth0=5mbit,eth1=1mbit,twin=none / none,eth1=none,twin=3mbit"},
		{"bare", limits("4mbit", "eth1=5mbit"), "4mbit / none,eth1=5mbit"},
	} {
		if _, err := r.UpdateContainer(ctx, step.ref, step.u); err != nil {
			t.Errorf("%+v: %v", step.u, err)
		}
		if got := r.rates(map[string]string{"web": web, "bare": bare}[step.ref]); got != step.want {
			t.Errorf("%+v: %s, want %s", step.u, got, step.want)
		}
	}
	// What has the name later has no limit of its own.
	for _, name := range []string{"eth1", "twin"} {
		if err := r.RemoveNIC(ctx, "web", name); err != nil {
			t.Error(err)
		}
	}
	add("web", model.NICRequest{On: "lan0", Name: "twin"})
	if err := r.DisconnectNetwork(ctx, "bridge", "web", false); err != nil {
		t.Error(err)
	}
	if got := r.rates(web); got != "10mbit,bridge=7mbit / none" || len(r.container(web).Rates.In.On) != 1 {
		t.Errorf("the interfaces are gone, the limits are %s (%v)", got, r.container(web).Rates)
	}

	// A macvlan is limited inside: but not where the container could lift that.
	add("web", model.NICRequest{On: "wan0"})
	if _, err := r.UpdateContainer(ctx, "web", limits("20mbit,eth1=1mbit", "eth1=2mbit")); err != nil {
		t.Error(err)
	}
	if got := r.rates(web); got != "20mbit,eth1=1mbit / none,eth1=2mbit" {
		t.Errorf("a macvlan: %s", got)
	}
	if _, err := r.TC(ctx, "web", strings.Fields("qdisc add dev eth1 root fq")); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "interface eth1 of container web, a macvlan, has its limits") {
		t.Errorf("tc on a macvlan with limits: %v", err)
	}
	if _, err := r.UpdateContainer(ctx, "web", limits("eth1=none", "eth1=none")); err != nil {
		t.Error(err)
	}
	if _, err := r.TC(ctx, "web", strings.Fields("qdisc add dev eth1 root fq")); err != nil {
		t.Error(err)
	}
	if _, err := r.UpdateContainer(ctx, "web", limits("", "eth1=2mbit")); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "jackstay tc web qdisc del dev eth1 root") {
		t.Errorf("limits of a macvlan with tc: %v", err)
	}
	if _, err := r.TC(ctx, "web", strings.Fields("qdisc del dev eth1 root")); err != nil {
		t.Error(err)
	}
	if err := r.change(web, func(c *model.Container) error { c.Host.CapAdd = []string{"cap_net_admin"}; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.UpdateContainer(ctx, "web", limits("20mbit,eth1=none", "")); err != nil {
		t.Error(err)
	}
	before := r.rates(web)
	for _, tt := range []struct {
		u    model.UpdateRequest
		kind errs.Kind
		want string
	}{
		{limits("eth1=1mbit", ""), errs.Conflict, "the rate of interface eth1 of container web can't be limited: a macvlan has no end on the host, and a limit inside could be lifted by the container, which has CAP_NET_ADMIN"},
		{limits("20mbit", ""), errs.Conflict, "which its interface eth1 can't be: a macvlan"},
		{limits("", "eth7=1mbit"), errs.Invalid, "no network or interface of that name: it has the interfaces twin, eth1"},
		{limits("bridge=1mbit", ""), errs.Invalid, "container web is not connected to it: it has the interfaces twin, eth1"},
	} {
		if _, err := r.UpdateContainer(ctx, "web", tt.u); !errs.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %s", tt.u, err, tt.want)
		}
	}
	for _, tt := range []struct {
		req  model.NICRequest
		want string
	}{
		{model.NICRequest{On: "wan0", RateIn: "1mbit"}, "the rate of interface eth2 of container web can't be limited: a macvlan"},
		{model.NICRequest{On: "wan1", Direct: true, RateIn: "none", RateOut: "1mbit"}, "of container web can't be limited: a direct"},
		{model.NICRequest{On: "wan1"}, "which its interface eth2 can't be"},
		{model.NICRequest{On: "lan0", RateOut: "fast"}, `invalid rate "fast"`},
		{model.NICRequest{On: "lan0", RateOut: "lan0=1mbit"}, "invalid rate"},
	} {
		if _, err := r.AddNIC(ctx, "web", tt.req); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %s", tt.req, err, tt.want)
		}
	}
	for _, tt := range []struct {
		host model.HostConfig
		want bool
	}{
		{model.HostConfig{}, false},
		{model.HostConfig{Privileged: true}, true},
		{model.HostConfig{CapAdd: []string{"ALL"}}, true},
		{model.HostConfig{CapAdd: []string{"all"}, CapDrop: []string{"NET_ADMIN"}}, false},
		{model.HostConfig{CapAdd: []string{"NET_RAW"}, CapDrop: []string{"ALL"}}, false},
		{model.HostConfig{CapAdd: []string{"NET_ADMIN"}, CapDrop: []string{"ALL"}}, true},
	} {
		if got := administersNetwork(&tt.host); got != tt.want {
			t.Errorf("%+v administers its network: %t", tt.host, got)
		}
	}
	dummy := &model.NIC{ID: "d", Kind: model.NICDummy, Name: "dum0"}
	if err := limitable(&model.Container{Name: "web"}, dummy, model.Rates{In: model.Rate{On: map[string]uint64{"d": 1e6}}}); err == nil || !strings.Contains(err.Error(), "nothing passes through a dummy") {
		t.Errorf("a dummy: %v", err)
	}
	q := model.CreateRequest{Image: "img"}
	labelled("eth1=1mbit")(&q)
	if _, _, err := r.CreateContainer(ctx, q); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "it is on bridge and has the interfaces eth0") {
		t.Errorf("create with another's interface: %v", err)
	}
	r.w.noRates = errs.New(errs.Unavailable, "this kernel has no token buckets")
	if _, err := r.AddNIC(ctx, "web", model.NICRequest{On: "lan0", RateIn: "1mbit"}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("nic add without the kernel's help: %v", err)
	}
	if got := r.rates(web); got != before || r.interfaces(t, "web") != "twin:bridge:lan0 eth1:macvlan:wan0" {
		t.Errorf("refused changes left %s, %s", got, r.interfaces(t, "web"))
	}
	r.noLeaks(t)
}
