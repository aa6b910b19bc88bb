package image

import (
	"context"
	"fmt"
	"sync"

	"go.podman.io/storage"
)

// work counts the operations that make layers. A failed one leaves layers no
// image uses; they are collected when nothing is in flight, because another
// operation's new layers look just like them.
type work struct {
	mu     sync.Mutex
	active int
	dirty  bool
}

// begin announces an operation that makes layers; the caller calls end with
// its error.
func (s *Store) begin() (end func(error)) {
	s.work.mu.Lock()
	s.work.active++
	s.work.mu.Unlock()
	return func(err error) {
		s.work.mu.Lock()
		defer s.work.mu.Unlock()
		s.work.active--
		s.work.dirty = s.work.dirty || err != nil
		if s.work.active > 0 || !s.work.dirty {
			return
		}
		s.work.dirty = false
		if err := s.collectLayers(); err != nil {
			s.log.Warn("collecting layers of a failed operation", "error", err)
		}
	}
}

// collectLayers deletes the layers that no image stands on.
func (s *Store) collectLayers() error {
	images, err := s.store.Images()
	if err != nil {
		return fmt.Errorf("listing images: %w", err)
	}
	layers, err := s.store.Layers()
	if err != nil {
		return fmt.Errorf("listing layers: %w", err)
	}
	unused := map[string]storage.Layer{}
	for _, l := range layers {
		if !l.ReadOnly {
			unused[l.ID] = l
		}
	}
	parents := map[string]string{}
	for _, l := range layers {
		parents[l.ID] = l.Parent
	}
	for _, img := range images {
		for _, top := range append([]string{img.TopLayer}, img.MappedTopLayers...) {
			for ; top != ""; top = parents[top] {
				delete(unused, top)
			}
		}
	}
	return s.deleteLayers(unused)
}

// deleteLayers deletes layers, children before their parents.
func (s *Store) deleteLayers(layers map[string]storage.Layer) error {
	children := map[string]int{}
	for _, l := range layers {
		children[l.Parent]++
	}
	for len(layers) > 0 {
		deleted := 0
		for id, l := range layers {
			if children[id] > 0 {
				continue
			}
			if err := s.store.DeleteLayer(id); err != nil {
				return fmt.Errorf("deleting the unused layer %s: %w", id, err)
			}
			children[l.Parent]--
			delete(layers, id)
			deleted++
		}
		if deleted == 0 {
			return fmt.Errorf("%d unused layers stand on each other in a circle", len(layers))
		}
	}
	return nil
}

// keyed is a set of locks by name. The zero value is ready.
type keyed struct {
	mu    sync.Mutex
	locks map[string]*keyedLock
}

type keyedLock struct {
	held    chan struct{} // has room for the one holder
	waiting int
}

// lock takes the lock of key, or gives ctx's error. The caller calls unlock.
func (k *keyed) lock(ctx context.Context, key string) (unlock func(), err error) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]*keyedLock{}
	}
	l := k.locks[key]
	if l == nil {
		l = &keyedLock{held: make(chan struct{}, 1)}
		k.locks[key] = l
	}
	l.waiting++
	k.mu.Unlock()

	leave := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.waiting--; l.waiting == 0 {
			delete(k.locks, key)
		}
	}
	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
