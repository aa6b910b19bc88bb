//go:build linux

package runtime

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/jackstay/jackstay/internal/engine"
	"github.com/jackstay/jackstay/internal/keyed"
)

// Options say where the runtime keeps its files and which programs it uses.
type Options struct {
	RootDir string // kept through reboots: /var/lib/jackstay
	RunDir  string // gone after a reboot: /run/jackstay
	// RuncPath and ConmonPath are looked up in $PATH when empty. RuncPath may
	// name any OCI runtime with runc's command line.
	RuncPath, ConmonPath string
	// CgroupParent is the cgroup every container's cgroup is in, unless the
	// container names its own parent; empty: /jackstay.
	CgroupParent string
	Log          *slog.Logger
}

// Runtime implements engine.Runtime.
type Runtime struct {
	rootDir, runDir string
	runc, conmon    program
	parent          string
	cgroups         *hierarchy
	joins           *quickJoins
	masked          []string // paths in /proc and /sys no container sees, unless it says so
	log             *slog.Logger

	seccomp  seccompCache
	watch    *watcher
	exits    *exitQueue
	closed   chan struct{}
	closing  sync.Once
	stopExit func()

	locks   keyed.Mutexes // serialise create, start and delete of one container
	joining keyed.Mutexes // serialise clients that attach to one container

	mu      sync.Mutex
	records map[string]*record      // by container ID; only complete ones
	execs   map[string]*execSession // by exec ID
	rotors  map[string]func()       // by container ID: stops its log rotation
}

var _ engine.Runtime = (*Runtime)(nil)

// New checks the programs and makes the directories. A program that is missing
// or too old is errs.Unavailable, naming it and the package that has it.
func New(o Options) (*Runtime, error) {
	r := &Runtime{
		rootDir: o.RootDir, runDir: o.RunDir, parent: o.CgroupParent, log: o.Log,
		closed:  make(chan struct{}),
		records: map[string]*record{},
		execs:   map[string]*execSession{}, rotors: map[string]func(){},
	}
	if r.parent == "" {
		r.parent = defaultParent
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if r.runc, err = findProgram(runcProgram, o.RuncPath); err != nil {
		return nil, err
	}
	if r.conmon, err = findProgram(conmonProgram, o.ConmonPath); err != nil {
		return nil, err
	}
	if r.cgroups, err = findCgroups("/proc/self/mountinfo"); err != nil {
		return nil, err
	}
	r.joins = &quickJoins{cgroups: r.cgroups}
	r.masked = defaultMaskedPaths("/sys")
	if err := os.RemoveAll(r.execDir()); err != nil { // of a daemon that was killed
		return nil, fmt.Errorf("runtime directory: %w", err)
	}
	for _, dir := range []string{r.bundles(), r.stateDir(), r.execDir(), r.exitDir(), r.logRoot()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("runtime directory: %w", err)
		}
	}
	if r.watch, err = newWatcher(); err != nil {
		return nil, err
	}
	if err := r.watchExits(); err != nil {
		r.watch.close()
		return nil, err
	}
	r.resumeRotation()
	return r, nil
}

// Close ends what the runtime does in the background. Containers run on.
func (r *Runtime) Close() {
	r.closing.Do(func() {
		close(r.closed)
		r.stopExit()
		r.mu.Lock()
		for id, stop := range r.rotors {
			stop()
			delete(r.rotors, id)
		}
		r.mu.Unlock()
		r.exits.close()
		r.watch.close()
	})
}

// The layout of files; doc.go explains it.
func (r *Runtime) bundles() string              { return filepath.Join(r.runDir, "containers") }
func (r *Runtime) bundle(id string) string      { return filepath.Join(r.runDir, "containers", id) }
func (r *Runtime) stateDir() string             { return filepath.Join(r.runDir, "runc") }
func (r *Runtime) execDir() string              { return filepath.Join(r.runDir, "exec") }
func (r *Runtime) exitDir() string              { return filepath.Join(r.rootDir, "exits") }
func (r *Runtime) exitFile(id string) string    { return filepath.Join(r.rootDir, "exits", id) }
func (r *Runtime) logRoot() string              { return filepath.Join(r.rootDir, "containers") }
func (r *Runtime) logFile(id string) string     { return filepath.Join(r.logRoot(), id, "container.log") }
func (r *Runtime) shmDir(id string) string      { return filepath.Join(r.bundle(id), "shm") }
func (r *Runtime) pidFile(id string) string     { return filepath.Join(r.bundle(id), "pid") }
func (r *Runtime) conmonPid(id string) string   { return filepath.Join(r.bundle(id), "conmon.pid") }
func (r *Runtime) runtimeLog(id string) string  { return filepath.Join(r.bundle(id), "runtime.log") }
func (r *Runtime) controlFifo(id string) string { return filepath.Join(r.bundle(id), "ctl") }
