//go:build linux

// Package dhcp asks DHCP servers for a container's interface (RFC 2131): from
// inside its network namespace, and without a program in the container. When to
// ask, renew and release is its caller's affair.
package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/netns"
	"github.com/jackstay/jackstay/internal/model"
)

const (
	answerWithin = time.Second // one message's answer
	tries        = 3           // of one message
	defaultLease = time.Hour   // where a server names no time
)

// Client is stateless: everything a lease needs is in the lease.
type Client struct{}

// Acquire gets an address for the interface of that name in the namespace at
// nsPath. With last, a lease of before, the same address is asked for.
func (Client) Acquire(ctx context.Context, nsPath, name, host string, last *model.DHCPLease) (*model.DHCPLease, error) {
	conn, mac, err := broadcast(nsPath, name)
	if err != nil {
		return nil, err
	}
	c, err := client(conn, mac)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	options := []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptHostName(host)), asking()}
	discover := options
	if last != nil && last.Address.IsValid() {
		discover = append(discover, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(last.Address.Addr().AsSlice())))
	}
	offer, err := c.DiscoverOffer(ctx, discover...)
	if err != nil {
		return nil, noAnswer(name, err)
	}
	l, err := c.RequestFromOffer(ctx, offer, options...)
	if err != nil {
		return nil, noAnswer(name, err)
	}
	return leaseOf(l)
}

// broadcast4 tells whether an address is its subnet's own or its broadcast address.
func broadcast4(subnet netip.Prefix, a netip.Addr) bool {
	if subnet.Bits() >= 31 || !a.Is4() || !subnet.Masked().Contains(a) {
		return false
	}
	next := netip.PrefixFrom(a.Next(), subnet.Bits())
	return a == subnet.Masked().Addr() || !next.IsValid() || next.Masked() != subnet.Masked()
}

// asking names what a lease is to tell, classless routes before routers (RFC 3442).
func asking() dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptParameterRequestList(dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter))
}

// Renew asks the lease's server, or with rebind any, for more time. errs.Conflict
// means that the address is to be given up at once.
func (Client) Renew(ctx context.Context, nsPath, name string, l *model.DHCPLease, rebind bool) (*model.DHCPLease, error) {
	ack, err := dhcpv4.FromBytes(l.Offer)
	if err != nil {
		return nil, errs.New(errs.Conflict, "the lease of %s can't be read: %w", name, err)
	}
	conn, mac, err := broadcast(nsPath, name)
	var to []nclient4.ClientOpt
	if err == nil && !rebind {
		conn.Close()
		conn, err = unicast(nsPath, name, l.Address.Addr())
		to = append(to, nclient4.WithServerAddr(server(l)))
	}
	if err != nil {
		return nil, err
	}
	c, err := client(conn, mac, to...)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	next, err := c.Renew(ctx, &nclient4.Lease{Offer: ack, ACK: ack}, asking())
	if nak := (*nclient4.ErrNak)(nil); errors.As(err, &nak) {
		return nil, errs.New(errs.Conflict, "the DHCP server %s does not extend the lease of %s: %w", l.Server, l.Address.Addr(), err)
	}
	if err != nil {
		return nil, noAnswer(name, err)
	}
	return leaseOf(next)
}

// Release gives the address back to its server. Nobody answers.
func (Client) Release(nsPath, name string, l *model.DHCPLease) error {
	ack, err := dhcpv4.FromBytes(l.Offer)
	if err != nil {
		return fmt.Errorf("the lease of %s can't be read: %w", name, err)
	}
	conn, err := unicast(nsPath, name, l.Address.Addr())
	if err != nil {
		return err
	}
	defer conn.Close()
	release, err := dhcpv4.NewReleaseFromACK(ack)
	if err != nil {
		return fmt.Errorf("release %s: %w", l.Address.Addr(), err)
	}
	_, err = conn.WriteTo(release.ToBytes(), server(l))
	return err
}

func server(l *model.DHCPLease) *net.UDPAddr {
	return &net.UDPAddr{IP: l.Server.AsSlice(), Port: nclient4.ServerPort}
}

func client(conn net.PacketConn, mac net.HardwareAddr, o ...nclient4.ClientOpt) (*nclient4.Client, error) {
	c, err := nclient4.NewWithConn(conn, mac, append(o, nclient4.WithTimeout(answerWithin), nclient4.WithRetry(tries))...)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("DHCP: %w", err)
	}
	return c, nil
}

// broadcast opens a socket that needs no address of the interface.
func broadcast(nsPath, name string) (conn net.PacketConn, mac net.HardwareAddr, err error) {
	err = netns.Do(nsPath, func() error {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		mac = i.HardwareAddr
		conn, err = nclient4.NewRawUDPConn(name, nclient4.ClientPort)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("DHCP on %s: %w", name, err)
	}
	return conn, mac, nil
}

// unicast opens a socket at the leased address.
func unicast(nsPath, name string, addr netip.Addr) (conn net.PacketConn, err error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) {
			set = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.BindToDevice(int(fd), name))
		})
		return errors.Join(err, set)
	}}
	err = netns.Do(nsPath, func() (err error) {
		conn, err = lc.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(addr, nclient4.ClientPort).String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("DHCP on %s from %s: %w", name, addr, err)
	}
	return conn, nil
}

func noAnswer(name string, err error) error {
	if errors.Is(err, nclient4.ErrNoResponse) || errors.Is(err, context.DeadlineExceeded) {
		return errs.New(errs.Unavailable, "no DHCP server answers on %s: is there one on that network?", name)
	}
	return errs.New(errs.Unavailable, "DHCP on %s: %w", name, err)
}

// leaseOf reads an acknowledgement. The times default as RFC 2131 §4.4.5 says.
func leaseOf(l *nclient4.Lease) (*model.DHCPLease, error) {
	ack := l.ACK
	addr, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	bits, _ := ack.SubnetMask().Size()
	if !ok || addr.IsUnspecified() || bits == 0 {
		return nil, errs.New(errs.Unavailable, "the DHCP server gives no address with a subnet mask: %s", ack.Summary())
	}
	d := ack.IPAddressLeaseTime(defaultLease)
	out := &model.DHCPLease{
		Address: netip.PrefixFrom(addr, bits), Offer: ack.ToBytes(), Held: true,
		Renew:   l.CreationTime.Add(ack.IPAddressRenewalTime(d / 2)),
		Rebind:  l.CreationTime.Add(ack.IPAddressRebindingTime(d * 7 / 8)),
		Expires: l.CreationTime.Add(d),
	}
	out.Server, _ = netip.AddrFromSlice(ack.ServerIdentifier().To4())
	setRoutes(out, ack)
	return out, nil
}

// setRoutes reads the ways out of an acknowledgement. Where there are classless
// routes, the router does not count (RFC 3442: "the DHCP client MUST ignore the
// Router option"): the default route is among them, or there is none. What leads
// through a router that is no neighbour is left out.
func setRoutes(l *model.DHCPLease, ack *dhcpv4.DHCPv4) {
	routes := ack.ClasslessStaticRoute()
	var gateways []netip.Addr
	var through []model.LeasedRoute
	for _, r := range routes {
		bits, _ := r.Dest.Mask.Size()
		dst, _ := netip.AddrFromSlice(r.Dest.IP.To4())
		via, _ := netip.AddrFromSlice(r.Router.To4())
		switch p := netip.PrefixFrom(dst, bits).Masked(); {
		case via.IsUnspecified() && bits > 0:
			l.Routes = append(l.Routes, model.LeasedRoute{Dst: p})
		case bits == 0:
			gateways = append(gateways, via)
		default:
			through = append(through, model.LeasedRoute{Dst: p, Via: via})
		}
	}
	if len(routes) == 0 {
		for _, r := range ack.Router() {
			via, _ := netip.AddrFromSlice(r.To4())
			gateways = append(gateways, via)
		}
	}
	usable := func(a netip.Addr) bool {
		return a.IsValid() && a != l.Address.Addr() && l.Neighbour(a) && !broadcast4(l.Address, a)
	}
	for _, r := range through {
		if usable(r.Via) {
			l.Routes = append(l.Routes, r)
		}
	}
	for _, a := range gateways {
		if usable(a) {
			l.Gateway = a
			break
		}
	}
}
