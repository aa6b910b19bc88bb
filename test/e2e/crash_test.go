package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// kills is how often the daemon is killed; CRASH_KILLS=200 for the long run.
func kills() int {
	if n, err := strconv.Atoi(os.Getenv("CRASH_KILLS")); err == nil {
		return n
	}
	return 60
}

// The daemon is killed at random moments while containers are created,
// started, connected, published and removed. Afterwards nothing is leaked, and
// everything the API confirmed is there.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "dev")
	clean := settled(h)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)

	stop := make(chan struct{})
	var all sync.WaitGroup
	workers := make([]*crashWorker, 4)
	for i := range workers {
		workers[i] = &crashWorker{h: h, n: i, rng: rand.New(rand.NewPCG(seed, uint64(i)+1)), containers: map[string]*crashed{}}
		all.Go(func() { workers[i].run(stop) })
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	for range kills() {
		time.Sleep(time.Duration(rng.IntN(250)) * time.Millisecond)
		h.KillDaemon()
		h.StartDaemon()
	}
	close(stop)
	all.Wait()
	h.KillDaemon() // the last operations too may have been cut off
	h.StartDaemon()

	running := checkConfirmed(h, workers)
	checkHeld(h, running)

	ids := strings.Fields(h.J("ps", "-aq", "--no-trunc"))
	if len(ids) > 0 {
		h.J(append([]string{"rm", "-f"}, ids...)...)
	}
	h.Eventually(5*time.Second, func() error { return sameTrace(clean, trace(h)) })
	for _, w := range workers {
		for _, c := range w.containers {
			ids = append(ids, c.id)
		}
	}
	checkCgroups(h, ids)
	if free := h.TrySh("probe bind tcp:10000-13999"); free.Code != 0 {
		t.Errorf("published ports are still taken:\n%s", free.Stdout)
	}
	// The network's addresses are all free again: a sandbox more than its pool holds is not.
	if got := h.J("network", "inspect", "-f", "{{len .Containers}}", "dev"); got != "0" {
		t.Errorf("dev still has %s containers", got)
	}
	h.J("run", "-d", "--name", "next", "--network", "dev", "busybox", "sleep", "1000")
	if got, want := h.IP("next", "dev"), first(h, "dev"); got != want {
		t.Errorf("the next container got %s, want the first address %s", got, want)
	}
	h.J("rm", "-f", "next")
	h.J("network", "rm", "dev")
	h.Eventually(2*time.Second, func() error { // the bridge goes a moment after the answer
		if left := h.TrySh("ip -o link | grep ' jk-'").Stdout; left != "" {
			return errorf("left of the network: %s", left)
		}
		return nil
	})
}

// first gives the first address of a network after its gateway.
func first(h *host.Host, network string) string {
	h.T.Helper()
	gateway := h.J("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", network)
	return strings.TrimSuffix(gateway, ".1") + ".2"
}

// crashed is what the API said of one container.
type crashed struct {
	id        string
	port      int
	want      string // running, created, gone; "" when an operation on it was cut off
	connected string // yes, no; "" when that was cut off
}

// crashWorker makes and removes containers and remembers what was confirmed.
type crashWorker struct {
	h          *host.Host
	n          int
	rng        *rand.Rand
	containers map[string]*crashed
	done, cut  int // operations that were confirmed, and that were not
}

func (w *crashWorker) run(stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		name := fmt.Sprintf("w%d-%d", w.n, n)
		c := &crashed{port: 10000 + 1000*w.n + n%1000}
		w.containers[name] = c
		w.make(name, c)
		if w.rng.IntN(2) == 0 {
			c.connected = ""
			if w.try("network", "connect", "dev", name) {
				c.connected = "yes"
			}
		}
		if w.rng.IntN(5) > 0 {
			c.want = ""
			if w.try("rm", "-f", name) {
				c.want = "gone"
			}
		}
	}
}

// make runs a container, or creates and perhaps starts it.
func (w *crashWorker) make(name string, c *crashed) {
	args := []string{"--name", name, "-p", fmt.Sprint(c.port, ":8000"), "busybox", "probe", "serve", name, "tcp:8000"}
	c.connected = "no"
	if w.rng.IntN(2) == 0 {
		if r := w.h.TryJ(append([]string{"run", "-d"}, args...)...); w.count(r) {
			c.want, c.id = "running", strings.TrimSpace(r.Stdout)
		}
		return
	}
	r := w.h.TryJ(append([]string{"create"}, args...)...)
	if !w.count(r) {
		return
	}
	c.want, c.id = "created", strings.TrimSpace(r.Stdout)
	if w.rng.IntN(4) > 0 {
		c.want = ""
		if w.try("start", name) {
			c.want = "running"
		}
	}
}

func (w *crashWorker) try(args ...string) bool { return w.count(w.h.TryJ(args...)) }

func (w *crashWorker) count(r host.Result) bool {
	if r.Code != 0 {
		w.cut++
		return false
	}
	w.done++
	return true
}

// checkConfirmed compares what is there with what was confirmed, and gives the
// names of the containers that run, with the number of their networks.
func checkConfirmed(h *host.Host, workers []*crashWorker) map[string]int {
	t := h.T
	t.Helper()
	there, running := map[string]string{}, map[string]int{}
	for _, line := range strings.Split(h.J("ps", "-a", "--format", "{{.Names}} {{.State}} {{.Networks}}"), "\n") {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		there[f[0]] = f[1]
		if f[1] == "running" {
			running[f[0]] = strings.Count(f[2], ",") + 1
		}
	}
	done, cut := 0, 0
	for _, w := range workers {
		done, cut = done+w.done, cut+w.cut
		for name, c := range w.containers {
			if c.want == "" {
				continue
			}
			if got := there[name]; c.want != got && !(c.want == "gone" && got == "") {
				t.Errorf("%s was confirmed as %s and is %q", name, c.want, got)
				continue
			}
			if c.want != "running" {
				continue
			}
			if got := askHost(h, fmt.Sprint("127.0.0.1:", c.port)); !strings.HasPrefix(got, name+" ") {
				t.Errorf("%s answers %q on its port %d", name, got, c.port)
			}
			if c.connected == "yes" && running[name] != 2 || c.connected == "no" && running[name] != 1 {
				t.Errorf("%s is on %d networks, connected to a second: %s", name, running[name], c.connected)
			}
		}
	}
	t.Logf("%d kills, %d operations confirmed, %d cut off; %d containers, %d running", kills(), done, cut, len(there), len(running))
	if done < kills() {
		t.Errorf("only %d operations went through between %d kills: nothing was tested", done, kills())
	}
	return running
}

// checkHeld wants exactly what the running containers need on the host.
func checkHeld(h *host.Host, running map[string]int) {
	h.T.Helper()
	endpoints := 0
	for _, n := range running {
		endpoints += n
	}
	for _, c := range []struct {
		what, line string
		want       int
	}{
		{"namespaces", "ls " + h.Run() + "/netns | wc -l", len(running)},
		{"interfaces", "ip -o link | grep -c '^[0-9]*: jv' || true", endpoints},
		{"bundles", "ls " + h.Run() + "/containers | wc -l", len(running)},
		{"the OCI runtime's states", "ls " + h.Run() + "/runc | wc -l", len(running)},
		{"exit files", "ls " + h.Root() + "/exits | wc -l", 0},
		{"layers mounted", "grep -c '" + h.Root() + ".*merged' /proc/self/mountinfo || true", len(running)},
		{"conmon processes", fmt.Sprintf("pgrep -fc '^(/usr/bin/)?conmon .*%s' || true", h.Run()), len(running)},
	} {
		h.Eventually(5*time.Second, func() error {
			if got := strings.TrimSpace(h.TrySh(c.line).Stdout); got != fmt.Sprint(c.want) {
				return errorf("%s: %s, want %d", c.what, got, c.want)
			}
			return nil
		})
	}
}

// checkCgroups fails if a removed container left a control group.
func checkCgroups(h *host.Host, ids []string) {
	h.T.Helper()
	for _, dir := range strings.Fields(h.TrySh("ls -d /sys/fs/cgroup/jackstay/* /sys/fs/cgroup/*/jackstay/* 2>/dev/null").Stdout) {
		for _, id := range ids {
			if id != "" && strings.Contains(dir, id) {
				h.T.Errorf("left: %s", dir)
			}
		}
	}
}

// trace is everything the daemon has on the host: two equal ones mean that
// nothing was left in between.
func trace(h *host.Host) map[string][]string {
	h.T.Helper()
	lines := func(line string) []string { return strings.Split(strings.TrimSpace(h.TrySh(line).Stdout), "\n") }
	return map[string][]string{
		"links":     lines(`ip -o link | sed 's/^[0-9]*: \([^ ]*\).*/\1/'`),
		"addresses": lines(`ip -o -4 addr | awk '{print $2, $4}'`),
		"rules":     lines("nft list ruleset"),
		"mounts":    lines(`cut -d' ' -f5 /proc/self/mountinfo | grep '^` + h.Dir + `'`),
		"processes": lines(fmt.Sprintf("pgrep -fa '^(/usr/bin/)?conmon .*%s'", h.Run())),
		"run files": lines("cd " + h.Run() + " && find containers runc exec netns storage -mindepth 1 ! -name '*.lock' | sort"),
		"files":     lines("cd " + h.Root() + " && ls -d containers/* exits/* volumes/* storage/overlay/* storage/overlay/l/* storage/overlay-containers/* | sort"),
	}
}

// settled is the trace of a host once it has everything that stays after its
// first container.
func settled(h *host.Host) map[string][]string {
	h.T.Helper()
	h.J("run", "--rm", "-p", "9999:8000", "busybox", "true")
	h.Eventually(5*time.Second, func() error {
		if left := h.TrySh("ls " + h.Run() + "/netns; ip -o link | grep ' jv'").Stdout; left != "" {
			return errorf("the first container left %s", left)
		}
		return nil
	})
	return trace(h)
}

// sameTrace says what is more or less in the second.
func sameTrace(before, after map[string][]string) error {
	var diff []string
	for kind, was := range before {
		for _, line := range after[kind] {
			if !slices.Contains(was, line) {
				diff = append(diff, kind+" left: "+line)
			}
		}
		for _, line := range was {
			if !slices.Contains(after[kind], line) {
				diff = append(diff, kind+" lost: "+line)
			}
		}
	}
	if len(diff) > 0 {
		return errorf("%s", strings.Join(diff, "\n"))
	}
	return nil
}
