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

// A certain address is allocated, or the reason is said; a tenant learns only of
// its own.
func TestAllocateCertainFIP(t *testing.T) {
	r := fipRig(t, "203.0.113.16/29", "2001:db8:1::10/126")
	acme := r.tenant(t, "acme")
	r.runContainer(t, "web", "serve", publish("203.0.113.20", 80, 0, 80))
	if _, err := acme.AllocateFIP(t.Context(), "203.0.113.21"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		address, err, tenantsErr string
		kind                     errs.Kind
	}{
		{"203.0.113.19", "", "the address is not available", errs.Conflict},
		{"203.0.113.19", "it is allocated already", "the address is not available", errs.Conflict},
		{"2001:db8:1::11", "", "the address is not available", errs.Conflict},
		{"203.0.113.16", "it is the first or the last of pool 203.0.113.16/29", "the address is not available", errs.Conflict},
		{"203.0.113.18", "the address is the host's own", "the address is not available", errs.Conflict},
		{"203.0.113.20", "a port is published on it", "the address is not available", errs.Conflict},
		{"203.0.113.21", "it is allocated already", "it is allocated already", errs.Conflict},
		{"203.0.113.44", "it is in no pool; `jackstay fip pool ls`", "the address is not available", errs.Invalid},
		{"::ffff:203.0.113.22", "is not an address such as", "is not an address such as", errs.Invalid},
		{"front", "is not an address such as", "is not an address such as", errs.Invalid},
	} {
		before := len(r.Snapshot().FIPs)
		f, err := r.AllocateFIP(t.Context(), tc.address)
		if tc.err == "" {
			if err != nil || f.ID() != tc.address || r.Snapshot().FIPs[tc.address] == nil {
				t.Errorf("%s: %v", tc.address, err)
			}
		} else if !errs.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.err) || len(r.Snapshot().FIPs) != before {
			t.Errorf("%s: %v, want %q", tc.address, err, tc.err)
		}
		if _, err := acme.AllocateFIP(t.Context(), tc.address); err == nil || !strings.Contains(err.Error(), tc.tenantsErr) {
			t.Errorf("%s for a tenant: %v, want %q", tc.address, err, tc.tenantsErr)
		}
	}
}

// A tenant's quota is looked at before the pools, of whose state it learns nothing.
func TestQuotaBeforePools(t *testing.T) {
	r := fipRig(t, "203.0.113.16/30")
	if _, err := r.CreateTenant(t.Context(), model.Tenant{Name: "acme", FIPQuota: 2}); err != nil {
		t.Fatal(err)
	}
	acme := r.as("acme")
	allocate := func(n int) string {
		_, err := acme.AllocateFIPs(t.Context(), n, "")
		return fmt.Sprint(err)
	}
	for _, step := range []struct {
		n    int
		want string
	}{
		{3, "the quota of 2 floating IPs leaves 2: allocate fewer"}, {1, "<nil>"}, {2, "the quota of 2 floating IPs leaves 1: allocate fewer"},
		{1, "the pools have 0 free"},
	} {
		if got := allocate(step.n); !strings.Contains(got, step.want) {
			t.Errorf("%d: %s, want %s", step.n, got, step.want)
		}
	}
	one := 1
	if _, err := r.UpdateTenant(t.Context(), "acme", model.TenantUpdate{FIPQuota: &one}); err != nil {
		t.Fatal(err)
	}
	if got := allocate(1); !strings.Contains(got, "the quota of 1 floating IPs is reached: release some") {
		t.Errorf("at the quota: %s", got)
	}
	_, err := acme.AllocateFIP(t.Context(), "203.0.113.17")
	if !errs.Is(err, errs.Forbidden) {
		t.Errorf("a certain one at the quota: %v", err)
	}
	_, err = acme.tryCreate(t, "web", "serve", func(q *model.CreateRequest) { q.Config.Labels = map[string]string{"com.jackstay.fip": "auto"} })
	if err == nil || !strings.Contains(err.Error(), "the quota of 1 floating IPs is reached") {
		t.Errorf("--fip auto at the quota: %v", err)
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

// The administrator is told what is a tenant's by its name among everybody's.
func TestAdministratorsFIPErrors(t *testing.T) {
	r := fipRig(t, "203.0.113.16/29")
	acme := r.tenant(t, "acme")
	fip := acme.fips(t, 1)
	acme.create(t, "web", "serve")
	acme.create(t, "db", "serve")
	if err := acme.AttachFIP(t.Context(), fip, "web", false, false); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		fip:            "floating IP " + fip + " is attached to container web%s: detach it first",
		"203.0.113.21": "no such floating IP: 203.0.113.21; `jackstay fip ls` shows those there are, `jackstay fip allocate 203.0.113.21` allocates it",
		"front":        "no such floating IP: front; `jackstay fip ls` shows those there are, `jackstay fip allocate 1` makes one",
	} {
		for tenant, of := range map[string]*rig{"": acme, "@acme": r} {
			err := of.AttachFIP(t.Context(), ref, "db"+tenant, false, false)
			if want := strings.ReplaceAll(want, "%s", tenant); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s to db%s: %v, want %q", ref, tenant, err, want)
			}
		}
	}
	if err := r.ReleaseFIP(t.Context(), fip); err == nil || !strings.Contains(err.Error(), "(jackstay fip detach web@acme)") {
		t.Errorf("release: %v", err)
	}
}

// What --fip auto means, no floating IP is called.
func TestNoFIPIsCalledAuto(t *testing.T) {
	r := fipRig(t, "203.0.113.16/30")
	fip := r.fips(t, 1)
	if err := r.NameFIP(t.Context(), fip, "auto"); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), `invalid floating IP name "auto"`) {
		t.Errorf("named auto: %v", err)
	}
	if err := r.NameFIP(t.Context(), fip, "automatic"); err != nil || r.Snapshot().FIPs[fip].Name != "automatic" {
		t.Errorf("named automatic: %v", err)
	}
}
