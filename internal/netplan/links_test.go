package netplan

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

func TestJoinedLinks(t *testing.T) {
	w := newWorld()
	w.network("f", "front", "10.1.0.0/24")
	w.network("b", "back", "10.2.0.0/24")
	w.network("i", "inside", "10.3.0.0/24").Internal = true
	w.network("l", "locked", "10.4.0.0/24").Deny = true
	web, db := w.container("aaaaaaaaaaaa", "web"), w.container("bbbbbbbbbbbb", "db")
	in, locked := w.container("cccccccccccc", "in"), w.container("dddddddddddd", "locked")
	locked.Config.ExposedPorts = []model.Port{{Number: 80, Proto: "tcp"}, {Number: 81, Proto: "tcp"}}
	w.join(web, "f", "10.1.0.2")
	w.join(db, "b", "10.2.0.2")
	w.join(db, "i", "10.3.0.2").GwPriority = 1
	w.join(in, "i", "10.3.0.3")
	w.join(locked, "l", "10.4.0.2")
	a := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	check := func(what string, routes map[*model.Container]string, pairs []desired.Pair, flows []desired.Flow) {
		t.Helper()
		s := Plan(w.snapshot(), facts())
		for c, want := range routes {
			got := ""
			for _, r := range s.Sandboxes[c.ID].Routes {
				if r.Dst.IsValid() {
					got += r.Dst.String() + " " + r.Via.String() + " " + r.Dev + ";"
				}
			}
			if got != want {
				t.Errorf("%s: routes of %s: %q, want %q", what, c.Name, got, want)
			}
		}
		wantPairs, wantFlows := map[desired.Pair]struct{}{}, map[desired.Flow]struct{}{}
		for _, p := range pairs {
			wantPairs[p] = struct{}{}
		}
		for _, f := range flows {
			wantFlows[f] = struct{}{}
		}
		if !maps.Equal(s.Firewall.Pairs, wantPairs) || !maps.Equal(s.Firewall.Flows, wantFlows) {
			t.Errorf("%s: pairs %v, flows %v, want %v and %v", what, s.Firewall.Pairs, s.Firewall.Flows, wantPairs, wantFlows)
		}
	}
	nothing := map[*model.Container]string{web: "", db: "", in: "", locked: ""}
	check("no link", nothing, nil, nil)

	// Default routes do for web and db; who is on an internal network has none.
	w.link(web, db, "", "store")
	w.link(web, in, "f", "in")
	check("open networks", map[*model.Container]string{web: "", db: "", in: "10.1.0.2/32 10.3.0.1 eth0;"},
		[]desired.Pair{{From: a("10.1.0.2"), To: a("10.2.0.2")}, {From: a("10.1.0.2"), To: a("10.3.0.3")}}, nil)

	ports := []model.PortRange{{First: 5, Last: 7, Proto: "udp"}}
	l := w.link(web, db, "", "store")
	l.Ports = ports
	check("ports", nil, []desired.Pair{{From: a("10.1.0.2"), To: a("10.3.0.3")}},
		[]desired.Flow{{From: a("10.1.0.2"), To: a("10.2.0.2"), Proto: "udp", First: 5, Last: 7}})
	w.link(web, db, "", "all")
	check("ports, and everything beside", nil, []desired.Pair{{From: a("10.1.0.2"), To: a("10.3.0.3")}, {From: a("10.1.0.2"), To: a("10.2.0.2")}}, nil)

	clear(w.Links)
	w.link(db, locked, "", "x")
	w.link(locked, in, "", "x").Ports = ports
	check("networks that deny", map[*model.Container]string{db: "", locked: "", in: "10.4.0.2/32 10.3.0.1 eth0;"}, nil, []desired.Flow{
		{From: a("10.2.0.2"), To: a("10.4.0.2"), Proto: "tcp", First: 80, Last: 81},
		{From: a("10.4.0.2"), To: a("10.3.0.3"), Proto: "udp", First: 5, Last: 7},
	})

	clear(w.Links)
	w.link(in, web, "", "one")
	w.link(in, web, "i", "two")
	w.link(in, locked, "", "three").Strict = true
	check("two links to one", map[*model.Container]string{in: "10.1.0.2/32 10.3.0.1 eth0;", web: "", locked: ""},
		[]desired.Pair{{From: a("10.3.0.3"), To: a("10.1.0.2")}}, nil)
	in.Active = false
	check("not active", map[*model.Container]string{web: "", db: "", locked: ""}, nil, nil)
	in.Active, web.Active = true, false
	check("target not active", map[*model.Container]string{in: ""}, nil, nil)
	web.Active = true

	// Where the default route leaves elsewhere, both ends have a route of their own.
	clear(w.Links)
	w.network("s", "side", "10.5.0.0/24")
	w.join(web, "s", "10.5.0.2").GwPriority = 9
	w.network("t", "tail", "10.6.0.0/24")
	w.join(db, "t", "10.6.0.2").GwPriority = 9
	w.link(web, db, "", "store")
	check("default routes elsewhere", map[*model.Container]string{web: "10.2.0.2/32 10.1.0.1 eth0;", db: "10.1.0.2/32 10.2.0.1 eth0;"},
		[]desired.Pair{{From: a("10.1.0.2"), To: a("10.2.0.2")}}, nil)
	w.join(web, "b", "10.2.0.9")
	check("a common network", map[*model.Container]string{web: "", db: ""}, nil, nil)
	if got := Plan(w.snapshot(), facts()).Zones.Views[web.ID].Aliases["store"]; !reflect.DeepEqual(got, addrs("10.2.0.2")) {
		t.Errorf("alias: %v", got)
	}
}

// A planner with a memory makes both ends of a joined link anew.
func TestPlannerKnowsJoinedLinks(t *testing.T) {
	w := newWorld()
	w.network("f", "front", "10.1.0.0/24").Internal = true
	w.network("b", "back", "10.2.0.0/24").Internal = true
	web, db := w.container("aaaaaaaaaaaa", "web"), w.container("bbbbbbbbbbbb", "db")
	w.join(web, "f", "10.1.0.2")
	w.join(db, "b", "10.2.0.2")
	var pl Planner
	for i, change := range []func(){
		func() {},
		func() { w.link(web, db, "", "store") },
		func() { e := w.join(web, "f", "10.1.0.3"); e.Order, e.Interface = 0, "eth0" },
		func() { c := *web; c.Active = false; w.Containers[c.ID] = &c },
		func() { w.Containers[web.ID] = web },
		func() { clear(w.Links) },
	} {
		change()
		snap := w.snapshot()
		if got, want := pl.Plan(snap, facts()), Plan(snap, facts()); !got.Equal(want) {
			t.Errorf("step %d: %s\nwant %s", i, dump(got), dump(want))
		}
		routed := slices.ContainsFunc(pl.Plan(snap, facts()).Sandboxes[db.ID].Routes, func(r desired.Route) bool { return r.Dst.IsValid() })
		if routed != slices.Contains([]int{1, 2, 4}, i) {
			t.Errorf("step %d: the target has a route: %t", i, routed)
		}
	}
}

// Links between networks have a way of their own wherever a NIC, a lease or a
// user's route leads elsewhere, and none where that is for the very address.
func TestJoinedLinksLedAway(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	nic := func(n model.NIC) func(*model.Container) {
		n.ID, n.Kind, n.Name, n.On = "1", model.NICBridge, "eth1", "br1"
		return func(c *model.Container) { c.NICs = []model.NIC{n} }
	}
	asked := func(r model.Route) func(*model.Container) {
		return func(c *model.Container) { c.Routes = []model.Route{r} }
	}
	leased := func(dst ...string) func(*model.Container) {
		l := &model.DHCPLease{Address: p("192.168.4.2/24"), Held: true}
		for _, d := range dst {
			l.Routes = append(l.Routes, model.LeasedRoute{Dst: p(d), Via: a("192.168.4.1")})
		}
		return nic(model.NIC{DHCP: true, Lease: l})
	}
	host := "10.2.0.2/32 via 10.1.0.1 eth0"
	for _, tt := range []struct {
		name string
		set  func(c *model.Container)
		want string // the routes of the main table into the target's network
	}{
		{"the default route is a NIC's", nic(model.NIC{Addrs: []netip.Prefix{p("192.168.4.2/24")}, Gateways: []netip.Addr{a("192.168.4.1")}}), host},
		{"a NIC without a router", nic(model.NIC{Addrs: []netip.Prefix{p("192.168.4.2/24")}}), ""},
		{"a NIC's own subnet", nic(model.NIC{Addrs: []netip.Prefix{p("10.2.0.9/16")}}), host},
		{"a lease's route", leased("10.2.0.0/16"), "10.2.0.0/16 via 192.168.4.1 eth1;" + host},
		{"a lease's route past it", leased("10.3.0.0/16"), "10.3.0.0/16 via 192.168.4.1 eth1"},
		{"a lease's halves", leased("0.0.0.0/1", "128.0.0.0/1"), ""},
		{"a lease's route to it", leased("10.2.0.2/32"), host},
		{"a lease's routes to it and around", leased("10.2.0.2/32", "10.0.0.0/8"), "10.0.0.0/8 via 192.168.4.1 eth1;" + host},
		{"a user's default route", asked(model.Route{Via: a("10.1.0.9")}), host},
		{"none", asked(model.Route{Deleted: true}), host},
		{"a user's route", asked(model.Route{Dst: p("10.2.0.0/16"), Via: a("10.1.0.9")}), "10.2.0.0/16 via 10.1.0.9 ;" + host},
		{"a user's blackhole", asked(model.Route{Dst: p("10.2.0.0/16"), Type: "blackhole"}), "10.2.0.0/16 via invalid IP ;" + host},
		{"a user's route to it", asked(model.Route{Dst: p("10.2.0.2/32"), Via: a("10.1.0.9")}), "10.2.0.2/32 via 10.1.0.9 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.network("f", "front", "10.1.0.0/24")
			w.network("b", "back", "10.2.0.0/24")
			c, d := w.container("aaaaaaaaaaaa", "c"), w.container("bbbbbbbbbbbb", "d")
			w.join(c, "f", "10.1.0.2")
			w.join(d, "b", "10.2.0.2")
			for _, ends := range [][2]*model.Container{{c, d}, {d, c}} { // of both ends of a link
				clear(w.Links)
				w.link(ends[0], ends[1], "", "store")
				c.NICs, c.Routes = nil, nil
				tt.set(c)
				var got []string
				for _, r := range Plan(w.snapshot(), facts()).Sandboxes[c.ID].Routes {
					if r.Table == 0 && r.Dst.IsValid() {
						got = append(got, r.Dst.String()+" via "+r.Via.String()+" "+r.Dev)
					}
				}
				if strings.Join(got, ";") != tt.want {
					t.Errorf("link from %s: routes %q, want %q", ends[0].Name, got, tt.want)
				}
			}
		})
	}
}
