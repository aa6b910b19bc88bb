package engine

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/links"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// linkSpec is a link as given.
type linkSpec struct {
	name, alias string
	ports       []model.PortRange
}

// parseLink reads NAME[:ALIAS[:PORTS]], and /NAME:/OWNER/ALIAS as inspect shows it.
func parseLink(raw string) (linkSpec, error) {
	parts := strings.SplitN(raw, ":", 3)
	if raw == "" {
		return linkSpec{}, errs.New(errs.Invalid, "empty string specified for links")
	}
	if parts[0] == "" {
		return linkSpec{}, errs.New(errs.Invalid, "bad format for links: %s", raw)
	}
	var alias string
	var ports []string
	if len(parts) > 1 {
		alias = parts[1]
		if strings.HasPrefix(parts[0], "/") {
			alias = path.Base(alias)
		}
	}
	if len(parts) > 2 {
		ports = strings.Split(parts[2], ",")
	}
	spec, err := newLinkSpec(parts[0], alias, ports)
	if err != nil {
		return spec, errs.New(errs.Invalid, "bad format for links: %s: %w", raw, err)
	}
	return spec, nil
}

// newLinkSpec checks the parts of a link; the alias is the name unless given, of
// NAME@TENANT what its tenant calls it.
func newLinkSpec(name, alias string, ports []string) (linkSpec, error) {
	spec := linkSpec{name: strings.TrimPrefix(name, "/")}
	bare, _, _ := strings.Cut(spec.name, "@")
	spec.alias = cmp.Or(alias, bare)
	if !validAlias(spec.alias) || strings.HasPrefix(spec.alias, "*") {
		return spec, errs.New(errs.Invalid, "the alias %q is not a name", spec.alias)
	}
	for _, text := range ports {
		r, err := parsePortRange(text)
		if err != nil {
			return spec, err
		}
		if !slices.Contains(spec.ports, r) {
			spec.ports = append(spec.ports, r)
		}
	}
	return spec, nil
}

// parsePortRange reads PORT[-PORT][/PROTO]; the protocol is tcp unless given.
func parsePortRange(text string) (model.PortRange, error) {
	ports, proto, found := strings.Cut(text, "/")
	if !found {
		proto = "tcp"
	}
	first, last, ranged := strings.Cut(ports, "-")
	if !ranged {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	r := model.PortRange{First: uint16(from), Last: uint16(to), Proto: strings.ToLower(proto)}
	if err1 != nil || err2 != nil || from == 0 || to < from || !slices.Contains([]string{"tcp", "udp", "sctp"}, r.Proto) {
		return r, errs.New(errs.Invalid, "invalid ports %q: give PORT[-PORT][/PROTO] with tcp, udp or sctp, such as 5432, 53/udp or 8000-8010/tcp", text)
	}
	return r, nil
}

// linkTarget finds who a link leads to, and in whose network that container is:
// its own, unless it joined another's.
func linkTarget(s *model.Snapshot, name string) (target, owner *model.Container, err error) {
	if target, err = findContainer(s, name); err != nil {
		return nil, nil, err
	}
	if owner = links.Owner(s, target); owner == nil {
		return nil, nil, errs.New(errs.Conflict, "container %s joined a network namespace that is gone", target.Name)
	}
	return target, owner, nil
}

// putLinks stores a container's links over the network of r, once all its
// endpoints are.
func putLinks(tx *store.Tx, c *model.Container, r model.EndpointRequest) error {
	s := tx.Snapshot()
	n := s.Networks[r.Network]
	for _, raw := range r.Links {
		spec, err := parseLink(raw)
		if err != nil {
			return err
		}
		target, owner, err := linkTarget(s, spec.name)
		if err != nil {
			return errs.New(errs.Invalid, "could not get container for %s: %w", spec.name, err)
		}
		l := &model.Link{
			ContainerID: c.ID, TargetID: target.ID, Alias: spec.alias, NetworkID: n.ID,
			Ports: spec.ports, Strict: c.Host.StrictLinks,
		}
		l.ID = model.LinkID(l.ContainerID, l.NetworkID, l.Alias)
		if err := checkLink(s, c, owner, l); err != nil {
			return err
		}
		if err := tx.PutLink(l); err != nil {
			return err
		}
	}
	return nil
}

// checkLink refuses a link that can't be followed.
func checkLink(s *model.Snapshot, c, owner *model.Container, l *model.Link) error {
	target := s.Containers[l.TargetID]
	if err := sameTenant(c, target); err != nil {
		return err
	}
	if owner.ID == c.ID {
		return errs.New(errs.Invalid, "Cannot link to %s: a container can't link to itself", target.Name)
	}
	if owner.Host.NetworkMode == "host" {
		return errs.New(errs.Invalid, "conflicting options: host type networking can't be used with links. This would result in undefined behavior")
	}
	for _, network := range []string{l.NetworkID, ""} { // "": a link over any network
		if old := s.Links[model.LinkID(c.ID, network, l.Alias)]; old != nil && old.TargetID != target.ID {
			return errs.New(errs.Invalid, "Cannot link to /%s AS /%s/%s: the alias %s is already that of /%s",
				target.Name, c.Name, l.Alias, l.Alias, targetName(s, old))
		}
	}
	return errs.Wrap(errs.Invalid, noRoute(s, c, owner, l))
}

// sameTenant refuses a link between what is of different tenants.
func sameTenant(c, target *model.Container) error {
	if c.Tenant == target.Tenant {
		return nil
	}
	return errs.New(errs.Invalid, "container %s can't be linked to container %s: they belong to different tenants", c.FullName(), target.FullName())
}

// noRoute says why a link to a container that is there leads nowhere, or nothing.
func noRoute(s *model.Snapshot, c, owner *model.Container, l *model.Link) error {
	target := s.Containers[l.TargetID]
	if links.Find(s, l).To != nil {
		return nil
	}
	for _, end := range []*model.Container{c, owner} {
		if len(bridgeNetworks(s, end.ID)) == 0 {
			return errs.New(errs.Conflict, "containers %s and %s can't be linked: %s is on no network: connect it to one first (jackstay network connect)", c.Name, target.Name, end.Name)
		}
	}
	if l.Strict {
		return errs.New(errs.Conflict, "containers %s and %s are on no common network, and strict links join none: connect %s to one of the other's first (jackstay network connect %s %s), or leave out --strict",
			c.Name, target.Name, owner.Name, bridgeNetworks(s, c.ID)[0].Name, owner.Name)
	}
	return errs.New(errs.Conflict, "containers %s and %s can't be linked: they are on no common network, and have no address of the same family", c.Name, target.Name)
}

// bridgeNetworks lists the bridge networks a container is on, in order.
func bridgeNetworks(s *model.Snapshot, id string) []*model.Network {
	var out []*model.Network
	for _, ep := range s.ByContainer[id] {
		if n := s.Networks[ep.NetworkID]; n != nil && n.Driver == model.DriverBridge {
			out = append(out, n)
		}
	}
	return out
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
