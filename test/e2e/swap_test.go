package e2e

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// stream runs a container that sends for ever to who connects to ports 9000 and 9001,
// and answers on port 8000 with its name.
func stream(h *host.Host, name string, args ...string) {
	h.T.Helper()
	serve(h, name, args...)
	for _, port := range []string{"9000", "9001"} { // nc serves one client
		h.J("exec", "-d", name, "sh", "-c", "while true; do (while true; do echo x; sleep 0.02; done) | nc -l -p "+port+"; done")
	}
}

// download has a container, or the host itself, read from a stream for ever.
type download struct {
	h          *host.Host
	from, what string
}

func newDownload(h *host.Host, from, addr, what string) download {
	h.T.Helper()
	d := download{h, from, what}
	ip, port, err := net.SplitHostPort(addr)
	if err != nil {
		h.T.Fatal(err)
	}
	if from == "" {
		background(h, "exec nc -d "+ip+" "+port+" >"+h.Dir+"/old")
	} else {
		h.J("exec", "-d", from, "sh", "-c", "sleep 1000 | nc "+ip+" "+port+" >/tmp/old")
	}
	h.Eventually(5*time.Second, func() error {
		if d.size() < "1" {
			return errorf("%s is not there yet", what)
		}
		return nil
	})
	return d
}

func (d download) size() string {
	if d.from == "" {
		return strings.TrimSpace(d.h.TrySh("stat -c %s " + d.h.Dir + "/old").Stdout)
	}
	return strings.TrimSpace(d.h.TryJ("exec", d.from, "stat", "-c", "%s", "/tmp/old").Stdout)
}

// grows wants it to go on.
func (d download) grows() {
	d.h.T.Helper()
	was := d.size()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if d.size() != was {
			return
		}
	}
	d.h.T.Errorf("%s is cut", d.what)
}

// A swap moves the address: what is new meets the new container, from the host,
// from neighbours and from the two themselves, and nothing that is old is cut.
func TestSwapAddress(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "dev")
	h.J("network", "create", "other")
	stream(h, "blue", "--network", "dev")
	stream(h, "green", "--network", "dev")
	stream(h, "db", "--network", "dev")
	serve(h, "neighbour", "--network", "dev")
	serve(h, "stranger", "--network", "other")
	a1, a2, db := h.IP("blue", "dev"), h.IP("green", "dev"), h.IP("db", "dev")
	old := []download{
		newDownload(h, "neighbour", a1+":9000", "a neighbour's connection to the old one"),
		newDownload(h, "", a1+":9001", "the host's connection to the old one"),
		newDownload(h, "blue", db+":9000", "the old one's own connection"),
		newDownload(h, "green", db+":9001", "the new one's own connection"),
	}
	still := func() {
		t.Helper()
		for _, d := range old {
			d.grows()
		}
	}
	leads := func(after, blue, green string) {
		t.Helper()
		for _, from := range []string{"", "neighbour", "blue", "green"} {
			for _, proto := range []string{"", "udp:"} {
				for _, c := range []struct{ addr, want string }{{blue, "blue"}, {green, "green"}} {
					got := ""
					if from == "" {
						got, _, _ = strings.Cut(askHost(h, proto+c.addr+":8000"), " ")
					} else {
						got = get(h, from, proto+c.addr+":8000")
						if got == from || proto != "" && (from == "blue" || from == "green") {
							continue // an address on its own interface is its own
						}
					}
					if got != c.want {
						t.Errorf("after %s, %s%s from %q: %q, want %s", after, proto, c.addr, from, got, c.want)
					}
				}
			}
		}
		for name, addr := range map[string]string{"blue": blue, "green": green} {
			if got := h.IP(name, "dev"); got != addr {
				t.Errorf("after %s, inspect %s: %s, want %s", after, name, got, addr)
			}
			if got := resolves(h, "neighbour", name); got != name {
				t.Errorf("after %s, %s leads to %q", after, name, got)
			}
		}
		if got := ask(h, "stranger", green+":8000"); got != "" {
			t.Errorf("after %s, from another network: %q", after, got)
		}
	}
	leads("nothing", a1, a2)
	h.J("swap", "blue", "green")
	leads("swap", a2, a1)
	still()
	h.KillDaemon()
	h.Sh("nft flush ruleset")
	h.StartDaemon()
	h.Eventually(time.Second, func() error {
		if got := askHost(h, a1+":8000"); !strings.HasPrefix(got, "green ") {
			return errorf("after kill -9, %s: %q", a1, got)
		}
		return nil
	})
	leads("kill -9", a2, a1)
	still()
	h.J("swap", "green", "blue")
	leads("swap back", a1, a2)
	still()
	h.J("swap", "blue", "green")
	leads("the third swap", a2, a1)
	// The old one goes, and comes back with the address it is left with.
	h.J("stop", "-t", "0", "blue")
	for _, from := range []string{"", "neighbour"} {
		got := ""
		if from == "" {
			got, _, _ = strings.Cut(askHost(h, a1+":8000"), " ")
		} else {
			got = get(h, from, a1+":8000")
		}
		if got != "green" {
			t.Errorf("without the old one, from %q: %q", from, got)
		}
	}
	h.J("start", "blue")
	h.Eventually(3*time.Second, func() error {
		if got := get(h, "neighbour", a2+":8000"); got != "blue" {
			return errorf("%s after blue's restart: %q", a2, got)
		}
		return nil
	})
	leads("blue's restart", a2, a1)
	old[3].grows()
	swapEnds(h, 3*time.Second, a1, "4")
}

// IPv6 addresses move likewise: a client that knows one, and asks without end,
// is never refused and meets the new container, and nothing old is cut.
func TestSwapAddress6(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "--ipv6", "--subnet", "fd00:5a::/64", "dev")
	stream(h, "blue", "--restart", "always", "--network", "dev", "--ip6", "fd00:5a::b")
	serve(h, "green", "--restart", "always", "--network", "dev", "--ip6", "fd00:5a::c")
	serve(h, "neighbour", "--restart", "always", "--network", "dev")
	six := func(name string) string {
		return h.J("inspect", "-f", "{{.NetworkSettings.Networks.dev.GlobalIPv6Address}}", name)
	}
	a1, a2 := "[fd00:5a::b]", "[fd00:5a::c]"
	// Without end, and by one address: what answers, a line each.
	ask := func(file, addr string) string {
		return "while [ ! -e " + file + ".stop ]; do probe get tcp:" + addr + ":8000 >>" + file + " 2>>" + file + ".failed || echo failed >>" + file + ".failed; sleep 0.02; done; touch " + file + ".ended"
	}
	h.J("exec", "-d", "neighbour", "sh", "-c", ask("/tmp/one", a1))
	h.J("exec", "-d", "neighbour", "sh", "-c", ask("/tmp/two", a2))
	background(h, ask(h.Dir+"/one", a1))
	// blue's stream, over IPv6: nc of the neighbour's busybox, and the host's.
	old := []download{
		newDownload(h, "neighbour", a1+":9000", "a neighbour's connection to the old one"),
		newDownload(h, "", a1+":9001", "the host's connection to the old one"),
	}
	leads := func(when, blue, green string) {
		t.Helper()
		for _, from := range []string{"", "neighbour"} {
			for _, proto := range []string{"", "udp:"} {
				for addr, want := range map[string]string{blue: "blue", green: "green"} {
					got := ""
					if from == "" {
						got, _, _ = strings.Cut(askHost(h, proto+addr+":8000"), " ")
					} else {
						got = get(h, from, proto+addr+":8000")
					}
					if got != want {
						t.Errorf("%s, %s%s from %q: %q, want %s", when, proto, addr, from, got, want)
					}
				}
			}
		}
		for name, addr := range map[string]string{"blue": blue, "green": green} {
			if got := "[" + six(name) + "]"; got != addr {
				t.Errorf("%s, inspect %s: %s, want %s", when, name, got, addr)
			}
			if got := h.TryJ("exec", "neighbour", "nslookup", "-type=aaaa", name).Stdout; !strings.Contains(got, strings.Trim(addr, "[]")+"\n") {
				t.Errorf("%s, %s has no %s: %s", when, name, addr, got)
			}
		}
		for _, d := range old {
			d.grows()
		}
	}
	leads("before", a1, a2)
	h.J("swap", "blue", "green")
	leads("after a swap", a2, a1)
	h.J("swap", "green", "blue")
	leads("swapped back", a1, a2)
	h.J("swap", "blue", "green")
	leads("swapped again", a2, a1)

	failures := func(file, from string) {
		t.Helper()
		run := func(line string) string {
			if from == "" {
				return h.TrySh(line).Stdout
			}
			return h.TryJ("exec", from, "sh", "-c", line).Stdout
		}
		run("touch " + file + ".stop")
		h.Eventually(10*time.Second, func() error {
			if !strings.Contains(run("ls "+file+".ended"), "ended") {
				return errorf("%s of %q goes on", file, from)
			}
			return nil
		})
		failed, answers := run("cat "+file+".failed"), run("cat "+file)
		if failed != "" || !strings.Contains(answers, "blue ") || !strings.Contains(answers, "green ") {
			t.Errorf("%s of %q: %d answers of blue, %d of green; failed: %s", file, from, strings.Count(answers, "blue "), strings.Count(answers, "green "), failed)
		}
	}
	failures("/tmp/one", "neighbour")
	failures("/tmp/two", "neighbour")
	failures(h.Dir+"/one", "")

	h.KillDaemon()
	h.Sh("nft flush ruleset")
	h.StartDaemon()
	h.Eventually(10*time.Second, func() error {
		if got := askHost(h, a1+":8000"); !strings.HasPrefix(got, "green ") {
			return errorf("after kill -9, %s: %q", a1, got)
		}
		return nil
	})
	leads("after kill -9", a2, a1)
	reboot(h)
	h.StartDaemon()
	old = nil // it ends connections
	h.Eventually(20*time.Second, func() error {
		for addr, want := range map[string]string{a1: "green", a2: "blue"} {
			if got := get(h, "neighbour", addr+":8000"); got != want {
				return errorf("after a reboot, %s: %q", addr, got)
			}
		}
		return nil
	})
	leads("after a reboot", a2, a1)
	h.J("swap", "green", "blue")
	h.J("swap", "blue", "green")
	leads("swapped after a reboot", a2, a1)

	// Without the old one, somebody answers for its address, and the address that
	// the other opens connections from stays what it was.
	h.J("stop", "-t", "0", "blue")
	h.Eventually(10*time.Second, func() error {
		if got := get(h, "neighbour", a1+":8000"); got != "green" {
			return errorf("without the old one, %s: %q", a1, got)
		}
		return nil
	})
	if got := h.J("exec", "green", "probe", "get", "tcp:["+six("neighbour")+"]:8000"); got != "neighbour fd00:5a::c" {
		t.Errorf("green's own connection: %q", got)
	}
	swapEnds(h, 10*time.Second, a1, "6")
}

// A swap opens nothing: on a network that denies, and over a link between
// networks, who is linked follows the link, and nobody else gets in.
func TestSwapWithPolicy(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "--policy", "deny", "shut")
	h.J("network", "create", "front")
	serve(h, "blue", "--network", "shut", "--expose", "8000")
	serve(h, "green", "--network", "shut", "--expose", "8000")
	serve(h, "linked", "--network", "shut", "--link", "blue:app")
	serve(h, "stranger", "--network", "shut")
	serve(h, "joined", "--network", "front")
	h.J("link", "add", "joined", "blue:app")
	a1, a2 := h.IP("blue", "shut"), h.IP("green", "shut")
	holds := func(when, app, other, target string) {
		t.Helper()
		for from, want := range map[string]map[string]string{
			"linked":   {app: target, other: "", "app": target},
			"joined":   {"app": target},
			"stranger": {app: "", other: ""},
		} {
			for addr, name := range want {
				if got := get(h, from, addr+":8000"); got != name {
					t.Errorf("%s, from %s to %s: %q, want %q", when, from, addr, got, name)
				}
			}
		}
	}
	holds("before", a1, a2, "blue")
	h.J("swap", "blue", "green")
	holds("after a swap", a1, a2, "green")
	h.J("swap", "green", "blue")
	holds("swapped back", a1, a2, "blue")
	h.J("swap", "blue", "green")
	h.J("rm", "-f", "blue")
	h.Eventually(2*time.Second, func() error {
		if got := get(h, "linked", a1+":8000"); got != "green" {
			return errorf("without blue: %q", got)
		}
		return nil
	})
	if got := get(h, "stranger", a1+":8000"); got != "" {
		t.Errorf("without blue, a stranger reaches %q", got)
	}
	h.Fails(125, []string{"Address already in use: " + a2}, "run", "-d", "--network", "shut", "--ip", a2, "busybox", "sleep", "1000")
}

// Not one request of wrk fails, over connections it keeps, while two nginx
// take each other's place: by a published port and by a floating IP.
func TestSwapUnderWrk(t *testing.T) {
	t.Parallel()
	h, outside, _ := fipTown(t)
	h.Import("debian", webTar(t), "ENV PATH=/usr/sbin:/usr/bin")
	conf := filepath.Join(h.Dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(`daemon off; error_log /dev/stderr; pid /run/nginx.pid;
events {} http { access_log off; server { listen 80; location / { return 200 "$hostname\n"; } } }`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"blue", "green"} {
		h.J("run", "-d", "--name", name, "--hostname", name, "-v", conf+":/etc/nginx/nginx.conf:ro", "debian", "nginx", "-c", "/etc/nginx/nginx.conf")
		h.Eventually(10*time.Second, func() error {
			if r := h.TrySh("curl -s --max-time 2 http://" + h.IP(name, "bridge") + "/"); strings.TrimSpace(r.Stdout) != name {
				return errorf("%s does not serve yet: %+v", name, r)
			}
			return nil
		})
	}
	h.J("port", "add", "blue", "8080:80")
	fip := h.J("fip", "allocate", "1")
	h.J("fip", "attach", fip, "blue")
	wrk := func(name, url string) {
		background(outside, "wrk -t1 -c8 -d3s --timeout 10s "+url+" >"+outside.Dir+"/"+name+" 2>&1; touch "+outside.Dir+"/"+name+".ended")
	}
	wrk("port", "http://10.98.0.1:8080/")
	wrk("fip", "http://"+fip+"/")
	// Connections that wrk does not keep: most are new after a swap.
	background(outside, "for i in $(seq 400); do curl -s --max-time 5 http://10.98.0.1:8080/ || echo failed; done >"+outside.Dir+"/curl; touch "+outside.Dir+"/curl.ended")
	for _, pair := range [][2]string{{"blue", "green"}, {"green", "blue"}, {"blue", "green"}} {
		time.Sleep(500 * time.Millisecond)
		h.J("swap", pair[0], pair[1])
		for _, url := range []string{"http://10.98.0.1:8080/", "http://" + fip + "/"} {
			if got := strings.TrimSpace(outside.TrySh("curl -s --max-time 5 " + url).Stdout); got != pair[1] {
				t.Errorf("%s after swap %v: %q", url, pair, got)
			}
		}
	}
	for _, name := range []string{"port", "fip", "curl"} {
		outside.Eventually(30*time.Second, func() error {
			if outside.TrySh("test -e "+outside.Dir+"/"+name+".ended").Code != 0 {
				return errorf("%s has not ended", name)
			}
			return nil
		})
		out := outside.Sh("cat " + outside.Dir + "/" + name)
		switch {
		case name == "curl":
			if strings.Contains(out, "failed") || !strings.Contains(out, "blue") || !strings.Contains(out, "green") {
				t.Errorf("new connections: %d failed, %d by blue, %d by green", strings.Count(out, "failed"), strings.Count(out, "blue"), strings.Count(out, "green"))
			}
		case strings.Contains(out, "Socket errors") || strings.Contains(out, "Non-2xx") || !regexp.MustCompile(`\d{3,} requests in`).MatchString(out):
			t.Errorf("wrk through the %s:\n%s", name, out)
		default:
			t.Logf("wrk through the %s:\n%s", name, out)
		}
	}
}

// swapEnds removes blue and starts green anew, which has this address by the
// swap of both: it keeps it, and no rule of the swap is left.
func swapEnds(h *host.Host, within time.Duration, addr, family string) {
	h.T.Helper()
	h.J("rm", "-f", "blue")
	h.J("stop", "-t", "0", "green")
	h.J("start", "green")
	h.Eventually(within, func() error {
		if got := get(h, "neighbour", addr+":8000"); got != "green" {
			return errorf("%s after green's restart: %q", addr, got)
		}
		return nil
	})
	if got := h.Sh("nft list set inet jackstay swapped" + family + "; nft list map inet jackstay moved" + family + "; nft list set bridge jackstay routed" + family); strings.Contains(got, "elements") {
		h.T.Errorf("left of the swap: %s", got)
	}
}
