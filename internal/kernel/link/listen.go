//go:build linux

package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/netns"
)

// Listen opens UDP and TCP sockets at addr inside the container's namespace.
// They live until closed, whatever becomes of the namespace.
func (h *Host) Listen(ctx context.Context, container string, addr netip.AddrPort) (net.PacketConn, net.Listener, error) {
	var udp net.PacketConn
	var tcp net.Listener
	err := netns.Do(h.dir.Path(container), func() (err error) {
		lc := net.ListenConfig{}
		lc.SetMultipathTCP(false)
		if udp, err = lc.ListenPacket(ctx, "udp", addr.String()); err != nil {
			return err
		}
		if tcp, err = lc.Listen(ctx, "tcp", addr.String()); err != nil {
			udp.Close()
		}
		return err
	})
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, nil, errs.New(errs.Conflict,
			"container %s: a program of its own already serves %s, where the resolver belongs: %w", short(container), addr, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("container %s: listen at %s: %w", short(container), addr, err)
	}
	return udp, tcp, nil
}
