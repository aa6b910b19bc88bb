package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

const (
	// waitAgain is when a wait for an interface looks again at the latest.
	waitAgain = time.Second
	// unknownWithin is how long one is waited for that nobody has asked for, unless
	// the caller says how long: it may be added in a moment, or its name be wrong.
	unknownWithin = time.Minute
)

// WaitNIC returns when a container runs and has the interface, up and with its
// address; without a name eth1, as pipework. After the time within it fails with
// what is missing: 0 waits without end, and negative too, but not for an
// interface that nobody asks for within a minute.
func (e *Engine) WaitNIC(ctx context.Context, ref, name string, within time.Duration) error {
	if name == "" {
		name = "eth1"
	}
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	if err := hasOwnNetwork(e.store.Snapshot(), c); err != nil {
		return err
	}
	began := e.clock.Now()
	unknownSince := began
	for {
		changed := e.store.Changed()
		s := e.store.Snapshot()
		now := s.Containers[c.ID]
		if now == nil {
			return errs.New(errs.NotFound, "container %s was removed before its interface %s was there", c.Name, name)
		}
		next := waitAgain
		left := func(since time.Time, d time.Duration) { next = min(next, max(0, d-e.clock.Now().Sub(since))) }
		v, unknown := findNIC(s, c.ID, name)
		switch {
		case within > 0:
			left(began, within)
		case within < 0 && unknown != nil:
			left(unknownSince, unknownWithin)
		}
		if unknown == nil {
			unknownSince = e.clock.Now()
		}
		missing := unknown
		if missing == nil {
			if missing = e.nicMissing(ctx, s, now, v, next); missing == nil {
				return nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case next > 0:
		case unknown != nil:
			return fmt.Errorf("nobody has asked for it yet (jackstay nic add; wait longer with --timeout): %w", missing)
		default:
			return fmt.Errorf("it is not there within %s: %w", within, missing)
		}
		if err := e.changedOr(ctx, changed, next); err != nil {
			return err
		}
	}
}

// nicMissing says why a container's interface is not there yet; nil: it is.
func (e *Engine) nicMissing(ctx context.Context, s *model.Snapshot, c *model.Container, v *model.NICView, within time.Duration) error {
	switch {
	case !c.Active:
		return errs.New(errs.Conflict, "container %s does not run", c.Name)
	case v.NIC.DHCP && len(v.NIC.Addrs) == 0:
		return errs.New(errs.Unavailable, "interface %s of container %s has no lease yet", v.NIC.Name, c.Name)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer e.clock.AfterFunc(within, cancel)()
	switch err := e.network.Wait(ctx, c.ID, s.Revision); {
	case errors.Is(err, context.Canceled):
		return errs.New(errs.Unavailable, "interface %s of container %s is not up yet", v.NIC.Name, c.Name)
	case err != nil:
		return fmt.Errorf("interface %s of container %s is not up yet: %w", v.NIC.Name, c.Name, err)
	}
	return nil
}

// changedOr returns when the store changes, or after some time: what failed may
// come right without a change of it.
func (e *Engine) changedOr(ctx context.Context, changed <-chan struct{}, d time.Duration) error {
	late := make(chan struct{})
	stop := e.clock.AfterFunc(d, func() { close(late) })
	defer stop()
	select {
	case <-changed:
	case <-late:
	case <-ctx.Done():
		return ctx.Err()
	case <-e.ctx.Done():
		return errs.New(errs.Unavailable, "the daemon is stopping")
	}
	return nil
}
