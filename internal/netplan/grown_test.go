package netplan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// grown is a container with n published ports and aliases, another with n links
// to it, and some beside.
func grown(n int) world {
	w := world{crowd(100)}
	dev := fmt.Sprintf("%064x", 1)
	web, client := w.container("web", "web"), w.container("client", "client")
	e := w.join(web, dev, "10.0.9.1")
	w.join(client, dev, "10.0.9.2")
	for i := range n {
		publish(web, "0.0.0.0", uint16(20000+i), 80, "tcp")
		e.Aliases = append(e.Aliases, fmt.Sprintf("alias-%d", i))
		w.link(client, web, dev, fmt.Sprintf("link-%d", i))
	}
	store.Rebuild(w.Snapshot)
	return w
}

// liveChanges are what a live change does to a grown world, as the store does it.
var liveChanges = map[string]func(w world, i int) world{
	"port": func(w world, i int) world {
		next := *w.Containers["web"]
		next.Ports = slices.Clone(next.Ports)
		publish(&next, "0.0.0.0", uint16(1000+i%10000), 80, "tcp")
		snap := *w.Snapshot
		snap.Containers = maps.Clone(snap.Containers)
		snap.Containers["web"] = &next
		return world{&snap}
	},
	"alias": func(w world, i int) world {
		old := w.ByContainer["web"][0]
		next := *old
		next.Aliases = append(slices.Clip(next.Aliases), fmt.Sprintf("new-%d", i))
		snap := *w.Snapshot
		snap.Endpoints, snap.ByContainer, snap.ByNetwork = maps.Clone(snap.Endpoints), maps.Clone(snap.ByContainer), maps.Clone(snap.ByNetwork)
		snap.Endpoints[old.ID] = &next
		snap.ByContainer["web"] = []*model.Endpoint{&next}
		snap.ByNetwork[old.NetworkID] = maps.Clone(snap.ByNetwork[old.NetworkID])
		snap.ByNetwork[old.NetworkID][old.ID] = &next
		return world{&snap}
	},
	"link": func(w world, i int) world {
		l := &model.Link{ContainerID: "client", TargetID: "web", Alias: fmt.Sprintf("new-%d", i)}
		l.ID = model.LinkID("client", "", l.Alias)
		snap := *w.Snapshot
		snap.Links, snap.LinksOf = maps.Clone(snap.Links), maps.Clone(snap.LinksOf)
		snap.Links[l.ID] = l
		snap.LinksOf["client"] = append(slices.Clip(snap.LinksOf["client"]), l)
		return world{&snap}
	},
	"fip": func(w world, i int) world {
		f := &model.FloatingIP{Address: netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), ContainerID: "web"}
		snap := *w.Snapshot
		snap.FIPs, snap.FIPOf = map[string]*model.FloatingIP{f.ID(): f}, map[string]string{"web": f.ID()}
		return world{&snap}
	},
}

// BenchmarkLive plans a live change and compares the plans, with few and with
// many of what it changes there.
func BenchmarkLive(b *testing.B) {
	for _, kind := range slices.Sorted(maps.Keys(liveChanges)) {
		for _, n := range []int{1, 1000} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				base := grown(n)
				var pl Planner
				var now [2]*desired.State
				var snaps [2]*model.Snapshot
				for i := range snaps {
					snaps[i] = liveChanges[kind](base, i).Snapshot
					now[i] = pl.Plan(snaps[i], facts())
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					next := pl.Plan(snaps[i%2], facts())
					desired.Diff(now[(i+1)%2], next)
					now[(i+1)%2].Firewall.Diff(next.Firewall)
					now[i%2] = next
				}
			})
		}
	}
}
