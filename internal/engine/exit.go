package engine

import (
	"context"
	"strconv"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// exited takes note of the end of a container's process.
func (e *Engine) exited(x Exit) {
	l, unlock := e.lock(x.ID)
	defer unlock()
	c := e.store.Snapshot().Containers[x.ID]
	if c == nil {
		e.forget(x.ID)
		return
	}
	if !c.State.Running() {
		return // that end is accounted for already
	}
	if x.FinishedAt.Equal(c.State.FinishedAt) || x.FinishedAt.Before(l.getDeadUntil()) {
		// It may be that of an earlier process, told late. The runtime knows.
		if rs, err := e.runtime.State(e.ctx, x.ID); err == nil && rs.Running {
			return
		}
	}
	e.ended(e.ctx, l, c, x)
}

// ended records an end, applies the restart policy, and gives back what the
// container held. Its lock is held.
func (e *Engine) ended(ctx context.Context, l *live, c *model.Container, x Exit) {
	ctx = context.WithoutCancel(ctx)
	ran := x.FinishedAt.Sub(c.State.StartedAt)
	restart := !l.isRestarting() && wantsRestart(c, x.ExitCode, c.State.RestartCount)
	remove := c.Host.AutoRemove && !l.isRestarting() && !restart

	record := func(c *model.Container) error {
		c.State.Status, c.State.Pid = model.StatusExited, 0
		c.State.ExitCode, c.State.OOMKilled, c.State.FinishedAt = x.ExitCode, x.OOMKilled, x.FinishedAt
		c.State.Error = ""
		switch {
		case restart:
			c.State.Status = model.StatusRestarting
			c.State.RestartCount++
		case !l.isRestarting():
			c.Active, c.Ports = false, nil
		}
		if remove {
			c.State.Status = model.StatusRemoving
		}
		return nil
	}
	if !restart && !l.isRestarting() {
		e.releaseLeases(ctx, c.ID)
	}
	if err := e.recordEnd(c.ID, remove, record); err != nil {
		// The runtime still knows: Recover or the next start asks it.
		e.log.Error("the end of a container can't be recorded", "container", c.ID, "error", err)
		return
	}
	e.containerEvent(c, "die", "exitCode", strconv.Itoa(x.ExitCode), "execDuration", strconv.Itoa(max(0, int(ran.Seconds()))))
	if x.OOMKilled {
		e.containerEvent(c, "oom")
	}
	e.announceLeft(c) // through a restart too: the start says connect again
	e.execs.drop(c.ID)
	// Those who wait hear of it now; what follows frees what nobody sees.
	e.waiters.ended(c.ID, model.WaitResult{ExitCode: x.ExitCode})
	if remove {
		if err := e.removeLocked(ctx, l, c.ID, true); err != nil {
			e.log.Error("a container can't be removed after its end", "container", c.ID, "error", err)
		}
		return
	}
	if err := e.runtime.Delete(ctx, c.ID); err != nil {
		e.log.Error("an ended container can't be removed from the runtime", "container", c.ID, "error", err)
	}
	if !restart && !l.isRestarting() {
		if err := e.images.Unmount(ctx, c.ID); err != nil {
			e.log.Error("the files of an ended container can't be unmounted", "container", c.ID, "error", err)
		}
	}
	if restart {
		e.scheduleRestart(l, c.ID, ran)
	}
}

// recordEnd stores the end: on disk before the runtime forgets it, unless the
// container goes away with it.
func (e *Engine) recordEnd(id string, gone bool, f func(*model.Container) error) error {
	if gone {
		_, err := e.softChange(id, f)
		return err
	}
	_, err := e.insist(changing(id, f))
	return err
}

// announceLeft records that a container that stopped left its networks.
func (e *Engine) announceLeft(c *model.Container) {
	s := e.store.Snapshot()
	for _, ep := range s.ByContainer[c.ID] {
		if n := s.Networks[ep.NetworkID]; n != nil {
			e.networkEvent(n, "disconnect", "container", c.ID)
		}
	}
}

// isGone tells whether err says that the container is not there any more.
func isGone(err error) bool { return errs.Is(err, errs.NotFound) }
