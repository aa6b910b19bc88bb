package netplan

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

func addrs(s ...string) []netip.Addr {
	out := make([]netip.Addr, len(s))
	for i := range s {
		out[i] = netip.MustParseAddr(s[i])
	}
	return out
}

func TestZones(t *testing.T) {
	w := newWorld()
	w.network("p", "prod", "10.1.0.0/24")
	w.network("d", "dev", "10.2.0.0/24")
	w.network("e", "empty", "10.3.0.0/24")
	a, b := w.container("aaaaaaaaaaaa1111", "a"), w.container("bbbbbbbbbbbb1111", "b")
	off, host := w.container("cccccccccccc1111", "off"), w.container("dddddddddddd1111", "hosted")
	off.Active = false
	host.Host.NetworkMode = "host"
	a.Config.Hostname = "not-a-name"
	w.join(a, "p", "10.1.0.3").Aliases = []string{"search", "a"} // an alias that is the name gives no double
	w.join(a, "d", "10.2.0.3").Aliases = []string{"search"}
	w.join(b, "p", "10.1.0.2").Aliases = []string{"search"}
	w.join(off, "p", "10.1.0.9").Aliases = []string{"search"}

	got := Plan(w.snapshot(), facts()).Zones.Networks
	want := map[string]*desired.Zone{
		"p": {
			Names: map[string][]netip.Addr{
				"a": addrs("10.1.0.3"), "aaaaaaaaaaaa": addrs("10.1.0.3"), "a.prod": addrs("10.1.0.3"),
				"b": addrs("10.1.0.2"), "bbbbbbbbbbbb": addrs("10.1.0.2"), "b.prod": addrs("10.1.0.2"),
				"search": addrs("10.1.0.2", "10.1.0.3"),
			},
			Reverse: map[netip.Addr]string{netip.MustParseAddr("10.1.0.3"): "a.prod", netip.MustParseAddr("10.1.0.2"): "b.prod"},
		},
		"d": {
			Names: map[string][]netip.Addr{
				"a": addrs("10.2.0.3"), "aaaaaaaaaaaa": addrs("10.2.0.3"), "a.dev": addrs("10.2.0.3"), "search": addrs("10.2.0.3"),
			},
			Reverse: map[netip.Addr]string{netip.MustParseAddr("10.2.0.3"): "a.dev"},
		},
		"e": {Names: map[string][]netip.Addr{}, Reverse: map[netip.Addr]string{}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("zones:\n got %s\nwant %s", dump(got), dump(want))
	}
}

func TestViews(t *testing.T) {
	w := newWorld()
	w.network("p", "prod", "10.1.0.0/24")
	w.network("i", "inside", "10.2.0.0/24").Internal = true
	both, inside := w.container("aaaaaaaaaaaa", "both"), w.container("bbbbbbbbbbbb", "inside")
	off := w.container("cccccccccccc", "off")
	off.Active = false
	w.join(both, "i", "10.2.0.2")
	w.join(both, "p", "10.1.0.2")
	w.join(inside, "i", "10.2.0.3")
	w.join(off, "p", "10.1.0.9")
	inside.Host.DNS = addrs("192.0.2.1", "192.0.2.2")
	w.link(both, inside, "i", "DB")
	w.link(both, off, "p", "gone")
	w.link(both, inside, "p", "nocommon")

	got := Plan(w.snapshot(), facts()).Zones.Views
	want := map[string]*desired.View{
		both.ID: {Aliases: map[string][]netip.Addr{"db": addrs("10.2.0.3"), "nocommon": addrs("10.2.0.3")}, Networks: []string{"i", "p"}},
		inside.ID: {
			Networks: []string{"i"}, NoForward: true,
			Upstreams: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53")},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("views:\n got %s\nwant %s", dump(got), dump(want))
	}
}

func TestNetworkElements(t *testing.T) {
	subnet := netip.MustParsePrefix("10.1.0.0/24")
	tests := []struct {
		name                  string
		set                   func(n *model.Network)
		bridge, internal, nat bool
	}{
		{name: "plain", bridge: true, nat: true},
		{name: "internal", set: func(n *model.Network) { n.Internal = true }, bridge: true, internal: true},
		{name: "without masquerade", set: func(n *model.Network) { n.Masquerade = false }, bridge: true},
		{name: "host", set: func(n *model.Network) { n.Driver, n.Bridge = model.DriverHost, "" }},
		{name: "null", set: func(n *model.Network) { n.Driver, n.Bridge = model.DriverNull, "" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			n := w.network("n", "n", subnet.String())
			if tt.set != nil {
				tt.set(n)
			}
			s := Plan(w.snapshot(), facts())
			_, bridge := s.Firewall.Bridges["jk-n"]
			_, internal := s.Firewall.Internal["jk-n"]
			_, nat := s.Firewall.Masquerade[subnet]
			_, hairpin := s.Firewall.Hairpin[desired.HairpinKey{Subnet: subnet, Bridge: "jk-n"}]
			if bridge != tt.bridge || hairpin != tt.bridge || internal != tt.internal || nat != tt.nat || (s.Bridges["jk-n"] != nil) != tt.bridge {
				t.Errorf("bridge %v, hairpin %v, internal %v, masquerade %v, link %v", bridge, hairpin, internal, nat, s.Bridges["jk-n"])
			}
		})
	}
}

func TestPublish(t *testing.T) {
	w := newWorld()
	w.network("i", "inside", "10.2.0.0/24").Internal = true
	w.network("p", "prod", "10.1.0.0/24")
	c := w.container("aaaaaaaaaaaa", "c")
	w.join(c, "i", "10.2.0.2")
	w.join(c, "p", "10.1.0.2") // holds the default route, so it publishes
	publish(c, "0.0.0.0", 53, 5353, "udp")
	publish(c, "127.0.0.1", 8080, 80, "tcp")
	publish(c, "::", 443, 443, "tcp") // no IPv6 address: held, and leads nowhere
	off := w.container("bbbbbbbbbbbb", "off")
	off.Active = false
	w.join(off, "p", "10.1.0.3")
	publish(off, "0.0.0.0", 81, 80, "tcp")
	hosted := w.container("cccccccccccc", "hosted")
	hosted.Host.NetworkMode = "host"
	publish(hosted, "0.0.0.0", 82, 80, "tcp")
	alone := w.container("dddddddddddd", "alone") // on an internal network only
	w.join(alone, "i", "10.2.0.3")
	publish(alone, "0.0.0.0", 83, 80, "tcp")

	s := Plan(w.snapshot(), facts())
	a, in := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.2.0.3")
	any4, lo := netip.IPv4Unspecified(), netip.MustParseAddr("127.0.0.1")
	wantAny := map[desired.PortKey]desired.Target{{Proto: "udp", Port: 53}: {IP: a, Port: 5353}, {Proto: "tcp", Port: 83}: {IP: in, Port: 80}}
	wantOne := map[desired.Claim]desired.Target{{IP: lo, Proto: "tcp", Port: 8080}: {IP: a, Port: 80}}
	wantClaims := map[desired.Claim]string{
		{IP: any4, Proto: "udp", Port: 53}: c.ID, {IP: lo, Proto: "tcp", Port: 8080}: c.ID,
		{IP: netip.IPv6Unspecified(), Proto: "tcp", Port: 443}: c.ID, {IP: any4, Proto: "tcp", Port: 83}: alone.ID,
	}
	if got := s.Firewall.PublishAny; !reflect.DeepEqual(got, wantAny) {
		t.Errorf("ports of every address: %v, want %v", got, wantAny)
	}
	if got := s.Firewall.Publish; !reflect.DeepEqual(got, wantOne) {
		t.Errorf("ports of one address: %v, want %v", got, wantOne)
	}
	if !reflect.DeepEqual(s.Claims, wantClaims) {
		t.Errorf("claims: %v, want %v", s.Claims, wantClaims)
	}
}

func TestWildcards(t *testing.T) {
	w := newWorld()
	w.network("p", "test", "10.1.0.0/24")
	w.network("d", "dev", "10.2.0.0/24")
	a, b := w.container("aaaaaaaaaaaa", "a"), w.container("bbbbbbbbbbbb", "b")
	w.join(a, "p", "10.1.0.3").Aliases = []string{"*.Foo.test", "deep.er.foo.test", "www.example.com"}
	w.join(b, "p", "10.1.0.2").Aliases = []string{"*.foo.test"}
	w.join(b, "d", "10.2.0.2").Aliases = []string{"x.foo.test"}
	zones := Plan(w.snapshot(), facts()).Zones.Networks
	if got := zones["p"].Names["*.foo.test"]; !reflect.DeepEqual(got, addrs("10.1.0.2", "10.1.0.3")) {
		t.Errorf("a wildcard of two: %v", got)
	}
	want := map[string]struct{}{"*.foo.test": {}, "deep.er.foo.test": {}, "er.foo.test": {}}
	if !reflect.DeepEqual(zones["p"].Nodes, want) {
		t.Errorf("nodes: %v, want %v", zones["p"].Nodes, want)
	}
	if zones["d"].Nodes != nil {
		t.Errorf("nodes of a zone without wildcards: %v", zones["d"].Nodes)
	}
}

// A link without a network goes over the first that both are on, and one that
// waits for a name goes nowhere.
func TestLinksOverAnyNetwork(t *testing.T) {
	w := newWorld()
	w.network("p", "prod", "10.1.0.0/24")
	w.network("d", "dev", "10.2.0.0/24")
	w.network("n", "none", "10.3.0.0/24").Driver = model.DriverNull
	web, db, far := w.container("aaaaaaaaaaaa", "web"), w.container("bbbbbbbbbbbb", "db"), w.container("cccccccccccc", "far")
	side := w.container("dddddddddddd", "side")
	side.Host.NetworkMode = model.NetworkMode("container:" + db.ID)
	for i, c := range []*model.Container{web, db, far} {
		w.join(c, "n", "10.3.0."+string(rune('2'+i))).IPv4 = netip.Prefix{}
	}
	w.join(web, "p", "10.1.0.2")
	w.join(web, "d", "10.2.0.2")
	w.join(db, "d", "10.2.0.3")
	w.link(web, db, "", "store")
	w.link(web, far, "", "far")
	w.link(web, side, "", "side")
	waits := w.link(web, db, "", "later")
	waits.TargetID, waits.TargetName = "", "later"
	aliases := func() map[string][]netip.Addr { return Plan(w.snapshot(), facts()).Zones.Views[web.ID].Aliases }
	if got, want := aliases(), map[string][]netip.Addr{"store": addrs("10.2.0.3"), "side": addrs("10.2.0.3")}; !reflect.DeepEqual(got, want) {
		t.Errorf("aliases: %v, want %v", got, want)
	}
	w.join(db, "p", "10.1.0.3")
	w.join(far, "p", "10.1.0.4")
	if got, want := aliases(), map[string][]netip.Addr{"store": addrs("10.1.0.3"), "side": addrs("10.1.0.3"), "far": addrs("10.1.0.4")}; !reflect.DeepEqual(got, want) {
		t.Errorf("aliases when both are on another network: %v, want %v", got, want)
	}
}
