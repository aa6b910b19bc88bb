package engine

import (
	"context"
	"net/netip"
	"time"

	"github.com/jackstay/jackstay/internal/model"
)

// The interfaces the engine needs. Each is implemented by one package below
// and wired in cmd/jackstayd.

// Network is the reconciler as the engine sees it.
type Network interface {
	// Prepare makes the container's network namespace now, if it is not there,
	// together with empty files for what the plan will mount, and gives the
	// namespace's path. It is called after the transaction that made the
	// container active, so the namespace is wanted from the start.
	// A container without a namespace of its own (host, container:ID) gets its
	// files and an empty path.
	Prepare(ctx context.Context, containerID string) (path string, err error)
	// Wait returns when everything of the container's plan at revision rev or
	// later is applied, or with what keeps it from being. A host port that
	// another program holds is errs.Conflict.
	Wait(ctx context.Context, containerID string, rev uint64) error
	// Address tells what keeps a floating IP's address from being on, or off, the
	// host's device as planned; nil: nothing. A container runs without.
	Address(a netip.Addr) error
	// Quiet returns when nothing writes files any more of a container that is not
	// active since revision rev.
	Quiet(ctx context.Context, containerID string, rev uint64) error
	// Resync observes the whole host and repairs it.
	Resync(ctx context.Context) error
}

// Runtime runs processes: runc under conmon.
type Runtime interface {
	// Check refuses options that Create would refuse whatever the container:
	// before there is one.
	Check(h model.HostConfig) error
	// Create makes the OCI bundle, starts conmon and creates the container's
	// process, stopped before its program. It returns the process's id.
	Create(ctx context.Context, spec RunSpec) (pid int, err error)
	// Start lets a created process run. A program that is not there or can't be
	// executed gives *StartError with Docker's exit code.
	Start(ctx context.Context, id string) error
	// Signal sends a signal to the container's first process.
	Signal(ctx context.Context, id string, signal int) error
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
	// Delete removes what is left of a container in the runtime, killing what
	// still runs. Deleting what is absent succeeds.
	Delete(ctx context.Context, id string) error
	// State tells what became of a container, from the files conmon writes: it
	// answers for those that ended while the daemon was down too.
	State(ctx context.Context, id string) (RunState, error)
	// Exits delivers every end of a container's process from Watch on.
	Exits() <-chan Exit

	// Attach connects streams to a created or running container until it ends,
	// ctx does, or the detach keys are read (then model.ErrDetached). It calls
	// ready once output can't be missed any more.
	Attach(ctx context.Context, id string, s model.Streams, ready func()) error
	Resize(ctx context.Context, id string, rows, cols uint) error
	// Exec runs a process in a running container and returns when it ends or
	// is detached. Its environment is complete but for HOME. started is called
	// with its pid.
	Exec(ctx context.Context, e model.Exec, s model.Streams, started func(pid int)) (exitCode int, err error)
	ExecResize(ctx context.Context, execID string, rows, cols uint) error
	// Top lists processes as `ps ARGS` does, limited to the container's.
	Top(ctx context.Context, id string, psArgs string) (titles []string, rows [][]string, err error)
	// Logs reads the container's log; with Follow until ctx ends or the
	// container does.
	Logs(ctx context.Context, id string, q model.LogQuery, emit func(model.LogLine) error) error
	Stats(ctx context.Context, id string) (model.Stats, error)
	// Update changes the limits of a running container.
	Update(ctx context.Context, id string, r model.Resources) error
	// Version gives the runtime's name and version, and conmon's.
	Version(ctx context.Context) (model.RuntimeVersion, error)
	// List gives the IDs the runtime knows, for collecting leftovers.
	List(ctx context.Context) ([]string, error)
}

// RunSpec is all the runtime needs to make a process.
type RunSpec struct {
	Container *model.Container
	Rootfs    string     // mounted root file system
	NetNS     string     // path; empty: the host's
	Env       []string   // complete but for HOME, which is found inside
	Mounts    []RunMount // files and volumes, in order, after the default ones
	Hostname  string
	// PidOf and IpcOf give the pid whose namespace is joined for container:ID modes; 0: own.
	PidOf, IpcOf int
}

// RunMount is one mount of a container.
type RunMount struct {
	Type        string // bind, tmpfs
	Source      string
	Destination string
	Options     []string // OCI's, defaults included
}

// StartError is a start that failed for the program's sake, with the exit code
// Docker gives: 127 when it is not there, 126 when it can't be executed.
type StartError struct {
	Code int
	Err  error
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// RunState is what the runtime knows of a container.
type RunState struct {
	Known      bool // the runtime has or had it
	Running    bool
	Paused     bool
	Pid        int
	StartedAt  time.Time
	Exited     bool
	ExitCode   int
	OOMKilled  bool
	FinishedAt time.Time
}

// Exit is the end of a container's process.
type Exit struct {
	ID         string
	ExitCode   int
	OOMKilled  bool
	FinishedAt time.Time
}

// Images is the image store and the containers' layers, as the engine needs it.
type Images interface {
	// Lookup finds a local image by reference, ID or ID prefix. errs.NotFound
	// carries Docker's words: No such image: REF.
	Lookup(ctx context.Context, ref string) (model.Image, error)
	// CreateLayer makes a container's writable layer on an image.
	CreateLayer(ctx context.Context, containerID, imageID string) error
	// Mount mounts the layer and gives the path of the root file system;
	// mounting a mounted one gives the same path.
	Mount(ctx context.Context, containerID string) (string, error)
	Unmount(ctx context.Context, containerID string) error
	// RemoveLayer unmounts and deletes the layer; an absent one is success.
	RemoveLayer(ctx context.Context, containerID string) error
	// Layers lists the container IDs that have a layer, for collecting leftovers.
	Layers(ctx context.Context) ([]string, error)
	Changes(ctx context.Context, containerID string) ([]model.Change, error)
	// LayerSize gives bytes in the writable layer and in layer and image together.
	LayerSize(ctx context.Context, containerID string) (rw, rootfs int64, err error)
}

// DHCP speaks to DHCP servers for an interface in a container's namespace.
type DHCP interface {
	// Acquire gets a lease, of the same address as last if that is not nil.
	Acquire(ctx context.Context, nsPath, name, host string, last *model.DHCPLease) (*model.DHCPLease, error)
	// Renew extends a lease, of any server if rebind; errs.Conflict: it is over.
	Renew(ctx context.Context, nsPath, name string, l *model.DHCPLease, rebind bool) (*model.DHCPLease, error)
	Release(nsPath, name string, l *model.DHCPLease) error
}

// Sockets serves the tenants' API.
type Sockets interface {
	// Set opens a socket for each of these tenants and closes all others.
	// One that can't be opened is an error, and the others are open all the same.
	Set(ctx context.Context, tenants []*model.Tenant) error
	// Path is where a tenant's socket is.
	Path(tenant string) string
}

// Host tells the engine about the machine.
type Host interface {
	// Routes gives every prefix the host has a route or an address for, except
	// default routes and those through our own bridges.
	Routes(ctx context.Context) ([]netip.Prefix, error)
	// RouteDevices is Routes with the device that each leads to.
	RouteDevices(ctx context.Context) (map[netip.Prefix]string, error)
	// WatchRoutes signals that a route or an address which matters came or went,
	// until ctx ends; the zero prefix stands for whatever a link that goes down
	// takes along.
	WatchRoutes(ctx context.Context, matters func(netip.Prefix) bool) (<-chan struct{}, error)
	// ForeignLink tells whether the host has a link of that name that isn't ours.
	ForeignLink(ctx context.Context, name string) (bool, error)
	// Addresses gives those that are somebody's already, with whose they are: the
	// host's own, but for floating IPs of ours, and its routers'.
	Addresses(ctx context.Context) (map[netip.Addr]string, error)
	// Device says whether floating IPs can be put on the link of that name:
	// errs.NotFound without one, errs.Invalid for one of our own.
	Device(ctx context.Context, name string) error
	// CanLimitRates names what the kernel lacks for limiting containers' rates,
	// as errs.Unavailable.
	CanLimitRates(ctx context.Context) error
	// Link tells of a link of the host's; nil: there is none of that name.
	Link(ctx context.Context, name string) (*model.HostLink, error)
	// Supports names what the kernel or the host lacks for a kind of NIC.
	Supports(ctx context.Context, kind model.NICKind, vlan bool) error
	// TC runs tc(8) in the network namespace at nsPath and gives what it prints.
	TC(ctx context.Context, nsPath string, words []string) (string, error)
}
