package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// Containers on no common network are joined for exactly one link: what it
// leads to is reached, nobody else, nor back, nor without it.
func TestLinksJoinNetworks(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	for _, args := range []string{"front", "back", "side", "aside", "--internal deep", "--internal deeper", "--policy deny locked"} {
		h.J(strings.Fields("network create " + args)...)
	}
	for i, c := range []struct {
		what, web, db   string // options of both
		link            string // of the link: :ALIAS:PORTS
		all             bool   // udp, which the target does not expose, passes, too
		fromWeb, fromDB string // the address they use
	}{
		{"plain", "--network front", "--network back", "", true, "front", "back"},
		{"default network", "", "--network back", "", true, "bridge", "back"},
		{"given ports", "--network front", "--network back", ":store:7999-8000/tcp", false, "front", "back"},
		{"into an internal one", "--network front", "--network deep", "", true, "front", "deep"},
		{"out of an internal one", "--network deep", "--network back", "", true, "deep", "back"},
		{"between internal ones", "--network deep", "--network deeper", "", true, "deep", "deeper"},
		{"several, outward first", "--network deep --network front", "--network deeper --network back", "", true, "front", "back"},
		{"default routes elsewhere", "--network front --network name=side,gw-priority=9", "--network back --network name=aside,gw-priority=9", "", true, "front", "back"},
		{"into a network that denies", "--network front", "--network locked --expose 8000", "", false, "front", "locked"},
		{"out of one", "--network locked", "--network back --expose 8000", "", false, "locked", "back"},
		{"out of one with ports", "--network locked", "--network back", ":store:8000", false, "locked", "back"},
	} {
		web, db := fmt.Sprint("web", i), fmt.Sprint("db", i)
		serve(h, web, strings.Fields(c.web)...)
		serve(h, db, strings.Fields(c.db)...)
		ip := h.IP(db, c.fromDB)
		if got := ask(h, web, ip+":8000"); got != "" {
			t.Errorf("%s: without the link: %q", c.what, got)
		}
		if c.link == "" {
			c.link = ":store"
		}
		h.J("link", "add", web, db+c.link)
		sees := db + " " + h.IP(web, c.fromWeb)
		if got := ask(h, web, "store:8000"); got != sees {
			t.Errorf("%s: answered %q, want %q", c.what, got, sees)
		}
		if got := ask(h, web, "udp:store:8000"); got != sees && c.all || got != "" && !c.all {
			t.Errorf("%s: answered %q by udp", c.what, got)
		}
		if got := h.J("exec", web, "grep", "-w", "store", "/etc/hosts"); !strings.HasPrefix(got, ip+"\tstore ") {
			t.Errorf("%s: hosts: %q", c.what, got)
		}
		for _, to := range []string{h.IP(web, c.fromWeb) + ":8000", "udp:" + h.IP(web, c.fromWeb) + ":8000"} {
			if got := ask(h, db, to); got != "" {
				t.Errorf("%s: back: %q", c.what, got)
			}
		}
		if want := c.fromWeb + " -> " + c.fromDB; !strings.Contains(h.J("link", "ls", web), want) {
			t.Errorf("%s: link ls: %s", c.what, h.J("link", "ls", web))
		}
		if i > 0 { // same networks, or a way there of its own, but no link
			if got := ask(h, "web0", ip+":8000"); got != "" && c.fromDB != "front" {
				t.Errorf("%s: from another container: %q", c.what, got)
			}
		}
		h.J("link", "rm", web, "store")
		if got := ask(h, web, ip+":8000"); got != "" {
			t.Errorf("%s: after link rm: %q", c.what, got)
		}
		if got := h.Sh("nsenter --net=" + h.Run() + "/netns/$(jackstay inspect -f {{.Id}} " + web + ") ip route show proto 74 | grep -vc default || true"); got != "0" {
			t.Errorf("%s: %s routes left", c.what, got)
		}
		h.J("rm", "-f", db)
		if i > 0 {
			h.J("rm", "-f", web)
		}
	}
	if got := h.Sh("nft list set inet jackstay pairs4; nft list set inet jackstay flows4"); strings.Contains(got, "elements") {
		t.Errorf("left in the firewall: %s", got)
	}
}

// What a link between two networks opened follows its target, and ends with it.
func TestJoinedLinksFollow(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	for _, n := range []string{"front", "back", "other"} {
		h.J("network", "create", n)
	}
	h.Import("exposing", host.BusyboxTar(t), "ENV PATH=/bin", "EXPOSE 8000")
	db := func(name string, args ...string) {
		h.J(append(append([]string{"run", "-d", "--name", name}, args...), "exposing", "sh", "-c",
			"probe source 9000 & exec probe serve "+name+" tcp:8000")...)
	}
	db("db", "--network", "back")
	serve(h, "web", "--network", "front", "--link", "db:store")
	h.J("run", "-d", "--name", "stranger", "--network", "front", "busybox", "sleep", "1000")
	ip := h.IP("db", "back")
	if got := h.J("exec", "web", "env"); !strings.Contains(got, "STORE_PORT_8000_TCP=tcp://"+ip+":8000") {
		t.Errorf("environment: %s", got)
	}
	follows := func(what, network, target string) {
		t.Helper()
		var ip string
		h.Eventually(time.Second, func() error {
			ip = h.IP(target, network)
			hosts := h.J("exec", "web", "grep", "-w", "store", "/etc/hosts")
			dns := h.TryJ("exec", "web", "nslookup", "store", "127.0.0.11").Stdout
			if got := get(h, "web", "store:8000"); got != "db" || !strings.HasPrefix(hosts, ip+"\t") || !strings.Contains(dns, ip) {
				return errorf("after %s: store answered %q, hosts says %q, DNS %q, the target is at %s", what, got, hosts, dns, ip)
			}
			return nil
		})
		if network != "front" {
			if got := get(h, "stranger", ip+":8000"); got != "" {
				t.Errorf("after %s: a stranger got %q", what, got)
			}
		}
	}
	follows("start", "back", "db")
	h.J("rename", "db", "db2")
	follows("rename", "back", "db2")
	h.J("rename", "db2", "db")
	h.J("network", "disconnect", "back", "db")
	h.J("network", "connect", "other", "db")
	follows("another network", "other", "db")
	h.J("network", "connect", "front", "db")
	follows("a common network", "front", "db")
	if got := h.J("link", "ls", "web"); strings.Contains(got, "->") {
		t.Errorf("link ls on a common network: %s", got)
	}
	if got := get(h, "web", h.IP("db", "other")+":8000"); got != "" {
		t.Errorf("the other way stays open: %q", got)
	}
	h.J("network", "disconnect", "front", "db")
	follows("no common network", "other", "db")
	h.J("rm", "-f", "db")
	if got := h.J("link", "ls", "web"); !strings.Contains(got, "waiting for the target") {
		t.Errorf("link ls without the target: %s", got)
	}
	if got := h.J("inspect", "-f", "{{range .NetworkSettings.Links}}{{.Alias}} to {{.Target}}: {{.State}};{{end}} {{json .HostConfig.Links}}", "web"); !strings.Contains(got, " to db: waiting for the target;") {
		t.Errorf("inspect without the target: %s", got)
	}
	serve(h, "thief", "--network", "other") // gets the address
	if got := get(h, "web", h.IP("thief", "other")+":8000"); got != "" {
		t.Errorf("whoever has the address of a removed target is reached: %q", got)
	}
	db("db", "--network", "back")
	follows("removal and creation", "back", "db")
	h.KillDaemon()
	h.StartDaemon()
	follows("kill -9", "back", "db")
	h.Sh("nft flush ruleset")
	follows("nft flush ruleset", "back", "db")
	h.J("restart", "-t", "0", "web")
	follows("a restart", "back", "db")
	h.J("swap", "db", "thief")
	h.Eventually(time.Second, func() error {
		if got := get(h, "web", "store:8000") + get(h, "web", ip+":8000"); got != "thief" {
			return errorf("after a swap with one on another network: %q", got)
		}
		return nil
	})
	h.J("swap", "thief", "db")
	follows("a swap back", "back", "db")

	// A download along the link ends with it.
	background(h, "exec jackstay exec web sh -c 'exec nc store 9000 >/tmp/got'")
	size := func() string { return h.TryJ("exec", "web", "sh", "-c", "wc -c </tmp/got").Stdout }
	h.Eventually(5*time.Second, func() error {
		if n := strings.TrimSpace(size()); n == "" || n == "0" {
			return errorf("no download yet")
		}
		return nil
	})
	h.J("link", "rm", "web", "store")
	standsStill(h, "the download without its link", size)
	h.Eventually(5*time.Second, func() error { // both ends are told
		if got := h.J("top", "web") + h.J("exec", "db", "netstat", "-tn"); strings.Contains(got, "nc store") || strings.Contains(got, "ESTABLISHED") {
			return errorf("the download hangs without the link: %s", got)
		}
		return nil
	})
	if got := get(h, "web", h.IP("db", "back")+":8000"); got != "" {
		t.Errorf("without the link: %q", got)
	}
}

// The options of links on run, create and link add, by both clients.
func TestLinkOptions(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "front")
	h.J("network", "create", "back")
	serve(h, "db", "--network", "back")
	serve(h, "near", "--network", "front")
	h.J("run", "-d", "--name", "inhost", "--network", "host", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "alone", "--network", "none", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "strict", "--network", "front", "--strict", "--link", "near", "busybox", "sleep", "1000")
	apart := "are on no common network, and strict links join none: connect db to one of the other's first (jackstay network connect front db), or leave out --strict"
	for _, c := range []struct {
		code int
		text string
		line string
	}{
		{125, "could not get container for nobody: No such container: nobody", "run --network front --link nobody busybox true"},
		{1, "No such container: nobody", "create --network front --link nobody:x:80 busybox true"},
		{125, apart, "run --network front --strict --link db busybox true"},
		{1, "containers strict and db " + apart, "link add strict db"},
		{1, "containers near and db " + apart, "link add --strict near db"},
		{125, "host type networking can't be used with links", "run --network front --link inhost busybox true"},
		{1, "container inhost is in the host's network and cannot be linked to", "link add near inhost"},
		{125, "alone is on no network: connect it to one first", "run --network front --link alone busybox true"},
		{1, "containers near and alone can't be linked: alone is on no network", "link add near alone"},
		{1, "alone is on no network", "link add alone near"},
		{125, `bad format for links: db:db:x: invalid ports "x": give PORT[-PORT][/PROTO]`, "run --network front --link db:db:x busybox true"},
		{125, "bad format for links: ", "run --network front --link : busybox true"},
		{1, `invalid ports "0": give`, "link add near db:db:0"},
		{125, "invalid label com.jackstay.link-later=a:b:c:d (--link-later): bad format for links", "run --link-later a:b:c:d busybox true"},
		{125, "invalid label com.jackstay.link-later=*.x (--link-later)", "run --link-later *.x busybox true"},
		{125, "container inhost is in the host's network and cannot be linked to", "run --link-later inhost busybox true"},
		{125, "cannot use links", "run --network host --link-later db busybox true"},
		{125, "cannot use links: name that one", "run --network container:db --link-later db busybox true"},
	} {
		h.Fails(c.code, []string{c.text}, strings.Fields(c.line)...)
	}
	if got := h.J("ps", "-a", "--format", "{{.Names}}"); strings.Count(got, "\n") != 4 {
		t.Errorf("refused containers are there: %s", got)
	}
	// Ports, and the alias left out.
	h.J("run", "-d", "--name", "web", "--network", "front", "--link", "db::8000/tcp,53/udp", "--link", "near:n:80", "--link-later", "later:soon:8000", "--link-later", "near:again", "busybox", "sleep", "1000")
	if got := get(h, "web", "db:8000") + get(h, "web", "udp:db:8000"); got != "db" {
		t.Errorf("by ports: %q", got)
	}
	if got := get(h, "web", "again:8000"); got != "near" {
		t.Errorf("by --link-later to one that is there: %q", got)
	}
	// On a network that is open anyway, ports narrow nothing.
	if got := get(h, "web", "n:8000") + get(h, "web", "udp:n:8000"); got != "nearnear" {
		t.Errorf("ports of a link on an open network: %q", got)
	}
	if got := strings.Join(strings.Fields(h.J("link", "ls", "web")), " "); !strings.Contains(got, "web db db 8000/tcp,53/udp front -> back") ||
		!strings.Contains(got, "web n near 80/tcp front") || !strings.Contains(got, "web soon later 8000/tcp waiting for the target") {
		t.Errorf("link ls: %s", got)
	}
	if got := h.J("inspect", "-f", "{{.NetworkSettings.Networks.front.Links}}", "web"); got != "[db:db:8000/tcp,53/udp near:n:80/tcp]" {
		t.Errorf("inspect: %s", got)
	}
	serve(h, "later", "--network", "back")
	for range 2 { // it is bound to its target with what was asked for, again and again
		if got := get(h, "web", "soon:8000") + get(h, "web", "udp:soon:8000"); got != "later" {
			t.Errorf("the target of --link-later: %q", got)
		}
		h.J("rm", "-f", "later")
		serve(h, "later", "--network", "back")
	}
	h.J("restart", "-t", "0", "web")
	if got := h.J("exec", "web", "env"); !strings.Contains(got, "SOON_NAME=/web/soon") {
		t.Errorf("environment of --link-later after a restart: %s", got)
	}
	h.J("link", "add", "web", "near:more:8000-8010/tcp,9/sctp")
	if got := strings.Join(strings.Fields(h.J("link", "ls", "web")), " "); !strings.Contains(got, "web more near 8000-8010/tcp,9/sctp front 172.") {
		t.Errorf("link ls: %s", got)
	}
	// The default network's links show as Docker's do.
	h.J("run", "-d", "--name", "old", "--link", "db:store:8000", "busybox", "sleep", "1000")
	if got := h.J("inspect", "-f", "{{.HostConfig.Links}}", "old"); got != "[/db:/old/store]" {
		t.Errorf("inspect: %s", got)
	}
	if got := get(h, "old", "store:8000"); got != "db" {
		t.Errorf("from the default network: %q", got)
	}
	// Into the network of another's: its owner is reached.
	h.J("run", "-d", "--name", "beside", "--network", "container:db", "busybox", "probe", "serve", "beside", "tcp:8001")
	h.J("link", "add", "old", "beside")
	if got := h.J("exec", "old", "grep", "beside", "/etc/hosts"); !strings.HasPrefix(got, h.IP("db", "back")+"\tbeside ") {
		t.Errorf("hosts: %q", got)
	}
	h.Eventually(2*time.Second, func() error {
		if got := get(h, "old", "beside:8001"); got != "beside" {
			return errorf("in another's network: %q", got)
		}
		return nil
	})
	// Docker's own command has labels.
	h.D("run", "-d", "--name", "foreign", "--network", "front", "--label", "com.jackstay.link-later=db:d:8000 later:l", "busybox", "sleep", "1000")
	if got := get(h, "foreign", "d:8000") + get(h, "foreign", "l:8000") + get(h, "foreign", "udp:d:8000"); got != "dblater" {
		t.Errorf("by a label: %q", got)
	}
	if got := h.J("inspect", "-f", "{{.HostConfig.Links}}", "old"); got != "[/beside:/old/beside /db:/old/store]" {
		t.Errorf("inspect with a link added live: %s", got)
	}
	h.J("network", "connect", "--link", "db:x:8000/tcp", "front", "old")
	if got := h.J("link", "ls", "old"); !strings.Contains(got, "8000/tcp") {
		t.Errorf("network connect --link: %s", got)
	}
}
