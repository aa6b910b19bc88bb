package engine

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/groups"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// What security groups may come to: the firewall is changed in one transaction,
// and a plan is made with each start.
const (
	maxGroupRules    = 128   // of one group
	maxGroupsOf      = 8     // of one container
	maxGroupElements = 65536 // of all containers, whosever they are

	maxTenantElements = maxGroupElements / 8 // of one tenant's
)

// FindSecurityGroup resolves a name, a full ID, or a unique prefix of an ID.
func (e *Engine) FindSecurityGroup(ref string) (*model.SecurityGroup, error) {
	return findGroup(e.store.Snapshot(), ref)
}

func findGroup(s *model.Snapshot, ref string) (*model.SecurityGroup, error) {
	if g := s.SecurityGroups[s.GroupNames[ref]]; g != nil {
		return g, nil
	}
	if g := s.SecurityGroups[ref]; g != nil {
		return g, nil
	}
	id, several := byPrefix(s.SecurityGroups, ref)
	switch {
	case ref == "":
		return nil, errs.New(errs.Invalid, "the security group's name is missing")
	case several:
		return nil, errs.New(errs.Invalid, "security group %s is ambiguous (several matches found based on ID prefix)", ref)
	case id == "":
		return nil, errs.New(errs.NotFound, "no such security group: %s; `jackstay sg ls` shows those there are, `jackstay sg create %s` makes it", ref, ref)
	}
	return s.SecurityGroups[id], nil
}

// CreateSecurityGroup makes a group. Its rules may name the group itself.
func (e *Engine) CreateSecurityGroup(_ context.Context, req model.SecurityGroupRequest) (*model.SecurityGroup, error) {
	if err := checkGroupName(req.Name); err != nil {
		return nil, err
	}
	g := &model.SecurityGroup{ID: alloc.ID(), Name: req.Name, Tenant: e.tenant, Description: req.Description, Created: e.clock.Now()}
	_, err := e.store.Update(func(tx *store.Tx) (err error) {
		s := tx.Snapshot()
		if holder, ok := s.GroupNames[g.Name]; ok {
			return errs.New(errs.Conflict, "there is a security group called %s already (%s): change it with `jackstay sg update %s`", g.Name, holder[:alloc.ShortID], g.Name)
		}
		put := *g
		if put.Rules, err = addRules(s, g, nil, req.Rules); err != nil {
			return err
		}
		g = &put
		return tx.PutSecurityGroup(&put)
	})
	if err != nil {
		return nil, err
	}
	e.groupEvent(g, "create")
	return g, nil
}

func checkGroupName(name string) error {
	if _, err := netip.ParseAddr(name); err == nil || !fipName.MatchString(name) {
		return errs.New(errs.Invalid, "invalid security group name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed, and no address", name)
	}
	return nil
}

// UpdateSecurityGroup changes a group's rules in one step, for connections that
// run too.
func (e *Engine) UpdateSecurityGroup(ctx context.Context, ref string, ch model.SecurityGroupChange) (*model.SecurityGroup, error) {
	var g, old *model.SecurityGroup
	snap, err := e.store.Update(func(tx *store.Tx) (err error) {
		s := tx.Snapshot()
		if old, err = findGroup(s, ref); err != nil {
			return err
		}
		next := *old
		if ch.Description != nil {
			next.Description = *ch.Description
		}
		if ch.Replace {
			if next.Rules, err = addRules(s, old, nil, ch.Rules); err != nil {
				return err
			}
		}
		if next.Rules, err = removeRules(s, old, next.Rules, ch.Remove); err != nil {
			return err
		}
		if next.Rules, err = addRules(s, old, next.Rules, ch.Add); err != nil {
			return err
		}
		g = &next
		if err := tx.PutSecurityGroup(&next); err != nil {
			return err
		}
		return checkGroupElements(tx, next.Tenant)
	})
	if err != nil {
		return nil, err
	}
	// The firewall has the rules for all of a group's containers at once, so one
	// that runs is asked for.
	f := effect{doing: "change the rules of security group " + g.Name}
	members := groupMembers(snap, g.ID)
	if at := slices.IndexFunc(members, func(c *model.Container) bool { return c.Active }); at >= 0 {
		f.of = []string{members[at].ID}
	}
	if slices.ContainsFunc(old.Rules, func(r model.GroupRule) bool { return !slices.Contains(g.Rules, r) }) {
		e.groupEvent(g, "update")
		return g, e.orKeep(ctx, snap, f)
	}
	err = e.orTakeBack(ctx, snap, f, func(tx *store.Tx) error {
		now := tx.Snapshot().SecurityGroups[g.ID]
		if now == nil {
			return nil
		}
		back := *now // with what somebody else changed since
		back.Rules = slices.DeleteFunc(slices.Clone(now.Rules), func(r model.GroupRule) bool {
			return slices.Contains(g.Rules, r) && !slices.Contains(old.Rules, r)
		})
		if now.Description == g.Description {
			back.Description = old.Description
		}
		return tx.PutSecurityGroup(&back)
	})
	if err != nil {
		return nil, err
	}
	e.groupEvent(g, "update")
	return g, nil
}

// groupMembers gives the containers in a group, by name.
func groupMembers(s *model.Snapshot, id string) []*model.Container {
	var out []*model.Container
	for _, c := range s.Containers {
		if slices.Contains(c.SecurityGroups, id) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *model.Container) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// RemoveSecurityGroup removes a group that no container is in and that no other
// group's rules name.
func (e *Engine) RemoveSecurityGroup(_ context.Context, ref string) error {
	var g *model.SecurityGroup
	_, err := e.store.Update(func(tx *store.Tx) (err error) {
		s := tx.Snapshot()
		if g, err = findGroup(s, ref); err != nil {
			return err
		}
		if users := groupUsers(s, g); len(users) > 0 {
			return errs.New(errs.Conflict, "security group %s is in use by %s", g.Name, strings.Join(users, ", "))
		}
		tx.DeleteSecurityGroup(g.ID)
		return nil
	})
	if err == nil {
		e.groupEvent(g, "remove")
	}
	return err
}

// groupUsers says who needs a group.
func groupUsers(s *model.Snapshot, g *model.SecurityGroup) []string {
	var out []string
	for _, c := range groupMembers(s, g.ID) {
		out = append(out, "container "+c.Name)
	}
	var named []string
	for _, o := range s.SecurityGroups {
		if o.ID != g.ID && slices.ContainsFunc(o.Rules, func(r model.GroupRule) bool { return r.Group == g.ID }) {
			named = append(named, "a rule of security group "+o.Name)
		}
	}
	slices.Sort(named)
	return append(out, named...)
}

// AttachSecurityGroups puts a container, running or not, into groups.
func (e *Engine) AttachSecurityGroups(ctx context.Context, ref string, names []string) error {
	return e.changeGroups(ctx, ref, names, "attach", func(s *model.Snapshot, c *model.Container, changed []string) ([]string, error) {
		next := slices.Clone(c.SecurityGroups)
		for _, id := range changed {
			if !slices.Contains(next, id) {
				next = append(next, id)
			}
		}
		return next, checkGroupCount(c.Name, next)
	})
}

// DetachSecurityGroups takes a container out of groups.
func (e *Engine) DetachSecurityGroups(ctx context.Context, ref string, names []string) error {
	return e.changeGroups(ctx, ref, names, "detach", func(s *model.Snapshot, c *model.Container, changed []string) ([]string, error) {
		for _, id := range changed {
			if !slices.Contains(c.SecurityGroups, id) {
				return nil, errs.New(errs.Conflict, "container %s is not in security group %s%s", c.Name, s.SecurityGroups[id].Name, hasWords(groupNames(s, c.SecurityGroups)))
			}
		}
		return slices.DeleteFunc(slices.Clone(c.SecurityGroups), func(id string) bool { return slices.Contains(changed, id) }), nil
	})
}

// changeGroups gives a container the groups that next makes of those it has and
// those that are named.
func (e *Engine) changeGroups(ctx context.Context, ref string, names []string, action string,
	next func(s *model.Snapshot, c *model.Container, changed []string) ([]string, error)) error {
	var before, after, changed []string
	put := func(tx *store.Tx, c *model.Container) error {
		s := tx.Snapshot()
		if err := linkable(s, c, "be in security groups"); err != nil {
			return err
		}
		var err error
		if changed, err = groupIDs(s, names); err != nil {
			return err
		}
		before = c.SecurityGroups
		with := *c
		if with.SecurityGroups, err = next(s, c, changed); err != nil || slices.Equal(with.SecurityGroups, before) {
			after, changed = before, nil
			return err
		}
		after = with.SecurityGroups
		if err := tx.PutContainer(&with); err != nil {
			return err
		}
		return checkGroupElements(tx, c.Tenant)
	}
	return e.changeLive(ctx, ref, liveChange{
		do: put,
		undo: func(tx *store.Tx, c *model.Container) error {
			with := *c
			with.SecurityGroups = slices.DeleteFunc(slices.Clone(before), func(id string) bool { return tx.Snapshot().SecurityGroups[id] == nil })
			return tx.PutContainer(&with)
		},
		keep: func() bool { return closes(before, after) },
		tell: func(c *model.Container) { e.groupEvents(c, changed, action) },
	})
}

// closes tells whether a container that was in some groups is reached by fewer
// in others: in none everything may reach it, in one what a rule lets in.
func closes(before, after []string) bool {
	if len(before) == 0 || len(after) == 0 {
		return len(after) > 0
	}
	return slices.ContainsFunc(before, func(id string) bool { return !slices.Contains(after, id) })
}

// groupIDs resolves names of groups, each once, in order.
func groupIDs(s *model.Snapshot, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, errs.New(errs.Invalid, "no security group is given: name at least one")
	}
	var ids []string
	for _, name := range names {
		g, err := findGroup(s, name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, g.ID) {
			ids = append(ids, g.ID)
		}
	}
	return ids, nil
}

func groupNames(s *model.Snapshot, ids []string) []string {
	var out []string
	for _, id := range ids {
		if g := s.SecurityGroups[id]; g != nil {
			out = append(out, g.Name)
		}
	}
	return out
}

func checkGroupCount(name string, ids []string) error {
	if len(ids) > maxGroupsOf {
		return errs.New(errs.Invalid, "container %s would be in %d security groups: %d are the most; put rules of several into one", name, len(ids), maxGroupsOf)
	}
	return nil
}

// checkGroupElements refuses what would make the firewall slow for everybody, or
// leave too little of it for others than this tenant.
func checkGroupElements(tx *store.Tx, tenant string) error {
	s := tx.All()
	if tenant != "" {
		own := *s
		own.Containers = map[string]*model.Container{}
		for id, c := range s.Containers {
			if c.Tenant == tenant {
				own.Containers[id] = c
			}
		}
		if err := fewElements(&own, "the rules of your containers' security groups", maxTenantElements); err != nil {
			return err
		}
	}
	return fewElements(s, "the rules of all containers' security groups", maxGroupElements)
}

func fewElements(s *model.Snapshot, what string, most int) error {
	if n := groups.Size(s); n > most {
		return errs.New(errs.Invalid, "%s would come to %d elements in the firewall, and %d are the most: "+
			"give them fewer rules, or wider ranges of ports and addresses", what, n, most)
	}
	return nil
}

// groupsAtCreate gives the groups a new container is in.
func groupsAtCreate(s *model.Snapshot, c *model.Container, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if err := linkable(s, c, "be in security groups"); err != nil {
		return nil, err
	}
	ids, err := groupIDs(s, names)
	if err != nil { // not found would make clients pull the image
		return nil, errs.New(errs.Invalid, "create container %s: %w", c.Name, err)
	}
	return ids, checkGroupCount(c.Name, ids)
}

// groupEvents records what happened to each of some groups with a container.
func (e *Engine) groupEvents(c *model.Container, ids []string, action string) {
	s := e.store.Snapshot()
	for _, id := range ids {
		if g := s.SecurityGroups[id]; g != nil {
			e.groupEvent(g, action, "container", c.ID)
		}
	}
}

func (e *Engine) groupEvent(g *model.SecurityGroup, action string, attrs ...string) {
	e.Emit(model.Event{Type: "sg", Action: action, ID: g.ID, Tenant: g.Tenant, Attributes: pairs(map[string]string{"name": g.Name}, attrs)})
}
