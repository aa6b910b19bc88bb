//go:build linux

package link

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// nicID is the nth NIC's.
func nicID(n int) string { return id("a1c0", n) }

func TestDevicesComeAndGo(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		ip(t, "link add wan0 type veth peer name far0")
		ip(t, "link set wan0 up")
		ip(t, "link set far0 up")
		ip(t, "addr add 10.7.0.1/24 dev wan0")
		s := &desired.Sandbox{Container: id("c0de", 1), Devices: []desired.Device{
			{NIC: nicID(1), Kind: desired.Macvlan, Name: "eth1", Parent: "wan0", MAC: "02:00:00:00:00:07", MTU: 1400, Addrs: []netip.Prefix{netip.MustParsePrefix("10.7.0.7/24")}},
		}}
		for range 2 { // the second time nothing is to be done
			must(t, h.EnsureSandbox(ctx, s))
			intact(t, h, s, true)
		}
		if got := inside(t, h, s, "ip addr show eth1"); !strings.Contains(got, "10.7.0.7/24") || !strings.Contains(got, "02:00:00:00:00:07") || !strings.Contains(got, "mtu 1400") {
			t.Errorf("inside: %s", got)
		}
		inside(t, h, s, "ip link del eth1")
		intact(t, h, s, false)
		must(t, h.EnsureSandbox(ctx, s))
		intact(t, h, s, true)

		// In the place of the macvlan, under its name: the device itself.
		direct := *s
		direct.Devices = []desired.Device{{NIC: nicID(2), Kind: desired.Direct, Name: "eth1", Parent: "wan0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.7.0.8/24")}}}
		intact(t, h, &direct, false)
		must(t, h.EnsureSandbox(ctx, &direct))
		intact(t, h, &direct, true)
		if l, _ := find(h.nl, "wan0"); l != nil {
			t.Error("the host has the device still")
		}
		must(t, h.DeleteNamespace(ctx, s.Container))
		if got := ip(t, "addr show wan0"); !strings.Contains(got, "inet 10.7.0.1/24") || strings.Contains(got, "10.7.0.8") || !strings.Contains(got, ",UP") || strings.Contains(got, "alias") {
			t.Errorf("given back: %s", got)
		}
		if entries, _ := os.ReadDir(h.movedDir("")); len(entries) > 0 {
			t.Errorf("noted still: %v", entries)
		}
	})
}

func intact(t *testing.T, h *Host, s *desired.Sandbox, want bool) {
	t.Helper()
	got, err := h.ObserveSandbox(context.Background(), s)
	must(t, err)
	if got != want {
		t.Errorf("intact: %t, want %t", got, want)
	}
}

// A daemon that ends between any two steps of a move: the next one finishes it,
// or undoes it.
func TestMoveCutOff(t *testing.T) {
	for _, tt := range []struct {
		name string
		cut  func(t *testing.T, h *Host, s *desired.Sandbox)
	}{
		{"noted, not marked", func(t *testing.T, h *Host, s *desired.Sandbox) {
			l, _ := find(h.nl, "wan0")
			m, err := h.asItIs(l, &s.Devices[0], s.Container)
			must(t, err)
			must(t, h.writeMoved(m))
		}},
		{"marked, not moved", func(t *testing.T, h *Host, s *desired.Sandbox) {
			l, _ := find(h.nl, "wan0")
			m, err := h.asItIs(l, &s.Devices[0], s.Container)
			must(t, err)
			must(t, h.writeMoved(m))
			must(t, h.nl.LinkSetAlias(l, NICAlias+m.NIC))
		}},
		{"on its way back, under another name", func(t *testing.T, h *Host, s *desired.Sandbox) {
			must(t, h.EnsureSandbox(context.Background(), s))
			ip(t, "link add wan0 type bridge")
			if h.DeleteNamespace(context.Background(), s.Container) == nil {
				t.Error("it is back while another link has its name")
			}
			ip(t, "link del wan0")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			on(t, func(t *testing.T, h *Host) {
				ctx := context.Background()
				ip(t, "link add wan0 type veth peer name far0")
				ip(t, "addr add 10.7.0.1/24 dev wan0")
				s := &desired.Sandbox{Container: id("c0de", 1), Devices: []desired.Device{{NIC: nicID(1), Kind: desired.Direct, Name: "eth1", Parent: "wan0"}}}
				tt.cut(t, h, s)
				must(t, h.EnsureSandbox(ctx, s))
				intact(t, h, s, true)
				must(t, h.DeleteNamespace(ctx, s.Container))
				if got := ip(t, "addr show wan0"); !strings.Contains(got, "inet 10.7.0.1/24") {
					t.Errorf("given back: %s", got)
				}
			})
		})
	}
}

func TestDevicesRefused(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ip(t, "link add br0 type bridge")
		ip(t, "link add port0 type veth peer name far0")
		ip(t, "link set port0 master br0")
		for _, tt := range []struct {
			d    desired.Device
			text string
		}{
			{desired.Device{Kind: desired.Macvlan, Parent: "gone0"}, "no device gone0"},
			{desired.Device{Kind: desired.Macvlan, Parent: "port0"}, "the port of a bridge"},
			{desired.Device{Kind: desired.Direct, Parent: "port0"}, "the port of a bridge or bond"},
			{desired.Device{Kind: desired.Direct, Parent: "lo"}, "lo"},
			{desired.Device{Kind: "nonsense", Parent: "far0"}, "unknown kind"},
		} {
			tt.d.NIC, tt.d.Name = nicID(1), "eth1"
			s := &desired.Sandbox{Container: id("c0de", 1), Devices: []desired.Device{tt.d}}
			err := h.EnsureSandbox(context.Background(), s)
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%s on %s: %v, want %q", tt.d.Kind, tt.d.Parent, err, tt.text)
			}
		}
		if entries, _ := os.ReadDir(h.movedDir("")); len(entries) > 0 {
			t.Errorf("noted as moved: %v", entries)
		}
		if got := ip(t, "link show lo"); strings.Contains(got, "alias") {
			t.Errorf("marked: %s", got)
		}
	})
}

// Kinds of links this kernel may lack are named.
func TestMissingKinds(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ip(t, "link add wan0 type veth peer name far0")
		for _, d := range []desired.Device{
			{NIC: nicID(1), Name: "eth1", Kind: desired.Dummy},
			{NIC: nicID(2), Name: "eth2", Kind: desired.VLAN, Parent: "wan0", VLAN: 5},
		} {
			s := &desired.Sandbox{Container: id("c0de", 1), Devices: []desired.Device{d}}
			err := h.EnsureSandbox(context.Background(), s)
			if err == nil {
				intact(t, h, s, true)
				continue
			}
			if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "load the module "+moduleOf(d.Kind)) {
				t.Errorf("%s: %v", d.Kind, err)
			}
		}
	})
}

func TestPlainBridge(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b := &desired.Bridge{Name: "br7", Network: plainNetwork + "br7", MAC: "02:42:00:00:07:07", Plain: true}
		must(t, h.EnsureBridge(ctx, b))
		ip(t, "addr add 192.168.7.1/24 dev br7")
		must(t, h.EnsureBridge(ctx, b))
		if got := ip(t, "addr show br7"); !strings.Contains(got, "192.168.7.1/24") || !strings.Contains(got, b.MAC) {
			t.Errorf("its administrator's address is gone: %s", got)
		}
		if got := observe(t, h).Bridges["br7"]; !got.Plain || got.Network != b.Network {
			t.Errorf("observed %+v", got)
		}
		ip(t, "link set br7 down")
		if got := observe(t, h).Bridges["br7"]; got.Plain {
			t.Errorf("observed as up: %+v", got)
		}
		must(t, h.DeleteBridge(ctx, "br7"))
		ip(t, "link add br7 type bridge") // another's
		if err := h.EnsureBridge(ctx, b); !errs.Is(err, errs.Conflict) {
			t.Errorf("another's bridge: %v", err)
		}
	})
}

func TestRoutesRulesAndTC(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		_, boxes := build(t, h, 1)
		s := *boxes[0]
		p, a := netip.MustParsePrefix, netip.MustParseAddr
		s.Routes = append(s.Routes[:1:1],
			desired.Route{Dst: p("10.1.0.0/16"), Via: a("172.21.0.9"), Metric: 5, Asked: true},
			desired.Route{Dst: p("10.2.0.0/16"), Type: "unreachable", Asked: true},
			desired.Route{Via: a("172.21.0.9"), Dev: "eth0", Table: 300, Asked: true},
			desired.Route{Dst: p("10.3.0.0/16"), Dev: "lo", Asked: true},
		)
		s.Rules = []desired.Rule{
			{Priority: 70, From: p("172.21.0.2/32"), Table: 300}, {Priority: 71, V6: true, To: p("fd00::/8"), Table: 301},
			{Priority: 72, Mark: 7, Mask: 15, IIf: "eth0", Not: true, Table: 255}, {Priority: 73, To: p("10.4.0.0/16"), Action: "blackhole"},
		}
		s.TC = [][]string{strings.Fields("qdisc add dev eth0 root handle 1: tbf rate 8mbit burst 32kbit latency 50ms")}
		inside(t, h, &s, "ip route add 10.1.0.0/16 via 172.21.0.8 metric 5") // the container's own, in the place of one asked for
		inside(t, h, &s, "ip rule add from 1.2.3.4 table 9")
		for range 2 {
			must(t, h.EnsureSandbox(ctx, &s))
			intact(t, h, &s, true)
		}
		got := inside(t, h, &s, "ip route show table all") + inside(t, h, &s, "ip rule") + inside(t, h, &s, "ip -6 rule") + inside(t, h, &s, "tc qdisc")
		for _, want := range []string{
			"default via 172.21.0.1", "10.1.0.0/16 via 172.21.0.9 dev eth0", "unreachable 10.2.0.0/16", "default via 172.21.0.9 dev eth0 table 300", "10.3.0.0/16 dev lo",
			"from 172.21.0.2 lookup 300", "from all to fd00::/8 lookup 301", "not from all fwmark 0x7/0xf iif eth0 lookup local", "to 10.4.0.0/16 blackhole", "from 1.2.3.4 lookup 9", "qdisc tbf 1: dev eth0",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
		inside(t, h, &s, "ip rule del priority 70")
		intact(t, h, &s, false)
		must(t, h.EnsureSandbox(ctx, &s))
		intact(t, h, &s, true)

		// Another line of tc is run beside the first; one that is wrong says so.
		more := s
		more.TC = append(s.TC[:1:1], strings.Fields("qdisc add dev eth0 parent 1: handle 2: pfifo limit 7"))
		must(t, h.EnsureSandbox(ctx, &more))
		if got := inside(t, h, &s, "tc qdisc"); !strings.Contains(got, "pfifo 2:") || !strings.Contains(got, "tbf 1:") {
			t.Errorf("tc: %s", got)
		}
		more.TC = append(s.TC[:1:1], []string{"nonsense"})
		if err := h.EnsureSandbox(ctx, &more); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "nonsense") {
			t.Errorf("a wrong line: %v", err)
		}
		// None of it is left when it is not wanted, and the container's own is.
		plain := *boxes[0]
		must(t, h.EnsureSandbox(ctx, &plain))
		intact(t, h, &plain, true)
		got = inside(t, h, &s, "ip route show table all") + inside(t, h, &s, "ip rule") + inside(t, h, &s, "tc qdisc")
		for _, gone := range []string{"10.1.0.0/16", "10.2.0.0/16", "table 300", "lookup 300", "blackhole", "tbf"} {
			if strings.Contains(got, gone) {
				t.Errorf("%q is left in\n%s", gone, got)
			}
		}
		if !strings.Contains(got, "from 1.2.3.4 lookup 9") {
			t.Errorf("the container's own rule is gone:\n%s", got)
		}
	})
}

// An address that is not leased any more goes; the container's own stay.
func TestLeasedAddresses(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		b := testBridge(1)
		must(t, h.EnsureBridge(ctx, b))
		s := testSandbox(b, 1)
		s.Routes = nil
		i := &s.Interfaces[0]
		i.Leased, i.Addrs = true, nil
		must(t, h.EnsureSandbox(ctx, s))
		inside(t, h, s, "ip addr add 192.0.2.1/24 dev eth0")
		for _, leased := range []string{"172.21.0.50/16", "172.21.0.51/16", ""} {
			next := *s
			next.Interfaces = []desired.Interface{*i}
			if leased != "" {
				next.Interfaces[0].Addrs = []netip.Prefix{netip.MustParsePrefix(leased)}
			}
			must(t, h.EnsureSandbox(ctx, &next))
			got := inside(t, h, s, "ip -o -4 addr show eth0")
			if strings.Count(got, "172.21.0.5") != min(len(leased), 1) || !strings.Contains(got, leased) || !strings.Contains(got, "192.0.2.1/24") {
				t.Errorf("leased %q: %s", leased, got)
			}
		}
	})
}

// Open vSwitch is spoken to by its own program: a stand-in notes what it is told,
// and makes Linux bridges.
func TestOpenVSwitch(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		dir := t.TempDir()
		script := "#!/bin/sh\necho \"$@\" >>" + dir + "/told\nshift\n[ \"$1\" = --may-exist ] && shift\n" +
			"case $1 in\nadd-br) ip link show $2 >/dev/null 2>&1 || ip link add $2 type bridge;;\nadd-port) ip link set $3 master $2;;\nesac\n"
		must(t, os.WriteFile(dir+"/ovs-vsctl", []byte(script), 0o755))
		path := os.Getenv("PATH")
		t.Setenv("PATH", t.TempDir())
		if err := HasOVS(); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "openvswitch-switch") {
			t.Errorf("without ovs-vsctl: %v", err)
		}
		t.Setenv("PATH", dir+":"+path)
		b := &desired.Bridge{Name: "ovsbr0", Network: plainNetwork + "ovsbr0", Plain: true, OVS: true}
		must(t, h.EnsureBridge(ctx, b))
		s := testSandbox(testBridge(1), 1)
		s.Routes = nil
		i := &s.Interfaces[0]
		i.Bridge, i.OVS, i.VLAN = "ovsbr0", true, 5
		must(t, h.EnsureSandbox(ctx, s))
		intact(t, h, s, true)
		told, _ := os.ReadFile(dir + "/told")
		for _, want := range []string{"--may-exist add-br ovsbr0\n", "--may-exist add-port ovsbr0 " + i.Host + " tag=5\n"} {
			if !strings.Contains(string(told), want) {
				t.Errorf("it was not told %q:\n%s", want, told)
			}
		}
	})
}
