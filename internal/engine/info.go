package engine

import (
	"context"
	"fmt"
	"os"

	"github.com/jackstay/jackstay/internal/model"
)

// Info gives counts and facts of the host. Images are counted by whoever has them.
func (e *Engine) Info(ctx context.Context) (model.Info, error) {
	version, err := e.runtime.Version(ctx)
	if err != nil {
		return model.Info{}, fmt.Errorf("ask the runtime for its version: %w", err)
	}
	in := model.Info{
		ID: e.id, Root: e.opt.Root, StorageDriver: e.opt.StorageDriver,
		CgroupDriver: "cgroupfs", CgroupVersion: cgroupVersion(),
		Runtime: version, RuntimePath: e.opt.RuntimePath,
		SecurityOptions:     []string{"name=seccomp,profile=builtin"},
		DefaultAddressPools: e.opt.Pools,
	}
	for _, o := range e.Overlaps("") {
		in.Warnings = append(in.Warnings, "WARNING: "+e.overlapWords(o))
	}
	if e.opt.Warnings != nil && e.tenant == "" {
		for _, w := range e.opt.Warnings() {
			in.Warnings = append(in.Warnings, "WARNING: "+w)
		}
	}
	for _, c := range e.store.Snapshot().Containers {
		in.Containers++
		switch {
		case c.State.Status == model.StatusPaused:
			in.Paused++
		case alive(c):
			in.Running++
		default:
			in.Stopped++
		}
	}
	return in, nil
}

// cgroupVersion follows cgroups(7): a unified hierarchy lists its controllers at its root.
func cgroupVersion() string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return "2"
	}
	return "1"
}
