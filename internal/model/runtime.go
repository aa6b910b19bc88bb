package model

import (
	"io"
	"time"
)

// Streams are one client's connection to a process. Nil ones are not wanted.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	DetachKeys     []byte // empty: none
	// CloseStdin closes the process's standard input when Stdin ends (StdinOnce).
	CloseStdin bool
}

// LogQuery selects log lines.
type LogQuery struct {
	Stdout, Stderr bool
	Since, Until   time.Time // zero: open
	Tail           int       // -1: all
	Follow         bool
}

// LogLine is one line, its newline included where it had one.
type LogLine struct {
	Time   time.Time
	Stderr bool
	Data   []byte
}

// Stats is one sample of a container's use of the machine.
type Stats struct {
	Read                      time.Time
	CPUTotal, CPUUser, CPUSys uint64 // nanoseconds
	SystemCPU                 uint64 // nanoseconds of all CPUs since boot
	OnlineCPUs                uint32
	MemoryUsage, MemoryLimit  uint64 // bytes
	MemoryStats               map[string]uint64
	Pids, PidsLimit           uint64
	Blkio                     []BlkioEntry
	Networks                  []InterfaceStats // by interface, as /proc/net/dev in the container lists them
}

// InterfaceStats is the traffic of one interface as the container sees it.
type InterfaceStats struct {
	Name                                    string
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// BlkioEntry is bytes moved by one operation on one device.
type BlkioEntry struct {
	Major, Minor uint64
	Op           string
	Value        uint64
}

// RuntimeVersion names what runs containers.
type RuntimeVersion struct {
	Runtime, RuntimeVersion, RuntimeCommit, ConmonVersion string
}

// Image is what a container takes from its image.
type Image struct {
	ID       string // sha256:…
	Names    []string
	Platform string
	Config   Config // Env, Cmd, Entrypoint, ExposedPorts, User, WorkingDir, Volumes, Labels, StopSignal, …
	Size     int64
	Created  time.Time
}

// Change is one difference of a container's files from its image's.
type Change struct {
	Path string
	Kind int // 0 modified, 1 added, 2 deleted: Docker's numbers
}

// AttachOptions are attach's.
type AttachOptions struct {
	Logs, Stream bool
	DetachKeys   string // as given, e.g. ctrl-p,ctrl-q; empty: the default
}

// Info is what the engine knows of the host and of itself, for `info`.
type Info struct {
	ID                                   string
	Containers, Running, Paused, Stopped int
	Images                               int
	Root                                 string
	StorageDriver                        string
	StorageStatus                        [][2]string
	CgroupDriver, CgroupVersion          string
	Runtime                              RuntimeVersion
	RuntimePath                          string
	SecurityOptions                      []string
	DefaultAddressPools                  []AddressPool
	Warnings                             []string
}

// AddressPool is a range from which networks get subnets of Size bits.
type AddressPool struct {
	Base string // CIDR
	Size int
}
