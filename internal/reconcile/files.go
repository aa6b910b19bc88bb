package reconcile

import (
	"maps"
	"slices"
	"time"
)

// wantFiles notes whose files are to be written: of containers that have no
// sandbox of their own.
func (r *Reconciler) wantFiles(ids []string) {
	for id := range r.files {
		if r.taken.Files[id] == nil {
			delete(r.files, id)
		}
	}
	for _, id := range ids {
		r.files[id] = &trial{}
	}
}

// applyFiles writes the files that are due.
func (r *Reconciler) applyFiles() {
	now := time.Now()
	r.mu.Lock()
	var todo []string
	for _, id := range slices.Sorted(maps.Keys(r.files)) {
		if r.files[id].due(now) {
			todo = append(todo, id)
		}
	}
	r.mu.Unlock()
	for _, id := range todo {
		unlock := r.locks.Lock(id)
		err := r.writeFiles(r.taken.Files[id])
		unlock()
		r.mu.Lock()
		if err == nil {
			delete(r.files, id)
		} else if r.files[id].fail(err, r.rev, &r.o) {
			r.o.Log.Error("files of a container not written", "container", id, "err", err)
		}
		r.mu.Unlock()
	}
}
