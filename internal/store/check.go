package store

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Rebuild fills a snapshot's indexes from its records, replacing what they held.
func Rebuild(s *model.Snapshot) {
	s.ContainerNames = make(map[string]string, len(s.Containers))
	s.NetworkNames = make(map[string]string, len(s.Networks))
	s.ByContainer = map[string][]*model.Endpoint{}
	s.ByNetwork = map[string]map[string]*model.Endpoint{}
	s.LinksOf = map[string][]*model.Link{}
	s.Ports = map[model.PortKey]string{}
	s.FIPNames, s.FIPOf = map[string]string{}, map[string]string{}
	s.GroupNames = make(map[string]string, len(s.SecurityGroups))
	for id, c := range s.Containers {
		s.ContainerNames[c.FullName()] = id
		for _, m := range c.Ports {
			s.Ports[m.Key()] = id
		}
	}
	for id, n := range s.Networks {
		s.NetworkNames[n.FullName()] = id
	}
	for id, e := range s.Endpoints {
		s.ByContainer[e.ContainerID] = append(s.ByContainer[e.ContainerID], e)
		if s.ByNetwork[e.NetworkID] == nil {
			s.ByNetwork[e.NetworkID] = map[string]*model.Endpoint{}
		}
		s.ByNetwork[e.NetworkID][id] = e
	}
	for _, l := range s.Links {
		s.LinksOf[l.ContainerID] = append(s.LinksOf[l.ContainerID], l)
	}
	for id, f := range s.FIPs {
		if f.Name != "" {
			s.FIPNames[f.FullName()] = id
		}
		if f.ContainerID != "" {
			s.FIPOf[f.ContainerID] = id
		}
	}
	for id, g := range s.SecurityGroups {
		s.GroupNames[g.FullName()] = id
	}
	for _, of := range s.ByContainer {
		slices.SortFunc(of, compareEndpoints)
	}
	for _, of := range s.LinksOf {
		slices.SortFunc(of, compareLinks)
	}
}

// Check tells which of the store's invariants a snapshot breaks: no endpoint
// or link without its container and network, no address twice in a network, no
// name or host port twice, and indexes as Rebuild makes them.
func Check(s *model.Snapshot) error {
	all := []error{checkKeys(s)}
	for _, e := range s.Endpoints {
		all = append(all, checkEndpoint(s, e))
	}
	for _, l := range s.Links {
		all = append(all, checkLink(s, l))
	}
	for _, f := range s.FIPs {
		all = append(all, checkFIP(s, f))
	}
	all = append(all, checkGroups(s))
	for _, v := range s.Volumes {
		all = append(all, checkTenant(s, v.Tenant, "volume", v.Key()))
	}
	for id, c := range s.Containers {
		all = append(all, checkTenant(s, c.Tenant, "container", id))
	}
	for id, n := range s.Networks {
		all = append(all, checkTenant(s, n.Tenant, "network", id))
	}
	return errors.Join(append(all, checkAddresses(s), checkUnique(s), checkUniqueFIPs(s), checkIndexes(s))...)
}

// checkKeys: every record is filed under its own ID.
func checkKeys(s *model.Snapshot) error {
	return errors.Join(
		filed("container", s.Containers, func(c *model.Container) string { return c.ID }),
		filed("network", s.Networks, func(n *model.Network) string { return n.ID }),
		filed("endpoint", s.Endpoints, func(e *model.Endpoint) string { return e.ID }),
		filed("link", s.Links, func(l *model.Link) string { return l.ID }),
		filed("volume", s.Volumes, (*model.Volume).Key),
		filed("floating IP", s.FIPs, (*model.FloatingIP).ID),
		filed("pool of floating IPs", s.FIPPools, (*model.FIPPool).ID),
		filed("security group", s.SecurityGroups, func(g *model.SecurityGroup) string { return g.ID }),
		filed("tenant", s.Tenants, func(t *model.Tenant) string { return t.Name }),
	)
}

func filed[T any](what string, m map[string]*T, id func(*T) string) error {
	for k, v := range m {
		if id(v) != k {
			return fmt.Errorf("%s %s is filed under %s", what, id(v), k)
		}
	}
	return nil
}

func checkEndpoint(s *model.Snapshot, e *model.Endpoint) error {
	if e == nil {
		return nil
	}
	if s.Containers[e.ContainerID] == nil {
		return fmt.Errorf("endpoint %s belongs to container %s, which does not exist", e.ID, e.ContainerID)
	}
	if s.Networks[e.NetworkID] == nil {
		return fmt.Errorf("endpoint %s belongs to network %s, which does not exist", e.ID, e.NetworkID)
	}
	if c, n := s.Containers[e.ContainerID], s.Networks[e.NetworkID]; c.Tenant != n.Tenant {
		return errs.New(errs.Invalid, "container %s can't be on network %s: they belong to different tenants", c.FullName(), n.FullName())
	}
	return nil
}

func checkLink(s *model.Snapshot, l *model.Link) error {
	if l == nil {
		return nil
	}
	if s.Containers[l.ContainerID] == nil {
		return fmt.Errorf("link %s is of container %s, which does not exist", l.ID, l.ContainerID)
	}
	switch {
	case l.TargetID != "" && s.Containers[l.TargetID] == nil:
		return fmt.Errorf("link %s leads to container %s, which does not exist", l.ID, l.TargetID)
	case (l.TargetID == "") == (l.TargetName == ""):
		return fmt.Errorf("link %s has to have a target or to wait for a name, not both", l.ID)
	}
	if l.NetworkID != "" && s.Networks[l.NetworkID] == nil {
		return fmt.Errorf("link %s goes over network %s, which does not exist", l.ID, l.NetworkID)
	}
	if c, target := s.Containers[l.ContainerID], s.Containers[l.TargetID]; target != nil && c.Tenant != target.Tenant {
		return errs.New(errs.Invalid, "container %s can't be linked to container %s: they belong to different tenants", c.FullName(), target.FullName())
	}
	return nil
}

// checkNetworkGone: a deleted network has left nothing behind.
func checkNetworkGone(s *model.Snapshot, id string) error {
	if s.Networks[id] != nil {
		return nil
	}
	for _, e := range s.ByNetwork[id] {
		return checkEndpoint(s, e)
	}
	for _, l := range s.Links {
		if l.NetworkID == id {
			return checkLink(s, l)
		}
	}
	return nil
}

// checkContainerGone: a deleted container has left nothing behind.
func checkContainerGone(s *model.Snapshot, id string) error {
	if s.Containers[id] != nil {
		return nil
	}
	for _, e := range s.ByContainer[id] {
		return checkEndpoint(s, e)
	}
	for _, l := range s.Links {
		if l.ContainerID == id || l.TargetID == id {
			return checkLink(s, l)
		}
	}
	return nil
}

func checkAddresses(s *model.Snapshot) error {
	type place struct {
		network string
		addr    netip.Addr
	}
	held := map[place]string{}
	for id, e := range s.Endpoints {
		for _, p := range []netip.Prefix{e.IPv4, e.IPv6} {
			if !p.IsValid() {
				continue
			}
			at := place{e.NetworkID, p.Addr()}
			if other, ok := held[at]; ok {
				return fmt.Errorf("endpoints %s and %s both have %s in network %s", other, id, p.Addr(), e.NetworkID)
			}
			held[at] = id
		}
	}
	return nil
}

// checkUnique: no name and no host port is held twice.
func checkUnique(s *model.Snapshot) error {
	names, networks, ports := map[string]string{}, map[string]string{}, map[model.PortKey]string{}
	for id, c := range s.Containers {
		if other, ok := names[c.FullName()]; ok {
			return fmt.Errorf("containers %s and %s are both called %s", other, id, c.FullName())
		}
		names[c.FullName()] = id
		for _, m := range c.Ports {
			if other, ok := ports[m.Key()]; ok {
				return fmt.Errorf("containers %s and %s both hold %v", other, id, m.Key())
			}
			ports[m.Key()] = id
		}
	}
	for id, n := range s.Networks {
		if other, ok := networks[n.FullName()]; ok {
			return fmt.Errorf("networks %s and %s are both called %s", other, id, n.FullName())
		}
		networks[n.FullName()] = id
	}
	return nil
}

// checkIndexes compares the indexes with rebuilt ones.
func checkIndexes(s *model.Snapshot) error {
	want := *s
	Rebuild(&want)
	switch {
	case !maps.Equal(s.ContainerNames, want.ContainerNames):
		return errors.New("the index of container names differs from the containers")
	case !maps.Equal(s.NetworkNames, want.NetworkNames):
		return errors.New("the index of network names differs from the networks")
	case !maps.Equal(s.Ports, want.Ports):
		return errors.New("the index of host ports differs from the containers")
	case !maps.Equal(s.FIPNames, want.FIPNames) || !maps.Equal(s.FIPOf, want.FIPOf):
		return errors.New("the indexes of floating IPs differ from the floating IPs")
	case !maps.Equal(s.GroupNames, want.GroupNames):
		return errors.New("the index of security groups' names differs from the groups")
	case !reflect.DeepEqual(s.ByContainer, want.ByContainer):
		return errors.New("the index of endpoints by container differs from the endpoints")
	case !reflect.DeepEqual(s.ByNetwork, want.ByNetwork):
		return errors.New("the index of endpoints by network differs from the endpoints")
	case !reflect.DeepEqual(s.LinksOf, want.LinksOf):
		return errors.New("the index of links by container differs from the links")
	}
	return nil
}
