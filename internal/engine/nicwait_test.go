package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// A wait ends with the interface, or with what is missing.
func TestWaitNIC(t *testing.T) {
	r := nicRig(t)
	r.runContainer(t, "web", "serve")
	q := model.CreateRequest{Name: "off", Image: "img"}
	if _, _, err := r.CreateContainer(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	wait := func(ref, name string, within time.Duration) chan error {
		done := make(chan error, 1)
		go func() { done <- r.WaitNIC(t.Context(), ref, name, within) }()
		return done
	}
	// until lets time pass in small steps, as many as it takes, and tells how much did.
	until := func(done chan error, atMost time.Duration) (error, time.Duration) {
		t.Helper()
		for passed := time.Duration(0); ; {
			select {
			case err := <-done:
				return err, passed
			case <-time.After(time.Millisecond):
			}
			if _, waits := r.clock.next(); waits && passed < atMost {
				r.clock.Advance(time.Second)
				passed += time.Second
			} else if passed >= atMost {
				return nil, passed
			}
		}
	}
	for _, tt := range []struct {
		ref, name string
		within    time.Duration
		least     time.Duration
		kind      errs.Kind
		want      string
	}{
		{"nobody", "eth1", -1, 0, errs.NotFound, "No such container: nobody"},
		{"web", "eth7", -1, unknownWithin, errs.NotFound, "nobody has asked for it yet (jackstay nic add; wait longer with --timeout): container web has no interface eth7: it has eth0"},
		{"web", "", 3 * time.Second, 3 * time.Second, errs.NotFound, "container web has no interface eth1: it has eth0"},
		{"off", "eth0", 2 * time.Second, 2 * time.Second, errs.Conflict, "not there within 2s: container off does not run"},
	} {
		err, passed := until(wait(tt.ref, tt.name, tt.within), time.Hour)
		if !errs.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) || passed < tt.least {
			t.Errorf("%s %s: %v after %v", tt.ref, tt.name, err, passed)
		}
	}
	// What is asked for, and what nobody asks for if that is said, without end.
	never := wait("off", "eth0", -1)
	later := wait("web", "eth1", 0)
	for _, done := range []chan error{never, later} {
		if err, passed := until(done, 2*unknownWithin); err != nil || passed < 2*unknownWithin {
			t.Errorf("%v after %v", err, passed)
		}
	}
	if _, err := r.AddNIC(t.Context(), "web", model.NICRequest{On: "lan0"}); err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(t.Context(), "off"); err != nil {
		t.Fatal(err)
	}
	for _, done := range []chan error{never, later} {
		if err, passed := until(done, 24*time.Hour); err != nil || passed >= 24*time.Hour {
			t.Errorf("they are there: %v after %v", err, passed)
		}
	}
}
