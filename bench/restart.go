package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// outage is what running traffic saw of a daemon's restart.
type outage struct{ pings, pause seen }

// seen is one number of it, or why there is none.
type seen struct {
	value float64
	err   error
}

// lostPings gives how many pings were never answered.
func (e *engine) lostPings() (float64, error) {
	if e.outage == nil {
		return 0, errSkipped
	}
	return e.outage.pings.value, e.outage.pings.err
}

// longestPause gives the longest round trip of an open connection, in ms.
func (e *engine) longestPause() (float64, error) {
	if e.outage == nil {
		return 0, errSkipped
	}
	return e.outage.pause.value, e.outage.pause.err
}

// restart kills the daemon under containers, starts it again, and gives the
// time from the new one's start until its API answers. A ping and a connection
// through a published port go on meanwhile.
func restart(e *engine, s scale) (float64, error) {
	e.outage = nil
	if e.daemon == nil {
		return 0, errSkipped
	}
	names := []string{"server"}
	defer func() { e.remove(names...) }()
	p, err := e.pair(true)
	if err != nil {
		return 0, err
	}
	for i := range s.restart - 1 {
		names = append(names, fmt.Sprint("r", i))
		if err := e.sleepers(e.network, names[len(names)-1]); err != nil {
			return 0, err
		}
	}
	watched, err := e.watch(p)
	if err != nil {
		return 0, err
	}
	time.Sleep(300 * time.Millisecond)
	if err := kill(e.process, syscall.SIGKILL); err != nil {
		return 0, err
	}
	_ = e.process.Wait()
	start := time.Now()
	err = e.startDaemon()
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	e.outage = watched()
	return float64(took.Microseconds()) / 1000, nil
}

// watch starts traffic for some seconds; the function it gives waits for its
// end and says how it went.
func (e *engine) watch(p *pair) (func() *outage, error) {
	const seconds = "4"
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address, err := e.address("server")
	if err != nil {
		return nil, err
	}
	if err := p.serve(self, "pong", p.port); err != nil {
		return nil, err
	}
	ping, err := e.box.start("ping.log", "ping", "-i", "0.01", "-w", seconds, "-q", address)
	if err != nil {
		return nil, err
	}
	type answer struct {
		out string
		err error
	}
	trips := make(chan seen, 1)
	go func() { trips <- longestTrip(p.ask(self, "ping", p.addr+":"+p.port, seconds)) }()
	return func() *outage {
		_ = ping.Wait() // it fails when an answer is missing: counted here
		return &outage{pings: unanswered(filepath.Join(e.box.dir, "ping.log")), pause: <-trips}
	}, nil
}

// unanswered reads ping's summary.
func unanswered(log string) seen {
	said, err := os.ReadFile(log)
	if err != nil {
		return seen{err: err}
	}
	var sent, received float64
	for line := range strings.Lines(string(said)) {
		if _, err := fmt.Sscanf(line, "%g packets transmitted, %g received", &sent, &received); err == nil {
			return seen{value: sent - received}
		}
	}
	return seen{err: fmt.Errorf("ping said nothing: %s", said)}
}

// longestTrip reads what our own ping prints.
func longestTrip(out string, err error) seen {
	if err != nil {
		return seen{err: fmt.Errorf("the connection broke: %w", err)}
	}
	var mean, longest float64
	_, err = fmt.Sscanf(out, "%g %g", &mean, &longest)
	return seen{value: longest, err: err}
}
