package engine

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/jackstay/jackstay/internal/model"
)

// eventsKept is how many events --since can look back, as Docker's 256 times four.
const eventsKept = 1024

// bus keeps the last events and wakes those who follow. A follower reads at
// its own pace from the ring; one that falls behind by more than the ring
// misses the oldest, and nobody waits for it.
type bus struct {
	mu     sync.Mutex
	ring   []model.Event
	next   uint64        // sequence number of the next event
	signal chan struct{} // closed with the next event
}

func newBus() *bus { return &bus{signal: make(chan struct{})} }

func (b *bus) emit(ev model.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ring) < eventsKept {
		b.ring = append(b.ring, ev)
	} else {
		b.ring[b.next%eventsKept] = ev
	}
	b.next++
	close(b.signal)
	b.signal = make(chan struct{})
}

// from gives the events numbered seq and later that are still kept, the number
// to go on with, and what closes with the next one.
func (b *bus) from(seq uint64) (evs []model.Event, next uint64, signal <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if kept := uint64(len(b.ring)); b.next-min(seq, b.next) > kept {
		seq = b.next - kept
	}
	for ; seq < b.next; seq++ {
		evs = append(evs, b.ring[seq%eventsKept])
	}
	return evs, b.next, b.signal
}

func (b *bus) now() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next
}

// Events delivers those recorded since since (zero: none), then, unless until
// is past, live ones until ctx ends or until comes. The channel closes then.
func (e *Engine) Events(ctx context.Context, since, until time.Time) (<-chan model.Event, error) {
	seq := uint64(0)
	if since.IsZero() {
		seq = e.events.now()
	}
	ended := make(chan struct{})
	if !until.IsZero() {
		stop := e.clock.AfterFunc(max(0, until.Sub(e.clock.Now())), func() { close(ended) })
		context.AfterFunc(ctx, func() { stop() })
	}
	out := make(chan model.Event, 64)
	go e.follow(ctx, out, seq, since, until, ended)
	return out, nil
}

func (e *Engine) follow(ctx context.Context, out chan<- model.Event, seq uint64, since, until time.Time, ended <-chan struct{}) {
	defer close(out)
	for {
		evs, next, signal := e.events.from(seq)
		seq = next
		for _, ev := range evs {
			if e.tenant != "" && ev.Tenant != e.tenant {
				continue
			}
			if ev.Time.Before(since) || (!until.IsZero() && ev.Time.After(until)) {
				continue
			}
			select {
			case out <- e.shown(ev):
			case <-ctx.Done():
				return
			case <-e.ctx.Done():
				return
			}
		}
		if !until.IsZero() && !e.clock.Now().Before(until) {
			return
		}
		select {
		case <-signal:
		case <-ended:
		case <-ctx.Done():
			return
		case <-e.ctx.Done():
			return
		}
	}
}

// shown is an event as the administrator sees it, with its tenant, or a tenant.
func (e *Engine) shown(ev model.Event) model.Event {
	if e.tenant == "" && ev.Tenant != "" {
		ev.Attributes = maps.Clone(ev.Attributes)
		if ev.Attributes == nil {
			ev.Attributes = map[string]string{}
		}
		ev.Attributes["tenant"] = ev.Tenant
	}
	if e.tenant != "" {
		ev.Tenant = "" // it knows of no tenants
	}
	return ev
}

// Emit records an event; one without a time is of now, and one without a tenant
// of this engine's.
func (e *Engine) Emit(ev model.Event) {
	if ev.Tenant == "" {
		ev.Tenant = e.tenant
	}
	if ev.Time.IsZero() {
		ev.Time = e.clock.Now()
	}
	e.events.emit(ev)
}

// containerEvent records what happened to a container, with its labels, image
// and name beside the attributes given as pairs.
func (e *Engine) containerEvent(c *model.Container, action string, attrs ...string) {
	a := make(map[string]string, len(c.Config.Labels)+2+len(attrs)/2)
	maps.Copy(a, c.Config.Labels)
	a["image"], a["name"] = c.Image, c.Name
	e.Emit(model.Event{Type: "container", Action: action, ID: c.ID, Tenant: c.Tenant, Attributes: pairs(a, attrs)})
}

func (e *Engine) networkEvent(n *model.Network, action string, attrs ...string) {
	if action == "create" || action == "destroy" {
		e.overlaps.look()
	}
	a := map[string]string{"name": n.Name, "type": n.Driver}
	e.Emit(model.Event{Type: "network", Action: action, ID: n.ID, Tenant: n.Tenant, Attributes: pairs(a, attrs)})
}

func (e *Engine) volumeEvent(v *model.Volume, action string, attrs ...string) {
	a := map[string]string{"driver": "local"}
	e.Emit(model.Event{Type: "volume", Action: action, ID: v.Name, Tenant: v.Tenant, Attributes: pairs(a, attrs)})
}

func pairs(m map[string]string, kv []string) map[string]string {
	for i := 0; i+1 < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}
