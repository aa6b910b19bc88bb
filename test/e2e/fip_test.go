package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// fipTown is a host with a pool of floating IPs on the cable to another
// machine, and the name of the cable's end.
func fipTown(t *testing.T, args ...string) (h, outside *host.Host, dev string) {
	h, outside = host.New(t, args...), host.Bare(t)
	host.Join(h, outside, "10.98.0.1/24", "10.98.0.2/24")
	dev = h.Sh("ip -o -4 addr show to 10.98.0.1/24 | cut -d' ' -f2")
	h.J("fip", "pool", "add", "10.98.0.16/29", "--dev", dev)
	return h, outside, dev
}

// The session of the Hyper.sh document, word for word.
func TestFIPSession(t *testing.T) {
	t.Parallel()
	h, outside, dev := fipTown(t)
	before := h.Sh("ip -o -4 addr")
	serve(h, "web")
	if got := h.J("fip", "allocate", "2"); got != "10.98.0.17\n10.98.0.18" {
		t.Errorf("allocate: %q", got)
	}
	const head = "Floating IP         Container\n"
	if got, want := h.TryJ("fip", "ls").Stdout, head+"10.98.0.17          \n10.98.0.18          \n"; got != want {
		t.Errorf("ls:\n%q\nwant\n%q", got, want)
	}
	if got := h.J("fip", "attach", "10.98.0.17", "web"); got != "" {
		t.Errorf("attach prints %q", got)
	}
	id := h.J("inspect", "-f", "{{.Id}}", "web")
	if got, want := h.TryJ("fip", "ls").Stdout, head+"10.98.0.17          "+id+"\n10.98.0.18          \n"; got != want {
		t.Errorf("ls:\n%q\nwant\n%q", got, want)
	}
	// The container sees the client's own address.
	if got := askHost(outside, "10.98.0.17:8000"); got != "web 10.98.0.2" {
		t.Errorf("through the floating IP: %q", got)
	}
	outside.Sh("ping -c 1 -W 2 10.98.0.17")
	if r := outside.TrySh("ping -c 1 -W 1 10.98.0.18"); r.Code == 0 {
		t.Error("a floating IP that is not attached answers")
	}
	if got := h.Sh("ip -o addr show dev " + dev); !strings.Contains(got, "10.98.0.17/32") || strings.Contains(got, "10.98.0.18") {
		t.Errorf("addresses: %s", got)
	}
	h.Fails(1, []string{"10.98.0.17 is attached to container web: detach it first"}, "fip", "release", "10.98.0.17")
	if got := h.J("fip", "detach", "web"); got != "10.98.0.17" {
		t.Errorf("detach: %q", got)
	}
	if got := h.Sh("ip -o addr show dev " + dev); strings.Contains(got, "10.98.0.17") {
		t.Errorf("left after detach: %s", got)
	}
	if got := h.J("fip", "release", "10.98.0.17", "10.98.0.18"); got != "" {
		t.Errorf("release prints %q", got)
	}
	if got := h.TryJ("fip", "ls").Stdout; got != head {
		t.Errorf("ls after release: %q", got)
	}
	h.J("fip", "pool", "rm", "10.98.0.16/29")
	h.J("rm", "-f", "web")
	if after := h.Sh("ip -o -4 addr"); after != before {
		t.Errorf("addresses left:\n%s\nbefore:\n%s", after, before)
	}
	if got := h.Sh("nft list map inet jackstay fip_in4; nft list map inet jackstay fip_out4"); strings.Contains(got, "elements") {
		t.Errorf("elements left: %s", got)
	}
}

// A floating IP is the container's in both directions, from everywhere.
func TestFIPFromEverywhere(t *testing.T) {
	t.Parallel()
	h, outside, _ := fipTown(t)
	h.J("network", "create", "other")
	h.J("network", "create", "--internal", "inside")
	serve(h, "web", "-p", "8080:8000")
	serve(h, "lb")
	serve(h, "elsewhere", "--network", "other")
	serve(h, "deep", "--network", "inside")
	background(outside, "probe serve outside tcp:8000 udp:8000")
	fips := strings.Fields(h.J("fip", "allocate", "-y", "4"))
	for i, c := range []string{"web", "lb", "elsewhere", "deep"} {
		h.J("fip", "attach", fips[i], c)
	}
	h.J("run", "-d", "--name", "plain", "busybox", "sleep", "1000")
	web, lb, elsewhere, deep := fips[0]+":8000", fips[1]+":8000", fips[2]+":8000", fips[3]+":8000"
	for _, proto := range []string{"", "udp:"} {
		for _, c := range []struct{ from, addr, want string }{
			{"outside", web, "web 10.98.0.2"},
			{"outside", lb, "lb 10.98.0.2"},
			{"outside", elsewhere, "elsewhere 10.98.0.2"},
			{"outside", deep, "deep 10.98.0.2"},
			{"outside", "10.98.0.1:8080", "web 10.98.0.2"},
			{"outside", fips[1] + ":8080", ""}, // web's port is not lb's
			{"host", web, "web " + fips[0]},
			{"plain", web, "web 172.17.0.1"}, // through the bridge and back
			{"plain", elsewhere, "elsewhere " + h.IP("plain", "bridge")},
			{"lb", web, "web " + fips[1]},
			{"lb", elsewhere, "elsewhere " + fips[1]},
			{"elsewhere", web, "web " + fips[2]},
			{"web", web, "web " + fips[0]}, // to itself
			{"web", "10.98.0.2:8000", "outside " + fips[0]},
			{"elsewhere", "10.98.0.2:8000", "outside " + fips[2]},
			{"plain", "10.98.0.2:8000", "outside 10.98.0.1"},
			{"deep", "10.98.0.2:8000", ""}, // internal is internal
			{"deep", web, ""},
		} {
			if c.addr == "10.98.0.1:8080" && proto == "udp:" {
				continue
			}
			var got string
			switch c.from {
			case "outside":
				got = askHost(outside, proto+c.addr)
			case "host":
				got = askHost(h, proto+c.addr)
			default:
				got = ask(h, c.from, proto+c.addr)
			}
			if got != c.want {
				t.Errorf("%sfrom %s to %s: %q, want %q", proto, c.from, c.addr, got, c.want)
			}
		}
	}
}

// A move under a download: the next connection reaches the new container, the
// old one ends, and the network is told.
func TestFIPMove(t *testing.T) {
	t.Parallel()
	h, outside, dev := fipTown(t)
	serve(h, "old")
	serve(h, "new")
	h.J("exec", "-d", "old", "sh", "-c", "yes | nc -l -p 9000")
	fip := h.J("fip", "allocate", "1")
	h.J("fip", "attach", fip, "old")
	peer := outside.Sh("ip -o -4 addr show to 10.98.0.2/24 | cut -d' ' -f2")
	stop := background(outside, "exec tcpdump -Z root -lnei "+peer+" arp >"+outside.Dir+"/arp 2>"+outside.Dir+"/ready")
	outside.Eventually(5*time.Second, func() error {
		if !strings.Contains(outside.TrySh("cat "+outside.Dir+"/ready").Stdout, "listening") {
			return errorf("tcpdump does not listen yet")
		}
		return nil
	})
	background(outside, "busybox nc "+fip+" 9000 >"+outside.Dir+"/got; touch "+outside.Dir+"/ended")
	outside.Eventually(5*time.Second, func() error {
		if outside.Sh("stat -c %s "+outside.Dir+"/got 2>/dev/null || echo 0") < "1" {
			return errorf("nothing is downloaded yet")
		}
		return nil
	})
	h.Fails(1, []string{"floating IP " + fip + " is attached to container old: detach it first, or move it with -f"}, "fip", "attach", fip, "new")
	h.J("fip", "attach", "-f", fip, "new")
	if got := askHost(outside, fip+":8000"); got != "new 10.98.0.2" {
		t.Errorf("the next connection: %q", got)
	}
	mac := h.Sh("ip -o link show dev " + dev + " | grep -o 'ether [0-9a-f:]*' | cut -d' ' -f2")
	want := "Request who-has " + fip + " (ff:ff:ff:ff:ff:ff) tell " + fip
	outside.Eventually(5*time.Second, func() error {
		for line := range strings.Lines(outside.Sh("cat " + outside.Dir + "/arp")) {
			if strings.Contains(line, mac+" > ff:ff:ff:ff:ff:ff") && (strings.Contains(line, want) || strings.Contains(line, "who-has "+fip+" tell "+fip)) {
				return nil
			}
		}
		return errorf("no gratuitous ARP among\n%s", outside.Sh("cat "+outside.Dir+"/arp"))
	})
	stop()
	outside.Eventually(10*time.Second, func() error {
		if outside.TrySh("test -e "+outside.Dir+"/ended").Code != 0 {
			return errorf("the download from the old container goes on")
		}
		return nil
	})
	if got := h.Sh("conntrack -L -d " + fip + " 2>/dev/null | grep -c " + h.IP("old", "bridge") + " || true"); got != "0" {
		t.Errorf("%s tracked flows lead to the old container", got)
	}
	background(outside, "probe serve outside tcp:8000")
	outside.Eventually(5*time.Second, func() error {
		if got := ask(h, "new", "10.98.0.2:8000"); got != "outside "+fip {
			return errorf("outgoing from new: %q", got)
		}
		return nil
	})
	if got := ask(h, "old", "10.98.0.2:8000"); got != "outside 10.98.0.1" {
		t.Errorf("outgoing from old: %q", got)
	}
	// A container that has another one gives that back with -f.
	second := h.J("fip", "allocate", "--pick", "1")
	h.Fails(1, []string{"container new has the floating IP " + fip + " already"}, "fip", "attach", second, "new")
	h.J("fip", "attach", "-f", second, "new")
	if got := h.J("fip", "ls", "-q", "-f", "dangling=true"); got != fip {
		t.Errorf("dangling: %q, want %s", got, fip)
	}
	if got := askHost(outside, fip+":8000"); got != "" {
		t.Errorf("the replaced one answers %q", got)
	}
}

// A floating IP survives what may happen, and is given back with its container.
func TestFIPSurvives(t *testing.T) {
	t.Parallel()
	h, outside, dev := fipTown(t)
	h.J("create", "--name", "web", "busybox", "probe", "serve", "web", "tcp:8000")
	fip := h.J("fip", "allocate", "1")
	h.J("fip", "attach", fip, "web") // stopped: it takes effect at the start
	if got := h.Sh("ip -o addr"); strings.Contains(got, fip) {
		t.Errorf("there before the start: %s", got)
	}
	reached := func(after string, within time.Duration) {
		t.Helper()
		outside.Eventually(within, func() error {
			if got := askHost(outside, fip+":8000"); got != "web 10.98.0.2" {
				return errorf("after %s: %q", after, got)
			}
			return nil
		})
	}
	h.J("start", "web")
	reached("start", 3*time.Second)
	for _, harm := range []string{"nft flush ruleset", "ip addr del " + fip + "/32 dev " + dev, "ip link del jackstay0"} {
		h.Sh(harm)
		// A packet in between is sent again after a second only.
		h.Eventually(time.Second, func() error {
			if got := h.Sh("ip -o addr show dev " + dev + "; nft list ruleset"); strings.Count(got, fip) < 3 {
				return errorf("after %s:\n%s", harm, got)
			}
			return nil
		})
		reached(harm, 5*time.Second)
	}
	h.KillDaemon()
	reached("kill -9", time.Second)
	h.Sh("nft flush ruleset; ip addr del " + fip + "/32 dev " + dev)
	h.StartDaemon()
	reached("kill -9 and repair", 3*time.Second)
	h.J("restart", "-t", "0", "web")
	reached("restart", 3*time.Second)
	h.J("stop", "-t", "0", "web")
	if got := h.Sh("ip -o addr"); strings.Contains(got, fip) {
		t.Errorf("there after the stop: %s", got)
	}
	// Detached while the daemon was away from the kernel's state: it is taken off.
	h.J("start", "web")
	h.KillDaemon()
	h.Sh("ip addr add 10.98.0.22/32 dev " + dev + " label " + dev + ":jk; ip addr add 10.98.0.99/32 dev " + dev)
	h.StartDaemon()
	h.Eventually(3*time.Second, func() error {
		if got := h.Sh("ip -o addr show dev " + dev); strings.Contains(got, "10.98.0.22") || !strings.Contains(got, "10.98.0.99") || !strings.Contains(got, fip) {
			return errorf("addresses: %s", got)
		}
		return nil
	})
	h.J("rm", "-f", "web")
	if got := h.J("fip", "ls", "--format", "{{.FIP}}={{.Container}}"); got != fip+"=" {
		t.Errorf("after the container was removed: %q", got)
	}
	if got := h.Sh("ip -o addr show dev " + dev); strings.Contains(got, fip) {
		t.Errorf("left: %s", got)
	}
}

func TestFIPRefusals(t *testing.T) {
	t.Parallel()
	h, _, dev := fipTown(t)
	h.J("run", "-d", "--name", "web", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "hosted", "--network", "host", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "peer", "--network", "container:web", "busybox", "sleep", "1000")
	fip := h.J("fip", "allocate", "1")
	for _, c := range []struct{ line, want string }{
		{"fip attach 10.98.0.30 web", "no such floating IP: 10.98.0.30"},
		{"fip attach nobody web", "no such floating IP: nobody"},
		{"fip attach " + fip + " nobody", "No such container: nobody"},
		{"fip attach " + fip + " hosted", "container hosted is on no bridge network (its network mode is host)"},
		{"fip attach " + fip + " peer", "container peer is on no bridge network"},
		{"fip detach web", "container web has no floating IP"},
		{"fip detach nobody", "No such container: nobody"},
		{"fip release 10.98.0.1", "no such floating IP: 10.98.0.1"},
		{"fip allocate 0", `can't allocate "0": give how many floating IPs`},
		{"fip allocate many", `can't allocate "many": give how many floating IPs`},
		{"fip allocate " + fip, "can't allocate floating IP " + fip + ": it is allocated already"},
		{"fip allocate 10.98.0.1", "can't allocate floating IP 10.98.0.1: it is in no pool"},
		{"fip allocate 10.98.0.16", "it is the first or the last of pool 10.98.0.16/29"},
		{"fip pool add 10.99.0.0/24", "'jackstay fip pool add' requires --dev: name the host's device"},
		{"fip allocate 6", "can't allocate 6 floating IPs: the pools have 5 free"},
		{"fip name " + fip + " 1.2.3.4", `invalid floating IP name "1.2.3.4"`},
		{"fip name " + fip + " auto", `invalid floating IP name "auto"`},
		{"fip ls -f colour=red", "invalid filter 'colour'"},
		{"fip pool add 10.98.0.16/29 --dev " + dev, "there is a pool 10.98.0.16/29 already"},
		{"fip pool add 10.98.0.0/24 --dev " + dev, "overlaps with pool 10.98.0.16/29"},
		{"fip pool add 10.99.0.1/24 --dev " + dev, "did you mean 10.99.0.0/24?"},
		{"fip pool add 10.99.0.1 --dev " + dev, "has no length"},
		{"fip pool add fe80::/120 --dev " + dev, "can't be addresses of containers"},
		{"fip allocate --pool 10.1.0.0/24 1", "no such pool of floating IPs: 10.1.0.0/24"},
		{"fip allocate --pool 10.98.0.16/29 --pick 1", "takes --pick or --pool"},
		{"fip pool add 172.17.4.0/24 --dev " + dev, "overlaps with network bridge"},
		{"fip pool add 10.99.0.0/24 --dev eth77", "the host has no device eth77"},
		{"fip pool add 10.99.0.0/24 --dev jackstay0", "device jackstay0 is Jackstay's own"},
		{"fip pool rm 10.98.0.16/29", "has 1 floating IPs allocated: release them first"},
		{"fip pool rm 10.1.0.0/24", "no such pool of floating IPs: 10.1.0.0/24"},
		{"network create --subnet 10.98.0.0/20 x", "overlaps"},
	} {
		h.Fails(1, []string{c.want}, strings.Fields(c.line)...)
	}
	h.J("fip", "name", fip, "front")
	if got := h.J("fip", "ls"); got != "Floating IP         Name                Container\n"+fip+"          front" {
		t.Errorf("ls with a name: %q", got)
	}
	if got := h.J("fip", "ls", "-q", "-f", "name=front"); got != fip {
		t.Errorf("by name: %q", got)
	}
	h.J("fip", "attach", "front", "web")
	h.J("fip", "name", fip)
	if got := h.J("fip", "allocate", "10.98.0.21"); got != "10.98.0.21" {
		t.Errorf("a certain one: %q", got)
	}
	h.J("fip", "release", "10.98.0.21")
	// Two attaches at once: one wins, the other is told.
	second := h.J("fip", "allocate", "1")
	h.J("run", "-d", "--name", "aa", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "bb", "busybox", "sleep", "1000")
	out := h.TrySh(fmt.Sprintf("jackstay fip attach %s aa & jackstay fip attach %s bb; echo $?; wait $!; echo $?", second, second))
	if strings.Count(out.Stdout, "0") != 1 || !strings.Contains(out.Stderr, second+" is attached to container") {
		t.Errorf("two at once: %+v", out)
	}
	if got := h.J("fip", "pool", "ls"); !strings.HasSuffix(got, "2                   2") {
		t.Errorf("pool ls: %q", got)
	}
}
