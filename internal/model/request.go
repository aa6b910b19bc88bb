package model

import (
	"net/netip"
	"time"
)

// CreateRequest asks for a container. Config is the user's own, not yet merged
// with the image's.
type CreateRequest struct {
	Name     string // empty: generated
	Image    string
	Platform string
	Config   Config
	// Cmd and Entrypoint nil mean the image's; EntrypointReset (--entrypoint "") empties it.
	EntrypointReset bool
	Host            HostConfig
	// Endpoints, in order of request: the network of Host.NetworkMode first.
	Endpoints []EndpointRequest
	// MAC is the old container-wide --mac-address, for the first endpoint.
	MAC string
}

// EndpointRequest asks for membership in a network.
type EndpointRequest struct {
	Network    string // name or ID (prefix)
	IPv4, IPv6 netip.Addr
	MAC        string
	Aliases    []string
	Links      []string // NAME:ALIAS
	GwPriority int
	DriverOpts map[string]string
	// Interface names it inside; empty: ethN. The others are as in NICRequest.
	Interface string
	HostName  string
	MTU       int
	Gateways  []netip.Addr
	Routes    []Route
	Extra     bool // another one on a network the container is on already
}

// NetworkRequest asks for a network.
type NetworkRequest struct {
	Name       string
	Driver     string // empty: bridge
	Internal   bool
	Attachable bool
	EnableIPv4 *bool
	EnableIPv6 *bool
	Labels     map[string]string
	Options    map[string]string
	IPAMDriver string
	Subnets    []SubnetRequest
}

// SubnetRequest is one --subnet with what belongs to it, as given.
type SubnetRequest struct {
	Prefix, Range, Gateway string
	Reserved               map[string]string
}

// VolumeRequest asks for a volume.
type VolumeRequest struct {
	Name    string // empty: generated, anonymous
	Driver  string
	Options map[string]string
	Labels  map[string]string
}

// ExecRequest asks for a process in a running container.
type ExecRequest struct {
	Cmd, Env                                []string
	User, WorkingDir, DetachKeys            string
	Tty, Privileged                         bool
	AttachStdin, AttachStdout, AttachStderr bool
	ConsoleSize                             [2]uint
}

// WaitCondition is Docker's condition of `wait`.
type WaitCondition string

// Docker's conditions.
const (
	WaitNotRunning WaitCondition = "not-running"
	WaitNextExit   WaitCondition = "next-exit"
	WaitRemoved    WaitCondition = "removed"
)

// WaitResult is how a container ended.
type WaitResult struct {
	ExitCode int
	Error    string
}

// RemoveOptions are `rm`'s.
type RemoveOptions struct {
	Force   bool
	Volumes bool // anonymous ones too
}

// UpdateRequest changes a container's limits and restart policy; nil leaves as is.
type UpdateRequest struct {
	Resources     Resources // zero fields leave as is
	RestartPolicy *RestartPolicy
	// RateIn and RateOut are limits as --net-rate-in takes them:
	// RATE, NETWORK=RATE, or several with commas.
	RateIn, RateOut string
}

// Event is something that happened, in Docker's words.
type Event struct {
	Type   string // container, network, volume, image, daemon, fip, tenant
	Action string
	ID     string
	// Attributes are name, image, exitCode, container, …
	Attributes map[string]string
	Time       time.Time
	// Tenant is whose business it is; empty: the administrator's.
	Tenant string
}
