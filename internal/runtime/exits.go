//go:build linux

package runtime

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/engine"
)

// exitQueue passes ends on in order, each once, however slow the reader is.
type exitQueue struct {
	out  chan engine.Exit
	done chan struct{}
	wake chan struct{}

	mu        sync.Mutex
	pending   []engine.Exit
	delivered map[string]time.Time // by ID: the exit file's mtime
}

func newExitQueue() *exitQueue {
	q := &exitQueue{
		out: make(chan engine.Exit), done: make(chan struct{}), wake: make(chan struct{}, 1),
		delivered: map[string]time.Time{},
	}
	go q.pump()
	return q
}

// note marks an end as known without delivering it; false: it was known.
func (q *exitQueue) note(e engine.Exit) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if last, ok := q.delivered[e.ID]; ok && last.Equal(e.FinishedAt) {
		return false
	}
	q.delivered[e.ID] = e.FinishedAt
	return true
}

func (q *exitQueue) push(e engine.Exit) {
	if !q.note(e) {
		return
	}
	q.mu.Lock()
	q.pending = append(q.pending, e)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *exitQueue) forget(id string) {
	q.mu.Lock()
	delete(q.delivered, id)
	q.mu.Unlock()
}

func (q *exitQueue) pump() {
	defer close(q.out)
	for {
		q.mu.Lock()
		var next *engine.Exit
		if len(q.pending) > 0 {
			next = &q.pending[0]
			q.pending = q.pending[1:]
		}
		q.mu.Unlock()
		if next == nil {
			select {
			case <-q.wake:
				continue
			case <-q.done:
				return
			}
		}
		select {
		case q.out <- *next:
		case <-q.done:
			return
		}
	}
}

func (q *exitQueue) close() { close(q.done) }

// Exits delivers every end of a process that happens after New, once. Those
// that happened before are State's to tell. It is closed by Close.
func (r *Runtime) Exits() <-chan engine.Exit { return r.exits.out }

// watchExits begins to deliver ends, and guards what runs already.
func (r *Runtime) watchExits() error {
	r.exits = newExitQueue()
	stop, err := r.watch.add(r.exitDir(), unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE, func(e watchEvent) {
		if e.Lost {
			r.scanExits(r.exits.push)
		} else if validID(e.Name) {
			r.exited(e.Name, r.exits.push)
		}
	})
	if err != nil {
		r.exits.close()
		return err
	}
	r.stopExit = stop
	r.scanExits(func(e engine.Exit) { r.exits.note(e) })
	entries, err := os.ReadDir(r.bundles())
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !validID(entry.Name()) {
			continue
		}
		if rec, err := r.load(entry.Name()); err == nil {
			r.guard(rec)
		}
	}
	return nil
}

func (r *Runtime) scanExits(found func(engine.Exit)) {
	entries, err := os.ReadDir(r.exitDir())
	if err != nil {
		r.log.Error("exit files", "error", err)
		return
	}
	for _, entry := range entries {
		if validID(entry.Name()) {
			r.exited(entry.Name(), found)
		}
	}
}

// exited reads an exit file. Processes that share another pid namespace are
// not ended by the kernel with their first one, so they are here.
func (r *Runtime) exited(id string, found func(engine.Exit)) {
	exit, err := r.readExit(id)
	if errors.Is(err, fs.ErrNotExist) {
		return // deleted meanwhile
	}
	if err != nil {
		r.log.Error("exit file", "container", id, "error", err)
		return
	}
	if rec, err := r.load(id); err == nil && rec.SharedPids {
		go func() {
			if err := killCgroups(rec.Cgroups); err != nil {
				r.log.Warn("end the processes of an ended container", "container", id, "error", err)
			}
		}()
	}
	found(exit)
}

// guard waits for conmon's end. conmon writes the exit file before it ends; if
// it was killed, or the disk was full, there is none and never will be, the
// process's output goes nowhere, and so the process is killed and its end is
// written here.
func (r *Runtime) guard(rec *record) {
	pid := rec.Conmon
	if pid == 0 || !isConmonOf(pid, rec.ID) {
		if rec.alive() {
			go r.lost(rec)
		}
		return
	}
	ticks, err := startTicks(pid)
	if err != nil || !isConmonOf(pid, rec.ID) {
		go r.lost(rec) // gone this moment
		return
	}
	gone, stop, err := whenGone(pid, ticks)
	if errors.Is(err, unix.ESRCH) {
		go r.lost(rec)
		return
	}
	if err != nil {
		r.log.Debug("no guard for conmon", "container", rec.ID, "error", err) // before Linux 5.10
		return
	}
	go func() {
		defer stop()
		select {
		case <-gone:
			r.lost(rec)
		case <-r.closed:
		}
	}()
}

// lost writes the end of a container whose conmon is gone, unless it is written.
func (r *Runtime) lost(rec *record) {
	defer r.locks.Lock(rec.ID)()
	now, err := r.load(rec.ID)
	if err != nil || now.Pid != rec.Pid || now.StartTicks != rec.StartTicks {
		return // deleted, or another run
	}
	if _, err := os.Stat(r.exitFile(rec.ID)); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	r.log.Error("conmon of a container was killed; ending the container", "container", rec.ID, "conmon", rec.Conmon)
	if err := signalProcess(rec.Pid, rec.StartTicks, unix.SIGKILL); err == nil {
		_ = rec.thaw()
		waitGone(rec.Pid, rec.StartTicks, killLimit)
	}
	temp := r.exitFile(rec.ID) + ".lost"
	err = os.WriteFile(temp, []byte(strconv.Itoa(lostExitCode)), 0o600)
	if err == nil {
		err = os.Rename(temp, r.exitFile(rec.ID))
	}
	if err != nil { // a full disk, which kept conmon from writing it too
		_ = os.Remove(temp)
		r.log.Error("write the exit of a container", "container", rec.ID, "error", err)
		r.exits.push(engine.Exit{ID: rec.ID, ExitCode: lostExitCode, FinishedAt: time.Now()})
	}
}
