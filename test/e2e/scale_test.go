package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// Fifty at once succeed, each with an address of its own.
func TestFiftyAtOnce(t *testing.T) {
	h := host.New(t)
	var all sync.WaitGroup
	for i := range 50 {
		all.Add(1)
		go func() {
			defer all.Done()
			if r := h.TryJ("run", "-d", "--name", fmt.Sprint("c", i), "-p", fmt.Sprint(9000+i, ":8000"), "busybox", "probe", "serve", fmt.Sprint("c", i), "tcp:8000"); r.Code != 0 {
				t.Errorf("c%d: %+v", i, r)
			}
		}()
	}
	all.Wait()
	addresses := map[string]bool{}
	for i := range 50 {
		if got := askHost(h, fmt.Sprint("127.0.0.1:", 9000+i)); !strings.HasPrefix(got, fmt.Sprint("c", i, " ")) {
			t.Errorf("c%d answered %q", i, got)
		}
		addresses[h.IP(fmt.Sprint("c", i), "bridge")] = true
	}
	if len(addresses) != 50 {
		t.Errorf("%d addresses for 50 containers", len(addresses))
	}
}

// Fifty at once of which some can't: those are refused, and the others run as
// if they were alone.
func TestFiftyAtOnceAndSomeFail(t *testing.T) {
	h := host.New(t)
	clean := settled(h)
	rs := together(50, func(i int) host.Result {
		args := []string{"run", "-d", "--name", fmt.Sprint("c", i), "-p", fmt.Sprint(9000+i-i%10/9, ":8000"), "busybox"}
		if i%10 == 5 {
			return h.TryJ(append(args, "not-there")...)
		}
		return h.TryJ(append(args, "probe", "serve", fmt.Sprint("c", i), "tcp:8000")...)
	})
	running := map[string]int{}
	for i, r := range rs {
		switch i % 10 {
		case 5:
			if r.Code != 127 || !strings.Contains(r.Stderr, "not-there") {
				t.Errorf("c%d: %+v, want 127", i, r)
			}
		case 8, 9: // both want the port: one has it
			other := rs[i/10*10+17-i%10]
			if (r.Code == 0) == (other.Code == 0) || r.Code != 0 && !strings.Contains(r.Stderr, "port is already allocated") {
				t.Errorf("c%d: %+v, the other with its port: %+v", i, r, other)
			}
		default:
			if r.Code != 0 {
				t.Errorf("c%d: %+v", i, r)
			}
		}
		if r.Code == 0 {
			running[fmt.Sprint("c", i)] = 1
			h.Eventually(5*time.Second, func() error {
				if got := askHost(h, fmt.Sprint("127.0.0.1:", 9000+i-i%10/9)); !strings.HasPrefix(got, fmt.Sprint("c", i, " ")) {
					return errorf("c%d answered %q", i, got)
				}
				return nil
			})
		}
	}
	checkHeld(h, running)
	h.J(append([]string{"rm", "-f"}, strings.Fields(h.J("ps", "-aq"))...)...)
	h.Eventually(5*time.Second, func() error { return sameTrace(clean, trace(h)) })
}

// Two hundred on one network resolve and reach each other.
func TestTwoHundredOnOneNetwork(t *testing.T) {
	h := host.New(t)
	h.J("network", "create", "big")
	const n = 200
	start := time.Now()
	work := make(chan int)
	var all sync.WaitGroup
	for range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := range work {
				if r := h.TryJ("run", "-d", "--name", fmt.Sprint("c", i), "--network", "big", "busybox", "probe", "serve", fmt.Sprint("c", i), "tcp:8000"); r.Code != 0 {
					t.Errorf("c%d: %+v", i, r)
				}
			}
		}()
	}
	for i := range n {
		work <- i
	}
	close(work)
	all.Wait()
	t.Logf("%d containers in %v", n, time.Since(start).Round(time.Millisecond))
	// Each asks its neighbour twice removed, and the first asks everybody.
	script := "for i in $(seq 0 199); do probe get tcp:c$i:8000 || echo no c$i; done"
	got := strings.Split(h.J("exec", "c0", "sh", "-c", script), "\n")
	for i := range n {
		if i >= len(got) || !strings.HasPrefix(got[i], fmt.Sprint("c", i, " ")) {
			t.Fatalf("c%d as c0 sees it: %q", i, got[min(i, len(got)-1)])
		}
	}
	for i := 0; i < n; i += 9 {
		if got := get(h, fmt.Sprint("c", i), fmt.Sprint("c", (i+101)%n, ":8000")); got != fmt.Sprint("c", (i+101)%n) {
			t.Errorf("c%d to c%d: %q", i, (i+101)%n, got)
		}
	}
}
