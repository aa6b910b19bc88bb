package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/directory"

	"github.com/jackstay/jackstay/internal/model"
)

// Changes lists what a container's files differ in from its image's, by path.
func (s *Store) Changes(_ context.Context, containerID string) ([]model.Change, error) {
	found, err := s.rawChanges(containerID)
	if err != nil {
		return nil, err
	}
	kinds := map[archive.ChangeType]int{archive.ChangeModify: 0, archive.ChangeAdd: 1, archive.ChangeDelete: 2}
	out := make([]model.Change, 0, len(found))
	for _, c := range found {
		out = append(out, model.Change{Path: c.Path, Kind: kinds[c.Kind]})
	}
	out = dropMountPoints(out, filepath.Join(s.layerDir(containerID), "diff"))
	slices.SortFunc(out, func(a, b model.Change) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

func (s *Store) rawChanges(containerID string) ([]archive.Change, error) {
	id, err := s.layerImage(containerID)
	if err != nil {
		return nil, err
	}
	img, err := s.store.Image(id)
	if err != nil {
		return nil, fmt.Errorf("reading the image of container %s: %w", containerID, err)
	}
	base, err := s.lowersOf(img)
	if err != nil {
		return nil, err
	}
	diff := filepath.Join(s.layerDir(containerID), "diff")
	var found []archive.Change
	if s.driver == driverVFS {
		found, err = archive.ChangesDirs(diff, nil, base.dirs[0], nil)
	} else {
		found, err = archive.OverlayChanges(base.dirs, diff)
	}
	if err != nil {
		return nil, fmt.Errorf("comparing the files of container %s with its image's: %w", containerID, err)
	}
	return found, nil
}

// dropMountPoints leaves out what no program wrote: the mount points a runtime
// makes in the layer for /dev, /proc, /sys and the engine's files, and /etc
// where those are all there is to it.
func dropMountPoints(changes []model.Change, diff string) []model.Change {
	dropped := false
	changes = slices.DeleteFunc(changes, func(c model.Change) bool {
		switch c.Path {
		case "/etc/hosts", "/etc/hostname", "/etc/resolv.conf":
			info, err := os.Lstat(filepath.Join(diff, c.Path))
			empty := err == nil && info.Mode().IsRegular() && info.Size() == 0
			dropped = dropped || empty
			return empty
		}
		for _, top := range []string{"/dev", "/proc", "/sys"} {
			if c.Kind != 2 && (c.Path == top || strings.HasPrefix(c.Path, top+"/")) {
				return true
			}
		}
		return false
	})
	inEtc := func(c model.Change) bool { return strings.HasPrefix(c.Path, "/etc/") }
	if !dropped || slices.ContainsFunc(changes, inEtc) {
		return changes
	}
	return slices.DeleteFunc(changes, func(c model.Change) bool { return c.Path == "/etc" })
}

// LayerSize gives the bytes in the writable layer, and in layer and image together.
func (s *Store) LayerSize(_ context.Context, containerID string) (rw, rootfs int64, err error) {
	id, err := s.layerImage(containerID)
	if err != nil {
		return 0, 0, err
	}
	img, err := s.store.Image(id)
	if err != nil {
		return 0, 0, fmt.Errorf("reading the image of container %s: %w", containerID, err)
	}
	m, err := s.modelImage(img)
	if err != nil {
		return 0, 0, err
	}
	diff := filepath.Join(s.layerDir(containerID), "diff")
	if s.driver == driverVFS {
		changes, err := s.rawChanges(containerID)
		if err != nil {
			return 0, 0, err
		}
		rw = archive.ChangesSize(diff, changes)
	} else if rw, err = directory.Size(diff); err != nil {
		return 0, 0, fmt.Errorf("measuring the layer of container %s: %w", containerID, err)
	}
	return rw, rw + m.Size, nil
}
