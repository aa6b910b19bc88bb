package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

const (
	// recoverAtOnce is how many containers are looked at beside each other.
	recoverAtOnce = 16
	// lostExitCode is that of a process nobody saw end, with the machine: Docker's 255.
	lostExitCode = 255
)

// Recover finds out what became of everything while no daemon ran: it makes
// the default networks, asks the runtime about every container, finishes what
// was cut off, and collects what belongs to nobody. Restarts and clean-up, which
// nobody has to wait for and which need the network, are left to Run. Call it
// once, before the API answers.
func (e *Engine) Recover(ctx context.Context) error {
	if err := e.ensureDefaults(ctx); err != nil {
		return err
	}
	known, err := e.runtime.List(ctx)
	if err != nil {
		return fmt.Errorf("list what the runtime knows: %w", err)
	}
	inRuntime := map[string]bool{}
	for _, id := range known {
		inRuntime[id] = true
	}
	found := e.findAll(ctx, inRuntime)
	if err := e.recordFound(found); err != nil {
		return err
	}
	e.toFinish = &recovery{containers: found, inRuntime: known}
	return nil
}

// recovery is what Recover found.
type recovery struct {
	containers []found
	inRuntime  []string // IDs the runtime knew
}

// found is what became of one container.
type found struct {
	id      string
	state   model.State // as it is now
	active  bool
	restart bool // its policy starts it
	remove  bool // it is to go
	clear   bool // the runtime has something left of it
	unmount bool
	err     error
}

// findAll looks at every container, some beside each other.
func (e *Engine) findAll(ctx context.Context, inRuntime map[string]bool) []found {
	s := e.store.Snapshot()
	out := make([]found, 0, len(s.Containers))
	for id := range s.Containers {
		out = append(out, found{id: id})
	}
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(recoverAtOnce, len(out)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				out[i] = e.find(ctx, s.Containers[out[i].id], inRuntime)
			}
		}()
	}
	for i := range out {
		next <- i
	}
	close(next)
	wg.Wait()
	return out
}

// find decides what became of a container and what is to be done about it.
func (e *Engine) find(ctx context.Context, c *model.Container, inRuntime map[string]bool) found {
	f := found{id: c.ID, state: c.State, active: c.Active, clear: inRuntime[c.ID]}
	if c.State.Status == model.StatusRemoving || c.State.Status == model.StatusDead {
		f.remove = true
		return f
	}
	var rs RunState
	if inRuntime[c.ID] || alive(c) {
		if rs, f.err = e.runtime.State(ctx, c.ID); f.err != nil {
			e.log.Error("the runtime can't tell what became of a container", "container", c.ID, "error", f.err)
			return f // as it is: it is looked at again at the next start
		}
	}
	switch {
	case rs.Running && c.Active:
		f.keep(rs)
		return f
	case c.State.Running() && rs.Exited:
		f.end(c, rs.ExitCode, rs)
	case c.State.Running():
		rs.FinishedAt = e.clock.Now()
		f.end(c, lostExitCode, rs)
		f.clear = true // nobody knows it any more, which is not to say that it has ended
	case c.Active && rs.Exited && !rs.FinishedAt.Before(c.State.FinishedAt) && !rs.StartedAt.IsZero():
		f.end(c, rs.ExitCode, rs) // it ended before its start was noted
	case c.State.Status == model.StatusRestarting:
		f.restart = true
	case c.State.Status == model.StatusExited && !c.State.StartedAt.IsZero():
		f.restart = wantsRestartAtBoot(c)
	}
	f.remove = c.Host.AutoRemove && !c.State.StartedAt.IsZero()
	f.active = f.restart && c.Active
	f.unmount = !f.active
	if f.state.Status != model.StatusRestarting && f.restart {
		f.state.Status = model.StatusRestarting
	}
	f.state.Pid = 0
	return f
}

// keep notes that the container runs.
func (f *found) keep(rs RunState) {
	f.clear = false
	f.state.Status = model.StatusRunning
	if rs.Paused {
		f.state.Status = model.StatusPaused
	}
	f.state.Pid = rs.Pid
	if !rs.StartedAt.IsZero() {
		f.state.StartedAt = rs.StartedAt
	}
}

// end notes an end that nobody saw, and whether the policy starts it again.
func (f *found) end(c *model.Container, code int, rs RunState) {
	f.state.Status = model.StatusExited
	f.state.ExitCode, f.state.OOMKilled, f.state.FinishedAt = code, rs.OOMKilled, rs.FinishedAt
	if f.state.StartedAt.IsZero() {
		f.state.StartedAt = rs.StartedAt
	}
	f.restart = wantsRestart(c, code, c.State.RestartCount)
	if f.restart {
		f.state.RestartCount++
	}
}

// wantsRestartAtBoot tells whether the daemon's start starts a container that
// ended under an earlier daemon: always does so even after a user's stop, as
// Docker has it.
func wantsRestartAtBoot(c *model.Container) bool {
	if c.Host.RestartPolicy.Name == "always" {
		return true
	}
	return c.Host.RestartPolicy.Name == "unless-stopped" && !c.ManuallyStopped
}

// recordFound writes what was found in one transaction.
func (e *Engine) recordFound(all []found) error {
	_, err := e.store.Update(func(tx *store.Tx) error {
		for _, f := range all {
			old := tx.Snapshot().Containers[f.id]
			if old == nil || f.err != nil {
				continue
			}
			c := *old
			c.State, c.Active = f.state, f.active
			if f.remove {
				c.Active = false
			}
			if !c.Active {
				c.Ports = nil
			}
			if c.State == old.State && c.Active == old.Active && slices.Equal(c.Ports, old.Ports) {
				continue
			}
			if err := tx.PutContainer(&c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record what became of the containers: %w", err)
	}
	return nil
}

// cleanUp finishes removals, starts what its policy starts, and collects what
// belongs to nobody.
func (e *Engine) cleanUp(ctx context.Context, r *recovery) {
	e.collect(ctx, r.inRuntime)
	limit := make(chan struct{}, recoverAtOnce)
	var wg sync.WaitGroup
	for _, f := range r.containers {
		if !f.remove && !f.restart && !f.clear && !f.unmount {
			continue
		}
		limit <- struct{}{}
		wg.Add(1)
		go func() {
			defer wg.Done()
			e.settleFound(ctx, f)
			<-limit
		}()
	}
	wg.Wait()
	for _, t := range e.store.Snapshot().Tenants {
		if !t.Removing {
			continue
		}
		if err := e.RemoveTenant(ctx, t.Name, true); err != nil && !isGone(err) {
			e.log.Error("a tenant's removal that was cut off can't be finished", "tenant", t.Name, "error", err)
		}
	}
}

// settleFound does what was decided about one container, unless a user was faster.
func (e *Engine) settleFound(ctx context.Context, f found) {
	if ctx.Err() != nil {
		return
	}
	l, unlock := e.lock(f.id)
	defer unlock()
	c := e.store.Snapshot().Containers[f.id]
	if c == nil || c.State.Running() {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if f.remove {
		if err := e.removeLocked(ctx, l, f.id, c.Host.AutoRemove); err != nil {
			e.log.Error("a removal that was cut off can't be finished", "container", f.id, "error", err)
		}
		return
	}
	if f.clear {
		if err := e.runtime.Delete(ctx, f.id); err != nil {
			e.log.Error("what is left of a container can't be removed from the runtime", "container", f.id, "error", err)
		}
	}
	if f.unmount {
		if err := e.images.Unmount(ctx, f.id); err != nil {
			e.log.Error("a container's files can't be unmounted", "container", f.id, "error", err)
		}
	}
	if f.restart && c.State.Status == model.StatusRestarting && !l.isRemoving() {
		if err := e.start(ctx, l, f.id, false); err != nil {
			e.log.Error("a container can't be started with the daemon", "container", f.id, "name", c.Name, "error", err)
		}
	}
}
