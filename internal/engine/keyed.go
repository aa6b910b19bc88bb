package engine

import (
	"slices"
	"sync"
)

// keyed is a mutex per name; entries exist only while somebody holds or wants them.
type keyed struct {
	mu sync.Mutex
	m  map[string]*keyedEntry
}

type keyedEntry struct {
	mu   sync.Mutex
	refs int
}

// lock takes the locks of all names, in their order, and gives their release.
func (k *keyed) lock(names ...string) (unlock func()) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	for _, n := range names {
		k.entry(n, 1).mu.Lock()
	}
	return func() {
		for _, n := range names {
			k.entry(n, -1).mu.Unlock()
		}
	}
}

func (k *keyed) entry(name string, d int) *keyedEntry {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil {
		k.m = map[string]*keyedEntry{}
	}
	e := k.m[name]
	if e == nil {
		e = &keyedEntry{}
		k.m[name] = e
	}
	if e.refs += d; e.refs == 0 {
		delete(k.m, name)
	}
	return e
}

// idSet is a set that several goroutines use.
type idSet struct {
	mu sync.Mutex
	m  map[string]struct{}
}

// add puts id in and gives what takes it out.
func (s *idSet) add(id string) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[string]struct{}{}
	}
	s.m[id] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.m, id)
	}
}

func (s *idSet) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.m[id]
	return ok
}
