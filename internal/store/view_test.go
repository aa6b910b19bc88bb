package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// tenants stores two tenants.
func tenants(t testing.TB, s *Store) {
	must(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.PutTenant(&model.Tenant{Name: "acme", FIPQuota: 1}), tx.PutTenant(&model.Tenant{Name: "umbrella", FIPQuota: model.Unlimited}),
			tx.PutFIPPool(&model.FIPPool{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Device: "eth0"}))
	})
}

// world stores one of everything through a view.
func world(prefix string) func(*Tx) error {
	return func(tx *Tx) error {
		return errors.Join(
			tx.PutNetwork(&model.Network{ID: prefix + "n", Name: "dev"}),
			tx.PutVolume(&model.Volume{Name: "data"}),
			tx.PutContainer(&model.Container{ID: prefix + "a", Name: "web"}),
			tx.PutContainer(&model.Container{ID: prefix + "b", Name: "db"}),
			tx.PutEndpoint(&model.Endpoint{ID: prefix + "e", ContainerID: prefix + "a", NetworkID: prefix + "n", IPv4: netip.MustParsePrefix("10.0.0.2/24")}),
			tx.PutLink(&model.Link{ID: model.LinkID(prefix+"a", "", "db"), ContainerID: prefix + "a", Alias: "db", TargetID: prefix + "b"}),
			tx.PutFIP(&model.FloatingIP{Address: netip.AddrFrom4([4]byte{203, 0, 113, byte(len(prefix))}), Name: "front", ContainerID: prefix + "a", Pool: netip.MustParsePrefix("203.0.113.0/24")}),
		)
	}
}

// Three have everything under the same names, and each view is as if it were
// the only one; the administrator's has all, with full names.
func TestViews(t *testing.T) {
	s := fresh(t)
	tenants(t, s)
	views := map[string]*View{"": s.View(""), "acme": s.View("acme"), "umbrella": s.View("umbrella")}
	for tenant, v := range views {
		if _, err := v.Update(world(tenant + "-")); err != nil {
			t.Fatalf("%s: %v", tenant, err)
		}
	}
	if err := Check(s.Snapshot()); err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []string{"acme", "umbrella"} {
		snap := views[tenant].Snapshot()
		for what, got := range map[string][]string{
			"containers": slices.Sorted(maps.Keys(snap.Containers)), "networks": slices.Sorted(maps.Keys(snap.Networks)), "endpoints": slices.Sorted(maps.Keys(snap.Endpoints)),
			"volumes": slices.Sorted(maps.Keys(snap.Volumes)), "names": slices.Sorted(maps.Keys(snap.ContainerNames)), "network names": slices.Sorted(maps.Keys(snap.NetworkNames)),
			"links": slices.Sorted(maps.Keys(snap.LinksOf)), "floating IPs": slices.Sorted(maps.Keys(snap.FIPNames)), "tenants": slices.Sorted(maps.Keys(snap.Tenants)),
		} {
			want := map[string]string{
				"containers": tenant + "-a " + tenant + "-b", "networks": tenant + "-n", "endpoints": tenant + "-e", "volumes": "data@" + tenant, "names": "db web",
				"network names": "dev", "links": tenant + "-a", "floating IPs": "front", "tenants": tenant,
			}[what]
			if strings.Join(got, " ") != want {
				t.Errorf("%s of %s: %v, want %s", what, tenant, got, want)
			}
		}
		if views[tenant].Snapshot() != snap {
			t.Error("a view is made again although nothing changed")
		}
	}
	all := slices.Sorted(maps.Keys(views[""].Snapshot().ContainerNames))
	if want := []string{"db", "db@acme", "db@umbrella", "web", "web@acme", "web@umbrella"}; !slices.Equal(all, want) {
		t.Errorf("names of the administrator: %v", all)
	}
	// The same after it was read from the disk.
	path := s.path
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(open(t, path).View("acme").Snapshot().ContainerNames)); !slices.Equal(got, []string{"db", "web"}) {
		t.Errorf("after opening again: %v", got)
	}
}

// What a tenant's transaction can't do to others, and nobody across tenants.
func TestViewsKeepApart(t *testing.T) {
	s := fresh(t)
	tenants(t, s)
	acme, umbrella := s.View("acme"), s.View("umbrella")
	if _, err := umbrella.Update(world("umbrella-")); err != nil {
		t.Fatal(err)
	}
	if _, err := acme.Update(world("acme-")); err != nil {
		t.Fatal(err)
	}
	before := s.Snapshot()
	for what, try := range map[string]func(*Tx) error{
		"another's container": func(tx *Tx) error {
			return tx.PutContainer(&model.Container{ID: "umbrella-a", Name: "x", Tenant: "umbrella"})
		},
		"it, as one's own": func(tx *Tx) error {
			return tx.PutContainer(&model.Container{ID: "umbrella-a", Name: "x", Tenant: "acme"})
		},
		"another's network": func(tx *Tx) error { return tx.PutNetwork(&model.Network{ID: "umbrella-n", Name: "x"}) },
		"another's floating IP": func(tx *Tx) error {
			return tx.PutFIP(&model.FloatingIP{Address: netip.MustParseAddr("203.0.113.9"), Pool: netip.MustParsePrefix("203.0.113.0/24")})
		},
		"one in another's name": func(tx *Tx) error { return tx.PutContainer(&model.Container{ID: "new", Name: "x", Tenant: "umbrella"}) },
		"on another's network": func(tx *Tx) error {
			return tx.PutEndpoint(&model.Endpoint{ID: "x", ContainerID: "acme-a", NetworkID: "umbrella-n"})
		},
		"a link to another's": func(tx *Tx) error {
			return tx.PutLink(&model.Link{ID: model.LinkID("acme-a", "", "x"), ContainerID: "acme-a", Alias: "x", TargetID: "umbrella-b"})
		},
		"above the quota": func(tx *Tx) error {
			return tx.PutFIP(&model.FloatingIP{Address: netip.MustParseAddr("203.0.113.77"), Pool: netip.MustParsePrefix("203.0.113.0/24")})
		},
	} {
		if _, err := acme.Update(try); err == nil {
			t.Errorf("%s: it was taken", what)
		}
	}
	// What is not there can't be deleted, and that is success, as ever.
	if _, err := acme.Update(func(tx *Tx) error {
		tx.DeleteContainer("umbrella-a")
		tx.DeleteNetwork("umbrella-n")
		tx.DeleteVolume("data@umbrella")
		tx.DeleteFIP("203.0.113.9")
		return nil
	}); err != nil {
		t.Error(err)
	}
	if after := s.Snapshot(); !maps.Equal(after.Containers, before.Containers) || !maps.Equal(after.Networks, before.Networks) || !maps.Equal(after.Volumes, before.Volumes) || !maps.Equal(after.FIPs, before.FIPs) {
		t.Error("something was changed all the same")
	}
	// Across tenants, not by the administrator either.
	if _, err := s.Update(func(tx *Tx) error {
		return tx.PutEndpoint(&model.Endpoint{ID: "x", ContainerID: "acme-a", NetworkID: "umbrella-n"})
	}); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "web@acme can't be on network dev@umbrella") {
		t.Errorf("an endpoint across tenants: %v", err)
	}
	// A waiting link takes its own tenant's container of the name.
	if _, err := acme.Update(func(tx *Tx) error {
		return tx.PutLink(&model.Link{ID: model.LinkID("acme-a", "", "late"), ContainerID: "acme-a", Alias: "late", TargetName: "late"})
	}); err != nil {
		t.Fatal(err)
	}
	for _, v := range []*View{umbrella, acme} {
		if _, err := v.Update(put(v.tenant+"-late", "late")); err != nil {
			t.Fatal(err)
		}
	}
	if l := s.Snapshot().Links[model.LinkID("acme-a", "", "late")]; l.TargetID != "acme-late" {
		t.Errorf("the waiting link leads to %q", l.TargetID)
	}
	// A tenant on its way out gets nothing new, and goes once it has nothing.
	must(t, s, func(tx *Tx) error { return tx.PutTenant(&model.Tenant{Name: "acme", Removing: true}) })
	if _, err := acme.Update(put("new", "new")); !errs.Is(err, errs.Forbidden) {
		t.Errorf("something new for a tenant that goes: %v", err)
	}
	if _, err := s.Update(func(tx *Tx) error { tx.DeleteTenant("acme"); return nil }); !errs.Is(err, errs.Conflict) {
		t.Errorf("deleting a tenant that has something: %v", err)
	}
}

// A transaction of a tenant's sees its own writes, through a snapshot it took
// before them as well.
func TestViewSeesItsWrites(t *testing.T) {
	s := fresh(t)
	tenants(t, s)
	if _, err := s.View("acme").Update(func(tx *Tx) error {
		early := tx.Snapshot()
		if err := put("a", "web")(tx); err != nil {
			return err
		}
		if now := tx.Snapshot(); now.ContainerNames["web"] != "a" || early.ContainerNames["web"] != "a" {
			return fmt.Errorf("web is %q now and %q early", now.ContainerNames["web"], early.ContainerNames["web"])
		}
		tx.DeleteContainer("a")
		if now := tx.Snapshot(); len(now.Containers) != 0 {
			return fmt.Errorf("deleted, and there: %v", now.Containers)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// What a view costs a tenant with a thousand containers.
func BenchmarkView(b *testing.B) {
	s := fresh(b)
	tenants(b, s)
	v := s.View("acme")
	if _, err := v.Update(func(tx *Tx) error {
		err := tx.PutNetwork(&model.Network{ID: "n", Name: "dev"})
		for i := range 1000 {
			id := fmt.Sprint(i)
			err = errors.Join(err, put(id, "c"+id)(tx), tx.PutEndpoint(&model.Endpoint{ID: "e" + id, ContainerID: id, NetworkID: "n"}))
		}
		return err
	}); err != nil {
		b.Fatal(err)
	}
	b.Run("anew", func(b *testing.B) {
		for b.Loop() {
			viewOf(s.Snapshot(), "acme", nil, nil)
		}
	})
	b.Run("after a change of one container", func(b *testing.B) {
		for b.Loop() {
			_, err := v.Soft(func(tx *Tx) error {
				c := *tx.Snapshot().Containers["7"]
				c.State.Pid++
				return tx.PutContainer(&c)
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("the same without tenants", func(b *testing.B) {
		for b.Loop() {
			_, err := s.Soft(func(tx *Tx) error {
				c := *tx.Snapshot().Containers["7"]
				c.State.Pid++
				return tx.PutContainer(&c)
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// After any walk of changes, a view that took over what it could is the one made anew.
func TestViewsOfAWalk(t *testing.T) {
	s := fresh(t)
	tenants(t, s)
	views := []*View{s.View(""), s.View("acme"), s.View("umbrella")}
	rng := rand.New(rand.NewPCG(1, 2))
	for step := range 2000 {
		v := views[rng.IntN(len(views))]
		n := fmt.Sprintf("%s%d", v.tenant, rng.IntN(6))
		_, _ = v.Update(func(tx *Tx) error { // what is refused changes nothing
			for range 1 + rng.IntN(3) {
				var err error
				switch rng.IntN(9) {
				case 0, 1:
					err = tx.PutContainer(&model.Container{ID: n, Name: fmt.Sprint("c", rng.IntN(6))})
				case 2:
					tx.DeleteContainer(n)
				case 3:
					err = tx.PutNetwork(&model.Network{ID: n, Name: fmt.Sprint("n", rng.IntN(6))})
				case 4:
					err = tx.PutEndpoint(&model.Endpoint{ID: n, ContainerID: n, NetworkID: n})
				case 5:
					tx.DeleteEndpoint(n)
					tx.DeleteNetwork(n)
				case 6:
					err = tx.PutLink(&model.Link{ID: model.LinkID(n, "", "x"), ContainerID: n, Alias: "x", TargetName: fmt.Sprint("c", rng.IntN(6))})
				case 7:
					err = tx.PutVolume(&model.Volume{Name: n})
				case 8:
					err = tx.PutFIP(&model.FloatingIP{Address: netip.AddrFrom4([4]byte{203, 0, 113, byte(rng.IntN(9))}), Pool: netip.MustParsePrefix("203.0.113.0/24"), ContainerID: n})
				}
				if err != nil {
					return err
				}
				if got, want := tx.Snapshot(), tx.snap; tx.tenant != "" && !reflect.DeepEqual(got, viewOf(want, tx.tenant, nil, nil)) {
					t.Fatalf("step %d: within the transaction of %s:\n%+v\nwant\n%+v", step, tx.tenant, got, viewOf(want, tx.tenant, nil, nil))
				}
			}
			return nil
		})
		for _, v := range views[1:] {
			if rng.IntN(3) > 0 { // some fall behind
				continue
			}
			if got, want := v.Snapshot(), viewOf(s.Snapshot(), v.tenant, nil, nil); !reflect.DeepEqual(got, want) {
				t.Fatalf("step %d: view of %s:\n%+v\nwant\n%+v", step, v.tenant, got, want)
			}
		}
	}
	if err := Check(s.Snapshot()); err != nil {
		t.Error(err)
	}
	if len(s.Snapshot().Containers) < 3 || len(s.Snapshot().Endpoints) == 0 {
		t.Errorf("the walk led nowhere: %d containers, %d endpoints", len(s.Snapshot().Containers), len(s.Snapshot().Endpoints))
	}
}
