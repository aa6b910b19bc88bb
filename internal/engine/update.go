package engine

import (
	"context"
	"fmt"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// UpdateContainer changes limits, of rates too, and the restart policy, of a
// running container too.
func (e *Engine) UpdateContainer(ctx context.Context, ref string, u model.UpdateRequest) (warnings []string, err error) {
	c, err := e.FindContainer(ref)
	if err != nil {
		return nil, err
	}
	_, unlock := e.lock(c.ID)
	defer unlock()
	if c = e.store.Snapshot().Containers[c.ID]; c == nil {
		return nil, noSuchContainer(ref)
	}
	if c.State.Status == model.StatusRemoving || c.State.Status == model.StatusDead {
		return nil, errs.New(errs.Conflict, "cannot update container %s: container is marked for removal and cannot be updated", c.ID)
	}
	if err := e.permitResources(u.Resources); err != nil {
		return nil, err
	}
	merged := mergeResources(c.Host.Resources, u.Resources)
	if err := checkResources(merged, true); err != nil {
		return nil, err
	}
	rates, err := parseRateWishes(u)
	if err != nil {
		return nil, err
	}
	if u.RestartPolicy != nil {
		if err := checkRestartPolicy(*u.RestartPolicy); err != nil {
			return nil, err
		}
		if c.Host.AutoRemove && u.RestartPolicy.Name != "no" && u.RestartPolicy.Name != "" {
			return nil, errs.New(errs.Invalid, "Restart policy cannot be updated because AutoRemove is enabled for the container")
		}
	}
	undo, words, err := e.updateRates(ctx, c, rates)
	if err != nil {
		return nil, err
	}
	if c.State.Running() && merged != c.Host.Resources {
		if err := e.runtime.Update(ctx, c.ID, merged); err != nil {
			undo()
			return nil, fmt.Errorf("cannot update container %s: %w", c.ID, err)
		}
	}
	err = e.change(c.ID, func(c *model.Container) error {
		c.Host.Resources = merged
		if u.RestartPolicy != nil && u.RestartPolicy.Name != "" {
			c.Host.RestartPolicy = *u.RestartPolicy
		}
		return nil
	})
	if err != nil {
		undo()
		return nil, err
	}
	e.containerEvent(c, "update", words...)
	return nil, nil
}

// mergeResources gives old with what is set in u.
func mergeResources(old, u model.Resources) model.Resources {
	set(&old.Memory, u.Memory)
	set(&old.MemoryReservation, u.MemoryReservation)
	set(&old.MemorySwap, u.MemorySwap)
	set(&old.MemorySwappiness, u.MemorySwappiness)
	set(&old.NanoCPUs, u.NanoCPUs)
	set(&old.CPUShares, u.CPUShares)
	set(&old.CPUPeriod, u.CPUPeriod)
	set(&old.CPUQuota, u.CPUQuota)
	set(&old.CpusetCpus, u.CpusetCpus)
	set(&old.CpusetMems, u.CpusetMems)
	set(&old.PidsLimit, u.PidsLimit)
	set(&old.BlkioWeight, u.BlkioWeight)
	set(&old.OomKillDisable, u.OomKillDisable)
	return old
}

func set[T comparable](dst *T, v T) {
	var zero T
	if v != zero {
		*dst = v
	}
}

// RenameContainer gives a container another name; names and links follow.
func (e *Engine) RenameContainer(ctx context.Context, ref, name string) error {
	if ref == "" || name == "" {
		return errs.New(errs.Invalid, "Neither old nor new names may be empty")
	}
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	if name, err = checkContainerName(name); err != nil {
		return err
	}
	_, unlock := e.lock(c.ID)
	defer unlock()
	old := ""
	_, err = e.store.Update(func(tx *store.Tx) error {
		s := tx.Snapshot()
		now := s.Containers[c.ID]
		if now == nil {
			return noSuchContainer(ref)
		}
		if now.Name == name {
			return errs.New(errs.Invalid, "Renaming a container with the same name as its current name")
		}
		if err := nameFree(s, s.Shown(name, now.Tenant), c.ID); err != nil {
			return errs.New(errs.Conflict, "Error when allocating new name: %w", err)
		}
		renamed := *now
		old, renamed.Name = now.Name, name
		c = &renamed
		return tx.PutContainer(&renamed)
	})
	if err != nil {
		return err
	}
	e.containerEvent(c, "rename", "oldName", "/"+old)
	return nil
}
