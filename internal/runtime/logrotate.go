//go:build linux

package runtime

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"
)

// rotateEvery is how often the size of a log is looked at. A log may exceed
// its max-size by what comes in that time.
const rotateEvery = time.Second

// conmonLogLimit is the size at which conmon itself empties the log: with
// max-file 1 that is the rotation asked for. Otherwise the daemon rotates, and
// conmon only bounds what comes while the daemon is down.
func (rec *record) conmonLogLimit() int64 {
	return rec.LogMaxSize * int64(rec.LogMaxFile)
}

// startRotation keeps a container's log within max-size and max-file while its
// process lives.
func (r *Runtime) startRotation(rec *record) {
	if rec.LogMaxSize == 0 || rec.LogMaxFile < 2 || rec.LogDriver == logNone {
		return
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	r.stopRotation(rec.ID)
	r.mu.Lock()
	r.rotors[rec.ID] = sync.OnceFunc(func() { close(stop); <-done })
	r.mu.Unlock()
	go func() {
		defer close(done)
		ticker := time.NewTicker(rotateEvery)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				if !rec.alive() {
					return
				}
				if err := r.rotate(rec); err != nil {
					r.log.Error("rotate log", "container", rec.ID, "error", err)
				}
			}
		}
	}()
}

func (r *Runtime) stopRotation(id string) {
	r.mu.Lock()
	stop := r.rotors[id]
	delete(r.rotors, id)
	r.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// resumeRotation goes on where an earlier daemon ended.
func (r *Runtime) resumeRotation() {
	r.mu.Lock()
	var live []*record
	for _, rec := range r.records {
		if rec.alive() {
			live = append(live, rec)
		}
	}
	r.mu.Unlock()
	for _, rec := range live {
		r.startRotation(rec)
	}
}

// rotate renames container.log to .1, .1 to .2 and so on, if the log is full,
// and has conmon open a new one. Until it does, it writes to the renamed one.
func (r *Runtime) rotate(rec *record) error {
	name := r.logFile(rec.ID)
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() < rec.LogMaxSize {
		return nil
	}
	if err != nil {
		return err
	}
	for i := rec.LogMaxFile - 1; i > 0; i-- {
		if err := os.Rename(rotated(name, i-1), rotated(name, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return r.control(rec.ID, "2 0 0\n")
}

// rotated is the name of the i-th older log file; 0 is the current one.
func rotated(name string, i int) string {
	if i == 0 {
		return name
	}
	return name + "." + strconv.Itoa(i)
}
