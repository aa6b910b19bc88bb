package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// tenancy is a host with two tenants that call everything alike: web and db on a
// network dev, db linked as db, web with a published port and a floating IP; and
// the administrator's own web.
type tenancy struct {
	h, outside *host.Host
	tenants    map[string]*host.Host
	fip        map[string]string
	port       map[string]string
}

func newTenancy(t *testing.T) *tenancy {
	h, outside, _ := fipTown(t)
	h.Import("debian", host.DebianTar(t, "redis", "redis-server"), "ENV PATH=/usr/sbin:/usr/bin")
	e := &tenancy{
		h: h, outside: outside, tenants: map[string]*host.Host{}, fip: map[string]string{},
		port: map[string]string{"acme": "8081", "umbrella": "8082"},
	}
	outside.Sh("ip route add 172.16.0.0/12 via 10.98.0.1")
	serve(h, "web")
	for name, port := range e.port {
		if got := h.J("tenant", "create", "--fip-quota", "1", name); got != name {
			t.Errorf("tenant create prints %q", got)
		}
		own := h.As(name)
		e.tenants[name] = own
		own.J("network", "create", "dev")
		own.J("run", "-d", "--name", "db", "--network", "dev", "-v", "data:/data", "-w", "/data", "-e", "OWNER="+name, "debian",
			"redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "")
		serve(own, "web", "--network", "dev", "--link", "db:db", "-p", port+":8000")
		own.J("run", "-d", "--name", "plain", "busybox", "sleep", "1000") // on its default network
		e.fip[name] = own.J("fip", "allocate", "1")
		own.J("fip", "attach", e.fip[name], "web")
		own.Eventually(10*time.Second, func() error {
			if r := e.redis(name, "set", "owner", name); strings.TrimSpace(r.Stdout) != "OK" {
				return errorf("redis of %s: %+v", name, r)
			}
			return nil
		})
	}
	return e
}

// redis asks the tenant's own db by its name.
func (e *tenancy) redis(tenant string, command ...string) host.Result {
	return e.tenants[tenant].TryJ(append([]string{"run", "--rm", "--network", "dev", "debian", "redis-cli", "-h", "db"}, command...)...)
}

// place is where something of a tenant's is.
type place struct{ web, db, plain, gateway, defaultGateway string }

func (e *tenancy) place(tenant string) place {
	own := e.tenants[tenant]
	gateway := func(network string) string {
		return own.J("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", network)
	}
	return place{own.IP("web", "dev"), own.IP("db", "dev"), own.IP("plain", "bridge"), gateway("dev"), gateway("bridge")}
}

// askFrom asks several addresses at once from a container, and gives the answers
// by address.
func askFrom(h *host.Host, from string, addrs []string) map[string]string {
	var targets []string
	for _, a := range addrs {
		targets = append(targets, target(a))
	}
	out := map[string]string{}
	script := "for a in " + strings.Join(targets, " ") + "; do (echo \"$a=$(probe get $a " + soon + " 2>/dev/null)\") & done; wait"
	for line := range strings.Lines(h.TryJ("exec", from, "sh", "-c", script).Stdout) {
		addr, answer, _ := strings.Cut(strings.TrimSpace(line), "=")
		out[strings.TrimPrefix(addr, "tcp:")] = strings.TrimSpace(answer)
	}
	return out
}

// whole says what is not as it should be: each tenant reaches its own, by every
// name, and nothing of the other's, at any address; ports and floating IPs are
// the way in.
func (e *tenancy) whole() error {
	at := map[string]place{"acme": e.place("acme"), "umbrella": e.place("umbrella")}
	errs := make([]error, 2)
	var all sync.WaitGroup
	for i, pair := range [][2]string{{"acme", "umbrella"}, {"umbrella", "acme"}} {
		all.Go(func() { errs[i] = e.apart(pair[0], pair[1], at[pair[0]], at[pair[1]]) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// apart asks everything at once.
func (e *tenancy) apart(name, other string, mine, theirs place) error {
	var all sync.WaitGroup
	checks := []func(string, string, place, place) error{e.answers, e.silence, e.pings, e.wayIn, e.lists}
	errs := make([]error, len(checks))
	for i, check := range checks {
		all.Go(func() { errs[i] = check(name, other, mine, theirs) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// answers asks from a tenant's containers, by every name and address.
func (e *tenancy) answers(name, other string, mine, theirs place) error {
	own, port := e.tenants[name], e.port[other]
	administrators := e.h.IP("web", "bridge")
	for from, want := range map[string]map[string]string{
		"web": {
			"web:8000": "web " + mine.web, "web.dev:8000": "web " + mine.web, mine.web + ":8000": "web " + mine.web,
			theirs.web + ":8000": "", "udp:" + theirs.web + ":8000": "", theirs.db + ":6379": "", theirs.plain + ":8000": "", administrators + ":8000": "",
			// Their gateways are the host, and yet not there.
			theirs.gateway + ":" + port: "", theirs.defaultGateway + ":" + port: "", "172.17.0.1:" + port: "",
			// The way in, as any client's, which does not show from where.
			"10.98.0.1:" + port: "web " + e.fip[name], e.fip[other] + ":8000": "web " + e.fip[name], mine.gateway + ":" + port: "web " + e.fip[name],
			"web.dev@" + other + ":8000": "", "web@" + other + ":8000": "",
		},
		"plain": {
			theirs.web + ":8000": "", theirs.defaultGateway + ":" + port: "", "web:8000": "",
			"10.98.0.1:" + port: "web " + theirs.gateway, e.fip[other] + ":8000": "web " + theirs.gateway, mine.defaultGateway + ":" + port: "web " + theirs.gateway,
		},
	} {
		got := askFrom(own, from, slices.Collect(maps.Keys(want)))
		for addr, answer := range want {
			if got[addr] != answer {
				return errorf("%s of %s asks %s: %q, want %q", from, name, addr, got[addr], answer)
			}
		}
	}
	if got := strings.TrimSpace(e.redis(name, "get", "owner").Stdout); got != name {
		return errorf("the db of %s answers %q", name, got)
	}
	return nil
}

// silence: what is dropped says nothing, as where nobody is; a refusal would
// tell that there is a network.
func (e *tenancy) silence(name, _ string, _, theirs place) error {
	for _, addr := range []string{theirs.web + ":8000", theirs.gateway + ":1"} {
		if r := e.tenants[name].TryJ("exec", "plain", "probe", "get", target(addr), "200ms"); !strings.Contains(r.Stderr, "i/o timeout") {
			return errorf("plain of %s asks %s: %+v, want no answer at all", name, addr, r)
		}
	}
	return nil
}

func (e *tenancy) pings(name, _ string, mine, theirs place) error {
	ping := "for a in " + strings.Join([]string{theirs.web, theirs.db, theirs.gateway, theirs.defaultGateway, "172.17.0.1", e.h.IP("web", "bridge"), mine.gateway}, " ") +
		"; do (ping -c 1 -W 1 $a >/dev/null && echo $a) & done; wait"
	if got := strings.TrimSpace(e.tenants[name].TryJ("exec", "web", "sh", "-c", ping).Stdout); got != mine.gateway {
		return errorf("web of %s pings %q, where only %s is its", name, got, mine.gateway)
	}
	return nil
}

func (e *tenancy) wayIn(name, _ string, mine, _ place) error {
	for addr, want := range map[string]string{
		"10.98.0.1:" + e.port[name]: "web 10.98.0.2", e.fip[name] + ":8000": "web 10.98.0.2", mine.web + ":8000": "",
	} {
		if got := strings.TrimSpace(e.outside.TrySh("probe get " + target(addr) + " " + soon).Stdout); got != want {
			return errorf("%s from outside: %q, want %q", addr, got, want)
		}
	}
	return nil
}

func (e *tenancy) lists(name, _ string, _, _ place) error {
	for line, want := range map[string]string{
		"network ls --format {{.Name}}": "bridge dev none", "volume ls -q": "data", "ps --filter volume=data --format {{.Names}}": "db",
	} {
		if got := strings.Fields(e.tenants[name].D(strings.Fields(line)...)); !slices.Equal(got, strings.Fields(want)) {
			return errorf("docker %s of %s: %q", line, name, got)
		}
	}
	return nil
}

// Two tenants call everything alike, and neither is in the other's world: not
// after the daemon was killed nor after the rules were flushed either.
func TestTenants(t *testing.T) {
	t.Parallel()
	e := newTenancy(t)
	h := e.h
	if err := e.whole(); err != nil {
		t.Fatal(err)
	}
	// The link: environment, hosts file, name.
	for name, own := range e.tenants {
		if got := own.J("exec", "web", "sh", "-c", "echo $DB_ENV_OWNER; grep -cw db /etc/hosts"); got != name+"\n1" {
			t.Errorf("link of %s: %q", name, got)
		}
	}
	// The administrator sees all, under names of their own.
	ps := h.D("ps", "--format", "{{.Names}}")
	for _, want := range []string{"web@acme", "web@umbrella", "db@acme", "plain@umbrella"} {
		if !strings.Contains(ps, want) {
			t.Errorf("ps of the administrator lacks %s: %s", want, ps)
		}
	}
	if got := h.J("network", "ls", "--format", "{{.Name}}"); !strings.Contains(got, "dev@acme") || !strings.Contains(got, "bridge@umbrella") {
		t.Errorf("networks of the administrator: %s", got)
	}
	if got := h.J("exec", "web@acme", "hostname"); got != h.As("acme").J("exec", "web", "hostname") {
		t.Errorf("the administrator's exec in web@acme: %q", got)
	}
	if got := h.J("inspect", "-f", "{{.Name}}", "web"); got != "/web" {
		t.Errorf("the administrator's own web is %q", got)
	}
	if got := h.J("events", "--since", "1", "--until", fmt.Sprint(time.Now().Unix()), "--filter", "container=web@acme"); !strings.Contains(got, "tenant=acme") || strings.Contains(got, "tenant=umbrella") {
		t.Errorf("events: %s", got)
	}
	// The host answers ARP for its own address there, and for no other.
	acme := e.tenants["acme"]
	own := acme.J("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "dev")
	theirs := e.tenants["umbrella"].J("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "dev")
	if r := acme.TryJ("exec", "web", "arping", "-c", "1", "-w", "1", "-I", "eth0", own); r.Code != 0 {
		t.Errorf("ARP for its own gateway: %+v", r)
	}
	if r := acme.TryJ("exec", "web", "arping", "-c", "1", "-w", "1", "-I", "eth0", theirs); r.Code == 0 {
		t.Errorf("ARP for another's gateway: %+v", r)
	}
	for _, harm := range []func(){
		func() { h.Sh("nft flush ruleset") },
		func() { h.KillDaemon(); h.StartDaemon() },
	} {
		harm()
		h.Eventually(5*time.Second, e.whole)
	}
	// A tenant is not removed while it has something, and then with all it has.
	h.Fails(1, []string{"tenant acme has ", " containers, 1 floating IP, 1 network, 1 volume", "-f"}, "tenant", "rm", "acme")
	if got := strings.TrimSpace(e.redis("acme", "get", "owner").Stdout); got != "acme" {
		t.Errorf("after a refused removal: %q", got)
	}
	h.J("tenant", "rm", "-f", "acme")
	if _, err := os.Stat(acme.Socket()); !os.IsNotExist(err) {
		t.Errorf("the socket of a removed tenant: %v", err)
	}
	for _, line := range []string{"jackstay ps -a", "jackstay network ls", "jackstay volume ls", "jackstay fip ls", "jackstay tenant ls", "ls " + h.Root() + "/volumes " + h.Run() + "/tenants"} {
		if got := h.Sh(line); strings.Contains(got, "acme") {
			t.Errorf("%s still shows the removed tenant: %s", line, got)
		}
	}
	if got := e.outside.TrySh("probe get tcp:10.98.0.1:8081 " + soon).Stdout; got != "" {
		t.Errorf("a removed tenant's port answers %q", got)
	}
	if got := strings.TrimSpace(e.redis("umbrella", "get", "owner").Stdout); got != "umbrella" {
		t.Errorf("the other's db after the removal: %q", got)
	}
	h.J("tenant", "rm", "-f", "umbrella")
	if got := h.J("ps", "--format", "{{.Names}}"); got != "web" {
		t.Errorf("left: %q", got)
	}
	h.Eventually(2*time.Second, func() error {
		if got := h.Sh("for s in tenants gateways4 own_gateways4 tenant_nets4; do nft list set inet jackstay $s; done"); strings.Contains(got, "elements") {
			return errorf("elements left: %s", got)
		}
		return nil
	})
}

// What reaches the host or others is refused by name; what is a tenant's own to
// decide is not.
func TestTenantRefusals(t *testing.T) {
	t.Parallel()
	h, _, _ := fipTown(t)
	h.J("tenant", "create", "--fip-quota", "1", "acme")
	h.J("tenant", "create", "umbrella")
	acme, umbrella := h.As("acme"), h.As("umbrella")
	const administrators = "is not open to tenants"
	for _, c := range []struct {
		want string
		args []string
	}{
		{"--privileged " + administrators, []string{"--privileged"}},
		{"--network host " + administrators, []string{"--network", "host"}},
		{"--pid host " + administrators, []string{"--pid", "host"}},
		{"--ipc host " + administrators, []string{"--ipc", "host"}},
		{"--uts host " + administrators, []string{"--uts", "host"}},
		{"--cgroupns host " + administrators, []string{"--cgroupns", "host"}},
		{"--cgroup-parent " + administrators, []string{"--cgroup-parent", "/x"}},
		{"a bind mount " + administrators, []string{"-v", "/etc:/host"}},
		{"a bind mount " + administrators, []string{"--mount", "type=bind,src=/etc,dst=/host"}},
		{"--device " + administrators, []string{"--device", "/dev/null"}},
		{"--cap-add " + administrators, []string{"--cap-add", "SYS_ADMIN"}},
		{"--cap-add " + administrators, []string{"--cap-add", "ALL"}},
		{"that --security-opt " + administrators, []string{"--security-opt", "seccomp=unconfined"}},
		{"unmasking /proc " + administrators, []string{"--security-opt", "systempaths=unconfined"}},
		{"--oom-score-adj < 0 " + administrators, []string{"--oom-score-adj", "-500"}},
		{"host address 172.17.0.1 is not available", []string{"-p", "172.17.0.1:80:80"}},
	} {
		acme.Fails(125, []string{c.want}, append(append([]string{"run", "--rm"}, c.args...), "busybox", "true")...)
		if got := acme.J("ps", "-aq"); got != "" {
			t.Fatalf("left behind %v: %s", c.args, got)
		}
	}
	acme.J("run", "--rm", "--cap-add", "CHOWN", "--security-opt", "no-new-privileges", "--tmpfs", "/t", "-v", "data:/data", "--sysctl", "net.ipv4.ip_forward=1", "--network", "none", "busybox", "true")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"GET /tenants " + administrators, []string{"tenant", "ls"}},
		{"POST /tenants " + administrators, []string{"tenant", "create", "x"}},
		{"DELETE /tenants/{name} " + administrators, []string{"tenant", "rm", "-f", "umbrella"}},
		{"GET /fips/pools " + administrators, []string{"fip", "pool", "ls"}},
		{"POST /fips/pools " + administrators, []string{"fip", "pool", "add", "10.99.0.0/24", "--dev", "lo"}},
		{"option com.docker.network.bridge.name " + administrators, []string{"network", "create", "-o", "com.docker.network.bridge.name=jackstay0", "x"}},
		{"subnet 198.51.100.0/24 " + administrators, []string{"network", "create", "--subnet", "198.51.100.0/24", "x"}},
		{"subnet 172.17.128.0/24 is not available", []string{"network", "create", "--subnet", "172.17.128.0/24", "x"}},
		{"10.98.0.0/24", []string{"network", "create", "--subnet", "10.98.0.0/24", "x"}},
		{"host address 172.17.0.1 is not available", []string{"network", "create", "-o", "com.docker.network.bridge.host_binding_ipv4=172.17.0.1", "x"}},
		{"a volume on a path of the host (--opt device) " + administrators, []string{"volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", "device=/etc", "vol"}},
		{"giving an image another name " + administrators, []string{"tag", "busybox", "nginx"}},
		{"POST /images/load " + administrators, []string{"load", "-i", "/dev/null"}},
	} {
		acme.Fails(1, []string{c.want}, c.args...)
	}
	acme.J("run", "-d", "--name", "web", "-v", "data:/data", "busybox", "sleep", "1000")
	acme.Fails(1, []string{"exec --privileged " + administrators}, "exec", "--privileged", "web", "true")

	acme.Fails(1, []string{"a NIC on a bridge or device of the host (lo, which is no network) " + administrators}, "nic", "add", "web", "--on", "lo")
	acme.Fails(1, []string{"--host-name and --direct " + administrators}, "nic", "add", "web", "--on", "bridge", "--host-name", "eth7")
	acme.Fails(1, []string{"tc, which reads files of the host, " + administrators}, "tc", "web", "qdisc", "show")
	acme.J("network", "create", "second")
	acme.J("nic", "add", "web", "--on", "second")
	if got := acme.J("nic", "ls", "web"); !strings.Contains(got, "second") {
		t.Errorf("NICs of one's own: %s", got)
	}

	// The quota; an image somebody else's container stands on.
	acme.J("fip", "allocate", "1")
	acme.Fails(1, []string{"the quota of 1 floating IPs is reached: release some, or ask the administrator for more"}, "fip", "allocate", "1")
	h.J("tenant", "update", "--fip-quota", "2", "acme")
	acme.J("fip", "allocate", "1")
	acme.Fails(125, []string{"the quota of 2 floating IPs is reached"}, "run", "--rm", "--fip", "auto", "busybox", "true")
	umbrella.J("fip", "allocate", "2")
	umbrella.J("run", "--rm", "--fip", "auto", "busybox", "true")
	if got := h.J("tenant", "ls"); !strings.Contains(got, "2 of 2") {
		t.Errorf("tenant ls: %s", got)
	}
	umbrella.Fails(1, []string{"conflict: unable to remove image busybox: it is in use"}, "rmi", "-f", "busybox")
	if r := umbrella.TryJ("rmi", "-f", "busybox"); strings.Contains(r.Stderr, "acme") {
		t.Errorf("rmi tells whose: %s", r.Stderr)
	}
	if got := umbrella.J("images", "-q"); got == "" {
		t.Error("images are shared, and there are none")
	}
	// What belongs to different tenants is not brought together, not by the administrator either.
	h.J("network", "create", "mine")
	h.Fails(1, []string{"they belong to different tenants"}, "network", "connect", "mine", "web@acme")
	h.Fails(125, []string{"they belong to different tenants"}, "run", "--rm", "--network", "bridge@acme", "busybox", "true")
	h.Fails(1, []string{"they belong to different tenants"}, "fip", "attach", h.J("fip", "allocate", "1"), "web@acme")
	h.Fails(125, []string{"the volumes of container web@acme belong to tenant acme"}, "run", "--rm", "--volumes-from", "web@acme", "busybox", "true")
	// Prune leaves what is others'.
	acme.J("stop", "-t", "0", "web")
	h.J("system", "prune", "-f", "--volumes")
	if got := acme.J("ps", "-aq"); got == "" {
		t.Error("the administrator's prune took a tenant's container")
	}
	// Bad names and groups.
	h.Fails(1, []string{"there is a tenant acme already"}, "tenant", "create", "acme")
	for _, name := range []string{"Acme", "a@b", "a.b", "-x", strings.Repeat("a", 33)} {
		h.Fails(1, []string{"invalid tenant name"}, "tenant", "create", "--", name)
	}
	h.Fails(1, []string{"there is no group nosuchgroup on this host"}, "tenant", "create", "--group", "nosuchgroup", "late")
	h.Fails(1, []string{"there is no group nosuchgroup on this host"}, "tenant", "update", "--group", "nosuchgroup", "acme")
	h.Fails(1, []string{"invalid quota of floating IPs -2"}, "tenant", "create", "--fip-quota", "-2", "late")
	h.Fails(1, []string{"no such tenant: late"}, "tenant", "inspect", "late")
	h.Fails(1, []string{"no such tenant: late"}, "tenant", "rm", "late")
	if got := h.J("tenant", "ls", "-q"); got != "acme\numbrella" {
		t.Errorf("tenants: %q", got)
	}
	// The socket is its group's alone, through restarts.
	h.J("tenant", "update", "--group", "12345", "acme")
	for range 2 {
		if got := h.Sh("stat -c '%a %u %g' " + acme.Socket()); got != "660 0 12345" {
			t.Errorf("socket: %s", got)
		}
		h.KillDaemon()
		h.StartDaemon()
	}
	if got := h.J("tenant", "inspect", "-f", "{{.Group}} {{.FIPs}} {{.Containers}}", "acme"); got != "12345 2 1" {
		t.Errorf("inspect: %q", got)
	}
}

// A client certificate's organisation is the tenant, over TLS; one without is
// the administrator's, and one that names nobody gets nothing.
func TestTenantCertificates(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("tenant", "create", "acme")
	h.J("tenant", "create", "umbrella")
	h.Sh("cd " + h.Dir + ` && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca-key.pem -out ca.pem 2>/dev/null
sign() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout $1-key.pem -out $1.csr 2>/dev/null
printf "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n" >$1.ext
openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile $1.ext -out $1.pem 2>/dev/null; }
sign server /CN=server; sign root /CN=root; sign acme /O=acme/CN=alice; sign umbrella /O=umbrella/CN=bob; sign nobody /O=nobody/CN=eve; sign two /O=acme/O=umbrella/CN=mallory
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=root -keyout stranger-key.pem -out stranger.pem 2>/dev/null`)
	h.KillDaemon()
	h.StartDaemon("-H", "unix://"+h.Socket(), "-H", "tcp://127.0.0.1:2376",
		"--tlscacert", h.Dir+"/ca.pem", "--tlscert", h.Dir+"/server.pem", "--tlskey", h.Dir+"/server-key.pem")
	docker := func(who string, args ...string) host.Result {
		return h.Try(nil, "docker", append([]string{"-H", "tcp://127.0.0.1:2376", "--tlsverify", "--tlscacert", h.Dir + "/ca.pem",
			"--tlscert", h.Dir + "/" + who + ".pem", "--tlskey", h.Dir + "/" + who + "-key.pem"}, args...)...)
	}
	for _, who := range []string{"root", "acme", "umbrella"} {
		if r := docker(who, "run", "-d", "--name", "web", "busybox", "sleep", "1000"); r.Code != 0 {
			t.Fatalf("%s: %+v", who, r)
		}
		if r := docker(who, "exec", "web", "echo", "hello"); r.Stdout != "hello\n" { // takes the connection over
			t.Errorf("exec of %s: %+v", who, r)
		}
	}
	for who, want := range map[string]string{"acme": "web\n", "umbrella": "web\n"} {
		if r := docker(who, "ps", "--format", "{{.Names}}"); r.Stdout != want {
			t.Errorf("ps of %s: %+v", who, r)
		}
		if got := h.As(who).D("ps", "-q", "--no-trunc"); docker(who, "ps", "-q", "--no-trunc").Stdout != got+"\n" {
			t.Errorf("socket and certificate of %s show different containers", who)
		}
	}
	if r := docker("root", "ps", "--format", "{{.Names}}"); !strings.Contains(r.Stdout, "web@acme") || !strings.Contains(r.Stdout, "web@umbrella") {
		t.Errorf("ps of the administrator: %+v", r)
	}
	for who, want := range map[string]string{
		"nobody": "is no tenant of this daemon", "two": "is no tenant of this daemon", "stranger": "certificate",
	} {
		if r := docker(who, "ps"); r.Code == 0 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: %+v", who, r)
		}
	}
	if r := h.TrySh("curl -sk https://127.0.0.1:2376/info"); r.Code == 0 {
		t.Errorf("without a certificate: %+v", r)
	}
	// A removed tenant's certificate is nobody's.
	h.J("tenant", "rm", "-f", "umbrella")
	if r := docker("umbrella", "ps"); r.Code == 0 || !strings.Contains(r.Stderr, "is no tenant of this daemon") {
		t.Errorf("a removed tenant: %+v", r)
	}
}
