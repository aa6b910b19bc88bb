package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// collect removes processes, layers and directories that no record names.
func (e *Engine) collect(ctx context.Context, inRuntime []string) {
	for _, id := range inRuntime {
		e.collectOne(ctx, id, "process", e.runtime.Delete)
	}
	layers, err := e.images.Layers(ctx)
	if err != nil {
		e.log.Error("the layers can't be listed", "error", err)
	}
	for _, id := range layers {
		e.collectOne(ctx, id, "layer", e.images.RemoveLayer)
	}
	for _, id := range e.names(filepath.Join(e.opt.Root, "containers")) {
		e.collectOne(ctx, id, "directory", func(_ context.Context, id string) error { return os.RemoveAll(e.containerDir(id)) })
	}
	for _, key := range e.names(e.volumesDir()) {
		e.collectVolume(key)
	}
}

func (e *Engine) names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.log.Error("leftovers can't be listed", "directory", dir, "error", err)
	}
	var out []string
	for _, d := range entries {
		out = append(out, d.Name())
	}
	return out
}

// collectOne removes what is left of a container that has no record and is not
// being made.
func (e *Engine) collectOne(ctx context.Context, id, what string, remove func(context.Context, string) error) {
	if ctx.Err() != nil || e.making.has(id) || e.store.Snapshot().Containers[id] != nil {
		return
	}
	if err := remove(context.WithoutCancel(ctx), id); err != nil {
		e.log.Error("a leftover can't be removed", "what", what, "container", id, "error", err)
	}
}

// collectVolume removes the directory of a volume whose making was cut off.
// One without the mark and without a record is somebody's data: it stays.
func (e *Engine) collectVolume(key string) {
	defer e.volumeLocks.Lock(key)()
	if _, err := os.Lstat(filepath.Join(e.volumeDir(key), newMark)); err != nil {
		return
	}
	if e.store.Snapshot().Volumes[key] != nil {
		e.keepVolumeDir(key)
		return
	}
	e.dropVolumeDir(key)
}
