package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// hall is a host with published, neighbouring and separated containers, and
// another machine beside it.
type hall struct {
	h, outside *host.Host
	web, apart string // addresses
}

func newHall(t *testing.T) *hall {
	w := &hall{h: host.New(t), outside: host.Bare(t)}
	host.Join(w.h, w.outside, "10.98.0.1/24", "10.98.0.2/24")
	w.outside.Sh("ip route add 172.16.0.0/12 via 10.98.0.1")
	w.h.J("network", "create", "other")
	serve(w.h, "web", "-p", "8080:8000")
	w.h.J("run", "-d", "--name", "beside", "busybox", "sleep", "1000")
	serve(w.h, "apart", "--network", "other")
	w.web, w.apart = w.h.IP("web", "bridge"), w.h.IP("apart", "other")
	return w
}

// soon is how long an answer may take where one comes in a few milliseconds or never.
const soon = "500ms"

// whole asks everything at once, and says what is not as it should be.
func (w *hall) whole() error {
	checks := []struct {
		what string
		got  func() string
		want string
	}{
		{"published, from outside", func() string { return w.outside.TrySh("probe get tcp:10.98.0.1:8080 " + soon).Stdout }, "web 10.98.0.2"},
		{"published, from the host", func() string { return w.h.TrySh("probe get tcp:127.0.0.1:8080 " + soon).Stdout }, "web 172.17.0.1"},
		{"a neighbour on the network", func() string { return w.inside("web:8000") }, "web"},
		{"another network's container", func() string { return w.inside(w.apart + ":8000") }, ""},
		{"a container directly from outside", func() string {
			return w.outside.TrySh("probe get tcp:" + w.web + ":8000 " + soon).Stdout
		}, ""},
	}
	errs := make([]error, len(checks))
	var all sync.WaitGroup
	for i, c := range checks {
		all.Go(func() {
			if got := strings.TrimSpace(c.got()); got != c.want {
				errs[i] = errorf("%s: %q, want %q", c.what, got, c.want)
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *hall) inside(addr string) string {
	name, _, _ := strings.Cut(w.h.TryJ("exec", "beside", "probe", "get", "tcp:"+addr, soon).Stdout, " ")
	return name
}

// Whatever somebody does to the firewall and the bridges, it is as it was
// within a second: what was reached is, and what was not is not.
func TestHealsByItself(t *testing.T) {
	t.Parallel()
	w := newHall(t)
	if err := w.whole(); err != nil {
		t.Fatal(err)
	}
	veth := w.h.Sh(`ip -o link | grep -o 'jv[0-9a-f]*' | head -1`)
	for _, harm := range []string{
		"nft flush ruleset",
		"nft delete table inet jackstay",
		"nft flush chain inet jackstay $(nft list table inet jackstay | awk '/chain/{c=$2}/hook forward/{print c}')",
		"nft flush set inet jackstay bridges",
		"nft flush map inet jackstay publishany4",
		"ip link del jackstay0",
		"ip link set jackstay0 down",
		"ip addr flush dev jackstay0",
		"ip link del " + veth,
		"sysctl -qw net.ipv4.ip_forward=0",
		"sysctl -qw net.ipv4.conf.jackstay0.forwarding=0",
	} {
		if r := w.h.TrySh(harm); r.Code != 0 {
			t.Errorf("%s: %s", harm, r.Stderr)
			continue
		}
		start := time.Now()
		w.h.Eventually(time.Second, func() error {
			if got := strings.TrimSpace(w.outside.TrySh("probe get tcp:10.98.0.1:8080 100ms").Stdout); got != "web 10.98.0.2" {
				return errorf("after %q: %q", harm, got)
			}
			return nil
		})
		t.Logf("%s: reached again after %v", harm, time.Since(start).Round(time.Millisecond))
		// What is reached through a damaged table says nothing of what it should refuse.
		w.h.Eventually(time.Until(start.Add(2*time.Second)), func() error {
			if err := w.whole(); err != nil {
				return errorf("after %q: %w", harm, err)
			}
			return nil
		})
	}
	if log := w.h.Log(); strings.Contains(log, "panic") {
		t.Errorf("the daemon panicked:\n%s", log)
	}
}

// load is a ping series and downloads that go on until stop.
type load struct {
	t     *testing.T
	w     *hall
	pings *process
	loads map[string]*process
	began time.Time
}

// startLoad pings web from its neighbour a hundred times a second, and downloads
// through the published port and between two containers.
func startLoad(t *testing.T, w *hall) *load {
	t.Helper()
	l := &load{t: t, w: w, loads: map[string]*process{}, began: time.Now()}
	if w.h.TryJ("inspect", "source").Code != 0 {
		w.h.J("run", "-d", "--name", "source", "-p", "9090:9090", "busybox", "probe", "source", "9090")
		w.h.Eventually(5*time.Second, func() error {
			if got := w.h.TrySh("timeout 0.2 probe drain 127.0.0.1:9090").Stdout; got == "" {
				return errorf("the source does not listen")
			}
			return nil
		})
	}
	ns := "nsenter --net=" + w.h.Run() + "/netns/" + w.h.J("inspect", "-f", "{{.Id}}", "beside") + " -- "
	l.pings = start(w.h, ns+"ping -n -D -i 0.01 -W 1 "+w.web)
	l.loads["through the published port"] = start(w.outside, "probe drain 10.98.0.1:9090")
	l.loads["between containers"] = start(w.h, ns+"probe drain "+w.h.IP("source", "bridge")+":9090")
	time.Sleep(300 * time.Millisecond)
	return l
}

var sequence = regexp.MustCompile(`icmp_seq=(\d+)`)

// end stops the load and gives the longest silences: of the ping series in lost
// echoes, 10 ms each, and of each download in time.
func (l *load) end() (lost int, gaps map[string]time.Duration) {
	l.t.Helper()
	time.Sleep(300 * time.Millisecond)
	last := 0
	for _, m := range sequence.FindAllStringSubmatch(l.pings.stop(), -1) {
		n, _ := strconv.Atoi(m[1])
		lost += max(0, n-last-1)
		last = n
	}
	if last < 30 {
		l.t.Errorf("only %d pings answered: nothing was tested", last)
	}
	gaps = map[string]time.Duration{}
	for what, p := range l.loads {
		out := p.stop()
		var mb int
		var gap string
		line := out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]
		if _, err := fmt.Sscanf(line, "%d MB, longest gap %s", &mb, &gap); err != nil || mb == 0 {
			l.t.Errorf("the download %s broke: %q", what, out)
			continue
		}
		gaps[what], _ = time.ParseDuration(gap)
	}
	return lost, gaps
}

// Under load, too, it is back within a second: a ping series goes on, and
// downloads continue on the connections they began on.
func TestHealsUnderLoad(t *testing.T) {
	t.Parallel()
	w := newHall(t)
	for _, harm := range []string{"nft flush ruleset", "ip link del jackstay0"} {
		l := startLoad(t, w)
		// While there are no rules, packets of the download leave with the
		// container's own address. A machine that has a route to it would end
		// the connection (RST); as everywhere, the other machine has none.
		w.outside.Sh("ip route del 172.16.0.0/12")
		w.h.Sh(harm)
		began := time.Now()
		w.h.Eventually(time.Second, func() error {
			if got := w.inside("web:8000"); got != "web" {
				return errorf("after %q: %q", harm, got)
			}
			return nil
		})
		t.Logf("%s under load: reached again after %v", harm, time.Since(began).Round(time.Millisecond))
		w.outside.Sh("ip route add 172.16.0.0/12 via 10.98.0.1") // now it tries to get in
		if err := w.whole(); err != nil {
			t.Errorf("after %q under load: %v", harm, err)
		}
		lost, gaps := l.end()
		t.Logf("%s under load: %d pings lost of 100 a second; longest gaps of the downloads: %v", harm, lost, gaps)
		if lost > 100 {
			t.Errorf("after %q: %d pings lost, more than a second's", harm, lost)
		}
		for what, gap := range gaps {
			if gap > time.Second {
				t.Errorf("after %q: the download %s stood still for %v", harm, what, gap)
			}
		}
	}
}

// Neither a restart nor a kill of the daemon costs a packet.
func TestRestartLosesNoPacket(t *testing.T) {
	t.Parallel()
	w := newHall(t)
	for what, end := range map[string]func(){"restart": w.h.StopDaemon, "kill -9": w.h.KillDaemon} {
		quiet := false
		for turn := 0; turn < 3 && !quiet; turn++ {
			l := startLoad(t, w)
			for range 3 {
				end()
				time.Sleep(100 * time.Millisecond)
				w.h.StartDaemon()
				time.Sleep(200 * time.Millisecond)
			}
			lost, gaps := l.end()
			t.Logf("%s, three times: %d pings lost; longest gaps of the downloads: %v", what, lost, gaps)
			if lost > 0 {
				t.Errorf("%s: %d pings lost", what, lost)
			}
			// A lost packet costs a retransmission, 200 ms at least. A busy machine
			// may stand still as long, but not each time.
			quiet = true
			for _, gap := range gaps {
				quiet = quiet && gap <= 150*time.Millisecond
			}
		}
		if !quiet {
			t.Errorf("%s: a download stood still in each of three turns", what)
		}
	}
}
