package engine

import (
	"context"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// ResizeContainer changes the size of a container's terminal.
func (e *Engine) ResizeContainer(ctx context.Context, ref string, rows, cols uint) error {
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	if err := checkRunning(c); err != nil {
		return err
	}
	if err := e.runtime.Resize(ctx, c.ID, rows, cols); err != nil {
		return err
	}
	e.containerEvent(c, "resize")
	return nil
}

// ContainerLogs reads a container's log.
func (e *Engine) ContainerLogs(ctx context.Context, ref string, q model.LogQuery, emit func(model.LogLine) error) error {
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	if !q.Stdout && !q.Stderr {
		return errs.New(errs.Invalid, "You must choose at least one stream")
	}
	if c.Host.LogDriver == "none" {
		return errs.New(errs.NotImplemented, "configured logging driver does not support reading")
	}
	if c.State.Status == model.StatusRemoving || c.State.Status == model.StatusDead {
		return errs.New(errs.Conflict, "can not get logs from container which is dead or marked for removal")
	}
	if c.State.StartedAt.IsZero() && !q.Follow {
		return nil // it has written nothing yet
	}
	return e.runtime.Logs(ctx, c.ID, q, emit)
}

// ContainerTop lists a container's processes.
func (e *Engine) ContainerTop(ctx context.Context, ref, psArgs string) (titles []string, rows [][]string, err error) {
	c, err := e.FindContainer(ref)
	if err != nil {
		return nil, nil, err
	}
	if err := checkRunning(c); err != nil {
		return nil, nil, err
	}
	if psArgs == "" {
		psArgs = "-ef"
	}
	titles, rows, err = e.runtime.Top(ctx, c.ID, psArgs)
	if err == nil {
		e.containerEvent(c, "top")
	}
	return titles, rows, err
}

// ContainerChanges lists how a container's files differ from its image's.
func (e *Engine) ContainerChanges(ctx context.Context, ref string) ([]model.Change, error) {
	c, err := e.FindContainer(ref)
	if err != nil {
		return nil, err
	}
	return e.images.Changes(ctx, c.ID)
}

// ContainerSize gives the bytes of a container's own layer and of all its files.
func (e *Engine) ContainerSize(ctx context.Context, ref string) (rw, rootfs int64, err error) {
	c, err := e.FindContainer(ref)
	if err != nil {
		return 0, 0, err
	}
	return e.images.LayerSize(ctx, c.ID)
}

// ContainerStats samples a container's use of the machine; one that does not
// run uses nothing.
func (e *Engine) ContainerStats(ctx context.Context, ref string) (model.Stats, error) {
	c, err := e.FindContainer(ref)
	if err != nil {
		return model.Stats{}, err
	}
	if !c.State.Running() {
		return model.Stats{Read: e.clock.Now()}, nil
	}
	return e.runtime.Stats(ctx, c.ID)
}
