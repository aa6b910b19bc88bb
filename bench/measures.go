package main

import (
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
	all = append(all, measure{"network's share of run -d", "ms", "less", networkShare})
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
		measure{"memory per container, engine", "MB", "less", func(e *engine, _ scale) (float64, error) { return measured(e.memoryPer) }},
		measure{"memory per container, machine", "MB", "less", func(e *engine, _ scale) (float64, error) { return measured(e.machinePer) }},
		measure{"DNS, one container asking", "1/s", "more", queries},
		measure{"throughput, same host / loopback", "×", "more", func(e *engine, s scale) (float64, error) { return throughput(e, s, false) }},
		measure{"throughput, published port / loopback", "×", "more", func(e *engine, s scale) (float64, error) { return throughput(e, s, true) }},
		measure{"round trip, same host / loopback", "×", "less", func(e *engine, s scale) (float64, error) { return roundTrip(e, s, false) }},
		measure{"round trip, published port / loopback", "×", "less", func(e *engine, s scale) (float64, error) { return roundTrip(e, s, true) }},
		measure{"daemon killed, until the API answers", "ms", "less", restart},
		measure{"pings lost meanwhile", "", "less", func(e *engine, _ scale) (float64, error) { return e.lostPings() }},
		measure{"longest pause of a connection meanwhile", "ms", "less", func(e *engine, _ scale) (float64, error) { return e.longestPause() }},
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

// sleepers runs containers that do nothing.
func (e *engine) sleepers(network string, names ...string) error {
	for _, name := range names {
		if _, err := e.run("run", "-d", "--name", name, "--network", network, "bench", "/bin/sleep", "100000"); err != nil {
			return err
		}
	}
	return nil
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

// networkShare starts with and without a network in turns, so that the
// machine's other load meets both, and gives the median of the differences.
func networkShare(e *engine, s scale) (float64, error) {
	var names []string
	defer func() { e.remove(names...) }()
	return median(2*s.runs, func(i int) (time.Duration, error) {
		var took [2]time.Duration
		for j := range took {
			which := (i + j) % 2 // the first of a pair is sometimes the slower one
			name := fmt.Sprint("s", i, "-", which)
			names = append(names, name)
			var err error
			took[which], err = e.timed("run", "-d", "--name", name, "--network", []string{"none", "bridge"}[which], "bench", "/bin/sleep", "100000")
			if err != nil {
				return 0, err
			}
		}
		return took[1] - took[0], nil
	})
}

func publish(e *engine, s scale, ports int) (float64, error) {
	if !slices.Contains(s.ports, ports) {
		return 0, errSkipped
	}
	runs := min(s.runs, 7)
	if e.name == "docker" && ports >= 100 {
		runs = 1 // seconds to a minute each
	}
	forward := "20000:20000"
	if ports > 1 {
		forward = fmt.Sprintf("20000-%d:20000-%d", 19999+ports, 19999+ports)
	}
	return median(runs, func(int) (time.Duration, error) {
		defer e.remove("ports")
		return e.timed("run", "-d", "--name", "ports", "-p", forward, "bench", "/bin/sleep", "100000")
	})
}

// growth starts many containers on one network, one port each, and compares
// the last start with the first. It leaves the memory per container behind.
func growth(e *engine, s scale) (float64, error) {
	before, beforeAll := e.box.memory(), usedMemory()
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
	e.machinePer = float64(usedMemory()-beforeAll) / float64(s.many) / (1 << 20)
	return trend(took), nil
}

// trend gives the last of a series relative to the first, on the line that
// half of all pairs rise above and half stay below (Theil and Sen): a moment of
// other load on the machine does not bend it.
func trend(took []time.Duration) float64 {
	var slopes, offsets []float64
	for i := range took {
		for j := range i {
			slopes = append(slopes, float64(took[i]-took[j])/float64(i-j))
		}
	}
	slope := middle(slopes)
	for i, t := range took {
		offsets = append(offsets, float64(t)-slope*float64(i))
	}
	first := middle(offsets)
	return (first + slope*float64(len(took)-1)) / first
}

func middle(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// measured gives what growth left behind.
func measured(value float64) (float64, error) {
	if value == 0 {
		return 0, errSkipped
	}
	return value, nil
}

func queries(e *engine, s scale) (float64, error) {
	defer e.remove("asked", "asking")
	if err := e.sleepers(e.network, "asked", "asking"); err != nil {
		return 0, err
	}
	resolv, err := e.run("exec", "asking", "/bin/busybox", "cat", "/etc/resolv.conf")
	if err != nil {
		return 0, err
	}
	pid, err := e.pid("asking")
	if err != nil {
		return 0, err
	}
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
	out, err := e.in(pid, "dnsperf", "-s", server, "-d", list, "-l", strconv.Itoa(s.seconds), "-c", "4", "-q", "200")
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
