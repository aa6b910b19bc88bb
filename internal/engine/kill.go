package engine

import (
	"context"
	"fmt"
	"strconv"
	"syscall"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// KillContainer sends a signal; SIGKILL, the default, is waited for.
func (e *Engine) KillContainer(ctx context.Context, ref, signal string) error {
	number := int(syscall.SIGKILL)
	if signal != "" {
		var err error
		if number, err = parseSignal(signal); err != nil {
			return err
		}
		if number < 1 || number > 64 {
			return errs.New(errs.Invalid, "the linux daemon does not support signal %d", number)
		}
	}
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	ended, cancel := e.waiters.add(c.ID, false)
	defer cancel()
	if number != int(syscall.SIGKILL) {
		return e.kill(ctx, c.ID, number)
	}
	if err := e.kill(ctx, c.ID, number); err != nil {
		return err
	}
	if now := e.store.Snapshot().Containers[c.ID]; now == nil || !now.State.Running() {
		return nil
	}
	if !e.await(ended, killWithin) {
		return errs.New(errs.Unknown, "tried to kill container %s, but did not receive an exit event", c.Name)
	}
	return nil
}

func (e *Engine) kill(ctx context.Context, id string, number int) error {
	l, unlock := e.lock(id)
	defer unlock()
	c := e.store.Snapshot().Containers[id]
	switch {
	case c == nil:
		return noSuchContainer(id)
	case c.State.Status == model.StatusRestarting:
		return e.cancelRestart(ctx, l, c)
	case !c.State.Running():
		return errs.New(errs.Conflict, "cannot kill container: %s: %w", c.Name, errNotRunning(c))
	}
	if endsContainer(c, number) {
		return e.sendStop(ctx, c, number)
	}
	if err := e.runtime.Signal(ctx, c.ID, number); err != nil {
		return fmt.Errorf("Cannot kill container: %s: %w", c.ID, err) //nolint:staticcheck // Docker's words
	}
	e.containerEvent(c, "kill", "signal", strconv.Itoa(number))
	return nil
}

// endsContainer tells whether a signal of a user's counts as a stop: SIGKILL
// and the container's stop signal do. SIGHUP to a server does not.
func endsContainer(c *model.Container, number int) bool {
	stop := int(syscall.SIGTERM)
	if c.Config.StopSignal != "" {
		if n, err := parseSignal(c.Config.StopSignal); err == nil {
			stop = n
		}
	}
	return number == int(syscall.SIGKILL) || number == stop
}
