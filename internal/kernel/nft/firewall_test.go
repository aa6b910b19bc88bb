//go:build linux

package nft

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// sample has something in every set.
func sample() desired.Firewall {
	return desired.Firewall{
		Bridges:  names("jackstay0", "jk-a", "jk-b", "fifteen-letters"),
		Internal: names("jk-b"),
		Masquerade: map[netip.Prefix]struct{}{ // neighbours, and the last of all
			netip.MustParsePrefix("172.17.0.0/16"): {}, netip.MustParsePrefix("172.18.0.0/16"): {},
			netip.MustParsePrefix("10.0.0.0/24"): {}, netip.MustParsePrefix("fd00::/64"): {},
		},
		Hairpin: map[desired.HairpinKey]struct{}{
			{Subnet: netip.MustParsePrefix("172.17.0.0/16"), Bridge: "jackstay0"}: {},
			{Subnet: netip.MustParsePrefix("172.18.3.0/28"), Bridge: "jk-a"}:      {},
			{Subnet: netip.MustParsePrefix("fd00::/64"), Bridge: "jk-a"}:          {},
		},
		Publish: map[desired.Claim]desired.Target{
			{IP: netip.MustParseAddr("127.0.0.1"), Proto: "tcp", Port: 80}:     to("172.17.0.2:8080"),
			{IP: netip.MustParseAddr("127.0.0.1"), Proto: "udp", Port: 80}:     to("172.17.0.3:8080"),
			{IP: netip.MustParseAddr("2001:db8::1"), Proto: "sctp", Port: 443}: to("[fd00::2]:443"),
		},
		PublishAny: map[desired.PortKey]desired.Target{
			{Proto: "tcp", Port: 65535}:         to("172.17.0.2:1"),
			{V6: true, Proto: "tcp", Port: 443}: to("[fd00::2]:443"),
		},
		FIPIn:   addrs("203.0.113.17", "172.17.0.2", "2001:db8::17", "fd00::2"),
		FIPOut:  addrs("172.17.0.2", "203.0.113.17", "fd00::2", "2001:db8::17"),
		FIPOnly: map[netip.Addr]struct{}{netip.MustParseAddr("203.0.113.17"): {}, netip.MustParseAddr("2001:db8::17"): {}},
		FIPPorts: map[desired.Claim]struct{}{
			{IP: netip.MustParseAddr("203.0.113.17"), Proto: "tcp", Port: 80}: {}, {IP: netip.MustParseAddr("2001:db8::17"), Proto: "udp", Port: 53}: {},
		},
		Moved: map[desired.MovedKey]netip.Addr{{Bridge: "jk-a", Addr: netip.MustParseAddr("172.18.3.2")}: netip.MustParseAddr("172.18.3.3"),
			{Bridge: "jk-a", Addr: netip.MustParseAddr("fd00::2")}: netip.MustParseAddr("fd00::3")},
		Swapped: map[netip.Addr]struct{}{netip.MustParseAddr("172.18.3.2"): {}, netip.MustParseAddr("172.18.3.3"): {},
			netip.MustParseAddr("fd00::2"): {}, netip.MustParseAddr("fd00::3"): {}},
		Open: names("jackstay0", "jk-a", "fifteen-letters"),
		Flows: map[desired.Flow]struct{}{
			flowOf("172.17.0.2", "172.17.0.3", "tcp", 80, 80): {}, flowOf("172.17.0.2", "172.17.0.3", "tcp", 81, 90): {},
			flowOf("172.17.0.2", "172.17.0.3", "udp", 80, 80): {}, flowOf("172.17.0.3", "172.17.0.2", "sctp", 1, 65535): {},
			flowOf("fd00::2", "fd00::3", "tcp", 80, 80): {}, flowOf("fd00::2", "fd00::3", "tcp", 82, 90): {},
		},
		Pairs: map[desired.Pair]struct{}{
			{From: netip.MustParseAddr("172.17.0.2"), To: netip.MustParseAddr("172.18.3.2")}: {},
			{From: netip.MustParseAddr("fd00::2"), To: netip.MustParseAddr("fd00:1::2")}:     {},
		},
		Guarded: map[netip.Addr]struct{}{netip.MustParseAddr("fd00::2"): {}, netip.MustParseAddr("172.17.0.2"): {}, netip.MustParseAddr("172.17.0.3"): {}},
		Members: map[netip.Addr]uint32{netip.MustParseAddr("fd00::3"): 0x01000001, netip.MustParseAddr("172.17.0.2"): 0x01000001, netip.MustParseAddr("172.17.0.3"): 0xfe1212fe},
		Admit: admissions(
			admission("0.0.0.0", "255.255.255.255", "172.17.0.2", 6, 6, 80, 80), admission("10.0.0.1", "10.0.0.1", "172.17.0.2", 6, 6, 443, 443),
			admission("10.0.0.0", "10.255.255.255", "172.17.0.3", 0, 255, 0, 65535), admission("192.0.2.5", "192.0.2.9", "172.17.0.3", 1, 1, 0, 65535),
			admission("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fd00::2", 6, 6, 80, 90), admission("2001:db8::", "2001:db8::ffff", "fd00::2", 58, 58, 0, 65535),
		),
		AdmitMembers: map[desired.MemberAdmission]struct{}{
			memberAdmission(0x01000001, "172.17.0.2", 17, 53): {}, memberAdmission(0x01000001, "fd00::2", 6, 443): {},
			memberAdmission(0xfe1212fe, "172.17.0.2", 17, 53): {},
		},
		Ports: map[string]desired.BridgePort{
			"jv1":             {MAC: "02:42:ac:11:00:02", Bridge: "02:00:00:00:00:01"},
			"jvabcdefghijklm": {MAC: "02:42:ac:11:00:03", Bridge: "02:00:00:00:00:01", Routed: true},
		},
		MACs: map[string]bool{"02:42:ac:11:00:02": false, "02:42:ac:11:00:03": true, "02:00:00:00:00:01": false},
		Addresses: map[netip.Addr]struct{}{
			netip.MustParseAddr("172.17.0.1"): {}, netip.MustParseAddr("172.17.0.2"): {}, netip.MustParseAddr("172.17.0.3"): {},
			netip.MustParseAddr("fd00::2"): {}, netip.MustParseAddr("fe80::42:acff:fe11:3"): {},
		},
		Sources: map[desired.Source]struct{}{
			{Port: "jv1", MAC: "02:42:ac:11:00:02", Addr: netip.MustParseAddr("172.17.0.2")}:             {},
			{Port: "jvabcdefghijklm", MAC: "02:42:ac:11:00:03", Addr: netip.MustParseAddr("172.17.0.3")}: {},
			{Port: "jv1", MAC: "02:42:ac:11:00:02", Addr: netip.MustParseAddr("fd00::2")}:                {},
		},

		Tenants:    names("jk-a"),
		TenantNets: map[netip.Prefix]struct{}{netip.MustParsePrefix("172.18.3.0/28"): {}, netip.MustParsePrefix("fd00::/64"): {}},
		Gateways:   map[netip.Addr]struct{}{netip.MustParseAddr("172.17.0.1"): {}, netip.MustParseAddr("fd00::1"): {}},
		OwnGateways: map[desired.GatewayKey]struct{}{
			{Bridge: "jk-a", Addr: netip.MustParseAddr("172.18.3.1")}: {}, {Bridge: "jk-a", Addr: netip.MustParseAddr("fd00::1")}: {},
		},
	}
}

func flowOf(from, to, proto string, first, last uint16) desired.Flow {
	return desired.Flow{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Proto: proto, First: first, Last: last}
}

// addrs makes a map of pairs.
func addrs(pairs ...string) map[netip.Addr]netip.Addr {
	m := map[netip.Addr]netip.Addr{}
	for i := 0; i < len(pairs); i += 2 {
		m[netip.MustParseAddr(pairs[i])] = netip.MustParseAddr(pairs[i+1])
	}
	return m
}

func empty() desired.Firewall { return unlay(layout{}) }

// sees asserts what Observe gives.
func sees(t *testing.T, f *Firewall, want desired.Firewall, intact bool) {
	t.Helper()
	got, ok, err := f.Observe(t.Context())
	must(t, err)
	if ok != intact {
		t.Errorf("intact: got %v, want %v", ok, intact)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("observed\n%v, want\n%v", got, want)
	}
}

func TestLoadAndObserve(t *testing.T) {
	if !alone(t) {
		return
	}
	l, f := newLab(t), newFirewall(t)
	sees(t, f, empty(), false)
	must(t, f.Load(t.Context(), sample()))
	sees(t, f, sample(), true)
	must(t, f.Load(t.Context(), sample()))
	sees(t, f, sample(), true)
	sees(t, newFirewall(t), sample(), true) // a restarted daemon
	l.nft("flush", "ruleset")
	sees(t, f, empty(), false)
	if err := f.Update(t.Context(), sample(), empty()); !errs.Is(err, errs.Unavailable) {
		t.Errorf("update without a table: %v", err)
	}
	must(t, f.Load(t.Context(), sample()))
	sees(t, f, sample(), true)
	must(t, f.Cleanup(t.Context()))
	must(t, f.Cleanup(t.Context()))
	if out := l.nft("list", "ruleset"); out != "" {
		t.Errorf("left after Cleanup: %s", out)
	}
}

func TestObserveNoticesDamage(t *testing.T) {
	if !alone(t) {
		return
	}
	l, f := newLab(t), newFirewall(t)
	handle := func(chain, rule string) string {
		for _, line := range strings.Split(l.nft("-a", "list", "chain", "inet", "jackstay", chain), "\n") {
			if text, h, ok := strings.Cut(strings.TrimSpace(line), " # handle "); ok && text == rule {
				return h
			}
		}
		t.Fatalf("no rule %q in %s", rule, chain)
		return ""
	}
	for name, damage := range map[string]func(){
		"rule deleted": func() {
			l.nft("delete", "rule", "inet", "jackstay", "forward", "handle", handle("forward", "oifname @bridges drop"))
		},
		"rule added": func() { l.nft("insert", "rule", "inet", "jackstay", "forward", "accept") },
		"rule replaced": func() {
			l.nft("replace", "rule", "inet", "jackstay", "forward", "handle", handle("forward", "oifname @bridges drop"), "oifname", "@bridges", "accept")
		},
		"rules in another order": func() {
			l.nft("delete", "rule", "inet", "jackstay", "guard", "handle", handle("guard", "ip daddr 127.0.0.0/8 drop"))
			l.nft("add", "rule", "inet", "jackstay", "guard", "ip", "daddr", "127.0.0.0/8", "drop")
		},
		"chain flushed": func() { l.nft("flush", "chain", "inet", "jackstay", "source") },
		"chain deleted": func() {
			l.nft("flush", "chain", "inet", "jackstay", "input")
			l.nft("delete", "chain", "inet", "jackstay", "input")
		},
		"chain added":    func() { l.nft("add", "chain", "inet", "jackstay", "mine") },
		"policy changed": func() { l.nft("chain", "inet", "jackstay", "input", "{ policy drop; }") },
		"two bridges paired": func() {
			l.nft("add", "element", "inet", "jackstay", "samebridge", `{ "jk-a" . "jk-b" }`)
		},
		"a range of guarded addresses": func() {
			l.nft("add", "element", "inet", "jackstay", "admit4", "{ 0.0.0.0/0 . 172.17.0.2-172.17.0.9 . tcp . 81 }")
		},
		"a mark that is none": func() {
			l.nft("add", "element", "inet", "jackstay", "members4", "{ 172.17.0.9 : 0 }")
		},
		"half a port":                func() { l.nft("add", "element", "bridge", "jackstay", "ports", `{ "jv2" }`) },
		"the bridges' guard flushed": func() { l.nft("flush", "chain", "bridge", "jackstay", "guard") },
		"the bridges' table deleted": func() { l.nft("delete", "table", "bridge", "jackstay") },
		"a range that is no subnet": func() {
			l.nft("add", "element", "inet", "jackstay", "masquerade4", "{ 192.0.2.5-192.0.2.9 }")
		},
		"an unknown protocol": func() {
			l.nft("add", "element", "inet", "jackstay", "publishany4", "{ icmp . 9 : 172.17.0.9 . 9 }")
		},
		"mark deleted":    func() { l.nft("flush", "set", "inet", "jackstay", "fingerprint") },
		"another's table": func() { l.nft("delete", "table", "inet", "jackstay"); l.nft("add", "table", "inet", "jackstay") },
	} {
		must(t, f.Load(t.Context(), sample()))
		damage()
		if _, intact, err := f.Observe(t.Context()); err != nil || intact {
			t.Errorf("%s: intact %v, error %v", name, intact, err)
		}
	}
	must(t, f.Load(t.Context(), sample()))
	want := sample()
	l.nft("delete", "element", "inet", "jackstay", "masquerade4", "{ 172.18.0.0/16 }")
	delete(want.Masquerade, netip.MustParsePrefix("172.18.0.0/16"))
	l.nft("add", "element", "inet", "jackstay", "publishany4", "{ udp . 9 : 172.17.0.9 . 9 }")
	want.PublishAny[desired.PortKey{Proto: "udp", Port: 9}] = to("172.17.0.9:9")
	l.nft("add", "element", "inet", "jackstay", "bridges", `{ "virbr0" }`)
	want.Bridges["virbr0"] = struct{}{}
	l.nft("delete", "element", "inet", "jackstay", "samebridge", `{ "jk-a" . "jk-a" }`)
	delete(want.Open, "jk-a")
	l.nft("add", "element", "inet", "jackstay", "admit4", "{ 10.9.9.9 . 172.17.0.2 . udp . 7 }")
	want.Admit[admission("10.9.9.9", "10.9.9.9", "172.17.0.2", 17, 17, 7, 7)] = struct{}{}
	l.nft("add", "element", "inet", "jackstay", "flows4", "{ 10.9.9.9 . 172.17.0.2 . udp . 7 }")
	want.Flows[flowOf("10.9.9.9", "172.17.0.2", "udp", 7, 7)] = struct{}{}
	l.nft("delete", "element", "bridge", "jackstay", "routedmacs", "{ 02:42:ac:11:00:03 }")
	want.MACs["02:42:ac:11:00:03"] = false
	sees(t, f, want, true)
}

func TestUpdate(t *testing.T) {
	if !alone(t) {
		return
	}
	newLab(t)
	f := newFirewall(t)
	must(t, f.Load(t.Context(), empty()))
	for range 2 { // all there already: the second changes nothing
		must(t, f.Update(t.Context(), sample(), empty()))
		sees(t, f, sample(), true)
	}
	// Neighbouring subnets are told apart.
	one := desired.Firewall{Masquerade: map[netip.Prefix]struct{}{netip.MustParsePrefix("172.17.0.0/16"): {}}}
	must(t, f.Update(t.Context(), empty(), one))
	want := sample()
	delete(want.Masquerade, netip.MustParsePrefix("172.17.0.0/16"))
	sees(t, f, want, true)
	must(t, f.Update(t.Context(), one, empty()))
	sees(t, f, sample(), true)
	// A changed value: once told properly, once with the old one unknown.
	key := desired.PortKey{Proto: "tcp", Port: 65535}
	for _, del := range []desired.Firewall{{PublishAny: map[desired.PortKey]desired.Target{key: to("172.17.0.2:1")}}, {}} {
		add := desired.Firewall{PublishAny: map[desired.PortKey]desired.Target{key: to(fmt.Sprintf("172.17.0.%d:1", 7+len(del.PublishAny)))}}
		must(t, f.Update(t.Context(), add, del))
		want = sample()
		want.PublishAny[key] = add.PublishAny[key]
		sees(t, f, want, true)
	}
	// Ranges of ports that overlap with those they take the place of.
	wide := desired.Firewall{Flows: map[desired.Flow]struct{}{flowOf("172.17.0.2", "172.17.0.3", "tcp", 70, 85): {}}}
	narrow := desired.Firewall{Flows: map[desired.Flow]struct{}{
		flowOf("172.17.0.2", "172.17.0.3", "tcp", 80, 80): {}, flowOf("172.17.0.2", "172.17.0.3", "tcp", 81, 90): {},
	}}
	must(t, f.Update(t.Context(), wide, narrow))
	must(t, f.Update(t.Context(), narrow, wide))
	sees(t, f, want, true)
	// So do admissions: wider sources, ports and protocols in place of narrower ones, and back.
	for _, wide := range []desired.Admission{
		admission("10.0.0.0", "10.0.0.255", "172.17.0.2", 6, 6, 443, 443), admission("10.0.0.1", "10.0.0.1", "172.17.0.2", 6, 6, 440, 450),
		admission("10.0.0.1", "10.0.0.1", "172.17.0.2", 0, 255, 0, 65535), admission("9.0.0.0", "10.0.0.1", "172.17.0.2", 6, 6, 443, 443),
		admission("10.0.0.1", "10.0.0.9", "172.17.0.2", 1, 6, 443, 65535),
	} {
		narrow := desired.Firewall{Admit: admissions(admission("10.0.0.1", "10.0.0.1", "172.17.0.2", 6, 6, 443, 443))}
		if wide.From == netip.MustParseAddr("10.0.0.1") { // overlaps with what everybody may, too
			narrow.Admit[admission("0.0.0.0", "255.255.255.255", "172.17.0.2", 6, 6, 80, 80)] = struct{}{}
		}
		must(t, f.Update(t.Context(), desired.Firewall{Admit: admissions(wide)}, narrow))
		must(t, f.Update(t.Context(), narrow, desired.Firewall{Admit: admissions(wide)}))
		sees(t, f, want, true)
	}
	for range 2 { // and deleting what is absent
		must(t, f.Update(t.Context(), empty(), want))
		sees(t, f, empty(), true)
	}
	// Some of it there, some not.
	must(t, f.Update(t.Context(), one, empty()))
	must(t, f.Update(t.Context(), one, sample()))
	sees(t, f, unlay(layout{setMasquerade4: mustLay(t, one)[setMasquerade4]}), true)
}

func mustLay(t *testing.T, fw desired.Firewall) layout {
	t.Helper()
	l, err := lay(fw)
	must(t, err)
	return l
}

func TestRefusesImpossible(t *testing.T) {
	for _, fw := range []desired.Firewall{
		{Bridges: names("")}, {Bridges: names("sixteen-letters!")}, {Internal: names(`a"b`)},
		{Bridges: names("e*")}, // would be every name that starts so, eth0 too
		{Masquerade: map[netip.Prefix]struct{}{{}: {}}},
		{Publish: map[desired.Claim]desired.Target{{IP: netip.IPv4Unspecified(), Proto: "tcp", Port: 1}: to("1.2.3.4:1")}},
		{Publish: map[desired.Claim]desired.Target{{IP: netip.MustParseAddr("1.1.1.1"), Proto: "icmp"}: to("1.2.3.4:1")}},
		{PublishAny: map[desired.PortKey]desired.Target{{V6: true, Proto: "tcp"}: to("1.2.3.4:1")}},
		{Guarded: map[netip.Addr]struct{}{netip.MustParseAddr("fe80::2%eth0"): {}}},
		{Members: map[netip.Addr]uint32{netip.MustParseAddr("10.0.0.1"): 0}},
		{Members: map[netip.Addr]uint32{netip.MustParseAddr("10.0.0.1"): 7}},
		{Admit: admissions(admission("10.0.0.9", "10.0.0.1", "10.0.0.2", 6, 6, 1, 2))},
		{Admit: admissions(admission("10.0.0.1", "10.0.0.9", "10.0.0.2", 6, 6, 2, 1))},
		{Admit: admissions(admission("fd00::", "fd00::9", "10.0.0.2", 6, 6, 1, 2))},
		{AdmitMembers: map[desired.MemberAdmission]struct{}{memberAdmission(0, "10.0.0.2", 6, 80): {}}},
	} {
		if _, err := lay(fw); !errs.Is(err, errs.Invalid) {
			t.Errorf("%v: %v", fw, err)
		}
	}
}

func TestNftMissingOrOld(t *testing.T) {
	old := filepath.Join(t.TempDir(), "nft")
	must(t, os.WriteFile(old, []byte("#!/bin/sh\necho 'nftables v0.9.8 (E.D.S.)'\n"), 0o755))
	for _, path := range []string{"/nowhere/nft", old} {
		_, err := New(t.Context(), Options{Path: path})
		if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "package nftables") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// many publishes n ports.
func many(n int) desired.Firewall {
	fw := desired.Firewall{PublishAny: map[desired.PortKey]desired.Target{}}
	for i := range n {
		fw.PublishAny[desired.PortKey{Proto: "tcp", Port: uint16(1024 + i)}] = to("172.17.0.2:80")
	}
	return fw
}

func TestSpeed(t *testing.T) {
	if !alone(t) {
		return
	}
	newLab(t)
	f := newFirewall(t)
	must(t, f.Load(t.Context(), sample()))
	for _, n := range []int{1, 1000, 20000} {
		add, del := time.Hour, time.Hour
		for range 5 {
			start := time.Now()
			must(t, f.Update(t.Context(), many(n), empty()))
			add = min(add, time.Since(start))
			start = time.Now()
			must(t, f.Update(t.Context(), empty(), many(n)))
			del = min(del, time.Since(start))
			f.flows.wait()
		}
		t.Logf("%d elements: added in %v, deleted in %v", n, add, del)
	}
	start := time.Now()
	must(t, f.Load(t.Context(), many(1000)))
	t.Logf("load with 1000 ports: %v", time.Since(start))
	start = time.Now()
	sees(t, f, func() desired.Firewall { fw := empty(); fw.PublishAny = many(1000).PublishAny; return fw }(), true)
	t.Logf("observe with 1000 ports: %v", time.Since(start))
}

func TestWatch(t *testing.T) {
	if !alone(t) {
		return
	}
	l, f := newLab(t), newFirewall(t)
	f.eventBuffer = 64 << 10 // a flood overflows it
	ctx, cancel := context.WithCancel(t.Context())
	changed, err := f.Watch(ctx)
	must(t, err)
	signalled := func(within time.Duration) bool {
		select {
		case <-changed:
			return true
		case <-time.After(within):
			return false
		}
	}
	must(t, f.Load(t.Context(), sample()))
	must(t, f.Update(t.Context(), many(10), sample()))
	l.nft("add", "table", "inet", "theirs")
	l.nft("add", "chain", "inet", "theirs", "FORWARD")
	if signalled(200 * time.Millisecond) {
		t.Error("own changes, or those of others' tables, are signalled")
	}
	for _, line := range []string{
		"add element inet jackstay internal { eth9 }",
		"add table ip filter",
		"add chain ip filter FORWARD { type filter hook forward priority 0; }",
		"insert rule ip filter FORWARD counter",
		"flush ruleset",
	} {
		l.nft(strings.Fields(line)...)
		if !signalled(10 * time.Second) {
			t.Errorf("not signalled: nft %s", line)
		}
	}
	// More events than the socket holds, while nobody reads the channel.
	var script strings.Builder
	script.WriteString("add table inet jackstay\nadd set inet jackstay s { type ipv4_addr; }\n")
	for i := range 60000 {
		fmt.Fprintf(&script, "add element inet jackstay s { 10.%d.%d.%d }\n", i>>16, i>>8&255, i&255)
	}
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script.String())
	if out, err := cmd.CombinedOutput(); strings.Contains(string(out), "Message too long") {
		t.Skip("root of a user namespace alone can't send a flood: nft's socket buffer is limited")
	} else if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if !signalled(10 * time.Second) {
		t.Error("a flood is not signalled")
	}
	time.Sleep(100 * time.Millisecond)
	signalled(0)
	l.nft("add", "element", "inet", "jackstay", "s", "{ 11.0.0.1 }")
	if !signalled(10 * time.Second) {
		t.Error("nothing is signalled after a flood")
	}
	cancel()
	for range changed { // ends when it is closed
	}
}

func quietly(t *testing.T) (*Firewall, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	f, err := New(t.Context(), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	return f, &log
}
