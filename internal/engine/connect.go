package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// ConnectNetwork puts a container on a network; a running one gets the
// interface before this returns, or nothing at all.
func (e *Engine) ConnectNetwork(ctx context.Context, ref, container string, r model.EndpointRequest) error {
	n, err := e.FindNetwork(ref)
	if err != nil {
		return err
	}
	c, err := e.FindContainer(container)
	if err != nil {
		return err
	}
	_, unlock := e.lock(c.ID)
	defer unlock()

	r.Network = n.ID
	var ep *model.Endpoint
	snap, err := e.store.Update(func(tx *store.Tx) (err error) {
		s := tx.Snapshot()
		if c = s.Containers[c.ID]; c == nil {
			return noSuchContainer(container)
		}
		if c.State.Status == model.StatusRemoving || c.State.Status == model.StatusDead {
			return errs.New(errs.Conflict, "Container %s is marked for removal and cannot be connected or disconnected to the network", c.ID)
		}
		if endpointOn(s, c.ID, n.ID) != nil {
			return errs.New(errs.Forbidden, "endpoint with name %s already exists in network %s", c.Name, n.Name)
		}
		if ep, err = putEndpoint(tx, c, r); err != nil {
			return err
		}
		return putLinks(tx, c, r)
	})
	if err != nil {
		return err
	}
	f := effect{doing: fmt.Sprintf("connect container %s to network %s", c.Name, n.Name), of: []string{c.ID}}
	err = e.orTakeBack(ctx, snap, f, func(tx *store.Tx) error {
		tx.DeleteEndpoint(ep.ID)
		dropLinksOver(tx, c.ID, n.ID)
		return nil
	})
	if err == nil && c.Active {
		e.networkEvent(n, "connect", "container", c.ID)
	}
	return err
}

// dropLinksOver deletes the container's own links over a network. Links of
// others to it stay: they lead somewhere again when it comes back.
func dropLinksOver(tx *store.Tx, containerID, networkID string) {
	for _, l := range tx.Snapshot().LinksOf[containerID] {
		if l.NetworkID == networkID {
			tx.DeleteLink(l.ID)
		}
	}
}

// DisconnectNetwork takes a container off a network. A stopped container may
// be disconnected from a network that is gone, by its name.
func (e *Engine) DisconnectNetwork(ctx context.Context, ref, container string, force bool) error {
	c, err := e.FindContainer(container)
	if err != nil {
		return err
	}
	_, unlock := e.lock(c.ID)
	defer unlock()
	n, err := e.FindNetwork(ref)
	if err != nil {
		if errs.Is(err, errs.NotFound) && slices.Contains(c.LostNetworks, ref) {
			return e.forgetLost(c.ID, ref)
		}
		return err
	}
	if n.Driver == model.DriverHost && c.Host.NetworkMode == "host" {
		return errs.New(errs.Invalid, wordsFromHost)
	}
	snap, err := e.store.Update(func(tx *store.Tx) error {
		s := tx.Snapshot()
		if c = s.Containers[c.ID]; c == nil {
			return noSuchContainer(container)
		}
		ep := endpointOn(s, c.ID, n.ID)
		if ep == nil {
			return errs.New(errs.Invalid, "container %s is not connected to network %s", c.ID, n.Name)
		}
		if ep.Interface == "" { // host and none have no interface of ours
			return dropEndpointOf(tx, ep)
		}
		return e.dropNIC(tx, c.ID, ep.Interface)
	})
	if err != nil {
		return err
	}
	if c.Active {
		e.networkEvent(n, "disconnect", "container", c.ID)
	}
	return e.orKeep(ctx, snap, effect{doing: fmt.Sprintf("disconnect container %s from network %s", c.Name, n.Name), of: []string{c.ID}})
}

// forgetLost takes a network that is gone off a container's list.
func (e *Engine) forgetLost(id, name string) error {
	return e.change(id, func(c *model.Container) error {
		c.LostNetworks = slices.DeleteFunc(slices.Clone(c.LostNetworks), func(n string) bool { return n == name })
		return nil
	})
}

// change stores a changed copy of a container's record, on disk when it returns.
func (e *Engine) change(id string, f func(c *model.Container) error) error {
	_, err := e.store.Update(changing(id, f))
	return err
}

// softChange is change for what the runtime's files tell again after a crash.
func (e *Engine) softChange(id string, f func(c *model.Container) error) (*model.Snapshot, error) {
	return e.store.Soft(changing(id, f))
}

func changing(id string, f func(c *model.Container) error) func(tx *store.Tx) error {
	return func(tx *store.Tx) error {
		old := tx.Snapshot().Containers[id]
		if old == nil {
			return noSuchContainer(id)
		}
		c := *old
		if err := f(&c); err != nil {
			return err
		}
		return tx.PutContainer(&c)
	}
}
