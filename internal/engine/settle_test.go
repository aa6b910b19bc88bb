package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// records writes everything that is stored of containers' networks.
func (r *rig) records(t *testing.T) string {
	t.Helper()
	s := r.Snapshot()
	b, err := json.Marshal([]any{s.Containers, s.Endpoints, s.Links, s.FIPs, s.SecurityGroups})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// liveRig has two containers with everything that a call may change, and one
// that only stands by.
func liveRig(t *testing.T) *rig {
	r := fipRig(t, "203.0.113.16/29")
	r.w.hostLinks = map[string]*model.HostLink{"lan0": {Name: "lan0", Type: "bridge"}}
	ctx := t.Context()
	r.network(t, "dev", subnet("10.9.0.0/24"))
	r.network(t, "far", subnet("10.8.0.0/24"))
	r.fips(t, 4)
	for _, g := range []string{"first", "second"} {
		r.group(t, g, "tcp 80 0")
	}
	for _, name := range []string{"web", "db", "idle"} {
		r.runContainer(t, name, "serve", onNetwork("dev"))
	}
	for _, err := range []error{
		r.AttachFIP(ctx, "203.0.113.17", "web", false, true), r.AttachFIP(ctx, "203.0.113.19", "db", false, false),
		r.AddAliases(ctx, "dev", "web", []string{"app"}),
		r.AttachSecurityGroups(ctx, "web", []string{"first", "second"}), r.AttachSecurityGroups(ctx, "db", []string{"first"}),
		r.ConnectNetwork(ctx, "far", "web", model.EndpointRequest{}), r.ConnectNetwork(ctx, "far", "db", model.EndpointRequest{}),
		r.ChangeRoute(ctx, "web", "add", model.Route{Dst: netip.MustParsePrefix("192.0.2.0/24"), Via: netip.MustParseAddr("10.9.0.9")}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.AddPorts(ctx, "web", []model.PortBinding{binding("", 8080, 0, 80)}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.AddLink(ctx, "web", model.LinkRequest{Target: "db"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.AddNIC(ctx, "web", model.NICRequest{On: "lan0", Name: "lan"}); err != nil {
		t.Fatal(err)
	}
	return r
}

// liveCalls are the calls that change running containers. Those that take
// something away have keeps set.
var liveCalls = []struct {
	name  string
	keeps bool
	do    func(context.Context, *rig) error
}{
	{"port add", false, func(ctx context.Context, r *rig) error {
		_, err := r.AddPorts(ctx, "web", []model.PortBinding{binding("", 9090, 0, 90)})
		return err
	}},
	{"port rm", true, func(ctx context.Context, r *rig) error {
		return r.RemovePorts(ctx, "web", []model.PublishedPort{taken(8080, 8080)})
	}},
	{"alias add", false, func(ctx context.Context, r *rig) error { return r.AddAliases(ctx, "dev", "web", []string{"more"}) }},
	{"alias rm", true, func(ctx context.Context, r *rig) error { return r.RemoveAliases(ctx, "dev", "web", []string{"app"}) }},
	{"link add", false, func(ctx context.Context, r *rig) error {
		_, err := r.AddLink(ctx, "db", model.LinkRequest{Target: "web"})
		return err
	}},
	{"link rm", true, func(ctx context.Context, r *rig) error { return r.RemoveLink(ctx, "web", "db") }},
	{"network connect", false, func(ctx context.Context, r *rig) error {
		return r.ConnectNetwork(ctx, "bridge", "web", model.EndpointRequest{})
	}},
	{"network disconnect", true, func(ctx context.Context, r *rig) error { return r.DisconnectNetwork(ctx, "far", "web", false) }},
	{"nic add", false, func(ctx context.Context, r *rig) error {
		_, err := r.AddNIC(ctx, "web", model.NICRequest{On: "lan0"})
		return err
	}},
	{"nic rm", true, func(ctx context.Context, r *rig) error { return r.RemoveNIC(ctx, "web", "lan") }},
	{"route add", false, func(ctx context.Context, r *rig) error {
		return r.ChangeRoute(ctx, "web", "add", model.Route{Dst: netip.MustParsePrefix("198.51.100.0/24"), Via: netip.MustParseAddr("10.9.0.9")})
	}},
	{"route del", false, func(ctx context.Context, r *rig) error {
		return r.ChangeRoute(ctx, "web", "del", model.Route{Dst: netip.MustParsePrefix("192.0.2.0/24")})
	}},
	{"update of rates", false, func(ctx context.Context, r *rig) error {
		_, err := r.UpdateContainer(ctx, "web", model.UpdateRequest{RateIn: "1mbit"})
		return err
	}},
	{"fip attach", false, func(ctx context.Context, r *rig) error { return r.AttachFIP(ctx, "203.0.113.20", "idle", false, false) }},
	{"fip attach that moves", false, func(ctx context.Context, r *rig) error { return r.AttachFIP(ctx, "203.0.113.17", "db", true, false) }},
	{"fip attach at all ports", false, func(ctx context.Context, r *rig) error { return r.AttachFIP(ctx, "203.0.113.17", "web", false, false) }},
	{"fip detach", true, func(ctx context.Context, r *rig) error { _, err := r.DetachFIP(ctx, "web"); return err }},
	{"sg attach of a further one", false, func(ctx context.Context, r *rig) error { return r.AttachSecurityGroups(ctx, "db", []string{"second"}) }},
	{"sg attach of the first", true, func(ctx context.Context, r *rig) error { return r.AttachSecurityGroups(ctx, "idle", []string{"first"}) }},
	{"sg detach of one", true, func(ctx context.Context, r *rig) error { return r.DetachSecurityGroups(ctx, "web", []string{"first"}) }},
	{"sg detach of the last", false, func(ctx context.Context, r *rig) error { return r.DetachSecurityGroups(ctx, "db", []string{"first"}) }},
	{"sg update with more", false, func(ctx context.Context, r *rig) error {
		_, err := r.UpdateSecurityGroup(ctx, "first", model.SecurityGroupChange{Add: []model.GroupRuleRequest{rule("tcp 90 0")}})
		return err
	}},
	{"sg update with others", true, func(ctx context.Context, r *rig) error {
		_, err := r.UpdateSecurityGroup(ctx, "first", model.SecurityGroupChange{Replace: true, Rules: []model.GroupRuleRequest{rule("tcp 90 0")}})
		return err
	}},
	{"swap", false, func(ctx context.Context, r *rig) error { return r.Swap(ctx, "web", "db") }},
}

// What the kernel refuses is taken back if it gives something, and stays if it
// takes something away; what another container's network fails at changes nothing.
func TestLiveCallsThatFail(t *testing.T) {
	for _, call := range liveCalls {
		t.Run(call.name, func(t *testing.T) {
			t.Parallel()
			r := liveRig(t)
			before := r.records(t)
			r.w.failWait.Store(true)
			err := call.do(t.Context(), r)
			r.w.failWait.Store(false)
			after := r.records(t)
			words := "; nothing was changed"
			if call.keeps {
				words = "; it is recorded all the same, and tried again until it is in effect"
			}
			if err == nil || !strings.HasSuffix(err.Error(), words) || !strings.Contains(err.Error(), "the network fails") {
				t.Errorf("error: %v", err)
			}
			if call.keeps != (after != before) {
				t.Errorf("left\n%s, before\n%s", after, before)
			}
			if err := store.Check(r.Snapshot()); err != nil {
				t.Error(err)
			}
			if call.keeps {
				return
			}
			bystander := r.runContainer(t, "other", "serve", onNetwork("dev"))
			r.w.failOf.Store(&bystander)
			if err := call.do(t.Context(), r); err != nil {
				t.Errorf("another container's network fails: %v", err)
			}
			if err := store.Check(r.Snapshot()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A floating IP that can't be put on the host's device is not attached, one that
// can't be taken off is detached all the same.
func TestFIPWithoutItsDevice(t *testing.T) {
	r := liveRig(t)
	before := r.records(t)
	r.w.failAddress.Store(true)
	err := r.AttachFIP(t.Context(), "203.0.113.20", "db", true, false)
	if want := "attach floating IP 203.0.113.20 to container db: no address can be put on eth0; nothing was changed"; err == nil || err.Error() != want {
		t.Errorf("attach: %v, want %s", err, want)
	}
	if after := r.records(t); after != before {
		t.Errorf("left\n%s, before\n%s", after, before)
	}
	f, err := r.DetachFIP(t.Context(), "db")
	if err == nil || !strings.Contains(err.Error(), "recorded all the same") || r.Snapshot().FIPs[f.ID()].ContainerID != "" {
		t.Errorf("detach: %v", err)
	}
}

// What somebody else changed while a call failed stays as they want it.
func TestTakeBackLeavesOthersChanges(t *testing.T) {
	r := liveRig(t)
	ctx := t.Context()
	during := func(f func()) {
		r.w.mu.Lock()
		r.w.waiting = f
		r.w.mu.Unlock()
	}
	for _, tc := range []struct {
		what string
		do   func() error
		then func() error
		want func(*model.Snapshot) bool
	}{
		{"the floating IP is attached to another one", func() error { return r.AttachFIP(ctx, "203.0.113.20", "idle", false, false) },
			func() error { return r.AttachFIP(ctx, "203.0.113.20", "db", true, false) },
			func(s *model.Snapshot) bool { return s.FIPOf[s.ContainerNames["db"]] == "203.0.113.20" }},
		{"the container it was moved from has another one", func() error { return r.AttachFIP(ctx, "203.0.113.17", "idle", true, false) },
			func() error { return r.AttachFIP(ctx, "203.0.113.21", "web", false, false) },
			func(s *model.Snapshot) bool {
				return s.FIPOf[s.ContainerNames["web"]] == "203.0.113.21" && s.FIPs["203.0.113.17"].ContainerID == ""
			}},
		{"the swapped floating IP is detached", func() error { return r.Swap(ctx, "web", "idle") },
			func() error { _, err := r.DetachFIP(ctx, "idle"); return err },
			func(s *model.Snapshot) bool {
				return s.FIPOf[s.ContainerNames["web"]] == "" && s.FIPOf[s.ContainerNames["idle"]] == "" && len(s.Containers[s.ContainerNames["web"]].Ports) > 0
			}},
		{"the group's rules are others", func() error {
			_, err := r.UpdateSecurityGroup(ctx, "first", model.SecurityGroupChange{Add: []model.GroupRuleRequest{rule("tcp 90 0")}})
			return err
		}, func() error {
			_, err := r.UpdateSecurityGroup(ctx, "first", model.SecurityGroupChange{Add: []model.GroupRuleRequest{rule("udp 53 0")}})
			return err
		}, func(s *model.Snapshot) bool {
			var left []string
			for _, r := range s.SecurityGroups[s.GroupNames["first"]].Rules {
				left = append(left, fmt.Sprint(r.Proto, r.First))
			}
			return slices.Equal(left, []string{"tcp80", "udp53"})
		}},
	} {
		var then error
		during(func() { then = tc.then() })
		r.w.failOnce.Store(true)
		if err := tc.do(); err == nil || then != nil {
			t.Errorf("%s: %v, then %v", tc.what, err, then)
		}
		if !tc.want(r.Snapshot()) {
			t.Errorf("%s: left %s", tc.what, r.records(t))
		}
		if err := store.Check(r.Snapshot()); err != nil {
			t.Errorf("%s: %v", tc.what, err)
		}
	}
}
