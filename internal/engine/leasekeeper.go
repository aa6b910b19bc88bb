package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

const (
	firstLeaseWithin = 10 * time.Second
	leaseRetryMin    = time.Second // between attempts that fail; doubled each time
	leaseRetryMax    = time.Minute
)

// keepers are the leases being kept: one goroutine each, as long as the NIC's
// container is active and the daemon runs.
type keepers struct {
	mu sync.Mutex
	m  map[string]*keeper // by the NIC's ID
}

type keeper struct {
	cancel context.CancelFunc
	ended  chan struct{}
	first  chan error // the first attempt's outcome, one slot

	anew atomic.Bool   // its interface may be on another network than when the lease was got
	wake chan struct{} // ends its wait, one slot
}

// keepLeases keeps the leases of an active container's NICs. anew says that its
// interfaces may be on another network than when the leases were got.
func (e *Engine) keepLeases(id string, anew bool) {
	c := e.store.Snapshot().Containers[id]
	if c == nil || !c.Active {
		return
	}
	for _, n := range c.NICs {
		if n.DHCP {
			e.keepLease(id, n.ID, anew)
		}
	}
}

func (e *Engine) keepLease(container, nic string, anew bool) *keeper {
	e.keepers.mu.Lock()
	defer e.keepers.mu.Unlock()
	if k := e.keepers.m[nic]; k != nil {
		if anew {
			k.anew.Store(true)
			select {
			case k.wake <- struct{}{}:
			default:
			}
		}
		return k
	}
	ctx, cancel := context.WithCancel(e.ctx)
	k := &keeper{cancel: cancel, ended: make(chan struct{}), first: make(chan error, 1), wake: make(chan struct{}, 1)}
	k.anew.Store(anew)
	e.keepers.m[nic] = k
	begun := e.goWork(func() {
		defer func() {
			e.keepers.mu.Lock()
			delete(e.keepers.m, nic)
			e.keepers.mu.Unlock()
			close(k.ended)
			cancel()
		}()
		e.keep(ctx, k, container, nic)
	})
	if !begun { // the daemon is stopping
		delete(e.keepers.m, nic)
		close(k.ended)
		cancel()
	}
	return k
}

// firstLease gets a NIC's first lease.
func (e *Engine) firstLease(ctx context.Context, container, nic string) error {
	k := e.keepLease(container, nic, false)
	ctx, cancel := context.WithTimeout(ctx, firstLeaseWithin)
	defer cancel()
	select {
	case err := <-k.first:
		if err == nil {
			err = e.network.Wait(ctx, container, e.store.Snapshot().Revision)
		}
		if err != nil {
			e.stopKeeping(nic)
		}
		return err
	case <-k.ended:
		return errs.New(errs.Conflict, "the container has stopped")
	case <-ctx.Done():
		e.stopKeeping(nic)
		return errs.New(errs.Unavailable, "no DHCP server answers: is there one on that network?")
	}
}

// keep gets the lease and renews it until ctx ends or the NIC is not wanted.
func (e *Engine) keep(ctx context.Context, k *keeper, container, nic string) {
	delay := leaseRetryMin
	for ctx.Err() == nil {
		c, n := e.leasedNIC(container, nic)
		if n == nil {
			return
		}
		if l := n.Lease; l != nil && l.Held && !k.anew.Load() {
			if wait := l.Renew.Sub(e.clock.Now()); wait > 0 {
				tell(k.first, nil)
				if !e.pause(ctx, wait, k.wake) {
					return
				}
				continue // it may be another by now
			}
		}
		anew := k.anew.Swap(false)
		l, err := e.askForLease(ctx, c, n, anew)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			delay = leaseRetryMin
			err = e.setLease(container, nic, l)
		} else if anew {
			k.anew.Store(true)
		}
		tell(k.first, err)
		if err != nil {
			e.log.Warn("no DHCP lease, trying again", "container", container, "nic", n.Name, "error", err, "in", delay)
			if !e.pause(ctx, delay, k.wake) {
				return
			}
			delay = min(2*delay, leaseRetryMax)
		}
	}
}

func tell(ch chan error, err error) {
	select {
	case ch <- err:
	default:
	}
}

// pause waits by the engine's clock, until it is woken; false: ctx ended first.
func (e *Engine) pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	late := make(chan struct{})
	stop := e.clock.AfterFunc(d, func() { close(late) })
	defer stop()
	select {
	case <-late:
		return true
	case <-wake:
		return true
	case <-ctx.Done():
		return false
	}
}

// leasedNIC gives the NIC of an active container, nil if it is not wanted.
func (e *Engine) leasedNIC(container, nic string) (*model.Container, *model.NIC) {
	c := e.store.Snapshot().Containers[container]
	if c == nil || !c.Active {
		return nil, nil
	}
	if i := slices.IndexFunc(c.NICs, func(n model.NIC) bool { return n.ID == nic }); i >= 0 {
		return c, &c.NICs[i]
	}
	return nil, nil
}

// askForLease renews what is held, and else asks anew. A lease that is over, or
// refused, is given up first. With anew any server may confirm what is held: its
// own may not be on this network; where none does, another may give a lease.
func (e *Engine) askForLease(ctx context.Context, c *model.Container, n *model.NIC, anew bool) (*model.DHCPLease, error) {
	ns, l, now := e.netns(c.ID), n.Lease, e.clock.Now()
	if l != nil && l.Held {
		if now.Before(l.Expires) {
			next, err := e.dhcp.Renew(ctx, ns, n.Name, l, anew || !now.Before(l.Rebind))
			switch {
			case err == nil || !anew && !errs.Is(err, errs.Conflict):
				return next, err
			case !errs.Is(err, errs.Conflict): // the address is kept, until it is over
				return e.dhcp.Acquire(ctx, ns, n.Name, hostnameOf(c), l)
			}
		}
		lost := *l
		lost.Held = false
		if err := e.setLease(c.ID, n.ID, &lost); err != nil {
			return nil, err
		}
	}
	return e.dhcp.Acquire(ctx, ns, n.Name, hostnameOf(c), l)
}

func hostnameOf(c *model.Container) string {
	if c.Config.Hostname != "" {
		return c.Config.Hostname
	}
	return c.Name
}

// setLease stores a lease: the plan gives the NIC its address.
func (e *Engine) setLease(container, nic string, l *model.DHCPLease) error {
	_, err := e.softChange(container, func(c *model.Container) error {
		nics := slices.Clone(c.NICs)
		i := slices.IndexFunc(nics, func(n model.NIC) bool { return n.ID == nic })
		if i < 0 {
			return errs.New(errs.NotFound, "the NIC is gone")
		}
		nics[i].Lease, c.NICs = l, nics
		return nil
	})
	if err != nil {
		return fmt.Errorf("note the lease: %w", err)
	}
	return nil
}

// stopKeeping ends the goroutine of a NIC and waits for it.
func (e *Engine) stopKeeping(nic string) {
	e.keepers.mu.Lock()
	k := e.keepers.m[nic]
	e.keepers.mu.Unlock()
	if k != nil {
		k.cancel()
		<-k.ended
	}
}

// releaseLease gives a NIC's lease back while its interface is still there.
func (e *Engine) releaseLease(_ context.Context, container string, n *model.NIC) {
	if !n.DHCP {
		return
	}
	e.stopKeeping(n.ID)
	_, now := e.leasedNIC(container, n.ID)
	if now == nil || now.Lease == nil || !now.Lease.Held {
		return
	}
	if err := e.dhcp.Release(e.netns(container), n.Name, now.Lease); err != nil {
		e.log.Warn("a DHCP lease is not given back, and ends by itself", "container", container, "nic", n.Name, "error", err)
	}
	free := *now.Lease
	free.Held = false
	if err := e.setLease(container, n.ID, &free); err != nil {
		e.log.Warn("a DHCP lease that was given back can't be noted", "container", container, "nic", n.Name, "error", err)
	}
}

// releaseLeases is releaseLease for all of a container that stops.
func (e *Engine) releaseLeases(ctx context.Context, id string) {
	c := e.store.Snapshot().Containers[id]
	if c == nil {
		return
	}
	for i := range c.NICs {
		e.releaseLease(ctx, id, &c.NICs[i])
	}
}
