package reconcile

import (
	"context"
	"fmt"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// Prepare makes the container's namespace on the caller's goroutine, while the
// applier does the rest, and the files that will be mounted. The container is
// active in the store already. From the call on, nothing deletes the namespace
// until a plan taken later doesn't want it. One that has no namespace of its
// own gets its files, and an empty path.
func (r *Reconciler) Prepare(ctx context.Context, containerID string) (string, error) {
	s := r.planWith(containerID)
	switch {
	case s == nil:
		return "", errs.New(errs.Unavailable, "the network is not ready yet: the host's state is still being read")
	case s.Sandboxes[containerID] != nil:
		return r.prepareSandbox(ctx, containerID)
	case s.Files[containerID] != nil:
		unlock := r.locks.Lock(containerID)
		defer unlock()
		return "", r.writeFiles(r.newestFiles(containerID))
	}
	return "", errs.New(errs.Conflict, "container %s is not active any more: start it again", containerID)
}

// planWith gives a plan that has the container, or else the newest.
func (r *Reconciler) planWith(id string) *desired.State {
	has := func(s *desired.State) bool { return s.Sandboxes[id] != nil || s.Files[id] != nil }
	r.mu.Lock()
	// Before anything is decided on a plan that may be an old one.
	r.pins[id] = r.plansSeen
	s := r.planned
	r.mu.Unlock()
	if s == nil || !has(s) {
		s = r.plan(has)
		r.poke()
	}
	return s
}

func (r *Reconciler) prepareSandbox(ctx context.Context, id string) (string, error) {
	unlock := r.locks.Lock(id)
	defer unlock()
	path, err := r.o.Links.EnsureNamespace(ctx, id)
	if err != nil {
		return "", fmt.Errorf("network namespace of container %s: %w", id, err)
	}
	return path, r.writeFiles(r.newestFiles(id))
}

// newestFiles gives the container's files as they are planned now: never older
// ones than a job has written. The caller holds the container's lock.
func (r *Reconciler) newestFiles(id string) []desired.File {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.planned.Sandboxes[id]; s != nil {
		return s.Files
	}
	return r.planned.Files[id]
}

// writeFiles writes a container's files; the caller holds its lock.
func (r *Reconciler) writeFiles(files []desired.File) error {
	for _, f := range files {
		if err := r.o.Files.Ensure(f); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	return nil
}
