//go:build linux

package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
)

// record is what a daemon must know of a container another daemon made. It is
// written to the bundle once the process exists, and again when it starts.
type record struct {
	ID         string
	Pid        int
	StartTicks uint64 // of the process, see startTicks: tells it from one that got its pid later
	Conmon     int    // conmon's pid; 0: unknown
	// Cgroups are the directories made for the container, by controller
	// ("" is v2's). Their parents are not ours to remove.
	Cgroups   map[string]string
	StartedAt time.Time // zero: created, not started

	Tty, OpenStdin, StdinOnce bool
	SharedPids                bool // its pid namespace is not its own: the kernel won't end its processes with the first
	LogDriver                 string
	LogMaxSize                int64 // bytes; 0: no rotation by us
	LogMaxFile                int
}

func (r *Runtime) recordFile(id string) string { return filepath.Join(r.bundle(id), "record.json") }

// save writes the record so that a reader sees the old or the new one.
func (r *Runtime) save(rec *record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	name := r.recordFile(rec.ID)
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return fmt.Errorf("record of container %s: %w", rec.ID, err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("record of container %s: %w", rec.ID, err)
	}
	copied := *rec
	r.mu.Lock()
	r.records[rec.ID] = &copied
	r.mu.Unlock()
	return nil
}

// load gives a copy of a container's record; an absent one is errs.NotFound.
func (r *Runtime) load(id string) (*record, error) {
	r.mu.Lock()
	known := r.records[id]
	r.mu.Unlock()
	if known != nil {
		copied := *known
		return &copied, nil
	}
	data, err := os.ReadFile(r.recordFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.NotFound, "container %s has no process", id)
	}
	if err != nil {
		return nil, fmt.Errorf("record of container %s: %w", id, err)
	}
	rec := new(record)
	if err := json.Unmarshal(data, rec); err != nil {
		return nil, fmt.Errorf("record of container %s: %w", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	copied := *rec
	r.records[id] = &copied
	return rec, nil
}

func (r *Runtime) forget(id string) {
	r.mu.Lock()
	delete(r.records, id)
	r.mu.Unlock()
}

// live gives the record of a container whose process exists, started or not;
// otherwise errs.Conflict in Docker's words.
func (r *Runtime) live(id string) (*record, error) {
	rec, err := r.load(id)
	if errs.Is(err, errs.NotFound) || err == nil && !rec.alive() {
		return nil, errs.New(errs.Conflict, "container %s is not running", id)
	}
	return rec, err
}

// keepsStdin tells whether the process's stdin outlives the client that brings it.
func (rec *record) keepsStdin() bool { return !rec.StdinOnce || rec.Tty }

// alive tells whether the record's process exists.
func (rec *record) alive() bool { return sameProcess(rec.Pid, rec.StartTicks) }

// List gives the IDs of which anything is left: a bundle, the OCI runtime's
// state or an exit file.
func (r *Runtime) List(context.Context) ([]string, error) {
	seen := map[string]bool{}
	var ids []string
	for _, dir := range []string{r.bundles(), r.stateDir(), r.exitDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list containers: %w", err)
		}
		for _, e := range entries {
			if name := e.Name(); validID(name) && !seen[name] {
				seen[name] = true
				ids = append(ids, name)
			}
		}
	}
	return ids, nil
}

// validID keeps temporary files (glib writes NAME.XXXXXX) and anything that
// could leave a directory out.
func validID(name string) bool {
	if name == "" {
		return false
	}
	for _, c := range name {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
