// Package engine holds the use cases: create, start, stop, connect, publish,
// link, attach and their kin. It writes choices to the store, drives the
// runtime and the image store, and waits for the network; what the network
// must look like follows from the choices elsewhere.
//
// Every operation on one container holds that container's lock while it
// changes something, never while it waits for a process to end. Operations on
// different containers run beside each other: no lock is held across them.
package engine

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/keyed"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// Options are an engine's parts and settings.
type Options struct {
	Store   *store.Store
	Network Network
	Runtime Runtime
	Images  Images
	Host    Host
	DHCP    DHCP
	Sockets Sockets // of tenants; nil: they have none

	Root string // state that outlives a reboot, e.g. /var/lib/jackstay
	Run  string // state that does not, e.g. /run/jackstay

	// BIP is the default network's gateway and subnet; invalid: the first of
	// the pools that is free.
	BIP netip.Prefix
	// NoICC makes the default network one that denies.
	NoICC bool
	// Pools are where networks without a subnet get one; without one of IPv4 the
	// default ones, without one of IPv6 this host's own /48.
	Pools []model.AddressPool
	// Bridge is the link name of the default network's bridge; empty: jackstay0.
	Bridge string
	// RuntimeName and RuntimePath name the OCI runtime for inspect and info.
	RuntimeName, RuntimePath string
	// StorageDriver names the image store's driver for info.
	StorageDriver string
	// Warnings gives what info warns of beside what the engine knows, a sentence
	// each; nil: nothing.
	Warnings func() []string

	Log   *slog.Logger
	Clock Clock
}

// Clock is the time as the engine sees it; tests have their own.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in its own goroutine after d, unless stop is called before.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// SystemClock is the machine's.
type SystemClock struct{}

// Now gives the time in UTC.
func (SystemClock) Now() time.Time { return time.Now().UTC() }

// AfterFunc is time.AfterFunc.
func (SystemClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// Engine carries out the use cases for the administrator, who sees everything,
// or for one tenant, which sees what is its own. Make the administrator's with
// New, call Recover once and then Run; For gives the tenants'.
type Engine struct {
	*core
	store  *store.View
	tenant string // empty: the administrator
}

// core is what the administrator's engine and the tenants' share.
type core struct {
	choices *store.Store
	network Network
	runtime Runtime
	images  Images
	host    Host
	dhcp    DHCP
	opt     Options
	log     *slog.Logger
	clock   Clock
	id      string // the engine's own, kept under Root

	events   *bus
	overlaps *overlaps
	waiters  *waiters
	execs    *execs
	keepers  keepers

	mu      sync.Mutex
	lives   map[string]*live   // by container ID
	tenants map[string]*Engine // by name, those that were asked for

	socketMu sync.Mutex // one change of the sockets at a time

	volumeLocks keyed.Mutexes // by name
	making      idSet         // containers whose record is still to come

	toFinish *recovery     // what Recover leaves to Run
	finished chan struct{} // closed when Run has done it

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // goroutines that outlive a call
}

// New makes an engine. It reads nothing but the store until Recover.
func New(o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = SystemClock{}
	}
	if o.Bridge == "" {
		o.Bridge = "jackstay0"
	}
	if o.RuntimeName == "" {
		o.RuntimeName = "runc"
	}
	if !slices.ContainsFunc(o.Pools, func(p model.AddressPool) bool { return !strings.Contains(p.Base, ":") }) {
		o.Pools = slices.Concat(o.Pools, alloc.DefaultPools())
	}
	id, err := engineID(filepath.Join(o.Root, "engine-id"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Engine{store: o.Store.View(""), core: &core{
		choices: o.Store, network: o.Network, runtime: o.Runtime, images: o.Images, host: o.Host, dhcp: o.DHCP,
		opt: o, log: o.Log, clock: o.Clock, id: id,
		events:   newBus(),
		overlaps: newOverlaps(),
		waiters:  newWaiters(),
		execs:    newExecs(),
		keepers:  keepers{m: map[string]*keeper{}},
		lives:    map[string]*live{}, finished: make(chan struct{}),
		tenants: map[string]*Engine{},
		ctx:     ctx, cancel: cancel,
	}}, nil
}

// Run finishes what Recover found and receives the ends of processes until ctx
// does. Recover comes first, and the network must be at work.
func (e *Engine) Run(ctx context.Context) error {
	if found := e.toFinish; found != nil {
		e.toFinish = nil
		e.goWork(func() {
			e.cleanUp(e.ctx, found)
			close(e.finished)
		})
	}
	e.goWork(func() { e.followRoutes(ctx) })
	for id, c := range e.store.Snapshot().Containers {
		if c.Active {
			e.keepLeases(id, false)
		}
	}
	exits := e.runtime.Exits()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.ctx.Done():
			return nil
		case x, ok := <-exits:
			if !ok {
				return nil
			}
			e.goWork(func() { e.exited(x) })
		}
	}
}

// Close ends what runs in the background; containers run on.
func (e *Engine) Close() {
	e.mu.Lock()
	e.cancel()
	for _, l := range e.lives {
		l.stopTimer()
	}
	e.mu.Unlock()
	e.work.Wait()
}

// goWork runs f in a goroutine that Close waits for; false: after Close there is
// none.
func (e *Engine) goWork(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return false
	}
	e.work.Add(1)
	go func() {
		defer e.work.Done()
		f()
	}()
	return true
}

// Snapshot gives the state every read goes through.
func (e *Engine) Snapshot() *model.Snapshot { return e.store.Snapshot() }

// netns is where a container's network namespace is.
func (e *Engine) netns(id string) string { return filepath.Join(e.opt.Run, "netns", id) }

// containerDir is where a container's own files are.
func (e *Engine) containerDir(id string) string {
	return filepath.Join(e.opt.Root, "containers", id)
}
