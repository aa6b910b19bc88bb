package dns

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/jackstay/jackstay/internal/desired"
)

// upstreamServer is a name server made with another library: ours must agree
// with it.
type upstreamServer struct {
	addr     netip.AddrPort
	udp, tcp atomic.Int64
	lastSize atomic.Int64 // EDNS size of the last question
}

func startUpstream(t testing.TB, zone string) *upstreamServer {
	t.Helper()
	u := &upstreamServer{}
	var pc net.PacketConn
	var ln net.Listener
	for range 20 {
		var err error
		if pc, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		enlarge(pc.(*net.UDPConn))
		if ln, err = net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			break
		}
		_ = pc.Close()
	}
	u.addr = netip.MustParseAddrPort(pc.LocalAddr().String())
	handle := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		if _, ok := w.RemoteAddr().(*net.TCPAddr); ok {
			u.tcp.Add(1)
		} else {
			u.udp.Add(1)
		}
		if opt := m.IsEdns0(); opt != nil {
			u.lastSize.Store(int64(opt.UDPSize()))
		}
		if strings.EqualFold(m.Question[0].Name, "silent.test.") && zone == "a" {
			return
		}
		_ = w.WriteMsg(u.reply(zone, w, m))
	})
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: handle}, {Listener: ln, Handler: handle}} {
		ready := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(ready) }
		go func() { _ = srv.ActivateAndServe() }()
		<-ready
		t.Cleanup(func() { _ = srv.Shutdown() })
	}
	return u
}

func (u *upstreamServer) reply(zone string, w dns.ResponseWriter, m *dns.Msg) *dns.Msg {
	r := new(dns.Msg).SetReply(m)
	name := strings.ToLower(m.Question[0].Name)
	txt := func(s string) {
		r.Answer = append(r.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{s}})
	}
	switch name {
	case "nx.test.":
		r.Rcode = dns.RcodeNameError
	case "refused.test.":
		r.Rcode = dns.RcodeRefused
	case "servfail.test.":
		r.Rcode = dns.RcodeServerFailure
	case "onlyb.test.":
		if zone == "a" {
			r.Rcode = dns.RcodeServerFailure
		} else {
			txt(zone)
		}
	case "big.test.":
		if _, ok := w.RemoteAddr().(*net.TCPAddr); !ok {
			r.Truncated = true
			break
		}
		for i := range 40 {
			txt(fmt.Sprintf("%02d%s", i, strings.Repeat("x", 98)))
		}
	case "mid.test.": // fits a large datagram, not a small one
		for i := range 8 {
			txt(fmt.Sprintf("%02d%s", i, strings.Repeat("x", 98)))
		}
	default:
		txt(zone)
	}
	return r
}

func TestForward(t *testing.T) {
	a, b := startUpstream(t, "a"), startUpstream(t, "b")
	s := newServer(t, zones(a.addr, b.addr))
	addr := serve(t, s, "c1")
	for _, c := range []struct {
		name  string
		rcode int
		want  string
	}{
		{"example.com.", dns.RcodeSuccess, `"a"`},
		{"ExAmPlE.com.", dns.RcodeSuccess, `"a"`},
		{"single.", dns.RcodeSuccess, `"a"`},
		{"nx.test.", dns.RcodeNameError, ""},
		{"refused.test.", dns.RcodeRefused, ""},
		{"servfail.test.", dns.RcodeServerFailure, ""},
		{"onlyb.test.", dns.RcodeSuccess, `"b"`},
		{"9.9.9.9.in-addr.arpa.", dns.RcodeSuccess, `"a"`},
	} {
		for _, network := range []string{"udp", "tcp"} {
			udp, tcp := a.udp.Load(), a.tcp.Load()
			m := question(c.name, dns.TypeTXT)
			r := ask(t, network, addr, m)
			if r.Rcode != c.rcode || records(r) != c.want || r.Question[0] != m.Question[0] {
				t.Errorf("%s %s: %v", network, c.name, r)
			}
			if network == "tcp" != (a.tcp.Load() > tcp) || network == "udp" != (a.udp.Load() > udp) {
				t.Errorf("%s %s: asked upstream another way", network, c.name)
			}
		}
	}
}

func TestForwardSizes(t *testing.T) {
	a := startUpstream(t, "a")
	s := newServer(t, zones(a.addr))
	addr := serve(t, s, "c1")
	for _, c := range []struct {
		name    string
		size    uint16
		answers int
		tc      bool
	}{
		{"big.test.", 0, 0, true},     // whole by TCP, and too long for the client
		{"big.test.", 4096, 0, true},  // still
		{"mid.test.", 4096, 8, false}, // as offered
		{"mid.test.", 0, 0, true},     // upstream ignored the limit; we don't
	} {
		m := question(c.name, dns.TypeTXT)
		if c.size > 0 {
			m.SetEdns0(c.size, false)
		}
		r := ask(t, "udp", addr, m)
		if r.Truncated != c.tc || len(r.Answer) != c.answers {
			t.Errorf("%s size %d: truncated %v, %d answers", c.name, c.size, r.Truncated, len(r.Answer))
		}
	}
	if a.lastSize.Load() != 4096 {
		t.Errorf("upstream was offered %d bytes", a.lastSize.Load())
	}
	if a.tcp.Load() == 0 {
		t.Error("a truncated answer was not fetched over TCP")
	}
	if r := ask(t, "tcp", addr, question("big.test.", dns.TypeTXT)); len(r.Answer) != 40 {
		t.Errorf("TCP: %d answers", len(r.Answer))
	}
}

// A dead upstream costs less than a second, and the next question nothing.
func TestFailover(t *testing.T) {
	hole, err := net.ListenPacket("udp", "127.0.0.1:0") // takes everything, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	a := startUpstream(t, "a")
	dead := netip.MustParseAddrPort(hole.LocalAddr().String())
	refusing := netip.MustParseAddrPort("127.0.0.1:1")
	for name, first := range map[string]netip.AddrPort{"silent": dead, "refusing": refusing} {
		s := newServer(t, zones(first, a.addr))
		addr := serve(t, s, "c1")
		for range 3 {
			start := time.Now()
			if r := ask(t, "udp", addr, question("example.com.", dns.TypeTXT)); records(r) != `"a"` {
				t.Errorf("%s: %v", name, r)
			}
			t.Logf("%s: answered after %v", name, time.Since(start))
		}
	}
	// The hole was asked by the first question only.
	_ = hole.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	asked, buf := 0, make([]byte, 512)
	for {
		if _, _, err := hole.ReadFrom(buf); err != nil {
			break
		}
		asked++
	}
	if asked != 1 {
		t.Errorf("an upstream that says nothing was asked %d times by three questions", asked)
	}
	// None answers: SERVFAIL before clients give up.
	s := newServer(t, zones(dead))
	start := time.Now()
	r := ask(t, "udp", serve(t, s, "c1"), question("example.com.", dns.TypeTXT))
	t.Logf("none answers: told after %v", time.Since(start))
	if r.Rcode != dns.RcodeServerFailure {
		t.Errorf("none answers: %v", r)
	}
}

// A name server that answers other questions is not down because it has no
// answer to one: nobody is sent elsewhere for it.
func TestOneSilentNameIsNoFailover(t *testing.T) {
	a, b := startUpstream(t, "a"), startUpstream(t, "b")
	s := newServer(t, zones(a.addr, b.addr))
	addr := serve(t, s, "c1")
	var wg sync.WaitGroup
	wg.Go(func() {
		if r := ask(t, "udp", addr, question("silent.test.", dns.TypeTXT)); records(r) != `"b"` {
			t.Errorf("silent name: %v", r)
		}
	})
	for range 12 { // beyond tryTime
		if r := ask(t, "udp", addr, question("example.com.", dns.TypeTXT)); records(r) != `"a"` {
			t.Errorf("sent elsewhere: %v", r)
		}
		time.Sleep(100 * time.Millisecond)
	}
	wg.Wait()
}

// The host's resolvers change: the next question goes to the new ones.
func TestUpstreamsFollowed(t *testing.T) {
	a, b := startUpstream(t, "a"), startUpstream(t, "b")
	s := newServer(t, zones(a.addr))
	addr := serve(t, s, "c1")
	for _, u := range []*upstreamServer{a, b, a} {
		s.SetZones(zones(u.addr))
		before := u.udp.Load()
		ask(t, "udp", addr, question("example.com.", dns.TypeTXT))
		if u.udp.Load() != before+1 {
			t.Errorf("%s was not asked", u.addr)
		}
	}
	z := zones(a.addr)
	z.Views["c1"].Upstreams = []netip.AddrPort{b.addr} // --dns
	s.SetZones(z)
	if r := ask(t, "udp", addr, question("example.com.", dns.TypeTXT)); records(r) != `"b"` {
		t.Errorf("--dns is not used: %v", r)
	}
}

// Ten thousand at once, each answered: half are ours, half are forwarded.
func TestBurst(t *testing.T) {
	const n = 10000
	a := startUpstream(t, "a")
	s := newServer(t, zones(a.addr))
	udpAddr, err := net.ResolveUDPAddr("udp", serve(t, s, "c1"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.DialUDP("udp", nil, udpAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	enlarge(c)
	got := map[uint16]bool{}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 4096)
		for len(got) < n {
			_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
			k, err := c.Read(buf)
			if err != nil {
				t.Errorf("%d of %d answered: %v", len(got), n, err)
				return
			}
			var m dns.Msg
			if err := m.Unpack(buf[:k]); err != nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
				t.Errorf("%v %v", err, &m)
				return
			}
			got[m.Id] = true
		}
	})
	for i := range n {
		m := question("db.", dns.TypeA)
		if i%2 == 0 {
			m = question(fmt.Sprintf("h%d.example.com.", i), dns.TypeTXT)
		}
		m.Id = uint16(i)
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

// An answer to another question, or from nobody we asked, is not believed.
func TestForgedAnswers(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dns.Msg
			if m.Unpack(buf[:n]) != nil {
				return
			}
			reply := func(change func(r *dns.Msg)) {
				r := new(dns.Msg).SetReply(&m)
				change(r)
				b, _ := r.Pack()
				_, _ = pc.WriteTo(b, from)
			}
			reply(func(r *dns.Msg) { r.Id++; r.Rcode = dns.RcodeRefused })
			reply(func(r *dns.Msg) { r.Question[0].Name = "evil.test."; r.Rcode = dns.RcodeRefused })
			reply(func(r *dns.Msg) { r.Response = false; r.Rcode = dns.RcodeRefused })
			_, _ = pc.WriteTo([]byte{1, 2, 3}, from)
			reply(func(r *dns.Msg) { r.Rcode = dns.RcodeNameError })
		}
	}()
	z := zones(netip.MustParseAddrPort(pc.LocalAddr().String()))
	s := newServer(t, z)
	if r := ask(t, "udp", serve(t, s, "c1"), question("example.com.", dns.TypeA)); r.Rcode != dns.RcodeNameError {
		t.Errorf("believed: %v", r)
	}
}

// Close ends what is under way.
func TestCloseUnderLoad(t *testing.T) {
	hole, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	s := New(Options{})
	s.SetZones(&desired.Zones{Views: map[string]*desired.View{"c1": {}}, Upstreams: []netip.AddrPort{netip.MustParseAddrPort(hole.LocalAddr().String())}})
	addr := serve(t, s, "c1")
	b, _ := question("example.com.", dns.TypeA).Pack()
	for range 50 {
		if c, err := net.Dial("udp", addr); err == nil {
			_, _ = c.Write(b)
			_ = c.Close()
		}
	}
	time.Sleep(50 * time.Millisecond)
	done := make(chan struct{})
	go func() { _ = s.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("Close hangs")
	}
}
