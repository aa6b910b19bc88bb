package engine

import (
	"context"
	"fmt"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// namespace gives the path of the network namespace the process gets: its own,
// another container's, or none for the host's. In every mode the container's
// own Prepare makes the files that are mounted in.
func (st *start) namespace(ctx context.Context) (string, error) {
	path, err := st.prepare(ctx, st.id)
	ref, joined := joinedContainer(st.c.Host.NetworkMode)
	if err != nil || !joined {
		return path, err
	}
	target, err := runningTarget(st.e.store.Snapshot(), st.c, ref, "network")
	if err != nil {
		return "", err
	}
	return st.prepare(ctx, target.ID)
}

func (st *start) prepare(ctx context.Context, id string) (string, error) {
	path, err := st.e.network.Prepare(ctx, id)
	if err != nil {
		return "", fmt.Errorf("make the network namespace of container %s: %w", st.c.Name, err)
	}
	return path, nil
}

// runningTarget finds the container whose namespace is joined; for the network
// it is the one at the end of a chain of joins.
func runningTarget(s *model.Snapshot, c *model.Container, ref, what string) (*model.Container, error) {
	for range len(s.Containers) + 1 {
		t, err := findContainer(s, ref)
		if err != nil {
			return nil, errs.New(errs.Unknown, "joining %s namespace of container: %w", what, err)
		}
		switch {
		case t.ID == c.ID:
			return nil, errs.New(errs.Invalid, "cannot join own %s namespace", what)
		case t.State.Status == model.StatusRestarting:
			return nil, errs.New(errs.Conflict, "cannot join %s namespace of container: %w", what, errRestarting(t))
		case !t.State.Running():
			return nil, errs.New(errs.Conflict, "cannot join %s namespace of a non running container: container %s is %s", what, t.Name, t.State.Status)
		}
		next, joined := joinedContainer(t.Host.NetworkMode)
		if what != "network" || !joined {
			return t, nil
		}
		ref = next
	}
	return nil, errs.New(errs.Invalid, "cannot join own %s namespace", what)
}
