package engine

import (
	"context"
	"fmt"
	"math"
	"slices"
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
	ctx = context.WithoutCancel(ctx)
	err = e.stop(ctx, c.ID, signal, timeout)
	if err != nil && errs.KindOf(err) == errs.Unknown {
		return fmt.Errorf("cannot stop container: %s: %w", ref, err)
	}
	if err == nil {
		e.devicesBack(ctx, c)
	}
	return err
}

// devicesBack waits until the host has the devices again that were moved into a
// container which has ended, or was removed. One that can't be given back, its
// name being taken perhaps, is told in the log and tried again; it is no failure
// of the stop. Containers without such a device are not waited for.
func (e *Engine) devicesBack(ctx context.Context, c *model.Container) {
	if !slices.ContainsFunc(c.NICs, func(n model.NIC) bool { return n.Kind == model.NICDirect }) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, networkWithin)
	defer cancel()
	_ = e.network.Wait(ctx, c.ID, e.store.Snapshot().Revision)
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
	if !c.ManuallyStopped { // a full disk keeps nothing running that should end
		if _, err := e.insist(changing(c.ID, func(c *model.Container) error { c.ManuallyStopped = true; return nil })); err != nil {
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
