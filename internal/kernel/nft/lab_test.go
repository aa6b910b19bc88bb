//go:build linux

package nft

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// alone runs the calling test in a process of its own, in fresh network and
// mount namespaces, and tells whether this is that process: the test goes on
// only there.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv("JACKSTAY_TEST_ALONE") == t.Name() {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces and loads nf_tables")
	}
	for _, tool := range []string{"unshare", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	cmd := exec.Command("unshare", "--net", "--mount", "--propagation", "private", "/proc/self/exe",
		"-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "60s")
	cmd.Env = append(os.Environ(), "JACKSTAY_TEST_ALONE="+t.Name())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args[5] = self
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if testing.Verbose() {
		t.Logf("%s", out)
	}
	return false
}

// place is a network namespace: a container, another machine, or the host.
type place struct {
	name string
	ns   netns.NsHandle
}

// in runs f on a thread in the place's namespace; the thread ends with it.
func (p *place) in(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread
		if err := netns.Set(p.ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func (p *place) sysctl(t *testing.T, path, value string) {
	t.Helper()
	must(t, p.in(func() error { return os.WriteFile("/proc/sys/net/"+path, []byte(value), 0) }))
}

// run runs a command line in the place.
func (p *place) run(t *testing.T, line string) {
	t.Helper()
	must(t, p.in(func() error {
		args := strings.Fields(line)
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %s: %w: %s", p.name, line, err, out)
		}
		return nil
	}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lab is the namespaces of one test.
type lab struct {
	t      *testing.T
	host   *place
	places map[string]*place
}

func newLab(t *testing.T) *lab {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ns, err := netns.Get()
	must(t, err)
	l := &lab{t: t, host: &place{"host", ns}, places: map[string]*place{}}
	l.places["host"] = l.host
	l.host.run(t, "ip link set lo up")
	l.host.sysctl(t, "ipv4/ip_forward", "1")
	l.host.sysctl(t, "ipv6/conf/all/forwarding", "1")
	l.host.sysctl(t, "ipv6/conf/default/accept_dad", "0")
	return l
}

// bridge makes a bridge with gateway addresses, set up as kernel/link does.
func (l *lab) bridge(name string, addrs ...string) {
	l.t.Helper()
	l.host.run(l.t, "ip link add "+name+" type bridge")
	l.host.sysctl(l.t, "ipv4/conf/"+name+"/route_localnet", "1")
	for _, a := range addrs {
		l.host.run(l.t, "ip addr add "+a+" dev "+name+nodad(a))
	}
	l.host.run(l.t, "ip link set "+name+" up")
}

func nodad(a string) string {
	if strings.Contains(a, ":") {
		return " nodad"
	}
	return ""
}

// attach makes a place with eth0 on a bridge of the host (or, with no bridge,
// on a cable to the host's end, named as the place) and default routes.
func (l *lab) attach(name, bridge string, addrs, gateways []string) *place {
	l.t.Helper()
	p := &place{name: name}
	must(l.t, l.host.in(func() (err error) { p.ns, err = netns.New(); return err }))
	l.t.Cleanup(func() { _ = p.ns.Close() })
	l.places[name] = p
	end := "v" + name
	l.host.run(l.t, "ip link add "+end+" type veth peer name t"+name)
	link, err := netlink.LinkByName("t" + name)
	must(l.t, err)
	must(l.t, netlink.LinkSetNsFd(link, int(p.ns)))
	if bridge != "" {
		l.host.run(l.t, "ip link set "+end+" master "+bridge)
		// Where br_netfilter is loaded, a container reaches its own published port
		// through the port of the bridge it came from.
		l.host.run(l.t, "bridge link set dev "+end+" hairpin on")
	}
	l.host.run(l.t, "ip link set "+end+" up")
	p.sysctl(l.t, "ipv6/conf/default/accept_dad", "0")
	p.run(l.t, "ip link set t"+name+" name eth0")
	for _, a := range addrs {
		p.run(l.t, "ip addr add "+a+" dev eth0"+nodad(a))
	}
	p.run(l.t, "ip link set eth0 up")
	for _, g := range gateways {
		p.run(l.t, "ip route add default via "+g)
	}
	return p
}

// serve answers on TCP and UDP with the place's name and the client's address
// as it sees it. The UDP socket is bound to addr, so that answers come from it.
func (p *place) serve(t *testing.T, addr string) {
	t.Helper()
	var ln net.Listener
	var pc net.PacketConn
	must(t, p.in(func() (err error) {
		if ln, err = net.Listen("tcp", addr); err != nil {
			return err
		}
		pc, err = net.ListenPacket("udp", addr)
		return err
	}))
	t.Cleanup(func() { _ = ln.Close(); _ = pc.Close() })
	answer := func(a net.Addr) []byte {
		h, _, _ := net.SplitHostPort(a.String())
		h, _, _ = strings.Cut(h, "%")
		return []byte(p.name + " sees " + h)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write(answer(c.RemoteAddr()))
			_ = c.Close()
		}
	}()
	go func() {
		buf := make([]byte, 100)
		for {
			_, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(answer(from), from)
		}
	}()
}

// probeTimeout is how long nothing must come where nothing shall, and patience
// how long is waited for what shall: a busy machine may be late.
const probeTimeout, patience = 700 * time.Millisecond, 5 * time.Second

// waitFor is how long is waited for what shall come, or shall not.
func waitFor(comes bool) time.Duration {
	if comes {
		return patience
	}
	return probeTimeout
}

// ask connects and gives the answer, or "" when none comes, as is wanted or not.
func (p *place) ask(network, addr, want string) string {
	timeout := waitFor(want != "")
	buf := make([]byte, 100)
	n := 0
	_ = p.in(func() error {
		d := net.Dialer{Timeout: timeout}
		c, err := d.Dial(network, addr)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(timeout))
		if network == "udp" {
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
		}
		n, err = c.Read(buf)
		return err
	})
	return string(buf[:n])
}

// probe is one line of a packet matrix: who asks whom, and the answer; "": none.
type probe struct{ from, to, want string }

// matrix asks everything at once, over TCP and UDP.
func (l *lab) matrix(title string, probes []probe) {
	l.t.Helper()
	var wg sync.WaitGroup
	for _, p := range probes {
		for _, network := range []string{"tcp", "udp"} {
			wg.Go(func() {
				if got := l.places[p.from].ask(network, p.to, p.want); got != p.want {
					l.t.Errorf("%s: %s to %s by %s: got %q, want %q", title, p.from, p.to, network, got, p.want)
				}
			})
		}
	}
	wg.Wait()
}

// nft runs an nft command line on the host and gives its output.
func (l *lab) nft(args ...string) string {
	l.t.Helper()
	out, err := exec.Command("nft", args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("nft %v: %v: %s", args, err, out)
	}
	return string(out)
}

// macOf gives the hardware address of a link of the thread's namespace.
func macOf(name string) (string, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return "", err
	}
	return link.Attrs().HardwareAddr.String(), nil
}

func pingOnce(addr string) error {
	return exec.Command("ping", "-c", "1", "-W", "1", addr).Run()
}
