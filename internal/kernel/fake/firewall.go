package fake

import (
	"context"
	"fmt"
	"maps"
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
	err = f.h.look(func() error {
		if t := f.h.table; t != nil {
			fw, intact = clone(t.fw), t.intact
		}
		return nil
	})
	return fw, intact, err
}

// Load replaces everything.
func (f *Firewall) Load(_ context.Context, fw desired.Firewall) error {
	return f.h.do(fmt.Sprintf("firewall load %d", fw.Len()), func() error {
		t := &table{intact: true, fw: clone(desired.Firewall{})}
		if err := t.add(fw); err != nil {
			return err
		}
		f.h.table = t
		return nil
	})
}

// Update deletes, then adds; nothing of it if anything of it is refused.
func (f *Firewall) Update(_ context.Context, add, del desired.Firewall) error {
	return f.h.do(fmt.Sprintf("firewall update +%d -%d", add.Len(), del.Len()), func() error {
		if f.h.table == nil {
			return fmt.Errorf("table inet jackstay: %w", enoent)
		}
		t := &table{intact: f.h.table.intact, fw: clone(f.h.table.fw)}
		if err := t.del(del); err != nil {
			return err
		}
		if err := t.add(add); err != nil {
			return err
		}
		f.h.table = t
		return nil
	})
}

// Watch signals changes by others.
func (f *Firewall) Watch(ctx context.Context) (<-chan struct{}, error) {
	return f.h.watch(ctx, &f.h.tableWatch)
}

func (t *table) add(fw desired.Firewall) error {
	for _, set := range []map[string]struct{}{fw.Bridges, fw.Internal, fw.Tenants} {
		for name := range set {
			if len(name) > maxName || name == "" {
				return fmt.Errorf("element %q: %w", name, syscall.EINVAL)
			}
		}
	}
	for f := range fw.Flows {
		for have := range t.fw.Flows {
			if f != have && f.Overlaps(have) {
				return fmt.Errorf("interval %v overlaps with %v: %w", f, have, eexist)
			}
		}
		t.fw.Flows[f] = struct{}{}
	}
	if err := firstError(addDisjoint(t.fw.Admit, fw.Admit, desired.Admission.Overlaps),
		addDisjoint(t.fw.AdmitMembers, fw.AdmitMembers, desired.MemberAdmission.Overlaps)); err != nil {
		return err
	}
	for p := range fw.Masquerade {
		for have := range t.fw.Masquerade {
			if p != have && p.Overlaps(have) {
				return fmt.Errorf("interval %s overlaps with %s: %w", p, have, eexist)
			}
		}
		if p != p.Masked() {
			return fmt.Errorf("interval %s: %w", p, syscall.EINVAL)
		}
		t.fw.Masquerade[p] = struct{}{}
	}
	for k, v := range fw.Publish {
		if k.IP.Is4() != v.IP.Is4() {
			return fmt.Errorf("element %v: %v is of another family: %w", k, v, syscall.EINVAL)
		}
	}
	return firstError(
		addAll(t.fw.Bridges, fw.Bridges), addAll(t.fw.Internal, fw.Internal), addAll(t.fw.Hairpin, fw.Hairpin),
		addAll(t.fw.Publish, fw.Publish), addAll(t.fw.PublishAny, fw.PublishAny),
		addAll(t.fw.FIPIn, fw.FIPIn), addAll(t.fw.FIPOut, fw.FIPOut),
		addAll(t.fw.Open, fw.Open), addAll(t.fw.Flows, fw.Flows), addAll(t.fw.Pairs, fw.Pairs),
		addAll(t.fw.Guarded, fw.Guarded), addAll(t.fw.Members, fw.Members),
		addAll(t.fw.Ports, fw.Ports), addAll(t.fw.MACs, fw.MACs),
		addAll(t.fw.Addresses, fw.Addresses), addAll(t.fw.Sources, fw.Sources),
		addAll(t.fw.FIPOnly, fw.FIPOnly), addAll(t.fw.FIPPorts, fw.FIPPorts),
		addAll(t.fw.Moved, fw.Moved), addAll(t.fw.Swapped, fw.Swapped),
		addAll(t.fw.Tenants, fw.Tenants), addAll(t.fw.Gateways, fw.Gateways), addAll(t.fw.OwnGateways, fw.OwnGateways),
		addAll(t.fw.TenantNets, fw.TenantNets))
}

func (t *table) del(fw desired.Firewall) error {
	return firstError(
		delAll(t.fw.Bridges, fw.Bridges), delAll(t.fw.Internal, fw.Internal), delAll(t.fw.Masquerade, fw.Masquerade),
		delAll(t.fw.Hairpin, fw.Hairpin), delAll(t.fw.Publish, fw.Publish), delAll(t.fw.PublishAny, fw.PublishAny),
		delAll(t.fw.FIPIn, fw.FIPIn), delAll(t.fw.FIPOut, fw.FIPOut),
		delAll(t.fw.Open, fw.Open), delAll(t.fw.Flows, fw.Flows), delAll(t.fw.Pairs, fw.Pairs),
		delAll(t.fw.Guarded, fw.Guarded), delAll(t.fw.Members, fw.Members),
		delAll(t.fw.Admit, fw.Admit), delAll(t.fw.AdmitMembers, fw.AdmitMembers),
		delAll(t.fw.Ports, fw.Ports), delAll(t.fw.MACs, fw.MACs),
		delAll(t.fw.Addresses, fw.Addresses), delAll(t.fw.Sources, fw.Sources),
		delAll(t.fw.FIPOnly, fw.FIPOnly), delAll(t.fw.FIPPorts, fw.FIPPorts),
		delAll(t.fw.Moved, fw.Moved), delAll(t.fw.Swapped, fw.Swapped),
		delAll(t.fw.Tenants, fw.Tenants), delAll(t.fw.Gateways, fw.Gateways), delAll(t.fw.OwnGateways, fw.OwnGateways),
		delAll(t.fw.TenantNets, fw.TenantNets))
}

// addAll adds elements; the same key with another value is EEXIST, the very
// same element is accepted, as the kernel does without NLM_F_EXCL.
func addAll[K, V comparable](m, add map[K]V) error {
	for k, v := range add {
		if was, ok := m[k]; ok && was != v {
			return fmt.Errorf("element %v: %w", k, eexist)
		}
		m[k] = v
	}
	return nil
}

// addDisjoint adds intervals; one that overlaps with another is refused.
func addDisjoint[K comparable](m, add map[K]struct{}, overlaps func(K, K) bool) error {
	for k := range add {
		for have := range m {
			if k != have && overlaps(k, have) {
				return fmt.Errorf("interval %v overlaps with %v: %w", k, have, eexist)
			}
		}
		m[k] = struct{}{}
	}
	return nil
}

// delAll deletes elements; an absent one is ENOENT.
func delAll[K, V comparable](m, del map[K]V) error {
	for k := range del {
		if _, ok := m[k]; !ok {
			return fmt.Errorf("element %v: %w", k, enoent)
		}
		delete(m, k)
	}
	return nil
}

func firstError(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

func clone(fw desired.Firewall) desired.Firewall {
	return desired.Firewall{
		Bridges: copyMap(fw.Bridges), Internal: copyMap(fw.Internal), Masquerade: copyMap[netip.Prefix](fw.Masquerade),
		Hairpin: copyMap(fw.Hairpin), Publish: copyMap(fw.Publish), PublishAny: copyMap(fw.PublishAny),
		FIPIn: copyMap(fw.FIPIn), FIPOut: copyMap(fw.FIPOut),
		Open: copyMap(fw.Open), Flows: copyMap(fw.Flows), Pairs: copyMap(fw.Pairs),
		Guarded: copyMap(fw.Guarded), Members: copyMap(fw.Members), Admit: copyMap(fw.Admit), AdmitMembers: copyMap(fw.AdmitMembers),
		Ports: copyMap(fw.Ports), MACs: copyMap(fw.MACs), Addresses: copyMap(fw.Addresses), Sources: copyMap(fw.Sources),
		FIPOnly: copyMap(fw.FIPOnly), FIPPorts: copyMap(fw.FIPPorts),
		Moved: copyMap(fw.Moved), Swapped: copyMap(fw.Swapped),
		Tenants: copyMap(fw.Tenants), Gateways: copyMap(fw.Gateways), OwnGateways: copyMap(fw.OwnGateways), TenantNets: copyMap(fw.TenantNets),
	}
}

func copyMap[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	maps.Copy(c, m)
	return c
}
