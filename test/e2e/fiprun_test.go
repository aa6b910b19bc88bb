package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// A container is run with a floating IP: a new one, or one that is allocated.
func TestRunWithFIP(t *testing.T) {
	t.Parallel()
	h, outside, dev := fipTown(t)
	serve(h, "auto", "--fip", "auto")
	if got := h.J("fip", "ls", "-q"); got != "10.98.0.17" {
		t.Errorf("--fip auto allocated %q", got)
	}
	if got := askHost(outside, "10.98.0.17:8000"); got != "auto 10.98.0.2" {
		t.Errorf("at its floating IP: %q", got)
	}
	fip := h.J("fip", "allocate", "1")
	h.J("fip", "name", fip, "front")
	serve(h, "named", "--fip", "front")
	if got := askHost(outside, fip+":8000"); got != "named 10.98.0.2" {
		t.Errorf("at %s: %q", fip, got)
	}
	third := h.J("fip", "allocate", "1")
	h.J("create", "--name", "later", "--label", "com.jackstay.fip="+third, "busybox", "probe", "serve", "later", "tcp:8000")
	h.J("start", "later")
	outside.Eventually(5*time.Second, func() error {
		if got := askHost(outside, third+":8000"); got != "later 10.98.0.2" {
			return errorf("at %s: %q", third, got)
		}
		return nil
	})

	// Seen in ps and inspect; docker's own ps is as ever.
	lines := strings.Split(h.J("ps"), "\n")
	if head := lines[0]; !strings.HasSuffix(head, "NAMES     PUBLIC IP") {
		t.Errorf("ps: %q", head)
	}
	if got := h.J("ps", "--format", "{{.Names}}={{.PublicIP}}"); got != "later="+third+"\nnamed="+fip+"\nauto=10.98.0.17" {
		t.Errorf("ps --format: %q", got)
	}
	if got := h.J("ps", "-f", "name=named", "--format", "json"); !strings.Contains(got, `"PublicIP":"`+fip+`"`) || !strings.Contains(got, `"Image":"busybox"`) {
		t.Errorf("ps --format json: %s", got)
	}
	if got := h.J("container", "ls", "-l", "--format", `table {{.Names}}\t{{.Label "com.jackstay.fip"}}\t{{.PublicIP}}`); !strings.Contains(got, "PUBLIC IP") || !strings.Contains(got, third+"   "+third) {
		t.Errorf("container ls: %s", got)
	}
	if got := h.D("ps"); strings.Contains(got, "PUBLIC") {
		t.Errorf("docker ps: %s", got)
	}
	columns := []string{"ps", "-a", "--no-trunc", "-s", "--format", `{{.ID}} {{.Image}} {{.Command}} {{.State}} {{.Status}} {{.Ports}} {{.Names}} {{.Labels}} {{.Mounts}} {{.Networks}} {{.Size}} {{.LocalVolumes}}`}
	h.Eventually(5*time.Second, func() error { // a second may end between the two
		if mine, docker := h.J(columns...), h.D(columns...); mine != docker {
			return errorf("columns differ:\n%s\n%s", mine, docker)
		}
		return nil
	})
	if got := h.J("inspect", "-f", "{{json .NetworkSettings.FloatingIP}}", "named"); got != `{"Address":"`+fip+`","ExposeOnly":false,"Name":"front"}` && got != `{"Address":"`+fip+`","Name":"front","ExposeOnly":false}` {
		t.Errorf("inspect: %s", got)
	}

	// What fails leaves nothing: no container, no address.
	before := h.J("fip", "ls") + h.J("ps", "-aq")
	for _, c := range []struct{ line, want string }{
		{"--fip front", "floating IP " + fip + " is attached to container named: detach it first"},
		{"--fip 10.98.0.30", "no such floating IP: 10.98.0.30"},
		{"--fip nobody", "no such floating IP: nobody"},
		{"--fip=", "give auto, or the address or the name of a floating IP"},
		{"--fip auto --network host", "conflicting options: --fip and the network mode host"},
		{"--fip auto --network none", "conflicting options: --fip and the network mode none"},
		{"--fip auto --network container:named", "conflicting options: --fip and the network mode container:"},
		{"--expose-only", "--expose-only is about a floating IP: give one with --fip"},
		{"--fip auto --name named", "The container name \"/named\" is already in use"},
		{"--fip auto --network nowhere", "network nowhere not found"},
	} {
		h.Fails(125, []string{c.want}, append(append([]string{"run", "-d"}, strings.Fields(c.line)...), "busybox", "sleep", "1000")...)
	}
	h.J("fip", "allocate", "3")
	h.Fails(125, []string{"can't allocate 1 floating IPs: the pools have 0 free"}, "run", "-d", "--fip", "auto", "busybox", "true")
	if got := h.J("ps", "-aq"); !strings.HasSuffix(before, got) {
		t.Errorf("containers left: %s", got)
	}

	// One that was made for its container goes with it; others stay.
	h.J("rm", "-f", "auto", "named", "later")
	if got := h.J("fip", "ls", "-q"); strings.Contains(got, "10.98.0.17") || !strings.Contains(got, fip) || !strings.Contains(got, third) {
		t.Errorf("after rm: %q", got)
	}
	if got := h.Sh("ip -o addr show dev " + dev); strings.Contains(got, ":jk") {
		t.Errorf("left: %s", got)
	}
	h.J("run", "--rm", "--fip", "auto", "busybox", "true")
	h.Eventually(3*time.Second, func() error {
		if got := h.J("fip", "ls", "-q"); strings.Contains(got, "10.98.0.17") {
			return errorf("after --rm: %q", got)
		}
		return nil
	})
}

// With --expose-only a floating IP answers at the exposed ports alone.
func TestFIPExposeOnly(t *testing.T) {
	t.Parallel()
	h, outside, dev := fipTown(t)
	background(h, "probe serve host tcp:7000")
	serve(h, "other", "-p", "8090:8000")
	ports := func(addr string, open, shut []string) {
		t.Helper()
		for from, ask := range map[string]func(string) host.Result{
			"outside": func(at string) host.Result { return outside.TrySh("probe get " + target(at)) },
			"host":    func(at string) host.Result { return h.TrySh("probe get " + target(at)) },
			"other":   func(at string) host.Result { return h.TryJ("exec", "other", "probe", "get", target(at)) },
		} {
			for _, p := range open {
				if r := ask(p); !strings.HasPrefix(r.Stdout, "web ") {
					t.Errorf("from %s, %s: %+v", from, p, r)
				}
			}
			for _, p := range shut {
				if r := ask(p); r.Code == 0 || !strings.HasPrefix(p, "udp:") && !strings.Contains(r.Stderr, "refused") {
					t.Errorf("from %s, %s is not refused: %+v", from, p, r)
				}
			}
		}
	}
	h.J("run", "-d", "--name", "web", "--fip", "auto", "--expose-only", "--expose", "8000", "busybox", "probe", "serve", "web", "tcp:8000", "tcp:8001", "udp:8000")
	h.Eventually(5*time.Second, func() error {
		if got := askHost(h, h.IP("web", "bridge")+":8001"); got == "" {
			return errorf("web does not serve yet")
		}
		return nil
	})
	fip := h.J("fip", "ls", "-q")
	shut := []string{fip + ":8001", "udp:" + fip + ":8000", fip + ":7000", fip + ":8090"}
	ports(fip, []string{fip + ":8000"}, shut)
	background(outside, "probe serve outside tcp:8000")
	outside.Eventually(5*time.Second, func() error {
		if got := ask(h, "web", "10.98.0.2:8000"); got != "outside "+fip { // out: as ever
			return errorf("outgoing: %q", got)
		}
		return nil
	})
	// It survives, and follows what the container exposes.
	h.KillDaemon()
	h.Sh("nft flush ruleset; ip addr del " + fip + "/32 dev " + dev)
	h.StartDaemon()
	h.Eventually(3*time.Second, func() error {
		if r := outside.TrySh("probe get tcp:" + fip + ":8000"); r.Code != 0 {
			return errorf("after kill -9: %+v", r)
		}
		return nil
	})
	ports(fip, []string{fip + ":8000"}, shut)
	h.J("port", "add", "web", "9001:8001")
	ports(fip, []string{fip + ":8000", fip + ":8001"}, []string{fip + ":9001"})
	h.J("port", "rm", "web", "9001") // what it opened closes with it
	ports(fip, []string{fip + ":8000"}, shut)
	h.J("port", "add", "web", "9001:8001")
	if got := h.J("inspect", "-f", "{{.NetworkSettings.FloatingIP.ExposeOnly}}", "web"); got != "true" {
		t.Errorf("inspect: %s", got)
	}
	// Attached again without, every port answers; and with it a moment later, the connection ends.
	h.J("fip", "attach", fip, "web")
	ports(fip, []string{fip + ":8000", fip + ":8001", "udp:" + fip + ":8000"}, nil)
	h.J("exec", "-d", "web", "sh", "-c", "yes | nc -l -p 9000")
	// Started is not yet listening.
	background(outside, "for i in $(seq 40); do busybox nc "+fip+" 9000 >>"+outside.Dir+"/got; [ -s "+outside.Dir+"/got ] && break; sleep 0.1; done")
	outside.Eventually(5*time.Second, func() error {
		if outside.Sh("stat -c %s "+outside.Dir+"/got 2>/dev/null || echo 0") == "0" {
			return errorf("nothing is downloaded yet")
		}
		return nil
	})
	h.J("fip", "attach", "--expose-only", fip, "web")
	size := func() string { return outside.Sh("stat -c %s " + outside.Dir + "/got") }
	standsStill(outside, "the download through a closed port", size)
	ports(fip, []string{fip + ":8000", fip + ":8001"}, []string{"udp:" + fip + ":8000"})
}

// `docker fip` is the same command, found by docker(1) as its plugin.
func TestDockerFIPPlugin(t *testing.T) {
	t.Parallel()
	h, outside, _ := fipTown(t)
	plugins := filepath.Join(h.Dir, "docker", "cli-plugins")
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(h.Bin, "jackstay"), filepath.Join(plugins, "docker-fip")); err != nil {
		t.Fatal(err)
	}
	serve(h, "web")
	if got := h.D("fip", "allocate", "1"); got != "10.98.0.17" {
		t.Errorf("docker fip allocate: %q", got)
	}
	if got := h.D("fip", "attach", "10.98.0.17", "web"); got != "" {
		t.Errorf("docker fip attach: %q", got)
	}
	if got := askHost(outside, "10.98.0.17:8000"); got != "web 10.98.0.2" {
		t.Errorf("at the floating IP: %q", got)
	}
	if mine, docker := h.J("fip", "ls"), h.D("fip", "ls"); mine != docker {
		t.Errorf("docker fip ls: %q, jackstay fip ls: %q", docker, mine)
	}
	if got := h.D("fip", "pool", "ls", "-q"); got != "10.98.0.16/29" {
		t.Errorf("docker fip pool ls: %q", got)
	}
	if r := h.TrySh("docker fip release 10.98.0.17"); r.Code != 1 || !strings.Contains(r.Stderr, "10.98.0.17 is attached to container web: detach it first") {
		t.Errorf("docker fip release: %+v", r)
	}
	if r := h.TrySh("docker fip allocate"); r.Code != 1 || !strings.Contains(r.Stderr, "requires 1 argument") {
		t.Errorf("docker fip allocate without a number: %+v", r)
	}
	if got := h.D("--help"); !strings.Contains(got, "fip*") || !strings.Contains(got, "Manage Jackstay's floating IPs") {
		t.Errorf("docker --help does not name it: %s", got)
	}
	if got := h.D("fip", "detach", "web"); got != "10.98.0.17" {
		t.Errorf("docker fip detach: %q", got)
	}
	h.D("fip", "release", "10.98.0.17")
}
