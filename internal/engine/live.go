package engine

import (
	"sync"
	"sync/atomic"
	"time"
)

// live is what the engine knows of a container only while it runs itself:
// nothing of it has to outlive the daemon.
type live struct {
	// op serialises what changes the container. It is never held while waiting
	// for a process to end.
	op sync.Mutex
	// swaps counts those it took part in, for two that are asked for at once.
	swaps atomic.Int64

	mu      sync.Mutex    // guards what follows; held for moments only
	backoff time.Duration // the restart policy's last wait
	timer   func() bool   // stops a restart that waits for its time
	// restarting says that a user's restart follows the stop under way, so the
	// network and the host ports are kept.
	restarting bool
	removing   bool // a removal is under way
	// deadUntil is when the runtime was last cleared of the container: an end
	// reported for a time before it is that of a process long accounted for.
	deadUntil time.Time
	waiting   []*pendingAttach // clients attached before the start
}

// live gives a container's entry, making it if need be.
func (e *Engine) live(id string) *live {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.lives[id]
	if l == nil {
		l = &live{}
		e.lives[id] = l
	}
	return l
}

// lock takes a container's lock and gives its release.
func (e *Engine) lock(id string) (l *live, unlock func()) {
	l = e.live(id)
	l.op.Lock()
	return l, l.op.Unlock
}

// forget drops the entry of a container that is gone, and lets go the clients
// that waited for it to start.
func (e *Engine) forget(id string) {
	e.mu.Lock()
	l := e.lives[id]
	delete(e.lives, id)
	e.mu.Unlock()
	if l != nil {
		l.stopTimer()
		for _, p := range l.takeWaiting() {
			p.cancel()
		}
	}
}

func (l *live) stopTimer() {
	l.mu.Lock()
	stop := l.timer
	l.timer = nil
	l.mu.Unlock()
	if stop != nil {
		stop()
	}
}

func (l *live) setRestarting(v bool) {
	l.mu.Lock()
	l.restarting = v
	l.mu.Unlock()
}

func (l *live) isRestarting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.restarting
}

// beginRemoval tells whether this caller is the one who removes.
func (l *live) beginRemoval() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.removing {
		return false
	}
	l.removing = true
	return true
}

func (l *live) endRemoval() {
	l.mu.Lock()
	l.removing = false
	l.mu.Unlock()
}

func (l *live) isRemoving() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.removing
}

func (l *live) setDeadUntil(t time.Time) {
	l.mu.Lock()
	l.deadUntil = t
	l.mu.Unlock()
}

func (l *live) getDeadUntil() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deadUntil
}

func (l *live) takeWaiting() []*pendingAttach {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.waiting
	l.waiting = nil
	return w
}
