package netplan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// tableOf gives the routes of a table as ip(8) would.
func tableOf(s *desired.Sandbox, table int) string {
	var out []string
	for _, r := range s.Routes {
		if r.Table != table {
			continue
		}
		words := []string{r.Type, "default"}
		if r.Dst.IsValid() {
			words[1] = r.Dst.String()
		}
		if r.Via.IsValid() {
			words = append(words, "via", r.Via.String())
		}
		if r.Dev != "" {
			words = append(words, "dev", r.Dev)
		}
		if r.Metric != 0 {
			words = append(words, fmt.Sprint("metric ", r.Metric))
		}
		out = append(out, strings.TrimSpace(strings.Join(words, " ")))
	}
	return strings.Join(out, ", ")
}

// What a user decided holds for what leaves from a NIC's address as for
// everything else: with two NICs on one segment, in the tables of both.
func TestTablesHoldWhatWasAsked(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	const net1, net2 = "192.168.4.0/24 dev eth1, ", "192.168.4.0/24 dev eth2, "
	for _, tt := range []struct {
		name       string
		routes     []model.Route
		eth1, eth2 string
	}{
		{"nothing", nil, "default via 192.168.4.1 dev eth1", "default via 192.168.4.1 dev eth2"},
		{"a default route and a blackhole", []model.Route{{Via: a("192.168.4.254"), Dev: "eth1"}, {Dst: p("10.66.0.0/16"), Type: "blackhole"}},
			"default via 192.168.4.254 dev eth1, blackhole 10.66.0.0/16", "default via 192.168.4.254 dev eth2, blackhole 10.66.0.0/16"},
		{"no default route", []model.Route{{Deleted: true}}, "", ""},
		{"a default route over the network", []model.Route{{Via: a("10.1.0.9")}}, "", ""},
		{"nothing leaves", []model.Route{{Type: "unreachable"}}, "unreachable default", "unreachable default"},
		{"nothing but by the gateway", []model.Route{{Type: "prohibit", Metric: 9}},
			"default via 192.168.4.1 dev eth1, prohibit default metric 9", "default via 192.168.4.1 dev eth2, prohibit default metric 9"},
		{"less than all of it", []model.Route{{Dst: p("10.0.0.0/8"), Type: "blackhole"}, {Dst: p("10.7.0.0/16"), Via: a("10.1.0.9")}, {Dst: p("11.7.0.0/16"), Via: a("10.1.0.9")}},
			"default via 192.168.4.1 dev eth1, blackhole 10.0.0.0/8, 10.7.0.0/16 via 10.1.0.9 dev eth0", "default via 192.168.4.1 dev eth2, blackhole 10.0.0.0/8, 10.7.0.0/16 via 10.1.0.9 dev eth0"},
		{"of IPv6, which they have no address of", []model.Route{{Type: "blackhole", V6: true}, {Dst: p("fd00::/8"), Type: "blackhole"}},
			"default via 192.168.4.1 dev eth1", "default via 192.168.4.1 dev eth2"},
		{"in a table of the user's", []model.Route{{Dst: p("10.66.0.0/16"), Type: "blackhole", Table: 7}}, "default via 192.168.4.1 dev eth1", "default via 192.168.4.1 dev eth2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.network("n", "dev", "10.1.0.0/24")
			c := w.container("aaaaaaaaaaaa", "c")
			w.join(c, "n", "10.1.0.2")
			c.NICs = []model.NIC{
				{ID: "00001", Kind: model.NICBridge, Name: "eth1", On: "br1", Addrs: []netip.Prefix{p("192.168.4.2/24")}, Gateways: []netip.Addr{a("192.168.4.1")}},
				{ID: "00002", Kind: model.NICBridge, Name: "eth2", On: "br1", Addrs: []netip.Prefix{p("192.168.4.3/24")}},
			}
			c.Routes = tt.routes
			box := Plan(w.snapshot(), facts()).Sandboxes[c.ID]
			for table, want := range map[int]string{nicTables + 1: net1 + tt.eth1, nicTables + 2: net2 + tt.eth2} {
				if got := tableOf(box, table); got != strings.TrimSuffix(want, ", ") {
					t.Errorf("table %d: %s, want %s", table, got, want)
				}
			}
		})
	}
}

// What ports are published at answers through its own network, whatever NICs,
// leases and users' routes there are, but not where a user forbids it.
func TestPublishedAnswersAside(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	const own, gateway = "10.1.0.0/24 dev eth0", "10.1.0.0/24 dev eth0, default via 10.1.0.1 dev eth0"
	nic := model.NIC{ID: "1", Kind: model.NICBridge, Name: "lan", On: "br1", Addrs: []netip.Prefix{p("192.168.4.2/24")}}
	router, leased, six := nic, nic, nic
	router.Gateways = []netip.Addr{a("192.168.4.1")}
	leased.Addrs, leased.DHCP = nil, true
	leased.Lease = &model.DHCPLease{Address: p("192.168.4.2/24"), Held: true, Routes: []model.LeasedRoute{{Dst: p("10.0.0.0/8"), Via: a("192.168.4.1")}}}
	six.Addrs = []netip.Prefix{p("fd04::2/64")}
	for _, tt := range []struct {
		name     string
		nic      *model.NIC
		routes   []model.Route
		internal bool
		want     string // the table of eth0; empty: the main one is enough
	}{
		{name: "nothing else"},
		{name: "a NIC on a client's subnet", nic: &nic, want: gateway},
		{name: "a NIC with the default route", nic: &router, want: gateway},
		{name: "a lease with routes", nic: &leased, want: gateway},
		{name: "of IPv6", nic: &six},
		{name: "an internal network", nic: &router, internal: true, want: gateway},
		{name: "a user's route over the network", routes: []model.Route{{Dst: p("10.9.0.0/16"), Via: a("10.1.0.9")}}},
		{name: "a user's route over another", routes: []model.Route{{Dst: p("10.9.0.0/16"), Via: a("10.2.0.9")}}, want: gateway},
		{name: "a user's default route over another", routes: []model.Route{{Via: a("10.2.0.9")}}, want: gateway},
		{name: "with the address it is to send from", routes: []model.Route{{Dst: p("10.9.0.0/16"), Via: a("10.2.0.9"), Src: a("10.1.0.2")}}, want: gateway + ", 10.9.0.0/16 via 10.2.0.9 dev eth1"},
		{name: "a user's default route over the network", nic: &nic, routes: []model.Route{{Via: a("10.1.0.9")}}, want: own + ", default via 10.1.0.9 dev eth0"},
		{name: "no default route", nic: &router, routes: []model.Route{{Deleted: true}}, want: own},
		{name: "a blackhole", routes: []model.Route{{Dst: p("10.9.0.0/16"), Type: "blackhole"}}},
		{name: "a blackhole beside a NIC", nic: &router, routes: []model.Route{{Dst: p("10.9.0.0/16"), Type: "blackhole"}}, want: gateway + ", blackhole 10.9.0.0/16"},
		{name: "a blackhole of its own subnet", nic: &nic, routes: []model.Route{{Dst: p("10.1.0.0/24"), Type: "blackhole"}}, want: "blackhole 10.1.0.0/24"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.network("n", "dev", "10.1.0.0/24").Internal = tt.internal
			w.network("m", "far", "10.2.0.0/24").Internal = tt.internal
			c := w.container("aaaaaaaaaaaa", "c")
			w.join(c, "n", "10.1.0.2")
			w.join(c, "m", "10.2.0.2")
			publish(c, "0.0.0.0", 8080, 80, "tcp")
			if tt.nic != nil {
				c.NICs = []model.NIC{*tt.nic}
			}
			c.Routes = tt.routes
			box := Plan(w.snapshot(), facts()).Sandboxes[c.ID]
			if got := tableOf(box, sourceTable); got != tt.want {
				t.Errorf("the table is %q, want %q", got, tt.want)
			}
			rules := []desired.Rule{{Priority: sourcePriority, From: p("10.1.0.2/32"), Table: sourceTable}}
			if tt.want == "" {
				rules = nil
			}
			if !slices.Equal(box.Rules, rules) {
				t.Errorf("rules %+v, want %+v", box.Rules, rules)
			}
		})
	}
}
