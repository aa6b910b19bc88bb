package store

import (
	"errors"
	"fmt"
	"slices"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// PutSecurityGroup stores g, which the caller gives up. A name that another
// group has is errs.Conflict.
func (tx *Tx) PutSecurityGroup(g *model.SecurityGroup) error {
	if g.ID == "" || g.Name == "" {
		return errs.New(errs.Invalid, "security group %q has no ID or no name", g.ID+g.Name)
	}
	s := tx.snap
	if err := owned(tx, &g.Tenant, s.SecurityGroups[g.ID]); err != nil {
		return err
	}
	if holder, ok := s.GroupNames[g.FullName()]; ok && holder != g.ID {
		return errs.New(errs.Conflict, "there is a security group called %s already: %s", g.Name, holder)
	}
	tx.touch(kindGroup, g.ID)
	names := mine(tx, ownGroupNames, &s.GroupNames)
	if old := s.SecurityGroups[g.ID]; old != nil {
		delete(names, old.FullName())
	}
	names[g.FullName()] = g.ID
	mine(tx, ownGroups, &s.SecurityGroups)[g.ID] = g
	return nil
}

// DeleteSecurityGroup deletes a group. No container may have it, and no rule
// name it, by the end of the transaction.
func (tx *Tx) DeleteSecurityGroup(id string) {
	old, ok := tx.snap.SecurityGroups[id]
	if !ok || !tx.sees(old.Tenant) {
		return
	}
	tx.touch(kindGroup, id)
	delete(mine(tx, ownGroupNames, &tx.snap.GroupNames), old.FullName())
	delete(mine(tx, ownGroups, &tx.snap.SecurityGroups), id)
}

// checkGroup: the groups that a group's rules name exist, and a deleted one has
// left nothing behind.
func checkGroup(s *model.Snapshot, id string) error {
	if g := s.SecurityGroups[id]; g != nil {
		return checkRules(s, g)
	}
	for _, c := range s.Containers {
		if slices.Contains(c.SecurityGroups, id) {
			return checkGroupsOf(s, c)
		}
	}
	for _, g := range s.SecurityGroups {
		if slices.ContainsFunc(g.Rules, func(r model.GroupRule) bool { return r.Group == id }) {
			return checkRules(s, g)
		}
	}
	return nil
}

func checkRules(s *model.Snapshot, g *model.SecurityGroup) error {
	for _, r := range g.Rules {
		if r.Source.IsValid() == (r.Group != "") {
			return fmt.Errorf("a rule of security group %s has to have either addresses or a group as its source", g.Name)
		}
		if r.Group != "" && s.SecurityGroups[r.Group] == nil {
			return fmt.Errorf("a rule of security group %s names group %s, which does not exist", g.Name, r.Group)
		}
		if o := s.SecurityGroups[r.Group]; o != nil && o.Tenant != g.Tenant {
			return errs.New(errs.Invalid, "a rule of security group %s can't name group %s: they belong to different tenants", g.FullName(), o.FullName())
		}
	}
	return nil
}

// checkGroupsOf: the groups of a container, or of nil, exist, each once.
func checkGroupsOf(s *model.Snapshot, c *model.Container) error {
	if c == nil {
		return nil
	}
	for i, id := range c.SecurityGroups {
		if s.SecurityGroups[id] == nil {
			return fmt.Errorf("container %s is in security group %s, which does not exist", c.ID, id)
		}
		if g := s.SecurityGroups[id]; g.Tenant != c.Tenant {
			return errs.New(errs.Invalid, "container %s can't be in security group %s: they belong to different tenants", c.FullName(), g.FullName())
		}
		if slices.Contains(c.SecurityGroups[:i], id) {
			return fmt.Errorf("container %s is in security group %s twice", c.ID, id)
		}
	}
	return nil
}

// checkGroups: every group and every container's groups, and no name twice.
func checkGroups(s *model.Snapshot) error {
	var all []error
	names := map[string]string{}
	for id, g := range s.SecurityGroups {
		if other, ok := names[g.FullName()]; ok {
			all = append(all, fmt.Errorf("security groups %s and %s are both called %s", other, id, g.FullName()))
		}
		names[g.FullName()] = id
		all = append(all, checkRules(s, g))
	}
	for _, c := range s.Containers {
		all = append(all, checkGroupsOf(s, c))
	}
	return errors.Join(all...)
}
