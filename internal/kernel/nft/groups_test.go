//go:build linux

package nft

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
)

func admission(from, last, to string, firstProto, lastProto uint8, first, end uint16) desired.Admission {
	return desired.Admission{
		From: netip.MustParseAddr(from), FromLast: netip.MustParseAddr(last), To: netip.MustParseAddr(to),
		Span: desired.Span{FirstProto: firstProto, LastProto: lastProto, First: first, Last: end},
	}
}

func admissions(as ...desired.Admission) map[desired.Admission]struct{} {
	m := map[desired.Admission]struct{}{}
	for _, a := range as {
		m[a] = struct{}{}
	}
	return m
}

func memberAdmission(mark uint32, to string, proto uint8, port uint16) desired.MemberAdmission {
	return desired.MemberAdmission{Mark: mark, To: netip.MustParseAddr(to), Span: desired.Span{FirstProto: proto, LastProto: proto, First: port, Last: port}}
}

// onPort80 admits by tcp and udp.
func onPort80(from, last, to string) desired.Firewall {
	return desired.Firewall{Admit: admissions(admission(from, last, to, 6, 6, 80, 80), admission(from, last, to, 17, 17, 80, 80))}
}

func members80(mark uint32, to string) desired.Firewall {
	return desired.Firewall{AdmitMembers: map[desired.MemberAdmission]struct{}{
		memberAdmission(mark, to, 6, 80): {}, memberAdmission(mark, to, 17, 80): {},
	}}
}

// guardedTown is town where a1, b1 and c1 are guarded, and a1, a2 and b1 have
// floating IPs. The bridges' table lifts what goes to a1 up to the host.
func guardedTown(t *testing.T) (*lab, desired.Firewall) {
	l, fw := floatingTown(t)
	fw.Guarded = map[netip.Addr]struct{}{}
	for _, a := range []string{"172.30.1.2", "172.30.2.2", "172.30.3.2"} {
		fw.Guarded[netip.MustParseAddr(a)] = struct{}{}
	}
	mac := func(name string) string {
		var out string
		must(t, l.places[name].in(func() (err error) { out, err = macOf("eth0"); return err }))
		return out
	}
	bridge := map[string]string{}
	for _, n := range []string{"a", "b", "c"} {
		must(t, l.host.in(func() (err error) { bridge[n], err = macOf("jk-" + n); return err }))
	}
	fw.Ports, fw.MACs = map[string]desired.BridgePort{}, map[string]bool{}
	for _, n := range []string{"a1", "a2", "b1", "b2", "c1", "c2"} {
		fw.Ports["v"+n] = desired.BridgePort{MAC: mac(n), Bridge: bridge[n[:1]], Routed: n[1] == '1'}
		fw.MACs[mac(n)] = n[1] == '1'
	}
	return l, fw
}

func TestGuardedPackets(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := guardedTown(t)
	f := newFirewall(t)
	must(t, f.Load(t.Context(), fw))
	closed := []probe{
		{"a2", "172.30.1.2:80", ""}, {"outside", "192.0.2.1:8080", ""}, {"outside", "192.0.2.17:80", ""}, {"b2", "192.0.2.1:8080", ""},
		{"b2", "192.0.2.17:80", ""}, {"a1", "192.0.2.17:80", ""}, {"a2", "192.0.2.1:8080", ""}, {"c2", "172.30.3.2:80", ""},
		{"outside", "192.0.2.20:80", ""},
	}
	always := []probe{
		// The host reaches its containers, and answers pass.
		{"host", "172.30.1.2:80", "a1 sees 172.30.1.1"}, {"host", "127.0.0.1:8080", "a1 sees 172.30.1.1"}, {"host", "192.0.2.17:80", "a1 sees 192.0.2.17"},
		{"a1", "172.30.1.3:80", "a2 sees 172.30.1.2"}, {"a1", "192.0.2.2:80", "outside sees 192.0.2.17"}, {"a1", "192.0.2.18:80", "a2 sees 192.0.2.17"},
		{"c1", "172.30.3.3:80", "c2 sees 172.30.3.2"},
		// Who is in no group is as before.
		{"outside", "192.0.2.1:8082", "a2 sees 192.0.2.2"}, {"b1", "172.30.2.3:80", "b2 sees 172.30.2.2"}, {"outside", "192.0.2.18:80", "a2 sees 192.0.2.2"},
		// What networks close stays closed, whatever a group says.
		{"b2", "172.30.1.2:80", ""}, {"outside", "172.30.1.2:80", ""}, {"c1", "192.0.2.2:80", ""},
	}
	for _, brnf := range []string{"1", "0"} {
		l.host.sysctl(t, "bridge/bridge-nf-call-iptables", brnf)
		l.matrix("no rule, br_netfilter "+brnf, append(closed, always...))
	}

	step := func(title string, add, del desired.Firewall, probes ...probe) {
		t.Helper()
		must(t, f.Update(t.Context(), add, del))
		l.matrix(title, append(probes, always...))
	}
	// A source: the client's real address counts, whichever way it takes.
	client := onPort80("192.0.2.2", "192.0.2.2", "172.30.1.2")
	step("the other machine", client, empty(),
		probe{"outside", "192.0.2.1:8080", "a1 sees 192.0.2.2"}, probe{"outside", "192.0.2.17:80", "a1 sees 192.0.2.2"},
		probe{"outside", "192.0.2.19:80", ""}, probe{"a2", "172.30.1.2:80", ""}, probe{"b2", "192.0.2.17:80", ""})
	subnet := onPort80("172.30.1.3", "172.30.2.255", "172.30.1.2")
	step("containers by address", subnet, client,
		probe{"outside", "192.0.2.1:8080", ""}, probe{"outside", "192.0.2.17:80", ""},
		probe{"a2", "172.30.1.2:80", "a1 sees 172.30.1.3"}, probe{"a2", "192.0.2.1:8080", "a1 sees 192.0.2.18"}, probe{"a2", "192.0.2.17:80", "a1 sees 192.0.2.18"},
		probe{"b2", "192.0.2.17:80", "a1 sees 172.30.2.3"}, probe{"b1", "192.0.2.17:80", "a1 sees 192.0.2.19"})
	everybody := onPort80("0.0.0.0", "255.255.255.255", "172.30.1.2")
	step("everybody", everybody, subnet,
		probe{"outside", "192.0.2.17:80", "a1 sees 192.0.2.2"}, probe{"a2", "172.30.1.2:80", "a1 sees 172.30.1.3"}, probe{"a1", "192.0.2.17:80", "a1 sees 192.0.2.17"})
	// Members of a group, whatever their addresses; no mark of a packet helps others.
	group := members80(0x00070700, "172.30.1.2")
	group.Members = map[netip.Addr]uint32{netip.MustParseAddr("172.30.1.3"): 0x00070700, netip.MustParseAddr("172.30.2.3"): 0x00070700, netip.MustParseAddr("172.30.2.2"): 0x00080800}
	l.nft("add", "table", "ip", "marks")
	l.nft("add", "chain", "ip", "marks", "c", "{ type filter hook prerouting priority -200; }")
	l.nft("add", "rule", "ip", "marks", "c", "meta", "mark", "set", "0x00070700")
	step("members", group, everybody,
		probe{"a2", "172.30.1.2:80", "a1 sees 172.30.1.3"}, probe{"b2", "192.0.2.17:80", "a1 sees 172.30.2.3"}, probe{"b2", "192.0.2.1:8080", "a1 sees 172.30.2.3"},
		probe{"b1", "192.0.2.17:80", ""}, probe{"outside", "192.0.2.17:80", ""}, probe{"a1", "192.0.2.17:80", ""}, probe{"c2", "172.30.3.2:80", ""})
	// A mark of others' is left alone, but on what members are asked for.
	l.nft("add", "chain", "ip", "marks", "out", "{ type filter hook postrouting priority 0; }")
	l.nft("add", "rule", "ip", "marks", "out", "ip", "saddr", "{ 192.0.2.2, 172.30.1.3 }", "ip", "daddr", "172.30.1.2", "meta", "mark", "!=", "0x00070700", "counter")
	l.nft("add", "rule", "ip", "marks", "out", "ip", "saddr", "192.0.2.2", "ip", "daddr", "172.30.1.2", "counter", "comment", "passes")
	must(t, f.Update(t.Context(), client, empty()))
	l.matrix("a marked client", []probe{{"outside", "192.0.2.17:80", "a1 sees 192.0.2.2"}})
	if out := l.nft("list", "chain", "ip", "marks", "out"); !strings.Contains(out, "!= 0x00070700 counter packets 0") || strings.Contains(out, `packets 0 bytes 0 comment "passes"`) {
		t.Errorf("marks were changed: %s", out)
	}
	must(t, f.Update(t.Context(), empty(), client))
	step("no members", desired.Firewall{}, desired.Firewall{Members: group.Members}, probe{"a2", "172.30.1.2:80", ""}, probe{"b2", "192.0.2.17:80", ""})
	// Any protocol, and icmp alone.
	ping := func(proto uint8) desired.Firewall {
		return desired.Firewall{Admit: admissions(admission("172.30.1.3", "172.30.1.3", "172.30.1.2", proto, max(proto, 1), 0, 65535))}
	}
	must(t, f.Update(t.Context(), ping(1), group))
	l.places["a2"].run(t, "ping -c 1 -W 1 172.30.1.2")
	l.matrix("icmp", []probe{{"a2", "172.30.1.2:80", ""}})
	all := desired.Firewall{Admit: admissions(admission("172.30.1.3", "172.30.1.3", "172.30.1.2", 0, 255, 0, 65535))}
	must(t, f.Update(t.Context(), all, ping(1)))
	l.places["a2"].run(t, "ping -c 1 -W 1 172.30.1.2")
	l.matrix("any", []probe{{"a2", "172.30.1.2:80", "a1 sees 172.30.1.3"}, {"outside", "192.0.2.17:80", ""}})
	must(t, f.Update(t.Context(), desired.Firewall{}, all))
	if err := l.places["a2"].in(func() error { return pingOnce("172.30.1.2") }); err == nil {
		t.Error("ping passes although no rule lets it")
	}
}

// A connection ends with the rule that let it, while what it never needed stays.
func TestGuardedFlowsEndWithTheirRule(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := guardedTown(t)
	f := newFirewall(t)
	rule := onPort80("0.0.0.0", "255.255.255.255", "172.30.1.2")
	fw.Admit = rule.Admit
	must(t, f.Load(t.Context(), fw))
	asks := map[string]func() string{
		"a1 sees 172.30.1.3": flow(t, l.places["a2"], "172.30.1.2:80"), "a1 sees 192.0.2.2": flow(t, l.places["outside"], "192.0.2.17:80"),
	}
	own := flow(t, l.places["a1"], "172.30.1.3:80")
	for i := range 4 {
		for want, ask := range asks {
			if i%2 == 1 {
				want = ""
			}
			if got := ask(); got != want {
				t.Errorf("step %d: %q, want %q", i, got, want)
			}
		}
		if got := own(); got != "a2 sees 172.30.1.2" {
			t.Errorf("step %d: its own flow: %q", i, got)
		}
		if i%2 == 0 {
			must(t, f.Update(t.Context(), desired.Firewall{}, rule))
		} else {
			must(t, f.Update(t.Context(), rule, desired.Firewall{}))
		}
	}
}

// A thousand containers that take each other: what one more costs.
func TestGroupSpeed(t *testing.T) {
	if !alone(t) {
		return
	}
	newLab(t)
	f := newFirewall(t)
	crowd := func(from, n int) desired.Firewall {
		fw := desired.Firewall{
			Guarded: map[netip.Addr]struct{}{}, Members: map[netip.Addr]uint32{}, Admit: admissions(),
			AdmitMembers: map[desired.MemberAdmission]struct{}{},
		}
		for i := from; i < from+n; i++ {
			a := fmt.Sprintf("10.0.%d.%d", i>>8, i&255)
			fw.Guarded[netip.MustParseAddr(a)] = struct{}{}
			fw.Members[netip.MustParseAddr(a)] = 0x00070700
			fw.Admit[admission("0.0.0.0", "255.255.255.255", a, 6, 6, 80, 80)] = struct{}{}
			fw.AdmitMembers[memberAdmission(0x00070700, a, 17, 53)] = struct{}{}
		}
		return fw
	}
	must(t, f.Load(t.Context(), crowd(0, 1)))
	for _, n := range []int{1, 1000} {
		must(t, f.Update(t.Context(), crowd(0, n), empty()))
		best := time.Hour
		for range 5 {
			start := time.Now()
			must(t, f.Update(t.Context(), crowd(n, 1), empty()))
			best = min(best, time.Since(start))
			must(t, f.Update(t.Context(), empty(), crowd(n, 1)))
		}
		t.Logf("one more beside %d: %v", n, best)
	}
}
