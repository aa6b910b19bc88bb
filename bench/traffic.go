package main

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"time"
)

// pair is a server in one container and how a client reaches it: from another
// container's namespace, or from the host through a published port.
type pair struct {
	e          *engine
	server     string // the server container's process
	client     string // the client container's; empty: the host
	addr, port string
}

func (e *engine) pair(published bool) (*pair, error) {
	p := &pair{e: e, addr: hostAddress, port: "5300"}
	_, err := e.run("run", "-d", "--name", "server", "--network", e.network, "-p", "5300:5300", "bench", "/bin/sleep", "100000")
	if err != nil {
		return nil, err
	}
	if p.server, err = e.pid("server"); err != nil || published {
		return p, err
	}
	if err = e.sleepers(e.network, "client"); err != nil {
		return nil, err
	}
	if p.client, err = e.pid("client"); err != nil {
		return nil, err
	}
	p.addr, err = e.address("server")
	return p, err
}

// loopback is the same within the host.
func (p *pair) loopback() *pair { return &pair{e: p.e, addr: "127.0.0.1", port: "5999"} }

func within(pid string, args []string) []string {
	if pid == "" {
		return args
	}
	return append([]string{"nsenter", "--net=/proc/" + pid + "/ns/net", "--"}, args...)
}

// serve leaves a server of the host's running in the server's namespace.
func (p *pair) serve(args ...string) error {
	args = within(p.server, args)
	_, err := p.e.box.start("server.log", args[0], args[1:]...)
	time.Sleep(300 * time.Millisecond)
	return err
}

// ask runs a client of the host's in the client's namespace.
func (p *pair) ask(args ...string) (string, error) {
	args = within(p.client, args)
	return p.e.box.run(args[0], args[1:]...)
}

// overLoopback gives what take measures between two ends, relative to loopback.
func overLoopback(e *engine, published bool, take func(*pair) (float64, error)) (float64, error) {
	defer e.remove("server", "client")
	p, err := e.pair(published)
	if err != nil {
		return 0, err
	}
	got, err := take(p)
	if err != nil {
		return 0, err
	}
	loopback, err := take(p.loopback())
	return got / loopback, err
}

// throughput compares bits per second of one TCP connection.
func throughput(e *engine, s scale, published bool) (float64, error) {
	return overLoopback(e, published, func(p *pair) (float64, error) {
		if err := p.serve("iperf3", "-s", "-1", "-p", p.port); err != nil {
			return 0, err
		}
		out, err := p.ask("iperf3", "-c", p.addr, "-p", p.port, "-t", strconv.Itoa(s.seconds), "-J")
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
	})
}

// roundTrip compares the time of one byte to and fro over TCP.
func roundTrip(e *engine, s scale, published bool) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	return overLoopback(e, published, func(p *pair) (float64, error) {
		if err := p.serve(self, "pong", p.port); err != nil {
			return 0, err
		}
		out, err := p.ask(self, "ping", p.addr+":"+p.port, strconv.Itoa(s.seconds))
		if err != nil {
			return 0, err
		}
		mean, _, _ := strings.Cut(out, " ")
		return strconv.ParseFloat(mean, 64)
	})
}
