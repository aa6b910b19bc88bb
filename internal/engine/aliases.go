package engine

import (
	"context"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// AddAliases gives a container further names on a network, *.NAME included;
// they resolve when this returns.
func (e *Engine) AddAliases(ctx context.Context, network, ref string, names []string) error {
	if err := checkAliases(names); err != nil {
		return err
	}
	return e.changeAliases(ctx, network, ref, "alias-add", names, func(c *model.Container, n *model.Network, have []string) ([]string, error) {
		have = slices.Clone(have)
		for _, name := range names {
			if indexName(have, name) >= 0 {
				return nil, errs.New(errs.Conflict, "container %s has the alias %s on network %s already", c.Name, name, n.Name)
			}
			have = append(have, name)
		}
		return have, nil
	})
}

// RemoveAliases takes names of a container on a network away. Each must be
// there, or nothing is changed.
func (e *Engine) RemoveAliases(ctx context.Context, network, ref string, names []string) error {
	return e.changeAliases(ctx, network, ref, "alias-rm", names, func(c *model.Container, n *model.Network, have []string) ([]string, error) {
		left := slices.Clone(have)
		for _, name := range names {
			at := indexName(left, name)
			if at < 0 {
				return nil, errs.New(errs.NotFound, "container %s has no alias %s on network %s%s", c.Name, name, n.Name, hasWords(slices.Clone(have)))
			}
			left = slices.Delete(left, at, at+1)
		}
		return left, nil
	})
}

// indexName finds a name whatever its case, as names are (RFC 4343).
func indexName(in []string, name string) int {
	return slices.IndexFunc(in, func(s string) bool { return strings.EqualFold(s, name) })
}

// changeAliases stores other aliases of an endpoint, as change makes them of
// those it has, and tells of it.
func (e *Engine) changeAliases(ctx context.Context, network, ref, action string, names []string,
	change func(c *model.Container, n *model.Network, have []string) ([]string, error)) error {
	if len(names) == 0 {
		return errs.New(errs.Invalid, "no alias is given: name at least one")
	}
	n, err := e.FindNetwork(network)
	if err != nil {
		return err
	}
	if n.Driver != model.DriverBridge {
		return errs.New(errs.Invalid, "network %s has no names: %s", n.Name, wordsNoAlias)
	}
	var before *model.Endpoint
	fewer := false
	do := func(tx *store.Tx, c *model.Container) error {
		if before = endpointOn(tx.Snapshot(), c.ID, n.ID); before == nil {
			return errs.New(errs.Conflict, "container %s is not connected to network %s", c.Name, n.Name)
		}
		next := *before
		var err error
		if next.Aliases, err = change(c, n, before.Aliases); err != nil {
			return err
		}
		fewer = len(next.Aliases) < len(before.Aliases)
		return tx.PutEndpoint(&next)
	}
	return e.changeLive(ctx, ref, liveChange{
		do:   do,
		undo: func(tx *store.Tx, _ *model.Container) error { return tx.PutEndpoint(before) },
		keep: func() bool { return fewer },
		tell: func(c *model.Container) {
			for _, name := range names {
				e.networkEvent(n, action, "container", c.ID, "alias", name)
			}
		},
	})
}
