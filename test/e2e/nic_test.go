package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// inside runs a shell line in a container.
func inside(h *host.Host, container, line string) string {
	h.T.Helper()
	return h.J("exec", container, "sh", "-c", line)
}

// lan makes another machine on a bridge of the host's, with an address, and
// gives its namespace's name for `ip netns exec`.
func lan(h *host.Host, bridge, addr string) (run func(line string) string) {
	h.T.Helper()
	h.Sh("mkdir -p /run/netns; ip netns add far-" + bridge + "; ip link add far" + bridge + " type veth peer name lan0 netns far-" + bridge +
		"; ip link set far" + bridge + " master " + bridge + " up; ip -n far-" + bridge + " link set lan0 up; ip -n far-" + bridge + " link set lo up; ip -n far-" + bridge + " addr add " + addr + " dev lan0")
	h.T.Cleanup(func() { h.TrySh("ip netns del far-" + bridge) })
	return func(line string) string {
		h.T.Helper()
		return strings.TrimSpace(h.TrySh("ip netns exec far-" + bridge + " " + line).Stdout)
	}
}

// The pipework document: three containers, a static address on a second
// interface on the default bridge, reached and announced; it survives restarts
// of container and daemon.
func TestPipeworkDocument(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	serve(h, "ElasticSearch")
	serve(h, "MongoDB")
	serve(h, "Tomcat", "--link", "MongoDB:db", "--link", "ElasticSearch:es", "-p", "8080:8000")
	listen := listening(h, "tcpdump -lnei jackstay0 arp and host 172.17.0.201")
	if got := h.J("nic", "add", "Tomcat", "--on", "jackstay0", "--ip", "172.17.0.201/16"); got != "eth1" {
		t.Errorf("nic add printed %q", got)
	}
	check := func(when string) {
		t.Helper()
		for _, from := range []string{"ElasticSearch", "MongoDB"} {
			if got := get(h, from, "172.17.0.201:8000"); got != "Tomcat" {
				t.Errorf("%s: %s asks 172.17.0.201: %q", when, from, got)
			}
		}
		answers(h, "172.17.0.201:8000", "Tomcat")
		answers(h, "127.0.0.1:8080", "Tomcat")
		if got := get(h, "Tomcat", "db:8000"); got != "MongoDB" {
			t.Errorf("%s: the link: %q", when, got)
		}
		// Each address is behind its own MAC, so that the network may insist on it.
		if got := h.Sh("ip neigh flush dev jackstay0; ping -c1 -W1 172.17.0.201 >/dev/null; ip neigh show 172.17.0.201"); !strings.Contains(got, "02:42:ac:11:00:c9") {
			t.Errorf("%s: neighbour %s", when, got)
		}
		if got := inside(h, "Tomcat", "ip -o -4 addr show eth1"); !strings.Contains(got, "172.17.0.201/16") {
			t.Errorf("%s: eth1 is %s", when, got)
		}
	}
	check("added")
	h.Eventually(2*time.Second, func() error {
		if out := listen(); !strings.Contains(out, "Request who-has 172.17.0.201 tell 172.17.0.201") {
			return errorf("no gratuitous ARP: %s", out)
		}
		return nil
	})
	h.J("restart", "-t", "0", "Tomcat")
	h.Eventually(5*time.Second, func() error {
		if askHost(h, "172.17.0.201:8000") == "" {
			return errorf("no answer after the restart")
		}
		return nil
	})
	check("container restarted")
	h.KillDaemon()
	h.StartDaemon()
	check("daemon killed")
	h.Fails(1, []string{"172.17.0.201", "already"}, "nic", "add", "MongoDB", "--on", "bridge", "--ip", "172.17.0.201/16")
	h.Fails(1, []string{"no interface eth7: it has eth0, eth1"}, "nic", "rm", "Tomcat", "eth7")
	h.J("nic", "rm", "Tomcat", "eth1")
	if got := askHost(h, "172.17.0.201:8000"); got != "" {
		t.Errorf("the removed NIC answers %q", got)
	}
	answers(h, "127.0.0.1:8080", "Tomcat")
}

// listening runs a command that listens; what it has printed so far is given.
func listening(h *host.Host, line string) (printed func() string) {
	h.T.Helper()
	file := h.Dir + "/listen"
	background(h, line+" >"+file+" 2>&1")
	h.Eventually(5*time.Second, func() error {
		if !strings.Contains(h.TrySh("cat "+file).Stdout, "listening on") {
			return errorf("it does not listen yet")
		}
		return nil
	})
	return func() string { return h.TrySh("cat " + file).Stdout }
}

// NICs on bridges: one that is made and goes, one that is there and stays.
func TestNICsOnBridges(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Sh("ip link add lanbr0 type bridge && ip link set lanbr0 up && ip addr add 192.168.9.1/24 dev lanbr0")
	shape := func() string {
		return h.Sh("ip -o -4 addr show lanbr0; ip link show master lanbr0 | grep -c 'alias jackstay:' || true; ip -d -o link show lanbr0 | grep -o stp_state.[01]")
	}
	before := shape()
	far := lan(h, "lanbr0", "192.168.9.2/24")
	serve(h, "ape")
	h.J("run", "-d", "--name", "bee", "--network", "none", "busybox", "probe", "serve", "bee", "tcp:8000")
	h.J("create", "--name", "cat", "--network", "none", "busybox", "probe", "serve", "cat", "tcp:8000")
	events := h.Dir + "/events"
	background(h, "jackstay events --format '{{.Type}} {{.Action}} {{.Actor.Attributes.nic}} {{.Actor.Attributes.on}}' >"+events)
	h.Eventually(10*time.Second, func() error { // it listens once it tells something
		h.J("exec", "ape", "true")
		if h.Sh("cat "+events) == "" {
			return errorf("no event is told")
		}
		return nil
	})

	// Made by us: it reaches nobody but those on it, and goes with the last.
	h.J("nic", "add", "ape", "--on", "br1", "--ip", "192.168.4.25/20", "--name", "lan", "--host-name", "a-lan", "--mac-from", "fruit", "--mtu", "1400")
	h.J("nic", "add", "bee", "--on", "br1", "--ip", "192.168.4.26/20,192.168.4.25")
	if got := h.J("nic", "add", "cat", "--on", "br1", "--ip", "192.168.4.27/20"); got != "eth1" { // stopped: from its start on
		t.Errorf("nic add printed %q", got)
	}
	if got := get(h, "ape", "192.168.4.26:8000"); got != "bee" {
		t.Errorf("ape asks bee over br1: %q", got)
	}
	if got := get(h, "bee", "192.168.4.25:8000"); got != "ape" {
		t.Errorf("bee asks ape over br1: %q", got)
	}
	if got := inside(h, "ape", "ip link show lan"); !strings.Contains(got, "mtu 1400") || !strings.Contains(got, "link/ether 02:e0:de:ff:34:9b") {
		t.Errorf("lan is %s", got) // md5sum of fruit without a newline
	}
	if got := h.Sh("ip -o link show a-lan"); !strings.Contains(got, "master br1") {
		t.Errorf("the host end is %s", got)
	}
	if got := inside(h, "bee", "ip route"); !strings.Contains(got, "default via 192.168.4.25 dev eth1") {
		t.Errorf("routes of bee: %s", got)
	}
	h.J("start", "cat")
	h.Eventually(5*time.Second, func() error {
		if got := get(h, "ape", "192.168.4.27:8000"); got != "cat" {
			return errorf("cat, started with its NIC, answers %q", got)
		}
		return nil
	})
	// What its administrator gives the bridge stays, and what others break is mended.
	h.Sh("ip addr add 192.168.4.1/20 dev br1")
	for _, harm := range []string{"ip link del a-lan", "ip link set br1 down", "ip link del br1"} {
		h.Sh(harm)
		h.Eventually(3*time.Second, func() error {
			if got := get(h, "bee", "192.168.4.25:8000"); got != "ape" {
				return errorf("after %s: %q", harm, got)
			}
			return nil
		})
	}
	h.Sh("ip addr add 192.168.4.1/20 dev br1")
	answers(h, "192.168.4.25:8000", "ape")
	h.J("nic", "rm", "ape", "lan")
	h.J("nic", "rm", "bee", "eth1")
	answers(h, "192.168.4.27:8000", "cat")
	h.J("rm", "-f", "cat")
	h.Eventually(2*time.Second, func() error {
		if r := h.TrySh("ip link show br1"); r.Code == 0 {
			return errorf("br1 is there without a NIC on it: %s", r.Stdout)
		}
		return nil
	})

	// Not ours: our port comes and goes, the rest is as it was.
	h.J("nic", "add", "ape", "--on", "lanbr0", "--ip", "192.168.9.10/24", "--route", "10.77.0.0/16,192.168.9.2")
	answers(h, "192.168.9.10:8000", "ape")
	if got := far("probe get tcp:192.168.9.10:8000"); !strings.HasPrefix(got, "ape 192.168.9.2") {
		t.Errorf("from the bridge's network: %q", got)
	}
	if got := inside(h, "ape", "ip route"); !strings.Contains(got, "10.77.0.0/16 via 192.168.9.2 dev eth1") {
		t.Errorf("routes of ape: %s", got)
	}
	h.Sh("ip addr add fd00:9::1/64 dev lanbr0 nodad")
	h.J("nic", "add", "bee", "--on", "lanbr0", "--ip", "fd00:9::5/64,fd00:9::1", "--ip", "192.168.9.11/24")
	answers(h, "[fd00:9::5]:8000", "bee")
	if got := inside(h, "bee", "ip -6 route"); !strings.Contains(got, "default via fd00:9::1 dev eth1") {
		t.Errorf("IPv6 routes of bee: %s", got)
	}
	h.J("nic", "rm", "bee", "eth1")
	h.Sh("ip addr del fd00:9::1/64 dev lanbr0")
	for _, c := range []struct{ text, args string }{
		{"No such container: nobody", "nobody --on br1"},
		{"no network, bridge or device of that name", "ape --on nowhere0"},
		{"container ape has an interface eth1 already", "ape --on lanbr0 --name eth1"},
		{"192.168.9.10 is already in use on lanbr0 by container ape", "bee --on lanbr0 --ip 192.168.9.10/24"},
		{"192.168.9.1 is the host's own, on lanbr0", "bee --on lanbr0 --ip 192.168.9.1/24"},
		{"invalid MAC address", "ape --on lanbr0 --mac 02:00"},
		{"--mac and --mac-from", "ape --on lanbr0 --mac 02:00:00:00:00:01 --mac-from x"},
		{"MAC address 02:42:c0:a8:09:0a is already in use on lanbr0 by container ape", "bee --on lanbr0 --mac 02:42:c0:a8:09:0a"},
		{"the host has a bridge named lanbr0 already", "ape --on lanbr0 --host-name lanbr0"},
		{"of another family", "ape --on lanbr0 --ip 192.168.9.9/24,fd00::1"},
		{"in no subnet of the NIC's addresses", "ape --on lanbr0 --ip 192.168.9.9/24,10.0.0.1"},
		{"with the length of its subnet", "ape --on lanbr0 --ip 192.168.9.9"},
		{"broadcast", "ape --on lanbr0 --ip 192.168.9.255/24"},
		{"a NIC's address is leased or given, not both", "ape --on lanbr0 --ip 192.168.9.9/24 --dhcp"},
		{"--direct moves a device", "ape --on lanbr0 --direct"},
		{"CONFIG_BRIDGE_VLAN_FILTERING", "ape --on lanbr0 --vlan 5"},
		{"VLAN", "ape --on lanbr0 --vlan 4095"},
		{"modprobe dummy", "ape --on dummy"},
		{"ovs-vsctl: install openvswitch-switch", "ape --on ovsbr1"},
		{"loopback", "ape --on lo"},
		{"an interface of Jackstay's own", "ape --on " + h.Sh("ip -o link | grep -o 'jv[0-9a-f]*' | head -1")},
		{"invalid MTU", "ape --on lanbr0 --mtu 20"},
		{"invalid interface name", "ape --on lanbr0 --name this-name-is-too-long"},
		{"10.9.9.9 is in no subnet", "ape --on lanbr0 --ip 192.168.9.77/24 --route 10.0.0.0/8,10.9.9.9"},
		{"no bridge that a NIC", "ape --on host"},
		{"172.17.0.2", "ape --on bridge --ip 172.17.0.2/16"},
		{"give the address as 172.17.0.99/16", "ape --on bridge --ip 172.17.0.99/24"},
		{"addresses on a network are Jackstay's", "ape --on bridge --dhcp"},
	} {
		h.Fails(1, []string{c.text}, append([]string{"nic", "add"}, strings.Fields(c.args)...)...)
	}
	h.J("run", "-d", "--name", "inhost", "--network", "host", "busybox", "sleep", "1000")
	h.J("run", "-d", "--name", "joined", "--network", "container:ape", "busybox", "sleep", "1000")
	h.Fails(1, []string{"container inhost is in the host's network"}, "nic", "add", "inhost", "--on", "lanbr0")
	h.Fails(1, []string{"container joined is in the network of container ape"}, "nic", "add", "joined", "--on", "lanbr0")
	if got := h.J("nic", "ls", "-q", "ape"); got != "eth0\neth1" {
		t.Errorf("after what was refused, ape has %q", got)
	}
	if got := h.J("nic", "ls", "--format", "{{.Name}} {{.On}} {{.Kind}} {{.Addresses}}", "ape"); !strings.Contains(got, "eth1 lanbr0 bridge 192.168.9.10/24") {
		t.Errorf("nic ls: %s", got)
	}
	if got := h.J("inspect", "-f", "{{range .NetworkSettings.NICs}}{{.Name}}={{index .Addresses 0}} {{end}}", "ape"); !strings.Contains(got, "eth1=192.168.9.10/24") {
		t.Errorf("inspect: %s", got)
	}
	h.J("nic", "rm", "ape", "eth1")
	h.Sh("ip netns del far-lanbr0") // whose link the kernel takes away when it gets to it
	h.Eventually(2*time.Second, func() error {
		if after := shape(); after != before {
			return errorf("lanbr0 is\n%s\nand was\n%s", after, before)
		}
		return nil
	})
	for _, want := range []string{"container nic-add lan br1", "container nic-remove lan br1", "container nic-add eth1 lanbr0"} {
		if got := h.Sh("cat " + events); !strings.Contains(got, want) {
			t.Errorf("events lack %q:\n%s", want, got)
		}
	}
}
