package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// scale says how much is measured: everything is bounded by it.
type scale struct {
	runs    int // repetitions of a start
	many    int // containers for growth and memory
	ports   []int
	seconds int // of each throughput and query measurement
	restart int // containers over a daemon restart
}

// measure is one row: a name, a unit, what smaller or larger means, and how it is taken.
type measure struct {
	name, unit string
	better     string // less or more
	take       func(*engine, scale) (float64, error)
}

func measures() []measure {
	var all []measure
	for _, network := range []string{"bridge", "host", "none"} {
		all = append(all, measure{"run -d, " + network, "ms", "less", func(e *engine, s scale) (float64, error) { return runDetached(e, s, network) }})
	}
	all = append(all, measure{"network's share of run -d", "ms", "less", func(e *engine, s scale) (float64, error) {
		bridge, err := runDetached(e, s, "bridge")
		if err != nil {
			return 0, err
		}
		none, err := runDetached(e, s, "none")
		return bridge - none, err
	}})
	for _, network := range []string{"bridge", "host", "none"} {
		all = append(all, measure{"run --rm true, " + network, "ms", "less", func(e *engine, s scale) (float64, error) {
			return median(s.runs, func(int) (time.Duration, error) {
				return e.timed("run", "--rm", "--network", network, "bench", "/bin/true")
			})
		}})
	}
	for i := range 3 {
		all = append(all, measure{[]string{"-p, 1 port", "-p, 100 ports", "-p, 1,000 ports"}[i], "ms", "less", func(e *engine, s scale) (float64, error) {
			return publish(e, s, []int{1, 100, 1000}[i])
		}})
	}
	return append(all,
		measure{"last of many against the 1st", "×", "less", growth},
		measure{"memory per container, one port", "MB", "less", func(e *engine, _ scale) (float64, error) { return e.perContainer() }},
		measure{"DNS, one container asking", "1/s", "more", queries},
		measure{"throughput, same host / loopback", "×", "more", func(e *engine, s scale) (float64, error) { return throughput(e, s, false) }},
		measure{"throughput, published port / loopback", "×", "more", func(e *engine, s scale) (float64, error) { return throughput(e, s, true) }},
		measure{"round trip, same host / loopback", "×", "less", func(e *engine, s scale) (float64, error) { return roundTrip(e, s, false) }},
		measure{"round trip, published port / loopback", "×", "less", func(e *engine, s scale) (float64, error) { return roundTrip(e, s, true) }},
		measure{"daemon killed, until the API answers", "ms", "less", restart},
		measure{"pings lost meanwhile", "", "less", func(e *engine, _ scale) (float64, error) { return e.lost, e.lostErr }},
	)
}

// median takes n durations and gives the middle one in milliseconds.
func median(n int, take func(i int) (time.Duration, error)) (float64, error) {
	var all []time.Duration
	for i := range n {
		d, err := take(i)
		if err != nil {
			return 0, err
		}
		all = append(all, d)
	}
	slices.Sort(all)
	return float64(all[len(all)/2].Microseconds()) / 1000, nil
}

func runDetached(e *engine, s scale, network string) (float64, error) {
	var names []string
	defer func() { e.remove(names...) }()
	return median(s.runs, func(i int) (time.Duration, error) {
		name := fmt.Sprint("d", i)
		names = append(names, name)
		return e.timed("run", "-d", "--name", name, "--network", network, "bench", "/bin/sleep", "100000")
	})
}

func publish(e *engine, s scale, ports int) (float64, error) {
	if !slices.Contains(s.ports, ports) {
		return 0, errSkipped
	}
	runs := min(s.runs, 3)
	if e.name == "docker" && ports > 100 {
		runs = 1 // a minute each
	}
	return median(runs, func(int) (time.Duration, error) {
		defer e.remove("ports")
		return e.timed("run", "-d", "--name", "ports", "-p", fmt.Sprintf("20000-%d:20000-%d", 19999+ports, 19999+ports), "bench", "/bin/sleep", "100000")
	})
}

// growth starts many containers on one network, one port each, and compares
// the last starts with the first. It leaves the memory per container behind.
func growth(e *engine, s scale) (float64, error) {
	before := e.box.memory()
	var names []string
	var took []time.Duration
	defer func() { e.remove(names...) }()
	for i := range s.many {
		name := fmt.Sprint("m", i)
		names = append(names, name)
		d, err := e.timed("run", "-d", "--name", name, "--network", e.network, "-p", fmt.Sprint(20000+i, ":80"), "bench", "/bin/sleep", "100000")
		if err != nil {
			return 0, err
		}
		took = append(took, d)
	}
	time.Sleep(2 * time.Second)
	e.memoryPer = float64(e.box.memory()-before) / float64(s.many) / (1 << 20)
	middle := func(part []time.Duration) float64 {
		part = slices.Clone(part)
		slices.Sort(part)
		return float64(part[len(part)/2])
	}
	const window = 11
	return middle(took[len(took)-window:]) / middle(took[:window]), nil
}

func (e *engine) perContainer() (float64, error) {
	if e.memoryPer == 0 {
		return 0, errSkipped
	}
	return e.memoryPer, nil
}

func queries(e *engine, s scale) (float64, error) {
	defer e.remove("asked", "asking")
	e.must("run", "-d", "--name", "asked", "--network", e.network, "bench", "/bin/sleep", "100000")
	e.must("run", "-d", "--name", "asking", "--network", e.network, "bench", "/bin/sleep", "100000")
	resolv := e.must("exec", "asking", "/bin/busybox", "cat", "/etc/resolv.conf")
	var server string
	for line := range strings.Lines(resolv) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "nameserver" && server == "" {
			server = f[1]
		}
	}
	list := filepath.Join(e.box.dir, "queries")
	if err := os.WriteFile(list, []byte("asked A\n"), 0o644); err != nil {
		return 0, err
	}
	out, err := e.in(e.pid("asking"), "dnsperf", "-s", server, "-d", list, "-l", strconv.Itoa(s.seconds), "-c", "4", "-q", "200")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "Queries per second:"); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, fmt.Errorf("dnsperf printed no rate: %s", out)
}

// pair runs a server in one container and gives how to reach it: from another
// container's namespace, or from the host through a published port.
func (e *engine) pair(published bool) (serverPid int, client func(name string, args ...string) (string, error), addr, port string, done func()) {
	e.must("run", "-d", "--name", "server", "--network", e.network, "-p", "5300:5300", "bench", "/bin/sleep", "100000")
	e.must("run", "-d", "--name", "client", "--network", e.network, "bench", "/bin/sleep", "100000")
	done = func() { e.remove("server", "client") }
	if published {
		return e.pid("server"), e.box.run, hostAddress, "5300", done
	}
	pid := e.pid("client")
	return e.pid("server"), func(name string, args ...string) (string, error) { return e.in(pid, name, args...) }, e.address("server"), "5300", done
}

// iperf gives bits per second from client to server.
func iperf(e *engine, s scale, server func(args ...string) error, client func(name string, args ...string) (string, error), addr, port string) (float64, error) {
	if err := server("iperf3", "-s", "-1", "-p", port); err != nil {
		return 0, err
	}
	time.Sleep(300 * time.Millisecond)
	out, err := client("iperf3", "-c", addr, "-p", port, "-t", strconv.Itoa(s.seconds), "-J")
	if err != nil {
		return 0, err
	}
	var result struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	err = json.Unmarshal([]byte(out), &result)
	return result.End.Received.Rate, err
}

// overLoopback measures the same within the host.
func (e *engine) background(args ...string) error {
	_, err := e.box.start("server.log", args[0], args[1:]...)
	return err
}

func throughput(e *engine, s scale, published bool) (float64, error) {
	pid, client, addr, port, done := e.pair(published)
	defer done()
	got, err := iperf(e, s, func(args ...string) error {
		return e.background(append([]string{"nsenter", "--net=/proc/" + strconv.Itoa(pid) + "/ns/net", "--"}, args...)...)
	}, client, addr, port)
	if err != nil {
		return 0, err
	}
	loopback, err := iperf(e, s, e.background, e.box.run, "127.0.0.1", "5999")
	return got / loopback, err
}

func roundTrip(e *engine, s scale, published bool) (float64, error) {
	pid, client, addr, port, done := e.pair(published)
	defer done()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	trip := func(server func(args ...string) error, client func(string, ...string) (string, error), addr, port string) (float64, error) {
		if err := server(self, "pong", port); err != nil {
			return 0, err
		}
		time.Sleep(200 * time.Millisecond)
		out, err := client(self, "ping", addr+":"+port, strconv.Itoa(s.seconds))
		if err != nil {
			return 0, err
		}
		return strconv.ParseFloat(out, 64)
	}
	got, err := trip(func(args ...string) error {
		return e.background(append([]string{"nsenter", "--net=/proc/" + strconv.Itoa(pid) + "/ns/net", "--"}, args...)...)
	}, client, addr, port)
	if err != nil {
		return 0, err
	}
	loopback, err := trip(e.background, e.box.run, "127.0.0.1", "5998")
	return got / loopback, err
}

// restart kills the daemon under containers, starts it again, and gives the
// time until its API answers; a ping goes on meanwhile.
func restart(e *engine, s scale) (float64, error) {
	e.lost, e.lostErr = 0, errSkipped
	if e.daemon == nil {
		return 0, errSkipped
	}
	var names []string
	defer func() { e.remove(names...) }()
	for i := range s.restart {
		names = append(names, fmt.Sprint("r", i))
		e.must("run", "-d", "--name", names[i], "--network", e.network, "bench", "/bin/sleep", "100000")
	}
	ping, err := e.box.start("ping.log", "ping", "-i", "0.01", "-c", "300", "-q", e.address("r0"))
	if err != nil {
		return 0, err
	}
	time.Sleep(300 * time.Millisecond)
	start := time.Now()
	_ = e.process.Process.Kill()
	_ = e.process.Wait()
	if err := e.startDaemon(); err != nil {
		return 0, err
	}
	took := time.Since(start)
	_ = ping.Wait()
	out, _ := os.ReadFile(filepath.Join(e.box.dir, "ping.log"))
	var sent, received float64
	for line := range strings.Lines(string(out)) {
		if _, err := fmt.Sscanf(line, "%g packets transmitted, %g received", &sent, &received); err == nil {
			e.lost, e.lostErr = sent-received, nil
		}
	}
	return float64(took.Microseconds()) / 1000, nil
}
