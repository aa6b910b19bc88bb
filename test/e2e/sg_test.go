package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// sgCase is who asks what, and what the answer is; "": none.
type sgCase struct{ from, addr, want string }

// asks checks answers, with the address the server sees.
func asks(h, outside *host.Host, title string, cases []sgCase) {
	h.T.Helper()
	for _, c := range cases {
		var got string
		switch c.from {
		case "outside":
			got = askHost(outside, c.addr)
		case "host":
			got = askHost(h, c.addr)
		default:
			got = ask(h, c.from, c.addr)
		}
		if got != c.want {
			h.T.Errorf("%s: %s to %s: %q, want %q", title, c.from, c.addr, got, c.want)
		}
	}
}

// A group is judged at whatever way leads to its containers, and changes at once.
func TestSecurityGroups(t *testing.T) {
	t.Parallel()
	h, outside, _ := fipTown(t)
	h.J("network", "create", "other")
	h.J("sg", "create", "web")
	h.J("sg", "create", "--rule", "tcp:8000:web", "clients")
	serve(h, "web", "--sg", "web", "-p", "8080:8000", "-p", "8080:8000/udp")
	serve(h, "plain")
	serve(h, "elsewhere", "--network", "other")
	fip := h.J("fip", "allocate", "1")
	h.J("fip", "attach", fip, "web")
	web, plain, elsewhere := h.IP("web", "bridge"), h.IP("plain", "bridge"), h.IP("elsewhere", "other")
	gw := h.J("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge")
	always := []sgCase{ // the host, and answers
		{"host", web + ":8000", "web " + gw}, {"host", "127.0.0.1:8080", "web " + gw}, {"host", fip + ":8000", "web " + fip},
		{"web", plain + ":8000", "plain " + web},
	}
	for _, step := range []struct {
		change string // an sg command
		cases  []sgCase
	}{
		{"", []sgCase{
			{"plain", web + ":8000", ""}, {"plain", "udp:" + web + ":8000", ""}, {"outside", "10.98.0.1:8080", ""}, {"outside", fip + ":8000", ""},
			{"elsewhere", "10.98.0.1:8080", ""}, {"elsewhere", fip + ":8000", ""}, {"plain", "10.98.0.1:8080", ""},
		}},
		{"update --add-rule tcp:8000:10.98.0.0/24 web", []sgCase{
			{"outside", "10.98.0.1:8080", "web 10.98.0.2"}, {"outside", fip + ":8000", "web 10.98.0.2"}, {"outside", "udp:" + fip + ":8000", ""},
			{"plain", web + ":8000", ""}, {"elsewhere", fip + ":8000", ""},
		}},
		{"update --rm-rule tcp:8000:10.98.0.0/24 --add-rule any:clients web", []sgCase{
			{"outside", fip + ":8000", ""}, {"plain", web + ":8000", ""},
		}},
		{"attach clients plain", []sgCase{
			{"plain", web + ":8000", "web " + plain}, {"plain", "udp:" + web + ":8000", "web " + plain}, {"plain", "10.98.0.1:8080", "web " + gw},
			{"elsewhere", "10.98.0.1:8080", ""}, {"outside", fip + ":8000", ""},
		}},
		{"attach clients elsewhere", []sgCase{
			{"elsewhere", "10.98.0.1:8080", "web " + elsewhere}, {"elsewhere", "udp:" + fip + ":8000", "web " + elsewhere},
			{"elsewhere", web + ":8000", ""}, // a group opens no way between networks
		}},
		{"detach clients plain", []sgCase{{"plain", web + ":8000", ""}, {"elsewhere", fip + ":8000", "web " + elsewhere}}},
		{"detach web web", []sgCase{
			{"plain", web + ":8000", "web " + plain}, {"outside", fip + ":8000", "web 10.98.0.2"}, {"outside", "udp:10.98.0.1:8080", "web 10.98.0.2"},
		}},
		{"attach web web", []sgCase{{"plain", web + ":8000", ""}, {"elsewhere", fip + ":8000", "web " + elsewhere}}},
	} {
		if step.change != "" {
			h.J(append([]string{"sg"}, strings.Fields(step.change)...)...)
		}
		asks(h, outside, step.change, append(step.cases, always...))
	}
	// A refusal is told at once, and why.
	if r := h.TryJ("exec", "plain", "probe", "get", "tcp:"+web+":8000", "5s"); !strings.Contains(r.Stderr, "no route to host") {
		t.Errorf("refused with %q", r.Stderr)
	}
	// It holds through what breaks it, and through the container's restart.
	for _, breaks := range []func(){
		func() { h.Sh("nft flush ruleset") },
		func() { h.KillDaemon(); h.Sh("nft flush ruleset"); h.StartDaemon() },
		func() { h.J("restart", "-t", "0", "web") },
	} {
		breaks()
		h.Eventually(5*time.Second, func() error {
			if got := ask(h, "elsewhere", fip+":8000"); got != "web "+elsewhere {
				return fmt.Errorf("elsewhere got %q", got)
			}
			if got := askHost(outside, fip+":8000"); got != "" {
				return fmt.Errorf("outside got %q", got)
			}
			return nil
		})
		asks(h, outside, "afterwards", []sgCase{{"plain", web + ":8000", ""}, {"web", plain + ":8000", "plain " + web}})
	}
}

// A connection ends with the rule that let it in; others go on.
func TestSecurityGroupEndsConnections(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("sg", "create", "friends")
	h.J("sg", "create", "--rule", "tcp:8001:friends", "--rule", "tcp:8001:"+"172.17.0.0/16", "stream")
	h.J("run", "-d", "--name", "stream", "--sg", "stream", "busybox", "probe", "source", "8001")
	h.Eventually(5*time.Second, func() error { // started is not yet listening
		if r := h.TrySh("nc -z " + h.IP("stream", "bridge") + " 8001"); r.Code != 0 {
			return fmt.Errorf("stream does not listen: %s", r.Stderr)
		}
		return nil
	})
	// A connection that the bridge switched before there was a group ends with the first one.
	h.TrySh("echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables") // with br_netfilter the host knows it
	h.J("sg", "detach", "stream", "stream")
	h.J("run", "-d", "--name", "early", "busybox", "sleep", "1000")
	early := start(h, "jackstay exec early timeout -s INT 20 probe drain "+h.IP("stream", "bridge")+":8001")
	drained(h, "early", true)
	h.J("sg", "create", "empty")
	h.J("sg", "attach", "empty", "stream")
	drained(h, "early", false)
	early.stop()
	h.J("sg", "attach", "stream", "stream")
	drains := map[string]*process{}
	for _, name := range []string{"friend", "guest"} {
		h.J("run", "-d", "--name", name, "busybox", "sleep", "1000")
		drains[name] = start(h, "jackstay exec "+name+" timeout -s INT 20 probe drain "+h.IP("stream", "bridge")+":8001")
		drained(h, name, true)
	}
	h.J("sg", "attach", "friends", "friend")
	h.J("sg", "update", "--rm-rule", "tcp:8001:172.17.0.0/16", "stream")
	drained(h, "guest", false)
	drained(h, "friend", true)
	h.J("sg", "detach", "friends", "friend")
	drained(h, "friend", false)
	// Their clients were told, and did not have to wait.
	for name, p := range drains {
		h.Eventually(5*time.Second, func() error {
			if !strings.Contains(p.out.String(), "connection reset by peer") {
				return fmt.Errorf("%s: %q", name, p.out.String())
			}
			return nil
		})
		p.stop()
	}
}

// What the commands print, what other clients see, and what is refused.
func TestSecurityGroupCommands(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("sg", "create", "--description", "who may administer", "admin")
	h.Sh(`cat >group.yml <<'.'
name: web
description: the front
rules:
  - direction: ingress
    protocol: tcp
    port_range_min: 80
    port_range_max: 90
    remote_ip_prefix: 0.0.0.0/0
  - protocol: icmp
    remote_group: admin
.
mv group.yml ` + h.Dir)
	id := h.J("sg", "create", "-f", h.Dir+"/group.yml")
	h.D("run", "-d", "--name", "one", "--label", "com.jackstay.sg=web,admin", "busybox", "sleep", "1000")
	h.J("create", "--name", "two", "--sg", "admin", "--sg", "web", "busybox", "true")
	for _, c := range []struct{ line, want string }{
		{"sg ls", "NAME      RULES     CONTAINERS   DESCRIPTION\nadmin     0         2            who may administer\nweb       2         2            the front"},
		{"sg ls -q", "admin\nweb"},
		{"sg ls --no-trunc --filter name=web --format {{.ID}}", id},
		{"sg ls -f name=web --format {{.ID}}", id[:12]},
		{"sg inspect -f {{json.Rules}} web", `[{"direction":"ingress","protocol":"tcp","port_range_min":80,"port_range_max":90,"remote_ip_prefix":"0.0.0.0/0"},{"direction":"ingress","protocol":"icmp","remote_group":"admin"}]`},
		{"inspect -f {{.NetworkSettings.SecurityGroups}} one", "[web admin]"},
		{"inspect -f {{.NetworkSettings.SecurityGroups}} two", "[admin web]"},
		{"rename one eins", ""},
		{"sg detach web,admin two", ""},
		{"inspect -f {{.NetworkSettings.SecurityGroups}} two", "[]"},
		{"sg update --add-rule tcp:443:web --rm-rule icmp:admin web", ""},
		{"sg inspect -f {{len.Rules}} web", "2"},
	} {
		line := strings.NewReplacer("json.", "json .", "len.", "len .").Replace(c.line)
		var args []string
		for _, f := range strings.Fields(line) {
			if n := len(args); n > 0 && strings.HasPrefix(args[n-1], "{{") && !strings.HasSuffix(args[n-1], "}}") {
				args[n-1] += " " + f
				continue
			}
			args = append(args, f)
		}
		if got := h.J(args...); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", line, got, c.want)
		}
	}
	for _, c := range []struct {
		code int
		line string
		want string
	}{
		{1, "sg rm web", "security group web is in use by container eins"},
		{1, "sg rm admin nobody", "no such security group: nobody"},
		{1, "sg create web", "there is a security group called web already"},
		{1, "sg create --rule tcp:80:2001:db8::1/32 six", "did you mean 2001:db8::/32?"},
		{1, "sg create --rule gre six", `unknown protocol "gre": there are tcp, udp, sctp, icmp and any`},
		{1, "sg create --rule tcp:80:nobody six", "no such security group: nobody"},
		{1, "sg update --rm-rule udp:53 web", "security group web has no rule udp:53:0.0.0.0/0: it has tcp:443:web, tcp:80-90:0.0.0.0/0"},
		{1, "sg attach nobody eins", "no such security group: nobody; `jackstay sg ls` shows those there are"},
		{1, "sg attach web nobody", "No such container: nobody"},
		{1, "sg detach web two", "container two is not in security group web: it has none"},
		{125, "run --name three --sg nobody busybox true", "no such security group: nobody"},
		{125, "run --name three --net host --sg web busybox true", "is in the host's network and cannot be in security groups"},
		{125, "run --name three --net container:eins --sg web busybox true", "is in the network of container eins"},
	} {
		h.Fails(c.code, []string{c.want}, strings.Fields(c.line)...)
	}
	h.Sh("printf 'rules: [{direction: egress, protocol: tcp}]' >" + h.Dir + "/egress.yml")
	h.Fails(1, []string{"direction egress is not supported"}, "sg", "create", "-f", h.Dir+"/egress.yml", "out")
	if got := h.J("sg", "ls", "-q") + " " + h.J("ps", "-aq", "--filter", "name=three"); got != "admin\nweb " {
		t.Errorf("left by what was refused: %q", got)
	}
	h.J("rm", "-f", "eins")
	if got := h.J("sg", "rm", "web", "admin"); got != "web\nadmin" {
		t.Errorf("rm prints %q", got)
	}
	events := h.J("events", "--since", "1", "--until", h.Sh("date +%s.%N"), "--filter", "type=sg", "--format", "{{.Action}} {{.Actor.Attributes.name}}")
	if want := "create admin\ncreate web\nattach web\nattach admin\nattach admin\nattach web\ndetach web\ndetach admin\nupdate web\nremove web\nremove admin"; events != want {
		t.Errorf("events:\n%s\nwant\n%s", events, want)
	}
}

// drained waits until a container gets more bytes, or gets none any more.
func drained(h *host.Host, container string, more bool) {
	h.T.Helper()
	h.Eventually(5*time.Second, func() error {
		before := rxBytes(h, container)
		time.Sleep(200 * time.Millisecond)
		if n := rxBytes(h, container) - before; more != (n > 1<<16) {
			return fmt.Errorf("%s got %d bytes in 200 ms", container, n)
		}
		return nil
	})
}
