package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/links"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// AddLink links a container to another, whatever networks they are on, now and
// later. Its hosts file, names and rules follow before this returns; environment
// variables come with its next start.
func (e *Engine) AddLink(ctx context.Context, ref string, r model.LinkRequest) (*model.Link, error) {
	spec, err := newLinkSpec(r.Target, r.Alias, r.Ports)
	if err != nil {
		return nil, errs.New(errs.Invalid, "link of container %s to %s: %w", ref, r.Target, err)
	}
	var link *model.Link
	put := func(tx *store.Tx, c *model.Container) error {
		var err error
		if link, err = newLiveLink(tx.Snapshot(), c, spec, r.Wait, r.Strict); err != nil {
			return err
		}
		return tx.PutLink(link)
	}
	undo := func(tx *store.Tx, _ *model.Container) error { tx.DeleteLink(link.ID); return nil }
	c, err := e.changeLive(ctx, ref, put, undo)
	if err != nil {
		return nil, err
	}
	if s := e.store.Snapshot(); c.Active {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), networkWithin)
		defer cancel()
		if err := e.awaitTarget(ctx, s, link, s.Revision); err != nil {
			if _, uerr := e.store.Update(func(tx *store.Tx) error { tx.DeleteLink(link.ID); return nil }); uerr != nil {
				e.log.Error("a failed link can't be taken back", "container", c.ID, "error", uerr)
			}
			return nil, err
		}
	}
	e.containerEvent(c, "link-add", "alias", link.Alias, "target", targetName(e.store.Snapshot(), link))
	return link, nil
}

// awaitTarget returns when the target of a link between two networks has its way
// back, as planned at this revision.
func (e *Engine) awaitTarget(ctx context.Context, s *model.Snapshot, l *model.Link, rev uint64) error {
	r := links.Find(s, l)
	if !r.Joined() || !r.Owner.Active {
		return nil
	}
	if err := e.network.Wait(ctx, r.Owner.ID, rev); err != nil {
		return fmt.Errorf("change the network of container %s: %w", r.Owner.Name, err)
	}
	return nil
}

// putLaterLinks stores the links of a new container whose targets may come later.
func putLaterLinks(tx *store.Tx, c *model.Container, specs []linkSpec) error {
	for _, spec := range specs {
		l, err := newLiveLink(tx.Snapshot(), c, spec, true, c.Host.StrictLinks)
		if err != nil {
			return errs.Wrap(errs.Invalid, err)
		}
		if err := tx.PutLink(l); err != nil {
			return err
		}
	}
	return nil
}

// newLiveLink makes the link, or says why there can't be one.
func newLiveLink(s *model.Snapshot, c *model.Container, spec linkSpec, wait, strict bool) (*model.Link, error) {
	if err := linkable(s, c, "use links"); err != nil {
		return nil, err
	}
	l := &model.Link{
		ContainerID: c.ID, Alias: spec.alias, ID: model.LinkID(c.ID, "", spec.alias),
		Ports: spec.ports, Strict: strict || c.Host.StrictLinks,
	}
	for _, old := range s.LinksOf[c.ID] {
		if strings.EqualFold(old.Alias, l.Alias) {
			return nil, errs.New(errs.Conflict, "container %s has a link called %s already, to %s: remove that first", c.Name, old.Alias, targetName(s, old))
		}
	}
	target, owner, err := linkTarget(s, spec.name)
	switch {
	case errs.Is(err, errs.NotFound) && wait:
		l.TargetName, err = checkContainerName(spec.name)
		return l, err
	case errs.Is(err, errs.NotFound):
		return nil, errs.New(errs.NotFound, "%w: to link to a container that comes later, say --wait", err)
	case err != nil:
		return nil, err
	case owner.ID == c.ID:
		return nil, errs.New(errs.Invalid, "container %s cannot be linked to itself", c.Name)
	}
	if err := linkable(s, owner, "be linked to"); err != nil {
		return nil, err
	}
	l.TargetID = target.ID
	if wait {
		return l, nil
	}
	return l, noRoute(s, c, owner, l)
}

// linkable refuses containers without names of their own.
func linkable(s *model.Snapshot, c *model.Container, what string) error {
	if of, joined := joinedContainer(c.Host.NetworkMode); joined {
		return errs.New(errs.Invalid, "container %s is in the network of container %s and cannot %s: name that one", c.Name, nameOf(s, of), what)
	}
	if c.Host.NetworkMode == "host" {
		return errs.New(errs.Invalid, "container %s is in the host's network and cannot %s", c.Name, what)
	}
	return nil
}

// RemoveLink removes a container's links of this alias, on every network.
func (e *Engine) RemoveLink(ctx context.Context, ref, alias string) error {
	var gone []*model.Link
	var changed []*model.Endpoint // as they were
	remove := func(tx *store.Tx, c *model.Container) error {
		s := tx.Snapshot()
		var has []string
		for _, l := range s.LinksOf[c.ID] {
			has = append(has, l.Alias)
			if strings.EqualFold(l.Alias, alias) {
				gone = append(gone, l)
				tx.DeleteLink(l.ID)
			}
		}
		if len(gone) == 0 {
			return errs.New(errs.NotFound, "container %s has no link called %s%s", c.Name, alias, hasWords(has))
		}
		for _, ep := range s.ByContainer[c.ID] {
			without := slices.DeleteFunc(slices.Clone(ep.Links), func(raw string) bool {
				spec, err := parseLink(raw)
				return err == nil && strings.EqualFold(spec.alias, alias)
			})
			if len(without) == len(ep.Links) {
				continue
			}
			changed = append(changed, ep)
			next := *ep
			next.Links = without
			if err := tx.PutEndpoint(&next); err != nil {
				return err
			}
		}
		return nil
	}
	undo := func(tx *store.Tx, _ *model.Container) error {
		for _, l := range gone {
			if err := tx.PutLink(l); err != nil {
				return err
			}
		}
		return putEndpoints(tx, changed)
	}
	c, err := e.changeLive(ctx, ref, remove, undo)
	if err != nil {
		return err
	}
	e.containerEvent(c, "link-rm", "alias", alias)
	return nil
}

func hasWords(names []string) string {
	if len(names) == 0 {
		return ": it has none"
	}
	slices.Sort(names)
	return ": it has " + strings.Join(slices.Compact(names), ", ")
}

// changeLive stores a change of a container's network and returns when it is
// true; what can't be made true is undone. Both functions get the container's
// record as the transaction finds it.
func (e *Engine) changeLive(ctx context.Context, ref string, do, undo func(*store.Tx, *model.Container) error) (*model.Container, error) {
	c, err := e.FindContainer(ref)
	if err != nil {
		return nil, err
	}
	_, unlock := e.lock(c.ID)
	defer unlock()
	in := func(f func(*store.Tx, *model.Container) error) func(*store.Tx) error {
		return func(tx *store.Tx) (err error) {
			if c, err = changeable(tx.Snapshot(), c.ID, ref); err != nil {
				return err
			}
			return f(tx, c)
		}
	}
	id := c.ID
	snap, err := e.store.Update(in(do))
	if err != nil || !c.Active {
		return c, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), networkWithin)
	defer cancel()
	if err := e.network.Wait(ctx, id, snap.Revision); err != nil {
		name := c.Name
		if _, uerr := e.store.Update(in(undo)); uerr != nil {
			e.log.Error("a failed change can't be taken back", "container", id, "error", uerr)
		}
		return nil, fmt.Errorf("change the network of container %s: %w", name, err)
	}
	return c, nil
}

func putEndpoints(tx *store.Tx, eps []*model.Endpoint) error {
	for _, ep := range eps {
		if err := tx.PutEndpoint(ep); err != nil {
			return err
		}
	}
	return nil
}
