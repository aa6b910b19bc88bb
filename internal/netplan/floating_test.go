package netplan

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// fip attaches a floating IP of a pool on eth9 to a container.
func (w world) fip(c *model.Container, addr string) *model.FloatingIP {
	pool := &model.FIPPool{Prefix: netip.MustParsePrefix("203.0.113.16/28"), Device: "eth9"}
	f := &model.FloatingIP{Address: netip.MustParseAddr(addr), ContainerID: c.ID, Pool: pool.Prefix}
	if w.FIPs == nil {
		w.FIPs, w.FIPPools = map[string]*model.FloatingIP{}, map[string]*model.FIPPool{}
	}
	w.FIPPools[pool.ID()], w.FIPs[f.ID()] = pool, f
	return f
}

func TestFloating(t *testing.T) {
	const addr = "203.0.113.17"
	for _, tc := range []struct {
		name string
		set  func(w world, c *model.Container)
		to   string // the container's address it leads to; empty: nothing is planned
	}{
		{"on one network", func(w world, c *model.Container) { w.join(c, "n", "10.1.0.2") }, "10.1.0.2"},
		{"stopped", func(w world, c *model.Container) { w.join(c, "n", "10.1.0.2"); c.Active = false }, ""},
		{"on no network", func(world, *model.Container) {}, ""},
		{"in another's namespace", func(_ world, c *model.Container) { c.Host.NetworkMode = "container:x" }, ""},
		{"the network that has the default route", func(w world, c *model.Container) {
			w.join(c, "n", "10.1.0.2")
			w.join(c, "m", "10.2.0.2").GwPriority = 5
		}, "10.2.0.2"},
		{"internal comes after outside", func(w world, c *model.Container) {
			w.Networks["n"].Internal = true
			w.join(c, "n", "10.1.0.2")
			w.join(c, "m", "10.2.0.2")
		}, "10.2.0.2"},
		{"its pool is gone", func(w world, c *model.Container) {
			w.join(c, "n", "10.1.0.2")
			clear(w.FIPPools)
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld()
			w.network("n", "dev", "10.1.0.0/24")
			w.network("m", "prod", "10.2.0.0/24")
			c := w.container("aaaaaaaaaaaa", "c")
			w.fip(c, addr)
			tc.set(w, c)
			s := Plan(w.snapshot(), facts())
			in, out, on := map[netip.Addr]netip.Addr{}, map[netip.Addr]netip.Addr{}, map[desired.DeviceAddress]string{}
			if tc.to != "" {
				f, to := netip.MustParseAddr(addr), netip.MustParseAddr(tc.to)
				in[f], out[to] = to, f
				on[desired.DeviceAddress{Device: "eth9", Addr: f}] = c.ID
			}
			if !maps.Equal(s.Firewall.FIPIn, in) || !maps.Equal(s.Firewall.FIPOut, out) || !maps.Equal(s.Addresses, on) {
				t.Errorf("in %v, out %v, on %v; want %v, %v, %v", s.Firewall.FIPIn, s.Firewall.FIPOut, s.Addresses, in, out, on)
			}
		})
	}
}

// A container on an internal network has a default route for the answers of
// its floating IP, from the moment it is attached and no longer.
func TestFloatingOnInternalNetwork(t *testing.T) {
	w := newWorld()
	w.network("n", "inside", "10.1.0.0/24").Internal = true
	c := w.container("aaaaaaaaaaaa", "c")
	w.join(c, "n", "10.1.0.2")
	var pl Planner
	routes := func() int { return len(pl.Plan(w.snapshot(), facts()).Sandboxes[c.ID].Routes) }
	if n := routes(); n != 0 {
		t.Errorf("%d routes without a floating IP", n)
	}
	w.fip(c, "203.0.113.17")
	if n := routes(); n != 1 {
		t.Errorf("%d routes with a floating IP, want one", n)
	}
	clear(w.FIPs)
	if n := routes(); n != 0 {
		t.Errorf("%d routes after it was detached", n)
	}
}
