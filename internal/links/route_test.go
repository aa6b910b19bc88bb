package links

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/jackstay/jackstay/internal/model"
)

// A route is over the link's own network, then over the first that both are on,
// then between the first networks of each that reach outside.
func TestFind(t *testing.T) {
	networks := map[string]*model.Network{}
	for i, id := range []string{"a", "b", "c", "in", "bare", "none"} {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24)
		networks[id] = &model.Network{
			ID: id, Driver: model.DriverBridge, Internal: id == "in",
			Subnets: []model.Subnet{{Prefix: p, Gateway: p.Addr().Next()}},
		}
	}
	networks["bare"].Subnets[0].Gateway = netip.Addr{}
	networks["none"].Driver = model.DriverNull
	on := func(container string, host byte, ids ...string) []*model.Endpoint {
		var out []*model.Endpoint
		for _, id := range ids {
			e := &model.Endpoint{ID: container + id, ContainerID: container, NetworkID: id}
			if networks[id].Driver == model.DriverBridge {
				a := networks[id].Subnets[0].Prefix.Addr().As4()
				a[3] = host
				e.IPv4 = netip.PrefixFrom(netip.AddrFrom4(a), 24)
			}
			out = append(out, e)
		}
		return out
	}
	only6 := on("db", 3, "b")
	only6[0].IPv4, only6[0].IPv6 = netip.Prefix{}, netip.MustParsePrefix("fd00::3/64")
	networks["b"].Subnets = append(networks["b"].Subnets, model.Subnet{Prefix: netip.MustParsePrefix("fd00::/64"), Gateway: netip.MustParseAddr("fd00::1")})
	for _, tt := range []struct {
		name    string
		web, db []*model.Endpoint
		link    model.Link
		want    string // endpoints and addresses; empty: nowhere
	}{
		{name: "one network", web: on("web", 2, "a"), db: on("db", 3, "a"), want: "weba dba [10.0.0.3]"},
		{name: "the first of two", web: on("web", 2, "a", "b"), db: on("db", 3, "b", "a"), want: "weba dba [10.0.0.3]"},
		{name: "its own of two", web: on("web", 2, "a", "b"), db: on("db", 3, "b", "a"), link: model.Link{NetworkID: "b"}, want: "webb dbb [10.0.1.3]"},
		{name: "its own left", web: on("web", 2, "a", "b"), db: on("db", 3, "a"), link: model.Link{NetworkID: "b"}, want: "weba dba [10.0.0.3]"},
		{name: "none is no network", web: on("web", 2, "none"), db: on("db", 3, "none")},
		{name: "between two", web: on("web", 2, "a"), db: on("db", 3, "b"), want: "weba dbb [10.0.1.3]"},
		{name: "strict", web: on("web", 2, "a"), db: on("db", 3, "b"), link: model.Link{Strict: true}},
		{name: "strict on one", web: on("web", 2, "a"), db: on("db", 3, "a"), link: model.Link{Strict: true}, want: "weba dba [10.0.0.3]"},
		{name: "outward first", web: on("web", 2, "in", "b", "a"), db: on("db", 3, "bare", "c"), want: "webb dbc [10.0.2.3]"},
		{name: "internal if there is no other", web: on("web", 2, "in"), db: on("db", 3, "b"), want: "webin dbb [10.0.1.3]"},
		{name: "no router", web: on("web", 2, "bare"), db: on("db", 3, "b")},
		{name: "on nothing", web: on("web", 2, "a")},
		{name: "no common family", web: on("web", 2, "a"), db: only6},
	} {
		s := &model.Snapshot{
			Networks:    networks,
			Containers:  map[string]*model.Container{"web": {ID: "web"}, "db": {ID: "db"}, "side": {ID: "side", Host: model.HostConfig{NetworkMode: "container:db"}}},
			ByContainer: map[string][]*model.Endpoint{"web": tt.web, "db": tt.db},
		}
		for _, target := range []string{"db", "side"} {
			l := tt.link
			l.ContainerID, l.TargetID = "web", target
			r, got := Find(s, &l), ""
			if r.To != nil {
				got = fmt.Sprint(r.From.ID, " ", r.To.ID, " ", r.Addresses())
			}
			if got != tt.want || r.Target.ID != target || r.Owner.ID != "db" {
				t.Errorf("%s, to %s: %q in %v, want %q", tt.name, target, got, r.Owner, tt.want)
			}
		}
	}
	s := &model.Snapshot{Containers: map[string]*model.Container{
		"web": {ID: "web"}, "x": {ID: "x", Host: model.HostConfig{NetworkMode: "container:y"}}, "y": {ID: "y", Host: model.HostConfig{NetworkMode: "container:x"}},
	}}
	if r := Find(s, &model.Link{ContainerID: "web", TargetID: "x"}); r.Owner != nil || r.To != nil {
		t.Errorf("into a circle: %+v", r)
	}
	if r := Find(s, &model.Link{ContainerID: "web", TargetName: "later"}); r != (Route{}) {
		t.Errorf("to nobody yet: %+v", r)
	}
}
