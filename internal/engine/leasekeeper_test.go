package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// leasedRig runs container web with a leased NIC, eth1.
func leasedRig(t *testing.T) (r *rig, d *fakeDHCP, web string) {
	t.Helper()
	w := newWorld(t)
	w.hostLinks = map[string]*model.HostLink{"lan0": {Name: "lan0", Type: "bridge"}, "wan1": {Name: "wan1", Type: "device"}}
	d = &fakeDHCP{clock: w.clock}
	r = w.engine(func(o *Options) { o.DHCP = d })
	web = r.runContainer(t, "web", "serve")
	if _, err := r.AddNIC(t.Context(), "web", model.NICRequest{On: "lan0", DHCP: true}); err != nil {
		t.Fatal(err)
	}
	return r, d, web
}

func (d *fakeDHCP) eventually(t *testing.T, want string) {
	t.Helper()
	eventually(t, want, func() bool { return d.did() == want })
}

// A restart may find another network: what is held is confirmed by any server,
// and where none answers another is asked for.
func TestLeaseAfterRestart(t *testing.T) {
	r, d, web := leasedRig(t)
	for _, want := range []string{"acquire rebind", "acquire rebind rebind again"} {
		if err := r.RestartContainer(t.Context(), "web", "", nil); err != nil {
			t.Fatal(err)
		}
		d.eventually(t, want)
		if n := r.container(web).NICs[0]; !n.Lease.Held {
			t.Errorf("after %s: %+v", want, n.Lease)
		}
		d.mu.Lock()
		d.renew = errs.New(errs.Unavailable, "nobody answers")
		d.mu.Unlock()
	}
}

// Whatever ends a container's time gives its leases back.
func TestLeaseReleased(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, r *rig, web string)
	}{
		{"a restart that fails", func(t *testing.T, r *rig, web string) {
			if err := r.change(web, func(c *model.Container) error { c.Path = "missing"; return nil }); err != nil {
				t.Fatal(err)
			}
			if err := r.RestartContainer(t.Context(), "web", "", nil); err == nil {
				t.Error("a program that is missing runs")
			}
		}},
		{"a restart that does not come", func(t *testing.T, r *rig, web string) {
			l := r.live(web)
			l.setRestarting(true)
			if err := r.stop(t.Context(), web, "", nil); err != nil {
				t.Fatal(err)
			}
			l.setRestarting(false)
			r.release(t.Context(), web)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, d, web := leasedRig(t)
			tt.end(t, r, web)
			if c := r.container(web); c.Active || c.NICs[0].Lease.Held || d.did() != "acquire release" {
				t.Errorf("active %t, %+v: %s", c.Active, c.NICs[0].Lease, d.did())
			}
		})
	}
}

// A NIC that can't be removed keeps its lease.
func TestLeaseOfNICThatStays(t *testing.T) {
	r, d, web := leasedRig(t)
	status := func(s model.Status) {
		if err := r.change(web, func(c *model.Container) error { c.State.Status = s; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	status(model.StatusDead)
	if err := r.RemoveNIC(t.Context(), "web", "eth1"); !errs.Is(err, errs.Conflict) || d.did() != "acquire" {
		t.Errorf("%v: %s", err, d.did())
	}
	status(model.StatusRunning)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveNIC(t.Context(), "web", "eth1"); err == nil {
		t.Error("it is removed from a store that is closed")
	}
	eventually(t, "the lease is kept on", func() bool { return strings.HasPrefix(d.did(), "acquire release rebind") })
}

// What keeps an interface from being there may end without a change of the store.
func TestWaitNICAfterFailure(t *testing.T) {
	r := nicRig(t)
	r.runContainer(t, "web", "serve")
	r.w.failWait.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.WaitNIC(ctx, "web", "eth0", -1) }()
	eventually(t, "it waits to look again", func() bool { _, ok := r.clock.next(); return ok })
	r.w.failWait.Store(false)
	r.clock.Advance(time.Second)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The error names one of several containers, always the same.
func TestDirectNICRefusedByName(t *testing.T) {
	r := nicRig(t)
	for _, name := range []string{"two", "one", "six"} {
		r.runContainer(t, name, "serve")
		if _, err := r.AddNIC(t.Context(), name, model.NICRequest{On: "wan1"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		if _, err := r.AddNIC(t.Context(), "two", model.NICRequest{On: "wan1", Direct: true}); err == nil || !strings.Contains(err.Error(), "container one has a NIC on the device (eth1)") {
			t.Fatal(err)
		}
	}
}

func TestTCLinesAreBounded(t *testing.T) {
	r := nicRig(t)
	web := r.runContainer(t, "web", "serve")
	tc := func(line string) error {
		_, err := r.TC(t.Context(), "web", strings.Fields(line))
		return err
	}
	lines := func() (out []string) {
		for _, words := range r.container(web).TC {
			out = append(out, strings.Join(words, " "))
		}
		return out
	}
	change := "qdisc change dev eth0 root tbf rate %dmbit burst 32kbit latency 50ms"
	if err := tc("qdisc add dev eth0 root tbf rate 1mbit burst 32kbit latency 50ms"); err != nil {
		t.Fatal(err)
	}
	for n := range 3*maxTC + 1 {
		if err := tc(fmt.Sprintf(change, n%3)); err != nil {
			t.Fatal(n, err)
		}
	}
	got := lines()
	if len(got) > maxTC || !strings.Contains(got[0], "add") || got[len(got)-1] != fmt.Sprintf(change, 0) {
		t.Errorf("%d lines:\n%s", len(got), strings.Join(got, "\n"))
	}
	var err error
	for n := 10; err == nil && n < 10+2*maxTC; n++ {
		err = tc(fmt.Sprintf(change, n))
	}
	if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "jackstay tc web qdisc del dev eth0 root") || len(lines()) != maxTC {
		t.Errorf("with %d lines: %v", len(lines()), err)
	}
	if err := tc("qdisc del dev eth0 root"); err != nil || len(lines()) > 0 {
		t.Errorf("%v: %v", err, lines())
	}
	// What was deleted in between is made anew by the equal line.
	cycle := [][]string{{"class", "replace", "a"}, {"class", "del", "a"}, {"class", "replace", "a"}, {"class", "replace", "b"}, {"class", "replace", "a"}, {"class", "replace", "a"}}
	if got := compactTC(cycle); fmt.Sprint(got) != fmt.Sprint(append(cycle[:4:4], cycle[5])) {
		t.Errorf("compact: %v", got)
	}
}
