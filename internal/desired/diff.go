package desired

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
)

// Changes is what leads from one state to another. Every list is sorted, so
// that equal changes are applied in equal order. The firewall is not among
// them: its elements are compared with what the kernel holds, by Firewall.Diff.
type Changes struct {
	Claim         []Claim // new; a claim that only changes hands is in neither list
	Release       []Claim
	Bridges       []*Bridge // new or different
	DropBridges   []string
	Sandboxes     []*Sandbox // new or different
	DropSandboxes []string
	Files         []string        // containers whose State.Files are new or different
	Addresses     []DeviceAddress // new, or of another container
	DropAddresses []DeviceAddress
	Zones         bool // the resolver is to be given new's zones
}

// Empty tells that nothing changes.
func (c *Changes) Empty() bool {
	return !c.Zones && len(c.Claim)+len(c.Release)+len(c.Bridges)+len(c.DropBridges)+
		len(c.Sandboxes)+len(c.DropSandboxes)+len(c.Files)+len(c.Addresses)+len(c.DropAddresses) == 0
}

// Diff compares two states; old may be nil. It allocates for what changed only.
// Zones are compared by pointer: giving the resolver equal ones costs less than
// comparing every name.
func Diff(old, new *State) Changes {
	if old == new {
		return Changes{}
	}
	if old == nil {
		old = &State{}
	}
	var c Changes
	c.Claim, c.Release = diffKeys(old.Claims, new.Claims)
	c.Bridges, c.DropBridges = diffValues(old.Bridges, new.Bridges)
	c.Sandboxes, c.DropSandboxes = diffValues(old.Sandboxes, new.Sandboxes)
	for id, files := range new.Files {
		if was, ok := old.Files[id]; !ok || !slices.Equal(was, files) {
			c.Files = append(c.Files, id)
		}
	}
	for k, owner := range new.Addresses {
		if was, ok := old.Addresses[k]; !ok || was != owner {
			c.Addresses = append(c.Addresses, k)
		}
	}
	for k := range old.Addresses {
		if _, ok := new.Addresses[k]; !ok {
			c.DropAddresses = append(c.DropAddresses, k)
		}
	}
	c.Zones = old.Zones != new.Zones

	slices.SortFunc(c.Claim, Claim.Compare)
	slices.SortFunc(c.Release, Claim.Compare)
	slices.SortFunc(c.Addresses, DeviceAddress.Compare)
	slices.SortFunc(c.DropAddresses, DeviceAddress.Compare)
	slices.Sort(c.Files)
	slices.SortFunc(c.Bridges, func(a, b *Bridge) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(c.Sandboxes, func(a, b *Sandbox) int { return strings.Compare(a.Container, b.Container) })
	return c
}

// diffKeys gives the keys that only new, and those that only old has.
func diffKeys[K comparable, V any](old, new map[K]V) (added, gone []K) {
	if same(old, new) {
		return nil, nil
	}
	for k := range new {
		if _, ok := old[k]; !ok {
			added = append(added, k)
		}
	}
	if len(old)+len(added) == len(new) {
		return added, nil
	}
	for k := range old {
		if _, ok := new[k]; !ok {
			gone = append(gone, k)
		}
	}
	return added, gone
}

type value[T any] interface {
	*T
	Equal(*T) bool
}

// diffValues gives the values of new that old lacks or has otherwise, and the
// keys, sorted, that new lacks.
func diffValues[T any, P value[T]](old, new map[string]P) (changed []P, dropped []string) {
	for k, v := range new {
		if was, ok := old[k]; !ok || was != v && !v.Equal(was) {
			changed = append(changed, v)
		}
	}
	for k := range old {
		if _, ok := new[k]; !ok {
			dropped = append(dropped, k)
		}
	}
	slices.Sort(dropped)
	return changed, dropped
}

// Compare orders claims by protocol, port and address.
func (c Claim) Compare(o Claim) int {
	return cmp.Or(strings.Compare(c.Proto, o.Proto), cmp.Compare(c.Port, o.Port), c.IP.Compare(o.IP))
}

// Compare orders addresses by device.
func (a DeviceAddress) Compare(o DeviceAddress) int {
	return cmp.Or(strings.Compare(a.Device, o.Device), a.Addr.Compare(o.Addr))
}

// Overlaps tells whether the host refuses one of two programs that bind both.
func (c Claim) Overlaps(o Claim) bool {
	return c.Port == o.Port && c.Proto == o.Proto && c.IP.Is4() == o.IP.Is4() &&
		(c.IP == o.IP || c.IP.IsUnspecified() || o.IP.IsUnspecified())
}

// Overlaps tells whether two flows share a port between the same addresses.
func (f Flow) Overlaps(o Flow) bool {
	return f.From == o.From && f.To == o.To && f.Proto == o.Proto && f.First <= o.Last && o.First <= f.Last
}

// Overlaps tells whether two spans share a port of a protocol.
func (s Span) Overlaps(o Span) bool {
	return s.FirstProto <= o.LastProto && o.FirstProto <= s.LastProto && s.First <= o.Last && o.First <= s.Last
}

// Overlaps tells whether two admissions share a connection.
func (a Admission) Overlaps(o Admission) bool {
	return a.To == o.To && a.From.Compare(o.FromLast) <= 0 && o.From.Compare(a.FromLast) <= 0 && a.Span.Overlaps(o.Span)
}

// Overlaps tells whether two admissions share a connection.
func (a MemberAdmission) Overlaps(o MemberAdmission) bool {
	return a.To == o.To && a.Mark == o.Mark && a.Span.Overlaps(o.Span)
}

// same tells whether two maps are one and the same, as plans of a Planner share
// what did not change.
func same[K comparable, V any](a, b map[K]V) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}

// diffMap compares two sets or maps; nil for no difference.
func diffMap[K, V comparable](old, new map[K]V) (add, del map[K]V) {
	if same(old, new) {
		return nil, nil
	}
	put := func(m *map[K]V, k K, v V) {
		if *m == nil {
			*m = map[K]V{}
		}
		(*m)[k] = v
	}
	kept := 0
	for k, v := range new {
		was, ok := old[k]
		if ok {
			kept++
		}
		if ok && was == v {
			continue
		}
		put(&add, k, v)
		if ok {
			put(&del, k, was)
		}
	}
	if kept == len(old) {
		return add, del
	}
	for k, was := range old {
		if _, ok := new[k]; !ok {
			put(&del, k, was)
		}
	}
	return add, del
}
