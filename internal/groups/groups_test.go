package groups

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/model"
)

// rules reads lines such as "tcp 80-90 10.0.0.0/8" and "any 0 =g", where =g is
// a group.
func rules(t testing.TB, lines ...string) []model.GroupRule {
	t.Helper()
	var out []model.GroupRule
	for _, line := range lines {
		f := strings.Fields(line)
		r := model.GroupRule{Proto: f[0]}
		if n, _ := fmt.Sscanf(f[1], "%d-%d", &r.First, &r.Last); n == 1 {
			r.Last = r.First
		}
		if id, ok := strings.CutPrefix(f[2], "="); ok {
			r.Group = id
		} else {
			r.Source = netip.MustParsePrefix(f[2])
		}
		out = append(out, r)
	}
	return out
}

func (s Sources) String() string {
	return fmt.Sprintf("%s-%s %d-%d %d-%d", s.First, s.Last, s.FirstProto, s.LastProto, s.Span.First, s.Span.Last)
}

func TestBySource(t *testing.T) {
	for _, c := range []struct {
		rules []string
		want  []string
	}{
		{nil, nil},
		{[]string{"tcp 80 =g"}, nil},
		{[]string{"tcp 80 0.0.0.0/0"}, []string{"0.0.0.0-255.255.255.255 6-6 80-80"}},
		{[]string{"tcp 0 10.0.0.1/32"}, []string{"10.0.0.1-10.0.0.1 6-6 0-65535"}},
		{[]string{"icmp 0 10.0.0.0/8"}, []string{"10.0.0.0-10.255.255.255 1-1 0-65535"}},
		// The same twice, ports that touch and that overlap.
		{[]string{"tcp 80 10.0.0.0/8", "tcp 80 10.0.0.0/8", "tcp 81-90 10.0.0.0/8", "tcp 85-100 10.0.0.0/8"}, []string{"10.0.0.0-10.255.255.255 6-6 80-100"}},
		{[]string{"tcp 80 10.0.0.0/8", "tcp 82 10.0.0.0/8", "udp 81 10.0.0.0/8"},
			[]string{"10.0.0.0-10.255.255.255 6-6 80-80", "10.0.0.0-10.255.255.255 6-6 82-82", "10.0.0.0-10.255.255.255 17-17 81-81"}},
		// One source within another: what is let in anyway needs no more.
		{[]string{"tcp 80 10.0.0.0/8", "tcp 80 10.1.0.0/16"}, []string{"10.0.0.0-10.255.255.255 6-6 80-80"}},
		{[]string{"tcp 80 10.0.0.0/8", "tcp 443 10.1.0.0/16"},
			[]string{"10.0.0.0-10.255.255.255 6-6 80-80", "10.1.0.0-10.1.255.255 6-6 443-443"}},
		{[]string{"tcp 80 10.0.0.0/8", "tcp 80-90 10.1.0.0/16"},
			[]string{"10.0.0.0-10.0.255.255 6-6 80-80", "10.1.0.0-10.1.255.255 6-6 80-90", "10.2.0.0-10.255.255.255 6-6 80-80"}},
		{[]string{"tcp 80 0.0.0.0/0", "any 0 255.255.255.255/32"},
			[]string{"0.0.0.0-255.255.255.254 6-6 80-80", "255.255.255.255-255.255.255.255 0-255 0-65535"}},
		// Beside each other: one; apart: two.
		{[]string{"udp 53 10.0.0.0/25", "udp 53 10.0.0.128/25"}, []string{"10.0.0.0-10.0.0.255 17-17 53-53"}},
		{[]string{"udp 53 10.0.0.0/32", "udp 53 10.0.0.2/32"}, []string{"10.0.0.0-10.0.0.0 17-17 53-53", "10.0.0.2-10.0.0.2 17-17 53-53"}},
		{[]string{"tcp 65535 10.0.0.0/8", "tcp 1-65534 10.0.0.0/8"}, []string{"10.0.0.0-10.255.255.255 6-6 1-65535"}},
	} {
		var got []string
		for _, s := range bySource(rules(t, c.rules...)) {
			got = append(got, s.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q:\n got %q\nwant %q", c.rules, got, c.want)
		}
	}
}

// Whatever the rules: what they let in is let in, once, and nothing else.
func TestBySourceRandom(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var in []model.GroupRule
		for range rnd.IntN(12) {
			p, _ := netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(32))}).Prefix(27 + rnd.IntN(6))
			if rnd.IntN(10) == 0 {
				p = netip.MustParsePrefix("0.0.0.0/0")
			}
			r := model.GroupRule{Proto: []string{"tcp", "tcp", "udp", "sctp", "icmp", "any"}[rnd.IntN(6)], Source: p}
			if r.Proto != "icmp" && r.Proto != "any" && rnd.IntN(4) > 0 {
				r.First = uint16(1 + rnd.IntN(8))
				r.Last = r.First + uint16(rnd.IntN(4))
			}
			in = append(in, r)
		}
		out := bySource(in)
		for _, last := range []byte{0, 1, 2, 3, 7, 8, 15, 16, 30, 31, 32, 255} {
			a := netip.AddrFrom4([4]byte{10, 0, 0, last})
			for _, proto := range []uint8{1, 2, 6, 17, 132} {
				for port := range uint16(14) {
					if want, got := lets(in, a, proto, port), hits(out, a, proto, port); want && got != 1 || !want && got != 0 {
						t.Fatalf("seed %d: %v: from %s, protocol %d, port %d: %d elements of %v, let in: %v", seed, in, a, proto, port, got, out, want)
					}
				}
			}
		}
	}
}

// lets judges by the rules themselves.
func lets(rules []model.GroupRule, a netip.Addr, proto uint8, port uint16) bool {
	numbers := map[string]uint8{"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}
	return slices.ContainsFunc(rules, func(r model.GroupRule) bool {
		return r.Source.Contains(a) && (r.Proto == "any" || numbers[r.Proto] == proto) && (r.First == 0 || r.First <= port && port <= r.Last)
	})
}

func hits(all []Sources, a netip.Addr, proto uint8, port uint16) (n int) {
	for _, s := range all {
		if s.First.Compare(a) <= 0 && a.Compare(s.Last) <= 0 && s.FirstProto <= proto && proto <= s.LastProto && s.Span.First <= port && port <= s.Span.Last {
			n++
		}
	}
	return n
}

// town is groups a, b and c, of which b takes a on 80 and c takes b on anything.
func town(t testing.TB) *model.Snapshot {
	group := func(id string, lines ...string) *model.SecurityGroup {
		return &model.SecurityGroup{ID: id, Name: id, Rules: rules(t, lines...)}
	}
	s := &model.Snapshot{
		SecurityGroups: map[string]*model.SecurityGroup{
			"a": group("a"), "b": group("b", "tcp 80 =a"), "c": group("c", "any 0 =b", "udp 53 10.0.0.0/8"), "d": group("d"),
		},
		Containers: map[string]*model.Container{},
	}
	for _, c := range []string{"1", "2 a", "3 b", "4 b a", "5 c", "6 a d", "7 d"} {
		f := strings.Fields(c)
		s.Containers[f[0]] = &model.Container{ID: f[0], Active: true, SecurityGroups: f[1:]}
	}
	return s
}

func TestMarks(t *testing.T) {
	s := town(t)
	g := New(s, func(c *model.Container) bool { return c.Active })
	mark := func(id string) uint32 { return g.Mark(s.Containers[id]) }
	if mark("1") != 0 || mark("5") != 0 || mark("7") != 0 {
		t.Error("a container in no group that a rule names has a mark")
	}
	if mark("2") == 0 || mark("2") != mark("6") || mark("3") == 0 || mark("4") == 0 || mark("3") == mark("4") || mark("2") == mark("4") {
		t.Errorf("marks of a, b, a+b: %d, %d, %d", mark("2"), mark("3"), mark("4"))
	}
	for _, id := range []string{"2", "3", "4"} {
		if m := mark(id); bits.ReverseBytes32(m) != m {
			t.Errorf("mark %#x reads otherwise in the other byte order", m)
		}
	}
	web := Span{FirstProto: 6, LastProto: 6, First: 80, Last: 80}
	all := Span{FirstProto: 0, LastProto: 255, First: 0, Last: 65535}
	for _, c := range []struct {
		id   string
		want map[uint32]Span
	}{
		{"2", map[uint32]Span{}},
		{"3", map[uint32]Span{mark("2"): web, mark("4"): web}},
		{"5", map[uint32]Span{mark("3"): all, mark("4"): all}},
	} {
		got := map[uint32]Span{}
		for _, m := range g.Let(s.Containers[c.id]).Members {
			got[m.Mark] = m.Span
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("container %s lets in %v, want %v", c.id, got, c.want)
		}
	}
	// What stops counts no more; the others keep their marks.
	s.Containers["4"].Active = false
	again := New(s, func(c *model.Container) bool { return c.Active })
	if again.Mark(s.Containers["2"]) != mark("2") || len(again.Let(s.Containers["3"]).Members) != 1 {
		t.Error("a container that stopped still counts, or others have other marks")
	}
}

// A group that takes its own containers has as many elements as containers.
func TestSizeIsLinear(t *testing.T) {
	s := &model.Snapshot{
		SecurityGroups: map[string]*model.SecurityGroup{"g": {ID: "g", Rules: rules(t, "tcp 80 =g", "udp 53 =g", "tcp 22 10.0.0.0/8")}},
		Containers:     map[string]*model.Container{},
	}
	for i := range 1000 {
		id := fmt.Sprint(i)
		s.Containers[id] = &model.Container{ID: id, SecurityGroups: []string{"g"}}
	}
	if n := Size(s); n != 3000 {
		t.Errorf("1,000 containers in a group with three rules, two of them about itself: %d elements, want 3,000", n)
	}
}

// A rule of everybody is of both families; another is of that of its source.
func TestFamilies(t *testing.T) {
	rule := func(source string) model.GroupRule {
		return model.GroupRule{Proto: "icmp", Source: netip.MustParsePrefix(source)}
	}
	s := &model.Snapshot{
		SecurityGroups: map[string]*model.SecurityGroup{"g": {ID: "g", Rules: []model.GroupRule{rule("10.0.0.0/8"), rule("2001:db8::/32")}}, "all": {ID: "all", Rules: []model.GroupRule{rule("0.0.0.0/0")}}},
		Containers:     map[string]*model.Container{"c": {ID: "c", SecurityGroups: []string{"g"}}, "d": {ID: "d", SecurityGroups: []string{"all"}}},
		ByContainer:    map[string][]*model.Endpoint{"c": {{IPv6: netip.MustParsePrefix("fd00::2/64")}}, "d": {{}}},
	}
	g := New(s, func(*model.Container) bool { return true })
	for id, want := range map[string][2]string{"c": {"10.0.0.0", "2001:db8::"}, "d": {"0.0.0.0", "::"}} {
		let := g.Let(s.Containers[id])
		if len(let.From) != 2 || let.From[0].First.String() != want[0] || let.From[1].First.String() != want[1] || let.Size(false) != 1 || let.Size(true) != 1 {
			t.Errorf("%s: %v, want %v", id, let.From, want)
		}
		if span := let.From[1].Of(true); span.FirstProto != 58 || let.From[0].Of(false).FirstProto != 1 {
			t.Errorf("%s: ICMP is %v", id, span)
		}
	}
	if n := Size(s); n != 3 {
		t.Errorf("%d elements, want 3: one container has an IPv6 address", n)
	}
}
