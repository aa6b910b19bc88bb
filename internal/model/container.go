package model

import (
	"errors"
	"net/netip"
	"time"
)

// Container is one container as chosen: what was asked for, what was picked
// once, and what became of it. Records are values: a stored one is never
// changed in place, a change stores a new one.
type Container struct {
	ID      string // 64 hex digits
	Name    string // without a leading slash; unique among its tenant's
	Tenant  string // whose it is; empty: the administrator's
	Created time.Time

	Image    string // the reference as it was given
	ImageID  string // sha256:…
	Platform string // os/arch, e.g. linux/amd64

	Config Config
	Host   HostConfig
	Mounts []Mount // resolved: what start mounts, in order
	Path   string  // the program: Args are its arguments, as Docker's inspect shows them
	Args   []string

	// Active says that the container's network is wanted: true from the
	// transaction that starts it until the one that records its stop, and
	// through a restart. The planner makes a sandbox for an active container.
	Active bool
	// Ports are the host ports it holds while active, and, in Remembered,
	// those it last held, to be taken again if they are free.
	Ports      []PortMapping
	Remembered []PortMapping
	// Opened are those of Config.ExposedPorts that it exposes only because they
	// were published since it was created: they are exposed for as long.
	Opened []Port `json:",omitempty"`

	// SecurityGroups are the IDs of the groups whose rules say who may open
	// connections to it; none: everybody who reaches it.
	SecurityGroups []string `json:",omitempty"`
	// NICs are further interfaces, in order of request. Routes, Rules and TC are
	// what was asked for inside: TC holds words of tc(8), a line each.
	NICs   []NIC       `json:",omitempty"`
	Routes []Route     `json:",omitempty"`
	Rules  []RouteRule `json:",omitempty"`
	TC     [][]string  `json:",omitempty"`

	// Rates limit what goes into it and what comes out.
	Rates Rates `json:",omitzero"`

	// LostNetworks are the names of networks that were removed while it was
	// stopped: it can't start until it is disconnected from them.
	LostNetworks []string

	// ManuallyStopped tells restart policies that a user wanted the last stop.
	ManuallyStopped bool
	State           State
}

// State is what became of a container's process.
type State struct {
	Status       Status
	Pid          int
	ExitCode     int
	OOMKilled    bool
	Error        string // why the last start failed
	StartedAt    time.Time
	FinishedAt   time.Time
	RestartCount int
}

// Status is Docker's word for a container's state.
type Status string

// Docker's states.
const (
	StatusCreated    Status = "created"
	StatusRunning    Status = "running"
	StatusPaused     Status = "paused"
	StatusRestarting Status = "restarting"
	StatusExited     Status = "exited"
	StatusRemoving   Status = "removing"
	StatusDead       Status = "dead"
)

// Running tells whether a process exists (a paused one does).
func (s State) Running() bool { return s.Status == StatusRunning || s.Status == StatusPaused }

// Config is the portable half of a container's configuration, already merged
// with its image's.
type Config struct {
	Hostname     string
	Domainname   string
	User         string
	AttachStdin  bool
	AttachStdout bool
	AttachStderr bool
	ExposedPorts []Port // sorted, see SortPorts
	Tty          bool
	OpenStdin    bool
	StdinOnce    bool
	Env          []string // NAME=value
	Cmd          []string
	Volumes      []string // container paths of anonymous volumes
	WorkingDir   string
	Entrypoint   []string
	Labels       map[string]string
	StopSignal   string
	StopTimeout  *int // seconds
	OnBuild      []string
	Shell        []string
}

// HostConfig is the half that ties a container to this host. Fields mirror
// Docker's HostConfig; what is not here is refused by the API.
type HostConfig struct {
	Binds           []string // as given
	MountSpecs      []Mount  // --mount and the API's Mounts, as given
	VolumesFrom     []string
	Tmpfs           map[string]string
	ContainerIDFile string
	NetworkMode     NetworkMode
	PortBindings    []PortBinding
	PublishAllPorts bool
	Links           []string // legacy links as given, NAME[:ALIAS[:PORTS]]
	StrictLinks     bool     `json:",omitempty"` // its links join no networks
	RestartPolicy   RestartPolicy
	AutoRemove      bool
	CapAdd, CapDrop []string
	DNS             []netip.Addr
	DNSOptions      []string
	DNSSearch       []string
	ExtraHosts      []string // NAME:ADDRESS; ADDRESS may be host-gateway
	GroupAdd        []string
	IpcMode         string
	PidMode         string
	UTSMode         string
	CgroupnsMode    string
	CgroupParent    string
	OomScoreAdj     int
	Privileged      bool
	ReadonlyRootfs  bool
	SecurityOpt     []string
	ShmSize         int64 // bytes
	Sysctls         map[string]string
	Runtime         string
	Devices         []Device
	Resources       Resources
	Ulimits         []Ulimit
	Init            bool
	LogDriver       string
	LogOptions      map[string]string
	ConsoleSize     [2]uint  // rows, columns
	MaskedPaths     []string // nil: the default ones
	ReadonlyPaths   []string
	Annotations     map[string]string
}

// NetworkMode is the --network of a container: default, bridge, host, none,
// container:ID, or a network's name or ID.
type NetworkMode string

// RestartPolicy as Docker names it: no, always, unless-stopped, on-failure.
type RestartPolicy struct {
	Name       string
	MaxRetries int
}

// Resources are cgroup limits; zero means no limit, as in Docker.
type Resources struct {
	Memory            int64 // bytes
	MemoryReservation int64
	MemorySwap        int64
	MemorySwappiness  *int64
	NanoCPUs          int64 // 1e9 is one CPU
	CPUShares         int64
	CPUPeriod         int64 // microseconds
	CPUQuota          int64
	CpusetCpus        string
	CpusetMems        string
	PidsLimit         *int64
	BlkioWeight       uint16
	OomKillDisable    bool
}

// Ulimit is one --ulimit.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// Device is one --device.
type Device struct {
	Host, Container, Permissions string
}

// Mount is a mount as asked for (MountSpecs) or as resolved (Mounts).
type Mount struct {
	Type        string // bind, volume, tmpfs
	Name        string // a volume's name
	Source      string // a host path
	Destination string
	Driver      string
	Mode        string // the option string of -v, as Docker echoes it
	RW          bool
	Propagation string
	NoCopy      bool
	TmpfsSize   int64
	TmpfsMode   uint32
	// CreateSource says that a missing host path is made, as -v does and --mount does not.
	CreateSource bool
	Labels       map[string]string
}

// Exec is one `exec`: it lives as long as the daemon does.
type Exec struct {
	ID           string
	ContainerID  string
	Cmd          []string
	Env          []string
	User         string
	GroupAdd     []string // the container's: they go with every user
	WorkingDir   string
	Tty          bool
	Privileged   bool
	AttachStdin  bool
	AttachStdout bool
	AttachStderr bool
	DetachKeys   string
	Running      bool
	Pid          int
	ExitCode     *int
}

// Volume is a named or anonymous volume of the local driver.
type Volume struct {
	Name       string
	Tenant     string // whose it is; empty: the administrator's
	Created    time.Time
	Mountpoint string
	Labels     map[string]string
	Options    map[string]string
	Anonymous  bool
}

// ErrDetached is what attach and exec return when the user typed the detach keys.
var ErrDetached = errors.New("read escape sequence")
