package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Waits between restarts, Docker's: 100 ms, doubled up to a minute; back to
// the first after a run of ten seconds.
const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = time.Minute
	steadyRun    = 10 * time.Second
)

// wantsRestart tells whether the policy starts a container again that ended
// with this code, after count restarts. A user's stop ends every policy until
// the next start, or, for always, until the daemon starts.
func wantsRestart(c *model.Container, exitCode, count int) bool {
	p := c.Host.RestartPolicy
	if c.ManuallyStopped {
		return false
	}
	switch p.Name {
	case "always", "unless-stopped":
		return true
	case "on-failure":
		return exitCode != 0 && (p.MaxRetries == 0 || count < p.MaxRetries)
	}
	return false
}

// scheduleRestart starts the container again after its wait. Its lock is held.
func (e *Engine) scheduleRestart(l *live, id string, ran time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case ran >= steadyRun || l.backoff == 0:
		l.backoff = firstBackoff
	default:
		l.backoff = min(2*l.backoff, lastBackoff)
	}
	l.timer = e.clock.AfterFunc(l.backoff, func() {
		e.goWork(func() { e.restartDue(id) })
	})
}

// restartDue carries out a restart whose time has come, if it is still wanted.
func (e *Engine) restartDue(id string) {
	l, unlock := e.lock(id)
	defer unlock()
	c := e.store.Snapshot().Containers[id]
	if c == nil || c.State.Status != model.StatusRestarting || l.isRemoving() || e.ctx.Err() != nil {
		return
	}
	if err := e.start(e.ctx, l, id, false); err != nil {
		e.log.Error("a container can't be restarted", "container", id, "name", c.Name, "error", err)
	}
}

// cancelRestart ends a wait for a restart: the container stays exited. Its
// lock is held.
func (e *Engine) cancelRestart(ctx context.Context, l *live, c *model.Container) error {
	l.stopTimer()
	e.releaseLeases(ctx, c.ID)
	_, err := e.insist(changing(c.ID, func(c *model.Container) error {
		c.State.Status, c.Active, c.Ports = model.StatusExited, false, nil
		c.ManuallyStopped = true
		return nil
	}))
	if err != nil {
		return err
	}
	if err := e.images.Unmount(ctx, c.ID); err != nil {
		e.log.Error("the files of a stopped container can't be unmounted", "container", c.ID, "error", err)
	}
	e.waiters.ended(c.ID, waitResult(c))
	return nil
}

// RestartContainer stops a container and starts it again; its network and host
// ports stay meanwhile, so those in its namespace notice nothing.
func (e *Engine) RestartContainer(ctx context.Context, ref, signal string, timeout *int) error {
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err := e.restart(ctx, c.ID, signal, timeout); err != nil {
		var known *errs.Error
		err = fmt.Errorf("Cannot restart container %s: %w", ref, err) //nolint:staticcheck // Docker's words
		if !errors.As(err, &known) {
			return errs.Wrap(errs.Unknown, err)
		}
		return err
	}
	return nil
}

func (e *Engine) restart(ctx context.Context, id, signal string, timeout *int) error {
	l := e.live(id)
	l.setRestarting(true)
	stopErr := e.stop(ctx, id, signal, timeout)
	l.op.Lock()
	defer l.op.Unlock()
	l.setRestarting(false)
	if stopErr != nil && !errs.Is(stopErr, errs.NotModified) {
		e.release(ctx, id)
		return stopErr
	}
	c := e.store.Snapshot().Containers[id]
	if c == nil {
		return noSuchContainer(id)
	}
	if err := e.checkStartable(l, id, id); err != nil {
		e.release(ctx, id)
		if errs.Is(err, errs.NotModified) {
			return nil // somebody else started it meanwhile
		}
		return err
	}
	l.stopTimer()
	if err := e.start(ctx, l, id, true); err != nil {
		return err
	}
	e.containerEvent(c, "restart")
	return nil
}

// release gives back network and host ports that were kept for a start that
// does not come.
func (e *Engine) release(ctx context.Context, id string) {
	c := e.store.Snapshot().Containers[id]
	if c == nil || alive(c) || !c.Active {
		return
	}
	e.releaseLeases(ctx, id)
	_, err := e.softChange(id, func(c *model.Container) error {
		c.Active, c.Ports = false, nil
		return nil
	})
	if err != nil && !isGone(err) {
		e.log.Error("a stopped container's network can't be given back", "container", id, "error", err)
	}
}
