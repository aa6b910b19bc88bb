package netplan

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/model"
)

// Planner is Plan with a memory: a sandbox whose records are the very ones of
// the plan before is handed out again, not made again, and comparing the two
// plans is then comparing pointers. Its plans equal Plan's. It may be used from
// several goroutines.
type Planner struct {
	mu      sync.Mutex
	facts   Facts
	gateway map[string]string // that host-gateway stood for
	made    map[string]*made
	zones   map[string]*madeZone
	ports   *madePorts
}

// made is what was planned for one namespace, and the records it came from.
type made struct {
	from    []any     // pointers to records, which never change in place, and what else was looked at
	links   []linkEnd // the same of links
	sandbox *desired.Sandbox
	view    *desired.View
}

// linkEnd is all that a sandbox has of one of its links.
type linkEnd struct {
	link       *model.Link
	from, to   *model.Endpoint
	host, name string // the target's names
}

// Plan is the function Plan.
func (pl *Planner) Plan(snap *model.Snapshot, f Facts) *desired.State {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	p := newPlan(snap, f)
	if maps.Equal(pl.gateway, p.hostGateway) && reflect.DeepEqual(pl.facts, f) {
		p.before, p.zonesBefore, p.portsBefore = pl.made, pl.zones, pl.ports
	}
	p.made = make(map[string]*made, len(pl.made)+1)
	p.run()
	pl.facts, pl.gateway, pl.made, pl.zones, pl.ports = f, p.hostGateway, p.made, p.zones, p.published
	return p.out
}

// again gives the sandbox made before from the same records, or nil.
func (p *plan) again(c *model.Container) *made {
	if p.made == nil {
		return nil
	}
	p.from, p.ends = p.records(p.from[:0], c), p.linkEnds(p.ends[:0], c)
	if m := p.before[c.ID]; m != nil && slices.Equal(m.from, p.from) && slices.Equal(m.links, p.ends) {
		p.made[c.ID] = m
		return m
	}
	return nil
}

// keep remembers what was made from the records again has just listed.
func (p *plan) keep(c *model.Container, m *made) {
	if p.made != nil {
		m.from, m.links = slices.Clone(p.from), slices.Clone(p.ends)
		p.made[c.ID] = m
	}
}

// records lists every record that the sandbox of c is made from, nil pointers
// for absent ones included.
func (p *plan) records(to []any, c *model.Container) []any {
	to = append(to, c, p.fipOf(c))
	if c.Tenant != "" && len(c.Host.DNS) > 0 { // others' networks matter
		to = append(to, fmt.Sprint(p.upstreams(c)))
	}
	for _, e := range p.snap.ByContainer[c.ID] {
		to = append(to, e, p.snap.Networks[e.NetworkID], p.both(e, false), p.both(e, true))
	}
	for _, r := range p.routes.into[c.ID] {
		to = append(to, r.From, r.To)
	}
	joined := len(to)
	for _, j := range p.joined[c.ID] {
		to = append(to, j)
	}
	slices.SortFunc(to[joined:], func(a, b any) int { return compareIDs(a.(*model.Container), b.(*model.Container)) })
	return to
}

// linkEnds lists what the sandbox of c has of its links. The targets' records
// are not among it: they change with much that is not seen from here.
func (p *plan) linkEnds(to []linkEnd, c *model.Container) []linkEnd {
	routes := p.routes.of[c.ID]
	to = slices.Grow(to, len(routes))
	for i, l := range p.snap.LinksOf[c.ID] {
		end := linkEnd{link: l, from: routes[i].From, to: routes[i].To}
		if end.to != nil {
			end.host, end.name = hostname(routes[i].Owner), routes[i].Target.Name
		}
		to = append(to, end)
	}
	return to
}
