// Package keyed gives mutexes by name.
package keyed

import (
	"slices"
	"sync"
)

// Mutexes are mutexes by name, each of which exists only while somebody holds
// or wants it. The zero value is ready.
type Mutexes struct {
	mu sync.Mutex
	m  map[string]*entry
}

type entry struct {
	sync.Mutex
	users int
}

// Lock locks the name and gives its unlock.
func (k *Mutexes) Lock(name string) (unlock func()) {
	e := k.join(name)
	e.Lock()
	return func() {
		e.Unlock()
		k.leave(name, e)
	}
}

// LockAll locks all names, in their order so that two callers can't wait for
// each other, and gives their unlock.
func (k *Mutexes) LockAll(names ...string) (unlock func()) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	unlocks := make([]func(), 0, len(names))
	for _, name := range names {
		unlocks = append(unlocks, k.Lock(name))
	}
	return func() {
		for _, unlock := range unlocks {
			unlock()
		}
	}
}

func (k *Mutexes) join(name string) *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil {
		k.m = map[string]*entry{}
	}
	e := k.m[name]
	if e == nil {
		e = &entry{}
		k.m[name] = e
	}
	e.users++
	return e
}

func (k *Mutexes) leave(name string, e *entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e.users--; e.users == 0 {
		delete(k.m, name)
	}
}
