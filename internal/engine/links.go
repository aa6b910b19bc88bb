package engine

import (
	"path"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// parseLink reads NAME[:ALIAS], and /NAME:/OWNER/ALIAS as inspect shows it.
func parseLink(raw string) (name, alias string, err error) {
	parts := strings.Split(raw, ":")
	if raw == "" {
		return "", "", errs.New(errs.Invalid, "empty string specified for links")
	}
	if len(parts) > 2 || parts[0] == "" {
		return "", "", errs.New(errs.Invalid, "bad format for links: %s", raw)
	}
	name = strings.TrimPrefix(parts[0], "/")
	alias = name
	if len(parts) == 2 {
		alias = parts[1]
		if strings.HasPrefix(parts[0], "/") {
			alias = path.Base(alias)
		}
	}
	if !validAlias(alias) || strings.HasPrefix(alias, "*") {
		return "", "", errs.New(errs.Invalid, "bad format for links: %s: the alias %q is not a name", raw, alias)
	}
	return name, alias, nil
}

// linkTarget finds who a link leads to: the owner of the network namespace, if
// the named container joined another's.
func linkTarget(s *model.Snapshot, name string) (*model.Container, error) {
	for range len(s.Containers) + 1 {
		c, err := findContainer(s, name)
		if err != nil {
			return nil, errs.New(errs.Invalid, "could not get container for %s: %w", name, err)
		}
		of, joined := joinedContainer(c.Host.NetworkMode)
		if !joined {
			return c, nil
		}
		name = of
	}
	return nil, errs.New(errs.Invalid, "could not get container for %s: it joins its own network namespace", name)
}

// putLinks stores a container's links over the network of r, once all its
// endpoints are.
func putLinks(tx *store.Tx, c *model.Container, r model.EndpointRequest) error {
	s := tx.Snapshot()
	n := s.Networks[r.Network]
	for _, raw := range r.Links {
		name, alias, err := parseLink(raw)
		if err != nil {
			return err
		}
		target, err := linkTarget(s, name)
		if err != nil {
			return err
		}
		if err := checkLink(s, c, target, n, alias); err != nil {
			return err
		}
		l := &model.Link{ContainerID: c.ID, TargetID: target.ID, Alias: alias, NetworkID: n.ID}
		l.ID = model.LinkID(l.ContainerID, l.NetworkID, l.Alias)
		if err := tx.PutLink(l); err != nil {
			return err
		}
	}
	return nil
}

// checkLink refuses a link that can't be followed. One to a container that is
// not on the link's network, but on another of c's, waits until it comes: Compose
// repeats a service's links on each of its networks.
func checkLink(s *model.Snapshot, c, target *model.Container, n *model.Network, alias string) error {
	if target.ID == c.ID {
		return errs.New(errs.Invalid, "Cannot link to %s: a container can't link to itself", target.Name)
	}
	if target.Host.NetworkMode == "host" {
		return errs.New(errs.Invalid, "conflicting options: host type networking can't be used with links. This would result in undefined behavior")
	}
	for _, network := range []string{n.ID, ""} { // "": a link over any network
		if old := s.Links[model.LinkID(c.ID, network, alias)]; old != nil && old.TargetID != target.ID {
			return errs.New(errs.Invalid, "Cannot link to /%s AS /%s/%s: the alias %s is already that of /%s",
				target.Name, c.Name, alias, alias, targetName(s, old))
		}
	}
	if endpointOn(s, target.ID, n.ID) == nil && !neighbours(s, c.ID, target.ID) {
		where := "the network " + n.Name
		if n.Default() {
			where = "the default network"
		}
		return errs.New(errs.Invalid, "Cannot link to /%s, as it does not belong to %s", target.Name, where)
	}
	return nil
}

// neighbours tells whether two containers are on a common network.
func neighbours(s *model.Snapshot, a, b string) bool {
	return slices.ContainsFunc(s.ByContainer[a], func(ep *model.Endpoint) bool { return endpointOn(s, b, ep.NetworkID) != nil })
}

// targetName is whom a link leads to or waits for.
func targetName(s *model.Snapshot, l *model.Link) string {
	if l.TargetID == "" {
		return l.TargetName
	}
	return nameOf(s, l.TargetID)
}

// endpointOn gives the container's endpoint on the network, or nil.
func endpointOn(s *model.Snapshot, containerID, networkID string) *model.Endpoint {
	for _, ep := range s.ByContainer[containerID] {
		if ep.NetworkID == networkID {
			return ep
		}
	}
	return nil
}

// checkLinksUp refuses to start a container whose target on the default
// network does not run, as Docker does: programs started this way count on it.
func checkLinksUp(s *model.Snapshot, c *model.Container) error {
	for _, l := range s.LinksOf[c.ID] {
		n, t := s.Networks[l.NetworkID], s.Containers[l.TargetID]
		if n == nil || !n.Default() || t == nil || alive(t) {
			continue
		}
		return errs.New(errs.Invalid, "Cannot link to a non running container: /%s AS /%s/%s", t.Name, c.Name, l.Alias)
	}
	return nil
}

// mergeLinks joins --link's two places in a request without doubles.
func mergeLinks(a, b []string) []string {
	out := slices.Clone(a)
	for _, l := range b {
		if !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}
