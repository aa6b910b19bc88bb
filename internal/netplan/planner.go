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
}

// made is what was planned for one namespace, and the records it came from.
type made struct {
	from    []any // pointers to records, which never change in place, and what else was looked at
	sandbox *desired.Sandbox
	view    *desired.View
}

// Plan is the function Plan.
func (pl *Planner) Plan(snap *model.Snapshot, f Facts) *desired.State {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	p := newPlan(snap, f)
	if maps.Equal(pl.gateway, p.hostGateway) && reflect.DeepEqual(pl.facts, f) {
		p.before = pl.made
	}
	p.made = make(map[string]*made, len(pl.made)+1)
	p.run()
	pl.facts, pl.gateway, pl.made = f, p.hostGateway, p.made
	return p.out
}

// again gives the sandbox made before from the same records, or nil.
func (p *plan) again(c *model.Container) *made {
	if p.made == nil {
		return nil
	}
	p.from = p.records(p.from[:0], c)
	if m := p.before[c.ID]; m != nil && slices.Equal(m.from, p.from) {
		p.made[c.ID] = m
		return m
	}
	return nil
}

// keep remembers what was made from the records again has just listed.
func (p *plan) keep(c *model.Container, m *made) {
	if p.made != nil {
		m.from = slices.Clone(p.from)
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
		to = append(to, e, p.snap.Networks[e.NetworkID], p.both(e))
	}
	for i, l := range p.snap.LinksOf[c.ID] {
		r := p.routes.of[c.ID][i]
		to = append(to, l, r.Target, r.Owner, r.From, r.To)
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
