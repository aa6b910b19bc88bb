package engine

import (
	"context"
	"sync"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// waiters are those who wait for a container to end or to be gone.
type waiters struct {
	mu sync.Mutex
	m  map[string]map[*waiter]struct{} // by container ID
}

type waiter struct {
	removed bool // waits for the removal rather than the next end
	last    model.WaitResult
	ch      chan model.WaitResult // buffered, one
}

func newWaiters() *waiters { return &waiters{m: map[string]map[*waiter]struct{}{}} }

// add subscribes; cancel ends the subscription.
func (w *waiters) add(id string, removed bool) (ch <-chan model.WaitResult, cancel func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := &waiter{removed: removed, ch: make(chan model.WaitResult, 1)}
	if w.m[id] == nil {
		w.m[id] = map[*waiter]struct{}{}
	}
	w.m[id][x] = struct{}{}
	return x.ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.drop(id, x)
	}
}

func (w *waiters) drop(id string, x *waiter) {
	delete(w.m[id], x)
	if len(w.m[id]) == 0 {
		delete(w.m, id)
	}
}

// ended answers those who wait for an end, and lets the others know the result.
func (w *waiters) ended(id string, r model.WaitResult) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for x := range w.m[id] {
		if x.removed {
			x.last = r
			continue
		}
		x.ch <- r
		w.drop(id, x)
	}
}

// gone answers everybody: the container exists no more. last is how it ended;
// why its start failed was said to whoever started it, and a removal that
// succeeded has no error of its own, as in Docker.
func (w *waiters) gone(id string, last model.WaitResult) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for x := range w.m[id] {
		r := last
		if x.last.ExitCode != 0 || x.last.Error != "" {
			r = x.last
		}
		r.Error = ""
		x.ch <- r
	}
	delete(w.m, id)
}

// WaitContainer waits for the condition; the channel delivers once, unless ctx
// ends before.
func (e *Engine) WaitContainer(ctx context.Context, ref string, cond model.WaitCondition) (<-chan model.WaitResult, error) {
	if cond == "" {
		cond = model.WaitNotRunning
	}
	if cond != model.WaitNotRunning && cond != model.WaitNextExit && cond != model.WaitRemoved {
		return nil, errs.New(errs.Invalid, "invalid condition: %q", cond)
	}
	c, err := e.FindContainer(ref)
	if err != nil {
		return nil, err
	}
	ch, cancel := e.waiters.add(c.ID, cond == model.WaitRemoved)
	// What happened before add is in the snapshot read after it.
	now := e.store.Snapshot().Containers[c.ID]
	if now == nil || (cond == model.WaitNotRunning && !alive(now)) {
		cancel()
		if now == nil {
			now = c
		}
		done := make(chan model.WaitResult, 1)
		done <- waitResult(now)
		return done, nil
	}
	context.AfterFunc(ctx, cancel)
	return ch, nil
}

func waitResult(c *model.Container) model.WaitResult {
	return model.WaitResult{ExitCode: c.State.ExitCode, Error: c.State.Error}
}
