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
// until a plan taken later doesn't want it.
func (r *Reconciler) Prepare(ctx context.Context, containerID string) (string, error) {
	r.mu.Lock()
	r.pins[containerID] = r.plansSeen
	r.mu.Unlock()

	unlock := r.locks.lock(containerID)
	defer unlock()
	path, err := r.o.Links.EnsureNamespace(ctx, containerID)
	if err != nil {
		return "", fmt.Errorf("network namespace of container %s: %w", containerID, err)
	}
	s, err := r.sandboxOf(containerID)
	if err != nil {
		return "", err
	}
	if err := r.writeFiles(s); err != nil {
		return "", err
	}
	return path, nil
}

// sandboxOf gives the container's part of the newest plan, of a new one if it
// has none.
func (r *Reconciler) sandboxOf(id string) (*desired.Sandbox, error) {
	r.mu.Lock()
	s := r.planned
	r.mu.Unlock()
	if s == nil || s.Sandboxes[id] == nil {
		s = r.plan()
		r.poke()
	}
	if s == nil {
		return nil, errs.New(errs.Unavailable, "the network is not ready yet: the host's state is still being read")
	}
	if s.Sandboxes[id] == nil {
		return nil, errs.New(errs.Conflict, "container %s is not active any more: start it again", id)
	}
	return s.Sandboxes[id], nil
}

// writeFiles writes a sandbox's files; the caller holds the container's lock.
func (r *Reconciler) writeFiles(s *desired.Sandbox) error {
	for _, f := range s.Files {
		if err := r.o.Files.Ensure(f); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	return nil
}
