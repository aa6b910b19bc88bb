package netplan

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

func TestLeasedRoutes(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	w := newWorld()
	w.network("n", "dev", "10.1.0.0/24")
	c := w.container("aaaaaaaaaaaa", "c")
	w.join(c, "n", "10.1.0.2")
	c.NICs = []model.NIC{
		{ID: "1", Kind: model.NICMacvlan, Name: "wan", On: "wan0", DHCP: true, Lease: &model.DHCPLease{
			Address: p("10.9.0.7/16"), Gateway: a("10.9.0.1"), Held: true, Routes: []model.LeasedRoute{
				{Dst: p("10.8.0.0/24")},
				{Dst: p("10.50.0.0/16"), Via: a("10.9.0.2")},
				{Dst: p("10.51.0.0/16"), Via: a("10.8.0.2")},
				{Dst: p("10.1.0.128/25"), Via: a("10.9.0.2")}, // inside the network's
				{Dst: p("10.1.0.0/24"), Via: a("10.9.0.2")},
				{Dst: p("10.0.0.0/8"), Via: a("10.9.0.2")},
				{Dst: p("10.52.0.0/16"), Via: a("10.9.0.2")}, // decided otherwise
				{Dst: p("10.53.0.0/16"), Via: a("10.9.0.2")}, // not wanted
				{Dst: p("10.54.0.0/16"), Via: a("10.9.0.8")}, // the container's own
				{Dst: p("0.0.0.0/1"), Via: a("10.9.0.2")},    // a default route by halves
				{Dst: p("128.0.0.0/1"), Via: a("10.9.0.2")},
				{Dst: p("64.0.0.0/2"), Via: a("10.9.0.2")},
				{Dst: p("224.0.0.0/4"), Via: a("10.9.0.2")}, // multicast is no part of one
			}}},
		{ID: "2", Kind: model.NICMacvlan, Name: "lan", On: "lan0", DHCP: true, Lease: &model.DHCPLease{
			Address: p("10.9.0.8/16"), Held: true, Routes: []model.LeasedRoute{{Dst: p("10.50.0.0/16"), Via: a("10.9.0.3")}},
		}},
		{ID: "3", Kind: model.NICMacvlan, Name: "over", On: "lan1", DHCP: true, Lease: &model.DHCPLease{
			Address: p("10.10.0.8/16"), Routes: []model.LeasedRoute{{Dst: p("10.55.0.0/16"), Via: a("10.10.0.3")}},
		}},
	}
	c.Routes = []model.Route{{Dst: p("10.52.0.0/16"), Via: a("10.1.0.9")}, {Dst: p("10.53.0.0/16"), Deleted: true}}
	box := Plan(w.snapshot(), facts()).Sandboxes[c.ID]
	want := []desired.Route{
		{Via: a("10.1.0.1"), Dev: "eth0"}, // a lease's is taken only where there is no other
		{Dst: p("10.8.0.0/24"), Dev: "wan"},
		{Dst: p("10.50.0.0/16"), Via: a("10.9.0.2"), Dev: "wan"},
		{Dst: p("10.51.0.0/16"), Via: a("10.8.0.2"), Dev: "wan", OnLink: true},
		{Dst: p("10.0.0.0/8"), Via: a("10.9.0.2"), Dev: "wan"},
		{Dst: p("224.0.0.0/4"), Via: a("10.9.0.2"), Dev: "wan"},
		{Dst: p("10.52.0.0/16"), Via: a("10.1.0.9"), Asked: true},
		// What is published answers through the network.
		{Dst: p("10.1.0.0/24"), Dev: "eth0", Src: a("10.1.0.2"), Table: sourceTable},
		{Via: a("10.1.0.1"), Dev: "eth0", Table: sourceTable},
		{Dst: p("10.52.0.0/16"), Via: a("10.1.0.9"), Dev: "eth0", Table: sourceTable},
	}
	if !slices.Equal(box.Routes, want) {
		t.Errorf("routes\n%+v, want\n%+v", box.Routes, want)
	}

	// Without a network: a router on the link that is in no subnet, and one that
	// is the container's own.
	alone := w.container("bbbbbbbbbbbb", "alone")
	alone.NICs = []model.NIC{{ID: "4", Kind: model.NICMacvlan, Name: "wan", On: "wan0", DHCP: true, Lease: &model.DHCPLease{
		Address: p("10.9.0.9/32"), Gateway: a("10.9.0.1"), Held: true, Routes: []model.LeasedRoute{{Dst: p("10.9.0.1/32")}},
	}}}
	want = []desired.Route{{Via: a("10.9.0.1"), Dev: "wan", OnLink: true}, {Dst: p("10.9.0.1/32"), Dev: "wan"}}
	if got := Plan(w.snapshot(), facts()).Sandboxes[alone.ID].Routes; !slices.Equal(got, want) {
		t.Errorf("routes\n%+v, want\n%+v", got, want)
	}
	alone.NICs[0].Lease = &model.DHCPLease{Address: p("10.9.0.9/16"), Gateway: a("10.9.0.10"), Held: true}
	alone.NICs = append(alone.NICs, model.NIC{ID: "5", Kind: model.NICBridge, Name: "lan", On: "br1", Addrs: []netip.Prefix{p("10.9.0.10/16")}})
	if got := Plan(w.snapshot(), facts()).Sandboxes[alone.ID].Routes; len(got) != 0 {
		t.Errorf("routes through itself: %+v", got)
	}
}

// A server takes the place of a default route by halves only where it may give
// one.
func TestLeasedHalves(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	for _, tt := range []struct {
		name string
		set  func(w world, c *model.Container)
		want bool
	}{
		{"alone", func(world, *model.Container) {}, true},
		{"beside a network's", func(w world, c *model.Container) { w.join(c, "n", "10.1.0.2") }, false},
		{"beside an internal network, which has none", func(w world, c *model.Container) { w.join(c, "i", "10.2.0.2") }, true},
		{"beside a NIC's", func(_ world, c *model.Container) {
			c.NICs = append(c.NICs, model.NIC{ID: "2", Kind: model.NICBridge, Name: "eth1", On: "br1", Addrs: []netip.Prefix{p("10.8.0.2/24")}, Gateways: []netip.Addr{a("10.8.0.1")}})
		}, false},
		{"beside its own", func(_ world, c *model.Container) { c.NICs[0].Lease.Gateway = a("10.9.0.1") }, true},
		{"beside one that was asked for", func(_ world, c *model.Container) { c.Routes = []model.Route{{Via: a("10.9.0.3")}} }, false},
		{"where none is wanted", func(_ world, c *model.Container) { c.Routes = []model.Route{{Deleted: true}} }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.network("n", "dev", "10.1.0.0/24")
			w.network("i", "in", "10.2.0.0/24").Internal = true
			c := w.container("aaaaaaaaaaaa", "c")
			c.NICs = []model.NIC{{ID: "1", Kind: model.NICMacvlan, Name: "wan", On: "wan0", DHCP: true, Lease: &model.DHCPLease{
				Address: p("10.9.0.7/16"), Held: true, Routes: []model.LeasedRoute{{Dst: p("0.0.0.0/1"), Via: a("10.9.0.2")}, {Dst: p("128.0.0.0/1"), Via: a("10.9.0.2")}},
			}}}
			tt.set(w, c)
			n := 0
			for _, r := range Plan(w.snapshot(), facts()).Sandboxes[c.ID].Routes {
				if r.Dst.IsValid() && r.Dst.Bits() == 1 {
					n++
				}
			}
			if n != 0 && n != 2 || n == 2 != tt.want {
				t.Errorf("%d halves are there", n)
			}
		})
	}
}
