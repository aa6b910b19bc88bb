package engine

import (
	"context"
	"fmt"
	"maps"
	"net/netip"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// fipAuto asks for a floating IP of any pool.
const fipAuto = "auto"

// newFIP is the floating IP that a container is created with.
type newFIP struct {
	ref        string
	exposeOnly bool
	used       map[netip.Addr]string
	fip        *model.FloatingIP // as stored
}

// prepareFIP looks at what of the host a floating IP needs; nil: none is asked for.
func (e *Engine) prepareFIP(ctx context.Context, o options) (*newFIP, error) {
	if o.fip == "" {
		return nil, nil
	}
	used, err := e.host.Addresses(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the host's addresses: %w", err)
	}
	n := &newFIP{ref: o.fip, exposeOnly: o.exposeOnly, used: used}
	if s := e.store.Snapshot(); o.fip != fipAuto {
		f, err := findFIP(s, o.fip)
		if err != nil { // Docker's clients take what is not found for the image
			return nil, errs.Wrap(errs.Invalid, err)
		}
		if err := e.host.Device(ctx, s.FIPPools[f.Pool.String()].Device); err != nil {
			return nil, fmt.Errorf("can't attach floating IP %s: %w", f.Address, err)
		}
	}
	return n, nil
}

// put attaches it in the transaction that creates the container.
func (n *newFIP) put(tx *store.Tx, c *model.Container) error {
	m := move{ref: n.ref, container: c.ID, exposeOnly: n.exposeOnly, used: n.used}
	if n.ref == fipAuto {
		if !hasBridge(tx.Snapshot(), c) {
			return errs.New(errs.Invalid, "conflicting options: --fip and the network mode %s: a floating IP needs a bridge network", c.Host.NetworkMode)
		}
		if err := tx.FIPsLeft(1); err != nil {
			return err
		}
		free, err := n.free(tx, c)
		if err != nil {
			return err
		}
		m.ref = free.ID()
		if err := tx.PutFIP(free); err != nil {
			return err
		}
	}
	if err := m.run(tx); errs.Is(err, errs.NotFound) {
		return errs.Wrap(errs.Invalid, err)
	} else if err != nil {
		return err
	}
	if n.fip = m.fip; n.ref == fipAuto {
		auto := *m.fip
		auto.Auto = true
		n.fip = &auto
		return tx.PutFIP(&auto)
	}
	return nil
}

// free picks an address of a family that the container has one of.
func (n *newFIP) free(tx *store.Tx, c *model.Container) (*model.FloatingIP, error) {
	from := *tx.All()
	if !hasFamily(tx.Snapshot(), c, true) {
		from.FIPPools = maps.Clone(from.FIPPools)
		maps.DeleteFunc(from.FIPPools, func(_ string, p *model.FIPPool) bool { return p.Prefix.Addr().Is6() })
	}
	free, err := freeFIPs(&from, n.used, 1)
	switch {
	case err == nil:
		return free[0], nil
	case len(from.FIPPools) < len(tx.All().FIPPools):
		return nil, errs.New(errs.Unavailable, "no free floating IP of IPv4, and container %s has no IPv6: release one, add a pool of IPv4, or put the container on a network made with --ipv6", c.Name)
	}
	return nil, err
}

// tell records the events.
func (n *newFIP) tell(e *Engine, c *model.Container) {
	if n == nil {
		return
	}
	if n.ref == fipAuto {
		e.fipEvent(n.fip, "allocate")
	}
	e.fipEvent(n.fip, "attach", "container", c.ID)
}
