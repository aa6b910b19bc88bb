package engine

import (
	"context"
	"net/netip"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// AddFIPPool gives Jackstay a prefix to allocate floating IPs from, whose
// network is behind a device of the host's.
func (e *Engine) AddFIPPool(ctx context.Context, cidr, device string) (*model.FIPPool, error) {
	if err := e.administrators("fip pool add"); err != nil {
		return nil, err
	}
	p, err := fipPrefix(cidr)
	if err != nil {
		return nil, err
	}
	if device == "" {
		return nil, errs.New(errs.Invalid, "pool %s: the device is missing: give the one behind which clients are, e.g. --dev eth0", p)
	}
	if err := e.host.Device(ctx, device); err != nil {
		return nil, err
	}
	pool := &model.FIPPool{Prefix: p, Device: device}
	_, err = e.store.Update(func(tx *store.Tx) error {
		s := tx.Snapshot()
		if s.FIPPools[pool.ID()] != nil {
			return errs.New(errs.Conflict, "there is a pool %s already", p)
		}
		for _, n := range s.Networks {
			for _, sub := range n.Subnets {
				if sub.Prefix.Overlaps(p) {
					return errs.New(errs.Conflict, "pool %s overlaps with network %s, which has %s", p, n.Name, sub.Prefix)
				}
			}
		}
		put := *pool
		return tx.PutFIPPool(&put)
	})
	if err != nil {
		return nil, err
	}
	return pool, nil
}

// fipPrefix reads a pool's prefix.
func fipPrefix(cidr string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		if a, addrErr := netip.ParseAddr(cidr); addrErr == nil {
			return p, errs.New(errs.Invalid, "pool %q has no length: for this one address give %s/%d", cidr, a, a.BitLen())
		}
		return p, errs.New(errs.Invalid, "pool %q is not a prefix such as 203.0.113.16/28", cidr)
	}
	a := p.Addr()
	switch {
	case a.Is4In6():
		return p, errs.New(errs.Invalid, "pool %s: write it as IPv4", p)
	case p != p.Masked():
		return p, errs.New(errs.Invalid, "pool %s has bits beyond its length: did you mean %s?", p, p.Masked())
	case p.Bits() < 8 || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.IsUnspecified():
		return p, errs.New(errs.Invalid, "pool %s can't be addresses of containers", p)
	}
	return p, nil
}

// RemoveFIPPool takes a pool away that no floating IP is allocated from.
func (e *Engine) RemoveFIPPool(_ context.Context, cidr string) error {
	if err := e.administrators("fip pool rm"); err != nil {
		return err
	}
	p, err := fipPrefix(cidr)
	if err != nil {
		return err
	}
	_, err = e.store.Update(func(tx *store.Tx) error {
		s, n := tx.Snapshot(), 0
		if s.FIPPools[p.String()] == nil {
			return noSuchPool(p)
		}
		for _, f := range s.FIPs {
			if f.Pool == p {
				n++
			}
		}
		if n > 0 {
			return errs.New(errs.Conflict, "pool %s has %d floating IPs allocated: release them first", p, n)
		}
		tx.DeleteFIPPool(p.String())
		return nil
	})
	return err
}

// fipPrefixes are the pools' prefixes: networks' subnets keep off them.
func fipPrefixes(s *model.Snapshot) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s.FIPPools {
		out = append(out, p.Prefix)
	}
	return out
}
