package engine

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/model"
)

// A route that comes where a network is, and goes, is an event each, and shown
// in between; another one is nothing.
func TestOverlaps(t *testing.T) {
	w := newWorld(t)
	r := w.engine()
	ctx := t.Context()
	dev, _, err := r.CreateNetwork(ctx, model.NetworkRequest{Name: "dev", Subnets: []model.SubnetRequest{{Prefix: "10.9.0.0/24"}}})
	if err != nil {
		t.Fatal(err)
	}
	events, err := r.Events(ctx, time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	routes := func(prefixes ...string) {
		w.mu.Lock()
		w.routes = nil
		for _, p := range prefixes {
			w.routes = append(w.routes, netip.MustParsePrefix(p))
		}
		w.mu.Unlock()
		w.routesMoved <- struct{}{}
	}
	next := func() string {
		t.Helper()
		select {
		case ev := <-events:
			return strings.Join([]string{ev.Type, ev.Action, ev.ID, ev.Attributes["name"], ev.Attributes["subnet"], ev.Attributes["route"], ev.Attributes["device"]}, " ")
		case <-time.After(5 * time.Second):
			t.Fatal("no event")
			return ""
		}
	}
	routes("192.168.0.0/16", "10.8.0.0/16")
	if got := r.Overlaps(""); len(got) != 0 {
		t.Errorf("none overlaps: %v", got)
	}
	for _, step := range []struct {
		routes []string
		event  string
		warns  string
	}{
		{[]string{"10.0.0.0/8"}, "network overlap " + dev + " dev 10.9.0.0/24 10.0.0.0/8 eth0", "what has the network's addresses there is not reached"},
		{[]string{"10.0.0.0/8", "10.9.0.128/25"}, "network overlap " + dev + " dev 10.9.0.0/24 10.9.0.128/25 eth0", "containers with such addresses may not be reached"},
		{[]string{"10.9.0.128/25"}, "network overlap-gone " + dev + " dev 10.9.0.0/24 10.0.0.0/8 eth0", "10.9.0.128/25 by eth0"},
		{nil, "network overlap-gone " + dev + " dev 10.9.0.0/24 10.9.0.128/25 eth0", ""},
	} {
		routes(step.routes...)
		if got := next(); got != step.event {
			t.Errorf("%v: %s, want %s", step.routes, got, step.event)
		}
		if got := len(r.Overlaps(dev)); got != len(step.routes) {
			t.Errorf("%v: %v", step.routes, r.Overlaps(dev))
		}
		info, err := r.Info(ctx)
		if err != nil || !strings.Contains(strings.Join(info.Warnings, "\n"), step.warns) || len(info.Warnings) != len(step.routes) {
			t.Errorf("%v: info warns of %q, want %s", step.routes, info.Warnings, step.warns)
		}
	}
	if !r.routeMatters(netip.MustParsePrefix("10.9.0.7/32")) || r.routeMatters(netip.MustParsePrefix("10.8.0.0/16")) || r.routeMatters(netip.Prefix{}) {
		t.Error("only what overlaps a network matters, and links while something does")
	}
}

// What the firewall lacks is shown to the administrator, not to tenants.
func TestInfoWarns(t *testing.T) {
	r := newWorld(t).start(func(o *Options) { o.Warnings = func() []string { return []string{"no tables with an owner"} } })
	if _, err := r.CreateTenant(t.Context(), model.Tenant{Name: "acme", FIPQuota: model.Unlimited}); err != nil {
		t.Fatal(err)
	}
	for tenant, want := range map[string]string{"": "WARNING: no tables with an owner", "acme": ""} {
		info, err := r.For(tenant).Info(t.Context())
		if err != nil || strings.Join(info.Warnings, "") != want {
			t.Errorf("%q: %q, %v", tenant, info.Warnings, err)
		}
	}
}
