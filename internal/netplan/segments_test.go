package netplan

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// NICs on one segment have each a table for what leaves from its addresses;
// those that are alone on theirs have none.
func TestSharedSegments(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, p(s))
		}
		return out
	}
	w := newWorld()
	w.network("n", "dev", "10.1.0.0/24")
	c := w.container("aaaaaaaaaaaa", "c")
	w.join(c, "n", "10.1.0.2")
	c.NICs = []model.NIC{
		{ID: "00010", Kind: model.NICMacvlan, Name: "wan1", On: "wan0", Addrs: prefixes("10.9.0.1/24"), Gateways: []netip.Addr{a("10.9.0.254")}},
		{ID: "00011", Kind: model.NICMacvlan, Name: "wan2", On: "wan0", DHCP: true, Lease: &model.DHCPLease{Address: p("10.9.0.2/24"), Held: true}},
		{ID: "0000a", Kind: model.NICBridge, Name: "one", On: "br1", Addrs: prefixes("192.168.4.1/24", "192.168.4.2/24", "fd00::1/64")},
		{ID: "0000a2", Kind: model.NICBridge, Name: "two", On: "br1", Addrs: prefixes("192.168.4.3/24"), Gateways: []netip.Addr{a("192.168.4.250")}},
		{ID: "0000c", Kind: model.NICBridge, Name: "bare", On: "br1"},
		{ID: "0000d", Kind: model.NICBridge, Name: "far", On: "br1", Addrs: prefixes("192.168.9.1/24")},
		{ID: "0000e", Kind: model.NICBridge, Name: "tagged", On: "br1", VLAN: 5, Addrs: prefixes("192.168.4.9/24")},
		{ID: "00012", Kind: model.NICDummy, Name: "dum1", On: "dummy", Addrs: prefixes("10.8.0.1/24")},
		{ID: "00013", Kind: model.NICDummy, Name: "dum2", On: "dummy", Addrs: prefixes("10.8.0.2/24")},
	}
	c.Routes = []model.Route{
		{Dst: p("10.70.0.0/16"), Via: a("192.168.4.251"), Dev: "two", Metric: 5},
		{Dst: p("10.71.0.0/16"), Via: a("192.168.9.9")},
		{Dst: p("10.72.0.0/16"), Via: a("10.1.0.1"), Dev: "eth0"},
		{Dst: p("10.73.0.0/16"), Type: "blackhole"},
		{Dst: p("10.74.0.0/16"), Dev: "two"},
		{Dst: p("10.75.0.0/16"), Via: a("192.168.4.251"), Table: 7},
		{Dst: p("192.168.4.0/24"), Dev: "one"},
	}
	box := Plan(w.snapshot(), facts()).Sandboxes[c.ID]
	// Tables are by ID, the next free one where two begin alike.
	const one, two, far, wan1, wan2 = nicTables + 0xa, nicTables + 0xb, nicTables + 0xd, nicTables + 0x10, nicTables + 0x11
	rules, routes := map[int][]string{}, map[int][]desired.Route{}
	for _, r := range box.Rules {
		if r.Table >= nicTables {
			rules[r.Table] = append(rules[r.Table], r.From.String())
		}
	}
	for _, r := range box.Routes {
		if r.Table >= nicTables {
			routes[r.Table] = append(routes[r.Table], r)
		}
	}
	for table, want := range map[int]struct {
		rules  []string
		routes []desired.Route
	}{
		// The routers of two are its neighbours as well.
		one: {[]string{"192.168.4.1/32", "192.168.4.2/32", "fd00::1/128"}, []desired.Route{
			{Dst: p("192.168.4.0/24"), Dev: "one", Src: a("192.168.4.1"), Table: one},
			{Dst: p("fd00::/64"), Dev: "one", Src: a("fd00::1"), Table: one},
			{Via: a("192.168.4.250"), Dev: "one", Table: one},
			{Dst: p("10.70.0.0/16"), Via: a("192.168.4.251"), Dev: "one", Metric: 5, Table: one},
			{Dst: p("10.73.0.0/16"), Type: "blackhole", Table: one, Asked: true},
		}},
		two: {[]string{"192.168.4.3/32"}, []desired.Route{
			{Dst: p("192.168.4.0/24"), Dev: "two", Src: a("192.168.4.3"), Table: two},
			{Via: a("192.168.4.250"), Dev: "two", Table: two},
			{Dst: p("10.70.0.0/16"), Via: a("192.168.4.251"), Dev: "two", Metric: 5, Table: two},
			{Dst: p("10.73.0.0/16"), Type: "blackhole", Table: two, Asked: true},
			{Dst: p("10.74.0.0/16"), Dev: "two", Table: two},
		}},
		far: {[]string{"192.168.9.1/32"}, []desired.Route{
			{Dst: p("192.168.9.0/24"), Dev: "far", Src: a("192.168.9.1"), Table: far},
			{Dst: p("10.71.0.0/16"), Via: a("192.168.9.9"), Dev: "far", Table: far},
			{Dst: p("10.73.0.0/16"), Type: "blackhole", Table: far, Asked: true},
		}},
		wan1: {[]string{"10.9.0.1/32"}, []desired.Route{
			{Dst: p("10.9.0.0/24"), Dev: "wan1", Src: a("10.9.0.1"), Table: wan1},
			{Via: a("10.9.0.254"), Dev: "wan1", Table: wan1},
			{Dst: p("10.73.0.0/16"), Type: "blackhole", Table: wan1, Asked: true},
		}},
		wan2: {[]string{"10.9.0.2/32"}, []desired.Route{
			{Dst: p("10.9.0.0/24"), Dev: "wan2", Src: a("10.9.0.2"), Table: wan2},
			{Dst: p("10.73.0.0/16"), Type: "blackhole", Table: wan2, Asked: true},
		}},
	} {
		if !slices.Equal(rules[table], want.rules) || !slices.Equal(routes[table], want.routes) {
			t.Errorf("table %d: rules %v, want %v; routes\n%+v, want\n%+v", table, rules[table], want.rules, routes[table], want.routes)
		}
		delete(rules, table)
		delete(routes, table)
	}
	if len(rules)+len(routes) > 0 {
		t.Errorf("further rules %v and routes %v", rules, routes)
	}
	for name, want := range map[string]string{"one": "1", "two": "1", "bare": "1", "far": "1", "wan1": "1", "wan2": "1", "tagged": "", "dum1": "", "eth0": ""} {
		if got := box.Sysctls["net/ipv4/conf/"+name+"/arp_ignore"]; got != want {
			t.Errorf("arp_ignore of %s is %q, want %q", name, got, want)
		}
	}
}
