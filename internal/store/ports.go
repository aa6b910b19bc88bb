package store

import (
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// changedPorts gives the host ports that the old and the new record of a
// container do not begin with alike; either may be nil. A container may have
// thousands, and those that are added come behind them.
func changedPorts(old, c *model.Container) (before, after []model.PortMapping) {
	if old != nil {
		before = old.Ports
	}
	if c != nil {
		after = c.Ports
	}
	for len(before) > 0 && len(after) > 0 && before[0] == after[0] {
		before, after = before[1:], after[1:]
	}
	return before, after
}

// freePorts refuses ports that another container holds or that c holds twice.
// What its old record, which may be nil, begins with was judged before.
func freePorts(s *model.Snapshot, old, c *model.Container) error {
	before, after := changedPorts(old, c)
	if len(after) == 0 {
		return nil
	}
	given := make(map[model.PortKey]struct{}, len(before)) // back
	for _, m := range before {
		given[m.Key()] = struct{}{}
	}
	taken := make(map[model.PortKey]struct{}, len(after))
	for _, m := range after {
		k := m.Key()
		holder, held := s.Ports[k]
		if held && holder != c.ID {
			if s.Containers[holder].Tenant != c.Tenant && c.Tenant != "" {
				holder = "another program"
			} else {
				holder = "container " + holder
			}
			return errs.New(errs.Conflict, "host port %s %d/%s is held by %s", m.HostIP, m.HostPort, m.Port.Proto, holder)
		}
		_, free := given[k]
		_, twice := taken[k]
		if twice || held && !free {
			return errs.New(errs.Conflict, "host port %s %d/%s is held twice by container %s", m.HostIP, m.HostPort, m.Port.Proto, c.ID)
		}
		taken[k] = struct{}{}
	}
	return nil
}

// indexPorts moves Ports from the old record of a container to the new one;
// either may be nil.
func (tx *Tx) indexPorts(id string, old, c *model.Container) {
	before, after := changedPorts(old, c)
	if len(before)+len(after) == 0 {
		return
	}
	ports := mine(tx, ownPorts, &tx.snap.Ports)
	for _, m := range before {
		delete(ports, m.Key())
	}
	for _, m := range after {
		ports[m.Key()] = id
	}
}
