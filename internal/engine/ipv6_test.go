package engine

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// withIPv6 asks for IPv6, with these subnets.
func withIPv6(subnets ...string) func(*model.NetworkRequest) {
	return func(r *model.NetworkRequest) {
		yes := true
		r.EnableIPv6 = &yes
		for _, s := range subnets {
			r.Subnets = append(r.Subnets, model.SubnetRequest{Prefix: s})
		}
	}
}

// A network with IPv6 has one subnet of each family; what is not given is taken
// from the pools: for IPv6 from this host's own /48, which stays.
func TestSubnetsOfIPv6Networks(t *testing.T) {
	r := newWorld(t).engine()
	id := r.Snapshot().NetworkNames[model.DefaultNetwork]
	ula := netip.MustParsePrefix("fd" + id[:2] + ":" + id[2:6] + ":" + id[6:10] + "::/48").Masked()
	subnets := func(name string, mods ...func(*model.NetworkRequest)) []model.Subnet {
		id := r.network(t, name, mods...)
		return r.Snapshot().Networks[id].Subnets
	}
	second := func(p netip.Prefix) netip.Addr { return p.Addr().Next() }

	a := subnets("a", withIPv6())
	if len(a) != 2 || !a[0].Prefix.Addr().Is4() || a[1].Prefix != netip.PrefixFrom(ula.Addr(), 64) || a[1].Gateway != second(a[1].Prefix) {
		t.Fatalf("subnets %v, want one of IPv4 and the first /64 of %s", a, ula)
	}
	b := subnets("b", withIPv6())
	if b[1].Prefix == a[1].Prefix || !ula.Contains(b[1].Prefix.Addr()) || b[1].Prefix.Bits() != 64 {
		t.Errorf("the second network has %v", b)
	}
	if c := subnets("c", withIPv6("2001:db8:5::/64")); len(c) != 2 || !c[0].Prefix.Addr().Is4() || c[1].Prefix.String() != "2001:db8:5::/64" {
		t.Errorf("with an IPv6 subnet: %v", c)
	}
	if d := subnets("d", withIPv6("2001:db8:6::/64", "10.77.0.0/24")); d[0].Prefix.String() != "10.77.0.0/24" || d[1].Prefix.String() != "2001:db8:6::/64" {
		t.Errorf("with both: %v, want IPv4's first", d)
	}
	if e := subnets("e", withIPv6("10.78.0.0/24")); e[0].Prefix.String() != "10.78.0.0/24" || !ula.Contains(e[1].Prefix.Addr()) {
		t.Errorf("with an IPv4 subnet: %v", e)
	}
	if f := subnets("f"); len(f) != 1 || !f[0].Prefix.Addr().Is4() {
		t.Errorf("without --ipv6: %v", f)
	}
}

// Pools of one family leave the other's as they are.
func TestPoolsOfOneFamily(t *testing.T) {
	r := newWorld(t).engine(func(o *Options) { o.Pools = []model.AddressPool{{Base: "fd12:3456:789a::/48", Size: 64}} })
	id := r.network(t, "a", withIPv6())
	got := r.Snapshot().Networks[id].Subnets
	if len(got) != 2 || !strings.HasPrefix(got[0].Prefix.String(), "172.") || got[1].Prefix.String() != "fd12:3456:789a::/64" {
		t.Errorf("%v", got)
	}
}

// A container has an address of each family: the lowest free one, or that asked
// for, and no other's; it keeps what it has.
func TestIPv6Addresses(t *testing.T) {
	r := newWorld(t).engine()
	r.network(t, "six", withIPv6("fd00:6::/64"), func(q *model.NetworkRequest) {
		q.Subnets[0].Gateway, q.Subnets[0].Reserved = "fd00:6::ff", map[string]string{"printer": "fd00:6::2"}
	})
	r.network(t, "four")
	c := r.create(t, "cc", "", onNetwork("six"))
	d := r.create(t, "cd", "", onNetwork("six"), endpoint(model.EndpointRequest{Network: "six", IPv6: netip.MustParseAddr("fd00:6::9")}))
	addr := func(id string) string { return r.Snapshot().ByContainer[id][0].IPv6.String() }
	if got := addr(c); got != "fd00:6::1/64" {
		t.Errorf("c has %s", got)
	}
	if got := addr(d); got != "fd00:6::9/64" {
		t.Errorf("d has %s", got)
	}
	x := r.create(t, "cx", "", onNetwork("four"))
	for addr, want := range map[string]string{
		"fd00:6::9":         "Address already in use: fd00:6::9",
		"fd00:6::ff":        "it is the gateway of network six",
		"fd00:6::2":         "it is the auxiliary address printer",
		"fd00:7::2":         "It does not belong to any of this network's subnets",
		"::ffff:172.18.0.9": "invalid IPv6 address",
	} {
		err := r.ConnectNetwork(t.Context(), "six", x, model.EndpointRequest{IPv6: netip.MustParseAddr(addr)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
	}
	err := r.ConnectNetwork(t.Context(), "four", d, model.EndpointRequest{IPv6: netip.MustParseAddr("fd00:6::9")})
	if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "network four has no IPv6: it would have to be made with --ipv6") {
		t.Errorf("on a network without: %v", err)
	}
	leases, err := r.Leases("six")
	if err != nil || !slices.ContainsFunc(leases, func(l model.Lease) bool { return l.Address.String() == "fd00:6::9" && l.Container == "cd" }) {
		t.Errorf("leases: %v, %v", leases, err)
	}
}

// -p without an address is of both families where the container has both, with
// the same host port; a binding is taken and given back as one.
func TestPublishedOnBothFamilies(t *testing.T) {
	r := newWorld(t).engine()
	r.network(t, "six", withIPv6())
	r.network(t, "local", withIPv6(), func(q *model.NetworkRequest) { q.Options = map[string]string{optHostIP: "127.0.0.1"} })
	ports := func(id string) string { return portWords(r.container(id).Ports) }
	web := r.runContainer(t, "web", "serve", onNetwork("six"), publish("", 8080, 0, 80), publish("192.0.2.1", 8081, 0, 80), publish("2001:db8::1", 8081, 0, 80), publish("", 0, 0, 81))
	if got, want := ports(web), "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 192.0.2.1:8081->80/tcp, [2001:db8::1]:8081->80/tcp, 0.0.0.0:32768->81/tcp, [::]:32768->81/tcp"; got != want {
		t.Errorf("ports %s, want %s", got, want)
	}
	if got := ports(r.runContainer(t, "local", "serve", onNetwork("local"), publish("", 8090, 0, 80))); got != "127.0.0.1:8090->80/tcp" {
		t.Errorf("where the network says one address: %s", got)
	}
	four := r.runContainer(t, "four", "serve", publish("", 8091, 0, 80))
	if got := ports(four); got != "0.0.0.0:8091->80/tcp" {
		t.Errorf("without IPv6: %s", got)
	}
	if _, err := r.AddPorts(t.Context(), four, []model.PortBinding{binding("::", 8092, 0, 80)}); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "can't publish port 80/tcp of container four at ::: it has no IPv6 address; put it on a network made with --ipv6") {
		t.Errorf("at an IPv6 address of a container without: %v", err)
	}
	bad := r.create(t, "bad", "serve", publish("2001:db8::1", 8093, 0, 80))
	if err := r.StartContainer(t.Context(), bad); !errs.Is(err, errs.Invalid) {
		t.Errorf("started with a port at an IPv6 address of a container without: %v", err)
	}
	if _, err := r.tryCreate(t, "worse", "serve", publish("::1", 8094, 0, 80)); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "host address ::1 of port 80/tcp: ports can't be published there") {
		t.Errorf("at loopback: %v", err)
	}

	added, err := r.AddPorts(t.Context(), web, []model.PortBinding{binding("", 8082, 0, 82)})
	if err != nil || portWords(added) != "0.0.0.0:8082->82/tcp, [::]:8082->82/tcp" {
		t.Errorf("added %v, %v", added, err)
	}
	if _, err := r.AddPorts(t.Context(), web, []model.PortBinding{binding("::", 8082, 0, 83)}); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "container web publishes host port [::]:8082 already, for its port 82/tcp") {
		t.Errorf("added twice: %v", err)
	}
	for _, p := range []model.PublishedPort{
		{From: 8082, To: 8082, Proto: "tcp"}, {HostIP: netip.IPv6Unspecified(), From: 8080, To: 8080, Proto: "tcp"}, {From: 32768, To: 32768, Proto: "tcp"},
	} {
		if err := r.RemovePorts(t.Context(), web, []model.PublishedPort{p}); err != nil {
			t.Errorf("remove %v: %v", p, err)
		}
	}
	if got := ports(web); got != "192.0.2.1:8081->80/tcp, [2001:db8::1]:8081->80/tcp" {
		t.Errorf("left: %s", got)
	}
	if c := r.container(web); len(c.Host.PortBindings) != 2 {
		t.Errorf("bindings left: %v", c.Host.PortBindings)
	}
}

// IPv6 pools, floating IPs and the containers that can have them.
func TestFloatingIPv6(t *testing.T) {
	r := newWorld(t).engine()
	r.network(t, "six", withIPv6("fd00:6::/64"))
	for _, pool := range []string{"203.0.113.16/30", "2001:db8:1::10/126"} {
		if _, err := r.AddFIPPool(t.Context(), pool, "eth0"); err != nil {
			t.Fatal(err)
		}
	}
	for pool, want := range map[string]string{
		"fe80::/64": "can't be addresses of containers", "ff02::/64": "can't be addresses of containers", "2001:db8:2::1/64": "did you mean 2001:db8:2::/64?",
		"2001:db8:1::/64": "overlaps with pool", "::ffff:203.0.113.0/124": "write it as IPv4", "fd00:6::/124": "overlaps with network six",
	} {
		if _, err := r.AddFIPPool(t.Context(), pool, "eth0"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("pool %s: %v, want %q", pool, err, want)
		}
	}
	if _, err := r.AllocateFIPs(t.Context(), 1, "2001:db8:9::/64"); !errs.Is(err, errs.NotFound) || !strings.Contains(err.Error(), "fip pool ls") {
		t.Errorf("of no pool: %v", err)
	}
	list, err := r.AllocateFIPs(t.Context(), 2, "2001:db8:1::10/126")
	if err != nil || list[0].ID() != "2001:db8:1::11" || list[1].ID() != "2001:db8:1::12" {
		t.Fatalf("allocated %v, %v", list, err)
	}
	if _, err := r.AllocateFIPs(t.Context(), 1, "2001:db8:1::10/126"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("of a full pool: %v", err)
	}
	if any, err := r.AllocateFIPs(t.Context(), 1, ""); err != nil || !any[0].Address.Is4() {
		t.Errorf("of any pool: %v, %v", any, err)
	}
	four, web := r.runContainer(t, "four", "serve"), r.runContainer(t, "web", "serve", onNetwork("six"))
	if err := r.AttachFIP(t.Context(), "2001:db8:1::11", four, false, false); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "container four has no address of its family: connect it to a network made with --ipv6 first") {
		t.Errorf("attached to a container without IPv6: %v", err)
	}
	if err := r.AttachFIP(t.Context(), "2001:DB8:1::11", web, false, false); err != nil {
		t.Error(err)
	}
	if err := r.AttachFIP(t.Context(), "203.0.113.17", web, false, false); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "has the floating IP 2001:db8:1::11 already") {
		t.Errorf("a second one, of the other family: %v", err)
	}
	if f, err := r.DetachFIP(t.Context(), web); err != nil || f.ID() != "2001:db8:1::11" {
		t.Errorf("detached %v, %v", f, err)
	}
}

// --fip auto takes an address that can lead to the container, or says that none
// is free; then nothing is left.
func TestAutoFIPOfTheContainersFamily(t *testing.T) {
	r := newWorld(t).engine()
	r.network(t, "six", withIPv6("fd00:6::/64"))
	auto := func(q *model.CreateRequest) { q.Config.Labels = map[string]string{"com.jackstay.fip": "auto"} }
	const none = "no free floating IP of IPv4"
	refused := func(name string) {
		t.Helper()
		fips, containers := len(r.Snapshot().FIPs), len(r.Snapshot().Containers)
		if _, err := r.tryCreate(t, name, "serve", auto); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), none) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want %q", name, err, none)
		}
		if s := r.Snapshot(); len(s.FIPs) != fips || len(s.Containers) != containers {
			t.Errorf("%s: something is left: %d floating IPs, %d containers", name, len(s.FIPs), len(s.Containers))
		}
	}
	pool := func(prefix string) {
		t.Helper()
		if _, err := r.AddFIPPool(t.Context(), prefix, "eth0"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.tryCreate(t, "early", "serve", auto); err == nil || !strings.Contains(err.Error(), "fip pool add") {
		t.Errorf("without a pool: %v", err)
	}
	pool("2001:db8:9::/126")
	refused("four")
	pool("203.0.113.16/30")
	has := func(id, want string) {
		t.Helper()
		if got := r.Snapshot().FIPOf[id]; got != want {
			t.Errorf("the floating IP is %s, want %s", got, want)
		}
	}
	has(r.create(t, "one", "serve", auto), "203.0.113.17")
	has(r.create(t, "two", "serve", auto, onNetwork("six")), "203.0.113.18")
	refused("three")
	has(r.create(t, "three", "serve", auto, onNetwork("six")), "2001:db8:9::1")
}

// A swap takes IPv6 ports and floating IPs only where there is IPv6.
func TestSwapOfIPv6(t *testing.T) {
	r := newWorld(t).engine()
	r.network(t, "six", withIPv6())
	old, four, next := r.runContainer(t, "old", "serve", onNetwork("six"), publish("", 8080, 0, 80)), r.runContainer(t, "four", "serve"), r.runContainer(t, "next", "serve", onNetwork("six"))
	if err := r.Swap(t.Context(), "old", "four"); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "container old publishes [::]:8080->80/tcp, and container four has no IPv6 address") {
		t.Errorf("ports to a container without IPv6: %v", err)
	}
	if err := r.Swap(t.Context(), "old", "next"); err != nil || portWords(r.container(next).Ports) != "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp" || len(r.container(old).Ports) != 0 {
		t.Errorf("swapped: %v, %v", r.container(next).Ports, err)
	}
	if _, err := r.AddFIPPool(t.Context(), "2001:db8:1::10/124", "eth0"); err != nil {
		t.Fatal(err)
	}
	list, err := r.AllocateFIPs(t.Context(), 1, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.AttachFIP(t.Context(), list[0].ID(), old, false, false); err != nil {
		t.Fatal(err)
	}
	if err := r.Swap(t.Context(), "old", "four"); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "container four has no address of the family of floating IP 2001:db8:1::11") {
		t.Errorf("a floating IP to a container without IPv6: %v", err)
	}
	if r.container(four) == nil || r.Snapshot().FIPOf[old] != "2001:db8:1::11" {
		t.Errorf("half a swap: %v", r.Snapshot().FIPOf)
	}
	if err := r.Swap(t.Context(), "old", "next"); err != nil || r.Snapshot().FIPOf[next] != "2001:db8:1::11" {
		t.Errorf("swapped: %v, %v", r.Snapshot().FIPOf, err)
	}
}

// IPv6 addresses go the way IPv4's do in TestSwapAddresses: the last numbers of
// both are the same all along.
func TestSwapAddresses6(t *testing.T) {
	r := newWorld(t).engine()
	ctx := t.Context()
	r.network(t, "dev", withIPv6("10.9.0.0/24", "2001:db8:9::/64"))
	blue, green := r.runContainer(t, "blue", "serve", onNetwork("dev")), r.runContainer(t, "green", "serve", onNetwork("dev"))
	number := func(p netip.Prefix) int {
		b := p.Addr().AsSlice()
		if len(b) == 0 {
			return 0
		}
		return int(b[len(b)-1])
	}
	for _, step := range []struct {
		do   func() error
		want [4]int // what each is reached by, and has inside; 0: the same
	}{
		{func() error { return nil }, [4]int{2, 0, 3, 0}},
		{func() error { return r.Swap(ctx, "blue", "green") }, [4]int{3, 2, 2, 3}},
		{func() error { return r.StopContainer(ctx, "blue", "", nil) }, [4]int{3, 2, 2, 3}},
		{func() error { return r.StartContainer(ctx, "blue") }, [4]int{3, 4, 2, 3}}, // its own is on green's interface
		{func() error { return r.Swap(ctx, "green", "blue") }, [4]int{2, 4, 3, 3}},
		{func() error { return r.RestartContainer(ctx, "blue", "", nil) }, [4]int{2, 4, 3, 3}}, // its network stays through it
		{func() error { return r.StopContainer(ctx, "blue", "", nil) }, [4]int{2, 4, 3, 3}},
		{func() error { return r.StartContainer(ctx, "blue") }, [4]int{2, 0, 3, 3}},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		a, b := r.Snapshot().ByContainer[blue][0], r.Snapshot().ByContainer[green][0]
		for _, v6 := range []bool{false, true} {
			ar, ai := a.Family(v6)
			br, bi := b.Family(v6)
			if got := [4]int{number(*ar), number(*ai), number(*br), number(*bi)}; got != step.want {
				t.Errorf("IPv6 %t: %v, want %v", v6, got, step.want)
			}
		}
	}
	if leases, err := r.Leases("dev"); err != nil || len(leases) != 6 { // the gateways, and each container's two
		t.Errorf("leases: %+v, %v", leases, err)
	}
}
