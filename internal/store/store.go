package store

import (
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

const (
	softDelay  = 100 * time.Millisecond // a Soft is on disk after this at the latest
	retryDelay = time.Second            // between attempts while the disk refuses
)

// Store is an open state file. Its methods may be called from any goroutine.
type Store struct {
	path    string
	db      *bbolt.DB
	write   func(*bbolt.DB, *model.Snapshot, map[key]struct{}) error // writeDB; tests put failures here
	visible atomic.Pointer[published]
	wake    chan struct{} // tells the writer to look again
	ended   chan struct{} // closed when the writer is done

	mu      sync.Mutex
	head    *model.Snapshot  // what the next closure starts from; ahead of visible while a write is under way
	pending []*change        // made and not taken by the writer yet, oldest first
	dirty   map[key]struct{} // visible and not on disk yet
	due     time.Time        // when dirty is to be written
	broken  error            // why the last write failed
	closed  bool
}

// published is what readers see, and the signal that it is no longer the newest.
type published struct {
	snap    *model.Snapshot
	changed chan struct{}
}

// change is a closure's outcome on its way to the disk and to the readers.
type change struct {
	snap *model.Snapshot
	keys map[key]struct{}
	soft bool
	done chan error // buffered
}

// Open opens the state file, making it if it is not there. A file that another
// daemon has open is errs.Conflict.
func Open(path string) (*Store, error) {
	db, snap, err := openDB(path)
	if err != nil {
		return nil, err
	}
	s := &Store{
		path: path, db: db, write: writeDB, head: snap,
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
		dirty: map[key]struct{}{},
	}
	s.visible.Store(&published{snap, make(chan struct{})})
	go s.writer()
	return s, nil
}

// Close writes what is not on disk yet and closes the file. Calls after it fail.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.poke()
	<-s.ended
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close state file %s: %w", s.path, err)
	}
	return s.broken
}

// Snapshot gives the newest visible state.
func (s *Store) Snapshot() *model.Snapshot { return s.visible.Load().snap }

// Changed gives a channel that closes when the state moves on from the one now
// visible. Take the channel first and the Snapshot then, and no change is missed.
func (s *Store) Changed() <-chan struct{} { return s.visible.Load().changed }

// Update runs fn against the newest state and returns when what it changed is
// on disk, with the state it made. fn's error is returned as it is. A disk that
// refuses is errs.Unavailable, and nothing is changed. fn must not call Update
// or Soft, nor keep tx.
func (s *Store) Update(fn func(tx *Tx) error) (*model.Snapshot, error) { return s.run(fn, nil, false) }

// Soft is Update without the wait for the disk: for what can be learned again
// after a crash. A disk that refuses gets it later. fn may be called again.
func (s *Store) Soft(fn func(tx *Tx) error) (*model.Snapshot, error) { return s.run(fn, nil, true) }

func (s *Store) run(fn func(tx *Tx) error, of *View, soft bool) (*model.Snapshot, error) {
	for {
		c, err := s.apply(fn, of, soft)
		if err != nil {
			return nil, err
		}
		if c.done == nil {
			return c.snap, nil
		}
		err = <-c.done
		if err == nil {
			return c.snap, nil
		}
		if !soft {
			return nil, err
		}
		// It was built on one that the disk refused: it is made anew without.
	}
}

// apply runs the closure and queues its outcome. A change without a done
// channel is complete already.
func (s *Store) apply(fn func(tx *Tx) error, of *View, soft bool) (*change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errs.New(errs.Unavailable, "state file %s is closed: the daemon is stopping", s.path)
	}
	tx := newTx(s.head, of)
	defer func() { tx.done = true }()
	if err := fn(tx); err != nil {
		return nil, err
	}
	if err := tx.checkReferences(); err != nil {
		return nil, err
	}
	settled := s.head == s.visible.Load().snap
	c := &change{snap: s.head, keys: tx.keys, soft: soft || len(tx.keys) == 0}
	if len(tx.keys) > 0 {
		c.snap, s.head = tx.snap, tx.snap
	}
	if c.soft && settled {
		s.reveal(c)
		return c, nil
	}
	c.done = make(chan error, 1)
	s.pending = append(s.pending, c)
	s.poke()
	return c, nil
}

// reveal makes a soft change visible and leaves its records to a later write.
// s.mu is held.
func (s *Store) reveal(c *change) {
	if len(c.keys) == 0 {
		return
	}
	s.markDirty(c.keys, softDelay)
	s.publish(c.snap)
	s.poke()
}

func (s *Store) markDirty(keys map[key]struct{}, delay time.Duration) {
	if len(s.dirty) == 0 {
		s.due = time.Now().Add(delay)
	}
	maps.Copy(s.dirty, keys)
}

func (s *Store) publish(snap *model.Snapshot) {
	old := s.visible.Load()
	if old.snap == snap {
		return
	}
	s.visible.Store(&published{snap, make(chan struct{})})
	close(old.changed)
}

func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// writer writes batches until the store is closed and everything is out.
func (s *Store) writer() {
	defer close(s.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		b, wait, closed := s.take()
		if b != nil {
			s.finish(b, s.tryWrite(b))
			if closed && s.broken != nil {
				return
			}
			continue
		}
		if closed {
			return
		}
		timer.Reset(wait)
		select {
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// batch is one write.
type batch struct {
	snap    *model.Snapshot
	keys    map[key]struct{}
	changes []*change
}

// take gives what is to be written now, or how long to wait for more.
func (s *Store) take() (b *batch, wait time.Duration, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = time.Hour
	if len(s.pending) == 0 && len(s.dirty) > 0 {
		wait = time.Until(s.due)
	}
	if len(s.pending) == 0 && (len(s.dirty) == 0 || wait > 0 && !s.closed) {
		return nil, wait, s.closed
	}
	b = &batch{snap: s.head, keys: s.dirty, changes: s.pending}
	s.pending, s.dirty = nil, map[key]struct{}{}
	for _, c := range b.changes {
		maps.Copy(b.keys, c.keys)
	}
	return b, 0, s.closed
}

// tryWrite writes a batch; a panic of the database is an error like others.
func (s *Store) tryWrite(b *batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return s.write(s.db, b.snap, b.keys)
}

// finish publishes a written batch, or takes back one that could not be
// written together with everything built on it.
func (s *Store) finish(b *batch, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.takeBack(b, err)
		return
	}
	if s.broken != nil {
		slog.Info("the state file can be written again", "path", s.path)
		s.broken = nil
	}
	if len(b.changes) > 0 {
		s.publish(b.snap)
	}
	answer(b.changes, nil)
	for len(s.pending) > 0 && s.pending[0].soft {
		s.reveal(s.pending[0])
		answer(s.pending[:1], nil)
		s.pending = s.pending[1:]
	}
}

// takeBack returns to the visible state. What the failed write may have left on
// disk is dirty from now on, so that the next one puts it right.
func (s *Store) takeBack(b *batch, cause error) {
	err := errs.New(errs.Unavailable, "state file %s can't be written, nothing was changed: %w", s.path, cause)
	if s.broken == nil {
		slog.Error("the state file can't be written", "path", s.path, "error", cause)
	}
	s.broken = err
	failed := append(b.changes, s.pending...)
	s.pending = nil
	s.head = s.visible.Load().snap
	s.markDirty(b.keys, retryDelay)
	answer(failed, err)
}

func answer(changes []*change, err error) {
	for _, c := range changes {
		c.done <- err
	}
}
