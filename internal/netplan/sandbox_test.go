package netplan

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// TestPlanWhole compares a whole plan: one container, one network, one port.
func TestPlanWhole(t *testing.T) {
	w := newWorld()
	n := w.network("netdev", "dev", "10.1.0.0/24")
	n.MTU = 1400
	c := w.container("aaaaaaaaaaaabbbb", "Web")
	c.Config.Hostname = "www"
	c.Config.Domainname = "example.org"
	c.Rates = model.Rates{In: model.Rate{Every: 5e6, On: map[string]uint64{"netdev": 7e6}}, Out: model.Rate{Every: 9e6, On: map[string]uint64{"other": 1e6}}}
	e := w.join(c, "netdev", "10.1.0.2")
	e.Aliases = []string{"Site"}
	publish(c, "0.0.0.0", 8080, 80, "tcp")
	got := Plan(w.snapshot(), facts())

	a := netip.MustParseAddr("10.1.0.2")
	subnet := netip.MustParsePrefix("10.1.0.0/24")
	any4 := netip.IPv4Unspecified()
	const host, mac = "jvep-aaaaaaaaa", "02:42:00:00:00:01"
	want := &desired.State{
		Revision: 7,
		Bridges: map[string]*desired.Bridge{"jk-netdev": {
			Name: "jk-netdev", Network: "netdev", MAC: bridgeMAC("netdev"), MTU: 1400, RouteLocalnet: true,
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")},
		}},
		Sandboxes: map[string]*desired.Sandbox{c.ID: {
			Container: c.ID,
			Interfaces: []desired.Interface{{
				Endpoint: e.ID, Host: host, Name: "eth0", Bridge: "jk-netdev", MAC: mac,
				Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24")}, MTU: 1400, RateIn: 7e6, RateOut: 9e6,
			}},
			Routes: []desired.Route{{Via: netip.MustParseAddr("10.1.0.1"), Dev: "eth0"}},
			Sysctls: map[string]string{
				"net/ipv4/ip_unprivileged_port_start": "0",
				"net/ipv4/ping_group_range":           "0 2147483647",
			},
			Resolver:    netip.MustParseAddrPort("127.0.0.11:53"),
			ResolverVia: netip.MustParseAddrPort("127.0.0.11:53"),
			Files: []desired.File{
				{Path: "/root/containers/aaaaaaaaaaaabbbb/hosts", Mode: 0o644, Content: hostsHead + "10.1.0.2\twww.example.org www\n"},
				{Path: "/root/containers/aaaaaaaaaaaabbbb/hostname", Mode: 0o644, Content: "www\n"},
				{
					Path: "/root/containers/aaaaaaaaaaaabbbb/resolv.conf", Mode: 0o644,
					Content: "nameserver 127.0.0.11\nsearch example.com\noptions edns0 ndots:0\n",
				},
			},
		}},
		Firewall: desired.Firewall{
			Bridges:    map[string]struct{}{"jk-netdev": {}},
			Open:       map[string]struct{}{"jk-netdev": {}},
			Internal:   map[string]struct{}{},
			Masquerade: map[netip.Prefix]struct{}{subnet: {}},
			Hairpin:    map[desired.HairpinKey]struct{}{{Subnet: subnet, Bridge: "jk-netdev"}: {}},
			Publish:    map[desired.Claim]desired.Target{},
			PublishAny: map[desired.PortKey]desired.Target{{Proto: "tcp", Port: 8080}: {IP: a, Port: 80}},
			Ports:      map[string]desired.BridgePort{host: {MAC: mac, Bridge: bridgeMAC("netdev")}},
			MACs:       map[string]bool{mac: false, bridgeMAC("netdev"): false},
			Addresses:  map[netip.Addr]struct{}{a: {}, netip.MustParseAddr("10.1.0.1"): {}},
			Sources:    map[desired.Source]struct{}{{Port: host, MAC: mac, Addr: a}: {}},
		},
		Claims: map[desired.Claim]string{{IP: any4, Proto: "tcp", Port: 8080}: c.ID},
		Zones: &desired.Zones{
			Networks: map[string]*desired.Zone{"netdev": {
				Names:   map[string][]netip.Addr{"web": {a}, "aaaaaaaaaaaa": {a}, "web.dev": {a}, "site": {a}},
				Reverse: map[netip.Addr]string{a: "web.dev"},
			}},
			Views:     map[string]*desired.View{c.ID: {Networks: []string{"netdev"}}},
			Upstreams: facts().Upstreams,
		},
		Files: map[string][]desired.File{},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("plan:\n got %s\nwant %s", dump(got), dump(want))
	}
}

func TestWhoHasASandbox(t *testing.T) {
	const owner, peer = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
	tests := []struct {
		name                    string
		mode                    model.NetworkMode // the owner's
		ownerActive, peerActive bool
		sandbox, names          bool // of the owner
		peerFiles               bool
	}{
		{name: "nobody active", mode: "bridge"},
		{name: "active", mode: "bridge", ownerActive: true, sandbox: true, names: true},
		{name: "joined", mode: "bridge", ownerActive: true, peerActive: true, sandbox: true, names: true, peerFiles: true},
		{name: "only who joined it", mode: "bridge", peerActive: true, sandbox: true, peerFiles: true},
		{name: "host", mode: "host", ownerActive: true, peerActive: true, peerFiles: true},
		{name: "circle", mode: "container:" + peer, ownerActive: true, peerActive: true},
		{name: "target gone", mode: "container:cccccccccccc", ownerActive: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.network("n", "dev", "10.1.0.0/24")
			o, p := w.container(owner, "o"), w.container(peer, "p")
			o.Host.NetworkMode, p.Host.NetworkMode = tt.mode, "container:"+owner
			o.Active, p.Active = tt.ownerActive, tt.peerActive
			if tt.mode == "bridge" {
				w.join(o, "n", "10.1.0.2")
			}
			s := Plan(w.snapshot(), facts())
			if got := s.Sandboxes[owner] != nil; got != tt.sandbox {
				t.Errorf("sandbox of the owner: %v, want %v", got, tt.sandbox)
			}
			if s.Sandboxes[peer] != nil {
				t.Error("one who joins another has a sandbox of its own")
			}
			if _, got := s.Zones.Networks["n"].Names["o"]; got != tt.names {
				t.Errorf("owner has a name: %v, want %v", got, tt.names)
			}
			if _, got := s.Zones.Networks["n"].Names["p"]; got {
				t.Error("one who joins another has a name")
			}
			files := s.Files[peer]
			if got := len(files) == 3; got != tt.peerFiles {
				t.Fatalf("files of who joined: %v, want %v", files, tt.peerFiles)
			}
			if tt.sandbox && tt.peerFiles {
				for i, f := range s.Sandboxes[owner].Files {
					if f.Content != files[i].Content || files[i].Path[len(files[i].Path)-4:] != f.Path[len(f.Path)-4:] {
						t.Errorf("file %d of who joined is %v, want the content of %v", i, files[i], f)
					}
				}
			}
		})
	}
}

func TestDefaultRoute(t *testing.T) {
	type net struct {
		internal bool
		prio     int
	}
	tests := []struct {
		name  string
		nets  []net
		ports bool
		want  string // device; empty: none
	}{
		{name: "none"},
		{name: "first", nets: []net{{}, {}}, want: "eth0"},
		{name: "priority", nets: []net{{}, {prio: 1}, {}}, want: "eth1"},
		{name: "negative priority", nets: []net{{prio: -1}, {}}, want: "eth1"},
		{name: "not through an internal one", nets: []net{{internal: true}}},
		{name: "internal with a port", nets: []net{{internal: true}}, ports: true, want: "eth0"},
		{name: "outside before internal", nets: []net{{internal: true, prio: 9}, {}}, ports: true, want: "eth1"},
		{name: "internal does not displace", nets: []net{{}, {internal: true, prio: 9}}, ports: true, want: "eth0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			c := w.container("aaaaaaaaaaaa", "c")
			for i, n := range tt.nets {
				id := string(rune('p' + i))
				w.network(id, id, netip.AddrFrom4([4]byte{10, byte(i + 1), 0, 0}).String()+"/24").Internal = n.internal
				w.join(c, id, netip.AddrFrom4([4]byte{10, byte(i + 1), 0, 2}).String()).GwPriority = n.prio
			}
			if tt.ports {
				publish(c, "0.0.0.0", 80, 80, "tcp")
			}
			routes := Plan(w.snapshot(), facts()).Sandboxes[c.ID].Routes
			got := ""
			if len(routes) == 1 {
				got = routes[0].Dev
			}
			if got != tt.want || len(routes) > 1 {
				t.Errorf("routes %v, want a default one through %q", routes, tt.want)
			}
		})
	}
}

func TestIPv6(t *testing.T) {
	w := newWorld()
	n := w.network("n", "dev", "10.1.0.0/24")
	p6 := netip.MustParsePrefix("fd00:1::/64")
	n.Subnets = append(n.Subnets, model.Subnet{Prefix: p6, Gateway: p6.Addr().Next()})
	c := w.container("aaaaaaaaaaaa", "c")
	e := w.join(c, "n", "10.1.0.2")
	e.IPv6 = netip.MustParsePrefix("fd00:1::2/64")
	publish(c, "::", 80, 8080, "tcp")
	s := Plan(w.snapshot(), facts())
	wantRoutes := []desired.Route{
		{Via: netip.MustParseAddr("10.1.0.1"), Dev: "eth0"}, {Via: netip.MustParseAddr("fd00:1::1"), Dev: "eth0"},
	}
	if got := s.Sandboxes[c.ID].Routes; !reflect.DeepEqual(got, wantRoutes) {
		t.Errorf("routes %v, want %v", got, wantRoutes)
	}
	key := desired.PortKey{V6: true, Proto: "tcp", Port: 80}
	if got, want := s.Firewall.PublishAny[key], (desired.Target{IP: e.IPv6.Addr(), Port: 8080}); got != want {
		t.Errorf("[::]:80 leads to %v, want %v", got, want)
	}
	if got, want := s.Zones.Networks["n"].Names["c"], []netip.Addr{e.IPv4.Addr(), e.IPv6.Addr()}; !reflect.DeepEqual(got, want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
}

func TestSysctls(t *testing.T) {
	w := newWorld()
	c := w.container("aaaaaaaaaaaa", "c")
	c.Host.Sysctls = map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "1024",
		"net.ipv4.conf.eth0/100.forwarding":   "1",
		"net/core/somaxconn":                  "512",
		"kernel.msgmax":                       "65536", // the IPC namespace's: the runtime's work
		"net/../kernel/core_pattern":          "|/x",   // an old record's: these four are nobody's
		"net.//.kernel.core_pattern":          "|/x",
		"net/./core/somaxconn":                "1",
		"net//core/somaxconn":                 "1",
	}
	want := map[string]string{
		"net/ipv4/ip_unprivileged_port_start": "1024",
		"net/ipv4/ping_group_range":           "0 2147483647",
		"net/ipv4/conf/eth0.100/forwarding":   "1",
		"net/core/somaxconn":                  "512",
	}
	if got := Plan(w.snapshot(), facts()).Sandboxes[c.ID].Sysctls; !reflect.DeepEqual(got, want) {
		t.Errorf("sysctls %v, want %v", got, want)
	}
}

func TestResolver(t *testing.T) {
	tests := []struct {
		name      string
		set       func(c, peer *model.Container)
		bridge    bool
		at        string
		listening string
	}{
		{name: "none has none"},
		{name: "bridge", bridge: true, at: "127.0.0.11:53", listening: "127.0.0.11:53"},
		{name: "exposes 53", bridge: true, at: "127.0.0.11:53", listening: "127.0.0.11:10053", set: func(c, _ *model.Container) {
			c.Config.ExposedPorts = []model.Port{{Number: 53, Proto: "udp"}}
		}},
		{name: "publishes 53", bridge: true, at: "127.0.0.11:53", listening: "127.0.0.11:10053", set: func(c, _ *model.Container) {
			publish(c, "0.0.0.0", 5353, 53, "tcp")
		}},
		{name: "host port 53 only", bridge: true, at: "127.0.0.11:53", listening: "127.0.0.11:53", set: func(c, _ *model.Container) {
			publish(c, "0.0.0.0", 53, 5353, "tcp")
		}},
		{name: "who joins exposes 53", bridge: true, at: "127.0.0.11:53", listening: "127.0.0.11:10053", set: func(_, p *model.Container) {
			p.Active = true
			p.Config.ExposedPorts = []model.Port{{Number: 53, Proto: "udp"}}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.network("n", "dev", "10.1.0.0/24")
			c, peer := w.container("aaaaaaaaaaaa", "c"), w.container("bbbbbbbbbbbb", "p")
			peer.Host.NetworkMode, peer.Active = "container:aaaaaaaaaaaa", false
			if tt.bridge {
				w.join(c, "n", "10.1.0.2")
			} else {
				c.Host.NetworkMode = "none"
			}
			if tt.set != nil {
				tt.set(c, peer)
			}
			s := Plan(w.snapshot(), facts())
			box := s.Sandboxes[c.ID]
			if !tt.bridge {
				if box.Resolver.IsValid() || box.ResolverVia.IsValid() || s.Zones.Views[c.ID] != nil || len(box.Interfaces) != 0 {
					t.Errorf("sandbox without a network has a resolver, a view or an interface: %+v", box)
				}
				return
			}
			if box.Resolver.String() != tt.at || box.ResolverVia.String() != tt.listening {
				t.Errorf("resolver at %v, listening at %v, want %s and %s", box.Resolver, box.ResolverVia, tt.at, tt.listening)
			}
		})
	}
}
