package api

import (
	"context"
	"time"

	"github.com/jackstay/jackstay/internal/model"
)

// Engine is what the handlers ask of the engine: reads go through the
// immutable snapshot, writes are use cases. Refs are names, IDs or unique ID
// prefixes; an unknown one is errs.NotFound in Docker's words.
type Engine interface {
	Snapshot() *model.Snapshot

	// FindContainer and FindNetwork resolve a ref in the current snapshot.
	FindContainer(ref string) (*model.Container, error)
	FindNetwork(ref string) (*model.Network, error)

	CreateContainer(ctx context.Context, req model.CreateRequest) (id string, warnings []string, err error)
	StartContainer(ctx context.Context, ref string) error
	// StopContainer sends the stop signal (empty: the container's), waits
	// timeout seconds (nil: the container's, or 10; negative: for ever), then kills.
	StopContainer(ctx context.Context, ref, signal string, timeout *int) error
	RestartContainer(ctx context.Context, ref, signal string, timeout *int) error
	KillContainer(ctx context.Context, ref, signal string) error
	PauseContainer(ctx context.Context, ref string) error
	UnpauseContainer(ctx context.Context, ref string) error
	RenameContainer(ctx context.Context, ref, name string) error
	RemoveContainer(ctx context.Context, ref string, o model.RemoveOptions) error
	UpdateContainer(ctx context.Context, ref string, u model.UpdateRequest) (warnings []string, err error)
	// WaitContainer subscribes before it returns, so that an exit between is not
	// missed; the channel delivers once.
	WaitContainer(ctx context.Context, ref string, c model.WaitCondition) (<-chan model.WaitResult, error)
	ResizeContainer(ctx context.Context, ref string, rows, cols uint) error
	// AttachContainer streams until the container ends, the client goes or
	// detaches. ready is called once, when output can't be missed any more: the
	// handler hijacks and answers then. A container not yet started is waited for.
	AttachContainer(ctx context.Context, ref string, s model.Streams, o model.AttachOptions, ready func() error) error
	ContainerLogs(ctx context.Context, ref string, q model.LogQuery, emit func(model.LogLine) error) error
	ContainerTop(ctx context.Context, ref, psArgs string) (titles []string, rows [][]string, err error)
	ContainerChanges(ctx context.Context, ref string) ([]model.Change, error)
	ContainerSize(ctx context.Context, ref string) (rw, rootfs int64, err error)
	ContainerStats(ctx context.Context, ref string) (model.Stats, error)
	PruneContainers(ctx context.Context, keep func(*model.Container) bool) (ids []string, reclaimed int64, err error)

	CreateExec(ctx context.Context, ref string, req model.ExecRequest) (id string, err error)
	FindExec(id string) (model.Exec, error)
	// StartExec runs it to its end or detach; with no streams at all it returns
	// once it has started.
	StartExec(ctx context.Context, id string, s model.Streams, detach bool, ready func() error) error
	ResizeExec(ctx context.Context, id string, rows, cols uint) error
	// Execs lists the exec IDs of a container, for inspect.
	Execs(containerID string) []string

	CreateNetwork(ctx context.Context, req model.NetworkRequest) (id string, warning string, err error)
	RemoveNetwork(ctx context.Context, ref string) error
	ConnectNetwork(ctx context.Context, ref, container string, e model.EndpointRequest) error
	DisconnectNetwork(ctx context.Context, ref, container string, force bool) error
	PruneNetworks(ctx context.Context, keep func(*model.Network) bool) ([]string, error)

	// AddPorts publishes further ports of a container and gives the host ports it
	// got; of a stopped one they are claimed at its start.
	AddPorts(ctx context.Context, ref string, bs []model.PortBinding) ([]model.PortMapping, error)
	RemovePorts(ctx context.Context, ref string, ports []model.PublishedPort) error
	// AddAliases and RemoveAliases change a container's names on a network.
	AddAliases(ctx context.Context, network, ref string, names []string) error
	RemoveAliases(ctx context.Context, network, ref string, names []string) error
	// AddLink links a container to another over any network both are on.
	AddLink(ctx context.Context, ref string, r model.LinkRequest) (*model.Link, error)
	RemoveLink(ctx context.Context, ref, alias string) error
	// Swap moves ports, aliases and incoming links from one to the other.
	Swap(ctx context.Context, oldRef, newRef string) error
	// Overlaps lists the routes of the host that lead where a network is.
	Overlaps(networkID string) []model.Overlap
	// Leases lists a network's addresses that are not free, in order.
	Leases(network string) ([]model.Lease, error)

	// AddNIC gives a container a further interface; RemoveNIC takes any off.
	AddNIC(ctx context.Context, ref string, r model.NICRequest) (*model.NICView, error)
	RemoveNIC(ctx context.Context, ref, name string) error
	// WaitNIC returns once a container runs and has the interface (empty: eth1), or
	// fails after some time; 0: never, negative: as the engine sees fit.
	WaitNIC(ctx context.Context, ref, name string, within time.Duration) error
	// NICs lists the interfaces of a container, or with an empty ref of all.
	NICs(ref string) ([]model.NICView, error)
	// ChangeRoute adds, replaces or dels a route inside a container, ChangeRule
	// adds or dels a rule. Routes and Rules list them in ip(8)'s words.
	ChangeRoute(ctx context.Context, ref, op string, r model.Route) error
	ChangeRule(ctx context.Context, ref, op string, r model.RouteRule) error
	Routes(ref string) ([]string, error)
	Rules(ref string) ([]string, error)
	// TC runs a line of tc(8) inside a container and gives what it prints.
	TC(ctx context.Context, ref string, words []string) (string, error)

	CreateVolume(ctx context.Context, req model.VolumeRequest) (*model.Volume, error)
	RemoveVolume(ctx context.Context, name string, force bool) error
	PruneVolumes(ctx context.Context, all bool, keep func(*model.Volume) bool) (names []string, reclaimed int64, err error)
	VolumeSize(ctx context.Context, name string) (int64, error)

	// AllocateFIPs takes count floating IPs from the pools; refs of floating IPs
	// are addresses or names.
	AllocateFIPs(ctx context.Context, count int, pool string) ([]*model.FloatingIP, error)
	AllocateFIP(ctx context.Context, address string) (*model.FloatingIP, error)
	AttachFIP(ctx context.Context, ref, container string, force, exposeOnly bool) error
	DetachFIP(ctx context.Context, container string) (*model.FloatingIP, error)
	ReleaseFIP(ctx context.Context, ref string) error
	NameFIP(ctx context.Context, ref, name string) error
	AddFIPPool(ctx context.Context, cidr, device string) (*model.FIPPool, error)
	RemoveFIPPool(ctx context.Context, cidr string) error

	// FindSecurityGroup resolves a name or an ID in the current snapshot.
	FindSecurityGroup(ref string) (*model.SecurityGroup, error)
	CreateSecurityGroup(ctx context.Context, req model.SecurityGroupRequest) (*model.SecurityGroup, error)
	UpdateSecurityGroup(ctx context.Context, ref string, ch model.SecurityGroupChange) (*model.SecurityGroup, error)
	RemoveSecurityGroup(ctx context.Context, ref string) error
	AttachSecurityGroups(ctx context.Context, ref string, groups []string) error
	DetachSecurityGroups(ctx context.Context, ref string, groups []string) error

	// Tenants: the administrator's alone. A quota of model.Unlimited is none.
	CreateTenant(ctx context.Context, t model.Tenant) (*model.Tenant, error)
	UpdateTenant(ctx context.Context, name string, u model.TenantUpdate) (*model.Tenant, error)
	RemoveTenant(ctx context.Context, name string, force bool) error
	// TenantSocket is where a tenant's API listens; empty: nowhere.
	TenantSocket(name string) string

	// Events delivers those recorded since since (zero: none), then, unless
	// until is past, live ones until ctx ends or until comes.
	Events(ctx context.Context, since, until time.Time) (<-chan model.Event, error)
	// Emit records an event of another part (images).
	Emit(e model.Event)
	// Info gives counts and facts of the host.
	Info(ctx context.Context) (model.Info, error)
}
