//go:build linux

package nft

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
)

// echo answers over TCP with what it is sent.
func (p *place) echo(t *testing.T, addr string) {
	t.Helper()
	var ln net.Listener
	must(t, p.in(func() (err error) { ln, err = net.Listen("tcp", addr); return err }))
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
}

// Connections that are open stay so while there are no rules at all, in each
// direction of translation; what begins meanwhile is translated, or refused, as
// soon as the rules are back.
func TestFlushKeepsConnections(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := floatingTown(t)
	both(&fw, "", 8090, "172.30.1.2:7007")
	both(&fw, "", 8090, "[fd00:1::2]:7007")
	for name, addrs := range map[string][]string{"a1": {"172.30.1.2", "fd00:1::2"}, "outside": {"192.0.2.2", "2001:db8::2"}} {
		for _, a := range addrs {
			l.places[name].echo(t, net.JoinHostPort(a, "7007"))
		}
	}
	f := newFirewall(t)
	must(t, f.Load(t.Context(), fw))
	open := map[string]net.Conn{}
	for _, p := range []probe{
		{from: "outside", to: "192.0.2.1:8090"}, {from: "outside", to: "[2001:db8::1]:8090"}, // published
		{from: "host", to: "127.0.0.1:8090"}, {from: "b2", to: "192.0.2.1:8090"}, {from: "a1", to: "192.0.2.1:8090"},
		{from: "outside", to: "192.0.2.17:7007"}, {from: "outside", to: "[2001:db8::17]:7007"}, // floating
		{from: "a1", to: "192.0.2.2:7007"}, {from: "a1", to: "[2001:db8::2]:7007"},
		{from: "b2", to: "192.0.2.2:7007"}, {from: "b2", to: "[2001:db8::2]:7007"}, // with the host's address
	} {
		var c net.Conn
		must(t, l.places[p.from].in(func() (err error) { c, err = net.DialTimeout("tcp", p.to, patience); return err }))
		t.Cleanup(func() { _ = c.Close() })
		open[p.from+" to "+p.to] = c
	}
	echoed := func(when string) {
		t.Helper()
		for what, c := range open {
			_ = c.SetDeadline(time.Now().Add(patience))
			buf := make([]byte, len(when))
			if _, err := c.Write([]byte(when)); err != nil {
				t.Errorf("%s, %s: %v", when, what, err)
			} else if _, err := io.ReadFull(c, buf); err != nil || string(buf) != when {
				t.Errorf("%s, %s: %q, %v", when, what, buf, err)
			}
		}
	}
	echoed("before")
	l.nft("flush", "ruleset")
	if out := l.nft("list", "tables"); out != "table inet "+hooksName+"\n" {
		t.Errorf("after the flush: %s", out)
	}
	echoed("without rules")

	// What begins now meets no rule.
	left, published, between := flow(t, l.places["b2"], "192.0.2.2:80"), flow(t, l.places["outside"], "192.0.2.1:8080"), flow(t, l.places["a1"], "172.30.2.2:80")
	floats := flow(t, l.places["a1"], "192.0.2.2:80")
	var server net.PacketConn
	var client net.Conn
	must(t, l.places["b1"].in(func() (err error) { server, err = net.ListenPacket("udp4", "172.30.2.2:7100"); return err }))
	must(t, l.places["a1"].in(func() (err error) { client, err = net.Dial("udp", "172.30.2.2:7100"); return err }))
	t.Cleanup(func() { _ = server.Close(); _ = client.Close() })
	_, _ = client.Write([]byte("?"))
	_ = server.SetReadDeadline(time.Now().Add(patience))
	_, peer, err := server.ReadFrom(make([]byte, 1))
	must(t, err)
	hears := func(when string, ask func() string, want string) {
		t.Helper()
		got := ask()
		for end := time.Now().Add(patience); got != want && want != "" && time.Now().Before(end); {
			got = ask()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	hears("without rules, left", left, "outside sees 172.30.2.3")
	hears("without rules, floats", floats, "outside sees 172.30.1.2")
	hears("without rules, published", published, "")
	hears("without rules, between", between, "b1 sees 172.30.1.2")

	must(t, f.Load(t.Context(), fw))
	echoed("after")
	hears("with the rules again, left", left, "outside sees 192.0.2.1")
	hears("with the rules again, floats", floats, "outside sees 192.0.2.17")
	hears("with the rules again, published", published, "a1 sees 192.0.2.2")
	hears("with the rules again, between", between, "")
	_, _ = server.WriteTo([]byte("!"), peer)
	_ = client.SetReadDeadline(time.Now().Add(probeTimeout))
	if n, err := client.Read(make([]byte, 1)); n == 1 {
		t.Errorf("an answer is heard that began without rules: %v", err)
	}
	must(t, f.Cleanup(t.Context()))
	if out := l.nft("list", "ruleset"); out != "" {
		t.Errorf("left after Cleanup: %s", out)
	}
}

// The table is the first one's for as long as it is there.
func TestHooksAreOwned(t *testing.T) {
	if !alone(t) {
		return
	}
	l, first := newLab(t), newFirewall(t)
	must(t, first.Load(t.Context(), sample()))
	doc, err := os.ReadFile("../../../docs/networking.md")
	must(t, err)
	for line := range strings.Lines(l.nft("list", "table", "inet", hooksName)) {
		line, _, _ = strings.Cut(line, "#") // newer versions name the owner
		if line = strings.ReplaceAll(strings.TrimSpace(line), "priority srcnat", "priority 100"); !strings.Contains(string(doc), line) {
			t.Errorf("docs/networking.md does not show %s", line)
		}
	}
	if out, err := exec.Command("nft", "delete", "table", "inet", hooksName).CombinedOutput(); err == nil {
		t.Errorf("another process could delete it: %s", out)
	}
	// A saved ruleset with it can't be loaded, one without it can.
	saved := l.nft("list", "ruleset")
	restore := func(ruleset string) string {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader("flush ruleset\n" + ruleset)
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	if out := restore(saved); !strings.Contains(out, "Operation not permitted") {
		t.Errorf("restoring another's table: %q", out)
	}
	without := regexp.MustCompile(`(?ms)^table inet `+hooksName+` .*?^}\n`).ReplaceAllString(saved, "")
	if out := restore(without); without == saved || out != "" {
		t.Errorf("restoring without it: %q", out)
	}
	sees(t, first, sample(), true)
	second, log := quietly(t)
	for range 2 {
		must(t, second.Load(t.Context(), sample()))
		sees(t, second, sample(), true)
	}
	if w := fmt.Sprint(second.Warnings()); !strings.Contains(w, "another process owns table inet "+hooksName) || strings.Count(log.String(), "another process") != 1 {
		t.Errorf("warnings %s, told %s", w, log)
	}
	if w := first.Warnings(); len(w) != 0 {
		t.Errorf("the owner warns: %v", w)
	}
	first.hooks.drop()
	sees(t, second, sample(), true)
	if w := second.Warnings(); len(w) != 0 || !strings.Contains(l.nft("list", "tables"), hooksName) {
		t.Errorf("not taken over: %v", w)
	}
}

// A kernel that has no such tables is asked once, and the firewall does without.
func TestHooksRefused(t *testing.T) {
	for err, want := range map[error]errs.Kind{unix.EOPNOTSUPP: errs.Unavailable, unix.EINVAL: errs.Unavailable, unix.EPERM: errs.Conflict} {
		if got := refusal(hooksName, err); !errs.Is(got, want) {
			t.Errorf("%v: %v", err, got)
		}
	}
	f, log := quietly(t)
	f.hooks.set(nil, refusal(hooksName, unix.EOPNOTSUPP))
	f.keepHooks()
	if w := fmt.Sprint(f.Warnings()); f.hooks.k != nil || log.Len() > 0 || !strings.Contains(w, "Linux 5.12") {
		t.Errorf("made %t, told %q, warns %s", f.hooks.k != nil, log, w)
	}
}
