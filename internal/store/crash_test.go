package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// TestWalk changes a store at random, reopening it now and then: the indexes
// always equal rebuilt ones, and what is read back is what was there.
func TestWalk(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	for step := range 400 {
		run := s.Update
		if r.IntN(3) > 0 {
			run = s.Soft
		}
		before := s.Snapshot()
		snap, err := run(func(tx *Tx) error { return stumble(tx, r) })
		if err != nil && s.Snapshot() != before {
			t.Fatalf("step %d: a failed change moved the state: %v", step, err)
		}
		if err == nil && snap != s.Snapshot() {
			t.Fatalf("step %d: the state is not the one returned", step)
		}
		if err := Check(s.Snapshot()); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		if step%50 == 49 {
			was := *s.Snapshot()
			_ = s.Close()
			s = open(t, path)
			now := *s.Snapshot()
			was.Revision = now.Revision
			if !reflect.DeepEqual(was, now) {
				t.Fatalf("step %d: read back %+v, want %+v", step, now, was)
			}
		}
	}
}

// stumble does a few things at random, some of which the store refuses.
func stumble(tx *Tx, r *rand.Rand) error {
	id := func(p string) string { return fmt.Sprint(p, r.IntN(6)) }
	addr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(8))}), 24)
	for range 1 + r.IntN(4) {
		var err error
		switch r.IntN(10) {
		case 0, 1, 2:
			c := &model.Container{ID: id("c"), Name: id("name")}
			for range r.IntN(3) {
				c.Ports = append(c.Ports, model.PortMapping{HostIP: addr.Addr(), HostPort: uint16(r.IntN(3)), Port: model.Port{Number: 1, Proto: "tcp"}})
			}
			err = tx.PutContainer(c)
		case 3:
			err = tx.PutNetwork(&model.Network{ID: id("n"), Name: id("net")})
		case 4, 5:
			err = tx.PutEndpoint(&model.Endpoint{ID: id("e"), ContainerID: id("c"), NetworkID: id("n"), IPv4: addr, Order: r.IntN(3)})
		case 6:
			c, n, a := id("c"), id("n"), id("alias")
			err = tx.PutLink(&model.Link{ID: model.LinkID(c, n, a), ContainerID: c, NetworkID: n, Alias: a, TargetID: id("c")})
		case 7:
			tx.DeleteContainer(id("c"))
		case 8:
			tx.DeleteNetwork(id("n"))
		case 9:
			tx.DeleteEndpoint(id("e"))
			for l := range tx.Snapshot().Links {
				tx.DeleteLink(l)
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestTornWrite gives a later opening what a power cut leaves of a commit: the
// new pages without the page that makes them count, and that page torn. The
// state is the one before, whole.
func TestTornWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	s := open(t, path)
	var copies [][]byte // of the file after each commit
	for i := range 20 {
		must(t, s, func(tx *Tx) error {
			return errors.Join(put(fmt.Sprint("c", i), fmt.Sprint("c", i))(tx), put("last", fmt.Sprint("last", i))(tx))
		})
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		copies = append(copies, data)
	}
	check := func(name string, data []byte, want int) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(file)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		defer s.Close()
		snap := s.Snapshot()
		if err := Check(snap); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if got := snap.Containers[fmt.Sprint("c", i)] != nil; got != (i <= want) {
				t.Errorf("%s: container %d there: %v", file, i, got)
			}
		}
		if snap.ContainerNames[fmt.Sprint("last", want)] != "last" {
			t.Errorf("%s: %v", file, snap.ContainerNames)
		}
	}
	page := os.Getpagesize()
	for i := 1; i < 20; i++ {
		before, after := copies[i-1], copies[i]
		noMeta, tornMeta := bytes.Clone(after), bytes.Clone(after)
		copy(noMeta[:2*page], before[:2*page])
		for b := range 2 * page {
			if before[b] != after[b] && b%2 == 0 { // half of what the commit changed in the meta page
				tornMeta[b] = before[b]
			}
		}
		check(fmt.Sprint("nometa", i), noMeta, i-1)
		check(fmt.Sprint("tornmeta", i), tornMeta, i-1)
		check(fmt.Sprint("whole", i), after, i)
	}
}

// TestKill ends a process that writes at random moments with SIGKILL: what it
// had been told was written is there, whole.
func TestKill(t *testing.T) {
	if os.Getenv("STORE_WRITER") != "" {
		writeForever(os.Getenv("STORE_WRITER"))
	}
	path := filepath.Join(t.TempDir(), "db")
	confirmed := map[string]bool{}
	var revision uint64
	for round := range 15 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "STORE_WRITER="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(20+rand.IntN(80))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if id, ok := strings.CutPrefix(lines.Text(), "stored "); ok {
				confirmed[id] = true
			}
		}
		_ = cmd.Wait()
		s := open(t, path)
		snap := s.Snapshot()
		if err := Check(snap); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if snap.Revision <= revision {
			t.Fatalf("round %d: revision %d after %d", round, snap.Revision, revision)
		}
		revision = snap.Revision
		for id := range confirmed {
			if snap.Containers[id] == nil {
				t.Fatalf("round %d: container %s was confirmed and is gone", round, id)
			}
		}
		_ = s.Close()
	}
	if len(confirmed) < 15 {
		t.Fatalf("only %d confirmed: the test shows nothing", len(confirmed))
	}
	t.Logf("%d confirmed", len(confirmed))
}

func writeForever(path string) {
	s, err := Open(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100000 {
				id := fmt.Sprintf("%016x", rand.Uint64())
				if _, err := s.Update(put(id, id)); err == nil {
					fmt.Println("stored " + id)
				}
				_, _ = s.Soft(put(id, "soft"+id))
			}
		})
	}
	wg.Wait()
	os.Exit(0)
}

// TestFailedWriteTakesBack: a disk that refuses fails the callers and those who
// built on them, the state goes back, and what the failed write may have left
// behind is put right by the next. Soft changes are made anew without it.
func TestFailedWriteTakesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	before := must(t, s, put("kept", "kept"))
	soft, err := s.Soft(put("soft", "soft"))
	if err != nil {
		t.Fatal(err)
	}
	writing, release := make(chan struct{}), make(chan struct{})
	broken := true
	s.mu.Lock()
	s.write = func(db *bbolt.DB, snap *model.Snapshot, keys map[key]struct{}) error {
		if !broken {
			return writeDB(db, snap, keys)
		}
		writing <- struct{}{}
		<-release
		// The worst case: it is on disk after all, and nobody knows.
		return errors.Join(writeDB(db, snap, keys), errors.New("no space left on device"))
	}
	s.mu.Unlock()

	results, softResult := make(chan error, 2), make(chan error, 1)
	go func() { _, err := s.Update(put("lost", "lost")); results <- err }()
	<-writing
	visible := s.Snapshot()
	if visible.Containers["lost"] != nil {
		t.Error("visible before it is on disk")
	}
	go func() { // builds on the one being written
		_, err := s.Update(func(tx *Tx) error {
			if tx.Snapshot().Containers["lost"] == nil {
				t.Error("a closure does not see the newest state")
			}
			return put("onTop", "onTop")(tx)
		})
		results <- err
	}()
	go func() { _, err := s.Soft(put("softOnTop", "softOnTop")); softResult <- err }()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		n := len(s.pending)
		s.mu.Unlock()
		if n == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the changes did not queue up")
		}
	}
	broken = false // seen by the writer through release
	close(release)
	for range 2 {
		if err := <-results; !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "no space left on device") {
			t.Errorf("error %v, want unavailable with the reason", err)
		}
	}
	if err := <-softResult; err != nil {
		t.Errorf("a soft change: %v", err)
	}
	now := s.Snapshot()
	if now.Containers["kept"] == nil || now.Containers["soft"] == nil || now.Containers["softOnTop"] == nil || len(now.Containers) != 3 || Check(now) != nil {
		t.Errorf("after the failure: %v (%d, then %d)", now.ContainerNames, before.Revision, soft.Revision)
	}
	must(t, s, put("next", "next"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names := open(t, path).Snapshot().ContainerNames
	if want := map[string]string{"kept": "kept", "soft": "soft", "softOnTop": "softOnTop", "next": "next"}; !reflect.DeepEqual(names, want) {
		t.Errorf("on disk %v, want %v", names, want)
	}
}

func TestDamagedFileIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 2000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one that names the file", err)
	}
}

func TestNewerLayoutIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	if err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(layoutKey, []byte("3")) }); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("error %v, want that a newer version wrote it", err)
	}
}
