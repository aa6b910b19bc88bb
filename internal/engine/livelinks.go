package engine

import (
	"context"
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
	err = e.changeLive(ctx, ref, liveChange{
		do:   put,
		undo: func(tx *store.Tx, _ *model.Container) error { tx.DeleteLink(link.ID); return nil },
		also: func(s *model.Snapshot) []string { return wayBack(s, link) },
		tell: func(c *model.Container) {
			e.containerEvent(c, "link-add", "alias", link.Alias, "target", targetName(e.store.Snapshot(), link))
		},
	})
	if err != nil {
		return nil, err
	}
	return link, nil
}

// wayBack gives the container that a link between two networks leads to: it has
// a way back to whom the link is of.
func wayBack(s *model.Snapshot, l *model.Link) []string {
	if r := links.Find(s, l); r.Joined() {
		return []string{r.Owner.ID}
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
		l.TargetName, err = awaitedName(s, c, spec.name)
		return l, err
	case errs.Is(err, errs.NotFound):
		return nil, errs.New(errs.NotFound, "%w: to link to a container that comes later, say --wait", err)
	case err != nil:
		return nil, err
	case c.Tenant != target.Tenant:
		return nil, sameTenant(c, target)
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

// awaitedName is how the tenant of c will call the target of a link that is yet
// to come: the administrator may give it as NAME@TENANT.
func awaitedName(s *model.Snapshot, c *model.Container, name string) (string, error) {
	bare, tenant, given := strings.Cut(name, "@")
	if !given || s.Tenant != "" {
		return checkContainerName(name)
	}
	if tenant != c.Tenant {
		return "", errs.New(errs.Invalid, "container %s can't be linked to container %s: they belong to different tenants", c.FullName(), name)
	}
	return checkContainerName(bare)
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
			next := *ep
			next.Links = without
			if err := tx.PutEndpoint(&next); err != nil {
				return err
			}
		}
		return nil
	}
	return e.changeLive(ctx, ref, liveChange{do: remove, tell: func(c *model.Container) { e.containerEvent(c, "link-rm", "alias", alias) }})
}

func hasWords(names []string) string {
	if len(names) == 0 {
		return ": it has none"
	}
	slices.Sort(names)
	return ": it has " + strings.Join(slices.Compact(names), ", ")
}

// liveChange is a change of a container's network. Its functions get the
// container's record as the transaction finds it.
type liveChange struct {
	do   func(*store.Tx, *model.Container) error
	undo func(*store.Tx, *model.Container) error // nil: it takes something away, see orKeep
	keep func() bool                             // asked after do: what undo is for stays all the same
	also func(*model.Snapshot) []string          // further containers that it is about
	tell func(*model.Container)                  // records what happened
}

// changeLive stores a change and returns when it is true.
func (e *Engine) changeLive(ctx context.Context, ref string, ch liveChange) error {
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	id := c.ID
	_, unlock := e.lock(id)
	defer unlock()
	in := func(f func(*store.Tx, *model.Container) error) func(*store.Tx) error {
		return func(tx *store.Tx) (err error) {
			if c, err = changeable(tx.Snapshot(), id, ref); err != nil {
				return err
			}
			return f(tx, c)
		}
	}
	s, err := e.store.Update(in(ch.do))
	if err != nil {
		return err
	}
	f := effect{of: []string{id}}
	if ch.also != nil && c.Active {
		f.of = append(f.of, ch.also(s)...)
	}
	if ch.undo == nil || ch.keep != nil && ch.keep() {
		ch.tell(c)
		return e.orKeep(ctx, s, f)
	}
	if err := e.orTakeBack(ctx, s, f, in(ch.undo)); err != nil {
		return err
	}
	ch.tell(c)
	return nil
}

func putEndpoints(tx *store.Tx, eps []*model.Endpoint) error {
	for _, ep := range eps {
		if err := tx.PutEndpoint(ep); err != nil {
			return err
		}
	}
	return nil
}
