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

// AddLink links a container to another over whatever network both are on, now
// and later. Its hosts file and names follow before this returns; environment
// variables come with its next start.
func (e *Engine) AddLink(ctx context.Context, ref string, r model.LinkRequest) (*model.Link, error) {
	name, alias, err := parseLink(r.Target + ":" + orString(r.Alias, strings.TrimPrefix(r.Target, "/")))
	if err != nil {
		return nil, err
	}
	var link *model.Link
	put := func(tx *store.Tx, c *model.Container) error {
		var err error
		if link, err = newLiveLink(tx.Snapshot(), c, name, alias, r.Wait); err != nil {
			return err
		}
		return tx.PutLink(link)
	}
	undo := func(tx *store.Tx, _ *model.Container) error { tx.DeleteLink(link.ID); return nil }
	c, err := e.changeLive(ctx, ref, put, undo)
	if err != nil {
		return nil, err
	}
	e.containerEvent(c, "link-add", "alias", alias, "target", targetName(e.store.Snapshot(), link))
	return link, nil
}

func orString(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// newLiveLink makes the link, or says why there can't be one.
func newLiveLink(s *model.Snapshot, c *model.Container, name, alias string, wait bool) (*model.Link, error) {
	if err := linkable(s, c, "use links"); err != nil {
		return nil, err
	}
	l := &model.Link{ContainerID: c.ID, Alias: alias, ID: model.LinkID(c.ID, "", alias)}
	for _, old := range s.LinksOf[c.ID] {
		if strings.EqualFold(old.Alias, alias) {
			return nil, errs.New(errs.Conflict, "container %s has a link called %s already, to %s: remove that first", c.Name, old.Alias, targetName(s, old))
		}
	}
	target, err := findContainer(s, name)
	if err == nil {
		target, err = linkTarget(s, name)
	}
	switch {
	case errs.Is(err, errs.NotFound) && wait:
		if name, err = checkContainerName(name); err != nil {
			return nil, err
		}
		l.TargetName = name
		return l, nil
	case errs.Is(err, errs.NotFound):
		return nil, errs.New(errs.NotFound, "%w: to link to a container that comes later, say --wait", err)
	case err != nil:
		return nil, err
	case target.ID == c.ID:
		return nil, errs.New(errs.Invalid, "container %s cannot be linked to itself", c.Name)
	}
	if err := linkable(s, target, "be linked to"); err != nil {
		return nil, err
	}
	l.TargetID = target.ID
	if !wait && len(commonNetworks(s, c.ID, target.ID)) == 0 {
		return nil, errs.New(errs.Conflict, "containers %s and %s are on no common network: connect one to a network of the other first (jackstay network connect), or say --wait",
			c.Name, target.Name)
	}
	return l, nil
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

// commonNetworks lists the IDs of the bridge networks both are on, in a's order.
func commonNetworks(s *model.Snapshot, a, b string) []string {
	var out []string
	for _, ep := range s.ByContainer[a] {
		if n := s.Networks[ep.NetworkID]; n != nil && n.Driver == model.DriverBridge && endpointOn(s, b, n.ID) != nil {
			out = append(out, n.ID)
		}
	}
	return out
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
				_, a, err := parseLink(raw)
				return err == nil && strings.EqualFold(a, alias)
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
