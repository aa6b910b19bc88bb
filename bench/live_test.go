package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/kernel/netns"
	"github.com/jackstay/jackstay/test/host"
)

// These measure what is changed on running containers. They need root and `make build`:
//
//	go test -tags … -run '^$' -bench Live -benchtime 1x ./bench
const (
	liveMany    = 1000 // objects of a kind that are there at the last measurement
	liveRunning = 100  // containers that run beside
	liveTries   = 15   // measurements of each kind, at the first and at the last
)

// daemon asks jackstayd.
type daemon struct {
	b    *testing.B
	http *http.Client
}

func newDaemon(b *testing.B, h *host.Host) daemon {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", h.Socket())
	}
	return daemon{b, &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

func (d daemon) ask(method, path string, body any, out any) {
	d.b.Helper()
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			d.b.Fatal(err)
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(d.b.Context(), method, "http://d"+path, in)
	if err != nil {
		d.b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.http.Do(req)
	if err != nil {
		d.b.Fatal(err)
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 400 {
		d.b.Fatalf("%s %s: %s", method, path, data)
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			d.b.Fatal(err)
		}
	}
}

// effect is how long a change took: the call, and from its return until it was seen.
type effect struct{ call, seen time.Duration }

// take makes a change, then looks for its effect until it is there: until the
// first packet that found it was back, or, of one that is gone, was sent.
func take(b *testing.B, change func(), seen func() bool, want bool) effect {
	b.Helper()
	began := time.Now()
	change()
	returned := time.Now()
	for sent := returned; ; sent = time.Now() {
		if seen() == want {
			if want {
				sent = time.Now()
			}
			return effect{returned.Sub(began), sent.Sub(returned)}
		}
		if time.Since(returned) > 5*time.Second {
			b.Fatal("no effect within 5 s")
		}
	}
}

func report(b *testing.B, what string, all []effect) {
	slices.SortFunc(all, func(x, y effect) int { return int(x.call - y.call) })
	call := all[len(all)/2].call
	slices.SortFunc(all, func(x, y effect) int { return int(x.seen - y.seen) })
	b.Logf("%-34s call %6.2f ms (median), effect %5.2f ms after its return (median), %5.2f ms (longest)", what, ms(call), ms(all[len(all)/2].seen), ms(all[len(all)-1].seen))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// reaches tells whether a TCP connection comes about at once, in the host's network.
func reaches(h *host.Host, addr string) bool {
	ok := false
	h.Inside(func() error {
		c, err := net.DialTimeout("tcp", addr, 20*time.Millisecond)
		if err == nil {
			ok = true
			_ = c.Close()
		}
		return nil
	})
	return ok
}

// resolver asks a container's own resolver whether it has a name.
func resolver(b *testing.B, h *host.Host, container string) func(name string) bool {
	pid := h.J("inspect", "-f", "{{.State.Pid}}", container)
	return func(name string) (ok bool) {
		if err := netns.Do("/proc/"+pid+"/ns/net", func() error { ok = lookup("127.0.0.11:53", name); return nil }); err != nil {
			b.Fatal(err)
		}
		return ok
	}
}

// lookup asks a name server for an address record, by hand: Go's resolver
// would use threads of other namespaces.
func lookup(server, name string) bool {
	c, err := net.DialTimeout("udp", server, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	q := []byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for _, label := range strings.Split(name, ".") {
		q = append(append(q, byte(len(label))), label...)
	}
	q = append(q, 0, 0, 1, 0, 1)
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write(q); err != nil {
		return false
	}
	buf := make([]byte, 512)
	n, err := c.Read(buf)
	return err == nil && n > 8 && buf[3]&15 == 0 && buf[7] > 0
}

// BenchmarkLiveChanges measures each change with nothing else there, and with a
// thousand of its kind.
func BenchmarkLiveChanges(b *testing.B) {
	h, outside := host.New(b), host.Bare(b)
	host.Join(h, outside, "10.98.0.1/16", "10.98.0.2/16")
	dev := h.Sh("ip -o -4 addr show to 10.98.0.1/16 | cut -d' ' -f2")
	h.J("fip", "pool", "add", "10.98.16.0/20", "--dev", dev)
	h.J("network", "create", "dev")
	h.J("run", "-d", "--name", "web", "--network", "dev", "busybox", "probe", "serve", "web", "tcp:8000")
	h.J("run", "-d", "--name", "client", "--network", "dev", "busybox", "sleep", "100000")
	d, resolves := newDaemon(b, h), resolver(b, h, "client")
	var fips []string
	d.ask("POST", "/fips/allocate?count=4000", nil, &fips)
	h.Eventually(5*time.Second, func() error {
		if !reaches(h, h.IP("web", "dev")+":8000") {
			return fmt.Errorf("web does not listen yet")
		}
		return nil
	})
	measureAll := func(when string, from int) {
		var attach, detach, port, alias, link []effect
		for i := from; i < from+liveTries; i++ {
			fip := fips[i]
			attach = append(attach, take(b, func() { d.ask("POST", "/fips/attach?container=web&ip="+fip, nil, nil) }, func() bool { return reaches(outside, fip+":8000") }, true))
			detach = append(detach, take(b, func() { d.ask("POST", "/fips/detach?container=web", nil, nil) }, func() bool { return reaches(outside, fip+":8000") }, false))
			hostPort := fmt.Sprint(20000 + i)
			port = append(port, take(b, func() {
				d.ask("POST", "/containers/web/ports", map[string]any{"PortBindings": map[string]any{"8000/tcp": []map[string]string{{"HostPort": hostPort}}}}, nil)
			}, func() bool { return reaches(outside, "10.98.0.1:"+hostPort) }, true))
			name := fmt.Sprintf("alias-%d", i)
			alias = append(alias, take(b, func() {
				d.ask("POST", "/networks/dev/aliases", map[string]any{"Container": "web", "Aliases": []string{name}}, nil)
			}, func() bool { return resolves(name) }, true))
			other := fmt.Sprintf("link-%d", i)
			link = append(link, take(b, func() {
				d.ask("POST", "/containers/client/links", map[string]any{"Target": "web", "Alias": other}, nil)
			}, func() bool { return resolves(other) }, true))
		}
		report(b, "fip attach, "+when, attach)
		report(b, "fip detach, "+when, detach)
		report(b, "port add, "+when, port)
		report(b, "alias add, "+when, alias)
		report(b, "link add, "+when, link)
	}
	for range b.N {
		measureAll("the first", 0)
		for i := liveTries; i < liveMany; i += 50 {
			bindings, names := []map[string]string{}, []string{}
			for k := i; k < min(i+50, liveMany); k++ {
				bindings = append(bindings, map[string]string{"HostPort": fmt.Sprint(20000 + k)})
				names = append(names, fmt.Sprintf("alias-%d", k))
				d.ask("POST", "/containers/client/links", map[string]any{"Target": "web", "Alias": fmt.Sprintf("link-%d", k)}, nil)
			}
			d.ask("POST", "/containers/web/ports", map[string]any{"PortBindings": map[string]any{"8000/tcp": bindings}}, nil)
			d.ask("POST", "/networks/dev/aliases", map[string]any{"Container": "web", "Aliases": names}, nil)
		}
		for i := range liveRunning {
			var made struct{ ID string }
			d.ask("POST", fmt.Sprintf("/containers/create?name=idle-%d", i), map[string]any{"Image": "busybox", "Cmd": []string{"sleep", "100000"},
				"Labels": map[string]string{"com.jackstay.fip": fips[2*liveMany+i]}}, &made)
			d.ask("POST", "/containers/"+made.ID+"/start", nil, nil)
		}
		measureAll(fmt.Sprintf("the %dth", liveMany), liveMany)
	}
}

// BenchmarkLiveManyFIPs compares the throughput to one floating IP with that
// among 4,000, in turns. The 3,999 others are put there as the daemon would.
func BenchmarkLiveManyFIPs(b *testing.B) {
	if _, err := exec.LookPath("iperf3"); err != nil {
		b.Skip("needs iperf3")
	}
	h, outside := host.New(b), host.Bare(b)
	host.Join(h, outside, "10.98.0.1/16", "10.98.0.2/16")
	dev := h.Sh("ip -o -4 addr show to 10.98.0.1/16 | cut -d' ' -f2")
	h.J("fip", "pool", "add", "10.98.16.0/20", "--dev", dev)
	h.Import("iperf", host.DebianTar(b, "iperf3", "iperf3"), "ENV PATH=/usr/bin")
	h.J("run", "-d", "--name", "server", "--fip", "auto", "iperf", "iperf3", "-s")
	fip := h.J("fip", "ls", "-q")
	h.KillDaemon() // it would take away what is put there now

	var in, out, on, off strings.Builder
	a, inside := netip.MustParseAddr("10.98.17.0"), netip.MustParseAddr("10.200.0.2")
	for range 3999 {
		fmt.Fprintf(&in, "%s : %s,\n", a, inside)
		fmt.Fprintf(&out, "%s : %s,\n", inside, a)
		fmt.Fprintf(&on, "addr add %s/32 dev %s label %s:jk\n", a, dev, dev[:min(12, len(dev))])
		fmt.Fprintf(&off, "addr del %s/32 dev %s\n", a, dev)
		a, inside = a.Next(), inside.Next()
	}
	feed := func(name, text string, args ...string) {
		if r := h.Try(strings.NewReader(text), name, args...); r.Code != 0 {
			b.Fatalf("%s: %+v", name, r)
		}
	}
	elements := func(verb string) {
		feed("nft", fmt.Sprintf("%s element inet jackstay fip_in4 {\n%s}\n%s element inet jackstay fip_out4 {\n%s}\n", verb, in.String(), verb, out.String()), "-f", "-")
	}
	rate := func() float64 {
		var r struct {
			End struct {
				Sum struct {
					Bits float64 `json:"bits_per_second"`
				} `json:"sum_received"`
			}
		}
		if err := json.Unmarshal([]byte(outside.Sh("iperf3 -J -t 1 -c "+fip)), &r); err != nil || r.End.Sum.Bits == 0 {
			b.Fatalf("iperf3: %v", err)
		}
		return r.End.Sum.Bits / 1e9
	}
	// New connections are what the elements are looked up for; a refusal takes as many lookups.
	connects := func() float64 {
		n := 0
		outside.Inside(func() error {
			for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); n++ {
				if _, err := net.DialTimeout("tcp", fip+":9", time.Second); !errors.Is(err, unix.ECONNREFUSED) {
					return fmt.Errorf("port 9 is not refused: %w", err)
				}
			}
			return nil
		})
		return 2 * float64(n)
	}
	rounds := 20
	defer h.StartDaemon()
	for range b.N {
		var ratios, dials []float64
		for turn := range rounds { // one, many, many, one, …: what drifts cancels out
			var rates, conns [2]float64
			for k := range 2 {
				i := (turn + k) % 2
				if i == 1 && k == 1 || turn == 0 && i == 1 {
					elements("add")
					feed("ip", on.String(), "-batch", "-")
				}
				rates[i], conns[i] = rate(), connects()
				if i == 1 && k == 0 {
					elements("delete")
					feed("ip", off.String(), "-batch", "-")
				}
			}
			ratios, dials = append(ratios, rates[1]/rates[0]), append(dials, conns[1]/conns[0])
		}
		slices.Sort(ratios)
		slices.Sort(dials)
		b.Logf("4,000 floating IPs against one, median of %d turns: throughput %.3f (%.2f to %.2f), connections per second %.3f (%.2f to %.2f)",
			rounds, ratios[rounds/2], ratios[0], ratios[rounds-1], dials[rounds/2], dials[0], dials[rounds-1])
	}
}
