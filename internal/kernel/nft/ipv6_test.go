package nft

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
)

// neighbours is a host with the network jk-d and three containers on it, of both
// families, each with its link-local address of IPv6; routed ones if deny is set.
func neighbours(t *testing.T, deny bool) (*lab, desired.Firewall) {
	l := newLab(t)
	l.bridge("jk-d", "172.30.1.1/24", "fd00:1::1/64")
	const bridge = "02:00:00:00:00:01"
	l.host.run(t, "ip link set jk-d address "+bridge)
	for _, setting := range []string{"all", "jk-d"} {
		l.host.sysctl(t, "ipv4/conf/"+setting+"/send_redirects", "0")
	}
	fw := desired.Firewall{
		Bridges: names("jk-d"), Open: names(),
		Ports: map[string]desired.BridgePort{}, MACs: map[string]bool{bridge: false},
		Addresses: map[netip.Addr]struct{}{netip.MustParseAddr("172.30.1.1"): {}, netip.MustParseAddr("fd00:1::1"): {}},
		Sources:   map[desired.Source]struct{}{},
	}
	if !deny {
		fw.Open["jk-d"] = struct{}{}
	}
	for n := 2; n <= 4; n++ {
		name, mac := fmt.Sprint("d", n), fmt.Sprintf("02:00:00:00:01:%02x", n)
		v4, v6 := fmt.Sprint("172.30.1.", n), fmt.Sprint("fd00:1::", n)
		p := l.attach(name, "jk-d", []string{v4 + "/24", v6 + "/64"}, []string{"172.30.1.1", "fd00:1::1"})
		p.run(t, "ip link set eth0 down")
		p.run(t, "ip link set eth0 address "+mac)
		p.sysctl(t, "ipv6/conf/eth0/accept_dad", "0")
		p.run(t, "ip link set eth0 up") // IPv6 goes with it
		p.run(t, "ip addr replace "+v6+"/64 dev eth0 nodad")
		p.run(t, "ip route replace default via fd00:1::1")
		p.run(t, "ip route replace default via 172.30.1.1")
		p.serve(t, v4+":80")
		p.serve(t, "["+v6+"]:80")
		local := fmt.Sprintf("fe80::ff:fe00:1%02x", n)
		p.waitFor(t, local)
		p.serve(t, p.zoned(t, local)+":80")
		fw.Ports["v"+name] = desired.BridgePort{MAC: mac, Bridge: bridge, Routed: deny}
		fw.MACs[mac] = deny
		for _, a := range []string{v4, v6, local} {
			fw.Addresses[netip.MustParseAddr(a)] = struct{}{}
			fw.Sources[desired.Source{Port: "v" + name, MAC: mac, Addr: netip.MustParseAddr(a)}] = struct{}{}
		}
	}
	l.host.serve(t, "[fd00:1::1]:9000")
	return l, fw
}

// waitFor returns once eth0 has an address, which the kernel makes when it has
// taken note of the carrier.
func (p *place) waitFor(t *testing.T, addr string) {
	t.Helper()
	var out []byte
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(string(out), addr+"/"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s has no %s: %s", p.name, addr, out)
		}
		must(t, p.in(func() (err error) {
			out, err = exec.Command("ip", "-6", "addr", "show", "dev", "eth0").Output()
			return err
		}))
	}
}

// zoned writes a link-local address with the number of the place's interface:
// Go remembers the numbers of names, which differ between namespaces.
func (p *place) zoned(t *testing.T, addr string) string {
	t.Helper()
	var out []byte
	must(t, p.in(func() (err error) { out, err = exec.Command("ip", "-o", "link", "show", "eth0").Output(); return err }))
	index, _, _ := strings.Cut(string(out), ":")
	return "[" + addr + "%" + index + "]"
}

// On a network that denies, IPv6 passes along flows and pairs only, whatever
// address is used; neighbours and the gateway are found all the same.
func TestDenyingIPv6(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := neighbours(t, true)
	fw.Flows = map[desired.Flow]struct{}{flowOf("fd00:1::2", "fd00:1::3", "tcp", 80, 80): {}, flowOf("fd00:1::2", "fd00:1::3", "udp", 80, 80): {}}
	fw.Pairs = map[desired.Pair]struct{}{{From: netip.MustParseAddr("fd00:1::3"), To: netip.MustParseAddr("fd00:1::4")}: {}}
	l.matrix("no table", []probe{ // the test can fail
		{"d4", "[fd00:1::2]:80", "d2 sees fd00:1::4"},
		{"d4", l.places["d4"].zoned(t, "fe80::ff:fe00:102") + ":80", "d2 sees fe80::ff:fe00:104"},
	})
	must(t, newFirewall(t).Load(t.Context(), fw))
	for _, brnf := range []string{"1", "0"} {
		for _, s := range []string{"iptables", "ip6tables"} {
			l.host.sysctl(t, "bridge/bridge-nf-call-"+s, brnf)
		}
		for _, p := range []string{"host", "d2", "d3", "d4"} {
			l.places[p].run(t, "ip -6 neigh flush dev "+map[bool]string{true: "jk-d", false: "eth0"}[p == "host"])
		}
		l.matrix("denying, br_netfilter "+brnf, []probe{
			{"d2", "[fd00:1::3]:80", "d3 sees fd00:1::2"},
			{"d3", "[fd00:1::2]:80", ""}, // not backwards
			{"d3", "[fd00:1::4]:80", "d4 sees fd00:1::3"},
			{"d4", "[fd00:1::3]:80", ""},
			{"d2", "[fd00:1::4]:80", ""},
			{"d2", l.places["d2"].zoned(t, "fe80::ff:fe00:103") + ":80", ""}, // nor by the address that every interface has
			{"d3", l.places["d3"].zoned(t, "fe80::ff:fe00:104") + ":80", ""},
			{"d4", l.places["d4"].zoned(t, "fe80::ff:fe00:102") + ":80", ""},
			{"d2", "172.30.1.3:80", ""},
			{"host", "[fd00:1::3]:80", "d3 sees fd00:1::1"},
			{"d4", "[fd00:1::1]:9000", "host sees fd00:1::4"},
		})
		if out := l.answers("d4", "ff02::1%eth0"); strings.Contains(out, "from fe80::ff:fe00:10") || !strings.Contains(out, "from fe80::") {
			t.Errorf("br_netfilter %s: all nodes that answer: %s, want the host alone", brnf, out)
		}
	}
}

// answers pings and tells what came.
func (l *lab) answers(from, to string) string {
	var out []byte
	_ = l.places[from].in(func() error {
		out, _ = exec.Command("ping", "-6", "-c", "2", "-i", "0.2", "-W", "1", to).CombinedOutput()
		return nil
	})
	return string(out)
}

// Nobody sends with a neighbour's address of IPv6; one that is nobody's passes.
func TestForgedIPv6(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := neighbours(t, false)
	l.places["d4"].run(t, "ip -6 neigh replace fd00:1::3 lladdr 02:00:00:00:01:03 dev eth0") // no question is pending
	ask := func(source, want string) string {
		l.places["d4"].run(t, "ip -6 addr replace "+source+"/128 dev eth0 nodad")
		defer l.places["d4"].run(t, "ip -6 addr del "+source+"/128 dev eth0")
		l.places["d4"].run(t, "ip -6 route replace fd00:1::3/128 dev eth0 src "+source)
		defer l.places["d4"].run(t, "ip -6 route del fd00:1::3/128 dev eth0")
		l.places["d3"].run(t, "ip -6 neigh replace "+source+" lladdr 02:00:00:00:01:04 dev eth0") // the answer goes to it
		return l.places["d4"].ask("udp", "[fd00:1::3]:80", want)
	}
	if got := ask("fd00:1::2", "d3 sees fd00:1::2"); got != "d3 sees fd00:1::2" {
		t.Fatalf("without the table: %q: the test shows nothing", got)
	}
	must(t, newFirewall(t).Load(t.Context(), fw))
	for source, want := range map[string]string{"fd00:1::2": "", "fd00:1::1": "", "fd00:1::99": "d3 sees fd00:1::99", "fd00:1::4": "d3 sees fd00:1::4"} {
		if source == "fd00:1::4" {
			if got := l.places["d4"].ask("udp", "[fd00:1::3]:80", want); got != want {
				t.Errorf("as itself: %q", got)
			}
			continue
		}
		if got := ask(source, want); got != want {
			t.Errorf("as %s: %q, want %q", source, got, want)
		}
	}
}

// A container in a security group opens connections by IPv6, and takes those
// that its rules let in.
func TestGuardedIPv6(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := neighbours(t, false)
	port := fw.Ports["vd3"]
	port.Routed = true
	fw.Ports["vd3"], fw.MACs[port.MAC] = port, true
	fw.Guarded = map[netip.Addr]struct{}{netip.MustParseAddr("fd00:1::3"): {}, netip.MustParseAddr("fe80::ff:fe00:103"): {}}
	local := "[fe80::ff:fe00:103"
	l.matrix("no table", []probe{{"d2", "[fd00:1::3]:80", "d3 sees fd00:1::2"}, {"d2", l.places["d2"].zoned(t, local[1:]) + ":80", "d3 sees fe80::ff:fe00:102"}})
	must(t, newFirewall(t).Load(t.Context(), fw))
	for _, brnf := range []string{"1", "0"} {
		for _, s := range []string{"iptables", "ip6tables"} {
			l.host.sysctl(t, "bridge/bridge-nf-call-"+s, brnf)
		}
		l.matrix("guarded, br_netfilter "+brnf, []probe{
			{"d2", "[fd00:1::3]:80", ""}, {"host", "[fd00:1::3]:80", "d3 sees fd00:1::1"},
			{"d2", l.places["d2"].zoned(t, local[1:]) + ":80", ""},
			{"d3", "[fd00:1::2]:80", "d2 sees fd00:1::3"}, {"d4", "[fd00:1::2]:80", "d2 sees fd00:1::4"},
		})
	} // By address, by membership, and by ICMP, whose number is another in IPv6.
	const mark = 0x01000001
	fw.Members = map[netip.Addr]uint32{netip.MustParseAddr("fd00:1::4"): mark}
	fw.Admit = admissions(admission("fd00:1::", "fd00:1::2", "fd00:1::3", 6, 6, 80, 80), admission("fd00:1::2", "fd00:1::2", "fd00:1::3", 58, 58, 0, 65535))
	fw.AdmitMembers = map[desired.MemberAdmission]struct{}{memberAdmission(mark, "fd00:1::3", 17, 80): {}}
	must(t, newFirewall(t).Load(t.Context(), fw))
	for _, c := range []struct{ from, proto, want string }{
		{"d2", "tcp", "d3 sees fd00:1::2"}, {"d2", "udp", ""}, {"d4", "tcp", ""}, {"d4", "udp", "d3 sees fd00:1::4"},
	} {
		if got := l.places[c.from].ask(c.proto, "[fd00:1::3]:80", c.want); got != c.want {
			t.Errorf("%s by %s: %q, want %q", c.from, c.proto, got, c.want)
		}
	}
	for from, passes := range map[string]bool{"d2": true, "d4": false} {
		if out := l.answers(from, "fd00:1::3"); strings.Contains(out, "bytes from fd00:1::3") != passes {
			t.Errorf("pings of %s pass: %v, want %v\n%s", from, !passes, passes, out)
		}
	}
}
