//go:build linux

package nft

import (
	"net/netip"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
)

// tenantTown is town where network b is one tenant's and d and e are another's,
// d being its default network. What is published on a1 and b1 stays so.
func tenantTown(t *testing.T) (*lab, desired.Firewall) {
	l, fw := town(t)
	for _, n := range []struct{ name, net string }{{"d", "172.30.4."}, {"e", "172.30.5."}} {
		l.bridge("jk-"+n.name, n.net+"1/24")
		l.attach(n.name+"1", "jk-"+n.name, []string{n.net + "2/24"}, []string{n.net + "1"}).serve(t, n.net+"2:80")
		l.host.serve(t, n.net+"1:9000")
		fw.Bridges["jk-"+n.name] = struct{}{}
		fw.Hairpin[desired.HairpinKey{Subnet: netip.MustParsePrefix(n.net + "0/24"), Bridge: "jk-" + n.name}] = struct{}{}
		fw.Masquerade[netip.MustParsePrefix(n.net+"0/24")] = struct{}{}
	}
	both(&fw, "", 8086, "172.30.4.2:80")
	fw.Tenants = names("jk-b", "jk-d", "jk-e")
	fw.TenantNets, fw.Gateways = map[netip.Prefix]struct{}{}, map[netip.Addr]struct{}{}
	for _, p := range []string{"172.30.2.0/24", "fd00:2::/64", "172.30.4.0/24", "172.30.5.0/24"} {
		fw.TenantNets[netip.MustParsePrefix(p)] = struct{}{}
	}
	for _, a := range []string{"172.30.1.1", "172.30.2.1", "172.30.3.1", "172.30.4.1", "172.30.5.1", "fd00:1::1", "fd00:2::1"} {
		fw.Gateways[netip.MustParseAddr(a)] = struct{}{}
	}
	fw.OwnGateways = map[desired.GatewayKey]struct{}{}
	for bridge, own := range map[string][]string{"jk-b": {"172.30.2.1", "fd00:2::1"}, "jk-d": {"172.30.4.1"}, "jk-e": {"172.30.5.1", "172.30.4.1"}} {
		for _, a := range own {
			fw.OwnGateways[desired.GatewayKey{Bridge: bridge, Addr: netip.MustParseAddr(a)}] = struct{}{}
		}
	}
	return l, fw
}

// Tenants reach each other as clients from outside do, and don't find the host
// on others' bridges.
func TestTenantPackets(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := tenantTown(t)
	without := fw
	without.Tenants, without.TenantNets, without.Gateways, without.OwnGateways = nil, nil, nil, nil
	f := newFirewall(t)
	must(t, f.Load(t.Context(), without))
	l.matrix("without tenants", []probe{ // so that the test can fail
		{"b1", "172.30.4.1:9000", "host sees 172.30.2.2"},
		{"b1", "172.30.4.1:8080", "a1 sees 172.30.2.2"},
		{"b1", "[fd00:1::1]:8080", "a1 sees fd00:2::2"},
	})
	must(t, f.Load(t.Context(), fw))
	l.matrix("tenants", []probe{
		// Others' containers, by their addresses.
		{"b1", "172.30.4.2:80", ""}, {"d1", "172.30.2.2:80", ""}, {"d1", "172.30.1.2:80", ""}, {"a1", "172.30.4.2:80", ""}, {"d1", "172.30.5.2:80", ""},
		// Published ports: at the host's address, as any client's, seen as the host.
		{"b1", "192.0.2.1:8086", "d1 sees 172.30.4.1"}, {"d1", "192.0.2.1:8084", "b1 sees 172.30.2.1"}, {"d1", "192.0.2.1:8080", "a1 sees 172.30.1.1"},
		{"e1", "192.0.2.1:8086", "d1 sees 172.30.4.1"}, {"d1", "192.0.2.1:8086", "d1 sees 172.30.4.1"},
		{"b1", "[2001:db8::1]:8080", "a1 sees fd00:1::1"}, {"outside", "192.0.2.1:8086", "d1 sees 192.0.2.2"}, {"a1", "192.0.2.1:8086", "d1 sees 172.30.1.2"},
		// The host on a tenant's own bridges, and on others'.
		{"b1", "172.30.2.1:9000", "host sees 172.30.2.2"}, {"d1", "172.30.4.1:9000", "host sees 172.30.4.2"},
		{"e1", "172.30.5.1:9000", "host sees 172.30.5.2"}, {"e1", "172.30.4.1:9000", "host sees 172.30.5.2"},
		{"b1", "172.30.4.1:9000", ""}, {"b1", "172.30.5.1:9000", ""}, {"b1", "172.30.1.1:9000", ""}, {"d1", "172.30.2.1:9000", ""}, {"d1", "172.30.5.1:9000", ""},
		{"b1", "172.30.4.1:8086", ""}, {"b1", "172.30.1.1:8080", ""}, {"b1", "[fd00:1::1]:8080", ""},
		{"b1", "172.30.2.1:8080", "a1 sees 172.30.1.1"}, {"b1", "[fd00:2::1]:8080", "a1 sees fd00:1::1"},
		// The host elsewhere, the world, and what is no tenant's are as ever.
		{"b1", "192.0.2.1:9000", "host sees 172.30.2.2"}, {"b1", "192.0.2.2:80", "outside sees 192.0.2.1"}, {"host", "172.30.4.2:80", "d1 sees 172.30.4.1"},
		{"a1", "172.30.4.1:9000", "host sees 172.30.1.2"}, {"c1", "172.30.3.1:9000", "host sees 172.30.3.2"}, {"host", "127.0.0.1:8086", "d1 sees 172.30.4.1"},
	})
}
