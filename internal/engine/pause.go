package engine

import (
	"context"
	"fmt"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// PauseContainer freezes a container's processes.
func (e *Engine) PauseContainer(ctx context.Context, ref string) error {
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	_, unlock := e.lock(c.ID)
	defer unlock()
	if c = e.store.Snapshot().Containers[c.ID]; c == nil {
		return noSuchContainer(ref)
	}
	if err := checkRunning(c); err != nil {
		return err
	}
	if c.State.Status == model.StatusPaused {
		return errs.New(errs.Conflict, "Container %s is already paused", c.ID)
	}
	if err := e.runtime.Pause(ctx, c.ID); err != nil {
		return fmt.Errorf("cannot pause container %s: %w", c.ID, err)
	}
	if err := e.setStatus(c.ID, model.StatusPaused); err != nil {
		return err
	}
	e.containerEvent(c, "pause")
	return nil
}

// UnpauseContainer lets them go on.
func (e *Engine) UnpauseContainer(ctx context.Context, ref string) error {
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	_, unlock := e.lock(c.ID)
	defer unlock()
	if c = e.store.Snapshot().Containers[c.ID]; c == nil {
		return noSuchContainer(ref)
	}
	if c.State.Status != model.StatusPaused {
		return errs.New(errs.Conflict, "Container %s is not paused", c.ID)
	}
	return e.resume(ctx, c)
}

// resume thaws a paused container. Its lock is held.
func (e *Engine) resume(ctx context.Context, c *model.Container) error {
	if err := e.runtime.Resume(ctx, c.ID); err != nil {
		return fmt.Errorf("Cannot unpause container %s: %w", c.ID, err) //nolint:staticcheck // Docker's words
	}
	if err := e.setStatus(c.ID, model.StatusRunning); err != nil {
		return err
	}
	e.containerEvent(c, "unpause")
	return nil
}

func (e *Engine) setStatus(id string, status model.Status) error {
	_, err := e.softChange(id, func(c *model.Container) error {
		c.State.Status = status
		return nil
	})
	return err
}
