package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// refused wants a port of the host to be refused at once.
func refused(h *host.Host, addr string) {
	h.T.Helper()
	if r := h.TrySh("probe get " + target(addr)); r.Code == 0 || !strings.Contains(r.Stderr, "refused") {
		h.T.Errorf("%s is not refused: %+v", addr, r)
	}
}

// answers wants a server to answer by its name.
func answers(h *host.Host, addr, name string) {
	h.T.Helper()
	if got := askHost(h, addr); !strings.HasPrefix(got, name+" ") {
		h.T.Errorf("%s answered %q, want %s", addr, got, name)
	}
}

// Ports come and go on a running container; connections through others stay.
func TestPortsChangeLive(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	serve(h, "web", "-p", "8080:8000")
	serve(h, "other", "-p", "8090:8000")
	// Two servers that send for ever.
	h.J("run", "-d", "--name", "stream", "busybox", "sh", "-c", `drip() { while true; do echo x; sleep 0.02; done; }; drip | nc -l -p 9100 & drip | nc -l -p 9000; sleep 1000`)
	if got := h.J("port", "add", "stream", "9001:9000"); got != "9000/tcp -> 0.0.0.0:9001" {
		t.Errorf("port add printed %q", got)
	}
	h.J("port", "add", "web", "8081:8000", "8081:8000/udp", "127.0.0.1:8082:8000", "8100-8102:8000-8002")
	for _, addr := range []string{"127.0.0.1:8080", "127.0.0.1:8081", "udp:127.0.0.1:8081", "127.0.0.1:8082", "172.17.0.1:8100"} {
		answers(h, addr, "web")
	}
	if got := get(h, "other", "172.17.0.1:8081"); got != "web" {
		t.Errorf("from another container: %q", got)
	}
	h.J("port", "add", "web", "8000")
	if got := h.J("port", "web"); strings.Count(got, "8000/tcp -> ") != 5 {
		t.Errorf("port web: %s", got)
	}
	if got := h.J("ps", "--filter", "name=web", "--format", "{{.Ports}}"); !strings.Contains(got, "0.0.0.0:8081->8000/tcp") {
		t.Errorf("ps: %s", got)
	}
	// Refused: ours with its holder, its own, another program's; nothing stays.
	background(h, "probe serve foreign tcp:6000")
	h.Eventually(2*time.Second, func() error {
		if askHost(h, "127.0.0.1:6000") == "" {
			return errorf("the other program does not listen yet")
		}
		return nil
	})
	before := h.J("port", "web")
	h.J("run", "-d", "--name", "inhost", "--network", "host", "busybox", "sleep", "1000")
	for _, c := range []struct {
		texts []string
		args  []string
	}{
		{[]string{"8090", "already allocated to container other"}, []string{"port", "add", "web", "7777:8000", "8090:8000"}},
		{[]string{"container web publishes host port 0.0.0.0:8080 already"}, []string{"port", "add", "web", "8080:1"}},
		{[]string{"container web", "6000", "address already in use"}, []string{"port", "add", "web", "7777:8000", "6000:8000"}},
		{[]string{"No such container: nobody"}, []string{"port", "add", "nobody", "1:1"}},
		{[]string{"container inhost is in the host's network"}, []string{"port", "add", "inhost", "1:1"}},
		{[]string{"70000"}, []string{"port", "add", "web", "70000:80"}},
		{[]string{"container web does not publish host port 9999/tcp: it publishes"}, []string{"port", "rm", "web", "8080", "9999"}},
		{[]string{"requires at least 2 arguments"}, []string{"port", "add", "web"}},
		{[]string{"invalid host port"}, []string{"port", "rm", "web", "x"}},
	} {
		h.Fails(1, c.texts, c.args...)
	}
	if after := h.J("port", "web"); after != before {
		t.Errorf("refused changes left\n%s\nbefore\n%s", after, before)
	}
	refused(h, "127.0.0.1:7777")

	// A download through a port that is taken back stops; one through another goes on.
	h.J("port", "add", "stream", "9101:9100")
	size := func(port string) string { return h.TrySh("wc -c <" + h.Dir + "/from" + port).Stdout }
	for _, port := range []string{"9001", "9101"} {
		background(h, "nc -d 127.0.0.1 "+port+" >"+h.Dir+"/from"+port)
		h.Eventually(5*time.Second, func() error {
			if n := strings.TrimSpace(size(port)); n == "" || n == "0" {
				return errorf("no download from port %s yet", port)
			}
			return nil
		})
	}
	h.J("port", "rm", "stream", "9001")
	standsStill(h, "the download through a port that is taken back", func() string { return size("9001") })
	stays := size("9101")
	h.Eventually(5*time.Second, func() error {
		if size("9101") == stays {
			return errorf("port 9001 is taken back, and the download through 9101 stands still at %s bytes", stays)
		}
		return nil
	})
	if left := h.TrySh("conntrack -L -p tcp --orig-port-dst 9001 2>/dev/null | grep ESTABLISHED").Stdout; strings.Contains(left, "dport=9000") {
		t.Errorf("its flow is still tracked: %s", left)
	}
	refused(h, "127.0.0.1:9001")
	h.J("port", "rm", "web", "8081", "8081/udp", "8101-8102")
	refused(h, "127.0.0.1:8081")
	if got := askHost(h, "udp:127.0.0.1:8081"); got != "" {
		t.Errorf("a udp port that is taken back answered %q", got)
	}
	answers(h, "127.0.0.1:8080", "web")
	h.Eventually(time.Second, func() error { // the host's ports are let go last
		if r := h.TrySh("probe bind tcp:8101-8102"); r.Code != 0 {
			return errorf("ports taken back are still held: %+v", r)
		}
		return nil
	})
	if got := h.J("inspect", "-f", `{{json .HostConfig.PortBindings}}`, "web"); strings.Contains(got, "8081") || !strings.Contains(got, "8082") {
		t.Errorf("inspect: %s", got)
	}
	// Stopped: both work, and the next start has them.
	h.J("stop", "-t", "0", "web")
	h.J("port", "add", "web", "8083:8000")
	h.J("port", "rm", "web", "8080")
	h.J("start", "web")
	h.Eventually(2*time.Second, func() error {
		if askHost(h, "127.0.0.1:8083") == "" {
			return errorf("no answer")
		}
		return nil
	})
	refused(h, "127.0.0.1:8080")
	// A container that is called add is listed as ever.
	h.J("run", "-d", "--name", "add", "-p", "8200:80", "busybox", "sleep", "1000")
	if got := h.J("port", "add"); got != "80/tcp -> 0.0.0.0:8200" {
		t.Errorf("port add of a container called add: %q", got)
	}
	if got := h.J("port", "add", "80"); got != "0.0.0.0:8200" {
		t.Errorf("port add 80 of a container called add: %q", got)
	}
}

// resolves asks for a name inside a container; "" when there is none.
func resolves(h *host.Host, from, name string) string {
	h.T.Helper()
	return get(h, from, name+":8000")
}

func TestAliasesChangeLive(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "dev")
	serve(h, "web", "--network", "dev", "--network-alias", "*.created.test")
	serve(h, "api", "--network", "dev")
	h.J("run", "-d", "--name", "client", "--network", "dev", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "outside", "busybox", "sleep", "1000")
	h.J("alias", "add", "dev", "web", "www", "*.foo.test")
	h.J("alias", "add", "dev", "api", "api.foo.test")
	for name, want := range map[string]string{
		"www": "web", "WWW": "web", "x.foo.test": "web", "x.y.foo.test": "web", "api.foo.test": "api", "v1.created.test": "web",
		"x.api.foo.test": "", "foo.test": "",
	} {
		if got := resolves(h, "client", name); got != want {
			t.Errorf("%s leads to %q, want %q", name, got, want)
		}
	}
	if got := resolves(h, "outside", "x.foo.test"); got != "" {
		t.Errorf("from another network: %q", got)
	}
	if got := strings.Join(strings.Fields(h.J("alias", "ls", "dev")), " "); got != "CONTAINER ALIASES api api.foo.test web *.created.test, www, *.foo.test" {
		t.Errorf("alias ls: %s", got)
	}
	for _, c := range []struct {
		text string
		args []string
	}{
		{"network nowhere not found", []string{"alias", "add", "nowhere", "web", "x"}},
		{"No such container: nobody", []string{"alias", "add", "dev", "nobody", "x"}},
		{"container outside is not connected to network dev", []string{"alias", "add", "dev", "outside", "x"}},
		{"container web has the alias www on network dev already", []string{"alias", "add", "dev", "web", "new", "www"}},
		{`invalid network alias "a b"`, []string{"alias", "add", "dev", "web", "a b"}},
		{"container web has no alias new on network dev: it has *.created.test, *.foo.test, www", []string{"alias", "rm", "dev", "web", "www", "new"}},
	} {
		h.Fails(1, []string{c.text}, c.args...)
	}
	h.J("alias", "rm", "dev", "web", "*.foo.test")
	if got := resolves(h, "client", "x.foo.test"); got != "" {
		t.Errorf("a wildcard that is gone: %q", got)
	}
	if got := resolves(h, "client", "www"); got != "web" {
		t.Errorf("www: %q", got)
	}
	if got := h.J("network", "leases", "dev"); strings.Count(got, "active") != 3 || strings.Count(got, "reserved") != 1 {
		t.Errorf("leases: %s", got)
	}
	h.J("stop", "-t", "0", "api")
	if got := h.J("network", "leases", "dev"); strings.Count(got, "kept") != 1 {
		t.Errorf("leases with a stopped container: %s", got)
	}
}

func TestLinksChangeLive(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "dev")
	h.J("network", "create", "far")
	h.J("run", "-d", "--name", "web", "--network", "dev", "busybox", "sleep", "1000")
	serve(h, "db", "--network", "dev")
	serve(h, "apart", "--network", "far")
	h.J("link", "add", "web", "db:store")
	leads := func(alias, want string) {
		t.Helper()
		h.Eventually(time.Second, func() error {
			hosts := h.TryJ("exec", "web", "grep", "-w", alias, "/etc/hosts").Stdout
			if got := resolves(h, "web", alias); got != want || (hosts == "") != (want == "") {
				return errorf("%s leads to %q, want %q; hosts: %q", alias, got, want, hosts)
			}
			return nil
		})
	}
	leads("store", "db")
	for _, c := range []struct {
		text string
		args []string
	}{
		{"No such container: later: to link to a container that comes later, say --wait", []string{"link", "add", "web", "later"}},
		{"containers web and apart are on no common network", []string{"link", "add", "--strict", "web", "apart"}},
		{"container web has a link called store already, to db", []string{"link", "add", "web", "apart:store"}},
		{"container web cannot be linked to itself", []string{"link", "add", "web", "web:me"}},
		{"container web has no link called x: it has store", []string{"link", "rm", "web", "x"}},
		{"No such container: nobody", []string{"link", "ls", "nobody"}},
	} {
		h.Fails(1, []string{c.text}, c.args...)
	}
	h.J("link", "add", "--wait", "web", "later:soon")
	if got := h.J("link", "ls", "web"); !strings.Contains(got, "waiting for the target") || !strings.Contains(got, "up") {
		t.Errorf("link ls: %s", got)
	}
	leads("soon", "")
	serve(h, "later", "--network", "dev")
	leads("soon", "later")
	h.J("rm", "-f", "later")
	leads("soon", "")
	serve(h, "later", "--network", "far")
	leads("soon", "later")
	h.J("network", "connect", "dev", "later")
	leads("soon", "later")
	h.J("network", "disconnect", "dev", "later")
	h.J("network", "connect", "far", "web")
	leads("soon", "later")
	h.J("link", "rm", "web", "soon")
	leads("soon", "")
	// The environment comes with the next start; --link's links survive their target, too.
	h.J("restart", "-t", "0", "web")
	if got := h.J("exec", "web", "env"); !strings.Contains(got, "STORE_NAME=/web/store") {
		t.Errorf("environment after a restart: %s", got)
	}
	h.J("run", "-d", "--name", "old", "--network", "dev", "--link", "db:legacy", "busybox", "sleep", "1000")
	h.J("rm", "-f", "db")
	serve(h, "db", "--network", "dev")
	leads("store", "db")
	if got := resolves(h, "old", "legacy"); got != "db" {
		t.Errorf("--link after its target was made again: %q", got)
	}
}

// What was changed live outlives a killed daemon, a flushed firewall and a
// restart of the container.
func TestLiveChangesSurvive(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	serve(h, "web")
	serve(h, "db")
	h.J("port", "add", "web", "8081:8000")
	h.J("port", "add", "web", "8082:8000")
	h.J("port", "rm", "web", "8082")
	h.J("alias", "add", "bridge", "web", "*.foo.test")
	h.J("link", "add", "web", "db:store")
	h.J("link", "add", "--wait", "web", "later")
	holds := func(after string) {
		t.Helper()
		h.Eventually(2*time.Second, func() error {
			got := fmt.Sprintf("%s %s %s", strings.Fields(askHost(h, "127.0.0.1:8081") + " -")[0], resolves(h, "db", "x.foo.test"), resolves(h, "web", "store"))
			if got != "web web db" {
				return errorf("after %s: %s", after, got)
			}
			return nil
		})
		refused(h, "127.0.0.1:8082")
	}
	holds("the changes")
	h.Eventually(3*time.Second, func() error { // --until counts whole seconds
		events := h.J("events", "--since", "10m", "--until", "0s")
		for _, want := range []string{"container port-add", "ports=0.0.0.0:8081->8000/tcp", "container port-rm", "network alias-add", "alias=*.foo.test", "container link-add", "target=later"} {
			if !strings.Contains(events, want) {
				return errorf("no %q among the events:\n%s", want, events)
			}
		}
		return nil
	})
	h.KillDaemon()
	h.StartDaemon()
	holds("kill -9")
	h.Sh("nft flush ruleset")
	holds("nft flush ruleset")
	h.J("restart", "-t", "0", "web")
	holds("a restart")
	serve(h, "later")
	if got := resolves(h, "web", "later"); got != "later" {
		t.Errorf("a waiting link after all that: %q", got)
	}
}

// A client that hammers the port while a container takes another's place sees
// no failure.
func TestSwap(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "dev")
	serve(h, "blue", "-p", "8080:8000", "--network", "dev", "--network-alias", "app")
	serve(h, "green", "--network", "dev")
	h.J("run", "-d", "--name", "client", "--network", "dev", "--link", "blue:backend", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "off", "busybox", "sleep", "1000")
	h.J("kill", "off")
	h.Fails(1, []string{"container off is not running"}, "swap", "blue", "off")
	h.Fails(1, []string{"cannot be swapped with itself"}, "swap", "blue", "blue")
	h.J("start", "off")
	h.Fails(1, []string{"container off is not on it", "jackstay network connect dev off"}, "swap", "blue", "off")
	hammer := "while true; do probe get tcp:127.0.0.1:8080 >>" + h.Dir + "/seen || echo failed >>" + h.Dir + "/seen; done"
	stop := background(h, strings.Repeat("("+hammer+") & ", 4)+"wait")
	for _, pair := range [][2]string{{"blue", "green"}, {"green", "blue"}, {"blue", "green"}} {
		time.Sleep(300 * time.Millisecond)
		h.J("swap", pair[0], pair[1])
		answers(h, "127.0.0.1:8080", pair[1])
	}
	time.Sleep(300 * time.Millisecond)
	stop()
	blue, green := h.Sh("grep -c ^blue "+h.Dir+"/seen"), h.Sh("grep -c ^green "+h.Dir+"/seen")
	if failed := h.Sh("grep -c -v -e ^blue -e ^green " + h.Dir + "/seen || true"); failed != "0" {
		t.Errorf("%s requests failed, blue answered %s and green %s", failed, blue, green)
	}
	if blue == "0" || green == "0" {
		t.Errorf("blue answered %s requests and green %s: the client did not hammer through a swap", blue, green)
	}
	for _, name := range []string{"app", "backend"} {
		if got := resolves(h, "client", name); got != "green" {
			t.Errorf("%s leads to %q", name, got)
		}
	}
	if got := h.J("port", "blue"); got != "" {
		t.Errorf("blue still publishes %s", got)
	}
	h.J("rm", "-f", "blue")
	h.J("restart", "-t", "0", "green")
	h.Eventually(2*time.Second, func() error {
		if got := askHost(h, "127.0.0.1:8080"); !strings.HasPrefix(got, "green") {
			return errorf("after a restart: %q", got)
		}
		return nil
	})
}
