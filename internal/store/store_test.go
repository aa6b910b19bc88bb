package store

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func fresh(t testing.TB) *Store { return open(t, filepath.Join(t.TempDir(), "sub", "jackstay.db")) }

// put gives a closure that stores a container.
func put(id, name string) func(*Tx) error {
	return func(tx *Tx) error { return tx.PutContainer(&model.Container{ID: id, Name: name}) }
}

func must(t testing.TB, s *Store, fn func(*Tx) error) *model.Snapshot {
	t.Helper()
	snap, err := s.Update(fn)
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
	return snap
}

// full stores one of everything.
func full(tx *Tx) error {
	return errors.Join(
		tx.PutNetwork(&model.Network{ID: "n", Name: "dev", Subnets: []model.Subnet{{
			Prefix: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1"),
			Reserved: map[string]netip.Addr{"router": netip.MustParseAddr("10.0.0.9")},
		}}}),
		tx.PutContainer(&model.Container{
			ID: "a", Name: "web", Created: time.Unix(1, 2).UTC(),
			Config: model.Config{Cmd: []string{}, Labels: map[string]string{"x": "y"}},
			Ports:  []model.PortMapping{{HostIP: netip.IPv4Unspecified(), HostPort: 80, Port: model.Port{Number: 8080, Proto: "tcp"}}},
		}),
		tx.PutContainer(&model.Container{ID: "b", Name: "db"}),
		tx.PutEndpoint(&model.Endpoint{ID: "e", ContainerID: "a", NetworkID: "n", IPv4: netip.MustParsePrefix("10.0.0.2/24")}),
		tx.PutEndpoint(&model.Endpoint{ID: "f", ContainerID: "b", NetworkID: "n", IPv4: netip.MustParsePrefix("10.0.0.3/24")}),
		tx.PutLink(&model.Link{ID: model.LinkID("a", "n", "db"), ContainerID: "a", TargetID: "b", NetworkID: "n", Alias: "db"}),
		tx.PutVolume(&model.Volume{Name: "v", Labels: map[string]string{}}),
	)
}

func TestEverythingIsThereAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	before := must(t, s, full)
	if err := Check(before); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errs.Is(err, errs.Conflict) {
		t.Errorf("a second daemon on the file: %v, want a conflict", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(full); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Update after Close: %v, want unavailable", err)
	}
	after := open(t, path).Snapshot()
	if after.Revision <= before.Revision {
		t.Errorf("revision %d after reopening, %d before: it must grow", after.Revision, before.Revision)
	}
	same := *after
	same.Revision = before.Revision
	if !reflect.DeepEqual(&same, before) {
		t.Errorf("after reopening:\n%+v\nbefore:\n%+v", after, before)
	}
}

func TestDeletedStaysDeleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	must(t, s, full)
	snap := must(t, s, func(tx *Tx) error {
		tx.DeleteContainer("b") // with endpoint f; the link that leads to it waits for its name
		tx.DeleteVolume("v")
		tx.DeleteVolume("v")
		tx.DeleteContainer("absent")
		return nil
	})
	for range 2 {
		if l := snap.Links[model.LinkID("a", "n", "db")]; l == nil || l.TargetID != "" || l.TargetName != "db" {
			t.Fatalf("the link to it: %+v", l)
		}
		if len(snap.Containers) != 1 || len(snap.Endpoints) != 1 || len(snap.Links) != 1 || len(snap.Volumes) != 0 || snap.ContainerNames["db"] != "" {
			t.Fatalf("left: %+v", snap)
		}
		if err := Check(snap); err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
		s = open(t, path)
		snap = s.Snapshot()
	}
}

func TestSnapshotsDoNotChange(t *testing.T) {
	s := fresh(t)
	old := must(t, s, full)
	oldMembers, oldOf := old.ByNetwork["n"], old.ByContainer["a"]
	must(t, s, func(tx *Tx) error {
		tx.DeleteContainer("a")
		return errors.Join(put("c", "web")(tx),
			tx.PutEndpoint(&model.Endpoint{ID: "g", ContainerID: "c", NetworkID: "n", IPv4: netip.MustParsePrefix("10.0.0.2/24")}))
	})
	if err := Check(old); err != nil || old.Containers["a"] == nil || len(oldMembers) != 2 || len(oldOf) != 1 {
		t.Errorf("an old snapshot changed: %v, %+v", err, old)
	}
	if now := s.Snapshot(); now.ContainerNames["web"] != "c" || now.Ports[model.PortKey{HostIP: netip.IPv4Unspecified(), Proto: "tcp", Port: 80}] != "" {
		t.Errorf("the new one did not: %+v", now)
	}
}

func TestRefusals(t *testing.T) {
	addr := netip.MustParsePrefix("10.0.0.3/24")
	tcp80 := model.PortMapping{HostIP: netip.IPv4Unspecified(), HostPort: 80, Port: model.Port{Number: 1, Proto: "tcp"}}
	tests := []struct {
		name string
		fn   func(*Tx) error
		kind errs.Kind
	}{
		{"container name", put("c", "web"), errs.Conflict},
		{"container without a name", put("c", ""), errs.Invalid},
		{"port of another", func(tx *Tx) error {
			return tx.PutContainer(&model.Container{ID: "b", Name: "db", Ports: []model.PortMapping{tcp80}})
		}, errs.Conflict},
		{"port twice", func(tx *Tx) error {
			return tx.PutContainer(&model.Container{ID: "a", Name: "web", Ports: []model.PortMapping{tcp80, tcp80}})
		}, errs.Conflict},
		{"one of many ports twice", func(tx *Tx) error {
			c := &model.Container{ID: "a", Name: "web"}
			for i := range 100 {
				m := tcp80
				m.HostPort = uint16(1000 + i%99)
				c.Ports = append(c.Ports, m)
			}
			return tx.PutContainer(c)
		}, errs.Conflict},
		{"network name", func(tx *Tx) error { return tx.PutNetwork(&model.Network{ID: "m", Name: "dev"}) }, errs.Conflict},
		{"address", func(tx *Tx) error {
			return tx.PutEndpoint(&model.Endpoint{ID: "g", ContainerID: "a", NetworkID: "n", IPv4: addr})
		}, errs.Conflict},
		{"changing to a taken address", func(tx *Tx) error {
			return tx.PutEndpoint(&model.Endpoint{ID: "e", ContainerID: "a", NetworkID: "n", IPv4: addr})
		}, errs.Conflict},
		{"endpoint of nobody", func(tx *Tx) error {
			return tx.PutEndpoint(&model.Endpoint{ID: "g", ContainerID: "z", NetworkID: "n"})
		}, errs.Unknown},
		{"endpoint on nothing", func(tx *Tx) error {
			return tx.PutEndpoint(&model.Endpoint{ID: "g", ContainerID: "a", NetworkID: "z"})
		}, errs.Unknown},
		{"network with endpoints", func(tx *Tx) error { tx.DeleteNetwork("n"); return nil }, errs.Unknown},
		{"link to nobody", func(tx *Tx) error {
			return tx.PutLink(&model.Link{ID: model.LinkID("a", "n", "x"), ContainerID: "a", NetworkID: "n", Alias: "x", TargetID: "z"})
		}, errs.Unknown},
		{"link to nobody and no name", func(tx *Tx) error {
			return tx.PutLink(&model.Link{ID: model.LinkID("a", "n", "x"), ContainerID: "a", NetworkID: "n", Alias: "x"})
		}, errs.Unknown},
		{"link over nothing", func(tx *Tx) error {
			return tx.PutLink(&model.Link{ID: model.LinkID("a", "z", "x"), ContainerID: "a", NetworkID: "z", Alias: "x", TargetID: "b"})
		}, errs.Unknown},
		{"link under another ID", func(tx *Tx) error {
			return tx.PutLink(&model.Link{ID: "x", ContainerID: "a", NetworkID: "n", Alias: "x", TargetID: "b"})
		}, errs.Invalid},
		{"volume without a name", func(tx *Tx) error { return tx.PutVolume(&model.Volume{}) }, errs.Invalid},
		{"closure's own", func(tx *Tx) error {
			tx.DeleteContainer("a")
			return errs.New(errs.Forbidden, "no")
		}, errs.Forbidden},
	}
	s := fresh(t)
	before := must(t, s, full)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.Update(tt.fn)
			if err == nil || errs.KindOf(err) != tt.kind {
				t.Errorf("error %v of kind %v, want kind %v", err, errs.KindOf(err), tt.kind)
			}
			if s.Snapshot() != before {
				t.Error("the state moved")
			}
			if err := Check(before); err != nil {
				t.Error(err)
			}
		})
	}
	// And in the other direction: an own name, port and address may be put again,
	// a name given up in the same transaction is free.
	snap := must(t, s, func(tx *Tx) error {
		return errors.Join(full(tx), put("b", "other")(tx), put("c", "db")(tx))
	})
	if err := Check(snap); err != nil || snap.ContainerNames["db"] != "c" {
		t.Errorf("%v, %v", err, snap.ContainerNames)
	}
}

func TestPanicLeavesEverythingAsItWas(t *testing.T) {
	s := fresh(t)
	before := must(t, s, full)
	var leaked *Tx
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = s.Update(func(tx *Tx) error {
			leaked = tx
			tx.DeleteContainer("a")
			panic("boom")
		})
	}()
	if s.Snapshot() != before || Check(before) != nil {
		t.Error("a panic moved the state")
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a transaction could be used after its closure")
			}
		}()
		_ = put("z", "z")(leaked)
	}()
	must(t, s, put("c", "after")) // the lock was let go
}

// A link waits for a name, is bound to whoever takes it, by creation or by
// rename, follows them, and waits again for the name they had last.
func TestLinksWaitForTheirTarget(t *testing.T) {
	s := fresh(t)
	must(t, s, full)
	id := model.LinkID("a", "", "x")
	for i, step := range []struct {
		fn   func(tx *Tx) error
		want string // target ID and the name waited for
	}{
		{func(tx *Tx) error {
			return tx.PutLink(&model.Link{ID: id, ContainerID: "a", Alias: "x", TargetName: "later"})
		}, " later"},
		{func(tx *Tx) error { return tx.PutContainer(&model.Container{ID: "c", Name: "other"}) }, " later"},
		{func(tx *Tx) error { return tx.PutContainer(&model.Container{ID: "c", Name: "later"}) }, "c "},
		{func(tx *Tx) error { return tx.PutContainer(&model.Container{ID: "c", Name: "last"}) }, "c "},
		{func(tx *Tx) error { tx.DeleteContainer("c"); return nil }, " last"},
		{func(tx *Tx) error { return tx.PutContainer(&model.Container{ID: "a", Name: "last"}) }, " last"}, // nobody links to itself
		{func(tx *Tx) error { return tx.PutContainer(&model.Container{ID: "a", Name: "web"}) }, " last"},
		{func(tx *Tx) error { return tx.PutContainer(&model.Container{ID: "d", Name: "last"}) }, "d "},
	} {
		snap := must(t, s, step.fn)
		if l := snap.Links[id]; l == nil || l.TargetID+" "+l.TargetName != step.want {
			t.Errorf("step %d: %+v, want %q", i, l, step.want)
		}
		if err := Check(snap); err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
	if snap := must(t, s, func(tx *Tx) error { tx.DeleteContainer("a"); return nil }); len(snap.Links) != 0 {
		t.Errorf("links of nobody: %v", snap.Links)
	}
}

func TestTransactionSeesItsOwnWrites(t *testing.T) {
	s := fresh(t)
	must(t, s, full)
	must(t, s, func(tx *Tx) error {
		tx.DeleteContainer("a")
		if snap := tx.Snapshot(); snap.Containers["a"] != nil || len(snap.ByNetwork["n"]) != 1 || len(snap.LinksOf["a"]) != 0 {
			t.Errorf("sees %+v", snap)
		}
		if s.Snapshot().Containers["a"] == nil {
			t.Error("others see it too")
		}
		return nil
	})
}

func TestChanged(t *testing.T) {
	s := fresh(t)
	ch := s.Changed()
	must(t, s, func(*Tx) error { return nil })
	select {
	case <-ch:
		t.Fatal("a transaction that changes nothing is a change")
	default:
	}
	r := s.Snapshot().Revision
	snap := must(t, s, full)
	<-ch
	if s.Snapshot() != snap || snap.Revision != r+1 {
		t.Errorf("revision %d after %d", snap.Revision, r)
	}
}

func TestSoftIsVisibleAtOnceAndSoonOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	var writes atomic.Int32
	s.mu.Lock()
	s.write = func(db *bbolt.DB, snap *model.Snapshot, keys map[key]struct{}) error {
		writes.Add(1)
		return writeDB(db, snap, keys)
	}
	s.mu.Unlock()
	began := time.Now()
	for i := range 50 {
		snap, err := s.Soft(put("a", fmt.Sprint("name", i)))
		if err != nil {
			t.Fatal(err)
		}
		if s.Snapshot() != snap {
			t.Fatal("not visible at once")
		}
	}
	if took := time.Since(began); took < softDelay && writes.Load() != 0 {
		t.Error("a Soft waited for the disk")
	}
	for deadline := time.Now().Add(5 * time.Second); writes.Load() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never written")
		}
	}
	if _, err := s.Soft(put("b", "unwritten")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if snap := open(t, path).Snapshot(); snap.ContainerNames["name49"] != "a" || snap.ContainerNames["unwritten"] != "b" {
		t.Errorf("after Close: %v", snap.ContainerNames)
	}
}

// A Soft behind an Update that the disk refuses is made all the same, without it.
func TestSoftBehindARefusedUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	full := errors.New("no space left on device")
	writing, refuse := make(chan struct{}), make(chan struct{})
	refused := false
	s.mu.Lock()
	s.write = func(db *bbolt.DB, snap *model.Snapshot, keys map[key]struct{}) error {
		if refused {
			return writeDB(db, snap, keys)
		}
		refused = true
		close(writing)
		<-refuse
		return full
	}
	s.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Update(put("a", "refused")); !errs.Is(err, errs.Unavailable) {
			t.Errorf("the update: %v", err)
		}
	})
	<-writing
	for i := range 3 {
		name := fmt.Sprint("soft", i)
		wg.Go(func() {
			if snap, err := s.Soft(put(name, name)); err != nil || snap.ContainerNames[name] != name || snap.ContainerNames["refused"] != "" {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	for queued := false; !queued; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		queued = len(s.pending) == 3
		s.mu.Unlock()
	}
	close(refuse)
	wg.Wait()
	_ = s.Close()
	if snap := open(t, path).Snapshot(); len(snap.Containers) != 3 || Check(snap) != nil {
		t.Errorf("on disk: %v, %v", snap.ContainerNames, Check(snap))
	}
}

func TestConcurrentUpdatesShareWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	var writes atomic.Int32
	s.mu.Lock()
	s.write = func(db *bbolt.DB, snap *model.Snapshot, keys map[key]struct{}) error {
		writes.Add(1)
		time.Sleep(5 * time.Millisecond) // a disk that takes its time
		return writeDB(db, snap, keys)
	}
	s.mu.Unlock()
	const n = 50
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			name := fmt.Sprint("c", i)
			run := s.Update
			if i%5 == 0 {
				run = s.Soft
			}
			snap, err := run(put(name, name))
			if err != nil || snap.Containers[name] == nil || s.Snapshot().Containers[name] == nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	if w := writes.Load(); w > n/3 {
		t.Errorf("%d updates took %d writes", n, w)
	}
	_ = s.Close()
	if snap := open(t, path).Snapshot(); len(snap.Containers) != n || Check(snap) != nil {
		t.Errorf("%d containers on disk, want %d: %v", len(snap.Containers), n, Check(snap))
	}
}

func TestOneNameOneWinner(t *testing.T) {
	s := fresh(t)
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if _, err := s.Update(put(fmt.Sprint(i), "same")); err == nil {
				won.Add(1)
			} else if !errs.Is(err, errs.Conflict) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || len(s.Snapshot().Containers) != 1 {
		t.Errorf("%d creates of one name succeeded", won.Load())
	}
}

// BenchmarkUpdate changes one container among a thousand, on one disk.
func BenchmarkUpdate(b *testing.B) {
	for _, disk := range []bool{false, true} {
		b.Run(map[bool]string{false: "memory", true: "disk"}[disk], func(b *testing.B) {
			s := fresh(b)
			must(b, s, func(tx *Tx) error {
				err := tx.PutNetwork(&model.Network{ID: "n", Name: "n"})
				for i := range 1000 {
					id := fmt.Sprintf("%064x", i)
					addr := netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i % 250)})
					err = errors.Join(err, put(id, id)(tx),
						tx.PutEndpoint(&model.Endpoint{ID: id, ContainerID: id, NetworkID: "n", IPv4: netip.PrefixFrom(addr, 16)}))
				}
				return err
			})
			if !disk {
				s.mu.Lock()
				s.write = func(*bbolt.DB, *model.Snapshot, map[key]struct{}) error { return nil }
				s.mu.Unlock()
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				id := fmt.Sprintf("%064x", i%1000)
				c := *s.Snapshot().Containers[id]
				c.Active = !c.Active
				must(b, s, func(tx *Tx) error { return tx.PutContainer(&c) })
			}
		})
	}
}
