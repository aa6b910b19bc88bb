package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/jackstay/jackstay/test/host"
)

// upstream is a name server on the host: it answers for *.up.test.
type upstream struct {
	asked atomic.Int64
}

// newUpstream serves at addr:53, giving names the address in answer.
func newUpstream(h *host.Host, addr, answer string) *upstream {
	h.T.Helper()
	u := &upstream{}
	h.Sh("ip addr add " + addr + "/32 dev lo")
	var udp net.PacketConn
	var tcp net.Listener
	h.Inside(func() (err error) {
		if udp, err = net.ListenPacket("udp", addr+":53"); err == nil {
			tcp, err = net.Listen("tcp", addr+":53")
		}
		return err
	})
	_ = udp.(*net.UDPConn).SetReadBuffer(4 << 20)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		u.asked.Add(1)
		_, overTCP := w.RemoteAddr().(*net.TCPAddr)
		_ = w.WriteMsg(u.answer(q, answer, overTCP))
	})
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		go func() { _ = s.ActivateAndServe() }()
		h.T.Cleanup(func() { _ = s.Shutdown() })
	}
	return u
}

func (u *upstream) answer(q *dns.Msg, addr string, overTCP bool) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	name, kind := q.Question[0].Name, q.Question[0].Qtype
	switch {
	case !strings.HasSuffix(name, ".up.test."):
		m.Rcode = dns.RcodeNameError
	case strings.HasPrefix(name, "big.") && !overTCP:
		m.Truncated = true
	case strings.HasPrefix(name, "big.") && kind == dns.TypeTXT:
		for i := range 60 {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{fmt.Sprint(i, strings.Repeat("x", 100))}})
		}
	case kind == dns.TypeA:
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(addr)}}
	}
	return m
}

// hostWithResolver is a host whose /etc/resolv.conf says this; change rewrites it.
func hostWithResolver(t *testing.T, text string) (h *host.Host, change func(string)) {
	h = host.Bare(t)
	path := filepath.Join(h.Dir, "resolv.conf")
	change = func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	change(text)
	h.Sh("mount --bind " + path + " /etc/resolv.conf")
	h.StartDaemon()
	h.Import("busybox", host.BusyboxTar(t), `CMD ["sh"]`, "ENV PATH=/bin")
	return h, change
}

// lookup asks 127.0.0.11 in a container's namespace.
func lookup(h *host.Host, container, network, name string, kind uint16) *dns.Msg {
	h.T.Helper()
	var reply *dns.Msg
	h.InContainer(container, func() error {
		c := &dns.Client{Net: network, Timeout: 5 * time.Second}
		var err error
		reply, _, err = c.Exchange(new(dns.Msg).SetQuestion(name, kind), "127.0.0.11:53")
		if err != nil {
			return errorf("%s over %s: %w", name, network, err)
		}
		return nil
	})
	return reply
}

// shown is a reply in short: its code and its answers' data.
func shown(m *dns.Msg) string {
	s := dns.RcodeToString[m.Rcode]
	if m.Truncated {
		s += " TC"
	}
	for _, rr := range m.Answer {
		s += " " + strings.TrimPrefix(rr.String(), rr.Header().String())
	}
	return s
}

func TestResolverInContainers(t *testing.T) {
	t.Parallel()
	h, change := hostWithResolver(t, "nameserver 10.97.0.1\n")
	one := newUpstream(h, "10.97.0.1", "192.0.2.1")
	newUpstream(h, "10.97.0.2", "192.0.2.2")
	h.J("network", "create", "dev")
	h.J("network", "create", "--internal", "closed")
	h.J("run", "-d", "--name", "web", "--network", "dev", "--network-alias", "www", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "client", "--network", "dev", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "shut", "--network", "closed", "busybox", "sleep", "1000")
	web := h.IP("web", "dev")
	for _, c := range []struct {
		name string
		kind uint16
		want string
	}{
		{"web.", dns.TypeA, "NOERROR " + web},
		{"WeB.", dns.TypeA, "NOERROR " + web},
		{"www.", dns.TypeA, "NOERROR " + web},
		{"web.", dns.TypeAAAA, "NOERROR"}, // it is there, without such an address
		{"web.", dns.TypeMX, "NOERROR"},
		{"x.up.test.", dns.TypeA, "NOERROR 192.0.2.1"},
		{"x.up.test.", dns.TypeAAAA, "NOERROR"},
		{"nobody.test.", dns.TypeA, "NXDOMAIN"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got := shown(lookup(h, "client", network, c.name, c.kind)); got != c.want {
				t.Errorf("%s %s over %s: %s, want %s", c.name, dns.TypeToString[c.kind], network, got, c.want)
			}
		}
	}
	if m := lookup(h, "client", "udp", "big.up.test.", dns.TypeTXT); !m.Truncated {
		t.Errorf("a big answer over UDP is not cut: %d records", len(m.Answer))
	}
	if m := lookup(h, "client", "tcp", "big.up.test.", dns.TypeTXT); len(m.Answer) != 60 || m.Truncated {
		t.Errorf("a big answer over TCP has %d of 60 records", len(m.Answer))
	}

	// An internal network asks nobody outside.
	asked := one.asked.Load()
	if m := lookup(h, "shut", "udp", "y.up.test.", dns.TypeA); len(m.Answer) != 0 || one.asked.Load() != asked {
		t.Errorf("an internal network's lookup: %s, the host's server was asked %d times", shown(m), one.asked.Load()-asked)
	}

	// The host's resolver changes: the next lookups ask the new one.
	change("nameserver 10.97.0.2\nsearch up.test\n")
	h.Eventually(time.Second, func() error {
		if got := shown(lookup(h, "client", "udp", "x.up.test.", dns.TypeA)); got != "NOERROR 192.0.2.2" {
			return errorf("after the host's resolver changed: %s", got)
		}
		return nil
	})
	// One that does not answer is left for the next within a second.
	change("nameserver 10.97.0.99\nnameserver 10.97.0.2\n")
	h.Sh("ip route add blackhole 10.97.0.99/32 2>/dev/null || true")
	h.Eventually(20*time.Second, func() error {
		began := time.Now()
		if got := shown(lookup(h, "client", "udp", "z.up.test.", dns.TypeA)); got != "NOERROR 192.0.2.2" || time.Since(began) > 1500*time.Millisecond {
			return errorf("with a dead first resolver: %s after %v", got, time.Since(began))
		}
		return nil
	})
}

func TestTenThousandLookupsAtOnce(t *testing.T) {
	t.Parallel()
	h, _ := hostWithResolver(t, "nameserver 10.97.0.1\n")
	newUpstream(h, "10.97.0.1", "192.0.2.1")
	h.J("run", "-d", "--name", "web", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "client", "busybox", "sleep", "1000")
	const sockets, each = 100, 100
	conns := make([]net.Conn, sockets)
	h.InContainer("client", func() (err error) {
		for i := range conns {
			if conns[i], err = net.Dial("udp", "127.0.0.11:53"); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range []struct{ what, name, want string }{
		{"a container's name", "web.", "NOERROR " + h.IP("web", "bridge")},
		{"names of the host's resolver", "n%d.up.test.", "NOERROR 192.0.2.1"},
	} {
		began := time.Now()
		var answered atomic.Int64
		var all sync.WaitGroup
		for i, conn := range conns {
			all.Go(func() {
				for n := range each {
					name := c.name
					if strings.Contains(name, "%d") {
						name = fmt.Sprintf(name, i*each+n)
					}
					q := new(dns.Msg).SetQuestion(name, dns.TypeA)
					q.Id = uint16(n)
					packed, _ := q.Pack()
					if _, err := conn.Write(packed); err != nil {
						t.Errorf("%s: %v", c.what, err)
					}
				}
				buf := make([]byte, 1500)
				_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				for range each {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					m := new(dns.Msg)
					if err := m.Unpack(buf[:n]); err != nil || shown(m) != c.want {
						t.Errorf("%s: %v %s", c.what, err, shown(m))
						return
					}
					answered.Add(1)
				}
			})
		}
		all.Wait()
		t.Logf("%s: %d of %d lookups at once answered in %v", c.what, answered.Load(), sockets*each, time.Since(began).Round(time.Millisecond))
		if answered.Load() != sockets*each {
			t.Errorf("%s: %d lookups were dropped", c.what, sockets*each-answered.Load())
		}
	}
}

// A container that serves port 53 of every address itself is reached there,
// and still has its own resolver.
func TestContainerServesPort53(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "dev")
	serve(h, "web", "--network", "dev")
	for name, args := range map[string][]string{
		"exposed":   {"--expose", "53", "--expose", "53/udp"},
		"published": {"-p", "5353:53/udp", "-p", "5353:53/tcp"},
	} {
		h.J(append(append([]string{"run", "-d", "--name", name, "--network", "dev"}, args...), "busybox", "probe", "serve", name, "udp:53", "tcp:53")...)
		for _, target := range []string{"udp:" + name + ":53", name + ":53"} {
			h.Eventually(5*time.Second, func() error {
				if got := get(h, "web", target); got != name {
					return errorf("%s answered %q", target, got)
				}
				return nil
			})
		}
		if got := get(h, name, "web:8000"); got != "web" {
			t.Errorf("%s finds web by name: %q", name, got)
		}
		for _, network := range []string{"udp", "tcp"} {
			if got, want := shown(lookup(h, name, network, "web.", dns.TypeA)), "NOERROR "+h.IP("web", "dev"); got != want {
				t.Errorf("%s's resolver over %s: %s, want %s", name, network, got, want)
			}
		}
	}
	for _, target := range []string{"udp:127.0.0.1:5353", "127.0.0.1:5353"} {
		if got := askHost(h, target); !strings.HasPrefix(got, "published ") {
			t.Errorf("%s answered %q", target, got)
		}
	}
}

func TestResolverOptions(t *testing.T) {
	t.Parallel()
	h, _ := hostWithResolver(t, "nameserver 10.97.0.1\nsearch host.test\noptions timeout:3\n")
	host1 := newUpstream(h, "10.97.0.1", "192.0.2.1")
	serve(h, "web")
	newUpstream(h, "10.97.0.2", h.IP("web", "bridge"))
	conf := func(args ...string) string {
		return h.J(append(append([]string{"run", "--rm"}, args...), "busybox", "grep", "-v", "^#", "/etc/resolv.conf")...)
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"nameserver 127.0.0.11", "search host.test", "timeout:3"}},
		{[]string{"--dns", "10.97.0.2", "--dns-search", "up.test", "--dns-option", "ndots:3"}, []string{"nameserver 127.0.0.11", "search up.test", "ndots:3"}},
		{[]string{"--network", "host"}, []string{"nameserver 10.97.0.1", "search host.test"}},
	} {
		got := conf(c.args...)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%v: resolv.conf lacks %q:\n%s", c.args, want, got)
			}
		}
	}
	// --dns alone is asked, with the search list, and names of containers stay.
	h.J("run", "-d", "--name", "own", "--dns", "10.97.0.2", "--dns-search", "up.test", "busybox", "sleep", "1000")
	asked := host1.asked.Load()
	for _, name := range []string{"far.up.test", "far", "web"} {
		if got := get(h, "own", name+":8000"); got != "web" {
			t.Errorf("%s answered %q", name, got)
		}
	}
	if n := host1.asked.Load() - asked; n != 0 {
		t.Errorf("the host's resolver was asked %d times beside --dns", n)
	}
	h.Fails(125, []string{"not-an-address"}, "run", "--rm", "--dns", "not-an-address", "busybox", "true")
}
