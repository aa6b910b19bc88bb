package netplan

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// dump shows a value for a failed test: maps with struct keys included.
func dump(v any) string {
	if b, err := json.MarshalIndent(v, "", " "); err == nil {
		return string(b)
	}
	if s, ok := v.(*desired.State); ok {
		return fmt.Sprintf("firewall %+v\nclaims %v\n%s\n%s\n%s", s.Firewall, s.Claims, dump(s.Bridges), dump(s.Sandboxes), dump(s.Files)) +
			fmt.Sprintf("\nnetworks %s\nviews %s", dumpZones(s.Zones.Networks), dump(s.Zones.Views))
	}
	return fmt.Sprintf("%+v", v)
}

func dumpZones(z map[string]*desired.Zone) string {
	out := ""
	for id, zone := range z {
		out += fmt.Sprintf("%s: %v\n", id, *zone)
	}
	return out
}

// TestWalk changes a world at random, dangling references and circles
// included: Plan does not panic, equal choices give equal plans whatever the
// order of maps, a Planner agrees with it, and it changes nothing it was given.
func TestWalk(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w := newWorld()
	var pl Planner
	for step := range 1500 {
		mutate(w, r, step)
		snap := w.snapshot()
		plan := Plan(snap, facts())
		if step%10 == 0 {
			again := Plan(reordered(snap), facts())
			if !reflect.DeepEqual(plan, again) {
				t.Fatalf("step %d: two plans of the same choices differ:\n%s\n%s", step, dump(plan), dump(again))
			}
		}
		if fast := pl.Plan(snap, facts()); !reflect.DeepEqual(plan, fast) {
			t.Fatalf("step %d: the planner with a memory differs:\n%s\n%s", step, dump(fast), dump(plan))
		}
		if err := consistent(plan); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
	}
}

// reordered is the same snapshot in maps filled anew, so iterated otherwise.
func reordered(s *model.Snapshot) *model.Snapshot {
	c := *s
	c.Containers = shuffle(s.Containers)
	c.Networks = shuffle(s.Networks)
	c.Endpoints = shuffle(s.Endpoints)
	c.Links = shuffle(s.Links)
	store.Rebuild(&c)
	return &c
}

func shuffle[T any](m map[string]T) map[string]T {
	keys := slices.Collect(maps.Keys(m))
	out := make(map[string]T, rand.IntN(100))
	for _, i := range rand.Perm(len(keys)) {
		out[keys[i]] = m[keys[i]]
	}
	return out
}

// consistent checks what holds of every plan.
func consistent(s *desired.State) error {
	for id, box := range s.Sandboxes {
		if s.Files[id] != nil {
			return fmt.Errorf("container %s has files in two places", id)
		}
		for _, i := range box.Interfaces {
			if s.Bridges[i.Bridge] == nil {
				return fmt.Errorf("interface of %s hangs on bridge %s, which is not planned", id, i.Bridge)
			}
		}
		if box.Resolver.IsValid() != (s.Zones.Views[id] != nil) {
			return fmt.Errorf("sandbox %s has a resolver or a view, but not both", id)
		}
	}
	for id, v := range s.Zones.Views {
		for _, n := range v.Networks {
			if s.Zones.Networks[n] == nil {
				return fmt.Errorf("view of %s looks into zone %s, which is not planned", id, n)
			}
		}
	}
	return nil
}

func mutate(w world, r *rand.Rand, step int) {
	id := func(prefix string) string { return fmt.Sprintf("%s%011d", prefix, r.IntN(8)) }
	switch r.IntN(9) {
	case 0:
		n := w.network(id("a"), id("net"), fmt.Sprintf("10.%d.0.0/24", r.IntN(200)))
		n.Internal, n.Masquerade, n.Deny = r.IntN(3) == 0, r.IntN(3) > 0, r.IntN(4) == 0
	case 1:
		delete(w.Networks, id("a"))
	case 2, 3:
		c := w.container(id("c"), id("name"))
		c.Active = r.IntN(4) > 0
		c.Host.NetworkMode = model.NetworkMode([]string{"bridge", "bridge", "host", "none", "container:" + id("c")}[r.IntN(5)])
		c.Host.ExtraHosts = [][]string{nil, {"x:host-gateway", "broken", ":"}}[r.IntN(2)]
		for range r.IntN(3) {
			publish(c, []string{"0.0.0.0", "127.0.0.1", "::"}[r.IntN(3)], uint16(step*3+len(c.Ports)+1), uint16(r.IntN(100)), "tcp")
		}
	case 4:
		delete(w.Containers, id("c"))
	case 5, 6:
		e := &model.Endpoint{
			ID: id("e"), ContainerID: id("c"), NetworkID: id("a"), Order: r.IntN(4), Interface: "eth0",
			IPv4:    netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(200)), 0, byte(r.IntN(250))}), 24),
			Aliases: []string{"alias", id("alias")}, GwPriority: r.IntN(3),
		}
		if n := w.Networks[e.NetworkID]; n != nil && r.IntN(3) > 0 { // an address of its network
			a := n.Subnets[0].Prefix.Addr().As4()
			a[3] = byte(r.IntN(250))
			e.IPv4 = netip.PrefixFrom(netip.AddrFrom4(a), 24)
		}
		if r.IntN(5) == 0 {
			e.IPv4 = netip.Prefix{}
		}
		w.Endpoints[e.ID] = e
	case 7:
		delete(w.Endpoints, id("e"))
	case 8:
		l := w.link(&model.Container{ID: id("c")}, &model.Container{ID: id("c")}, []string{id("a"), ""}[r.IntN(2)], "db")
		l.Strict = r.IntN(4) == 0
		if r.IntN(3) == 0 {
			l.Ports = []model.PortRange{{First: 5, Last: uint16(5 + r.IntN(5)), Proto: "tcp"}}
		}
	}
}
