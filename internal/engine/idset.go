package engine

import "sync"

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
