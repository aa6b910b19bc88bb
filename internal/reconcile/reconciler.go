// Package reconcile makes the host's network what the plan says. It is the
// only owner of host network state: nothing else makes, changes or deletes a
// link, a namespace, an element, a claim or an engine's file.
//
// One goroutine, the applier, works in rounds: it takes the newest plan,
// compares it with what it applied last and applies the difference. What it
// can't know any more is observed first: at start, when somebody else changed
// something, after a failure, and on a slow timer. Sandboxes are made by jobs
// beside it, one at a time per container and bounded in all, so that a slow one
// holds up nobody else. A failure is a status and a retry; nothing is rolled
// back.
//
//	reconciler.go  what it is made of        round.go     one round
//	loop.go        when there is a round     claims.go firewall.go bridges.go  its parts
//	plan.go        taking plans              sandbox.go   a container's part, a job
//	files.go       files without a sandbox   status.go    what is told of it
//	prepare.go     namespaces ahead of plan  observe.go   comparing with the host
//	wait.go        who waits for what        trial.go     failures and retries
//	looks.go       when the host is looked at  addresses.go  addresses on other devices
package reconcile

import (
	"log/slog"
	"sync"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/keyed"
)

// Options are what a Reconciler works with. The durations have working
// defaults and are there for tests.
type Options struct {
	Links    Links
	Firewall Firewall
	Ports    Ports
	Files    Files
	Resolver Resolver

	// Plan takes a snapshot of the store and plans it with the facts of the
	// host; nil: not everything that goes into a plan has been read yet.
	// It is called by one goroutine at a time, any.
	Plan func() *desired.State
	// Changed gives a channel that closes, or delivers, when the store's
	// revision moves after the call.
	Changed func() <-chan struct{}
	// FactsChanged delivers when the facts of the host moved; may be nil.
	FactsChanged <-chan struct{}
	Log          *slog.Logger

	Parallel int           // sandboxes made at a time; 0: 16
	Checks   int           // sandboxes looked into at a time; 0: 4
	Every    time.Duration // between two looks at the whole host, ±10 %; 0: 30 s
	Quiet    time.Duration // least time between two looks somebody else causes; 0: 100 ms
	RetryMin time.Duration // 0: 100 ms
	RetryMax time.Duration // 0: 10 s
}

// Reconciler is the owner of the host's network.
type Reconciler struct {
	o     Options
	locks keyed.Mutexes // by container: its namespace and files
	hot   chan struct{} // slots for jobs
	wake  chan struct{} // there may be something to do
	done  chan struct{} // Run has returned
	jobs  sync.WaitGroup

	planMu sync.Mutex // held while planning

	zones *desired.Zones // what the resolver has; the applier's own

	mu        sync.Mutex
	plansSeen uint64 // plans begun
	planned   *desired.State
	plannedAt uint64            // which of plansSeen it was
	pins      map[string]uint64 // container whose namespace Prepare made: plansSeen at that time

	taken   *desired.State // the plan the applier works on
	rev     uint64         // its revision, once its claims were tried
	claims  claims
	fw      table
	bridges map[string]*bridge
	addrs   map[desired.DeviceAddress]*address
	undone  map[desired.DeviceAddress]*address // those of addrs with something left to do
	recs    map[string]*record
	dirty   map[string]*record // those with something left to do
	files   map[string]*trial  // containers without a sandbox whose files are to be written
	running int                // jobs
	stamp   uint64             // counts jobs that ended
	ownAt   time.Time          // when a link was last touched by us

	signals   signals
	nextFull  time.Time
	lookTrial trial // reading the links
	resyncs   []chan error
	waiters   map[*waiter]struct{}
	stats     stats
}

// New makes a Reconciler; Run makes it work.
func New(o Options) *Reconciler {
	setDefault(&o.Parallel, 16)
	setDefault(&o.Checks, 4)
	setDefault(&o.Every, 30*time.Second)
	setDefault(&o.Quiet, 100*time.Millisecond)
	setDefault(&o.RetryMin, 100*time.Millisecond)
	setDefault(&o.RetryMax, 10*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Reconciler{
		o:       o,
		hot:     make(chan struct{}, o.Parallel),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		pins:    map[string]uint64{},
		recs:    map[string]*record{},
		dirty:   map[string]*record{},
		files:   map[string]*trial{},
		bridges: map[string]*bridge{},
		addrs:   map[desired.DeviceAddress]*address{},
		undone:  map[desired.DeviceAddress]*address{},
		claims:  newClaims(),
		waiters: map[*waiter]struct{}{},
	}
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// poke makes the applier look whether there is something to do.
func (r *Reconciler) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
