package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/storage/drivers/copy"
	"go.podman.io/storage/pkg/system"

	"github.com/jackstay/jackstay/internal/errs"
)

// A container's layer is one folder, GRAPHROOT/containers/ID:
//
//	image   a symbolic link to the ID of the image it stands on
//	diff    what the container wrote: overlay's upper directory (vfs: everything)
//	work    overlay's work directory
//	merged  where it is mounted
//
// There is no index: making or removing a layer costs the same with one
// container and with a thousand, and a folder appears and disappears by one
// rename. containers/storage rewrites and syncs a file of all layers and one
// of all containers for each.

// half marks a layer that is being made or removed; it does not exist.
const half = "."

func (s *Store) layerDir(containerID string) string { return filepath.Join(s.layers, containerID) }

// CreateLayer makes a container's writable layer on an image.
func (s *Store) CreateLayer(_ context.Context, containerID, imageID string) error {
	if !validLayerName(containerID) {
		return errs.New(errs.Invalid, "invalid container ID %q", containerID)
	}
	s.removal.RLock()
	defer s.removal.RUnlock()
	img, err := s.findID(imageID)
	if err != nil {
		return err
	}
	base, err := s.lowersOf(img)
	if err != nil {
		return fmt.Errorf("making the layer of container %s: %w", containerID, err)
	}
	tmp := s.layerDir(half + containerID)
	if err := s.fillLayer(tmp, bareID(imageID), base); err != nil {
		_ = os.RemoveAll(tmp)
		return errs.New(errs.Unavailable, "making the layer of container %s: %w", containerID, err)
	}
	if err := os.Rename(tmp, s.layerDir(containerID)); err != nil {
		_ = os.RemoveAll(tmp)
		if errors.Is(err, fs.ErrExist) {
			return errs.New(errs.Conflict, "container %s has a layer already", containerID)
		}
		return errs.New(errs.Unavailable, "making the layer of container %s: %w", containerID, err)
	}
	if err := syncDir(s.layers); err != nil {
		return errs.New(errs.Unavailable, "making the layer of container %s last: %w", containerID, err)
	}
	return nil
}

// syncDir makes what was made below a folder survive a power failure. One call
// is enough: the folders and the link are all metadata, which journals write in
// order.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func validLayerName(id string) bool {
	return id != "" && !strings.HasPrefix(id, half) && filepath.Base(id) == id
}

// fillLayer makes dir with all a layer consists of.
func (s *Store) fillLayer(dir, imageID string, base lowers) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := os.Symlink(imageID, filepath.Join(dir, "image")); err != nil {
		return err
	}
	diff := filepath.Join(dir, "diff")
	if err := os.Mkdir(diff, 0o755); err != nil {
		return err
	}
	if s.driver == driverVFS {
		return copy.DirCopy(base.dirs[0], diff, copy.Content, true)
	}
	// The upper directory's owner and mode are those of the container's /.
	if err := os.Chown(diff, base.uid, base.gid); err != nil {
		return err
	}
	if err := os.Chmod(diff, base.mode); err != nil {
		return err
	}
	for _, name := range []string{"work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// layerImage gives the bare ID of the image a container's layer stands on.
func (s *Store) layerImage(containerID string) (string, error) {
	id, err := os.Readlink(filepath.Join(s.layerDir(containerID), "image"))
	if errors.Is(err, fs.ErrNotExist) || !validLayerName(containerID) {
		return "", errs.New(errs.NotFound, "container %s has no layer", containerID)
	}
	if err != nil {
		return "", fmt.Errorf("reading the layer of container %s: %w", containerID, err)
	}
	return id, nil
}

// RemoveLayer unmounts and deletes a container's layer; an absent one is success.
func (s *Store) RemoveLayer(ctx context.Context, containerID string) error {
	unlock, err := s.containers.lock(ctx, containerID)
	if err != nil {
		return err
	}
	defer unlock()
	imageID, err := s.layerImage(containerID)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.unmount(containerID); err != nil {
		return err
	}
	gone := s.layerDir(half + containerID)
	if err := os.Rename(s.layerDir(containerID), gone); err != nil {
		return errs.New(errs.Unavailable, "removing the layer of container %s: %w", containerID, err)
	}
	if err := system.EnsureRemoveAll(gone); err != nil {
		s.log.Warn("files of a removed container stay until the next start", "container", containerID, "error", err)
	}
	if err := s.releaseHidden(imageID); err != nil {
		s.log.Warn("deleting the image of the last container on it", "image", shortID(imageID), "error", err)
	}
	return nil
}

// Layers lists the container IDs that have a layer.
func (s *Store) Layers(context.Context) ([]string, error) {
	entries, err := os.ReadDir(s.layers)
	if err != nil {
		return nil, fmt.Errorf("listing containers' layers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if validLayerName(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// layersOf lists the containers whose layer stands on the image.
func (s *Store) layersOf(imageID string) ([]string, error) {
	ids, err := s.Layers(context.Background())
	if err != nil {
		return nil, err
	}
	var out []string
	for _, id := range ids {
		if on, err := s.layerImage(id); err == nil && on == bareID(imageID) {
			out = append(out, id)
		}
	}
	return out, nil
}

// removeHalfLayers deletes what an interrupted create or remove left.
func (s *Store) removeHalfLayers() error {
	entries, err := os.ReadDir(s.layers)
	if err != nil {
		return fmt.Errorf("listing containers' layers: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), half) {
			continue
		}
		if err := system.EnsureRemoveAll(filepath.Join(s.layers, e.Name())); err != nil {
			s.log.Warn("removing a half-made layer", "layer", e.Name(), "error", err)
		}
	}
	return nil
}
