package api

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

var listFilters = []string{
	"id", "name", "label", "label!", "status", "exited", "ancestor", "before", "since",
	"volume", "network", "publish", "expose", "is-task", "health", "isolation",
}

// listQuery is what a list of containers asks for.
type listQuery struct {
	filters         filterSet
	all, size       bool
	limit           int
	before, since   *model.Container
	exited          []int
	images          map[string]bool // nil: any
	publish, expose []network.PortRange
	task            *bool
}

func (s *Server) listQuery(r *request) (*listQuery, error) {
	f, err := parseFilters(r.param("filters"), listFilters...)
	if err != nil {
		return nil, err
	}
	q := &listQuery{filters: f, all: r.flag("all") || len(f["status"]) > 0, size: r.flag("size")}
	limit, err := r.integer("limit")
	if err != nil {
		return nil, err
	}
	if limit != nil {
		q.limit = *limit
	}
	for _, bound := range []struct {
		into *(*model.Container)
		refs []string
	}{{&q.before, append(f["before"], r.query["before"]...)}, {&q.since, append(f["since"], r.query["since"]...)}} {
		for _, ref := range bound.refs {
			if ref == "" {
				continue
			}
			if *bound.into, err = s.engine.FindContainer(ref); err != nil {
				return nil, err
			}
		}
	}
	if err := q.parseValues(); err != nil {
		return nil, err
	}
	q.images, err = s.ancestors(r.Context(), f["ancestor"])
	return q, err
}

// parseValues checks the filters whose values have a form.
func (q *listQuery) parseValues() (err error) {
	f := q.filters
	for _, v := range f["exited"] {
		code, err := strconv.Atoi(v)
		if err != nil {
			return invalid("invalid filter 'exited=%s': must be a number", v)
		}
		q.exited = append(q.exited, code)
	}
	for _, v := range f["status"] {
		if err := container.ValidateContainerState(container.ContainerState(v)); err != nil {
			return invalid("invalid filter 'status=%s': %w", v, err)
		}
	}
	for _, v := range f["health"] {
		if err := container.ValidateHealthStatus(container.HealthStatus(v)); err != nil {
			return invalid("invalid filter 'health=%s': %w", v, err)
		}
	}
	if q.task, err = f.boolean("is-task"); err != nil {
		return err
	}
	if q.publish, err = portRanges("publish", f["publish"]); err != nil {
		return err
	}
	q.expose, err = portRanges("expose", f["expose"])
	return err
}

func portRanges(key string, values []string) ([]network.PortRange, error) {
	var out []network.PortRange
	for _, v := range values {
		if strings.Contains(v, ":") {
			return nil, invalid("filter for '%s' should not contain ':': %s", key, v)
		}
		pr, err := network.ParsePortRange(v)
		if err != nil {
			return nil, invalid("error while looking up for %s %s: %w", key, v, err)
		}
		out = append(out, pr)
	}
	return out, nil
}

// ancestors are the IDs of the images asked for; nil when none were. An image
// that is not there selects nothing.
func (s *Server) ancestors(ctx context.Context, refs []string) (map[string]bool, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	ids := map[string]bool{}
	for _, ref := range refs {
		img, err := s.images.Lookup(ctx, ref)
		switch {
		case err == nil:
			ids[img.ID] = true
		case !errs.Is(err, errs.NotFound) && !errs.Is(err, errs.Invalid):
			return nil, err
		}
	}
	return ids, nil
}

// selectFrom gives the containers asked for, newest first.
func (q *listQuery) selectFrom(snap *model.Snapshot) []*model.Container {
	all := make([]*model.Container, 0, len(snap.Containers))
	for _, c := range snap.Containers {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *model.Container) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	if q.before != nil {
		if i := slices.IndexFunc(all, func(c *model.Container) bool { return c.ID == q.before.ID }); i >= 0 {
			all = all[i+1:]
		}
	}
	var out []*model.Container
	for _, c := range all {
		if (q.since != nil && c.ID == q.since.ID) || (q.limit > 0 && len(out) == q.limit) {
			break
		}
		if q.matches(c, snap) {
			out = append(out, c)
		}
	}
	return out
}

func (q *listQuery) matches(c *model.Container, snap *model.Snapshot) bool {
	f := q.filters
	name := snap.Shown(c.Name, c.Tenant)
	up := c.State.Running() || c.State.Status == model.StatusRestarting
	switch {
	case !up && !q.all && q.limit <= 0,
		!f.prefix("id", c.ID),
		!f.pattern("name", name) && !f.pattern("name", "/"+name),
		!f.labels(c.Config.Labels),
		!f.exact("status", string(c.State.Status)),
		!f.exact("health", string(container.NoHealthcheck)),
		!f.exact("isolation", "") && !f.exact("isolation", "default"),
		q.task != nil && *q.task, // no orchestrator, no tasks
		q.images != nil && !q.images[c.ImageID],
		len(q.exited) > 0 && (up || c.State.StartedAt.IsZero() || !slices.Contains(q.exited, c.State.ExitCode)):
		return false
	}
	return q.matchesVolume(c, snap) && q.matchesNetwork(c, snap) && q.matchesPorts(c)
}

func (q *listQuery) matchesVolume(c *model.Container, snap *model.Snapshot) bool {
	wanted, ok := q.filters["volume"]
	return !ok || slices.ContainsFunc(c.Mounts, func(m model.Mount) bool {
		if slices.Contains(wanted, m.Destination) {
			return true
		}
		if m.Name != "" {
			return slices.Contains(wanted, snap.Shown(m.Name, c.Tenant))
		}
		return slices.Contains(wanted, m.Source)
	})
}

func (q *listQuery) matchesNetwork(c *model.Container, snap *model.Snapshot) bool {
	wanted, ok := q.filters["network"]
	return !ok || slices.ContainsFunc(snap.ByContainer[c.ID], func(e *model.Endpoint) bool {
		n := snap.Networks[e.NetworkID]
		return n != nil && slices.ContainsFunc(wanted, func(w string) bool {
			return snap.Shown(n.Name, n.Tenant) == w || strings.HasPrefix(n.ID, w)
		})
	})
}

func (q *listQuery) matchesPorts(c *model.Container) bool {
	if len(q.publish)+len(q.expose) == 0 {
		return true
	}
	return slices.ContainsFunc(portSummaries(c), func(p portSummary) bool {
		return inRanges(q.publish, p.PublicPort, p.Type) || inRanges(q.expose, p.PrivatePort, p.Type)
	})
}

func inRanges(ranges []network.PortRange, port uint16, proto string) bool {
	return port != 0 && slices.ContainsFunc(ranges, func(r network.PortRange) bool {
		return string(r.Proto()) == proto && r.Start() <= port && port <= r.End()
	})
}
