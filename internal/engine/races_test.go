package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// atOnce has two do something at the same time, and wants one to win and the
// other to be told so; it gives who won.
func atOnce(t *testing.T, what string, kind errs.Kind, told string, do func(who int) error) (winner int) {
	t.Helper()
	var all sync.WaitGroup
	var got [2]error
	begin := make(chan struct{})
	for who := range got {
		all.Add(1)
		go func() {
			defer all.Done()
			<-begin
			got[who] = do(who)
		}()
	}
	close(begin)
	all.Wait()
	if got[0] != nil {
		winner = 1
	}
	if lost := got[1-winner]; got[winner] != nil || !errs.Is(lost, kind) || !strings.Contains(lost.Error(), told) {
		t.Fatalf("%s at once: %v and %v; want one to win, and one told %q", what, got[0], got[1], told)
	}
	return winner
}

// Of two that want the same, one gets it, and of the other nothing is left.
func TestTwoAtOnce(t *testing.T) {
	r := fipRig(t, "203.0.113.16/28")
	r.w.hostLinks = map[string]*model.HostLink{"lan0": {Name: "lan0", Type: "bridge"}}
	ctx := t.Context()
	r.network(t, "dev", subnet("10.9.0.0/24"))
	names := [2]string{"blue", "green"}
	var ids [2]string
	for i, name := range names {
		ids[i] = r.runContainer(t, name, "serve", onNetwork("dev"))
	}
	fip := r.fips(t, 1)
	for round := range 20 {
		port := uint16(8000 + round)
		won := atOnce(t, "port add", errs.Conflict, fmt.Sprintf("Bind for 0.0.0.0:%d failed: port is already allocated to container", port), func(who int) error {
			_, err := r.AddPorts(ctx, names[who], []model.PortBinding{binding("", port, 0, 80), binding("", port+1000, 0, 81)})
			return err
		})
		if lost := r.container(ids[1-won]); len(lost.Ports)+len(lost.Host.PortBindings) != 0 {
			t.Fatalf("the loser has ports: %s", r.ports(ids[1-won]))
		}
		if err := r.RemovePorts(ctx, names[won], []model.PublishedPort{taken(port, port), taken(port+1000, port+1000)}); err != nil {
			t.Fatal(err)
		}
		for _, on := range []struct{ name, addr, told string }{
			{"lan0", "10.7.0.5/24", "address 10.7.0.5 is already in use on lan0 by container"},
			{"dev", "10.9.0.50/24", "10.9.0.50"},
		} {
			kind := errs.Conflict
			if on.name == "dev" {
				kind = errs.Forbidden // as of --ip at create
			}
			before := r.interfaces(t, "blue") + r.interfaces(t, "green")
			won = atOnce(t, "nic add on "+on.name, kind, on.told, func(who int) error {
				_, err := r.AddNIC(ctx, names[who], model.NICRequest{On: on.name, Name: "x", Addrs: []netip.Prefix{netip.MustParsePrefix(on.addr)}})
				return err
			})
			if err := r.RemoveNIC(ctx, names[won], "x"); err != nil {
				t.Fatal(err)
			}
			if got := r.interfaces(t, "blue") + r.interfaces(t, "green"); got != before {
				t.Fatalf("nic add on %s left %s, before %s", on.name, got, before)
			}
		}
		alias := fmt.Sprint("name", round)
		atOnce(t, "alias add", errs.Conflict, "container blue has the alias "+alias+" on network dev already", func(int) error {
			return r.AddAliases(ctx, "dev", "blue", []string{alias})
		})
		// They are run under one floating IP: the other does not even get a container.
		won = atOnce(t, "run --fip", errs.Conflict, "floating IP "+fip, func(who int) error {
			id, err := r.tryCreate(t, fmt.Sprint("one", who), "serve", func(q *model.CreateRequest) { q.Config.Labels = map[string]string{"com.jackstay.fip": fip} })
			if err != nil {
				return err
			}
			return r.StartContainer(ctx, id)
		})
		s := r.Snapshot()
		if _, left := s.ContainerNames[fmt.Sprint("one", 1-won)]; left || s.FIPs[fip].ContainerID != s.ContainerNames[fmt.Sprint("one", won)] {
			t.Fatalf("the loser of run --fip is there, or the winner has no address: %+v", s.FIPs[fip])
		}
		if err := r.RemoveContainer(ctx, fmt.Sprint("one", won), model.RemoveOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Check(r.Snapshot()); err != nil {
		t.Error(err)
	}
	r.noLeaks(t)
}

// Of two swaps of one pair, in whatever direction, that are asked for at once,
// one is done: both would leave addresses at one and ports at the other.
func TestTwoSwapsAtOnce(t *testing.T) {
	r := newWorld(t).engine()
	ctx := t.Context()
	r.network(t, "dev", subnet("10.9.0.0/24"))
	blue := r.runContainer(t, "blue", "serve", onNetwork("dev"), publish("", 8080, 0, 80))
	green := r.runContainer(t, "green", "serve", onNetwork("dev"))
	from, to := blue, green
	for round := range 20 {
		seen := r.swapsOf(blue, green)
		had := r.container(from).Ports
		atOnce(t, "swap", errs.Conflict, "another swap of one of them came first", func(int) error {
			return r.swap(ctx, r.container(from), r.container(to), from, to, seen)
		})
		if round == 0 {
			if got := r.addresses(blue, green); got != "10.9.0.3/10.9.0.2 10.9.0.2/10.9.0.3" {
				t.Errorf("addresses %s", got)
			}
		}
		if a, b := r.container(from).Ports, r.container(to).Ports; len(a) != 0 || len(had) != 1 || len(b) != 1 {
			t.Fatalf("round %d: ports %v and %v", round, a, b)
		}
		from, to = to, from
	}
	// One after the other they are two swaps.
	for _, pair := range [][2]string{{from, to}, {to, from}} {
		if err := r.Swap(ctx, pair[0], pair[1]); err != nil {
			t.Error(err)
		}
	}
	// The other way round at the same time.
	seen := r.swapsOf(blue, green)
	atOnce(t, "swap there and back", errs.Conflict, "another swap", func(who int) error {
		pair := [2]string{blue, green}
		return r.swap(ctx, r.container(pair[who]), r.container(pair[1-who]), "", "", seen)
	})
	if err := store.Check(r.Snapshot()); err != nil {
		t.Error(err)
	}
}
