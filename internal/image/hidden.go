package image

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.podman.io/storage"
)

// A deleted image whose layers a container still stands on can't be deleted
// yet: it is hidden, and deleted with the last such container. A name given to
// it again (by pull, load, import) brings it back.

// hiddenKey is the image's data item that says so: "1" or "0".
const hiddenKey = "jackstay-deleted"

// hiddenImages is the set of bare IDs whose data item is "1".
type hiddenImages struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (s *Store) isHidden(img *storage.Image) bool {
	if len(img.Names) > 0 {
		return false
	}
	s.hidden.mu.Lock()
	defer s.hidden.mu.Unlock()
	return s.hidden.ids[img.ID]
}

// markHidden hides an image that is about to be deleted.
func (s *Store) markHidden(id string) {
	s.hidden.mu.Lock()
	defer s.hidden.mu.Unlock()
	s.hidden.ids[id] = true
}

func (s *Store) unmarkHidden(id string) {
	s.hidden.mu.Lock()
	defer s.hidden.mu.Unlock()
	delete(s.hidden.ids, id)
}

// setHidden hides an image for good, or shows it again.
func (s *Store) setHidden(id string, hidden bool) error {
	s.hidden.mu.Lock()
	defer s.hidden.mu.Unlock()
	if s.hidden.ids[id] == hidden {
		return nil
	}
	value := map[bool]string{true: "1", false: "0"}[hidden]
	if err := s.store.SetImageBigData(id, hiddenKey, []byte(value), nil); err != nil {
		return fmt.Errorf("marking image %s as deleted: %w", shortID(id), err)
	}
	if hidden {
		s.hidden.ids[id] = true
	} else {
		delete(s.hidden.ids, id)
	}
	return nil
}

// loadHidden reads the marks and deletes the images no container keeps any more.
func (s *Store) loadHidden() error {
	s.hidden.ids = map[string]bool{}
	images, err := s.store.Images()
	if err != nil {
		return fmt.Errorf("listing images: %w", err)
	}
	for _, img := range images {
		if !slices.Contains(img.BigDataNames, hiddenKey) {
			continue
		}
		value, err := s.store.ImageBigData(img.ID, hiddenKey)
		if err != nil {
			return fmt.Errorf("reading image %s: %w", shortID(img.ID), err)
		}
		s.hidden.ids[img.ID] = string(value) == "1"
		if err := s.releaseHidden(img.ID); err != nil {
			return err
		}
	}
	return nil
}

// releaseHidden deletes the image if it is hidden and no container's layer
// stands on it.
func (s *Store) releaseHidden(id string) error {
	s.hidden.mu.Lock()
	hidden := s.hidden.ids[id]
	s.hidden.mu.Unlock()
	if !hidden {
		return nil
	}
	img, err := s.store.Image(id)
	if err != nil || !s.isHidden(img) {
		return nil
	}
	users, err := s.layersOf(id)
	if err != nil || len(users) > 0 {
		return err
	}
	_, err = s.deleteRecord(id)
	return err
}

// deleteRecord deletes a hidden image with the layers nothing else stands on
// and gives their bytes.
func (s *Store) deleteRecord(id string) (freed int64, err error) {
	before, err := s.store.Layers()
	if err != nil {
		return 0, fmt.Errorf("listing layers: %w", err)
	}
	gone, err := s.store.DeleteImage(id, true)
	if err != nil && !errors.Is(err, storage.ErrNotAnImage) && !errors.Is(err, storage.ErrImageUnknown) { // somebody else was faster
		return 0, fmt.Errorf("deleting image %s: %w", shortID(id), err)
	}
	for _, l := range before {
		if slices.Contains(gone, l.ID) {
			freed += max(0, l.UncompressedSize)
		}
	}
	s.forget(id)
	s.hidden.mu.Lock()
	delete(s.hidden.ids, id)
	s.hidden.mu.Unlock()
	return freed, nil
}
