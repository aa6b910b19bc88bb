package dns

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/jackstay/jackstay/internal/desired"
)

func ips(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func zones(ups ...netip.AddrPort) *desired.Zones {
	many := make([]netip.Addr, 0, 100)
	for i := range 100 {
		many = append(many, netip.AddrFrom4([4]byte{172, 18, 1, byte(i)}))
	}
	return &desired.Zones{
		Networks: map[string]*desired.Zone{
			"net1": {
				Names: map[string][]netip.Addr{
					"web": ips("172.18.0.2"), "db": ips("172.18.0.3"), "search": ips("172.18.0.4", "172.18.0.5"),
					"dual": ips("172.18.0.6", "fd00::6"), "six": ips("fd00::7"), "db.dev": ips("172.18.0.3"), "many": many,
				},
				Reverse: map[netip.Addr]string{
					netip.MustParseAddr("172.18.0.3"): "db.dev", netip.MustParseAddr("fd00::6"): "dual.dev",
				},
			},
			"net2": {
				Names:   map[string][]netip.Addr{"db": ips("172.19.0.3"), "only2": ips("172.19.0.9")},
				Reverse: map[netip.Addr]string{netip.MustParseAddr("172.19.0.3"): "db.prod"},
			},
		},
		Views: map[string]*desired.View{
			"c1":    {Networks: []string{"net1", "net2"}, Aliases: map[string][]netip.Addr{"store": ips("172.18.0.3"), "web": ips("172.18.0.99")}},
			"c2":    {Networks: []string{"net2"}},
			"inner": {Networks: []string{"net1"}, NoForward: true},
			"own":   {Networks: []string{"net1"}, Upstreams: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}},
		},
		Upstreams: ups,
	}
}

// serve starts a server for a container and gives its address.
func serve(t testing.TB, s *Server, container string) string {
	t.Helper()
	for range 20 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", pc.LocalAddr().String())
		if err != nil { // the port is taken for TCP
			_ = pc.Close()
			continue
		}
		s.Serve(container, pc, ln)
		return pc.LocalAddr().String()
	}
	t.Fatal("no port is free for UDP and TCP")
	return ""
}

func newServer(t testing.TB, z *desired.Zones) *Server {
	t.Helper()
	s := New(Options{})
	t.Cleanup(func() { _ = s.Close() })
	if z != nil {
		s.SetZones(z)
	}
	return s
}

func ask(t testing.TB, network, addr string, m *dns.Msg) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: network, Timeout: 6 * time.Second, UDPSize: 4096}
	r, _, err := c.Exchange(m, addr)
	if err != nil {
		t.Fatalf("%s %s: %v", network, m.Question[0].String(), err)
	}
	return r
}

func question(name string, qtype uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(name, qtype)
}

// records gives the data of the answers, sorted by nothing.
func records(m *dns.Msg) string {
	var out []string
	for _, rr := range m.Answer {
		if rr.Header().Ttl != ttl && rr.Header().Ttl != 60 {
			out = append(out, "TTL?")
		}
		out = append(out, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	return strings.Join(out, " ")
}

func TestLocalNames(t *testing.T) {
	s := newServer(t, zones())
	addr := map[string]string{}
	for _, c := range []string{"c1", "c2", "inner", "own", "unknown"} {
		addr[c] = serve(t, s, c)
	}
	for _, c := range []struct {
		container, name string
		qtype           uint16
		rcode           int
		want            string
	}{
		{"c1", "db.", dns.TypeA, dns.RcodeSuccess, "172.18.0.3"},    // the first network has it
		{"c2", "db.", dns.TypeA, dns.RcodeSuccess, "172.19.0.3"},    // another sight
		{"c1", "only2.", dns.TypeA, dns.RcodeSuccess, "172.19.0.9"}, // the second network
		{"c1", "web.", dns.TypeA, dns.RcodeSuccess, "172.18.0.99"},  // an alias wins
		{"c1", "store.", dns.TypeA, dns.RcodeSuccess, "172.18.0.3"},
		{"c2", "store.", dns.TypeA, dns.RcodeServerFailure, ""}, // another's alias; no upstream
		{"c1", "StOrE.", dns.TypeA, dns.RcodeSuccess, "172.18.0.3"},
		{"c1", "db.dev.", dns.TypeA, dns.RcodeSuccess, "172.18.0.3"},
		{"c1", "db.", dns.TypeAAAA, dns.RcodeSuccess, ""}, // NODATA
		{"c1", "db.", dns.TypeMX, dns.RcodeSuccess, ""},
		{"c1", "six.", dns.TypeA, dns.RcodeSuccess, ""},
		{"c1", "six.", dns.TypeAAAA, dns.RcodeSuccess, "fd00::7"},
		{"c1", "dual.", dns.TypeA, dns.RcodeSuccess, "172.18.0.6"},
		{"c1", "dual.", dns.TypeAAAA, dns.RcodeSuccess, "fd00::6"},
		{"c1", "3.0.18.172.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, "db.dev."},
		{"c1", "3.0.19.172.IN-ADDR.ARPA.", dns.TypePTR, dns.RcodeSuccess, "db.prod."},
		{"c2", "3.0.18.172.in-addr.arpa.", dns.TypePTR, dns.RcodeServerFailure, ""},
		{"c1", "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR, dns.RcodeSuccess, "dual.dev."},
		{"c1", "0.18.172.in-addr.arpa.", dns.TypePTR, dns.RcodeServerFailure, ""},
		{"c1", "nobody.", dns.TypeA, dns.RcodeServerFailure, ""},
		{"c1", `d\.b.`, dns.TypeA, dns.RcodeServerFailure, ""},
		{"c1", `db\.dev.`, dns.TypeA, dns.RcodeServerFailure, ""}, // one label, not two
		{"inner", "db.", dns.TypeA, dns.RcodeSuccess, "172.18.0.3"},
		{"inner", "example.com.", dns.TypeA, dns.RcodeNameError, ""},
		{"own", "example.com.", dns.TypeA, dns.RcodeServerFailure, ""},
		{"unknown", "db.", dns.TypeA, dns.RcodeServerFailure, ""},
		{"c1", "db.", dns.TypeAXFR, dns.RcodeRefused, ""},
	} {
		for _, network := range []string{"udp", "tcp"} {
			for _, edns := range []bool{false, true} {
				m := question(c.name, c.qtype)
				m.CheckingDisabled = edns
				if edns {
					m.SetEdns0(1400, true)
				}
				r := ask(t, network, addr[c.container], m)
				id := fmt.Sprintf("%s asks %s for %s %s", c.container, network, c.name, dns.TypeToString[c.qtype])
				if r.Rcode != c.rcode || records(r) != c.want {
					t.Errorf("%s: %s %q, want %s %q", id, dns.RcodeToString[r.Rcode], records(r), dns.RcodeToString[c.rcode], c.want)
				}
				if !r.Response || !r.RecursionDesired || !r.RecursionAvailable || r.Truncated || r.CheckingDisabled != edns ||
					len(r.Question) != 1 || r.Question[0] != m.Question[0] {
					t.Errorf("%s: header or question wrong: %v", id, r)
				}
				if opt := r.IsEdns0(); (opt != nil) != edns || edns && (!opt.Do() || opt.UDPSize() != ourUDPSize) {
					t.Errorf("%s: EDNS %v", id, opt)
				}
				for _, rr := range r.Answer {
					if rr.Header().Name != c.name {
						t.Errorf("%s: owner %s", id, rr.Header().Name)
					}
				}
			}
		}
	}
}

func TestAddressesAreShuffled(t *testing.T) {
	s := newServer(t, zones())
	addr := serve(t, s, "c1")
	first := map[string]int{}
	for range 200 {
		r := ask(t, "udp", addr, question("search.", dns.TypeA))
		if len(r.Answer) != 2 {
			t.Fatal(r)
		}
		first[r.Answer[0].(*dns.A).A.String()]++
	}
	if first["172.18.0.4"] < 50 || first["172.18.0.5"] < 50 {
		t.Errorf("first answers: %v", first)
	}
}

func TestTruncation(t *testing.T) {
	s := newServer(t, zones())
	addr := serve(t, s, "c1")
	for size, want := range map[uint16]bool{0: true, 512: true, 1232: true, 4096: false} {
		m := question("many.", dns.TypeA)
		limit := 512
		if size > 0 {
			m.SetEdns0(size, false)
			limit = int(size)
		}
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		got := raw(t, addr, b)
		var r dns.Msg
		if err := r.Unpack(got); err != nil || r.Truncated != want || len(got) > limit || len(r.Answer) == 0 {
			t.Errorf("size %d: error %v, truncated %v with %d answers in %d bytes", size, err, r.Truncated, len(r.Answer), len(got))
		}
	}
	if r := ask(t, "tcp", addr, question("many.", dns.TypeA)); r.Truncated || len(r.Answer) != 100 {
		t.Errorf("TCP: truncated %v, %d answers", r.Truncated, len(r.Answer))
	}
}

// raw sends bytes and gives the reply; nil: none came.
func raw(t *testing.T, addr string, b []byte) []byte {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write(b)
	_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	buf := make([]byte, 5000)
	n, err := c.Read(buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

func TestOddRequests(t *testing.T) {
	s := newServer(t, zones())
	addr := serve(t, s, "c1")
	with := func(change func(m *dns.Msg)) []byte {
		m := question("db.", dns.TypeA)
		m.Id = 0x1234
		change(m)
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := with(func(*dns.Msg) {})
	for name, c := range map[string]struct {
		request []byte
		rcode   int // -1: silence
	}{
		"good":            {good, dns.RcodeSuccess},
		"answer":          {with(func(m *dns.Msg) { m.Response = true }), -1},
		"short":           {good[:11], -1},
		"header only":     {append(good[:4:4], make([]byte, 8)...), dns.RcodeFormatError},
		"cut question":    {good[:len(good)-1], dns.RcodeFormatError},
		"two questions":   {with(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		"chaos":           {with(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
		"notify":          {with(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), dns.RcodeNotImplemented},
		"update":          {with(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		"pointer":         {append(good[:12:12], 0xc0, 12, 0, 1, 0, 1), dns.RcodeFormatError},
		"missing record":  {append(append([]byte(nil), good[:11]...), append([]byte{1}, good[12:]...)...), dns.RcodeFormatError},
		"EDNS version 1":  {with(func(m *dns.Msg) { m.SetEdns0(512, false); m.IsEdns0().SetVersion(1) }), dns.RcodeBadVers},
		"EDNS twice":      {with(func(m *dns.Msg) { m.SetEdns0(512, false); m.Extra = append(m.Extra, m.Extra[0]) }), dns.RcodeFormatError},
		"no recursion":    {with(func(m *dns.Msg) { m.RecursionDesired = false }), dns.RcodeSuccess},
		"trailing nought": {append(append([]byte(nil), good...), 0, 0, 0), dns.RcodeSuccess},
	} {
		got := raw(t, addr, c.request)
		if c.rcode < 0 || got == nil {
			if c.rcode >= 0 || got != nil {
				t.Errorf("%s: got %x", name, got)
			}
			continue
		}
		var m dns.Msg
		if err := m.Unpack(got); err != nil || m.Id != 0x1234 || !m.Response || m.Rcode != c.rcode {
			t.Errorf("%s: %v %v, want %s", name, err, &m, dns.RcodeToString[c.rcode])
		}
	}
}

func TestStopAndReplace(t *testing.T) {
	s := newServer(t, zones())
	old := serve(t, s, "c1")
	addr := serve(t, s, "c1") // takes the place of the first
	if b, _ := question("db.", dns.TypeA).Pack(); raw(t, old, b) != nil {
		t.Error("replaced sockets still answer")
	}
	ask(t, "udp", addr, question("db.", dns.TypeA))
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s.Stop("c1")
	s.Stop("c1")
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("a connection outlives Stop: %v", err)
	}
	if _, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		t.Error("still listening after Stop")
	}
}

// Names change while thousands ask: every answer is one of the two wanted.
func TestSwapUnderLoad(t *testing.T) {
	s := newServer(t, zones())
	addr := serve(t, s, "c1")
	var wg sync.WaitGroup
	var asked atomic.Int64
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			c, err := dns.Dial("udp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for {
				select {
				case <-stop:
					return
				default:
				}
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				if err := c.WriteMsg(question("db.", dns.TypeA)); err != nil {
					t.Error(err)
					return
				}
				r, err := c.ReadMsg()
				if err != nil || records(r) != "172.18.0.3" && records(r) != "172.18.7.7" {
					t.Errorf("%v %v", err, r)
					return
				}
				asked.Add(1)
			}
		})
	}
	for i := range 300 {
		z := zones()
		if i%2 == 0 {
			z.Networks["net1"].Names["db"] = ips("172.18.7.7")
		}
		s.SetZones(z)
		time.Sleep(time.Millisecond)
	}
	s.SetZones(zones())
	if r := ask(t, "udp", addr, question("db.", dns.TypeA)); records(r) != "172.18.0.3" {
		t.Errorf("after the last change: %v", r)
	}
	close(stop)
	wg.Wait()
	if asked.Load() < 100 {
		t.Errorf("only %d questions asked", asked.Load())
	}
}

// An idle container costs little memory.
func TestMemoryPerContainer(t *testing.T) {
	const n = 200
	s := newServer(t, zones())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		addr := serve(t, s, fmt.Sprint("c", i))
		_ = raw(t, addr, func() []byte { b, _ := question("db.", dns.TypeA).Pack(); return b }())
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	use := func(m runtime.MemStats) uint64 { return m.HeapInuse + m.StackInuse }
	per := (int64(use(after)) - int64(use(before))) / n
	t.Logf("%d bytes per container", per)
	if per > 20<<10 {
		t.Errorf("%d bytes per idle container, want less than 20 kB", per)
	}
}

func BenchmarkAnswer(b *testing.B) {
	z := zones()
	request, _ := question("db.", dns.TypeA).Pack()
	var q query
	out := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		if _, v := q.answer(z, "c1", request, out, false); v != answered {
			b.Fatal(v)
		}
	}
}

// BenchmarkDnsperf is one client of local names, over loopback.
func BenchmarkDnsperf(b *testing.B) {
	if _, err := exec.LookPath("dnsperf"); err != nil {
		b.Skip("needs dnsperf")
	}
	s := newServer(b, zones())
	_, port, _ := net.SplitHostPort(serve(b, s, "c1"))
	queries := filepath.Join(b.TempDir(), "queries")
	if err := os.WriteFile(queries, []byte("db A\nsearch A\nstore A\ndual AAAA\nonly2 A\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		out, err := exec.Command("dnsperf", "-s", "127.0.0.1", "-p", port, "-d", queries, "-l", "3", "-c", "1").CombinedOutput()
		if err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		for _, line := range strings.Split(string(out), "\n") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "Queries per second:"); ok {
				qps, _ := strconv.ParseFloat(strings.TrimSpace(v), 64)
				b.ReportMetric(qps, "queries/s")
			}
			if strings.Contains(line, "Queries lost") && !strings.Contains(line, "0 (0.00%)") {
				b.Error(line)
			}
		}
	}
}

// FuzzAnswer: whatever comes, nothing breaks, and what is answered is a DNS
// message with the request's id.
func FuzzAnswer(f *testing.F) {
	z := zones(netip.MustParseAddrPort("192.0.2.1:53"))
	for _, name := range []string{"db.", "many.", "3.0.18.172.in-addr.arpa.", "example.com.", "."} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypePTR, dns.TypeANY} {
			m := question(name, qtype)
			b, _ := m.Pack()
			f.Add(b)
			m.SetEdns0(1232, true)
			b, _ = m.Pack()
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		for _, tcp := range []bool{false, true} {
			var q query
			reply, v := q.answer(z, "c1", request, nil, tcp)
			if v != answered {
				continue
			}
			var m dns.Msg
			if err := m.Unpack(reply); err != nil {
				t.Fatalf("%x: %v", reply, err)
			}
			if m.Id != uint16(request[0])<<8|uint16(request[1]) || !m.Response || !tcp && len(reply) > maxUDP {
				t.Fatalf("bad reply: %v", &m)
			}
		}
	})
}
