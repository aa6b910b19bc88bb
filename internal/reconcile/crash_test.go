package reconcile_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/kernel/fake"
)

// transitions are what users do to a host that already does something.
var transitions = []struct {
	name     string
	from, to []box
}{
	{"first start", nil, []box{{"c1", "a", []uint16{8080}}}},
	{"create", []box{{"c1", "a", nil}}, []box{{"c1", "a", nil}, {"c2", "a", []uint16{8080, 8443}}}},
	{"connect", []box{{"c1", "a", nil}, {"c2", "b", nil}}, []box{{"c1", "ab", nil}, {"c2", "b", nil}}},
	{"disconnect", []box{{"c1", "ab", nil}, {"c2", "b", nil}}, []box{{"c1", "a", nil}, {"c2", "b", nil}}},
	{"move to another network", []box{{"c1", "a", []uint16{80}}}, []box{{"c1", "b", []uint16{80}}}},
	{"publish", []box{{"c1", "a", nil}}, []box{{"c1", "a", []uint16{80, 81}}}},
	{"a port changes hands", []box{{"c1", "a", []uint16{80}}, {"c2", "a", nil}}, []box{{"c1", "a", nil}, {"c2", "a", []uint16{80}}}},
	{"remove", []box{{"c1", "a", []uint16{80}}, {"c2", "ab", nil}}, []box{{"c1", "a", []uint16{80}}}},
	{"NICs come", []box{{"c1", "a", nil}}, []box{{"c1", "apd", nil}, {"c2", "ap", nil}}},
	{"NICs go", []box{{"c1", "apd", nil}, {"c2", "ap", nil}}, []box{{"c1", "a", nil}, {"c2", "a", nil}}},
	{"one with a device is removed", []box{{"c1", "ad", nil}, {"c2", "a", nil}}, []box{{"c2", "a", nil}}},
	{"remove everything", []box{{"c1", "ab", []uint16{80}}}, nil},
}

// Killed after any single change, a new daemon ends where a fresh start would.
func TestKilledAtEveryChange(t *testing.T) {
	for _, tr := range transitions {
		t.Run(tr.name, func(t *testing.T) {
			want := freshOn(t, machine(), tr.to...)
			for n := 1; n < 100; n++ {
				if !killedAt(t, tr.from, tr.to, n, want) {
					if n < 3 {
						t.Fatalf("only %d changes", n-1)
					}
					return
				}
			}
			t.Fatal("the transition never ends")
		})
	}
}

// killedAt kills the daemon at the n-th change of the transition; false: there
// are fewer.
func killedAt(t *testing.T, from, to []box, n int, want string) bool {
	t.Helper()
	host, src := machine(), newSource()
	rev := src.set(world(from...))
	g := start(t, host, src)
	for _, b := range from {
		g.wait(b.id, rev)
	}
	if err := g.resync(); err != nil {
		t.Fatal(err)
	}
	dead := make(chan struct{})
	host.KillAt(n, func() { close(dead) })
	g.put(to...)
	killed := false
	for !killed && host.Dump() != want {
		select {
		case <-dead:
			killed = true
		case <-time.After(200 * time.Microsecond):
		}
	}
	select {
	case <-dead:
		killed = true
	default:
	}
	g.stop()
	host.Restart()
	start(t, host, src).becomes(want)
	return killed
}

// A change that fails, whichever, is made good by itself.
func TestFailedAtEveryChange(t *testing.T) {
	for _, tr := range transitions {
		t.Run(tr.name, func(t *testing.T) {
			want := freshOn(t, machine(), tr.to...)
			for n := 1; n < 100; n++ {
				host, src := machine(), newSource()
				rev := src.set(world(tr.from...))
				g := start(t, host, src)
				for _, b := range tr.from {
					g.wait(b.id, rev)
				}
				if err := g.resync(); err != nil {
					t.Fatal(err)
				}
				host.FailAt(n)
				g.put(tr.to...)
				g.becomes(want)
				g.stop()
				if host.Steps() < n {
					return
				}
			}
			t.Fatal("the transition never ends")
		})
	}
}

// Whatever the way, the end is where a fresh start would be.
func TestRandomWalk(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			host, src := machine(), newSource()
			src.set(world())
			g := start(t, host, src)
			for step := range 40 {
				boxes := randomBoxes(rnd)
				rev := g.put(boxes...)
				switch rnd.IntN(6) {
				case 0:
					host.Flush()
				case 1:
					host.DeleteLink("jk-a")
				case 2:
					g.stop()
					host.Restart()
					g = start(t, host, src)
				}
				if rnd.IntN(3) > 0 {
					continue // several changes become one round
				}
				for _, b := range boxes {
					g.wait(b.id, rev)
				}
				if step%4 == 0 {
					g.becomes(freshOn(t, machine(), boxes...))
				}
			}
			boxes := randomBoxes(rnd)
			g.put(boxes...)
			g.becomes(freshOn(t, machine(), boxes...))
		})
	}
}

func randomBoxes(rnd *rand.Rand) []box {
	var boxes []box
	for n := range 6 {
		if rnd.IntN(2) == 0 {
			continue
		}
		b := box{id: fmt.Sprint("c", n+1), nets: []string{"a", "b", "ab", "ba", "c", "cab", "ap", "ad", "bpd"}[rnd.IntN(9)]}
		for p := range 3 {
			if rnd.IntN(3) == 0 {
				b.ports = append(b.ports, uint16(8000+10*n+p))
			}
		}
		boxes = append(boxes, b)
	}
	return boxes
}

// machine is a host with a device for every container to be given.
func machine() *fake.Host {
	h := fake.New()
	for n := range 6 {
		h.AddForeignLink(fmt.Sprint("wanc", n+1), false)
	}
	return h
}
