package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// On a network that denies, nobody reaches anybody but along a link, on the
// exposed ports, in the link's direction. Docker's option says the same.
func TestDenyingNetwork(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "--policy", "deny", "vault")
	h.D("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "quiet")
	for _, n := range []string{"vault", "quiet"} {
		serve(h, "db-"+n, "--net", n, "--expose", "8000")
		serve(h, "bare-"+n, "--net", n)
		h.J("run", "-d", "--name", "web-"+n, "--net", n, "--link", "db-"+n+":db", "--link", "bare-"+n+":bare", "busybox", "probe", "serve", "web", "tcp:8000")
		h.J("run", "-d", "--name", "other-"+n, "--net", n, "busybox", "sleep", "1000")
		db := h.IP("db-"+n, n)
		for _, c := range []struct{ from, addr, want string }{
			{"web-" + n, "db:8000", "db-" + n},
			{"web-" + n, "udp:db:8000", ""}, // tcp is exposed
			{"web-" + n, "bare:8000", ""},   // nothing is
			{"other-" + n, db + ":8000", ""},
			{"other-" + n, "udp:" + db + ":8000", ""},
			{"db-" + n, h.IP("web-"+n, n) + ":8000", ""}, // not backwards
		} {
			if got := get(h, c.from, c.addr); got != c.want {
				t.Errorf("%s: %s to %s: %q, want %q", n, c.from, c.addr, got, c.want)
			}
		}
		// Who asked is told at once, and why.
		r := h.TryJ("exec", "other-"+n, "probe", "get", "tcp:"+db+":8000", "5s")
		if !strings.Contains(r.Stderr, "no route to host") {
			t.Errorf("%s: refused with %q", n, r.Stderr)
		}
		if r := h.TryJ("exec", "other-"+n, "ping", "-c", "1", "-W", "1", db); r.Code == 0 {
			t.Errorf("%s: pings pass", n)
		}
		if got := askHost(h, db+":8000"); !strings.HasPrefix(got, "db-"+n) {
			t.Errorf("%s: the host itself got %q", n, got)
		}
		// Broadcast does not get around it, nor IPv6 where the network has none.
		if r := h.TryJ("exec", "other-"+n, "ping", "-c", "1", "-W", "1", "ff02::1%eth0"); strings.Contains(r.Stdout, "from") {
			t.Errorf("%s: neighbours answer over IPv6: %s", n, r.Stdout)
		}
	}
	// A live link opens at once; what was established ends with it.
	h.J("link", "add", "other-vault", "db-vault:store")
	if got := get(h, "other-vault", "store:8000"); got != "db-vault" {
		t.Errorf("along a link added live: %q", got)
	}
	// A port published meanwhile is open along it for as long.
	db := h.IP("db-vault", "vault")
	h.J("port", "add", "db-vault", "8099:8001")
	if r := h.TryJ("exec", "other-vault", "probe", "get", "tcp:"+db+":8001", "5s"); !strings.Contains(r.Stderr, "connection refused") { // nobody listens there
		t.Errorf("a port published meanwhile: %+v", r)
	}
	h.J("port", "rm", "db-vault", "8099")
	if r := h.TryJ("exec", "other-vault", "probe", "get", "tcp:"+db+":8001", "5s"); !strings.Contains(r.Stderr, "no route to host") {
		t.Errorf("a port taken back: %+v", r)
	}
	h.J("run", "-d", "--name", "stream", "--net", "vault", "--expose", "8001", "busybox", "probe", "source", "8001")
	h.J("link", "add", "other-vault", "stream")
	h.Eventually(5*time.Second, func() error { // started is not yet listening
		if r := h.TrySh("nc -z " + h.IP("stream", "vault") + " 8001"); r.Code != 0 {
			return fmt.Errorf("stream does not listen: %s", r.Stderr)
		}
		return nil
	})
	drain := start(h, "jackstay exec other-vault timeout -s INT 20 probe drain stream:8001")
	h.Eventually(5*time.Second, func() error {
		if n := rxBytes(h, "other-vault"); n < 1<<20 {
			return fmt.Errorf("%d bytes have come", n)
		}
		return nil
	})
	h.J("link", "rm", "other-vault", "stream")
	h.Eventually(5*time.Second, func() error {
		before := rxBytes(h, "other-vault")
		time.Sleep(200 * time.Millisecond)
		if n := rxBytes(h, "other-vault") - before; n > 1<<16 {
			return fmt.Errorf("still %d bytes in 200 ms", n)
		}
		return nil
	})
	drain.stop()
	// It holds through what breaks it.
	h.KillDaemon()
	h.Sh("nft flush ruleset")
	h.StartDaemon()
	h.Eventually(2*time.Second, func() error {
		if got := get(h, "web-vault", "db:8000"); got != "db-vault" {
			return fmt.Errorf("along the link: %q", got)
		}
		if got := get(h, "other-vault", h.IP("bare-vault", "vault")+":8000"); got != "" {
			return fmt.Errorf("without a link: %q", got)
		}
		return nil
	})
	h.Fails(1, []string{`invalid option com.jackstay.policy="shut": it is open`}, "network", "create", "--policy", "shut", "x")
}

// --icc=false makes the default network one that denies, as dockerd's does; so it
// may become one, and be one no more, at a restart of the daemon.
func TestDefaultNetworkWithoutICC(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	serve(h, "db", "--expose", "8000")
	h.J("run", "-d", "--name", "web", "--link", "db", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "stranger", "busybox", "sleep", "1000")
	for _, icc := range []bool{true, false, true} {
		h.StopDaemon()
		h.StartDaemon(fmt.Sprintf("--icc=%v", icc))
		h.Eventually(2*time.Second, func() error {
			web, stranger := get(h, "web", "db:8000"), get(h, "stranger", h.IP("db", "bridge")+":8000")
			if web != "db" || (stranger == "db") != icc {
				return fmt.Errorf("--icc=%v: web got %q, stranger %q", icc, web, stranger)
			}
			return nil
		})
		if got := h.J("network", "inspect", "-f", `{{index .Options "com.docker.network.bridge.enable_icc"}}`, "bridge"); got != fmt.Sprint(icc) {
			t.Errorf("--icc=%v: inspect says %s", icc, got)
		}
	}
}

// rxBytes is what a container has received on eth0.
func rxBytes(h *host.Host, container string) (n int64) {
	h.T.Helper()
	fmt.Sscan(h.J("exec", container, "cat", "/sys/class/net/eth0/statistics/rx_bytes"), &n)
	return n
}

// A container that sends as somebody else gets nothing through, and takes
// nothing from whom it pretends to be.
func TestForgery(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "lan")
	h.J("network", "create", "--policy", "deny", "vault")
	for _, n := range []string{"lan", "vault"} {
		h.J("run", "-d", "--name", "victim-"+n, "--net", n, "--expose", "9000/udp", "busybox", "probe", "hear", "9000")
		serve(h, "owner-"+n, "--net", n, "--expose", "8000")
		h.J("run", "-d", "--name", "forger-"+n, "--net", n, "--cap-add", "NET_ADMIN", "busybox", "sleep", "1000")
		h.J("link", "add", "owner-"+n, "victim-"+n+":v") // on vault: the owner may, the forger may not
		h.J("link", "add", "victim-"+n, "owner-"+n+":o")
		mac := func(c string) string {
			return h.J("inspect", "-f", fmt.Sprintf(`{{(index .NetworkSettings.Networks %q).MacAddress}}`, n), c+"-"+n)
		}
		ip := func(c string) string { return h.IP(c+"-"+n, n) }
		gw := h.J("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", n)
		gwMAC := h.Sh("ip -o link show dev $(ip -o -4 addr show to " + gw + " | cut -d' ' -f2) | sed 's|.*link/ether \\([^ ]*\\).*|\\1|'")
		said := 0
		tags := ""
		// says sends a datagram to the victim, and tells whether it came.
		says := func(from, srcMAC, srcIP string) bool {
			said++
			text := fmt.Sprintf("frame-%d", said)
			h.J("exec", from+"-"+n, "probe", "forge", "udp"+tags, "eth0", srcMAC, srcIP, mac("victim"), ip("victim"), text)
			for range 5 {
				if strings.Contains(h.J("logs", "victim-"+n), text) {
					return true
				}
				time.Sleep(20 * time.Millisecond)
			}
			return false
		}
		if !says("owner", mac("owner"), ip("owner")) {
			t.Errorf("%s: an honest frame does not arrive", n)
		}
		if got, want := says("forger", mac("forger"), ip("forger")), n == "lan"; got != want {
			t.Errorf("%s: the forger's own frame arrives: %v, want %v", n, got, want)
		}
		for _, c := range []struct{ what, mac, ip string }{
			{"the owner's address", mac("forger"), ip("owner")},
			{"the owner's hardware address", mac("owner"), ip("forger")},
			{"both", mac("owner"), ip("owner")},
			{"the gateway's address", mac("forger"), gw},
			{"the bridge's hardware address", gwMAC, ip("forger")},
			{"a hardware address of nobody, with the owner's address", "02:00:00:00:00:99", ip("owner")},
		} {
			for _, tags = range []string{"", "+1", "+2", "+3"} { // a VLAN's tag hides nothing
				if says("forger", c.mac, c.ip) {
					t.Errorf("%s: a frame%s with %s arrives", n, tags, c.what)
				}
			}
			tags = ""
		}
		// An address of nobody's may be its own, where everybody reaches everybody.
		if n == "lan" && !says("forger", mac("forger"), strings.TrimSuffix(gw, ".1")+".200") {
			t.Error("a frame with an address of nobody does not arrive")
		}
		// By ARP it says that the owner, and the gateway, are where it is.
		for _, c := range []struct{ what, ip, dst, dstMAC string }{
			{"owner", ip("owner"), ip("victim"), mac("victim")},
			{"owner, to all", ip("owner"), ip("owner"), "ff:ff:ff:ff:ff:ff"},
			{"gateway", gw, ip("victim"), mac("victim")},
		} {
			for _, kind := range []string{"arp", "arp+1", "arp+2"} {
				h.J("exec", "forger-"+n, "probe", "forge", kind, "eth0", mac("forger"), c.ip, c.dstMAC, c.dst, "")
			}
			if got := h.J("exec", "victim-"+n, "cat", "/proc/net/arp"); strings.Contains(got, mac("forger")) && !strings.Contains(got, ip("forger")) ||
				slices.ContainsFunc(strings.Split(got, "\n"), func(l string) bool {
					return strings.HasPrefix(l, c.ip+" ") && strings.Contains(l, mac("forger"))
				}) {
				t.Errorf("%s: the victim believes that it is the %s:\n%s", n, c.what, got)
			}
		}
		// The owner is still reached, by the victim and by the host.
		if got := get(h, "victim-"+n, "o:8000"); got != "owner-"+n {
			t.Errorf("%s: the victim reaches %q for the owner", n, got)
		}
		if got := askHost(h, ip("owner")+":8000"); !strings.HasPrefix(got, "owner-"+n) {
			t.Errorf("%s: the host reaches %q for the owner", n, got)
		}
		// It takes the owner's address for its own: no answer comes back to it, and the
		// owner keeps it.
		h.J("exec", "forger-"+n, "ip", "addr", "add", ip("owner")+"/16", "dev", "eth0")
		if got := get(h, "victim-"+n, "o:8000"); got != "owner-"+n {
			t.Errorf("%s: with the address on the forger the victim reaches %q", n, got)
		}
	}
}
