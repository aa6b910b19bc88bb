package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// reboot does to the host what a reboot does: no process, no namespace, no
// link, no rule and no run directory is left; what is on disk is.
func reboot(h *host.Host) {
	h.T.Helper()
	h.KillDaemon()
	h.EndProcesses()
	h.Sh(`for m in $(grep -o '` + h.Dir + `/[^ ]*' /proc/self/mountinfo | sort -ru); do umount -l $m 2>/dev/null; done
		for l in $(ip -o link | grep -o 'j[vki]-*[0-9a-f]\{12\}\|jackstay0' | sort -u); do ip link del $l 2>/dev/null; done
		nft flush ruleset; conntrack -F 2>/dev/null; rm -rf ` + h.Run())
}

// After a reboot everything is as before: what its policy starts runs, with its
// address, its ports and its links; the rest is there, ended.
func TestReboot(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "dev")
	serve(h, "plain")
	serve(h, "db", "--network", "dev", "--restart", "always", "-p", "5432:8000", "-p", "8000", "-v", "data:/data",
		"--net-rate-in", "100mbit", "--net-rate-out", "dev=50mbit")
	h.J("exec", "db", "sh", "-c", "echo kept > /data/file; echo kept > /file")
	h.J("run", "-d", "--name", "web", "--network", "dev", "--link", "db:store", "--restart", "unless-stopped", "busybox", "sleep", "100000")
	h.J("run", "-d", "--name", "stopped", "--restart", "unless-stopped", "busybox", "sleep", "100000")
	h.J("stop", "-t", "0", "stopped")
	h.J("run", "-d", "--rm", "--name", "gone", "busybox", "sleep", "100000")
	h.J("create", "--name", "new", "busybox", "true")
	say := func() string {
		return h.J("inspect", "-f", "{{.Name}} {{.State.Status}} {{json .NetworkSettings.Ports}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}} {{json .NetworkSettings.Rates}}", "db", "web") +
			h.TrySh("tc qdisc show | grep -o 'tbf.* rate [^ ]*'").Stdout
	}
	before := say()
	reboot(h)
	h.StartDaemon()
	h.Eventually(5*time.Second, func() error {
		if got := say(); got != before {
			return errorf("%s\nbefore:\n%s", got, before)
		}
		return nil
	})
	for name, want := range map[string]string{"plain": "exited 255", "stopped": "exited 137", "new": "created 0"} {
		if got := h.J("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	h.Eventually(5*time.Second, func() error {
		if got := h.J("ps", "-a", "--filter", "name=gone", "-q"); got != "" {
			return errorf("a container of --rm is there: %s", got)
		}
		if got := get(h, "web", "store:8000"); got != "db" {
			return errorf("through the link: %q", got)
		}
		if got := askHost(h, "127.0.0.1:5432"); !strings.HasPrefix(got, "db") {
			return errorf("through the published port: %q", got)
		}
		return nil
	})
	if got := h.J("exec", "db", "cat", "/data/file", "/file"); got != "kept\nkept" {
		t.Errorf("files: %q", got)
	}
	h.J("start", "plain", "stopped")
	if got := get(h, "stopped", "plain:8000"); got != "plain" {
		t.Errorf("started again: %q", got)
	}
}

// limited is a host whose root directory is a file system of this size.
func limited(t *testing.T, size string) *host.Host {
	h := host.Bare(t)
	h.Sh("mkdir -p " + h.Root() + " && mount -t tmpfs -o size=" + size + " tmpfs " + h.Root())
	h.StartDaemon()
	h.Import("busybox", host.BusyboxTar(t), `CMD ["sh"]`, "ENV PATH=/bin")
	return h
}

// A full disk refuses what needs it, says so, changes nothing, and is forgotten
// once there is space. What needs none goes on.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	h := limited(t, "64m")
	serve(h, "web", "-p", "8080:8000")
	h.J("run", "-d", "--name", "ends", "busybox", "sleep", "100000")
	before := trace(h)
	h.J("run", "-d", "--name", "stops", "--restart", "unless-stopped", "busybox", "sh", "-c", "trap exit TERM; sleep 100000 & wait")
	h.J("run", "-d", "--name", "goes", "busybox", "sleep", "100000")
	list := func() string {
		return h.J("ps", "-a", "--format", "{{.Names}} {{.State}}") + h.J("network", "ls", "--format", "{{.Name}}") + h.J("images", "-aq")
	}
	had := list()
	fill := func() { h.TrySh("dd if=/dev/zero of=" + h.Root() + "/filler bs=4k 2>/dev/null") }
	fill()
	h.Fails(125, []string{"no space left on device"}, "run", "--name", "more", "busybox", "sleep", "1000")
	if got := strings.TrimSpace(h.TryJ("inspect", "-f", "{{.State.Status}}", "more").Stdout); got != "" && got != "created" { // docker run leaves what could not be started
		t.Errorf("what could not be run is %s", got)
	}
	h.TryJ("rm", "more")
	h.Fails(1, []string{"no space left on device"}, "import", host.BusyboxTar(t), "more")
	// The state file has free pages left at first.
	refused := false
	for i := range 100 {
		name := fmt.Sprint("more", i)
		r := h.TryJ("network", "create", "--label", "filler="+strings.Repeat("x", 4000), name)
		if r.Code != 0 {
			refused = true
			if !strings.Contains(r.Stderr, "no space left on device") || !strings.Contains(r.Stderr, "nothing was changed") {
				t.Errorf("a network on a full disk: %s", r.Stderr)
			}
			break
		}
		had = strings.Replace(had, "\nnone", "\n"+name+"\nnone", 1)
	}
	if !refused {
		t.Error("a hundred networks were made on a full disk")
	}
	if got := list(); len(got) != len(had) {
		t.Errorf("on a full disk there is\n%s\nwhere there was\n%s", got, had)
	}
	// What runs goes on, what ends is seen to.
	if got := askHost(h, "127.0.0.1:8080"); !strings.HasPrefix(got, "web") {
		t.Errorf("a running container answers %q", got)
	}
	// What is to end does, though there is no room to note that it was asked for.
	fill()
	h.J("kill", "ends")
	h.J("stop", "stops")
	h.J("rm", "-f", "goes")
	ended := func() error {
		if got := h.J("ps", "-a", "--format", "{{.Names}} {{.State}}"); got != "stops exited\nends exited\nweb running" {
			return errorf("after kill, stop and rm there are\n%s", got)
		}
		return nil
	}
	if err := ended(); err != nil {
		t.Error(err)
	}
	h.Sh("rm " + h.Root() + "/filler")
	// The state file has it as soon as it has anything, and so the next daemon.
	h.Eventually(5*time.Second, func() error {
		if r := h.TryJ("network", "create", "room"); r.Code != 0 {
			return errorf("there is room, and yet: %s", r.Stderr)
		}
		return nil
	})
	h.KillDaemon()
	h.StartDaemon()
	h.Eventually(5*time.Second, ended)
	h.J("network", "prune", "-f")
	h.J("rm", "stops")
	h.J("start", "ends")
	h.Eventually(5*time.Second, func() error {
		after := trace(h)
		return sameTrace(map[string][]string{"mounts": before["mounts"], "files": before["files"], "run files": before["run files"]}, after)
	})
	h.J("run", "--rm", "busybox", "true")
}

// The run directory vanishes: containers go on, and the daemon, started again,
// says what it lost instead of leaving it behind.
func TestRunDirectoryRemoved(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("run", "-d", "--name", "web", "busybox", "sleep", "100000")
	h.Sh("umount -R " + h.Run() + "/netns; rm -rf " + h.Run() + " 2>/dev/null; true")
	h.KillDaemon()
	h.StartDaemon()
	h.J("rm", "-f", "web")
	h.J("run", "--rm", "busybox", "true")
}

// Programs the daemon needs are asked for by name and package.
func TestProgramsMissing(t *testing.T) {
	t.Parallel()
	h := host.Bare(t)
	for _, c := range []struct{ program, pkg string }{{"runc", "runc"}, {"conmon", "conmon"}, {"nft", "nftables"}} {
		path := h.Dir + "/without-" + c.program
		h.Sh("mkdir " + path + " && ln -s /usr/sbin/* /usr/bin/* " + path + "/ 2>/dev/null; rm " + path + "/" + c.program)
		r := h.TrySh("PATH=" + path + " timeout 10 " + h.Bin + "/jackstayd --root " + h.Root() + " --run-dir " + h.Run())
		if r.Code != 1 || !strings.Contains(r.Stderr, c.program) || !strings.Contains(r.Stderr, "package "+c.pkg) {
			t.Errorf("without %s: code %d, %s", c.program, r.Code, r.Stderr)
		}
	}
}

func TestCorruptedArchive(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Sh("cd " + h.Dir + " && jackstay save -o whole.tar busybox && head -c 700000 whole.tar > cut.tar && (head -c 300000 whole.tar; head -c 4096 /dev/urandom; tail -c +304097 whole.tar) > changed.tar && echo nonsense > text.tar")
	before := trace(h)["files"]
	h.J("load", "-i", h.Dir+"/whole.tar") // it is there already: nothing happens
	h.J("rmi", "busybox")                 // so that nothing needed is there already
	for _, name := range []string{"cut.tar", "changed.tar", "text.tar"} {
		if r := h.TryJ("load", "-i", h.Dir+"/"+name); r.Code == 0 {
			t.Errorf("loaded %s: %s", name, r.Stdout)
		} else if strings.Contains(r.Stderr, "panic") || strings.TrimSpace(r.Stderr) == "" {
			t.Errorf("%s: %s", name, r.Stderr)
		}
	}
	if got := h.J("images", "-aq"); got != "" {
		t.Errorf("images: %s", got)
	}
	if left := h.TrySh("ls " + h.Root() + "/storage/overlay | grep -v '^l$'").Stdout; strings.Count(left, "\n") > 1 { // staging is the store's own
		t.Errorf("layers: %s", left)
	}
	h.J("load", "-i", h.Dir+"/whole.tar")
	h.J("run", "--rm", "busybox", "true")
	if got := len(trace(h)["files"]); got != len(before) {
		t.Errorf("%d files after it was loaded again, %d before", got, len(before))
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	serve(h, "web", "-p", "8080:8000")
	for _, dirs := range []string{"--root " + h.Root() + " --run-dir " + h.Run(), "--root " + h.Dir + "/b --run-dir " + h.Run(), "--root " + h.Root() + " --run-dir " + h.Dir + "/b"} {
		r := h.TrySh("timeout 10 jackstayd " + dirs)
		if r.Code != 1 || !strings.Contains(r.Stderr, "another") {
			t.Errorf("%s: code %d, %s", dirs, r.Code, r.Stderr)
		}
	}
	if got := askHost(h, "127.0.0.1:8080"); !strings.HasPrefix(got, "web") {
		t.Errorf("after the others: %q", got)
	}
	h.J("ps")
}

// A bridge of somebody else's with our name is left alone, and the containers
// that need it are refused with its name; once it is gone they start.
func TestForeignBridgeInTheWay(t *testing.T) {
	t.Parallel()
	h := host.Bare(t)
	h.Sh("ip link add jackstay0 type bridge && ip link set jackstay0 alias somebody && ip addr add 10.9.9.1/24 dev jackstay0")
	h.StartDaemon()
	h.Import("busybox", host.BusyboxTar(t), `CMD ["sh"]`, "ENV PATH=/bin")
	h.Fails(125, []string{"jackstay0", "not Jackstay's"}, "run", "--rm", "busybox", "true")
	h.J("run", "--rm", "--network", "none", "busybox", "true")
	h.J("network", "create", "other")
	h.J("run", "--rm", "--network", "other", "busybox", "true")
	if got := h.Sh("ip -o -4 addr show dev jackstay0"); !strings.Contains(got, "10.9.9.1/24") || strings.Contains(got, "172.") {
		t.Errorf("the foreign bridge was changed: %s", got)
	}
	h.Sh("ip link del jackstay0")
	h.Eventually(15*time.Second, func() error {
		if r := h.TryJ("run", "--rm", "busybox", "true"); r.Code != 0 {
			return errorf("after it is gone: %s", r.Stderr)
		}
		return nil
	})
}

// A port that another program takes while the container is stopped.
func TestPortTakenBetweenStopAndStart(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	serve(h, "web", "-p", "8080:8000", "-p", "8000")
	random := h.J("port", "web", "8000/tcp")
	h.J("stop", "-t", "0", "web")
	other := start(h, "probe serve other tcp:8080")
	h.Eventually(2*time.Second, func() error {
		if got := askHost(h, "127.0.0.1:8080"); !strings.HasPrefix(got, "other") {
			return errorf("%q", got)
		}
		return nil
	})
	h.Fails(1, []string{"8080", "address already in use"}, "start", "web")
	if got := h.J("inspect", "-f", "{{.State.Status}}", "web"); got != "exited" {
		t.Errorf("after a refused start: %s", got)
	}
	if got := askHost(h, "127.0.0.1:8080"); !strings.HasPrefix(got, "other") {
		t.Errorf("the other program answers %q", got)
	}
	h.Eventually(5*time.Second, func() error {
		if left := h.TrySh("ls " + h.Run() + "/netns; ip -o link | grep ' jv'").Stdout; left != "" {
			return errorf("left of the refused start: %s", left)
		}
		return nil
	})
	other.stop()
	h.J("start", "web")
	if got := h.J("port", "web", "8000/tcp"); got != random {
		t.Errorf("ports: %q, were %q", got, random)
	}
	h.Eventually(5*time.Second, func() error {
		if got := askHost(h, "127.0.0.1:8080"); !strings.HasPrefix(got, "web") {
			return errorf("%q", got)
		}
		return nil
	})
}

// together runs n calls at once and gives their results.
func together(n int, call func(i int) host.Result) []host.Result {
	out := make([]host.Result, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { out[i] = call(i) })
	}
	all.Wait()
	return out
}

// A hundred want one network's name: one gets it.
func TestHundredNetworksOfOneName(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	made := 0
	for _, r := range together(100, func(int) host.Result { return h.TryJ("network", "create", "same") }) {
		if r.Code == 0 {
			made++
		} else if !strings.Contains(r.Stderr, "network with name same already exists") {
			t.Errorf("refused with %s", r.Stderr)
		}
	}
	if made != 1 {
		t.Errorf("%d of 100 succeeded", made)
	}
	h.J("network", "rm", "same")
	h.Eventually(2*time.Second, func() error {
		if left := h.TrySh("ip -o link | grep ' jk-'").Stdout; left != "" {
			return errorf("left: %s", left)
		}
		return nil
	})
}

// A network is removed while containers start on it: each start has succeeded,
// or said that the network is not there; the network goes in the end.
func TestNetworkRemovedWhileContainersStart(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	clean := settled(h)
	for range 3 {
		h.J("network", "create", "brief")
		removed := 0
		rs := together(12, func(i int) host.Result {
			if i%4 == 3 {
				time.Sleep(time.Duration(i*20) * time.Millisecond)
				return h.TryJ("network", "rm", "brief")
			}
			return h.TryJ("run", "-d", "--name", fmt.Sprint("c", i), "--network", "brief", "busybox", "sleep", "1000")
		})
		for i, r := range rs {
			switch {
			case i%4 == 3 && r.Code == 0:
				removed++
			case i%4 == 3 && !strings.Contains(r.Stderr, "active endpoints") && !strings.Contains(r.Stderr, "not found"):
				t.Errorf("removing: %s", r.Stderr)
			case i%4 != 3 && r.Code == 0 && h.J("inspect", "-f", "{{.State.Status}}", fmt.Sprint("c", i)) != "running":
				t.Errorf("c%d was confirmed and does not run", i)
			case i%4 != 3 && r.Code != 0 && !strings.Contains(r.Stderr, "not found"):
				t.Errorf("c%d: %s", i, r.Stderr)
			}
		}
		if left := strings.Fields(h.J("ps", "-aq")); len(left) > 0 { // the network may have gone before all of them
			h.J(append([]string{"rm", "-f"}, left...)...)
		}
		if removed == 0 {
			h.J("network", "rm", "brief")
		}
	}
	h.Eventually(5*time.Second, func() error { return sameTrace(clean, trace(h)) })
}

// SIGTERM while twenty start: what was confirmed runs, what was refused is
// not half there, and the daemon ends in good time.
func TestStoppedDuringTwentyStarts(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	done := make(chan []host.Result)
	go func() {
		done <- together(20, func(i int) host.Result {
			return h.TryJ("run", "-d", "--name", fmt.Sprint("c", i), "-p", fmt.Sprint(9000+i, ":8000"), "busybox", "probe", "serve", fmt.Sprint("c", i), "tcp:8000")
		})
	}()
	time.Sleep(400 * time.Millisecond)
	began := time.Now()
	h.StopDaemon()
	took := time.Since(began)
	rs := <-done
	h.StartDaemon()
	running := map[string]int{}
	for _, name := range strings.Fields(h.J("ps", "--format", "{{.Names}}")) {
		running[name] = 1
	}
	confirmed := 0
	for i, r := range rs {
		if r.Code != 0 {
			continue
		}
		confirmed++
		if got := askHost(h, fmt.Sprint("127.0.0.1:", 9000+i)); running[fmt.Sprint("c", i)] == 0 || !strings.HasPrefix(got, fmt.Sprint("c", i, " ")) {
			t.Errorf("c%d was confirmed and answers %q", i, got)
		}
	}
	t.Logf("%d of 20 confirmed, the daemon took %v to stop", confirmed, took.Round(time.Millisecond))
	checkHeld(h, running)
}

func TestStubbornAndGreedyContainers(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("run", "-d", "--name", "deaf", "busybox", "sh", "-c", `trap "" TERM; echo deaf; while true; do sleep 0.1; done`)
	h.Eventually(5*time.Second, func() error {
		if h.J("logs", "deaf") != "deaf" {
			return errorf("it still hears")
		}
		return nil
	})
	began := time.Now()
	h.J("stop", "-t", "1", "deaf")
	if took := time.Since(began); took < time.Second {
		t.Errorf("a container that ignores SIGTERM had %v of a second to stop", took)
	}
	if got := h.J("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}", "deaf"); got != "exited 137 false" {
		t.Errorf("it is %s", got)
	}
	r := h.TryJ("run", "--name", "greedy", "--memory", "20m", "busybox", "sh", "-c", "tail /dev/zero")
	if got := h.J("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}", "greedy"); got != "exited 137 true" {
		t.Errorf("out of memory: %s (run gave %d: %s)", got, r.Code, r.Stderr)
	}
	// An exec ends with its container.
	h.J("run", "-d", "--name", "brief", "busybox", "sleep", "1000")
	rs := together(2, func(i int) host.Result {
		if i == 0 {
			return h.TryJ("exec", "brief", "sleep", "1000")
		}
		time.Sleep(500 * time.Millisecond)
		return h.TryJ("kill", "brief")
	})
	if rs[0].Code != 137 { // and not its 1000 seconds later
		t.Errorf("exec in a container that was killed: code %d, %s", rs[0].Code, rs[0].Stderr)
	}
	h.Fails(1, []string{"is not running"}, "exec", "brief", "true")
}

// Who reads the log slowly holds up nobody.
func TestSlowReaderOfTheLog(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("run", "-d", "--name", "flood", "busybox", "sh", "-c", `i=0; while [ $i -lt 200000 ]; do echo "line $i of a log that nobody reads in time"; i=$((i+1)); done; touch /done; sleep 1000`)
	reader := start(h, "sh -c 'jackstay logs -f flood | (read first; sleep 1000)'")
	h.Eventually(20*time.Second, func() error {
		if r := h.TryJ("exec", "flood", "ls", "/done"); r.Code != 0 {
			return errorf("the container stands still with %s bytes of log", h.TrySh("cat "+h.Root()+"/containers/*/container.log | wc -c").Stdout)
		}
		return nil
	})
	h.J("ps")
	reader.stop()
	h.Eventually(5*time.Second, func() error {
		if got := h.J("logs", "--tail", "1", "flood"); got != "line 199999 of a log that nobody reads in time" {
			return errorf("the last line is %q", got)
		}
		return nil
	})
	if log, err := os.ReadFile(h.LogPath()); err != nil || strings.Contains(string(log), "panic") {
		t.Errorf("the daemon's log: %v", err)
	}
}

// Pools that are used up are said so, and give again what is freed.
func TestPoolsUsedUp(t *testing.T) {
	t.Parallel()
	h := host.New(t, "--default-address-pool", "base=10.200.0.0/24,size=26")
	for i := range 4 {
		h.J("network", "create", fmt.Sprint("n", i))
	}
	before := h.J("network", "ls", "-q")
	h.Fails(1, []string{"could not find an available, non-overlapping IPv4 address pool"}, "network", "create", "more")
	if got := h.J("network", "ls", "-q"); got != before {
		t.Errorf("networks after a refused one:\n%s\nbefore:\n%s", got, before)
	}
	h.J("network", "rm", "n2")
	h.J("network", "create", "more")
	if got := h.J("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "more"); got != "10.200.0.128/26" {
		t.Errorf("the freed subnet was not given again: %s", got)
	}
}
