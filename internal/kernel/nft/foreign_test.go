//go:build linux

package nft

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// With another firewall that drops what is forwarded, ours still decides.
func TestForeignPolicyDrop(t *testing.T) {
	for _, c := range []struct{ name, table, chain string }{
		{"iptables", "ip filter", "FORWARD"},
		{"firewalld", "inet firewalld", "filter_FORWARD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !alone(t) {
				return
			}
			l, fw := town(t)
			f, log := quietly(t)
			l.nft("add table " + c.table)
			l.nft("add chain " + c.table + " " + c.chain + " { type filter hook forward priority 0; policy drop; }")
			l.nft("add rule " + c.table + " " + c.chain + " counter drop")
			must(t, f.Load(t.Context(), fw))
			l.matrix("policy drop", cases())
			list := func() string { return l.nft("list chain " + c.table + " " + c.chain) }
			before := list()
			if n := strings.Count(before, `accept comment "jackstay"`); n != 4 {
				t.Errorf("%d rules of ours in\n%s", n, before)
			}
			if _, intact, err := f.Observe(t.Context()); err != nil || !intact {
				t.Errorf("intact %v, error %v, log %s", intact, err, log)
			}
			must(t, f.Load(t.Context(), fw))
			if strings.Count(list(), "jackstay\"") != strings.Count(before, "jackstay\"") {
				t.Errorf("loaded twice, rules twice:\n%s", list())
			}
			// Somebody reloads the other firewall.
			l.nft("flush chain " + c.table + " " + c.chain)
			if _, intact, err := f.Observe(t.Context()); err != nil || intact {
				t.Errorf("rules gone: intact %v, error %v", intact, err)
			}
			must(t, f.Load(t.Context(), fw))
			if strings.Count(list(), `accept comment "jackstay"`) != 4 {
				t.Errorf("rules not back:\n%s", list())
			}
			must(t, f.Update(t.Context(), withBridge("mybridge"), empty()))
			if !strings.Contains(list(), `oifname "mybridge" accept comment "jackstay"`) {
				t.Errorf("no rule for a bridge with a name of its own:\n%s", list())
			}
			must(t, f.Update(t.Context(), empty(), withBridge("mybridge")))
			if strings.Contains(list(), "mybridge") || strings.Count(list(), "jackstay\"") != strings.Count(before, "jackstay\"") {
				t.Errorf("rule of a deleted bridge:\n%s", list())
			}
			// A bridge that went away while nobody was there.
			must(t, f.Update(t.Context(), withBridge("mybridge"), empty()))
			must(t, newFirewall(t).Load(t.Context(), fw))
			if strings.Contains(list(), "mybridge") {
				t.Errorf("rule of a forgotten bridge:\n%s", list())
			}
			must(t, f.Cleanup(t.Context()))
			if strings.Contains(list(), `comment "jackstay"`) || !strings.Contains(list(), "policy drop") {
				t.Errorf("after Cleanup:\n%s", list())
			}
		})
	}
}

// iptables still reads the chain that holds our rules.
func TestIptablesReadsOurRules(t *testing.T) {
	if _, err := exec.LookPath("iptables-nft"); err != nil {
		t.Skip("needs iptables-nft")
	}
	if !alone(t) {
		return
	}
	newLab(t)
	out, err := exec.Command("iptables-nft", "-P", "FORWARD", "DROP").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	must(t, newFirewall(t).Load(t.Context(), sample()))
	out, err = exec.Command("iptables-nft", "-S", "FORWARD").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"-A FORWARD -i jackstay0", "-A FORWARD -o jackstay0", "-A FORWARD -i jk-+", "-A FORWARD -i fifteen-letters"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestForeignLeftAlone(t *testing.T) {
	if !alone(t) {
		return
	}
	l := newLab(t)
	f, log := quietly(t)
	l.nft("add table ip filter")
	l.nft("add chain ip filter FORWARD { type filter hook forward priority 0; policy accept; }")
	l.nft("add table inet mine")
	l.nft("add chain inet mine forward { type filter hook forward priority 0; policy drop; }")
	before := l.nft("list ruleset")
	for range 2 {
		must(t, f.Load(t.Context(), empty()))
	}
	if after := l.nft("list ruleset"); !strings.HasPrefix(after, before) {
		t.Errorf("a chain that does nothing, or that is somebody's own, was changed:\n%s", after)
	}
	if n := strings.Count(log.String(), "inet mine forward"); n != 1 {
		t.Errorf("the policy of inet mine forward is told %d times: %s", n, log)
	}
}

// firewalld may own its table: nobody else can change it. That is told, and
// must not look like damage of ours for ever.
func TestForeignOwned(t *testing.T) {
	if !alone(t) {
		return
	}
	l := newLab(t)
	// A table is owned for as long as the socket that made it is open.
	owner := exec.Command("nft", "-i")
	stdin, err := owner.StdinPipe()
	must(t, err)
	must(t, owner.Start())
	defer func() { _ = stdin.Close(); _ = owner.Wait() }()
	_, err = stdin.Write([]byte("table inet firewalld { flags owner; chain filter_FORWARD { type filter hook forward priority 10; policy drop; }; }\n"))
	must(t, err)
	for range 100 {
		if strings.Contains(l.nft("list ruleset"), "filter_FORWARD") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if out := l.nft("list ruleset"); !strings.Contains(out, "flags owner") {
		t.Fatalf("no table with an owner:\n%s", out)
	}
	f, log := quietly(t)
	must(t, f.Load(t.Context(), sample()))
	sees(t, f, sample(), true)
	if !strings.Contains(log.String(), "inet firewalld filter_FORWARD") {
		t.Errorf("not told: %s", log)
	}
	must(t, f.Cleanup(t.Context()))
}
