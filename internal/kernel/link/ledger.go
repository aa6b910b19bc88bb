//go:build linux

package link

import (
	"strings"
	"sync"
)

// ledger remembers every link of ours as we last made or saw it. The watch
// compares what is with it: that tells changes by others from our own, which
// the kernel announces alike.
type ledger struct {
	mu    sync.Mutex
	links map[string]shape  // by link name
	busy  map[string]int    // names being changed by us at this moment
	index map[int]string    // ifindex to name: address events carry the index only
	owner map[string]string // host end to container, as far as known
}

// shape is what of a link must not change without us.
type shape struct {
	index  int
	alias  string
	master int
	up     bool
	mac    string  // of a bridge
	addrs  string  // of a bridge: sorted, link-local ones left out
	rates  buckets // of a host end
}

func newLedger() *ledger {
	return &ledger{
		links: map[string]shape{}, busy: map[string]int{},
		index: map[int]string{}, owner: map[string]string{},
	}
}

// begin says that we change these links now; the watch waits with judging them
// until the returned function is called.
func (l *ledger) begin(names ...string) (end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range names {
		l.busy[n]++
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, n := range names {
			if l.busy[n]--; l.busy[n] == 0 {
				delete(l.busy, n)
			}
		}
	}
}

func (l *ledger) remember(name string, s shape, container string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(name)
	l.links[name] = s
	l.index[s.index] = name
	if container != "" {
		l.owner[name] = container
	}
}

// replace takes a whole observation over, except of links being changed.
func (l *ledger) replace(seen map[string]shape) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.links {
		if _, ok := seen[name]; !ok && l.busy[name] == 0 {
			l.drop(name)
			delete(l.owner, name)
		}
	}
	for name, s := range seen {
		if l.busy[name] == 0 {
			l.drop(name)
			l.links[name] = s
			l.index[s.index] = name
		}
	}
}

// limit notes the limits that a host end was seen to have rightly.
func (l *ledger) limit(name string, rates buckets) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := l.links[name]; ok {
		s.rates = rates
		l.links[name] = s
	}
}

func (l *ledger) forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gone := l.links[name].index
	l.drop(name)
	delete(l.owner, name)
	// The kernel takes the ports off a bridge that goes: that is our doing too.
	for n, s := range l.links {
		if gone != 0 && s.master == gone {
			s.master = 0
			l.links[n] = s
		}
	}
}

// forgetOf forgets the host ends of a container.
func (l *ledger) forgetOf(container string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, c := range l.owner {
		if c == container {
			l.drop(name)
			delete(l.owner, name)
		}
	}
}

func (l *ledger) drop(name string) {
	if s, ok := l.links[name]; ok {
		delete(l.links, name)
		if l.index[s.index] == name {
			delete(l.index, s.index)
		}
	}
}

func (l *ledger) get(name string) (s shape, known, busy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, known = l.links[name]
	return s, known, l.busy[name] > 0
}

// limitedBy is byIndex, but for a device for limits it gives the host end.
func (l *ledger) limitedBy(index int) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name, ok := l.index[index]
	if !strings.HasPrefix(name, ratePrefix) {
		return name, ok
	}
	for end, s := range l.links {
		if s.alias == l.links[name].alias && end != name {
			return end, true
		}
	}
	return name, ok
}

func (l *ledger) byIndex(index int) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name, ok := l.index[index]
	return name, ok
}
