package netplan

import (
	"net/netip"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// six gives a network IPv6, fd00:N::/64, and each of its endpoints the address
// that ends as that of IPv4 does.
func (w world) six(id, prefix string, eps ...*model.Endpoint) {
	p := netip.MustParsePrefix(prefix)
	n := w.Networks[id]
	n.EnableIPv6 = true
	n.Subnets = append(n.Subnets, model.Subnet{Prefix: p, Gateway: p.Addr().Next()})
	for _, e := range eps {
		a := p.Addr().As16()
		a[15] = e.IPv4.Addr().As4()[3]
		e.IPv6 = netip.PrefixFrom(netip.AddrFrom16(a), 64)
	}
}

func TestLinkLocal(t *testing.T) {
	for mac, want := range map[string]string{"02:42:ac:11:00:02": "fe80::42:acff:fe11:2", "00:16:3e:00:00:01": "fe80::216:3eff:fe00:1"} {
		if got := linkLocal(mac); got != netip.MustParseAddr(want) {
			t.Errorf("of %s: %s, want %s", mac, got, want)
		}
	}
	if got := linkLocal("none"); got.IsValid() {
		t.Errorf("of no MAC: %s", got)
	}
}

// IPv6 addresses have owners and ports as those of IPv4 have, and links open
// both on a network that denies.
func TestPolicyOfIPv6(t *testing.T) {
	w := newWorld()
	w.network("n", "dev", "10.1.0.0/24").Deny = true
	c, d := w.container("aaaaaaaaaaaa", "cc"), w.container("bbbbbbbbbbbb", "dd")
	e, f := w.join(c, "n", "10.1.0.2"), w.join(d, "n", "10.1.0.3")
	e.MAC, f.MAC = "02:42:0a:01:00:02", "02:42:0a:01:00:03"
	w.six("n", "fd00:1::/64", e, f)
	w.link(c, d, "n", "db").Ports = []model.PortRange{{First: 80, Last: 81, Proto: "tcp"}}
	d.Active = true
	stopped := w.container("cccccccccccc", "ee")
	stopped.Active = false
	g := w.join(stopped, "n", "10.1.0.4")
	g.MAC = "02:42:0a:01:00:04"
	w.six("n", "fd00:1::/64", g)
	fw := Plan(w.snapshot(), facts()).Firewall

	for _, a := range []string{"fd00:1::1", "fd00:1::2", "fd00:1::3", "fd00:1::4", "fe80::42:aff:fe01:4", linkLocal(bridgeMAC("n")).String()} {
		if _, ok := fw.Addresses[netip.MustParseAddr(a)]; !ok {
			t.Errorf("%s is nobody's", a)
		}
	}
	for _, a := range []string{"10.1.0.2", "fd00:1::2", "fe80::42:aff:fe01:2"} {
		if _, ok := fw.Sources[desired.Source{Port: hostEnd(e), MAC: e.MAC, Addr: netip.MustParseAddr(a)}]; !ok {
			t.Errorf("cc may not send from %s", a)
		}
	}
	if len(fw.Sources) != 6 {
		t.Errorf("%d sources: %v", len(fw.Sources), fw.Sources)
	}
	for _, pair := range [][2]string{{"10.1.0.2", "10.1.0.3"}, {"fd00:1::2", "fd00:1::3"}} {
		flow := desired.Flow{From: netip.MustParseAddr(pair[0]), To: netip.MustParseAddr(pair[1]), Proto: "tcp", First: 80, Last: 81}
		if _, ok := fw.Flows[flow]; !ok {
			t.Errorf("no flow %v", flow)
		}
	}
	if len(fw.Flows) != 2 {
		t.Errorf("flows %v", fw.Flows)
	}
}

// A floating IP leads to the address of its own family, or nowhere.
func TestFloatingIPv6(t *testing.T) {
	w := newWorld()
	w.network("n", "dev", "10.1.0.0/24")
	c := w.container("aaaaaaaaaaaa", "cc")
	e := w.join(c, "n", "10.1.0.2")
	pool := &model.FIPPool{Prefix: netip.MustParsePrefix("2001:db8:1::10/124"), Device: "eth9"}
	f := &model.FloatingIP{Address: netip.MustParseAddr("2001:db8:1::11"), ContainerID: c.ID, Pool: pool.Prefix}
	w.FIPPools, w.FIPs = map[string]*model.FIPPool{pool.ID(): pool}, map[string]*model.FloatingIP{f.ID(): f}
	if s := Plan(w.snapshot(), facts()); len(s.Addresses)+len(s.Firewall.FIPIn)+len(s.Firewall.FIPOut) > 0 {
		t.Errorf("without IPv6: %v", s.Firewall.FIPIn)
	}
	w.six("n", "fd00:1::/64", e)
	s := Plan(w.snapshot(), facts())
	inside := netip.MustParseAddr("fd00:1::2")
	if s.Firewall.FIPIn[f.Address] != inside || s.Firewall.FIPOut[inside] != f.Address || s.Addresses[desired.DeviceAddress{Device: "eth9", Addr: f.Address}] != c.ID {
		t.Errorf("in %v, out %v, addresses %v", s.Firewall.FIPIn, s.Firewall.FIPOut, s.Addresses)
	}
}

// Security groups let in by both families what names neither.
func TestGroupsOfIPv6(t *testing.T) {
	w := newWorld()
	w.network("n", "dev", "10.1.0.0/24")
	c := w.container("aaaaaaaaaaaa", "cc")
	e := w.join(c, "n", "10.1.0.2")
	e.MAC = "02:42:0a:01:00:02"
	w.six("n", "fd00:1::/64", e)
	w.SecurityGroups = map[string]*model.SecurityGroup{"g": {ID: "g", Rules: []model.GroupRule{
		{Proto: "icmp", Source: netip.MustParsePrefix("0.0.0.0/0")}, {Proto: "tcp", First: 80, Last: 80, Group: "g"},
	}}}
	c.SecurityGroups = []string{"g"}
	fw := Plan(w.snapshot(), facts()).Firewall
	if len(fw.Guarded) != 3 { // the link-local address too, which nothing lets in to
		t.Errorf("guarded: %v", fw.Guarded)
	}
	six := netip.MustParseAddr("fd00:1::2")
	if fw.Members[six] == 0 || fw.Members[six] != fw.Members[e.IPv4.Addr()] || len(fw.Members) != 2 {
		t.Errorf("members: %v", fw.Members)
	}
	for a := range fw.Admit {
		if want := map[bool]uint8{true: 58, false: 1}[a.To.Is6()]; a.FirstProto != want || a.From.Is6() != a.To.Is6() {
			t.Errorf("admitted: %v", a)
		}
	}
	if len(fw.Admit) != 2 || len(fw.AdmitMembers) != 2 {
		t.Errorf("admissions %v, of members %v", fw.Admit, fw.AdmitMembers)
	}
}
