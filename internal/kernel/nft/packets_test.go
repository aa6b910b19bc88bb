//go:build linux

package nft

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
)

func names(s ...string) map[string]struct{} {
	m := map[string]struct{}{}
	for _, n := range s {
		m[n] = struct{}{}
	}
	return m
}

func to(s string) desired.Target {
	ap := netip.MustParseAddrPort(s)
	return desired.Target{IP: ap.Addr(), Port: ap.Port()}
}

func withBridge(n string) desired.Firewall { return desired.Firewall{Bridges: names(n)} }

// both publishes on tcp and udp.
func both(fw *desired.Firewall, ip string, port uint16, target string) {
	for _, proto := range []string{"tcp", "udp"} {
		if ip == "" {
			t := to(target)
			fw.PublishAny[desired.PortKey{V6: t.IP.Is6(), Proto: proto, Port: port}] = t
			continue
		}
		fw.Publish[desired.Claim{IP: netip.MustParseAddr(ip), Proto: proto, Port: port}] = to(target)
	}
}

func newFirewall(t *testing.T) *Firewall {
	t.Helper()
	f, err := New(t.Context(), Options{})
	must(t, err)
	return f
}

// town is a host with networks a, b and the internal c, and another machine.
func town(t *testing.T) (*lab, desired.Firewall) {
	l := newLab(t)
	l.attach("outside", "", []string{"192.0.2.2/24", "2001:db8::2/64"}, []string{"192.0.2.1", "2001:db8::1"})
	l.host.run(t, "ip addr add 192.0.2.1/24 dev voutside")
	l.host.run(t, "ip addr add 2001:db8::1/64 dev voutside nodad")
	fw := desired.Firewall{
		Bridges:    names("jk-a", "jk-b", "jk-c"),
		Open:       names("jk-a", "jk-b", "jk-c"),
		Internal:   names("jk-c"),
		Masquerade: map[netip.Prefix]struct{}{}, Hairpin: map[desired.HairpinKey]struct{}{},
		Publish: map[desired.Claim]desired.Target{}, PublishAny: map[desired.PortKey]desired.Target{},
	}
	for i, n := range []string{"a", "b", "c"} {
		v4, v6 := "172.30."+string(rune('1'+i))+".", "fd00:"+string(rune('1'+i))+"::"
		l.bridge("jk-"+n, v4+"1/24", v6+"1/64")
		for j, m := range []string{"1", "2"} {
			host := string(rune('2' + j))
			p := l.attach(n+m, "jk-"+n, []string{v4 + host + "/24", v6 + host + "/64"}, []string{v4 + "1", v6 + "1"})
			p.serve(t, v4+host+":80")
			p.serve(t, "["+v6+host+"]:80")
		}
		for _, s := range []string{v4 + "0/24", v6 + "/64"} {
			p := netip.MustParsePrefix(s)
			fw.Hairpin[desired.HairpinKey{Subnet: p, Bridge: "jk-" + n}] = struct{}{}
			if n != "c" {
				fw.Masquerade[p] = struct{}{}
			}
		}
		l.host.serve(t, v4+"1:9000")
	}
	l.host.serve(t, "192.0.2.1:9000")
	l.host.serve(t, "127.0.0.1:9001")
	l.places["outside"].serve(t, "192.0.2.2:80")
	l.places["outside"].serve(t, "[2001:db8::2]:80")
	both(&fw, "", 8080, "172.30.1.2:80")
	both(&fw, "127.0.0.1", 8081, "172.30.1.2:80")
	both(&fw, "192.0.2.1", 8082, "172.30.1.3:80")
	both(&fw, "", 8083, "172.30.3.2:80")
	both(&fw, "", 8084, "172.30.2.2:80")
	both(&fw, "", 8080, "[fd00:1::2]:80")
	both(&fw, "2001:db8::1", 8082, "[fd00:1::3]:80")
	return l, fw
}

func cases() []probe {
	return []probe{
		// One network.
		{"a1", "172.30.1.3:80", "a2 sees 172.30.1.2"},
		{"c1", "172.30.3.3:80", "c2 sees 172.30.3.2"},
		{"a1", "[fd00:1::3]:80", "a2 sees fd00:1::2"},
		// Networks do not reach each other, in neither direction.
		{"a1", "172.30.2.2:80", ""},
		{"b1", "172.30.1.2:80", ""},
		{"a1", "172.30.3.2:80", ""},
		{"c1", "172.30.1.2:80", ""},
		{"a1", "[fd00:2::2]:80", ""},
		// Out, with the host's address; the internal network does not get out.
		{"a1", "192.0.2.2:80", "outside sees 192.0.2.1"},
		{"b2", "192.0.2.2:80", "outside sees 192.0.2.1"},
		{"a1", "[2001:db8::2]:80", "outside sees 2001:db8::1"},
		{"c1", "192.0.2.2:80", ""},
		{"c1", "[2001:db8::2]:80", ""},
		// In: only through published ports, and the client's address is seen.
		{"outside", "172.30.1.2:80", ""},
		{"outside", "172.30.3.2:80", ""},
		{"outside", "[fd00:1::2]:80", ""},
		{"outside", "192.0.2.1:8080", "a1 sees 192.0.2.2"},
		{"outside", "192.0.2.1:8082", "a2 sees 192.0.2.2"},
		{"outside", "192.0.2.1:8083", "c1 sees 192.0.2.2"},
		{"outside", "192.0.2.1:8081", ""},
		{"outside", "192.0.2.1:8085", ""},
		{"outside", "[2001:db8::1]:8080", "a1 sees 2001:db8::2"},
		{"outside", "[2001:db8::1]:8082", "a2 sees 2001:db8::2"},
		// Another of the host's addresses.
		{"outside", "172.30.1.1:8080", "a1 sees 192.0.2.2"},
		{"outside", "172.30.1.1:8082", ""},
		// The host itself, by each of its addresses, loopback included.
		{"host", "172.30.1.2:80", "a1 sees 172.30.1.1"},
		{"host", "192.0.2.1:8080", "a1 sees 192.0.2.1"},
		{"host", "127.0.0.1:8080", "a1 sees 172.30.1.1"},
		{"host", "127.0.0.1:8081", "a1 sees 172.30.1.1"},
		{"host", "127.0.0.1:8082", ""},
		{"host", "127.0.0.1:8083", "c1 sees 172.30.3.1"},
		{"host", "127.0.0.1:9001", "host sees 127.0.0.1"},
		{"host", "172.30.1.1:9000", "host sees 172.30.1.1"},
		{"host", "[2001:db8::1]:8080", "a1 sees 2001:db8::1"},
		{"host", "192.0.2.2:80", "outside sees 192.0.2.1"},
		// Hairpin: its own port, a neighbour's, another network's.
		{"a1", "192.0.2.1:8080", "a1 sees 172.30.1.1"},
		{"a2", "192.0.2.1:8080", "a1 sees 172.30.1.1"},
		{"a2", "172.30.1.1:8080", "a1 sees 172.30.1.1"},
		{"a1", "192.0.2.1:8082", "a2 sees 172.30.1.1"},
		{"b1", "192.0.2.1:8080", "a1 sees 172.30.2.2"},
		{"a1", "192.0.2.1:8084", "b1 sees 172.30.1.2"},
		{"a2", "[2001:db8::1]:8080", "a1 sees fd00:1::1"},
		{"b1", "[2001:db8::1]:8080", "a1 sees fd00:2::2"},
		// Into an internal network by its published port, from it by nobody else's.
		{"a1", "192.0.2.1:8083", "c1 sees 172.30.1.2"},
		{"c2", "172.30.3.1:8083", "c1 sees 172.30.3.1"},
		{"c1", "192.0.2.1:8080", ""},
		{"c1", "172.30.3.1:8080", ""},
		// The host's own services: from everywhere but an internal network,
		// which has its gateway.
		{"a1", "192.0.2.1:9000", "host sees 172.30.1.2"},
		{"a1", "172.30.2.1:9000", "host sees 172.30.1.2"},
		{"c1", "172.30.3.1:9000", "host sees 172.30.3.2"},
		{"c1", "192.0.2.1:9000", ""},
		{"c1", "172.30.1.1:9000", ""},
		{"outside", "192.0.2.1:9000", "host sees 192.0.2.2"},
	}
}

func TestPackets(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := town(t)
	f := newFirewall(t)
	must(t, f.Load(t.Context(), fw))
	for _, brnf := range []string{"1", "0"} {
		// Whether what a bridge switches passes the hooks of inet, too.
		for _, s := range []string{"iptables", "ip6tables"} {
			l.host.sysctl(t, "bridge/bridge-nf-call-"+s, brnf)
		}
		l.matrix("br_netfilter "+brnf, cases())
	}
}

// A neighbour on any network must not reach what is bound or published at
// 127.0.0.1, not even where route_localnet makes such packets no martians.
func TestCraftedLoopback(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := town(t)
	f := newFirewall(t)
	l.host.sysctl(t, "ipv4/conf/voutside/route_localnet", "1")
	for _, n := range []string{"outside", "a2", "c2"} {
		p := l.places[n]
		gw := map[string]string{"outside": "192.0.2.1", "a2": "172.30.1.1", "c2": "172.30.3.1"}[n]
		p.sysctl(t, "ipv4/conf/eth0/route_localnet", "1")
		p.run(t, "ip route add 127.0.0.1/32 via "+gw) // lo is down: there is no local route
	}
	// Without our table the crafted packets do arrive: the test can fail.
	l.matrix("no table", []probe{
		{"a2", "127.0.0.1:9001", "host sees 172.30.1.3"},
		{"outside", "127.0.0.1:9001", "host sees 192.0.2.2"},
	})
	must(t, f.Load(t.Context(), fw))
	l.matrix("loaded", []probe{
		{"a2", "127.0.0.1:9001", ""}, {"a2", "127.0.0.1:8080", ""}, {"a2", "127.0.0.1:8081", ""},
		{"c2", "127.0.0.1:9001", ""}, {"c2", "127.0.0.1:8081", ""},
		{"outside", "127.0.0.1:8080", ""}, {"outside", "127.0.0.1:8081", ""}, {"outside", "127.0.0.1:8083", ""},
	})
}

// Traffic that is not ours passes as if the table were not there.
func TestOtherBridgeUntouched(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := town(t)
	l.bridge("virbr0", "10.9.0.1/24")
	l.attach("vm", "virbr0", []string{"10.9.0.2/24"}, []string{"10.9.0.1"}).serve(t, "10.9.0.2:80")
	must(t, newFirewall(t).Load(t.Context(), fw))
	l.matrix("other bridge", []probe{
		{"vm", "192.0.2.2:80", "outside sees 10.9.0.2"},
		{"outside", "10.9.0.2:80", "vm sees 192.0.2.2"},
		{"vm", "192.0.2.1:9000", "host sees 10.9.0.2"},
		{"vm", "192.0.2.1:8080", "a1 sees 10.9.0.2"},
		{"vm", "172.30.1.2:80", ""},
		{"a1", "10.9.0.2:80", "vm sees 10.9.0.1"},
	})
}

// A flow that began while the table was not there, between networks or into
// one, ends with it: being established is no reason to pass.
func TestFlowsFromBeforeTheTable(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := town(t)
	l.nft("add", "table", "inet", "other") // another firewall has connections tracked
	l.nft("add", "chain", "inet", "other", "c", "{ type filter hook forward priority 0; }")
	l.nft("add", "rule", "inet", "other", "c", "ct", "state", "established", "accept")
	probes := []probe{
		{"a1", "172.30.2.2:80", "b1 sees 172.30.1.2"},
		{"c1", "172.30.1.2:80", "a1 sees 172.30.3.2"},
		{"outside", "172.30.1.3:80", "a2 sees 192.0.2.2"},
	}
	l.places["outside"].run(t, "ip route add 172.30.0.0/16 via 192.0.2.1")
	var flows []func() string
	for _, p := range probes {
		ask := flow(t, l.places[p.from], p.to)
		for range 2 {
			if got := ask(); got != p.want {
				t.Fatalf("without the table %s to %s: got %q, want %q: the test shows nothing", p.from, p.to, got, p.want)
			}
		}
		flows = append(flows, ask)
	}
	f := newFirewall(t)
	must(t, f.Load(t.Context(), fw))
	published := flow(t, l.places["outside"], "192.0.2.1:8080")
	if got := published(); got != "a1 sees 192.0.2.2" {
		t.Errorf("published port: %q", got)
	}
	must(t, f.Load(t.Context(), fw))
	if got := published(); got != "a1 sees 192.0.2.2" {
		t.Errorf("a rightful flow ended with a reload: %q", got)
	}
	for i, p := range probes {
		if got := flows[i](); got != "" {
			t.Errorf("%s to %s goes on: %q", p.from, p.to, got)
		}
	}
}

// Nobody reaches the host with the address of somebody who is not behind that
// bridge: a name server's, whose answers the daemon would believe.
func TestForgedSource(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := town(t)
	heard := make(chan string, 100)
	var pc net.PacketConn
	must(t, l.host.in(func() (err error) { pc, err = net.ListenPacket("udp4", "192.0.2.1:5300"); return err }))
	t.Cleanup(func() { _ = pc.Close() })
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			heard <- string(buf[:n]) + from.String()
		}
	}()
	send := func(from, source, want string) string {
		l.places[from].run(t, "ip addr replace "+source+"/32 dev lo")
		must(t, l.places[from].in(func() error {
			c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(source), Port: 53}, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5300})
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("from "))
			return err
		}))
		select {
		case s := <-heard:
			return s
		case <-time.After(waitFor(want != "")):
			return ""
		}
	}
	l.host.sysctl(t, "ipv4/conf/all/rp_filter", "0")
	if got := send("a1", "192.0.2.2", "from 192.0.2.2:53"); got != "from 192.0.2.2:53" {
		t.Fatalf("without the table: %q: the test shows nothing", got)
	}
	must(t, newFirewall(t).Load(t.Context(), fw))
	for _, c := range []struct{ from, source, want string }{
		{"a1", "192.0.2.2", ""},  // another machine's
		{"a1", "172.30.2.2", ""}, // another network's
		{"a1", "198.51.100.7", ""},
		{"a1", "172.30.1.2", "from 172.30.1.2:53"},
		{"outside", "198.51.100.7", "from 198.51.100.7:53"}, // not our bridge: not our affair
	} {
		if got := send(c.from, c.source, c.want); got != c.want {
			t.Errorf("%s as %s: got %q, want %q", c.from, c.source, got, c.want)
		}
	}
	// What the host knows to be behind a container is behind the bridge.
	l.host.run(t, "ip route add 198.51.100.0/24 via 172.30.1.2 dev jk-a")
	if got := send("a1", "198.51.100.7", "from 198.51.100.7:53"); got != "from 198.51.100.7:53" {
		t.Errorf("a network behind a container: %q", got)
	}
}
