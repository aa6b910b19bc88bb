package netplan

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// world builds snapshots for tests: IDs are a letter repeated or a number.
type world struct{ *model.Snapshot }

func newWorld() world {
	return world{&model.Snapshot{
		Revision:   7,
		Containers: map[string]*model.Container{},
		Networks:   map[string]*model.Network{},
		Endpoints:  map[string]*model.Endpoint{},
		Links:      map[string]*model.Link{},
		Volumes:    map[string]*model.Volume{},
	}}
}

// network adds a bridge network with a subnet and the first address as gateway.
func (w world) network(id, name, subnet string) *model.Network {
	p := netip.MustParsePrefix(subnet)
	n := &model.Network{
		ID: id, Name: name, Driver: model.DriverBridge, Bridge: "jk-" + id, Masquerade: true,
		Subnets: []model.Subnet{{Prefix: p, Gateway: p.Addr().Next()}},
	}
	w.Networks[id] = n
	return n
}

// container adds an active container.
func (w world) container(id, name string) *model.Container {
	c := &model.Container{ID: id, Name: name, Active: true, Host: model.HostConfig{NetworkMode: "bridge"}}
	w.Containers[id] = c
	return c
}

// join puts a container on a network with an address, as its next interface.
func (w world) join(c *model.Container, networkID, addr string) *model.Endpoint {
	order := 0
	for _, e := range w.Endpoints {
		if e.ContainerID == c.ID {
			order++
		}
	}
	p := netip.PrefixFrom(netip.MustParseAddr(addr), w.Networks[networkID].Subnets[0].Prefix.Bits())
	e := &model.Endpoint{
		ID: "ep-" + c.ID + "-" + networkID, ContainerID: c.ID, NetworkID: networkID,
		Order: order, Interface: fmt.Sprintf("eth%d", order), IPv4: p, MAC: "02:42:00:00:00:01",
	}
	w.Endpoints[e.ID] = e
	return e
}

func (w world) link(c, target *model.Container, networkID, alias string) *model.Link {
	l := &model.Link{
		ID: model.LinkID(c.ID, networkID, alias), ContainerID: c.ID, TargetID: target.ID,
		NetworkID: networkID, Alias: alias,
	}
	w.Links[l.ID] = l
	return l
}

// publish gives a container a host port.
func publish(c *model.Container, hostIP string, hostPort, port uint16, proto string) {
	c.Ports = append(c.Ports, model.PortMapping{
		HostIP: netip.MustParseAddr(hostIP), HostPort: hostPort, Port: model.Port{Number: port, Proto: proto},
	})
}

func (w world) snapshot() *model.Snapshot {
	store.Rebuild(w.Snapshot)
	return w.Snapshot
}

// facts are those of a host with one resolver.
func facts() Facts {
	return Facts{
		ContainersDir: "/root/containers",
		Upstreams:     []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")},
		Search:        []string{"example.com"},
		ResolvOptions: []string{"edns0"},
	}
}

// crowd is n containers on one network with a port each.
func crowd(n int) *model.Snapshot {
	w := newWorld()
	w.network(fmt.Sprintf("%064x", 1), "dev", "10.0.0.0/16")
	addr := netip.MustParseAddr("10.0.0.2")
	for i := range n {
		c := w.container(fmt.Sprintf("%064x", i+100), fmt.Sprintf("container_%d", i))
		c.Config.Hostname = c.ID[52:]
		c.Config.ExposedPorts = []model.Port{{Number: 80, Proto: "tcp"}}
		e := w.join(c, fmt.Sprintf("%064x", 1), addr.String())
		e.ID = fmt.Sprintf("%064x", i+1000000)
		publish(c, "0.0.0.0", uint16(10000+i), 80, "tcp")
		addr = addr.Next()
	}
	eps := map[string]*model.Endpoint{}
	for _, e := range w.Endpoints {
		eps[e.ID] = e
	}
	w.Endpoints = eps
	return w.snapshot()
}

func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		snap := crowd(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Plan(snap, facts())
			}
		})
	}
}

// BenchmarkPlanGroups plans a thousand containers that take each other.
func BenchmarkPlanGroups(b *testing.B) {
	snap := crowd(1000)
	snap.SecurityGroups = map[string]*model.SecurityGroup{"g": {ID: "g", Name: "g", Rules: []model.GroupRule{
		{Proto: "tcp", First: 80, Last: 90, Group: "g"}, {Proto: "tcp", First: 22, Last: 22, Source: netip.MustParsePrefix("10.0.0.0/8")},
	}}}
	for _, c := range snap.Containers {
		c.SecurityGroups = []string{"g"}
	}
	b.ReportAllocs()
	for b.Loop() {
		Plan(snap, facts())
	}
}

// BenchmarkPlanner plans again after one container changed.
func BenchmarkPlanner(b *testing.B) {
	snap := crowd(1000)
	var pl Planner
	pl.Plan(snap, facts())
	b.ReportAllocs()
	for b.Loop() {
		for id, c := range snap.Containers {
			changed := *c
			snap.Containers[id] = &changed
			break
		}
		pl.Plan(snap, facts())
	}
}
