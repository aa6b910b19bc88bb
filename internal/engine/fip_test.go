package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// fips allocates and gives the addresses.
func (r *rig) fips(t *testing.T, count int) string {
	t.Helper()
	list, err := r.AllocateFIPs(t.Context(), count, "")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range list {
		out = append(out, f.ID())
	}
	return strings.Join(out, " ")
}

func fipRig(t *testing.T, prefixes ...string) *rig {
	w := newWorld(t)
	w.addresses = map[netip.Addr]string{netip.MustParseAddr("203.0.113.18"): "the host's own"}
	r := w.engine()
	for _, p := range prefixes {
		if _, err := r.AddFIPPool(t.Context(), p, "eth0"); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// The lowest free ones, without what is the network's or somebody's.
func TestAllocateFIPs(t *testing.T) {
	for _, tc := range []struct{ pools, want string }{
		{"203.0.113.16/29", "203.0.113.17 203.0.113.19 203.0.113.20 203.0.113.21 203.0.113.22"},
		{"203.0.113.16/31", "203.0.113.16 203.0.113.17"},
		{"203.0.113.17/32", "203.0.113.17"},
		{"203.0.113.16/30 198.51.100.0/30", "198.51.100.1 198.51.100.2 203.0.113.17"},
	} {
		r := fipRig(t, strings.Fields(tc.pools)...)
		n := len(strings.Fields(tc.want))
		if _, err := r.AllocateFIPs(t.Context(), n+1, ""); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), fmt.Sprintf("have %d free", n)) {
			t.Errorf("%s: one too many: %v", tc.pools, err)
		}
		if len(r.Snapshot().FIPs) != 0 {
			t.Errorf("%s: some were allocated all the same", tc.pools)
		}
		if got := r.fips(t, n); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.pools, got, tc.want)
		}
		first := strings.Fields(tc.want)[0]
		if err := r.ReleaseFIP(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if got := r.fips(t, 1); got != first {
			t.Errorf("%s: after a release %s, want %s", tc.pools, got, first)
		}
	}
	if _, err := fipRig(t).AllocateFIPs(t.Context(), 1, ""); err == nil || !strings.Contains(err.Error(), "fip pool add") {
		t.Errorf("without a pool: %v", err)
	}
}

func TestAttachFIP(t *testing.T) {
	r := fipRig(t, "203.0.113.16/29")
	r.fips(t, 2)
	web := r.runContainer(t, "web", "serve")
	db := r.create(t, "db", "serve") // stopped
	of := func() string { return r.Snapshot().FIPOf[web] + " " + r.Snapshot().FIPOf[db] }
	for _, step := range []struct {
		fip, to string
		force   bool
		err, of string
	}{
		{"203.0.113.17", "web", false, "", "203.0.113.17 "},
		{"203.0.113.17", "web", false, "", "203.0.113.17 "}, // it is so already
		{"203.0.113.17", "db", false, "203.0.113.17 is attached to container web", "203.0.113.17 "},
		{"203.0.113.17", "db", true, "", " 203.0.113.17"},
		{"203.0.113.19", "db", false, "container db has the floating IP 203.0.113.17 already", " 203.0.113.17"},
		{"203.0.113.19", "db", true, "", " 203.0.113.19"},
		{"203.0.113.44", "db", true, "no such floating IP: 203.0.113.44", " 203.0.113.19"},
		{"203.0.113.17", "nobody", true, "No such container: nobody", " 203.0.113.19"},
	} {
		err := r.AttachFIP(t.Context(), step.fip, step.to, step.force, false)
		if (err == nil) != (step.err == "") || err != nil && !strings.Contains(err.Error(), step.err) {
			t.Errorf("%s to %s: %v, want %q", step.fip, step.to, err, step.err)
		}
		if of() != step.of {
			t.Errorf("%s to %s: web and db have %q, want %q", step.fip, step.to, of(), step.of)
		}
	}
	if err := r.ReleaseFIP(t.Context(), "203.0.113.19"); !errs.Is(err, errs.Conflict) {
		t.Errorf("release of an attached one: %v", err)
	}
	if err := r.RemoveContainer(t.Context(), "db", model.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if f := r.Snapshot().FIPs["203.0.113.19"]; f == nil || f.ContainerID != "" {
		t.Errorf("after its container was removed: %+v", f)
	}
	if _, err := r.DetachFIP(t.Context(), "web"); err == nil || err.Error() != "container web has no floating IP" {
		t.Errorf("detach: %v", err)
	}
	if err := store.Check(r.Snapshot()); err != nil {
		t.Error(err)
	}
	// Somebody took the address meanwhile.
	r.w.addresses[netip.MustParseAddr("203.0.113.17")] = "the host's own"
	if err := r.AttachFIP(t.Context(), "203.0.113.17", "web", false, false); err == nil || !strings.Contains(err.Error(), "the address is the host's own now") {
		t.Errorf("a taken address: %v", err)
	}
}
