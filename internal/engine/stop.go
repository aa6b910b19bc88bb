package engine

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"syscall"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

const (
	stopWithin = 10               // seconds between stop signal and SIGKILL, unless said otherwise
	killWithin = 10 * time.Second // a killed process has ended by then
)

// StopContainer sends the stop signal, waits, then kills. A container that
// does not run is errs.NotModified.
func (e *Engine) StopContainer(ctx context.Context, ref, signal string, timeout *int) error {
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	err = e.stop(context.WithoutCancel(ctx), c.ID, signal, timeout)
	if err != nil && errs.KindOf(err) == errs.Unknown {
		return fmt.Errorf("cannot stop container: %s: %w", ref, err)
	}
	return err
}

func (e *Engine) stop(ctx context.Context, id, signal string, timeout *int) error {
	ended, cancel := e.waiters.add(id, false)
	defer cancel()
	c, err := e.signalToStop(ctx, id, signal)
	if err != nil {
		return err
	}
	if c.State.Status == model.StatusRestarting { // it ended before; nothing to wait for
		e.containerEvent(c, "stop")
		return nil
	}
	within := stopTimeout(c, timeout)
	if within < 0 {
		within = math.MaxInt32
	}
	if !e.await(ended, time.Duration(within)*time.Second) {
		if e.ctx.Err() != nil {
			return errs.New(errs.Unavailable, "the daemon is stopping: container %s may still run", c.Name)
		}
		e.log.Info("a container does not end by itself and is killed", "container", id, "seconds", within)
		if err := e.killAndAwait(ctx, id, ended); err != nil {
			return err
		}
	}
	e.containerEvent(c, "stop")
	return nil
}

// stopTimeout gives the seconds between stop signal and kill; negative: for ever.
func stopTimeout(c *model.Container, asked *int) int {
	switch {
	case asked != nil:
		return *asked
	case c.Config.StopTimeout != nil:
		return *c.Config.StopTimeout
	}
	return stopWithin
}

// signalToStop notes that a user wants the stop and sends the signal.
func (e *Engine) signalToStop(ctx context.Context, id, signal string) (*model.Container, error) {
	l, unlock := e.lock(id)
	defer unlock()
	c := e.store.Snapshot().Containers[id]
	if c == nil {
		return nil, noSuchContainer(id)
	}
	if !alive(c) {
		return nil, errs.New(errs.NotModified, "container is already stopped")
	}
	if signal == "" {
		signal = c.Config.StopSignal
	}
	number := int(syscall.SIGTERM)
	if signal != "" {
		var err error
		if number, err = parseSignal(signal); err != nil {
			return nil, err
		}
	}
	if c.State.Status == model.StatusRestarting {
		return c, e.cancelRestart(ctx, l, c)
	}
	return c, e.sendStop(ctx, c, number)
}

// sendStop sends a signal that a user wants the container to end by.
func (e *Engine) sendStop(ctx context.Context, c *model.Container, number int) error {
	if !c.ManuallyStopped {
		if err := e.change(c.ID, func(c *model.Container) error { c.ManuallyStopped = true; return nil }); err != nil {
			return err
		}
	}
	if err := e.runtime.Signal(ctx, c.ID, number); err != nil {
		if !e.processGone(ctx, c.ID) {
			return fmt.Errorf("Cannot kill container: %s: %w", c.ID, err) //nolint:staticcheck // Docker's words
		}
		return nil // its end is on the way
	}
	if c.State.Status == model.StatusPaused { // the signal arrives once it runs
		if err := e.resume(ctx, c); err != nil {
			e.log.Warn("a paused container that is to stop can't be resumed", "container", c.ID, "error", err)
		}
	}
	e.containerEvent(c, "kill", "signal", strconv.Itoa(number))
	return nil
}

// processGone asks the runtime whether the process has ended already, be its
// exit recorded or not yet.
func (e *Engine) processGone(ctx context.Context, id string) bool {
	rs, err := e.runtime.State(ctx, id)
	return err == nil && !rs.Running
}

// await tells whether the end came within d.
func (e *Engine) await(ended <-chan model.WaitResult, d time.Duration) bool {
	late := make(chan struct{})
	stop := e.clock.AfterFunc(d, func() { close(late) })
	defer stop()
	select {
	case <-ended:
		return true
	case <-late:
		select {
		case <-ended:
			return true
		default:
			return false
		}
	case <-e.ctx.Done():
		return false
	}
}

// killAndAwait sends SIGKILL and waits for the end to be recorded.
func (e *Engine) killAndAwait(ctx context.Context, id string, ended <-chan model.WaitResult) error {
	_, unlock := e.lock(id)
	c := e.store.Snapshot().Containers[id]
	if c == nil || !c.State.Running() {
		unlock()
		return nil
	}
	err := e.sendStop(ctx, c, int(syscall.SIGKILL))
	unlock()
	if err != nil {
		return err
	}
	if e.await(ended, killWithin) {
		return nil
	}
	return errs.New(errs.Unknown, "tried to kill container %s, but did not receive an exit event", c.Name)
}

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
