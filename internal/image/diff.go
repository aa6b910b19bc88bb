package image

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/directory"
	"go.podman.io/storage/pkg/idtools"

	"github.com/jackstay/jackstay/internal/model"
)

// Changes lists what a container's files differ in from its image's, by path.
// The folders above a change are listed too, as Docker does.
func (s *Store) Changes(_ context.Context, containerID string) ([]model.Change, error) {
	found, err := s.rawChanges(containerID)
	if err != nil {
		return nil, err
	}
	found = dropMountPoints(found, filepath.Join(s.layerDir(containerID), "diff"))
	return withParents(found), nil
}

func (s *Store) rawChanges(containerID string) ([]model.Change, error) {
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
	var found []model.Change
	if s.driver == driverVFS {
		found, err = copyChanges(diff, base.dirs[0])
	} else {
		err = s.withImageView(base, func(view string) error {
			found, err = overlayChanges(diff, view)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("comparing the files of container %s with its image's: %w", containerID, err)
	}
	return found, nil
}

// copyChanges compares a whole copy with what it is a copy of.
func copyChanges(copied, original string) ([]model.Change, error) {
	none := &idtools.IDMappings{}
	found, err := archive.ChangesDirs(copied, none, original, none)
	kinds := map[archive.ChangeType]int{archive.ChangeModify: modified, archive.ChangeAdd: added, archive.ChangeDelete: deleted}
	var out []model.Change
	for _, c := range found {
		out = append(out, model.Change{Path: c.Path, Kind: kinds[c.Kind]})
	}
	return out, err
}

// withParents adds the folders above changes as modified and sorts by path.
func withParents(changes []model.Change) []model.Change {
	byPath := map[string]model.Change{}
	for _, c := range changes {
		byPath[c.Path] = c
	}
	for _, c := range changes {
		for dir := filepath.Dir(c.Path); dir != "/"; dir = filepath.Dir(dir) {
			if _, ok := byPath[dir]; !ok {
				byPath[dir] = model.Change{Path: dir, Kind: modified}
			}
		}
	}
	out := slices.Collect(maps.Values(byPath))
	slices.SortFunc(out, func(a, b model.Change) int { return strings.Compare(a.Path, b.Path) })
	return out
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
			if c.Kind != deleted && (c.Path == top || strings.HasPrefix(c.Path, top+"/")) {
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
		if rw, err = s.copySize(containerID, diff); err != nil {
			return 0, 0, err
		}
	} else if rw, err = directory.Size(diff); err != nil {
		return 0, 0, fmt.Errorf("measuring the layer of container %s: %w", containerID, err)
	}
	return rw, rw + m.Size, nil
}

// copySize gives the bytes of the files in a whole copy that are not the image's.
func (s *Store) copySize(containerID, diff string) (int64, error) {
	changes, err := s.rawChanges(containerID)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, c := range changes {
		if info, err := os.Lstat(filepath.Join(diff, c.Path)); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
	}
	return total, nil
}
