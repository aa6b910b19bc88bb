//go:build linux

package hostinfo

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/link"
	"github.com/jackstay/jackstay/internal/kernel/netns"
)

// Probe tells by name what the kernel lacks for containers' networks. It makes
// one of each kind of link in a namespace that ends at once.
func Probe() error {
	err := netns.Try(func() error {
		nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer nl.Close()
		return errors.Join(
			lacks("bridge", "CONFIG_BRIDGE", nl.LinkAdd(&netlink.Bridge{LinkAttrs: named("probe0")})),
			lacks("veth", "CONFIG_VETH", nl.LinkAdd(&netlink.Veth{LinkAttrs: named("probe1"), PeerName: "probe2"})),
		)
	})
	if errors.Is(err, unix.EPERM) {
		return errs.New(errs.Forbidden, "containers' networks need root (CAP_SYS_ADMIN and CAP_NET_ADMIN): %w", err)
	}
	if err != nil {
		return errs.Wrap(errs.Unavailable, err)
	}
	return nil
}

// CanLimitRates names what the kernel lacks for limiting containers' rates.
func (h *Host) CanLimitRates(ctx context.Context) error {
	if err := ctx.Err(); err != nil || h.limitsRates.Load() {
		return err
	}
	err := netns.Try(link.TryRates)
	h.limitsRates.Store(err == nil)
	return err
}

func named(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

func lacks(module, config string, err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("this kernel can't make a %s link: load the module (modprobe %s) or use a kernel with %s", module, module, config)
	}
	if err != nil {
		return fmt.Errorf("make a %s link: %w", module, err)
	}
	return nil
}
