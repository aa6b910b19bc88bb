package netplan

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// After a swap each container keeps what is on its interface, and what leads to
// it leads there, whoever the address is of; when one is gone, the other has
// its own address on the interface as well.
func TestMoved(t *testing.T) {
	w := newWorld()
	w.network("n", "dev", "10.1.0.0/24")
	blue, green := w.container("aaaaaaaaaaaa", "blue"), w.container("bbbbbbbbbbbb", "green")
	ea, eb := w.join(blue, "n", "10.1.0.2"), w.join(green, "n", "10.1.0.3")
	publish(green, "0.0.0.0", 8080, 80, "tcp")
	f := w.fip(green, "203.0.113.17")
	f.ExposeOnly, f.Finishing = true, blue.ID
	green.Config.ExposedPorts = []model.Port{{Number: 80, Proto: "tcp"}}
	a1, a2 := ea.IPv4, eb.IPv4
	ea.IPv4, ea.Inside4, eb.IPv4, eb.Inside4 = a2, a1, a1, a2
	var pl Planner
	on := func(s *desired.State, c *model.Container) string {
		return fmt.Sprint(s.Sandboxes[c.ID].Interfaces[0].Addrs)
	}
	s := pl.Plan(w.snapshot(), facts())
	fw := s.Firewall
	if on(s, blue) != "[10.1.0.2/24]" || on(s, green) != "[10.1.0.3/24]" {
		t.Errorf("on the interfaces: %s and %s", on(s, blue), on(s, green))
	}
	if len(fw.Moved) != 2 || fw.Moved[desired.MovedKey{Bridge: "jk-n", Addr: a1.Addr()}] != a2.Addr() || len(fw.Swapped) != 2 {
		t.Errorf("moved %v, swapped %v", fw.Moved, fw.Swapped)
	}
	if names := s.Zones.Networks["n"].Names; !slices.Equal(names["green"], []netip.Addr{a1.Addr()}) || !slices.Equal(names["blue"], []netip.Addr{a2.Addr()}) {
		t.Errorf("names: %v", names)
	}
	for _, to := range fw.PublishAny {
		if to.IP != a2.Addr() {
			t.Errorf("the port leads to %v", to)
		}
	}
	if fw.FIPIn[f.Address] != a2.Addr() || fw.FIPOut[a2.Addr()] != f.Address || fw.Finishing[f.Address] != a1.Addr() {
		t.Errorf("floating IP: in %v, out %v, finishing %v", fw.FIPIn, fw.FIPOut, fw.Finishing)
	}
	if _, only := fw.FIPOnly[f.Address]; !only || len(fw.FIPPorts) != 1 {
		t.Errorf("its ports: %v, %v", fw.FIPOnly, fw.FIPPorts)
	}
	for _, c := range []struct {
		e  *model.Endpoint
		at netip.Prefix
	}{{ea, a1}, {eb, a2}} {
		if _, ok := fw.Sources[desired.Source{Port: hostEnd(c.e), MAC: c.e.MAC, Addr: c.at.Addr()}]; !ok {
			t.Errorf("what is on the interface can't send from %s: %v", c.at, fw.Sources)
		}
	}
	blueLine := file(t, w, facts(), blue.ID, "hosts")
	if want := hostsHead + "10.1.0.2\taaaaaaaaaaaa\n"; blueLine != want {
		t.Errorf("blue's hosts: %q", blueLine)
	}

	stopped := *blue
	stopped.Active = false
	w.Containers[blue.ID] = &stopped
	s = pl.Plan(w.snapshot(), facts())
	if on(s, green) != "[10.1.0.3/24 10.1.0.2/24]" || len(s.Firewall.Moved) != 1 || len(s.Firewall.Finishing) != 0 {
		t.Errorf("without blue: %s, moved %v, finishing %v", on(s, green), s.Firewall.Moved, s.Firewall.Finishing)
	}

	back := *eb
	back.IPv4, back.Inside4 = a2, a2
	w.Containers[blue.ID], w.Endpoints[eb.ID] = blue, &back
	backA := *ea
	backA.IPv4, backA.Inside4 = a1, a1
	w.Endpoints[ea.ID] = &backA
	s = pl.Plan(w.snapshot(), facts())
	if len(s.Firewall.Moved) != 0 || len(s.Firewall.Swapped) != 2 || on(s, green) != "[10.1.0.3/24]" {
		t.Errorf("swapped back: moved %v, swapped %v, %s", s.Firewall.Moved, s.Firewall.Swapped, on(s, green))
	}
}

// The same by IPv6, beside IPv4 or alone.
func TestMoved6(t *testing.T) {
	w := newWorld()
	n := w.network("n", "dev", "10.1.0.0/24")
	subnet := netip.MustParsePrefix("fd00:1::/64")
	n.EnableIPv6, n.Subnets = true, append(n.Subnets, model.Subnet{Prefix: subnet, Gateway: netip.MustParseAddr("fd00:1::1")})
	blue, green := w.container("aaaaaaaaaaaa", "blue"), w.container("bbbbbbbbbbbb", "green")
	ea, eb := w.join(blue, "n", "10.1.0.2"), w.join(green, "n", "10.1.0.3")
	a1, a2 := netip.MustParsePrefix("fd00:1::a/64"), netip.MustParsePrefix("fd00:1::b/64")
	ea.IPv6, ea.Inside6, eb.IPv6, eb.Inside6 = a2, a1, a1, a2
	publish(green, "::", 8080, 80, "tcp")
	var pl Planner
	s := pl.Plan(w.snapshot(), facts())
	fw := s.Firewall
	on := func(c *model.Container) string { return fmt.Sprint(s.Sandboxes[c.ID].Interfaces[0].Addrs) }
	if on(blue) != "[10.1.0.2/24 fd00:1::a/64]" || on(green) != "[10.1.0.3/24 fd00:1::b/64]" {
		t.Errorf("on the interfaces: %s and %s", on(blue), on(green))
	}
	if len(fw.Moved) != 2 || fw.Moved[desired.MovedKey{Bridge: "jk-n", Addr: a1.Addr()}] != a2.Addr() || len(fw.Swapped) != 2 {
		t.Errorf("moved %v, swapped %v", fw.Moved, fw.Swapped)
	}
	if names := s.Zones.Networks["n"].Names; !slices.Contains(names["green"], a1.Addr()) || slices.Contains(names["green"], a2.Addr()) {
		t.Errorf("names: %v", names)
	}
	for _, to := range fw.PublishAny {
		if to.IP != a2.Addr() {
			t.Errorf("the port leads to %v", to)
		}
	}
	for _, a := range []netip.Prefix{a1, a2} {
		if _, ok := fw.Addresses[a.Addr()]; !ok {
			t.Errorf("%s is nobody's", a)
		}
	}
	stopped := *blue
	stopped.Active = false
	w.Containers[blue.ID] = &stopped
	s = pl.Plan(w.snapshot(), facts())
	if on(green) != "[10.1.0.3/24 fd00:1::b/64 fd00:1::a/64]" || len(s.Firewall.Moved) != 1 {
		t.Errorf("without blue: %s, moved %v", on(green), s.Firewall.Moved)
	}
}
