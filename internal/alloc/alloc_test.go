package alloc

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func network(prefix, gateway string) *model.Network {
	return &model.Network{ID: "0123", Name: "dev", Subnets: []model.Subnet{{
		Prefix: netip.MustParsePrefix(prefix), Gateway: netip.MustParseAddr(gateway),
	}}}
}

// set makes a taken function of addresses.
func set(in ...string) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		for _, s := range in {
			if a.String() == s {
				return true
			}
		}
		return false
	}
}

func TestAddress(t *testing.T) {
	small := network("10.0.0.0/29", "10.0.0.1")
	ranged := network("10.0.0.0/24", "10.0.0.1")
	ranged.Subnets[0].Range = netip.MustParsePrefix("10.0.0.128/30")
	reserved := network("10.0.0.0/29", "10.0.0.3")
	reserved.Subnets[0].Reserved = map[string]netip.Addr{"router": netip.MustParseAddr("10.0.0.1")}
	two := network("10.0.0.0/30", "10.0.0.1")
	two.Subnets = append(two.Subnets, network("10.9.0.0/24", "10.9.0.1").Subnets...)
	tests := []struct {
		name  string
		n     *model.Network
		taken []string
		want  string // empty: full
	}{
		{name: "first behind the gateway", n: small, want: "10.0.0.2/29"},
		{name: "lowest free", n: small, taken: []string{"10.0.0.2", "10.0.0.4"}, want: "10.0.0.3/29"},
		{name: "last one", n: small, taken: []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}, want: "10.0.0.6/29"},
		{name: "never the broadcast", n: small, taken: []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}},
		{name: "of the range, its first too", n: ranged, want: "10.0.0.128/24"},
		{name: "not beyond the range", n: ranged, taken: []string{"10.0.0.128", "10.0.0.129", "10.0.0.130", "10.0.0.131"}},
		{name: "not what is set aside", n: reserved, want: "10.0.0.2/29"},
		{name: "nor a gateway in the middle", n: reserved, taken: []string{"10.0.0.2"}, want: "10.0.0.4/29"},
		{name: "next subnet", n: two, taken: []string{"10.0.0.2"}, want: "10.9.0.2/24"},
		{name: "no subnet", n: &model.Network{ID: "0123", Name: "dev"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Address(tt.n, set(tt.taken...))
			if tt.want == "" {
				want := "no available IPv4 addresses on this network's address pools: dev (0123)"
				if !errs.Is(err, errs.Unavailable) || err.Error() != want {
					t.Errorf("error %v, want %q", err, want)
				}
				return
			}
			if err != nil || got.String() != tt.want {
				t.Errorf("got %v, %v, want %s", got, err, tt.want)
			}
		})
	}
	v6 := network("fd00::/64", "fd00::1")
	if got, err := Address6(v6, set("fd00::2")); err != nil || got.String() != "fd00::3/64" {
		t.Errorf("IPv6: %v, %v", got, err)
	}
}

func TestCheckAddress(t *testing.T) {
	n := network("10.0.0.0/24", "10.0.0.1")
	n.Subnets[0].Reserved = map[string]netip.Addr{"router": netip.MustParseAddr("10.0.0.9")}
	n.Subnets[0].Range = netip.MustParsePrefix("10.0.0.128/25")
	tests := []struct {
		addr string
		kind errs.Kind
		want string
	}{
		{addr: "10.0.0.2"}, // outside --ip-range, as Docker allows
		{addr: "10.0.0.200"},
		{addr: "::ffff:10.0.0.2"},
		{"10.0.0.5", errs.Forbidden, "Address already in use"},
		{"10.0.1.2", errs.Invalid, "It does not belong to any of this network's subnets"},
		{"fd00::2", errs.Invalid, "It does not belong to any of this network's subnets"},
		{"10.0.0.1", errs.Invalid, "the gateway"},
		{"10.0.0.0", errs.Invalid, "the network address"},
		{"10.0.0.255", errs.Invalid, "the broadcast address"},
		{"10.0.0.9", errs.Invalid, "auxiliary address router"},
	}
	for _, tt := range tests {
		got, err := CheckAddress(n, netip.MustParseAddr(tt.addr), set("10.0.0.5"))
		if tt.want == "" {
			if want := netip.MustParseAddr(tt.addr).Unmap().String() + "/24"; err != nil || got.String() != want {
				t.Errorf("%s: %v, %v, want %s", tt.addr, got, err, want)
			}
		} else if errs.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "dev") {
			t.Errorf("%s: error %v, want one of kind %v with %q and the network's name", tt.addr, err, tt.kind, tt.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	taken := Addresses(map[string]*model.Endpoint{
		"a": {IPv4: netip.MustParsePrefix("10.0.0.2/24"), IPv6: netip.MustParsePrefix("fd00::2/64")}, "b": {},
	})
	for a, want := range map[string]bool{"10.0.0.2": true, "fd00::2": true, "10.0.0.3": false} {
		if taken(netip.MustParseAddr(a)) != want {
			t.Errorf("%s taken: %v", a, !want)
		}
	}
	if taken(netip.Addr{}) {
		t.Error("an endpoint without an address holds the zero address")
	}
}

// BenchmarkAddressFull looks for the last free address of a /16.
func BenchmarkAddressFull(b *testing.B) {
	n := network("10.0.0.0/16", "10.0.0.1")
	taken := map[netip.Addr]struct{}{}
	a := netip.MustParseAddr("10.0.0.2")
	for range 65532 {
		taken[a] = struct{}{}
		a = a.Next()
	}
	for b.Loop() {
		got, err := Address(n, func(a netip.Addr) bool { _, ok := taken[a]; return ok })
		if err != nil || got.Addr() != a {
			b.Fatalf("%v, %v, want %s", got, err, a)
		}
	}
}

func TestMAC(t *testing.T) {
	if got := MAC(netip.MustParseAddr("172.17.0.2")); got != "02:42:ac:11:00:02" {
		t.Errorf("172.17.0.2: %s", got)
	}
	seen := map[string]bool{}
	for range 50 {
		m := MAC(netip.MustParseAddr("fd00::2"))
		hw, err := net.ParseMAC(m)
		if err != nil || hw[0]&3 != 2 || seen[m] {
			t.Fatalf("%s is not random, unicast and locally administered", m)
		}
		seen[m] = true
	}
}

func TestParseMAC(t *testing.T) {
	for in, want := range map[string]string{
		"02:42:AC:11:00:02": "02:42:ac:11:00:02", "92-d0-c6-0a-29-33": "92:d0:c6:0a:29:33",
		"": "", "02:42:ac:11:00": "", "02:42:ac:11:00:02:00:01": "", "zz:42:ac:11:00:02": "",
		"01:00:5e:00:00:01": "", "ff:ff:ff:ff:ff:ff": "", "00:00:00:00:00:00": "",
	} {
		got, err := ParseMAC(in)
		if got != want || (err != nil) != (want == "") || err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestID(t *testing.T) {
	hex := regexp.MustCompile(`^[0-9a-f]{64}$`)
	digits := regexp.MustCompile(`^[0-9]{12}`)
	for range 20000 { // twelve decimal digits come in one of 281
		if id := ID(); !hex.MatchString(id) || digits.MatchString(id) {
			t.Fatalf("ID %s", id)
		}
	}
}

func TestName(t *testing.T) {
	form := regexp.MustCompile(`^[a-z]+_[a-z]+$`)
	seen := map[string]bool{}
	for range 2000 {
		n := Name(func(n string) bool { return seen[n] })
		if seen[n] || n == "boring_wozniak" {
			t.Fatalf("gave %s", n)
		}
		if !form.MatchString(n) && len(seen) < 100 {
			t.Fatalf("%s is not adjective_person", n)
		}
		seen[n] = true
	}
	if n := Name(form.MatchString); !regexp.MustCompile(`^[a-z]+_[a-z]+[0-9]$`).MatchString(n) {
		t.Errorf("with every pair taken: %s", n)
	}
	if n := Name(regexp.MustCompile(`^[a-z]+_[a-z]+[0-9]?$`).MatchString); !regexp.MustCompile(`^[a-z]+_[a-z]+_[0-9a-f]{8}$`).MatchString(n) {
		t.Errorf("with every pair and digit taken: %s", n)
	}
}

func TestWordLists(t *testing.T) {
	for name, list := range map[string]struct {
		words string
		least int
	}{"adjectives": {adjectives, 100}, "people": {people, 200}} {
		seen := map[string]bool{}
		for _, w := range strings.Fields(list.words) {
			if seen[w] || !regexp.MustCompile(`^[a-z]+$`).MatchString(w) {
				t.Errorf("%s: %q is there twice or not one lower-case word", name, w)
			}
			seen[w] = true
		}
		if len(seen) < list.least {
			t.Errorf("%s: %d words, want %d", name, len(seen), list.least)
		}
	}
}

// TestThousandDefaultNetworks: that many fit, none overlaps another, in order.
func TestThousandDefaultNetworks(t *testing.T) {
	taken := []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16")}
	for i := range 1024 {
		p, err := Subnet(DefaultPools(), taken)
		if err != nil {
			t.Fatalf("network %d: %v", i, err)
		}
		if i < 3 && p.String() != fmt.Sprintf("172.18.%d.0/22", 4*i) {
			t.Errorf("network %d has %s", i, p)
		}
		if overlapping(taken, p) >= 0 {
			t.Fatalf("network %d: %s overlaps another", i, p)
		}
		taken = append(taken, p)
	}
	_, err := Subnet(DefaultPools(), taken)
	if !errs.Is(err, errs.Unavailable) || !strings.HasPrefix(err.Error(), "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network") ||
		!strings.Contains(err.Error(), "--subnet") || !strings.Contains(err.Error(), "--default-address-pool") {
		t.Errorf("full: %v", err)
	}
}

func TestSubnet(t *testing.T) {
	tests := []struct {
		name  string
		pools []model.AddressPool
		taken []string
		want  string
	}{
		{name: "empty host", want: "172.18.0.0/22"},
		{name: "a route within", taken: []string{"172.18.1.0/24"}, want: "172.18.4.0/22"},
		{name: "a host route", taken: []string{"172.18.3.255/32"}, want: "172.18.4.0/22"},
		{name: "a wide route", taken: []string{"172.16.0.0/12"}, want: "192.168.0.0/22"},
		{name: "wide and narrow", taken: []string{"172.18.0.0/16", "172.19.0.5/32", "172.19.4.0/22"}, want: "172.19.8.0/22"},
		{name: "elsewhere", taken: []string{"10.0.0.0/8", "fd00::/8"}, want: "172.18.0.0/22"},
		{name: "own pool", pools: []model.AddressPool{{Base: "10.10.3.0/16", Size: 24}}, taken: []string{"10.10.0.0/24"}, want: "10.10.1.0/24"},
		{name: "pool of one", pools: []model.AddressPool{{Base: "10.10.0.0/24", Size: 24}}, want: "10.10.0.0/24"},
		{name: "end of the address space", pools: []model.AddressPool{{Base: "255.255.255.0/24", Size: 25}}, taken: []string{"255.255.255.0/24"}},
		{name: "IPv6", pools: []model.AddressPool{{Base: "fd00::/8", Size: 64}}, taken: []string{"fd00::/16"}, want: "fd01::/64"},
		{name: "IPv6 of pools of both", pools: []model.AddressPool{{Base: "10.0.0.0/8", Size: 24}, {Base: "fd00::/48", Size: 64}}, want: "fd00::/64"},
		{name: "IPv4 of pools of both", pools: []model.AddressPool{{Base: "fd00::/48", Size: 64}, {Base: "10.0.0.0/8", Size: 24}}, want: "10.0.0.0/24"},
		{name: "IPv6 of pools without", pools: DefaultPools()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pools := tt.pools
			if pools == nil {
				pools = DefaultPools()
			}
			var taken []netip.Prefix
			for _, s := range tt.taken {
				taken = append(taken, netip.MustParsePrefix(s))
			}
			pick := Subnet
			if strings.HasPrefix(tt.name, "IPv6") {
				pick = Subnet6
			}
			got, err := pick(pools, taken)
			if (err != nil) != (tt.want == "") || err == nil && got.String() != tt.want {
				t.Errorf("got %v, %v, want %s", got, err, tt.want)
			}
		})
	}
	for _, p := range []model.AddressPool{{Base: "10.0.0.0", Size: 24}, {Base: "10.0.0.0/16", Size: 8}, {Base: "10.0.0.0/16", Size: 31}} {
		if _, err := Subnet([]model.AddressPool{p}, nil); !errs.Is(err, errs.Invalid) {
			t.Errorf("pool %v: %v, want invalid", p, err)
		}
	}
}

func TestParseSubnets(t *testing.T) {
	one := func(q model.SubnetRequest) model.NetworkRequest {
		return model.NetworkRequest{Subnets: []model.SubnetRequest{q}}
	}
	tests := []struct {
		name string
		r    model.NetworkRequest
		want string // prefix, gateway and range; or, after !, part of the error
	}{
		{"none", model.NetworkRequest{}, "[]"},
		{"gateway by default", one(model.SubnetRequest{Prefix: "10.0.0.0/24"}), "[10.0.0.0/24 10.0.0.1 invalid Prefix]"},
		{"host bits", one(model.SubnetRequest{Prefix: "10.0.0.77/24"}), "!invalid subnet 10.0.0.77/24: it should be 10.0.0.0/24"},
		{"everything", one(model.SubnetRequest{Prefix: "10.0.0.0/16", Gateway: "10.0.9.9", Range: "10.0.5.7/24"}), "[10.0.0.0/16 10.0.9.9 10.0.5.0/24]"},
		{
			"first address set aside", one(model.SubnetRequest{Prefix: "10.0.0.0/24", Reserved: map[string]string{"r": "10.0.0.1"}}),
			"[10.0.0.0/24 10.0.0.2 invalid Prefix]",
		},
		{"IPv6", one(model.SubnetRequest{Prefix: "fd00::/64"}), "[fd00::/64 fd00::1 invalid Prefix]"},
		{"malformed", one(model.SubnetRequest{Prefix: "10.0.0/24"}), "!invalid subnet 10.0.0/24: invalid CIDR block notation"},
		{"no prefix length", one(model.SubnetRequest{Prefix: "10.0.0.0"}), "!invalid CIDR block notation"},
		{"no subnet", one(model.SubnetRequest{Gateway: "10.0.0.1"}), "!need a --subnet"},
		{"too small", one(model.SubnetRequest{Prefix: "10.0.0.0/31"}), "!too small"},
		{"loopback", one(model.SubnetRequest{Prefix: "127.1.0.0/16"}), "!can't have addresses"},
		{"multicast", one(model.SubnetRequest{Prefix: "224.1.0.0/16"}), "!can't have addresses"},
		{"everything there is", one(model.SubnetRequest{Prefix: "0.0.0.0/0"}), "!can't have addresses"},
		{"gateway outside", one(model.SubnetRequest{Prefix: "10.0.0.0/24", Gateway: "10.0.1.1"}), "!invalid gateway 10.0.1.1: parent subnet 10.0.0.0/24 doesn't contain this address"},
		{"gateway is the network", one(model.SubnetRequest{Prefix: "10.0.0.0/24", Gateway: "10.0.0.0"}), "!the network address"},
		{"gateway of another family", one(model.SubnetRequest{Prefix: "10.0.0.0/24", Gateway: "fd00::1"}), "!parent subnet is an IPv4 block"},
		{"gateway malformed", one(model.SubnetRequest{Prefix: "10.0.0.0/24", Gateway: "one"}), "!invalid gateway one"},
		{"range outside", one(model.SubnetRequest{Prefix: "10.0.0.0/24", Range: "10.0.1.0/25"}), "!doesn't contain ip-range"},
		{"range larger", one(model.SubnetRequest{Prefix: "10.0.0.0/24", Range: "10.0.0.0/16"}), "!bigger than its parent subnet"},
		{"range malformed", one(model.SubnetRequest{Prefix: "10.0.0.0/24", Range: "10.0.0.5"}), "!invalid ip-range"},
		{"aux outside", one(model.SubnetRequest{Prefix: "10.0.0.0/24", Reserved: map[string]string{"r": "10.0.1.1"}}), "!invalid auxiliary address r"},
		{"overlap", model.NetworkRequest{Subnets: []model.SubnetRequest{{Prefix: "10.0.0.0/16"}, {Prefix: "10.0.1.0/24"}}}, "!overlap"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			subnets, err := ParseSubnets(tt.r)
			if part, fails := strings.CutPrefix(tt.want, "!"); fails {
				if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), part) {
					t.Errorf("error %v, want invalid with %q", err, part)
				}
				return
			}
			var got []string
			for _, s := range subnets {
				got = append(got, fmt.Sprint(s.Prefix, s.Gateway, s.Range))
			}
			if err != nil || fmt.Sprint(got) != tt.want {
				t.Errorf("got %v, %v, want %s", got, err, tt.want)
			}
		})
	}
}

func TestCheckOverlap(t *testing.T) {
	networks := map[string]*model.Network{"0123": network("10.0.0.0/16", "10.0.0.1")}
	if err := CheckOverlap(network("10.1.0.0/16", "10.1.0.1").Subnets, networks); err != nil {
		t.Error(err)
	}
	err := CheckOverlap(network("10.0.5.0/24", "10.0.5.1").Subnets, networks)
	if !errs.Is(err, errs.Forbidden) || !strings.Contains(err.Error(), "Pool overlaps with other one on this address space") || !strings.Contains(err.Error(), "dev") {
		t.Errorf("error %v", err)
	}
}

func TestULAPool(t *testing.T) {
	const id = "0123456789abcdef"
	if got, err := ULAPool(id); err != nil || got != (model.AddressPool{Base: "fd01:2345:6789::/48", Size: 64}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, id := range []string{"", "012345678", "xyzxyzxyzxyz"} {
		if got, err := ULAPool(id); !errs.Is(err, errs.Invalid) {
			t.Errorf("of %q: %v, %v, want invalid", id, got, err)
		}
	}
}
