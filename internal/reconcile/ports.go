package reconcile

import (
	"context"
	"net"
	"net/netip"

	"github.com/jackstay/jackstay/internal/desired"
)

// Links is the host's links and namespaces, as kernel/link and kernel/fake
// give them. Every call is idempotent; deleting what is absent succeeds; only
// what carries our alias is ever listed or deleted.
type Links interface {
	// Observe lists what is ours on the host: bridges, host ends, namespaces.
	Observe(ctx context.Context) (desired.Observed, error)
	// ObserveSandbox looks into a namespace: what of the wanted sandbox is
	// missing or different. Interfaces it does not know are left alone.
	ObserveSandbox(ctx context.Context, want *desired.Sandbox) (intact bool, err error)

	// EnsureBridge makes the bridge or corrects it: up, MAC, MTU, exactly these
	// addresses, sysctls. A link of that name that is not ours is errs.Conflict.
	EnsureBridge(ctx context.Context, b *desired.Bridge) error
	DeleteBridge(ctx context.Context, name string) error

	// EnsureNamespace makes the namespace with lo up and gives its path.
	EnsureNamespace(ctx context.Context, container string) (path string, err error)
	// DeleteNamespace unmounts and removes it; links inside go with it.
	DeleteNamespace(ctx context.Context, container string) error
	// EnsureSandbox makes the namespace's inside as wanted: missing veth pairs,
	// addresses, MACs, MTUs, routes, sysctls. Interfaces of ours that are not
	// wanted any more are deleted through DeleteHostEnd.
	EnsureSandbox(ctx context.Context, s *desired.Sandbox) error
	// DeleteHostEnd deletes a veth pair by its host end.
	DeleteHostEnd(ctx context.Context, name string) error

	// EnsureAddress puts an address on a device of the host's, marked as ours, if
	// it is not there, and announces it to the device's network. One that is
	// there without our mark is errs.Conflict; the device and all else on it
	// stay as they are.
	EnsureAddress(ctx context.Context, a desired.DeviceAddress) error
	// DeleteAddress takes it off, if it carries our mark.
	DeleteAddress(ctx context.Context, a desired.DeviceAddress) error

	// Listen opens UDP and TCP sockets at addr inside the container's
	// namespace. They live until closed, whatever becomes of the namespace.
	Listen(ctx context.Context, container string, addr netip.AddrPort) (net.PacketConn, net.Listener, error)

	// Watch signals, coalesced, that a link or address of ours was changed or
	// deleted on the host, by anybody. It ends with ctx.
	Watch(ctx context.Context) (<-chan struct{}, error)
}

// Firewall is `table inet jackstay`.
type Firewall interface {
	// Observe reads the elements; intact says that the rules are the ones Load
	// would load.
	Observe(ctx context.Context) (fw desired.Firewall, intact bool, err error)
	// Load replaces table and elements in one transaction.
	Load(ctx context.Context, fw desired.Firewall) error
	// Update deletes and adds elements in one transaction (a changed value is
	// in both), and ends the tracked flows that what was deleted or changed had
	// redirected.
	Update(ctx context.Context, add, del desired.Firewall) error
	// Watch signals, coalesced, that somebody else changed the ruleset.
	Watch(ctx context.Context) (<-chan struct{}, error)
}

// Ports holds host ports so that no other program takes them.
type Ports interface {
	// Claim holds the port; one that another program has is errs.Conflict with
	// Docker's words: … bind: address already in use.
	Claim(c desired.Claim) error
	Release(c desired.Claim)
}

// Files writes the engine's files in place.
type Files interface {
	// Ensure gives the file this content, keeping its inode; missing parents
	// are made. Content that it was given before is not written again: what the
	// container made of it since is the container's affair.
	Ensure(f desired.File) error
}

// Resolver answers names; dns.Server.
type Resolver interface {
	SetZones(z *desired.Zones)
	// Serve takes over a container's sockets until Stop.
	Serve(container string, udp net.PacketConn, tcp net.Listener)
	Stop(container string)
}
