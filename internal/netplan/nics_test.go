package netplan

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

func TestNICs(t *testing.T) {
	w := newWorld()
	w.network("n", "dev", "10.1.0.0/24")
	c, off := w.container("aaaaaaaaaaaa", "c"), w.container("bbbbbbbbbbbb", "off")
	off.Active = false
	w.join(c, "n", "10.1.0.2")
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	c.NICs = []model.NIC{
		{ID: "1111111111112222", Kind: model.NICBridge, Name: "eth1", On: "br1", Made: true, Addrs: []netip.Prefix{p("192.168.4.2/24")}, Gateways: []netip.Addr{a("192.168.4.1")}, MAC: "02:00:00:00:00:01", VLAN: 5},
		{ID: "2222222222222222", Kind: model.NICBridge, Name: "eth2", On: "lan0", HostName: "c-lan", MTU: 1400},
		{ID: "3333333333332222", Kind: model.NICMacvlan, Name: "eth3", On: "wan0", DHCP: true, Lease: &model.DHCPLease{Address: p("10.9.0.7/16"), Gateway: a("10.9.0.1"), Held: true}},
		{ID: "4444444444442222", Kind: model.NICDummy, Name: "eth4", On: "dummy"},
		{ID: "5555555555552222", Kind: model.NICOVS, Name: "eth5", On: "ovs1", Made: true},
	}
	off.NICs = []model.NIC{{ID: "6", Kind: model.NICBridge, Name: "eth1", On: "br2", Made: true}}
	c.TC = [][]string{{"qdisc", "add"}}
	s := Plan(w.snapshot(), facts())
	box := s.Sandboxes[c.ID]
	want := []desired.Interface{
		{Endpoint: "1111111111112222", Host: "jv111111111111", Name: "eth1", Bridge: "br1", MAC: "02:00:00:00:00:01", Addrs: []netip.Prefix{p("192.168.4.2/24")}, VLAN: 5},
		{Endpoint: "2222222222222222", Host: "c-lan", Name: "eth2", Bridge: "lan0", MTU: 1400},
		{Endpoint: "5555555555552222", Host: "jv555555555555", Name: "eth5", Bridge: "ovs1", OVS: true},
	}
	if !slices.EqualFunc(box.Interfaces[1:], want, desired.Interface.Equal) {
		t.Errorf("interfaces %+v, want %+v", box.Interfaces[1:], want)
	}
	devices := []desired.Device{
		{NIC: "3333333333332222", Kind: desired.Macvlan, Name: "eth3", Parent: "wan0", Addrs: []netip.Prefix{p("10.9.0.7/16")}, Leased: true},
		{NIC: "4444444444442222", Kind: desired.Dummy, Name: "eth4"},
	}
	if !slices.EqualFunc(box.Devices, devices, desired.Device.Equal) {
		t.Errorf("devices %+v, want %+v", box.Devices, devices)
	}
	for name, ovs := range map[string]bool{"br1": false, "br2": false, "ovs1": true} {
		if b := s.Bridges[name]; b == nil || !b.Plain || b.OVS != ovs || b.Network != "nic:"+name || b.Addrs != nil {
			t.Errorf("bridge %s is %+v", name, b)
		}
		if _, guarded := s.Firewall.Bridges[name]; guarded {
			t.Errorf("the firewall takes %s for a network's", name)
		}
	}
	if s.Bridges["lan0"] != nil || len(s.Bridges) != 4 {
		t.Errorf("bridges %v", s.Bridges)
	}
	if len(box.TC) != 1 {
		t.Errorf("tc %v", box.TC)
	}
	// The NIC's gateway takes the network's place, whose address answers by a
	// table of its own. The lease's takes nobody's.
	if want := []desired.Route{
		{Via: a("192.168.4.1"), Dev: "eth1"},
		{Dst: p("10.1.0.0/24"), Dev: "eth0", Src: a("10.1.0.2"), Table: sourceTable},
		{Via: a("10.1.0.1"), Dev: "eth0", Table: sourceTable},
	}; !slices.Equal(box.Routes, want) {
		t.Errorf("routes %+v, want %+v", box.Routes, want)
	}
	if want := []desired.Rule{{Priority: sourcePriority, From: p("10.1.0.2/32"), Table: sourceTable}}; !slices.Equal(box.Rules, want) {
		t.Errorf("rules %+v, want %+v", box.Rules, want)
	}
}

func TestWayOut(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	lease := model.NIC{Kind: model.NICMacvlan, Name: "eth1", DHCP: true, Lease: &model.DHCPLease{Address: p("10.9.0.7/16"), Gateway: a("10.9.0.1"), Held: true}}
	over := lease
	over.Lease = &model.DHCPLease{Address: p("10.9.0.7/16"), Gateway: a("10.9.0.1")}
	for _, tt := range []struct {
		name    string
		network bool
		set     func(c *model.Container)
		want    string // the default route's gateway
	}{
		{"a network's", true, func(*model.Container) {}, "10.1.0.1"},
		{"none", false, func(*model.Container) {}, ""},
		{"a lease's where there is no other", false, func(c *model.Container) { c.NICs = []model.NIC{lease} }, "10.9.0.1"},
		{"a lease's after a network's", true, func(c *model.Container) { c.NICs = []model.NIC{lease} }, "10.1.0.1"},
		{"a lease that is over", false, func(c *model.Container) { c.NICs = []model.NIC{over} }, ""},
		{"asked for", true, func(c *model.Container) { c.Routes = []model.Route{{Via: a("10.1.0.9")}} }, "10.1.0.9"},
		{"asked for through what is not there", true, func(c *model.Container) { c.Routes = []model.Route{{Via: a("10.8.0.9")}} }, "10.1.0.1"},
		{"asked for from its own address", true, func(c *model.Container) { c.Routes = []model.Route{{Via: a("10.1.0.9"), Src: a("10.1.0.2")}} }, "10.1.0.9"},
		{"asked for from an address it has not", true, func(c *model.Container) { c.Routes = []model.Route{{Via: a("10.1.0.9"), Src: a("10.8.0.9")}} }, "10.1.0.1"},
		{"asked for through itself", true, func(c *model.Container) { c.Routes = []model.Route{{Via: a("10.1.0.2")}} }, "10.1.0.1"},
		{"of another table", true, func(c *model.Container) { c.Routes = []model.Route{{Via: a("10.1.0.9"), Table: 5}} }, "10.1.0.1"},
		{"not wanted", true, func(c *model.Container) { c.Routes = []model.Route{{Deleted: true}} }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			c := w.container("aaaaaaaaaaaa", "c")
			if tt.network {
				w.network("n", "dev", "10.1.0.0/24")
				w.join(c, "n", "10.1.0.2")
			}
			tt.set(c)
			got := ""
			for _, r := range Plan(w.snapshot(), facts()).Sandboxes[c.ID].Routes {
				if !r.Dst.IsValid() && r.Table == 0 {
					got += r.Via.String()
				}
			}
			if got != tt.want {
				t.Errorf("the default route is via %q, want %q", got, tt.want)
			}
		})
	}
}

// Two interfaces on one network: each answers for its own address, by itself.
func TestTwins(t *testing.T) {
	w := newWorld()
	w.network("n", "dev", "10.1.0.0/24")
	c := w.container("aaaaaaaaaaaa", "c")
	first := w.join(c, "n", "10.1.0.2")
	delete(w.Endpoints, first.ID)
	first.ID += "-first"
	w.Endpoints[first.ID] = first
	e := w.join(c, "n", "10.1.0.9")
	e.Extra = true
	box := Plan(w.snapshot(), facts()).Sandboxes[c.ID]
	table := sourceTable + e.Order
	if want := []desired.Rule{{Priority: sourcePriority, From: netip.MustParsePrefix("10.1.0.9/32"), Table: table}}; !slices.Equal(box.Rules, want) {
		t.Errorf("rules %+v, want %+v", box.Rules, want)
	}
	in, main := 0, 0
	for _, r := range box.Routes {
		switch {
		case r.Table == table && r.Dev == e.Interface:
			in++
		case r.Table == 0 && r.Dev == "eth0":
			main++
		}
	}
	if in != 2 || main != 1 {
		t.Errorf("routes %+v", box.Routes)
	}
	for _, name := range []string{"eth0", e.Interface} {
		if box.Sysctls["net/ipv4/conf/"+name+"/arp_ignore"] != "1" {
			t.Errorf("%s answers for the other: %v", name, box.Sysctls)
		}
	}
}

// An interface's own limit comes before its network's, and that before the
// container's.
func TestRatesOfInterfaces(t *testing.T) {
	w := newWorld()
	w.network("n", "dev", "10.1.0.0/24")
	w.network("m", "far", "10.2.0.0/24")
	c := w.container("aaaaaaaaaaaa", "c")
	first := w.join(c, "n", "10.1.0.2")
	w.join(c, "m", "10.2.0.2")
	c.NICs = []model.NIC{
		{ID: "1111111111112222", Kind: model.NICBridge, Name: "lan1", On: "br1"},
		{ID: "2222222222222222", Kind: model.NICBridge, Name: "lan2", On: "br1"},
	}
	c.Rates = model.Rates{
		In:  model.Rate{Every: 1e6, On: map[string]uint64{"n": 2e6, first.ID: 3e6, "1111111111112222": 4e6}},
		Out: model.Rate{On: map[string]uint64{"m": 5e6, "2222222222222222": 6e6}},
	}
	want := map[string][2]uint64{"eth0": {3e6, 0}, "eth1": {1e6, 5e6}, "lan1": {4e6, 0}, "lan2": {1e6, 6e6}}
	for _, i := range Plan(w.snapshot(), facts()).Sandboxes[c.ID].Interfaces {
		if got := [2]uint64{i.RateIn, i.RateOut}; got != want[i.Name] {
			t.Errorf("%s: %v, want %v", i.Name, got, want[i.Name])
		}
		delete(want, i.Name)
	}
	if len(want) > 0 {
		t.Errorf("not planned: %v", want)
	}
}
