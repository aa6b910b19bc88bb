package desired

import (
	"fmt"
	"maps"
	"syscall"
)

// elements is one set or map of a Firewall, whatever its types are.
type elements interface {
	len() int
	equal(o elements) bool
	// diff puts what leads to want into add and del.
	diff(want, add, del elements)
	// edit gives the set a map of its own, without del and with add.
	edit(add, del elements) error
}

// sets lists the firewall's sets and maps: what treats all alike goes by it.
func (f *Firewall) sets() []elements {
	return []elements{
		setOf(&f.Bridges), setOf(&f.Open), setOf(&f.Internal), setOf(&f.Masquerade), setOf(&f.Hairpin),
		setOf(&f.Publish), setOf(&f.PublishAny),
		setOf(&f.FIPIn), setOf(&f.FIPOut), setOf(&f.FIPOnly), setOf(&f.FIPPorts), setOf(&f.Moved), setOf(&f.Swapped),
		setOf(&f.Flows), setOf(&f.Pairs), setOf(&f.Guarded), setOf(&f.Members), setOf(&f.Admit), setOf(&f.AdmitMembers),
		setOf(&f.Ports), setOf(&f.MACs), setOf(&f.Addresses), setOf(&f.Sources),
		setOf(&f.Tenants), setOf(&f.TenantNets), setOf(&f.Gateways), setOf(&f.OwnGateways),
	}
}

// set is a map of a Firewall's, which may be nil and may be replaced.
type set[K, V comparable] struct{ m *map[K]V }

func setOf[K, V comparable](m *map[K]V) elements { return set[K, V]{m} }

func (s set[K, V]) len() int { return len(*s.m) }

func (s set[K, V]) equal(o elements) bool { return maps.Equal(*s.m, *o.(set[K, V]).m) }

func (s set[K, V]) diff(want, add, del elements) {
	*add.(set[K, V]).m, *del.(set[K, V]).m = diffMap(*s.m, *want.(set[K, V]).m)
}

func (s set[K, V]) edit(add, del elements) error {
	m := make(map[K]V, len(*s.m))
	maps.Copy(m, *s.m)
	for k := range *del.(set[K, V]).m {
		if _, ok := m[k]; !ok {
			return fmt.Errorf("element %v: %w", k, syscall.ENOENT)
		}
		delete(m, k)
	}
	for k, v := range *add.(set[K, V]).m {
		if was, ok := m[k]; ok && was != v {
			return fmt.Errorf("element %v: %w", k, syscall.EEXIST)
		}
		m[k] = v
	}
	*s.m = m
	return nil
}

// Equal compares every element.
func (f Firewall) Equal(o Firewall) bool {
	others := o.sets()
	for i, s := range f.sets() {
		if !s.equal(others[i]) {
			return false
		}
	}
	return maps.Equal(f.Finishing, o.Finishing)
}

// Diff gives the elements that turn f into want. A changed value is in both:
// del holds the old one, add the new.
func (f Firewall) Diff(want Firewall) (add, del Firewall) {
	wanted, adds, dels := want.sets(), add.sets(), del.sets()
	for i, s := range f.sets() {
		s.diff(wanted[i], adds[i], dels[i])
	}
	add.Finishing = want.Finishing
	return add, del
}

// Edit gives f without del and with add, in maps of its own: what Diff found,
// undone and done. As the kernel has it (nf_tables without NLM_F_EXCL), an
// element to delete that is not there is ENOENT, and one to add that is there
// with another value EEXIST.
func (f Firewall) Edit(add, del Firewall) (Firewall, error) {
	out := f
	adds, dels := add.sets(), del.sets()
	for i, s := range out.sets() {
		if err := s.edit(adds[i], dels[i]); err != nil {
			return f, err
		}
	}
	return out, nil
}

// Empty tells that there is no element.
func (f Firewall) Empty() bool { return f.Len() == 0 }

// Len counts the elements.
func (f Firewall) Len() (n int) {
	for _, s := range f.sets() {
		n += s.len()
	}
	return n
}

// Guards gives the elements that keep somebody out, without those that let in:
// they come before any link.
func (f Firewall) Guards() Firewall {
	f.Publish, f.PublishAny, f.FIPIn, f.FIPOut, f.Flows, f.Pairs = nil, nil, nil, nil, nil, nil
	f.Members, f.Admit, f.AdmitMembers = nil, nil, nil
	f.FIPOnly, f.FIPPorts, f.Moved, f.Swapped, f.Finishing = nil, nil, nil, nil, nil
	return f
}
