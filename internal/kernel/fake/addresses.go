package fake

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// EnsureAddress puts an address on a link of others', and announces it.
func (l *Links) EnsureAddress(_ context.Context, a desired.DeviceAddress) error {
	h := l.h
	full := netip.PrefixFrom(a.Addr, a.Addr.BitLen()).String()
	there := false
	err := h.look(func() error {
		k := h.links[a.Device]
		if k == nil {
			return fmt.Errorf("%s: %w", a.Device, enodev)
		}
		there = k.marked[a.Addr.String()]
		if k.addrs[full] {
			return errs.New(errs.Conflict, "%s has %s, which is not ours", a.Device, a.Addr)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !there {
		err = h.do("mark "+a.Device+" "+a.Addr.String(), func() error {
			k := h.links[a.Device]
			if k == nil {
				return enodev
			}
			if k.marked == nil {
				k.marked = map[string]bool{}
			}
			k.marked[a.Addr.String()] = true
			return nil
		})
	}
	if err != nil {
		return err
	}
	return h.sure("announce "+a.Addr.String()+" on "+a.Device, func() {})
}

// DeleteAddress takes an address of ours off a link of others'.
func (l *Links) DeleteAddress(_ context.Context, a desired.DeviceAddress) error {
	h, there := l.h, false
	err := h.look(func() error {
		k := h.links[a.Device]
		there = k != nil && k.marked[a.Addr.String()]
		return nil
	})
	if err != nil || !there {
		return err
	}
	return h.do("unmark "+a.Device+" "+a.Addr.String(), func() error {
		if k := h.links[a.Device]; k != nil {
			delete(k.marked, a.Addr.String())
		}
		return nil
	})
}

// DropMarked takes an address of ours off a link, as another program would.
func (h *Host) DropMarked(a desired.DeviceAddress) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.links[a.Device].marked, a.Addr.String())
	signal(h.linksWatch)
}
