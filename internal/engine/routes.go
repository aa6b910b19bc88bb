package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// ChangeRoute adds, replaces or deletes a route inside a container. It is there
// when this returns, and whenever the container is started again.
func (e *Engine) ChangeRoute(ctx context.Context, ref, op string, r model.Route) error {
	return e.changeInside(ctx, ref, "route-"+op, routeWords(r), func(s *model.Snapshot, c *model.Container) (err error) {
		switch op {
		case "add", "replace":
			if err := checkRoute(s, c, r); err != nil {
				return err
			}
			c.Routes, err = addedRoute(c, r, op == "replace")
		case "del":
			err = deleteRoute(s, c, r)
		default:
			err = errs.New(errs.Invalid, "unknown change of a route %q: there are add, replace and del", op)
		}
		return err
	})
}

// changeInside stores a change of what is inside a container and waits for it;
// what fails is taken back.
func (e *Engine) changeInside(ctx context.Context, ref, action, what string, change func(s *model.Snapshot, c *model.Container) error) error {
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	_, unlock := e.lock(c.ID)
	defer unlock()
	var before, after *model.Container
	snap, err := e.store.Update(func(tx *store.Tx) error {
		s := tx.Snapshot()
		if before, err = changeable(s, c.ID, ref); err != nil {
			return err
		}
		if err := hasOwnNetwork(s, before); err != nil {
			return err
		}
		next := *before
		next.Routes, next.Rules, next.TC = slices.Clone(before.Routes), slices.Clone(before.Rules), slices.Clone(before.TC)
		if err := change(s, &next); err != nil {
			return err
		}
		after = &next
		return tx.PutContainer(&next)
	})
	if err != nil {
		return err
	}
	// Taken back even if it takes something away: what is inside concerns nobody
	// else, and one that fails would keep the container from starting again.
	err = e.orTakeBack(ctx, snap, effect{of: []string{c.ID}}, changing(c.ID, func(c *model.Container) error {
		c.Routes, c.Rules, c.TC = before.Routes, before.Rules, before.TC
		return nil
	}))
	if err != nil {
		return err
	}
	e.containerEvent(after, action, "words", what)
	return nil
}

// addedRoute gives a container's routes with one more.
func addedRoute(c *model.Container, r model.Route, replace bool) ([]model.Route, error) {
	out := slices.Clone(c.Routes)
	at := slices.IndexFunc(out, r.SamePlace)
	switch {
	case at < 0:
		return append(out, r), nil
	case replace || out[at].Deleted:
		out[at] = r
		return out, nil
	}
	return nil, errs.New(errs.Conflict, "container %s has the route %s already: replace it, or give another metric", c.Name, routeWords(out[at]))
}

// checkRoute refuses a route that can't work, so that no start fails by it.
func checkRoute(s *model.Snapshot, c *model.Container, r model.Route) error {
	if r.Type != "" {
		return nil
	}
	if r.Dev == "" && !r.Via.IsValid() {
		return errs.New(errs.Invalid, "route %s: say where it leads: via ADDRESS, dev INTERFACE, or both", routeWords(r))
	}
	if r.Dev != "" && r.Dev != "lo" {
		if _, err := nicCalled(s, c, r.Dev); err != nil {
			return err
		}
	}
	if err := checkOwnAddresses(s, c, r); err != nil {
		return err
	}
	if !r.Via.IsValid() || r.OnLink {
		return nil
	}
	for _, v := range NICsOf(s, c) {
		if r.Dev != "" && v.NIC.Name != r.Dev {
			continue
		}
		for _, p := range v.NIC.Addrs {
			if p.Masked().Contains(r.Via) {
				return nil
			}
		}
		if v.NIC.DHCP && len(v.NIC.Addrs) == 0 {
			return nil // its subnet is not known yet
		}
	}
	return errs.New(errs.Invalid, "route %s: the gateway %s is in no subnet of the container's: add a NIC that reaches it, or say onlink and dev", routeWords(r), r.Via)
}

// checkOwnAddresses refuses a route that is to send from an address which the
// container does not have, or to the container itself.
func checkOwnAddresses(s *model.Snapshot, c *model.Container, r model.Route) error {
	sends, leased := !r.Src.IsValid(), false
	for _, v := range NICsOf(s, c) {
		for _, p := range v.NIC.Addrs {
			if p.Addr() == r.Via {
				return errs.New(errs.Invalid, "route %s: the gateway %s is the container's own address, on %s: give a neighbour's", routeWords(r), r.Via, v.NIC.Name)
			}
			sends = sends || p.Addr() == r.Src
		}
		leased = leased || v.NIC.DHCP && len(v.NIC.Addrs) == 0 // may be given it
	}
	if !sends && !leased {
		return errs.New(errs.Invalid, "route %s: src %s is no address of container %s: give one of its interfaces'", routeWords(r), r.Src, c.Name)
	}
	return nil
}

// deleteRoute takes a route away: one that was asked for, or the default route
// that its networks and NICs give it, until another is asked for.
func deleteRoute(s *model.Snapshot, c *model.Container, r model.Route) error {
	at := slices.IndexFunc(c.Routes, func(o model.Route) bool {
		return o.SamePlace(r) && (!r.Via.IsValid() || r.Via == o.Via) && (r.Dev == "" || r.Dev == o.Dev) && !o.Deleted
	})
	if at >= 0 {
		c.Routes = slices.Delete(c.Routes, at, at+1)
		return nil
	}
	same := slices.ContainsFunc(c.Routes, r.SamePlace)
	if r.Dst.IsValid() || r.Table != 0 || r.Metric != 0 || same || len(NICsOf(s, c)) == 0 {
		return errs.New(errs.NotFound, "container %s has no such route of Jackstay's: %s; `jackstay route ls %s` lists them", c.Name, routeWords(r), c.Name)
	}
	c.Routes = append(c.Routes, model.Route{V6: r.V6, Deleted: true})
	return nil
}

// routeWords writes a route as ip(8) does.
func routeWords(r model.Route) string {
	words := []string{}
	if r.Type != "" {
		words = append(words, r.Type)
	}
	if r.Dst.IsValid() {
		words = append(words, r.Dst.String())
	} else {
		words = append(words, "default")
	}
	if r.Deleted {
		return strings.Join(append(words, "(none)"), " ")
	}
	if r.Via.IsValid() {
		words = append(words, "via", r.Via.String())
	}
	if r.Dev != "" {
		words = append(words, "dev", r.Dev)
	}
	if r.Src.IsValid() {
		words = append(words, "src", r.Src.String())
	}
	for _, f := range []struct {
		name  string
		value int
	}{{"table", r.Table}, {"metric", r.Metric}, {"mtu", r.MTU}} {
		if f.value != 0 {
			words = append(words, f.name, fmt.Sprint(f.value))
		}
	}
	if r.OnLink {
		words = append(words, "onlink")
	}
	return strings.Join(words, " ")
}

// firstPriority is what the first rule without one gets: before the kernel's,
// and those that are Jackstay's own.
const firstPriority = 32699

// ChangeRule adds or deletes a routing rule inside a container.
func (e *Engine) ChangeRule(ctx context.Context, ref, op string, r model.RouteRule) error {
	return e.changeInside(ctx, ref, "rule-"+op, routeRuleWords(r), func(s *model.Snapshot, c *model.Container) error {
		switch op {
		case "add":
			return addRouteRule(s, c, r)
		case "del":
			at := slices.IndexFunc(c.Rules, func(o model.RouteRule) bool { return sameRouteRule(o, r) })
			if at < 0 {
				return errs.New(errs.NotFound, "container %s has no such rule of Jackstay's: %s; `jackstay rule ls %s` lists them", c.Name, routeRuleWords(r), c.Name)
			}
			c.Rules = slices.Delete(c.Rules, at, at+1)
			return nil
		}
		return errs.New(errs.Invalid, "unknown change of a rule %q: there are add and del", op)
	})
}

func addRouteRule(s *model.Snapshot, c *model.Container, r model.RouteRule) error {
	for _, name := range []string{r.IIf, r.OIf} {
		if name == "" || name == "lo" {
			continue
		}
		if _, err := findNIC(s, c.ID, name); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(c.Rules, func(o model.RouteRule) bool { return sameRouteRule(o, r) }) {
		return errs.New(errs.Conflict, "container %s has the rule %s already", c.Name, routeRuleWords(r))
	}
	if r.Priority == 0 {
		r.Priority = firstPriority
		for _, o := range c.Rules {
			r.Priority = min(r.Priority, o.Priority-1)
		}
	}
	if r.Priority < 1 {
		return errs.New(errs.Invalid, "there is no priority left before the first rule: give one (priority N)")
	}
	c.Rules = append(c.Rules, r)
	return nil
}

// sameRouteRule compares rules; a wish without a priority is for one of any.
func sameRouteRule(have, want model.RouteRule) bool {
	if want.Priority == 0 {
		want.Priority = have.Priority
	}
	return have == want
}

func routeRuleWords(r model.RouteRule) string {
	var words []string
	if r.Priority != 0 {
		words = append(words, fmt.Sprintf("priority %d", r.Priority))
	}
	if r.Not {
		words = append(words, "not")
	}
	from := "all"
	if r.From.IsValid() {
		from = r.From.String()
	}
	words = append(words, "from "+from)
	if r.To.IsValid() {
		words = append(words, "to "+r.To.String())
	}
	if r.IIf != "" {
		words = append(words, "iif "+r.IIf)
	}
	if r.OIf != "" {
		words = append(words, "oif "+r.OIf)
	}
	if r.Mark != 0 {
		mark := fmt.Sprintf("fwmark %#x", r.Mark)
		if r.Mask != 0 {
			mark += fmt.Sprintf("/%#x", r.Mask)
		}
		words = append(words, mark)
	}
	if r.Action != "" {
		return strings.Join(append(words, r.Action), " ")
	}
	return strings.Join(append(words, fmt.Sprintf("lookup %d", r.Table)), " ")
}

// Routes gives the routes that were asked for inside a container, as ip(8)
// writes them.
func (e *Engine) Routes(ref string) ([]string, error) {
	c, err := e.FindContainer(ref)
	if err != nil {
		return nil, err
	}
	out := []string{}
	for _, r := range c.Routes {
		out = append(out, routeWords(r))
	}
	return out, nil
}

// Rules is Routes for routing rules, by priority.
func (e *Engine) Rules(ref string) ([]string, error) {
	c, err := e.FindContainer(ref)
	if err != nil {
		return nil, err
	}
	rules := slices.Clone(c.Rules)
	slices.SortStableFunc(rules, func(a, b model.RouteRule) int { return a.Priority - b.Priority })
	out := []string{}
	for _, r := range rules {
		out = append(out, routeRuleWords(r))
	}
	return out, nil
}
