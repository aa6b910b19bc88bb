// Package keyed gives mutexes by name.
package keyed

import "sync"

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
