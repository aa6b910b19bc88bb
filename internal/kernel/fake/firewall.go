package fake

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/jackstay/jackstay/internal/desired"
)

// Firewall is the table.
type Firewall struct{ h *Host }

// Firewall gives the host's reconcile.Firewall.
func (h *Host) Firewall() *Firewall { return &Firewall{h} }

// Observe reads the elements.
func (f *Firewall) Observe(context.Context) (fw desired.Firewall, intact bool, err error) {
	err = f.h.look(func() (err error) {
		if t := f.h.table; t != nil {
			fw, err = t.fw.Edit(desired.Firewall{}, desired.Firewall{}) // a copy
			intact = t.intact
		}
		return err
	})
	return fw, intact, err
}

// Load replaces everything.
func (f *Firewall) Load(_ context.Context, fw desired.Firewall) error {
	return f.h.do(fmt.Sprintf("firewall load %d", fw.Len()), func() error {
		loaded, err := edit(desired.Firewall{}, fw, desired.Firewall{})
		if err == nil {
			f.h.table = &table{intact: true, fw: loaded}
		}
		return err
	})
}

// Update deletes, then adds; nothing of it if anything of it is refused.
func (f *Firewall) Update(_ context.Context, add, del desired.Firewall) error {
	return f.h.do(fmt.Sprintf("firewall update +%d -%d", add.Len(), del.Len()), func() error {
		if f.h.table == nil {
			return fmt.Errorf("table inet jackstay: %w", enoent)
		}
		updated, err := edit(f.h.table.fw, add, del)
		if err == nil {
			f.h.table = &table{intact: f.h.table.intact, fw: updated}
		}
		return err
	})
}

// Watch signals changes by others.
func (f *Firewall) Watch(ctx context.Context) (<-chan struct{}, error) {
	return f.h.watch(ctx, &f.h.tableWatch)
}

// edit changes elements, and refuses what the kernel does.
func edit(fw, add, del desired.Firewall) (desired.Firewall, error) {
	for _, set := range []map[string]struct{}{add.Bridges, add.Internal, add.Tenants} {
		for name := range set {
			if len(name) > maxName || name == "" {
				return fw, fmt.Errorf("element %q: %w", name, syscall.EINVAL)
			}
		}
	}
	for p := range add.Masquerade {
		if p != p.Masked() {
			return fw, fmt.Errorf("interval %s: %w", p, syscall.EINVAL)
		}
	}
	for k, v := range add.Publish {
		if k.IP.Is4() != v.IP.Is4() {
			return fw, fmt.Errorf("element %v: %v is of another family: %w", k, v, syscall.EINVAL)
		}
	}
	out, err := fw.Edit(add, del)
	if err != nil {
		return fw, err
	}
	for _, err := range []error{
		disjoint(out.Masquerade, add.Masquerade, netip.Prefix.Overlaps), disjoint(out.Flows, add.Flows, desired.Flow.Overlaps),
		disjoint(out.Admit, add.Admit, desired.Admission.Overlaps), disjoint(out.AdmitMembers, add.AdmitMembers, desired.MemberAdmission.Overlaps),
	} {
		if err != nil {
			return fw, err
		}
	}
	return out, nil
}

// disjoint refuses intervals that overlap with others of their set.
func disjoint[K comparable](m, add map[K]struct{}, overlaps func(K, K) bool) error {
	for k := range add {
		for have := range m {
			if k != have && overlaps(k, have) {
				return fmt.Errorf("interval %v overlaps with %v: %w", k, have, eexist)
			}
		}
	}
	return nil
}
