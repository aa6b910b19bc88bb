package engine

import (
	"context"
	"fmt"
	"os"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// killTries bounds how often a forced removal kills a container that somebody
// starts again meanwhile.
const killTries = 3

// RemoveContainer deletes a container with its layer and files; force kills it first.
func (e *Engine) RemoveContainer(ctx context.Context, ref string, o model.RemoveOptions) error {
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	l := e.live(c.ID)
	if !l.beginRemoval() {
		return errs.New(errs.Conflict, "removal of container %s is already in progress", ref)
	}
	defer l.endRemoval()
	ctx = context.WithoutCancel(ctx)
	for try := 0; ; try++ {
		err := e.removeStopped(ctx, l, c.ID, ref, o)
		if err == nil {
			e.devicesBack(ctx, c)
		}
		if err == nil || !errs.Is(err, errs.Conflict) || !o.Force || try == killTries {
			return err
		}
		ended, cancel := e.waiters.add(c.ID, false)
		err = e.killAndAwait(ctx, c.ID, ended)
		cancel()
		if err != nil {
			return fmt.Errorf("cannot remove container %q: could not kill container: %w", "/"+c.Name, err)
		}
	}
}

// removeStopped removes the container unless it runs.
func (e *Engine) removeStopped(ctx context.Context, l *live, id, ref string, o model.RemoveOptions) error {
	l.op.Lock()
	defer l.op.Unlock()
	c := e.store.Snapshot().Containers[id]
	if c == nil {
		return nil // its own --rm was faster
	}
	if c.State.Status == model.StatusRestarting && o.Force {
		if err := e.cancelRestart(ctx, l, c); err != nil {
			return fmt.Errorf("cannot remove container %q: %w", "/"+c.Name, err)
		}
	} else if alive(c) {
		words := fmt.Sprintf("container is %s: stop the container before removing or force remove", c.State.Status)
		if c.State.Status == model.StatusPaused {
			words = "container is paused and must be unpaused first"
		}
		return errs.New(errs.Conflict, "cannot remove container %q: %s", "/"+c.Name, words)
	}
	if err := e.removeLocked(ctx, l, id, o.Volumes); err != nil {
		return fmt.Errorf("cannot remove container %q: %w", "/"+c.Name, err)
	}
	return nil
}

// removeLocked deletes what belongs to a container that does not run, its
// record last: whenever this is cut off, Recover goes on with it. The
// container's lock is held.
func (e *Engine) removeLocked(ctx context.Context, l *live, id string, volumes bool) error {
	c := e.store.Snapshot().Containers[id]
	if c == nil {
		return nil
	}
	l.stopTimer()
	if err := e.markRemoving(c); err != nil {
		return err
	}
	err := e.removeFiles(ctx, id)
	if err != nil {
		e.markDead(id, err)
		return err
	}
	var fip *model.FloatingIP // read where nobody can attach one in between
	_, err = e.store.Soft(func(tx *store.Tx) error {
		fip = tx.Snapshot().FIPs[tx.Snapshot().FIPOf[id]]
		tx.DeleteContainer(id)
		return nil
	})
	if err != nil {
		return err
	}
	e.execs.drop(id)
	if volumes {
		e.removeAnonymous(c)
	}
	if fip != nil {
		e.fipEvent(fip, "detach", "container", id)
		if fip.Auto {
			e.fipEvent(fip, "release")
		}
	}
	e.containerEvent(c, "destroy")
	e.waiters.gone(id, waitResult(c))
	e.forget(id)
	return nil
}

// markRemoving notes that the container goes. One that goes by itself with its
// end needs no mark on disk: Recover finds it ended and removes it.
func (e *Engine) markRemoving(c *model.Container) error {
	if c.State.Status == model.StatusRemoving {
		return nil
	}
	mark := func(c *model.Container) error {
		c.State.Status, c.Active, c.Ports = model.StatusRemoving, false, nil
		return nil
	}
	if c.Host.AutoRemove {
		_, err := e.softChange(c.ID, mark)
		return err
	}
	_, err := e.insist(changing(c.ID, mark)) // on a full disk too: it makes room
	return err
}

// markDead notes a removal that failed: the container can only be removed again.
func (e *Engine) markDead(id string, cause error) {
	_, err := e.softChange(id, func(c *model.Container) error {
		c.State.Status, c.State.Error = model.StatusDead, cause.Error()
		return nil
	})
	if err != nil && !isGone(err) {
		e.log.Error("a failed removal can't be recorded", "container", id, "error", err)
	}
}

// removeFiles deletes the container's process, layer and directory.
func (e *Engine) removeFiles(ctx context.Context, id string) error {
	if err := e.runtime.Delete(ctx, id); err != nil {
		return fmt.Errorf("remove its process: %w", err)
	}
	if err := e.images.RemoveLayer(ctx, id); err != nil {
		return fmt.Errorf("unable to remove filesystem: %w", err)
	}
	// An older plan's hosts file may be on its way: it would be made again, in a
	// directory that is being deleted or that is gone.
	waiting, cancel := context.WithTimeout(ctx, networkWithin)
	defer cancel()
	if err := e.network.Quiet(waiting, id, e.store.Snapshot().Revision); err != nil {
		return fmt.Errorf("unable to remove filesystem: its files are still being written: %w", err)
	}
	if err := os.RemoveAll(e.containerDir(id)); err != nil {
		return fmt.Errorf("unable to remove filesystem: %w", err)
	}
	return nil
}

// removeAnonymous deletes the container's anonymous volumes that nobody else uses.
func (e *Engine) removeAnonymous(c *model.Container) {
	s := e.store.Snapshot()
	for _, m := range c.Mounts {
		v := s.VolumeOf(c, m.Name)
		if m.Type != "volume" || v == nil || !v.Anonymous || len(volumeUsers(s, v)) > 0 {
			continue
		}
		if err := e.RemoveVolume(e.ctx, s.Shown(v.Name, v.Tenant), true); err != nil && !errs.Is(err, errs.Conflict) {
			e.log.Error("an anonymous volume can't be removed with its container", "volume", v.Key(), "container", c.ID, "error", err)
		}
	}
}

// PruneContainers removes every container that does not run, except those keep wants.
func (e *Engine) PruneContainers(ctx context.Context, keep func(*model.Container) bool) (ids []string, reclaimed int64, err error) {
	for id, c := range e.store.Snapshot().Containers {
		if err := ctx.Err(); err != nil {
			return ids, reclaimed, err
		}
		if c.Tenant != e.tenant || alive(c) || (keep != nil && keep(c)) {
			continue
		}
		size, _, err := e.images.LayerSize(ctx, id)
		if err != nil {
			size = 0
		}
		if err := e.RemoveContainer(ctx, id, model.RemoveOptions{}); err != nil {
			if !errs.Is(err, errs.Conflict) && !isGone(err) {
				e.log.Error("a container can't be pruned", "container", id, "error", err)
			}
			continue
		}
		ids = append(ids, id)
		reclaimed += size
	}
	return ids, reclaimed, nil
}
