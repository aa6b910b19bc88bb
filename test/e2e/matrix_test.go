package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// street is a host with networks of every policy, two containers on each and
// more across, links, published ports, two tenants whose networks and containers
// have the same names, and another machine. What passes between
// any two of them is asked of the kernel and compared with reach, which knows
// the rules only as they are promised.
type street struct {
	h, outside *host.Host
	nets       map[string]string   // network to its policy
	on         map[string][]string // container to its networks, in order
	exposes    map[string][]string // container to exposed ports, as in 8000/tcp
	links      map[[2]string]bool  // from, to
	published  map[string]string   // port on the host to NAME/PORT/PROTO
	groups     map[string][]string // container to its security groups
	rules      map[string][]string // security group to rules, as in "tcp:8000:SOURCE"
}

const policyOpen, policyDeny, policyInternal = "open", "deny", "internal"

func newStreet(t *testing.T) *street {
	s := &street{
		h: host.New(t), outside: host.Bare(t),
		nets: map[string]string{"red": policyOpen, "blue": policyOpen, "cave": policyInternal, "vault": policyDeny, "quiet": policyDeny,
			"red@acme": policyOpen, "vault@acme": policyDeny, "red@umbrella": policyOpen},
		on: map[string][]string{}, exposes: map[string][]string{}, links: map[[2]string]bool{}, published: map[string]string{},
		groups: map[string][]string{}, rules: map[string][]string{},
	}
	host.Join(s.h, s.outside, "10.98.0.1/24", "10.98.0.2/24")
	s.outside.Sh("ip route add default via 10.98.0.1") // to the containers' own addresses
	background(s.outside, "probe serve outside tcp:8000 udp:8000 tcp:8001")
	s.h.J("network", "create", "red")
	s.h.J("network", "create", "blue")
	s.h.J("network", "create", "--internal", "cave")
	s.h.J("network", "create", "--policy", "deny", "vault")
	s.h.J("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "quiet")
	for _, n := range []string{"red", "blue", "cave", "vault", "quiet"} {
		s.container(n+"-a", n)
		s.container(n+"-b", n)
	}
	s.container("red-vault", "red", "vault")
	s.container("cave-quiet", "cave", "quiet")
	for _, l := range [][2]string{{"vault-a", "vault-b"}, {"quiet-b", "quiet-a"}, {"red-vault", "vault-a"}, {"red-a", "red-b"}, {"vault-b", "red-vault"},
		{"red-b", "blue-b"}, {"cave-b", "blue-a"}, {"blue-b", "vault-a"}, {"quiet-a", "red-vault"}, {"red-b", "cave-quiet"}, {"blue-b", "cave-a"}} { // between networks
		s.h.J("link", "add", l[0], l[1])
		s.links[l] = true
	}
	s.group("callers")
	s.group("front", "tcp:8000", "udp:8000:10.98.0.2")
	s.group("inner", "tcp:8000:callers", "udp:8000:callers", "tcp:8001:inner")
	for name, groups := range map[string][]string{"red-vault": {"callers"}, "red-a": {"front"}, "blue-a": {"inner", "callers"}, "blue-b": {"inner", "front"}, "vault-a": {"inner"}, "cave-b": {"inner"}} {
		s.h.J("sg", "attach", strings.Join(groups, ","), name)
		s.groups[name] = groups
	}
	for _, tenant := range []string{"acme", "umbrella"} {
		s.h.J("tenant", "create", tenant)
		s.h.As(tenant).J("network", "create", "red")
		s.container("red-a@"+tenant, "red@"+tenant)
		s.container("red-b@"+tenant, "red@"+tenant)
	}
	acme := s.h.As("acme")
	acme.J("network", "create", "--policy", "deny", "vault")
	s.container("vault-a@acme", "vault@acme")
	s.container("red-vault@acme", "red@acme", "vault@acme")
	acme.J("link", "add", "red-vault", "vault-a")
	s.links[[2]string{"red-vault@acme", "vault-a@acme"}] = true
	for port, to := range map[string]string{"18000": "red-a", "18001": "cave-a", "18002": "vault-b", "18003": "blue-a", "18004": "blue-b", "18005": "red-a@acme", "18006": "red-b@umbrella"} {
		s.h.J("port", "add", to, port+":8000", port+":8000/udp")
		s.published[port] = to
		s.exposes[to] = []string{"8000/tcp", "8000/udp"} // what is published is exposed
	}
	return s
}

// container runs one that answers at 8000 (tcp is exposed, udp is not) and 8001.
func (s *street) container(name string, networks ...string) {
	own, plain := s.h, func(full string) string { short, _, _ := strings.Cut(full, "@"); return short }
	if _, tenant, found := strings.Cut(name, "@"); found {
		own = s.h.As(tenant)
	}
	own.J("run", "-d", "--name", plain(name), "--net", plain(networks[0]), "--expose", "8000", "busybox", "probe", "serve", name, "tcp:8000", "udp:8000", "tcp:8001")
	for _, n := range networks[1:] {
		own.J("network", "connect", plain(n), plain(name))
	}
	s.on[name], s.exposes[name] = networks, []string{"8000/tcp"}
	s.h.Eventually(5*time.Second, func() error {
		for _, to := range []string{"tcp:%s:8000", "tcp:%s:8001", "udp:%s:8000"} {
			if got := s.h.TrySh("probe get " + fmt.Sprintf(to, s.h.IP(name, networks[0]))); got.Code != 0 {
				return fmt.Errorf("%s: %s", name, got.Stderr)
			}
		}
		return nil
	})
}

// group makes a security group.
func (s *street) group(name string, rules ...string) {
	args := []string{"sg", "create"}
	for _, r := range rules {
		args = append(args, "--rule", r)
	}
	s.h.J(append(args, name)...)
	s.rules[name] = rules
}

// admitted tells whether the security groups of dest, if it has any, let from in.
func (s *street) admitted(from, dest, port string) bool {
	if from == "host" || len(s.groups[dest]) == 0 {
		return true
	}
	number, proto, _ := strings.Cut(port, "/")
	for _, g := range s.groups[dest] {
		for _, r := range s.rules[g] {
			source, ok := strings.CutPrefix(r, proto+":"+number)
			source = strings.TrimPrefix(source, ":")
			if ok && (source == "" || source == "10.98.0.2" && from == "outside" || slices.Contains(s.groups[from], source)) {
				return true
			}
		}
	}
	return false
}

// reach tells whether source from gets an answer of dest at its address on a
// network.
func (s *street) reach(from, dest, network, port string) bool {
	switch {
	case from == "host" || from == dest:
		return true
	case !s.admitted(from, dest, port):
		return false
	case from == "outside":
		return false
	case !slices.Contains(s.on[from], network):
		return s.joined(from, dest, network, port) // nobody else gets into a network but who is on it
	case s.nets[network] == policyDeny:
		return s.links[[2]string{from, dest}] && slices.Contains(s.exposes[dest], port)
	}
	return true
}

// joined tells whether a link joins two that are on no common network, at this
// network of dest's.
func (s *street) joined(from, dest, network, port string) bool {
	common := slices.ContainsFunc(s.on[from], func(n string) bool { return slices.Contains(s.on[dest], n) })
	if !s.links[[2]string{from, dest}] || common || network != s.gate(dest) {
		return false
	}
	denied := s.nets[s.gate(from)] == policyDeny || s.nets[network] == policyDeny
	return !denied || slices.Contains(s.exposes[dest], port)
}

// gate is the network of a container that links between networks go over.
func (s *street) gate(name string) string {
	for _, n := range s.on[name] {
		if s.nets[n] != policyInternal {
			return n
		}
	}
	return s.on[name][0]
}

// reachPublished tells whether source from gets an answer at a published port:
// whoever gets out of its own network does.
func (s *street) reachPublished(from string) bool {
	return from == "host" || from == "outside" || slices.ContainsFunc(s.on[from], func(n string) bool { return s.nets[n] != policyInternal })
}

// reachGateway tells whether a container gets an answer at a published port of
// the host's address on a network: a tenant's only on a network it is on.
func (s *street) reachGateway(from, network string) bool {
	on := slices.Contains(s.on[from], network)
	if on && s.nets[network] == policyInternal || !on && strings.Contains(from, "@") {
		return false
	}
	return from == "red-a" || s.reachPublished(from)
}

// passage is one case: whom from asks, and who shall answer; - for nobody.
type passage struct{ from, target, want string }

func (s *street) cases() []passage {
	var out []passage
	answer := func(passes bool, name string) string {
		if passes {
			return name
		}
		return "-"
	}
	froms := []string{"host", "outside"}
	for name := range s.on {
		froms = append(froms, name)
	}
	slices.Sort(froms)
	gateways := map[string]string{}
	for n := range s.nets {
		gateways[n] = s.h.J("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", n)
	}
	for _, from := range froms {
		for dest, networks := range s.on {
			for _, n := range networks {
				for _, port := range []string{"8000/tcp", "8000/udp", "8001/tcp"} {
					number, proto, _ := strings.Cut(port, "/")
					target := fmt.Sprintf("%s:%s:%s", proto, s.h.IP(dest, n), number)
					out = append(out, passage{from, target, answer(s.reach(from, dest, n, port), dest)})
				}
			}
		}
		for port, dest := range s.published {
			for _, proto := range []string{"tcp", "udp"} { // on an internal network the publisher alone has a way to the host
				out = append(out, passage{from, proto + ":10.98.0.1:" + port, answer((from == dest || s.reachPublished(from)) && s.admitted(from, dest, "8000/"+proto), dest)})
			}
		}
		if from != "outside" && from != "host" { // the host on the networks' own side, where it has the published ports, too
			for n := range s.nets {
				out = append(out, passage{from, "tcp:" + gateways[n] + ":18000", answer(s.reachGateway(from, n), "red-a")})
			}
		}
		if from != "outside" {
			out = append(out, passage{from, "tcp:10.98.0.2:8000", answer(s.reachPublished(from), "outside")})
		}
	}
	return out
}

// check asks all of it, each source everything at once.
func (s *street) check(title string, cases []passage) {
	t := s.h.T
	t.Helper()
	by := map[string][]passage{}
	for _, c := range cases {
		by[c.from] = append(by[c.from], c)
	}
	var wg sync.WaitGroup
	var asked atomic.Int32 // sources that had to ask somebody twice
	for from, all := range by {
		wg.Go(func() {
			var in strings.Builder
			for _, c := range all {
				if c.want == "-" {
					fmt.Fprintln(&in, c.target)
				} else { // what comes may come late on a busy machine
					fmt.Fprintln(&in, c.target, "10s")
				}
			}
			var r host.Result
			switch from {
			case "host":
				r = s.h.Try(strings.NewReader(in.String()), "probe", "matrix", "1500ms")
			case "outside":
				r = s.outside.Try(strings.NewReader(in.String()), "probe", "matrix", "1500ms")
			default:
				r = s.h.Try(strings.NewReader(in.String()), "jackstay", "exec", "-i", from, "probe", "matrix", "1500ms")
			}
			if r.Code == 0 && strings.Contains(r.Stderr, "datagrams") {
				asked.Add(1)
				t.Logf("%s: from %s: %s", title, from, r.Stderr)
			}
			lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
			if len(lines) != len(all) {
				t.Errorf("%s: %s: %d answers to %d questions: %s", title, from, len(lines), len(all), r.Stderr)
				return
			}
			for i, c := range all {
				if want := c.target + " " + c.want; lines[i] != want {
					t.Errorf("%s: from %s: %q, want %q", title, c.from, lines[i], want)
				}
			}
		})
	}
	wg.Wait()
	if asked.Load() > 0 { // where it may have been lost
		t.Logf("counters of drops:\n%s", s.h.TrySh(drops).Stdout)
	}
}

// drops shows where the kernel may have lost a packet: the queues between
// devices, the neighbour table, which all namespaces of the machine share, its
// queues, connection tracking, and sockets.
const drops = `cut -d' ' -f1,2 /proc/net/softnet_stat; cat /proc/net/stat/arp_cache; conntrack -S; nstat -az | grep -E 'Err|Drop|Discard|Unre' | grep -v ' 0  '; ip -s -o link`

// The policy table as packets: who reaches whom, at which port, and who does not.
func TestPolicyMatrix(t *testing.T) {
	t.Parallel()
	s := newStreet(t)
	cases := s.cases()
	passing := 0
	for _, c := range cases {
		if c.want != "-" {
			passing++
		}
	}
	t.Logf("%d cases, of which %d pass", len(cases), passing)
	if len(cases) < 500 || passing < 100 || len(cases)-passing < 100 {
		t.Errorf("%d cases, of which %d pass: too few", len(cases), passing)
	}
	s.check("as made", cases)
	s.h.KillDaemon()
	s.h.Sh("nft flush ruleset")
	s.h.StartDaemon()
	s.h.Eventually(2*time.Second, func() error {
		if got := askHost(s.h, "10.98.0.1:18000"); !strings.HasPrefix(got, "red-a") {
			return fmt.Errorf("the rules are not back: %q", got)
		}
		return nil
	})
	s.check("after the daemon was killed and the rules flushed", cases)
	// br_netfilter shows what a bridge switches to the host's rules, or it does not.
	const calls = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	if was := s.h.TrySh("cat " + calls); was.Code == 0 {
		s.h.Sh(fmt.Sprintf("echo $((1 - %s)) > %s", strings.TrimSpace(was.Stdout), calls))
		s.check("with br_netfilter the other way", cases)
	}
}
