package reconcile_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/kernel/fake"
)

var floatingAt = desired.DeviceAddress{Device: "eth0", Addr: netip.MustParseAddr("203.0.113.17")}

// floated is a world of two containers of which one, or "", has a floating IP.
func floated(owner string) *desired.State {
	s := world(box{id: "c1", nets: "a"}, box{id: "c2", nets: "a"})
	if owner != "" {
		to := addr(owner, 'a')
		s.Firewall.FIPIn = map[netip.Addr]netip.Addr{floatingAt.Addr: to}
		s.Firewall.FIPOut = map[netip.Addr]netip.Addr{to: floatingAt.Addr}
		s.Addresses = map[desired.DeviceAddress]string{floatingAt: owner}
	}
	return s
}

// An address is on its device only while the firewall leads it to somebody,
// and each new owner is announced.
func TestAddresses(t *testing.T) {
	host, src := fake.New(), newSource()
	host.AddForeignLink("eth0", false)
	rev := src.set(floated(""))
	r := start(t, host, src)
	if err := r.Wait(t.Context(), "c1", rev); err != nil {
		t.Fatal(err)
	}
	marked := func() bool { return strings.Contains(host.Dump(), "marked=[203.0.113.17]") }
	settle := func(owner, waiter string) []string {
		t.Helper()
		host.Journal()
		rev := src.set(floated(owner))
		if err := r.Wait(t.Context(), waiter, rev); err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(host.Journal(), func(op string) bool {
			return !strings.Contains(op, "203.0.113.17") && !strings.HasPrefix(op, "firewall")
		})
	}
	for _, step := range []struct {
		owner, waiter, want string
	}{
		{"c1", "c1", "firewall update +2 -0, mark eth0 203.0.113.17, announce 203.0.113.17 on eth0"},
		{"c2", "c2", "firewall update +2 -2, announce 203.0.113.17 on eth0"},
		{"c2", "c2", ""},
		{"", "c2", "unmark eth0 203.0.113.17, firewall update +0 -2"},
	} {
		if got := strings.Join(settle(step.owner, step.waiter), ", "); got != step.want {
			t.Errorf("to %q: %s, want %s", step.owner, got, step.want)
		}
		if marked() != (step.owner != "") {
			t.Errorf("to %q: the host has\n%s", step.owner, host.Dump())
		}
	}
	// Somebody takes it off, and the daemon is started anew: it is there again.
	settle("c1", "c1")
	host.DropMarked(floatingAt)
	eventually(t, marked, func() string { return "never put on again:\n" + host.Dump() })
	r.stop()
	host.Restart()
	src.set(floated(""))
	start(t, host, src)
	eventually(t, func() bool { return !marked() }, func() string { return "never a leftover taken off:\n" + host.Dump() })
}

// A device that is not there keeps nobody from starting, and has the address
// when it comes.
func TestAddressOfAnAbsentDevice(t *testing.T) {
	host, src := fake.New(), newSource()
	rev := src.set(floated("c1"))
	r := start(t, host, src)
	if err := r.Wait(t.Context(), "c1", rev); err != nil {
		t.Fatal(err)
	}
	if err := r.Status().Host; err == nil || !strings.Contains(err.Error(), "203.0.113.17 on eth0") {
		t.Errorf("the host's trouble: %v", err)
	}
	if err := r.Address(floatingAt.Addr); err == nil || !strings.Contains(err.Error(), "203.0.113.17 on eth0") {
		t.Errorf("the address: %v", err)
	}
	if err := r.Address(floatingAt.Addr.Next()); err != nil {
		t.Errorf("another address: %v", err)
	}
	host.AddForeignLink("eth0", false)
	eventually(t, func() bool { return strings.Contains(host.Dump(), "marked=[203.0.113.17]") }, func() string { return "never put on:\n" + host.Dump() })
	if err := r.Status().Host; err != nil {
		t.Errorf("trouble is over, and yet: %v", err)
	}
	if err := r.Address(floatingAt.Addr); err != nil {
		t.Errorf("the address is there, and yet: %v", err)
	}
}
