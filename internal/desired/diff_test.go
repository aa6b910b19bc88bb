package desired

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
)

func claimOf(s string, port uint16) Claim {
	return Claim{IP: netip.MustParseAddr(s), Proto: "tcp", Port: port}
}

func TestDiff(t *testing.T) {
	a, b := &Bridge{Name: "a", MTU: 1500}, &Bridge{Name: "b"}
	wider := &Bridge{Name: "a", MTU: 9000}
	c1 := &Sandbox{Container: "c1", Files: []File{{Path: "/hosts", Content: "x"}}}
	same := &Sandbox{Container: "c1", Files: []File{{Path: "/hosts", Content: "x"}}}
	edited := &Sandbox{Container: "c1", Files: []File{{Path: "/hosts", Content: "y"}}}
	c2 := &Sandbox{Container: "c2"}
	zones := &Zones{}
	p80, p81 := claimOf("0.0.0.0", 80), claimOf("0.0.0.0", 81)

	for _, tc := range []struct {
		name     string
		old, new *State
		want     Changes
	}{
		{"nothing to nothing", nil, &State{}, Changes{}},
		{
			"from nothing", nil,
			&State{Bridges: map[string]*Bridge{"b": b, "a": a}, Sandboxes: map[string]*Sandbox{"c2": c2, "c1": c1}, Claims: map[Claim]string{p81: "c1", p80: "c1"}, Zones: zones},
			Changes{Claim: []Claim{p80, p81}, Bridges: []*Bridge{a, b}, Sandboxes: []*Sandbox{c1, c2}, Zones: true},
		},
		{
			"to nothing",
			&State{Bridges: map[string]*Bridge{"b": b, "a": a}, Sandboxes: map[string]*Sandbox{"c2": c2, "c1": c1}, Claims: map[Claim]string{p80: "c1"}, Zones: zones},
			&State{Zones: zones},
			Changes{Release: []Claim{p80}, DropBridges: []string{"a", "b"}, DropSandboxes: []string{"c1", "c2"}},
		},
		{
			"equal values at other places",
			&State{Sandboxes: map[string]*Sandbox{"c1": c1}}, &State{Sandboxes: map[string]*Sandbox{"c1": same}}, Changes{},
		},
		{
			"changed values",
			&State{Bridges: map[string]*Bridge{"a": a, "b": b}, Sandboxes: map[string]*Sandbox{"c1": c1}},
			&State{Bridges: map[string]*Bridge{"a": wider, "b": b}, Sandboxes: map[string]*Sandbox{"c1": edited}},
			Changes{Bridges: []*Bridge{wider}, Sandboxes: []*Sandbox{edited}},
		},
		{
			"files without a sandbox",
			&State{Files: map[string][]File{"c1": {{Path: "/a"}}, "c2": {{Path: "/b"}}, "c3": nil}},
			&State{Files: map[string][]File{"c1": {{Path: "/a"}}, "c2": {{Path: "/b", Content: "x"}}, "c0": nil}},
			Changes{Files: []string{"c0", "c2"}},
		},
		{
			"a claim changes hands",
			&State{Claims: map[Claim]string{p80: "c1"}}, &State{Claims: map[Claim]string{p80: "c2"}}, Changes{},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Diff(tc.old, tc.new)
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
			if got.Empty() != reflect.DeepEqual(tc.want, Changes{}) {
				t.Errorf("empty: %t", got.Empty())
			}
		})
	}
}

func TestFirewallDiff(t *testing.T) {
	web, other := Target{netip.MustParseAddr("172.17.0.2"), 80}, Target{netip.MustParseAddr("172.17.0.3"), 80}
	key := PortKey{Proto: "tcp", Port: 8080}
	flow := map[Flow]struct{}{{From: web.IP, To: other.IP, Proto: "tcp", First: 80, Last: 90}: {}}
	port := map[string]BridgePort{"jv1": {MAC: "02:42:00:00:00:01"}}
	routed := map[string]BridgePort{"jv1": {MAC: "02:42:00:00:00:01", Routed: true}}
	for _, tc := range []struct {
		name                string
		old, new, add, del  Firewall
		guards, nothingToDo bool
	}{
		{name: "same", old: Firewall{PublishAny: map[PortKey]Target{key: web}}, new: Firewall{PublishAny: map[PortKey]Target{key: web}}, nothingToDo: true},
		{
			name: "a changed value is in both",
			old:  Firewall{PublishAny: map[PortKey]Target{key: web}}, new: Firewall{PublishAny: map[PortKey]Target{key: other}},
			add: Firewall{PublishAny: map[PortKey]Target{key: other}}, del: Firewall{PublishAny: map[PortKey]Target{key: web}},
		},
		{
			name: "a network comes, another goes",
			old:  Firewall{Bridges: map[string]struct{}{"a": {}}}, new: Firewall{Bridges: map[string]struct{}{"b": {}}},
			add: Firewall{Bridges: map[string]struct{}{"b": {}}}, del: Firewall{Bridges: map[string]struct{}{"a": {}}}, guards: true,
		},
		{
			name: "who a group guards keeps out", new: Firewall{Guarded: map[netip.Addr]struct{}{web.IP: {}}},
			add: Firewall{Guarded: map[netip.Addr]struct{}{web.IP: {}}}, guards: true,
		},
		{
			name: "whom it takes lets in", old: Firewall{Members: map[netip.Addr]uint32{web.IP: 1}},
			new: Firewall{Members: map[netip.Addr]uint32{web.IP: 2}, Admit: map[Admission]struct{}{{To: web.IP}: {}}, AdmitMembers: map[MemberAdmission]struct{}{{Mark: 2}: {}}},
			add: Firewall{Members: map[netip.Addr]uint32{web.IP: 2}, Admit: map[Admission]struct{}{{To: web.IP}: {}}, AdmitMembers: map[MemberAdmission]struct{}{{Mark: 2}: {}}},
			del: Firewall{Members: map[netip.Addr]uint32{web.IP: 1}},
		},
		{name: "who may reach whom lets in", new: Firewall{Flows: flow}, add: Firewall{Flows: flow}},
		{
			name: "what a port lets in keeps out", old: Firewall{Ports: port}, new: Firewall{Ports: routed},
			add: Firewall{Ports: routed}, del: Firewall{Ports: port}, guards: true,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			add, del := tc.old.Diff(tc.new)
			if !reflect.DeepEqual(add, tc.add) || !reflect.DeepEqual(del, tc.del) {
				t.Errorf("add %+v del %+v", add, del)
			}
			if guards := !add.Guards().Empty(); guards != tc.guards || (add.Empty() && del.Empty()) != tc.nothingToDo {
				t.Errorf("guards %t, empty %t %t", guards, add.Empty(), del.Empty())
			}
		})
	}
}

func TestAdmissionsOverlap(t *testing.T) {
	a := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	base := Admission{From: a("10.0.0.5"), FromLast: a("10.0.0.9"), To: a("10.1.0.1"), Span: Span{6, 6, 80, 90}}
	for _, tc := range []struct {
		change func(*Admission)
		want   bool
	}{
		{func(*Admission) {}, true},
		{func(x *Admission) { x.To = a("10.1.0.2") }, false},
		{func(x *Admission) { x.From, x.FromLast = a("10.0.0.9"), a("10.0.0.20") }, true},
		{func(x *Admission) { x.From, x.FromLast = a("10.0.0.10"), a("10.0.0.20") }, false},
		{func(x *Admission) { x.From, x.FromLast = a("0.0.0.0"), a("255.255.255.255") }, true},
		{func(x *Admission) { x.First, x.Last = 90, 100 }, true},
		{func(x *Admission) { x.First, x.Last = 91, 100 }, false},
		{func(x *Admission) { x.FirstProto, x.LastProto = 0, 255 }, true},
		{func(x *Admission) { x.FirstProto, x.LastProto = 17, 17 }, false},
	} {
		other := base
		tc.change(&other)
		m, n := MemberAdmission{1, base.To, base.Span}, MemberAdmission{1, other.To, other.Span}
		if base.Overlaps(other) != tc.want || other.Overlaps(base) != tc.want || tc.want && !m.Overlaps(n) {
			t.Errorf("%v and %v: want %t", base, other, tc.want)
		}
		if n.Mark = 2; m.Overlaps(n) {
			t.Error("two marks overlap")
		}
	}
}

func TestOverlaps(t *testing.T) {
	any4, any6 := claimOf("0.0.0.0", 80), claimOf("::", 80)
	lo, lan := claimOf("127.0.0.1", 80), claimOf("192.0.2.1", 80)
	udp := lo
	udp.Proto = "udp"
	for _, tc := range []struct {
		a, b Claim
		want bool
	}{
		{lo, lo, true},
		{any4, lo, true},
		{lo, any4, true},
		{lo, lan, false},
		{any4, any6, false},
		{lo, udp, false},
		{any4, claimOf("0.0.0.0", 81), false},
	} {
		if got := tc.a.Overlaps(tc.b); got != tc.want {
			t.Errorf("%v and %v: %t", tc.a, tc.b, got)
		}
	}
}

// Every field counts: changing any one makes values differ.
func TestEqualSeesEveryField(t *testing.T) {
	full := func() *State { return randomState(rand.New(rand.NewPCG(1, 1)), 40) }
	if !full().Equal(full()) {
		t.Fatal("equal states differ")
	}
	for _, v := range []any{
		&Bridge{}, &Sandbox{}, &Interface{}, &Firewall{}, &Zones{}, &Zone{}, &View{},
	} {
		typ := reflect.TypeOf(v).Elem()
		for i := range typ.NumField() {
			changed := reflect.New(typ)
			fill(changed.Elem().Field(i))
			if equalAny(changed.Interface(), v) {
				t.Errorf("%s.%s is not compared", typ.Name(), typ.Field(i).Name)
			}
		}
	}
}

func equalAny(a, b any) bool {
	switch a := a.(type) {
	case *Bridge:
		return a.Equal(b.(*Bridge))
	case *Sandbox:
		return a.Equal(b.(*Sandbox))
	case *Interface:
		return a.Equal(*b.(*Interface))
	case *Firewall:
		return a.Equal(*b.(*Firewall))
	case *Zones:
		return a.Equal(b.(*Zones))
	case *Zone:
		return a.Equal(b.(*Zone))
	case *View:
		return a.Equal(b.(*View))
	}
	panic("unknown type")
}

// fill gives a field a value that isn't zero.
func fill(v reflect.Value) {
	switch v.Interface().(type) {
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.MustParseAddrPort("127.0.0.11:53")))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(1)
	case reflect.Uint64:
		v.SetUint(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		m.SetMapIndex(reflect.Zero(v.Type().Key()), reflect.Zero(v.Type().Elem()))
		v.Set(m)
	default:
		panic("fill can't do " + v.Kind().String())
	}
}

// Applying the difference of any two states to the first gives the second.
func TestRandomWalk(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	at := &State{}
	for range 500 {
		next := randomState(rnd, rnd.IntN(12))
		at = applied(at, next)
		if !at.Equal(next) {
			t.Fatalf("at\n%+v\nwanted\n%+v", at, next)
		}
	}
}

// applied does by hand what a reconciler does with the difference.
func applied(old, next *State) *State {
	c := Diff(old, next)
	s := &State{Bridges: map[string]*Bridge{}, Sandboxes: map[string]*Sandbox{}, Claims: map[Claim]string{}, Zones: old.Zones}
	maps.Copy(s.Bridges, old.Bridges)
	maps.Copy(s.Sandboxes, old.Sandboxes)
	for k := range old.Claims {
		s.Claims[k] = next.Claims[k] // who holds it is a matter of the plan
	}
	for _, k := range c.Claim {
		s.Claims[k] = next.Claims[k]
	}
	for _, k := range c.Release {
		delete(s.Claims, k)
	}
	for _, b := range c.Bridges {
		s.Bridges[b.Name] = b
	}
	for _, name := range c.DropBridges {
		delete(s.Bridges, name)
	}
	for _, b := range c.Sandboxes {
		s.Sandboxes[b.Container] = b
	}
	for _, id := range c.DropSandboxes {
		delete(s.Sandboxes, id)
	}
	if c.Zones {
		s.Zones = next.Zones
	}
	add, del := old.Firewall.Diff(next.Firewall)
	s.Firewall = Firewall{
		Bridges: edit(old.Firewall.Bridges, add.Bridges, del.Bridges), Internal: edit(old.Firewall.Internal, add.Internal, del.Internal),
		Masquerade: edit(old.Firewall.Masquerade, add.Masquerade, del.Masquerade), Hairpin: edit(old.Firewall.Hairpin, add.Hairpin, del.Hairpin),
		Publish: edit(old.Firewall.Publish, add.Publish, del.Publish), PublishAny: edit(old.Firewall.PublishAny, add.PublishAny, del.PublishAny),
	}
	return s
}

// edit deletes, then adds, and panics where the kernel would refuse.
func edit[K, V comparable](old, add, del map[K]V) map[K]V {
	m := map[K]V{}
	maps.Copy(m, old)
	for k, v := range del {
		if was, ok := m[k]; !ok || was != v {
			panic(fmt.Sprintf("%v : %v is not there to be deleted", k, v))
		}
		delete(m, k)
	}
	for k, v := range add {
		if _, ok := m[k]; ok {
			panic(fmt.Sprintf("%v is there already", k))
		}
		m[k] = v
	}
	return m
}

func randomState(rnd *rand.Rand, size int) *State {
	s := &State{
		Bridges: map[string]*Bridge{}, Sandboxes: map[string]*Sandbox{}, Claims: map[Claim]string{},
		Firewall: Firewall{
			Bridges: map[string]struct{}{}, Internal: map[string]struct{}{}, Masquerade: map[netip.Prefix]struct{}{},
			Hairpin: map[HairpinKey]struct{}{}, Publish: map[Claim]Target{}, PublishAny: map[PortKey]Target{},
		},
		Zones: &Zones{Networks: map[string]*Zone{"n": {Names: map[string][]netip.Addr{"web": {netip.MustParseAddr("172.17.0.2")}}}}},
	}
	for range size {
		n := byte(rnd.IntN(8))
		name := fmt.Sprint("br", n)
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, n, 0, 0}), 16)
		target := Target{netip.AddrFrom4([4]byte{172, n, 0, 2}), uint16(rnd.IntN(2))}
		s.Bridges[name] = &Bridge{Name: name, MTU: 1500 + rnd.IntN(2), Addrs: []netip.Prefix{subnet}}
		s.Sandboxes[name] = &Sandbox{
			Container: name, Sysctls: map[string]string{"net/x": fmt.Sprint(rnd.IntN(2))},
			Interfaces: []Interface{{Name: "eth0", Addrs: []netip.Prefix{subnet}, MTU: rnd.IntN(2)}},
			Routes:     []Route{{Dev: "eth0", Via: target.IP}},
		}
		s.Firewall.Bridges[name] = struct{}{}
		s.Firewall.Masquerade[subnet] = struct{}{}
		s.Firewall.Hairpin[HairpinKey{subnet, name}] = struct{}{}
		if rnd.IntN(2) == 0 {
			s.Firewall.Internal[name] = struct{}{}
		}
		k := claimOf("0.0.0.0", uint16(n))
		s.Claims[k] = fmt.Sprint("c", rnd.IntN(3))
		s.Firewall.Publish[k] = target
		s.Firewall.PublishAny[PortKey{Proto: "tcp", Port: k.Port}] = target
	}
	return s
}

// A thousand unchanged sandboxes, planned anew: values compared one by one.
func BenchmarkDiffThousandPlannedAnew(b *testing.B) { benchmarkDiff(b, false) }

// The same when the planner hands out what it made before.
func BenchmarkDiffThousandShared(b *testing.B) { benchmarkDiff(b, true) }

func benchmarkDiff(b *testing.B, shared bool) {
	old, next := thousand(), thousand()
	if shared {
		maps.Copy(next.Sandboxes, old.Sandboxes)
	}
	next.Zones = old.Zones
	b.ReportAllocs()
	for b.Loop() {
		c := Diff(old, next)
		if !c.Empty() {
			b.Fatal("they differ")
		}
	}
}

func thousand() *State {
	s := &State{Sandboxes: map[string]*Sandbox{}, Claims: map[Claim]string{}, Bridges: map[string]*Bridge{}}
	for n := range 1000 {
		id := fmt.Sprintf("%064x", n)
		a := netip.AddrFrom4([4]byte{172, 17, byte(n >> 8), byte(n)})
		s.Sandboxes[id] = &Sandbox{
			Container:  id,
			Interfaces: []Interface{{Endpoint: id, Host: fmt.Sprint("jv", n), Name: "eth0", Bridge: "jackstay0", MAC: "02:42:ac:11:00:02", Addrs: []netip.Prefix{netip.PrefixFrom(a, 16)}}},
			Routes:     []Route{{Via: a, Dev: "eth0"}},
			Sysctls:    map[string]string{"net/ipv4/ip_unprivileged_port_start": "0", "net/ipv4/ping_group_range": "0 2147483647"},
			Resolver:   netip.MustParseAddrPort("127.0.0.11:53"),
			Files: []File{
				{Path: "/c/" + id + "/hosts", Content: fmt.Sprintf("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n%s\t%.12s\n", a, id)},
				{Path: "/c/" + id + "/hostname", Content: id[:12]}, {Path: "/c/" + id + "/resolv.conf", Content: "nameserver 127.0.0.11\noptions ndots:0\n"},
			},
		}
		s.Claims[Claim{IP: netip.IPv4Unspecified(), Proto: "tcp", Port: uint16(10000 + n)}] = id
	}
	return s
}
