package netplan

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// Each tenant's bridges reach the host at their own gateways and at the
// tenant's default one, which host-gateway stands for; names stay plain.
func TestTenants(t *testing.T) {
	w := newWorld()
	w.network("n0", "bridge", "172.17.0.0/16")
	for id, n := range map[string]struct{ name, subnet, tenant string }{
		"n1": {"bridge", "172.18.0.0/22", "acme"}, "n2": {"dev", "172.18.4.0/22", "acme"}, "n3": {"bridge", "172.18.8.0/22", "umbrella"},
	} {
		w.network(id, n.name, n.subnet).Tenant = n.tenant
	}
	for id, at := range map[string]string{"a": "n0 172.17.0.2", "b": "n2 172.18.4.2", "c": "n3 172.18.8.2"} {
		network, addr, _ := strings.Cut(at, " ")
		c := w.container(id, "web")
		c.Tenant = w.Networks[network].Tenant
		c.Host.ExtraHosts = []string{"host:host-gateway"}
		w.join(c, network, addr)
	}
	w.Tenants = map[string]*model.Tenant{"acme": {Name: "acme"}, "umbrella": {Name: "umbrella"}}
	store.Rebuild(w.Snapshot)
	s := Plan(w.Snapshot, Facts{})
	for id, want := range map[string]string{"a": "172.17.0.1\thost\n", "b": "172.18.0.1\thost\n", "c": "172.18.8.1\thost\n"} {
		if got := s.Sandboxes[id].Files[0].Content; !strings.Contains(got, want) {
			t.Errorf("hosts of %s: %q, want %q in it", id, got, want)
		}
	}
	for id, addr := range map[string]string{"n0": "172.17.0.2", "n2": "172.18.4.2", "n3": "172.18.8.2"} {
		if got := s.Zones.Networks[id].Names["web"]; len(got) != 1 || got[0].String() != addr {
			t.Errorf("web on %s: %v", id, got)
		}
	}
	keys := func(pairs ...string) map[desired.GatewayKey]struct{} {
		out := map[desired.GatewayKey]struct{}{}
		for i := 0; i < len(pairs); i += 2 {
			out[desired.GatewayKey{Bridge: pairs[i], Addr: netip.MustParseAddr(pairs[i+1])}] = struct{}{}
		}
		return out
	}
	fw := s.Firewall
	if want := keys("jk-n1", "172.18.0.1", "jk-n2", "172.18.0.1", "jk-n2", "172.18.4.1", "jk-n3", "172.18.8.1"); !maps.Equal(fw.OwnGateways, want) {
		t.Errorf("own gateways %v, want %v", fw.OwnGateways, want)
	}
	if len(fw.Gateways) != 4 || len(fw.Tenants) != 3 || len(fw.TenantNets) != 3 {
		t.Errorf("gateways %v, tenants %v, subnets %v", fw.Gateways, fw.Tenants, fw.TenantNets)
	}
	for name, own := range map[string]bool{"jk-n0": false, "jk-n1": true, "jk-n2": true, "jk-n3": true} {
		if s.Bridges[name].OwnARP != own {
			t.Errorf("bridge %s: OwnARP %t", name, s.Bridges[name].OwnARP)
		}
	}
	// Without tenants nothing of this is planned.
	w = newWorld()
	w.network("n0", "bridge", "172.17.0.0/16")
	store.Rebuild(w.Snapshot)
	if fw := Plan(w.Snapshot, Facts{}).Firewall; fw.Tenants != nil || fw.Gateways != nil || fw.OwnGateways != nil || fw.TenantNets != nil {
		t.Errorf("planned without tenants: %+v", fw)
	}
}

// A tenant's name servers are left out where somebody else's network came to be,
// by a planner with a memory too, and come back when it is gone.
func TestTenantsUpstreams(t *testing.T) {
	w := newWorld()
	w.network("n1", "bridge", "172.18.0.0/22").Tenant = "acme"
	for id, tenant := range map[string]string{"a": "acme", "b": ""} {
		c := w.container(id, "web")
		c.Tenant, c.Host.DNS = tenant, addrs("10.9.0.1", "127.0.0.1", "172.18.0.9", "9.9.9.9")
		w.join(c, "n1", "172.18.0."+map[string]string{"a": "2", "b": "3"}[id])
	}
	w.Tenants = map[string]*model.Tenant{"acme": {Name: "acme"}}
	var pl Planner
	check := func(when string, want ...string) {
		t.Helper()
		views := pl.Plan(w.snapshot(), Facts{}).Zones.Views
		var got []string
		for _, u := range views["a"].Upstreams {
			got = append(got, u.Addr().String())
		}
		if !slices.Equal(got, want) || len(views["b"].Upstreams) != 4 {
			t.Errorf("%s: %v, want %v; the administrator's %v", when, got, want, views["b"].Upstreams)
		}
	}
	check("before", "10.9.0.1", "172.18.0.9", "9.9.9.9")
	w.network("n2", "theirs", "10.9.0.0/24")
	check("with a network there", "172.18.0.9", "9.9.9.9")
	delete(w.Networks, "n2")
	check("without it again", "10.9.0.1", "172.18.0.9", "9.9.9.9")
}
