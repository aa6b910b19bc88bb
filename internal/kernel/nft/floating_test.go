//go:build linux

package nft

import (
	"net/netip"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
)

// floatingTown is town with floating IPs on the host's cable: .17 of a1, .18 of
// a2, .19 of b1 and .20 of the internal c1; .21 is nobody's.
func floatingTown(t *testing.T) (*lab, desired.Firewall) {
	l, fw := town(t)
	for _, n := range []string{"17", "18", "19", "20"} {
		l.host.run(t, "ip addr add 192.0.2."+n+"/32 dev voutside")
		l.host.run(t, "ip addr add 2001:db8::"+n+"/128 dev voutside nodad")
	}
	fw.FIPIn = addrs("192.0.2.17", "172.30.1.2", "192.0.2.18", "172.30.1.3", "192.0.2.19", "172.30.2.2", "192.0.2.20", "172.30.3.2",
		"2001:db8::17", "fd00:1::2", "2001:db8::18", "fd00:1::3", "2001:db8::19", "fd00:2::2")
	fw.FIPOut = addrs()
	for f, to := range fw.FIPIn {
		fw.FIPOut[to] = f
	}
	// A port of just this address is more particular than the floating IP.
	both(&fw, "192.0.2.17", 81, "172.30.2.3:80")
	return l, fw
}

func TestFloatingPackets(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := floatingTown(t)
	must(t, newFirewall(t).Load(t.Context(), fw))
	for _, brnf := range []string{"1", "0"} {
		for _, s := range []string{"iptables", "ip6tables"} {
			l.host.sysctl(t, "bridge/bridge-nf-call-"+s, brnf)
		}
		l.matrix("br_netfilter "+brnf, []probe{
			// In: every port, with the client's address; others' ports are not its.
			{"outside", "192.0.2.17:80", "a1 sees 192.0.2.2"},
			{"outside", "192.0.2.19:80", "b1 sees 192.0.2.2"},
			{"outside", "192.0.2.20:80", "c1 sees 192.0.2.2"},
			{"outside", "[2001:db8::17]:80", "a1 sees 2001:db8::2"},
			{"outside", "192.0.2.17:81", "b2 sees 192.0.2.2"},
			{"outside", "192.0.2.18:8080", ""}, // a1's published port
			{"outside", "192.0.2.17:9000", ""}, // the host's own service
			{"outside", "192.0.2.1:8080", "a1 sees 192.0.2.2"},
			{"outside", "172.30.1.2:80", ""},
			// From the host.
			{"host", "192.0.2.17:80", "a1 sees 192.0.2.17"},
			{"host", "[2001:db8::17]:80", "a1 sees 2001:db8::17"},
			// Out: with the floating IP, and as before without.
			{"a1", "192.0.2.2:80", "outside sees 192.0.2.17"},
			{"b1", "192.0.2.2:80", "outside sees 192.0.2.19"},
			{"b2", "192.0.2.2:80", "outside sees 192.0.2.1"},
			{"a1", "[2001:db8::2]:80", "outside sees 2001:db8::17"},
			{"c1", "192.0.2.2:80", ""},
			// Between containers: to itself, a neighbour, another network.
			{"a1", "192.0.2.17:80", "a1 sees 192.0.2.17"},
			{"a1", "192.0.2.18:80", "a2 sees 192.0.2.17"},
			{"b2", "192.0.2.17:80", "a1 sees 172.30.2.3"},
			{"b1", "192.0.2.17:80", "a1 sees 192.0.2.19"},
			{"a1", "192.0.2.19:80", "b1 sees 192.0.2.17"},
			{"a1", "192.0.2.20:80", "c1 sees 192.0.2.17"},
			{"c1", "192.0.2.20:80", "c1 sees 192.0.2.20"},
			{"c2", "192.0.2.20:80", "c1 sees 172.30.3.1"},
			{"c1", "192.0.2.17:80", ""},
			{"a1", "[2001:db8::18]:80", "a2 sees 2001:db8::17"},
			// Within a network and to the host's services nothing changes.
			{"a1", "172.30.1.3:80", "a2 sees 172.30.1.2"},
			{"a1", "192.0.2.1:9000", "host sees 172.30.1.2"},
			{"a1", "172.30.2.2:80", ""},
		})
	}
	l.places["outside"].run(t, "ping -c 1 -W 1 192.0.2.17")
}

// A floating IP with some ports only has no others, not the host's and not
// those that are published on every address.
func TestFloatingPorts(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := floatingTown(t)
	f := newFirewall(t)
	only := func(addr string) desired.Firewall {
		a := netip.MustParseAddr(addr)
		return desired.Firewall{FIPOnly: map[netip.Addr]struct{}{a: {}}, FIPPorts: map[desired.Claim]struct{}{
			{IP: a, Proto: "tcp", Port: 80}: {}, {IP: a, Proto: "udp", Port: 80}: {},
		}}
	}
	must(t, f.Load(t.Context(), fw))
	must(t, f.Update(t.Context(), only("192.0.2.18"), empty()))
	must(t, f.Update(t.Context(), only("2001:db8::18"), empty()))
	open := []probe{
		{"outside", "192.0.2.18:80", "a2 sees 192.0.2.2"},
		{"outside", "[2001:db8::18]:80", "a2 sees 2001:db8::2"},
		{"host", "192.0.2.18:80", "a2 sees 192.0.2.18"},
		{"a1", "192.0.2.18:80", "a2 sees 192.0.2.17"},
		{"a2", "192.0.2.2:80", "outside sees 192.0.2.18"},
		{"outside", "192.0.2.17:80", "a1 sees 192.0.2.2"},
		{"outside", "192.0.2.1:9000", "host sees 192.0.2.2"},
	}
	l.matrix("some ports", append(open,
		probe{"outside", "192.0.2.18:9000", ""}, probe{"host", "192.0.2.18:9000", ""}, probe{"b1", "192.0.2.18:9000", ""},
		probe{"outside", "192.0.2.18:8080", ""}, probe{"outside", "[2001:db8::18]:9000", ""}))
	// A flow that began through any port ends when the ports are few.
	must(t, f.Update(t.Context(), empty(), only("192.0.2.18")))
	a := netip.MustParseAddr("192.0.2.18")
	ask := flow(t, l.places["outside"], "192.0.2.18:80")
	if got := ask(); got != "a2 sees 192.0.2.2" {
		t.Fatalf("with every port: %q", got)
	}
	must(t, f.Update(t.Context(), desired.Firewall{FIPOnly: map[netip.Addr]struct{}{a: {}}}, empty()))
	if got := ask(); got != "" {
		t.Errorf("with no port: %q", got)
	}
	must(t, f.Update(t.Context(), desired.Firewall{FIPPorts: map[desired.Claim]struct{}{{IP: a, Proto: "udp", Port: 80}: {}}}, empty()))
	ask = flow(t, l.places["outside"], "192.0.2.18:80")
	if got := ask(); got != "a2 sees 192.0.2.2" {
		t.Errorf("with its port: %q", got)
	}
}

// What is new goes from an address that moved to where it moved to; the network
// next door does not get in that way.
func TestMovedAddresses(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := town(t)
	f := newFirewall(t)
	must(t, f.Load(t.Context(), fw))
	a1, a2 := netip.MustParseAddr("172.30.1.2"), netip.MustParseAddr("172.30.1.3")
	bridge := ""
	for k := range fw.Hairpin {
		if k.Subnet.Contains(a1) {
			bridge = k.Bridge
		}
	}
	moved := desired.Firewall{
		Moved:   map[desired.MovedKey]netip.Addr{{Bridge: bridge, Addr: a1}: a2, {Bridge: bridge, Addr: a2}: a1},
		Swapped: map[netip.Addr]struct{}{a1: {}, a2: {}},
	}
	for _, c := range []struct {
		when     string
		add, del desired.Firewall
		at1, at2 string
	}{
		{"before", empty(), empty(), "a1", "a2"}, {"moved", moved, empty(), "a2", "a1"}, {"moved back", empty(), moved, "a1", "a2"},
	} {
		must(t, f.Update(t.Context(), c.add, c.del))
		l.matrix(c.when, []probe{
			{"host", "172.30.1.2:80", c.at1 + " sees 172.30.1.1"}, {"host", "172.30.1.3:80", c.at2 + " sees 172.30.1.1"},
			{"b1", "172.30.1.2:80", ""}, {"outside", "172.30.1.2:80", ""},
			{"outside", "192.0.2.1:8080", "a1 sees 192.0.2.2"}, // a published port leads to what is on the interface
		})
	}
}

// A flow through a floating IP follows it, in both directions, and others go on.
func TestFlowsFollowFloatingIP(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := town(t)
	l.host.run(t, "ip addr add 192.0.2.17/32 dev voutside")
	f := newFirewall(t)
	must(t, f.Load(t.Context(), fw))
	at := func(addr string) desired.Firewall {
		return desired.Firewall{FIPIn: addrs("192.0.2.17", addr), FIPOut: addrs(addr, "192.0.2.17")}
	}
	a1, b1, none := at("172.30.1.2"), at("172.30.2.2"), desired.Firewall{}
	in, other := flow(t, l.places["outside"], "192.0.2.17:80"), flow(t, l.places["outside"], "192.0.2.1:8080")
	out := flow(t, l.places["a1"], "192.0.2.2:80")
	if got := other(); got != "a1 sees 192.0.2.2" {
		t.Fatalf("other flow: %q", got)
	}
	for i, step := range []struct {
		add, del desired.Firewall
		in, out  string // empty: not asked
	}{
		{add: none, del: none, in: "-"},
		{add: a1, in: "a1 sees 192.0.2.2", out: "outside sees 192.0.2.17"},
		{add: b1, del: a1, in: "b1 sees 192.0.2.2", out: "outside sees 192.0.2.1"},
		{del: b1, in: "-", out: "outside sees 192.0.2.1"},
	} {
		must(t, f.Update(t.Context(), step.add, step.del))
		if got := in(); got != step.in && (got != "" || step.in != "-") {
			t.Errorf("step %d, in: %q, want %q", i, got, step.in)
		}
		if step.out == "" {
			continue
		}
		if got := out(); got != step.out {
			t.Errorf("step %d, out: %q, want %q", i, got, step.out)
		}
	}
	if got := other(); got != "a1 sees 192.0.2.2" {
		t.Errorf("other flow at the end: %q", got)
	}
}
