// Package groups tells what the rules of security groups come to, from a
// snapshot. It is pure.
//
//	groups.go the containers' groups, and which containers count as one source
//	spans.go  rules as protocols and ports, and as sources with these, of which
//	          no two overlap
package groups

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/model"
)

// Groups are a snapshot's security groups as its containers meet them.
//
// A rule whose source is a group would, written out, be a pair of addresses for
// every two containers. So each container has one mark for the groups it is in
// as far as rules name them, and what is let in is said by mark: as many marks
// as there are different sets of such groups, and not as many as containers.
type Groups struct {
	snap  *model.Snapshot
	named map[string]bool     // groups that rules name as their source
	marks map[string]uint32   // by the key of a set of groups
	sets  map[uint32][]string // and back: the IDs of the groups
	lets  map[string]Let      // by the key of a set of groups
}

// Let is what the union of some groups' rules lets in.
type Let struct {
	From    []Sources
	Members []Members
}

// Size is the number of elements it takes for one address of a family.
func (l Let) Size(v6 bool) int {
	n := len(l.Members)
	for _, s := range l.From {
		if s.First.Is6() == v6 {
			n++
		}
	}
	return n
}

// Members are containers by their mark, and what they reach.
type Members struct {
	Mark uint32
	Span
}

// New looks at those containers of a snapshot that count says.
func New(s *model.Snapshot, count func(*model.Container) bool) *Groups {
	g := &Groups{snap: s, named: map[string]bool{}, marks: map[string]uint32{}, sets: map[uint32][]string{}, lets: map[string]Let{}}
	for _, sg := range s.SecurityGroups {
		for _, r := range sg.Rules {
			if r.Group != "" {
				g.named[r.Group] = true
			}
		}
	}
	if len(g.named) == 0 {
		return g
	}
	sets := map[string][]string{}
	for _, c := range s.Containers {
		if len(c.SecurityGroups) > 0 && count(c) {
			if named := g.namedOf(c); len(named) > 0 {
				sets[key(named)] = named
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(sets)) {
		if len(g.sets) == maxMarks {
			break // more different sets than a host has containers: the rest is let in nowhere
		}
		n := numberOf(k)
		for n == 0 || g.sets[markOf(n)] != nil {
			n++
		}
		g.marks[k], g.sets[markOf(n)] = markOf(n), sets[k]
	}
	return g
}

// key names a set of groups.
func key(ids []string) string { return strings.Join(ids, " ") }

// maxMarks is how many marks there are.
const maxMarks = 1<<16 - 1

// numberOf numbers a set in a way that stays while other sets come and go, so
// that few elements change.
func numberOf(key string) uint16 {
	sum := sha256.Sum256([]byte(key))
	return binary.BigEndian.Uint16(sum[:])
}

// markOf makes a mark of a number. It reads the same in both byte orders: nft
// has marks in network order in some sets and in the host's in others.
func markOf(n uint16) uint32 {
	high, low := uint32(n>>8), uint32(n&0xff)
	return high<<24 | low<<16 | low<<8 | high
}

// namedOf lists those of a container's groups that rules name, in order.
func (g *Groups) namedOf(c *model.Container) []string {
	var out []string
	for _, id := range c.SecurityGroups {
		if g.named[id] {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// Mark is a container's as a source; 0: no rule names any of its groups.
func (g *Groups) Mark(c *model.Container) uint32 {
	if len(g.named) == 0 || len(c.SecurityGroups) == 0 {
		return 0
	}
	return g.marks[key(g.namedOf(c))]
}

// Let tells what a container's groups let in. No two of the result overlap.
func (g *Groups) Let(c *model.Container) Let {
	ids := slices.Sorted(slices.Values(c.SecurityGroups))
	k := key(ids)
	if l, ok := g.lets[k]; ok {
		return l
	}
	var rules []model.GroupRule
	for _, id := range ids {
		if sg := g.snap.SecurityGroups[id]; sg != nil {
			rules = append(rules, sg.Rules...)
		}
	}
	l := Let{From: slices.Concat(bySource(ofFamily(rules, false)), bySource(ofFamily(rules, true)))}
	for _, mark := range slices.Sorted(maps.Keys(g.sets)) {
		var fit []model.GroupRule
		for _, r := range rules {
			if r.Group != "" && slices.Contains(g.sets[mark], r.Group) {
				fit = append(fit, r)
			}
		}
		for _, span := range spans(fit) {
			l.Members = append(l.Members, Members{Mark: mark, Span: span})
		}
	}
	g.lets[k] = l
	return l
}

// Size is the number of elements that the groups of all containers of a
// snapshot take, were all of them running.
func Size(s *model.Snapshot) int {
	g := New(s, func(*model.Container) bool { return true })
	n := 0
	for _, c := range s.Containers {
		if len(c.SecurityGroups) > 0 {
			l := g.Let(c)
			n += l.Size(false) * max(1, len(s.ByContainer[c.ID]))
			for _, e := range s.ByContainer[c.ID] {
				if e.IPv6.IsValid() {
					n += l.Size(true)
				}
			}
		}
	}
	return n
}
