package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// ip6 gives a container's IPv6 address on a network.
func ip6(h *host.Host, container, network string) string {
	h.T.Helper()
	return h.J("inspect", "-f", fmt.Sprintf(`{{(index .NetworkSettings.Networks %q).GlobalIPv6Address}}`, network), container)
}

// sixTown is a host on a cable to another machine, both with IPv6, and the name
// of the cable's end.
func sixTown(t *testing.T) (h, outside *host.Host, dev string) {
	h, outside = host.New(t), host.Bare(t)
	host.Join(h, outside, "10.98.0.1/24", "10.98.0.2/24")
	dev = h.Sh("ip -o -4 addr show to 10.98.0.1/24 | cut -d' ' -f2")
	peer := outside.Sh("ip -o -4 addr show to 10.98.0.2/24 | cut -d' ' -f2")
	h.Sh("ip addr add 2001:db8::1/64 dev " + dev + " nodad")
	outside.Sh("ip addr add 2001:db8::2/64 dev " + peer + " nodad")
	return h, outside, dev
}

// A network of both families: addresses, names, routes, ports and isolation, as
// its containers and others meet them.
func TestIPv6Networks(t *testing.T) {
	t.Parallel()
	h, outside, _ := sixTown(t)
	background(outside, "probe serve outside tcp:8000 udp:8000")
	h.J("network", "create", "--ipv6", "--subnet", "fd00:a::/64", "--gateway", "fd00:a::ff", "--ip-range", "fd00:a::100/120", "--aux-address", "printer=fd00:a::100", "six")
	h.J("network", "create", "--ipv6", "ula")
	h.J("network", "create", "--ipv6", "--internal", "inside")
	if got := h.J("network", "inspect", "-f", "{{.EnableIPv6}} {{range .IPAM.Config}}{{.Subnet}} {{.Gateway}} {{.IPRange}} {{end}}", "six"); !strings.HasSuffix(got, "fd00:a::/64 fd00:a::ff fd00:a::100/120") || !strings.HasPrefix(got, "true 172.") {
		t.Errorf("six: %s", got)
	}
	if got := h.J("network", "inspect", "-f", "{{(index .IPAM.Config 1).Subnet}}", "ula"); !strings.HasPrefix(got, "fd") || !strings.HasSuffix(got, "/64") {
		t.Errorf("a subnet of its own: %s", got)
	}
	serve(h, "web", "--net", "six", "-p", "8080:8000", "-p", "8080:8000/udp", "-p", "[2001:db8::1]:8081:8000", "-p", "10.98.0.1:8082:8000")
	serve(h, "app", "--net", "six", "--ip6", "fd00:a::9")
	serve(h, "other", "--net", "ula")
	serve(h, "deep", "--net", "inside")
	serve(h, "plain", "-p", "8090:8000")
	if got := h.J("inspect", "-f", `{{with index .NetworkSettings.Networks "six"}}{{.GlobalIPv6Address}}/{{.GlobalIPv6PrefixLen}} {{.IPv6Gateway}}{{end}}`, "web"); got != "fd00:a::101/64 fd00:a::ff" {
		t.Errorf("web: %s", got)
	}
	if got := ip6(h, "plain", "bridge"); got != "invalid IP" && got != "" {
		t.Errorf("the default network has IPv6: %q", got)
	}

	// Names: both families, backwards, and in the hosts file.
	if got := h.J("exec", "app", "nslookup", "-type=aaaa", "web"); !strings.Contains(got, "fd00:a::101") {
		t.Errorf("AAAA of web: %s", got)
	}
	if got := h.J("exec", "app", "nslookup", "fd00:a::101"); !strings.Contains(got, "web.six") {
		t.Errorf("PTR of fd00:a::101: %s", got)
	}
	if got := h.J("exec", "app", "cat", "/etc/hosts"); !strings.Contains(got, "fd00:a::9\t") {
		t.Errorf("hosts of app: %s", got)
	}
	h.J("exec", "app", "ping", "-6", "-c", "1", "-W", "2", "web")
	h.J("exec", "app", "ping", "-6", "-c", "1", "-W", "2", "fd00:a::ff")

	other, deep := ip6(h, "other", "ula"), ip6(h, "deep", "inside")
	for _, proto := range []string{"", "udp:"} {
		for _, c := range []struct{ from, addr, want string }{
			{"app", "[fd00:a::101]:8000", "web fd00:a::9"},
			{"web", "[fd00:a::9]:8000", "app fd00:a::101"},
			{"other", "[fd00:a::101]:8000", ""}, // of another network
			{"app", "[" + other + "]:8000", ""},
			{"app", "[" + deep + "]:8000", ""},
			{"deep", "[fd00:a::101]:8000", ""},
			{"app", "[2001:db8::2]:8000", "outside 2001:db8::1"}, // out, masqueraded
			{"deep", "[2001:db8::2]:8000", ""},
			{"outside", "[fd00:a::101]:8000", ""},
			{"outside", "[2001:db8::1]:8080", "web 2001:db8::2"}, // in by the published port
			{"outside", "10.98.0.1:8080", "web 10.98.0.2"},
			{"host", "[2001:db8::1]:8080", "web 2001:db8::1"},
			{"other", "[2001:db8::1]:8080", "web " + other},
			{"app", "[2001:db8::1]:8080", "web fd00:a::ff"},
			{"deep", "[2001:db8::1]:8080", ""},
		} {
			if got := askFor(h, outside, c.from, proto+c.addr); got != c.want {
				t.Errorf("%sfrom %s to %s: %q, want %q", proto, c.from, c.addr, got, c.want)
			}
		}
	}
	for addr, want := range map[string]string{
		"[2001:db8::1]:8081": "web 2001:db8::2", "10.98.0.1:8081": "", "[2001:db8::1]:8082": "", "10.98.0.1:8082": "web 10.98.0.2", "[2001:db8::1]:8090": "",
	} {
		if got := askHost(outside, addr); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	// As Docker's clients show them.
	if got := h.D("port", "web", "8000/tcp"); !strings.Contains(got, "0.0.0.0:8080") || !strings.Contains(got, "[::]:8080") || !strings.Contains(got, "[2001:db8::1]:8081") {
		t.Errorf("port: %q", got)
	}
	if got := h.J("ps", "--filter", "name=web", "--format", "{{.Ports}}"); !strings.Contains(got, "0.0.0.0:8080->8000/tcp") || !strings.Contains(got, "[::]:8080->8000/tcp") {
		t.Errorf("ps: %q", got)
	}
	h.Fails(125, []string{"port is already allocated"}, "run", "--rm", "-p", "[::]:8080:80", "--net", "six", "busybox", "true")
	h.Fails(125, []string{"can't publish port 80/tcp of container", "it has no IPv6 address; put it on a network made with --ipv6"}, "run", "--name", "no6", "-p", "[::]:8099:80", "busybox", "true")
	h.Fails(1, []string{"add --ipv6"}, "network", "create", "--subnet", "fd00:b::/64", "x")
	h.Fails(1, []string{"overlaps network six (fd00:a::/64)"}, "network", "create", "--ipv6", "--subnet", "fd00:a::/56", "x")
	h.Fails(1, []string{"the host has a route or an address for 2001:db8::/64"}, "network", "create", "--ipv6", "--subnet", "2001:db8::/64", "x")
	h.Fails(125, []string{"Address already in use: fd00:a::9"}, "run", "--net", "six", "--ip6", "fd00:a::9", "busybox", "true")
	if r := h.TrySh("ss -Hltn 'sport = :8080' | wc -l; probe bind tcp:8080"); r.Code == 0 {
		t.Error("the published port can be taken by another program")
	}

	// Live: a second network, with an address of one's choice, which stays.
	h.J("network", "connect", "--ip6", "fd00:a::42", "six", "other")
	if got := ask(h, "web", "[fd00:a::42]:8000"); got != "other fd00:a::101" {
		t.Errorf("connected live: %q", got)
	}
	h.J("restart", "-t", "0", "other")
	h.Eventually(5*time.Second, func() error {
		if got := ask(h, "web", "[fd00:a::42]:8000"); got != "other fd00:a::101" {
			return errorf("after a restart: %q", got)
		}
		return nil
	})
	// What breaks everything else does not break this.
	h.KillDaemon()
	h.Sh("nft flush ruleset; sysctl -q -w net.ipv6.conf.all.forwarding=0; for b in $(ip -o link show type bridge | cut -d: -f2); do ip -6 addr flush dev $b scope global; done")
	h.StartDaemon()
	h.Eventually(5*time.Second, func() error {
		for _, c := range []struct{ from, addr, want string }{
			{"outside", "[2001:db8::1]:8080", "web 2001:db8::2"}, {"app", "[2001:db8::2]:8000", "outside 2001:db8::1"},
			{"app", "[fd00:a::101]:8000", "web fd00:a::9"}, {"app", "[" + deep + "]:8000", ""},
		} {
			if got := askFor(h, outside, c.from, c.addr); got != c.want {
				return errorf("from %s to %s: %q, want %q", c.from, c.addr, got, c.want)
			}
		}
		return nil
	})
}

// askFrom asks from the other machine, the host, or a container.
func askFor(h, outside *host.Host, from, addr string) string {
	h.T.Helper()
	switch from {
	case "outside":
		return askHost(outside, addr)
	case "host":
		return askHost(h, addr)
	}
	return ask(h, from, addr)
}

// On a network that denies, IPv6 passes along links alone; and nobody takes a
// neighbour's IPv6 address, or the router's place.
func TestIPv6Policy(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "--ipv6", "--subnet", "fd00:c::/64", "--policy", "deny", "vault")
	h.J("network", "create", "--ipv6", "--subnet", "fd00:d::/64", "lan")
	serve(h, "db", "--net", "vault", "--ip6", "fd00:c::10", "--expose", "8000")
	serve(h, "app", "--net", "vault", "--ip6", "fd00:c::11", "--link", "db:store")
	serve(h, "spy", "--net", "vault", "--ip6", "fd00:c::12")
	local := func(c string) string {
		return h.J("exec", c, "sh", "-c", "ip -6 addr show dev eth0 scope link | sed -n 's|.*inet6 \\([^/]*\\)/.*|\\1|p'")
	}
	for _, c := range []struct{ from, addr, want string }{
		{"app", "[fd00:c::10]:8000", "db"}, {"app", "store:8000", "db"},
		{"app", "udp:[fd00:c::10]:8000", ""}, {"db", "[fd00:c::11]:8000", ""},
		{"spy", "[fd00:c::10]:8000", ""}, {"spy", "[" + local("db") + "%eth0]:8000", ""},
	} {
		if got := get(h, c.from, c.addr); got != c.want {
			t.Errorf("from %s to %s: %q, want %q", c.from, c.addr, got, c.want)
		}
	}
	h.J("exec", "spy", "ping", "-6", "-c", "1", "-W", "2", "fd00:c::1") // the gateway
	h.J("link", "rm", "app", "store")
	if got := get(h, "app", "[fd00:c::10]:8000"); got != "" {
		t.Errorf("without the link: %q", got)
	}

	// Security groups let in what their rules say, by IPv6 too.
	h.J("sg", "create", "--rule", "tcp:8000:fd00:d::20", "--rule", "udp:8000", "front")
	serve(h, "friend", "--net", "lan", "--ip6", "fd00:d::20")
	serve(h, "guarded", "--net", "lan", "--ip6", "fd00:d::21")
	h.J("sg", "attach", "front", "guarded")
	for _, c := range []struct{ from, to, addr, want string }{
		{"friend", "guarded", "[fd00:d::21]:8000", "guarded"}, {"friend", "guarded", "guarded:8000", "guarded"},
		{"guarded", "friend", "[fd00:d::20]:8000", "friend"},
	} {
		if got := get(h, c.from, c.addr); got != c.want {
			t.Errorf("security group: from %s to %s: %q, want %q", c.from, c.addr, got, c.want)
		}
	}
	serve(h, "stranger", "--net", "lan", "--ip6", "fd00:d::22")
	if got, udp := get(h, "stranger", "[fd00:d::21]:8000"), get(h, "stranger", "udp:[fd00:d::21]:8000"); got != "" || udp != "guarded" {
		t.Errorf("security group: a stranger got %q by tcp and %q by udp", got, udp)
	}

	h.J("run", "-d", "--name", "victim", "--net", "lan", "--ip6", "fd00:d::10", "busybox", "probe", "hear", "9000")
	serve(h, "owner", "--net", "lan", "--ip6", "fd00:d::11")
	h.J("run", "-d", "--name", "forger", "--net", "lan", "--ip6", "fd00:d::12", "busybox", "sleep", "1000")
	mac := func(c string) string {
		return h.J("inspect", "-f", `{{(index .NetworkSettings.Networks "lan").MacAddress}}`, c)
	}
	said := 0
	says := func(src string) bool {
		said++
		text := fmt.Sprintf("frame-%d", said)
		h.J("exec", "forger", "probe", "forge", "udp", "eth0", mac("forger"), src, mac("victim"), "fd00:d::10", text)
		for range 10 {
			if strings.Contains(h.J("logs", "victim"), text) {
				return true
			}
			time.Sleep(20 * time.Millisecond)
		}
		return false
	}
	h.Eventually(5*time.Second, func() error { // started is not yet listening
		if !says("fd00:d::12") {
			return errorf("an honest frame does not arrive")
		}
		return nil
	})
	for what, src := range map[string]string{"a neighbour's": "fd00:d::11", "the gateway's": "fd00:d::1", "a neighbour's link-local": local("owner")} {
		if says(src) {
			t.Errorf("a frame with %s address arrives", what)
		}
	}
	if !says("fd00:d::99") {
		t.Error("a frame with an address of nobody does not arrive")
	}
	// It advertises that the owner, and the gateway, are where it is, and that it is a router.
	h.J("exec", "victim", "ping", "-6", "-c", "1", "-W", "2", "fd00:d::11")
	h.J("exec", "victim", "ping", "-6", "-c", "1", "-W", "2", "fd00:d::1")
	neighbours := func() string {
		return h.Sh("nsenter --net=" + h.Run() + "/netns/" + h.J("inspect", "-f", "{{.Id}}", "victim") + " ip -6 neigh show dev eth0")
	}
	for _, target := range []string{"fd00:d::11", "fd00:d::1"} {
		h.J("exec", "forger", "probe", "forge", "na", "eth0", mac("forger"), "fd00:d::12", mac("victim"), "fd00:d::10", target)
		h.J("exec", "forger", "probe", "forge", "na", "eth0", mac("forger"), "fd00:d::12", "33:33:00:00:00:01", "ff02::1", target)
	}
	h.J("exec", "forger", "probe", "forge", "ra", "eth0", mac("forger"), local("forger"), "33:33:00:00:00:01", "ff02::1", "")
	if !says("fd00:d::12") { // what was sent before has arrived, if it does
		t.Error("the forger's own frames do not arrive any more")
	}
	for line := range strings.Lines(neighbours()) {
		if strings.Contains(line, mac("forger")) && !strings.HasPrefix(line, "fd00:d::12 ") && !strings.HasPrefix(line, "fd00:d::99 ") && !strings.HasPrefix(line, "fe80:") {
			t.Errorf("the victim believes %s", line)
		}
	}
	routes := h.Sh("nsenter --net=" + h.Run() + "/netns/" + h.J("inspect", "-f", "{{.Id}}", "victim") + " ip -6 route show default")
	if strings.Count(routes, "default") != 1 || !strings.Contains(routes, "via fd00:d::1 ") {
		t.Errorf("the victim's routers: %s", routes)
	}
	if got := get(h, "victim", "[fd00:d::11]:8000"); got != "owner" {
		t.Errorf("the victim reaches %q for the owner", got)
	}
	// What it says of an address that is nobody's is believed: the test can fail.
	h.J("exec", "victim", "sh", "-c", "ping -6 -c 1 -W 1 fd00:d::77 || true") // it asks
	h.J("exec", "forger", "probe", "forge", "na", "eth0", mac("forger"), "fd00:d::77", mac("victim"), "fd00:d::10", "fd00:d::77")
	h.Eventually(5*time.Second, func() error {
		if got := neighbours(); !strings.Contains(got, "fd00:d::77 lladdr "+mac("forger")) {
			return errorf("an advertisement of nobody's address is not believed:\n%s", got)
		}
		return nil
	})
}

// A floating IP of IPv6 is the container's in both directions; its move is told.
func TestIPv6FIP(t *testing.T) {
	t.Parallel()
	h, outside, dev := sixTown(t)
	peer := outside.Sh("ip -o -4 addr show to 10.98.0.2/24 | cut -d' ' -f2")
	background(outside, "probe serve outside tcp:8000 udp:8000")
	h.J("network", "create", "--ipv6", "six")
	serve(h, "old", "--net", "six")
	serve(h, "new", "--net", "six")
	serve(h, "four")
	h.J("fip", "pool", "add", "2001:db8::10/124", "--dev", dev)
	h.J("fip", "pool", "add", "10.98.0.16/29", "--dev", dev)
	if got := h.J("fip", "allocate", "--pool", "2001:db8::10/124", "2"); got != "2001:db8::11\n2001:db8::12" {
		t.Errorf("allocated %q", got)
	}
	if got := h.J("fip", "allocate", "1"); got != "10.98.0.17" {
		t.Errorf("allocated %q of any pool", got)
	}
	const fip = "2001:db8::11"
	h.Fails(1, []string{"container four has no address of its family: connect it to a network made with --ipv6 first"}, "fip", "attach", fip, "four")
	stop := background(outside, "exec tcpdump -Z root -lnvvei "+peer+" 'icmp6 and ip6[40] == 136' >"+outside.Dir+"/na 2>"+outside.Dir+"/ready")
	outside.Eventually(5*time.Second, func() error {
		if !strings.Contains(outside.TrySh("cat "+outside.Dir+"/ready").Stdout, "listening") {
			return errorf("tcpdump does not listen yet")
		}
		return nil
	})
	before := h.Sh("ip -o addr show scope global dev " + dev)
	h.J("fip", "attach", fip, "old")
	for _, proto := range []string{"", "udp:"} {
		for _, c := range []struct{ from, addr, want string }{
			{"outside", "[" + fip + "]:8000", "old 2001:db8::2"},
			{"host", "[" + fip + "]:8000", "old " + fip},
			{"old", "[2001:db8::2]:8000", "outside " + fip},
			{"new", "[2001:db8::2]:8000", "outside 2001:db8::1"}, // the host itself does not take it
			{"old", "[" + fip + "]:8000", "old " + fip},
		} {
			if c.from == "host" {
				c.want = ""
			}
			if got := askFor(h, outside, c.from, proto+c.addr); c.want != "" && got != c.want || c.want == "" && !strings.HasPrefix(got, "old ") {
				t.Errorf("%sfrom %s to %s: %q, want %q", proto, c.from, c.addr, got, c.want)
			}
		}
	}
	if got := askHost(h, "[2001:db8::2]:8000"); got != "outside 2001:db8::1" {
		t.Errorf("the host's own connection: %q", got)
	}
	outside.Sh("ping -6 -c 1 -W 2 " + fip)
	if r := outside.TrySh("ping -6 -c 1 -W 1 2001:db8::12"); r.Code == 0 {
		t.Error("a floating IP that is not attached answers")
	}
	announced := func() int {
		return strings.Count(outside.Sh("cat "+outside.Dir+"/na"), "> ff02::1: [icmp6 sum ok] ICMP6, neighbor advertisement, length 32, tgt is "+fip)
	}
	outside.Eventually(5*time.Second, func() error {
		if announced() != 1 {
			return errorf("announced %d times:\n%s", announced(), outside.Sh("cat "+outside.Dir+"/na"))
		}
		return nil
	})
	h.J("fip", "attach", "-f", fip, "new")
	if got := askHost(outside, "["+fip+"]:8000"); got != "new 2001:db8::2" {
		t.Errorf("after the move: %q", got)
	}
	outside.Eventually(5*time.Second, func() error {
		if announced() != 2 {
			return errorf("announced %d times", announced())
		}
		return nil
	})
	stop()
	h.KillDaemon()
	h.Sh("nft flush ruleset; ip addr del " + fip + "/128 dev " + dev)
	h.StartDaemon()
	h.Eventually(5*time.Second, func() error {
		if got := askHost(outside, "["+fip+"]:8000"); got != "new 2001:db8::2" {
			return errorf("after a crash: %q", got)
		}
		return nil
	})
	if got := h.J("fip", "detach", "new"); got != fip {
		t.Errorf("detach: %q", got)
	}
	if after := h.Sh("ip -o addr show scope global dev " + dev); after != before {
		t.Errorf("left on the device:\n%s\nbefore:\n%s", after, before)
	}
	// What the kernel refuses is taken back, and can be said again.
	h.Sh("sysctl -qw net.ipv6.conf." + dev + ".disable_ipv6=1")
	h.Fails(1, []string{"attach floating IP " + fip + " to container new: address " + fip + " on " + dev, "; nothing was changed"}, "fip", "attach", fip, "new")
	if got := h.J("fip", "ls", "-q", "-f", "dangling=false"); got != "" {
		t.Errorf("attached all the same: %s", got)
	}
	h.Sh("sysctl -qw net.ipv6.conf." + dev + ".disable_ipv6=0; ip addr add 2001:db8::1/64 dev " + dev + " nodad")
	h.J("fip", "attach", fip, "new")
	h.Eventually(5*time.Second, func() error {
		if got := askHost(outside, "["+fip+"]:8000"); got != "new 2001:db8::2" {
			return errorf("after a refusal: %q", got)
		}
		return nil
	})
	h.J("fip", "detach", "new")
	h.J("fip", "release", fip, "2001:db8::12", "10.98.0.17")
}

// Two tenants with IPv6: their networks are apart, also where both ask for the
// same subnet; a published port is the way in.
func TestIPv6Tenants(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	own := map[string]*host.Host{}
	addr, gateway := map[string]string{}, map[string]string{}
	for name, port := range map[string]string{"acme": "8081", "umbrella": "8082"} {
		h.J("tenant", "create", name)
		o := h.As(name)
		own[name] = o
		o.J("network", "create", "--ipv6", "six")
		serve(o, "web", "--network", "six", "-p", port+":8000")
		addr[name] = ip6(o, "web", "six")
		gateway[name] = o.J("network", "inspect", "-f", "{{(index .IPAM.Config 1).Gateway}}", "six")
	}
	own["acme"].J("network", "create", "--ipv6", "--subnet", "fd00:e::/64", "mine")
	if r := own["umbrella"].TryJ("network", "create", "--ipv6", "--subnet", "fd00:e::/64", "mine"); r.Code != 1 || !strings.Contains(r.Stderr, "not available") || strings.Contains(r.Stderr, "acme") {
		t.Errorf("a subnet that another tenant has: %+v", r)
	}
	o := own["acme"]
	for _, c := range []struct{ addr, want string }{
		{"[" + addr["acme"] + "]:8000", "web"}, {"[" + gateway["acme"] + "]:8081", "web"}, // its own
		{"[" + addr["umbrella"] + "]:8000", ""}, {"[" + gateway["umbrella"] + "]:8082", ""}, // another's
		{"[" + gateway["acme"] + "]:8082", "web"}, // the way in: a port that the other publishes
	} {
		if got := get(o, "web", c.addr); got != c.want {
			t.Errorf("acme to %s: %q, want %q", c.addr, got, c.want)
		}
	}
	if r := o.TryJ("exec", "web", "ping", "-6", "-c", "1", "-W", "1", gateway["umbrella"]); r.Code == 0 {
		t.Error("another tenant's gateway answers")
	}
	o.J("exec", "web", "ping", "-6", "-c", "1", "-W", "2", gateway["acme"])
}
