package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// estate is one of everything that is set beside Docker's own, and what is said
// of it and seen of it.
type estate struct {
	h, outside *host.Host
}

func newEstate(t *testing.T) *estate {
	h, outside, dev := fipTown(t)
	e := &estate{h, outside}
	background(outside, "probe serve outside tcp:8000 udp:8000")
	always := func(args ...string) []string { return append([]string{"--restart", "always"}, args...) }
	h.J("network", "create", "front")
	h.J("network", "create", "--internal", "cave")
	h.J("network", "create", "--policy", "deny", "vault")
	h.J("sg", "create", "--rule", "tcp:8000:10.98.0.0/24", "web")
	h.J("sg", "create", "--rule", "tcp:8000:web", "inner")
	serve(h, "db", always("--network", "vault", "--expose", "8000")...)
	serve(h, "spare", always("--network", "vault", "--expose", "8000")...)
	serve(h, "far", always("--network", "cave", "--expose", "8000")...)
	serve(h, "web", always("--network", "front", "--sg", "web", "--net-rate-in", "200mbit", "--net-rate-out", "100mbit", "--mac-from", "web")...)
	serve(h, "store", always("--network", "front")...)
	h.J("run", "-d", "--name", "app", "--restart", "always", "--network", "vault", "--link", "db:data:8000/tcp", "--link-later", "late", "busybox", "sleep", "100000")
	h.J("run", "-d", "--name", "stranger", "--restart", "always", "--network", "vault", "busybox", "sleep", "100000")
	h.J("network", "create", "--ipv6", "--subnet", "fd00:7::/64", "six")
	serve(h, "six-a", always("--network", "six", "-p", "8084:8000")...)
	serve(h, "six-b", always("--network", "six")...)
	h.J("tenant", "create", "--fip-quota", "1", "acme")
	h.Sh("export JACKSTAY_HOST=unix://" + h.Run() + "/tenants/acme/jackstay.sock; jackstay network create front && " +
		"jackstay run -d --name web --restart always --network front -p 8083:8000 busybox probe serve theirs tcp:8000 && " +
		"jackstay run -d --name app --restart always --network front --link web busybox sleep 100000")
	// All of it given or changed while they run.
	h.J("sg", "attach", "inner", "store")
	h.J("link", "add", "app", "far:deep:8000/tcp")
	h.J("port", "add", "web", "8080:8000", "127.0.0.1:9000-9001:8000-8001/udp")
	h.J("alias", "add", "front", "web", "www", "*.foo.test")
	fips := strings.Fields(h.J("fip", "allocate", "-y", "3"))
	h.J("fip", "attach", fips[0], "web")
	h.J("fip", "attach", "--expose-only", fips[2], "far")
	h.J("fip", "pool", "add", "2001:db8:7::10/124", "--dev", dev)
	h.J("fip", "attach", h.J("fip", "allocate", "--pool", "2001:db8:7::10/124", "1"), "six-a")
	h.Sh("JACKSTAY_HOST=unix://" + h.Run() + "/tenants/acme/jackstay.sock sh -c 'jackstay fip attach $(jackstay fip allocate 1) web'")
	h.J("nic", "add", "spare", "--on", dev, "--ip", "10.98.0.200/24", "--name", "wire0")
	h.J("update", "--net-rate-out", "vault=80mbit", "spare")
	h.J("fip", "name", fips[1], "kept")
	h.J("nic", "add", "app", "--on", "br7", "--ip", "192.168.7.2/24", "--name", "side0")
	h.J("nic", "add", "store", "--on", "br7", "--ip", "192.168.7.3/24", "--mac-from", "store")
	h.J("nic", "add", "stranger", "--on", "front", "--name", "front0")
	h.J("route", "add", "app", "10.90.0.0/16", "via", "192.168.7.3")
	h.J("rule", "add", "app", "from", "192.168.7.2", "table", "7")
	h.J("tc", "store", "qdisc", "add", "dev", "eth1", "root", "tbf", "rate", "50mbit", "burst", "64kbit", "latency", "50ms")
	return e
}

// said is all that the commands tell of it, without what a restart changes.
func (e *estate) said() string {
	var b strings.Builder
	tell := func(args ...string) string { // what is on its way up again says so
		r := e.h.TryJ(args...)
		return r.Stdout + r.Stderr
	}
	for _, line := range []string{
		"network ls --format {{.Name}}", "network leases front", "network leases vault", "link ls", "alias ls front", "alias ls vault",
		"tenant ls", "network leases six", "network ls --format {{.Name}}", "sg ls", "sg inspect -f {{json.Rules}} web inner", "fip ls", "fip pool ls", "nic ls", "route ls app", "rule ls app", "port web",
		"inspect -f {{json.HostConfig.Links}}{{json.NetworkSettings.SecurityGroups}}{{json.NetworkSettings.Rates}}{{json.NetworkSettings.FloatingIP}} app web store far spare",
	} {
		line = strings.ReplaceAll(line, "json.", "json .")
		var args []string
		if i := strings.Index(line, "{{"); i >= 0 { // a template is one word
			j := strings.LastIndex(line, "}}") + 2
			args = append(append(strings.Fields(line[:i]), line[i:j]), strings.Fields(line[j:])...)
		} else {
			args = strings.Fields(line)
		}
		fmt.Fprintf(&b, "$ %s\n%s\n", line, tell(args...))
	}
	fmt.Fprintln(&b, tell("exec", "app", "sh", "-c", "ip -4 -o addr | sed 's/^[0-9]*: //' | sort"))
	fmt.Fprintln(&b, tell("exec", "app", "sh", "-c", "ip route; ip rule"))
	fmt.Fprintln(&b, tell("exec", "web", "cat", "/sys/class/net/eth0/address"))
	// The order of elements in a hash is nobody's.
	fmt.Fprintln(&b, e.h.Sh("(nft list table inet jackstay; nft list table bridge jackstay) | sed 's/elements = {//; s/}//' | tr -d '\\t' | tr ',' '\\n' | sed 's/^ *//; s/ *$//' | sort"))
	fmt.Fprintln(&b, e.h.Sh("cat /proc/sys/net/ipv4/ip_forward"))
	return b.String()
}

// seen is who answers whom, one line a question.
func (e *estate) seen() string {
	h := e.h
	var b strings.Builder
	line := func(from, to, answer string) { fmt.Fprintf(&b, "%s to %s: %q\n", from, to, answer) }
	inside := func(from string, addrs ...string) {
		in := strings.NewReader("tcp:" + strings.Join(addrs, "\ntcp:") + "\n")
		r := h.Try(in, "jackstay", "exec", "-i", from, "probe", "matrix", "1500ms")
		for i, l := range strings.Split(strings.TrimSpace(r.Stdout), "\n") {
			_, answer, _ := strings.Cut(l, " ")
			line(from, addrs[min(i, len(addrs)-1)], answer)
		}
	}
	fip := strings.Fields(h.J("fip", "ls", "-q"))[0]
	inside("app", "data:8000", h.IP("spare", "vault")+":8000", "deep:8000", h.IP("stranger", "vault")+":8000", "192.168.7.3:8000", fip+":8000")
	inside("stranger", h.IP("db", "vault")+":8000", h.IP("far", "cave")+":8000", "www:8000", "a.foo.test:8000", "10.98.0.2:8000")
	inside("web", "store:8000", h.IP("db", "vault")+":8000", "10.98.0.2:8000")
	inside("six-a", "six-b:8000", "["+six(h, "six-b")+"]:8000")
	inside("web@acme", "web:8000", "app:8000", h.IP("web", "front")+":8000", "10.98.0.1:8080")
	inside("app@acme", "web:8000")
	inside("store", h.IP("web@acme", "front@acme")+":8000", "10.98.0.1:8083")
	line("outside", "a NIC on the wire", askHost(e.outside, "10.98.0.200:8000"))
	for _, f := range strings.Fields(h.J("fip", "ls", "-q", "-f", "dangling=false")) {
		line("outside", f, askHost(e.outside, netip.AddrPortFrom(netip.MustParseAddr(f), 8000).String()))
		line("host", f, askHost(h, netip.AddrPortFrom(netip.MustParseAddr(f), 8000).String()))
	}
	line("outside", "a tenant's published port", askHost(e.outside, "10.98.0.1:8083"))
	line("host", "a port over IPv6", askHost(h, "[fd00:7::1]:8084"))
	line("outside", "the published port", askHost(e.outside, "10.98.0.1:8080"))
	line("outside", "the floating IP", askHost(e.outside, fip+":8000"))
	line("outside", "another port of it", askHost(e.outside, fip+":8001"))
	line("host", "127.0.0.1:9000/udp", askHost(h, "udp:127.0.0.1:9000"))
	line("web", "outside, as", ask(h, "web", "10.98.0.2:8000"))
	return b.String()
}

// Each state survives the daemon's death, a flushed ruleset, deleted links, and
// a reboot: what is said of it and what is seen of it is as before.
func TestEverythingSurvives(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	h := e.h
	said, seen := e.said(), e.seen()
	for _, want := range []string{
		`app to data:8000: "db"`, `app to deep:8000: "far"`, `app to 192.168.7.3:8000: "store"`, `web to store:8000: "store"`,
		`outside to the published port: "web 10.98.0.2"`, `outside to the floating IP: "web 10.98.0.2"`, `outside to another port of it: ""`,
		`six-a to [` + six(h, "six-b") + `]:8000: "six-b"`, `app@acme to web:8000: "theirs"`, `web@acme to ` + h.IP("web", "front") + `:8000: "-"`,
		`store to ` + h.IP("web@acme", "front@acme") + `:8000: "-"`, `outside to a tenant's published port: "theirs 10.98.0.2"`,
		`outside to a NIC on the wire: "spare 10.98.0.2"`, `outside to 10.98.0.19: "far 10.98.0.2"`, `outside to 10.98.0.20: "theirs 10.98.0.2"`,
		`host to 2001:db8:7::`,
		`web to outside, as: "outside 10.98.0.17"`, `stranger to ` + h.IP("db", "vault") + `:8000: "-"`, `stranger to www:8000: "-"`,
	} {
		if !strings.Contains(seen, want) {
			t.Errorf("before anything is broken: not %s in\n%s", want, seen)
		}
	}
	same := func() error {
		if got := e.said(); got != said {
			return fmt.Errorf("said\n%s", difference(said, got))
		}
		if got := e.seen(); got != seen {
			return fmt.Errorf("seen\n%s", difference(seen, got))
		}
		return nil
	}
	for _, broken := range []struct {
		how string
		do  func()
	}{
		{"nothing", func() {}},
		{"the daemon killed", func() { h.KillDaemon(); h.StartDaemon() }},
		{"the rules flushed", func() { h.Sh("nft flush ruleset") }},
		{"bridges and links deleted", func() {
			h.Sh("for l in $(ip -o link | grep -o 'j[iv][0-9a-f]\\{12\\}\\|jk-[0-9a-f]\\{12\\}\\|br7' | sort -u); do ip link del $l 2>/dev/null; done; true")
		}},
		{"a reboot", func() { reboot(h); h.StartDaemon() }},
	} {
		broken.do()
		began := time.Now()
		h.Eventually(30*time.Second, func() error {
			if err := same(); err != nil {
				return fmt.Errorf("after %s: %w", broken.how, err)
			}
			return nil
		})
		t.Logf("as before after %s: %v", broken.how, time.Since(began))
	}
}

// six is a container's IPv6 address on the network of that name.
func six(h *host.Host, container string) string {
	h.T.Helper()
	return h.J("inspect", "-f", "{{.NetworkSettings.Networks.six.GlobalIPv6Address}}", container)
}

// difference gives the lines that only one of two texts has.
func difference(was, is string) string {
	var b strings.Builder
	has := func(text, line string) bool { return strings.Contains("\n"+text+"\n", "\n"+line+"\n") }
	for _, l := range strings.Split(was, "\n") {
		if !has(is, l) {
			fmt.Fprintln(&b, "-", l)
		}
	}
	for _, l := range strings.Split(is, "\n") {
		if !has(was, l) {
			fmt.Fprintln(&b, "+", l)
		}
	}
	a, c := strings.Split(was, "\n"), strings.Split(is, "\n")
	for n := 0; b.Len() == 0 && n < min(len(a), len(c)); n++ { // the same lines in another order
		if a[n] != c[n] {
			fmt.Fprintf(&b, "line %d was %q and is %q\n", n, a[n], c[n])
		}
	}
	return b.String()
}
