package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/moby/term"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// defaultDetachKeys are ctrl-p, ctrl-q.
var defaultDetachKeys = [...]byte{16, 17}

// pendingAttach is a client that attached before the start: the start waits
// until it is connected, so that it sees the first byte.
type pendingAttach struct {
	created   chan struct{} // closed when the process is there
	connected chan struct{} // closed when the client is, or has given up
	cancelled chan struct{} // closed when there will be no start
	once      sync.Once
}

func newPendingAttach() *pendingAttach {
	return &pendingAttach{created: make(chan struct{}), connected: make(chan struct{}), cancelled: make(chan struct{})}
}

func (p *pendingAttach) cancel() { close(p.cancelled) }

func (p *pendingAttach) done() { p.once.Do(func() { close(p.connected) }) }

// connectAttached lets the waiting clients connect to the created process.
func (st *start) connectAttached(ctx context.Context) error {
	waiting := st.l.takeWaiting()
	for _, p := range waiting {
		close(p.created)
	}
	late := time.NewTimer(attachWithin)
	defer late.Stop()
	for _, p := range waiting {
		select {
		case <-p.connected:
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return errs.New(errs.Unavailable, "start container %s: a client that attached before can't be connected within %s", st.c.Name, attachWithin)
		}
	}
	return nil
}

// AttachContainer streams until the container ends, the client goes or detaches.
func (e *Engine) AttachContainer(ctx context.Context, ref string, s model.Streams, o model.AttachOptions, ready func() error) error {
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	if err := checkAttachable(c); err != nil {
		return err
	}
	if s.DetachKeys, err = detachKeys(c.Config.Tty, s.DetachKeys, o.DetachKeys); err != nil {
		return err
	}
	if !c.Config.OpenStdin {
		s.Stdin = nil
	}
	// A terminal outlives who sits at it. The docker command reads the detach keys
	// itself and hangs up, which looks like the end of its input.
	s.CloseStdin = c.Config.StdinOnce && !c.Config.Tty
	var p *pendingAttach
	if o.Stream && !c.State.Running() {
		if p = e.waitForStart(c.ID); p != nil {
			defer p.done()
			defer e.live(c.ID).dropWaiting(p)
		}
	}
	if err := ready(); err != nil {
		return err
	}
	if o.Logs {
		if err := e.replay(ctx, c.ID, s); err != nil {
			return err
		}
	}
	if !o.Stream {
		return nil
	}
	return e.attach(ctx, c, s, p)
}

func checkAttachable(c *model.Container) error {
	switch c.State.Status {
	case model.StatusPaused:
		return errs.New(errs.Conflict, "container %s is paused, unpause the container before attach", c.Name)
	case model.StatusRestarting:
		return errs.New(errs.Conflict, "container %s is restarting, wait until the container is running", c.Name)
	case model.StatusRemoving, model.StatusDead:
		return errs.New(errs.Conflict, "container %s is marked for removal and cannot be attached to", c.Name)
	}
	return nil
}

// detachKeys gives the keys that detach: only a terminal has some.
func detachKeys(tty bool, keys []byte, spelled string) ([]byte, error) {
	if spelled != "" {
		parsed, err := term.ToBytes(spelled)
		if err != nil {
			return nil, errs.New(errs.Invalid, "Invalid detach keys (%s) provided", spelled)
		}
		keys = parsed
	}
	switch {
	case !tty:
		return nil, nil
	case len(keys) == 0:
		return defaultDetachKeys[:], nil
	}
	return keys, nil
}

// waitForStart puts the client among those the next start waits for; nil: the
// container runs by now.
func (e *Engine) waitForStart(id string) *pendingAttach {
	l, p := e.live(id), newPendingAttach()
	l.mu.Lock()
	l.waiting = append(l.waiting, p)
	l.mu.Unlock()
	c := e.store.Snapshot().Containers[id]
	if c == nil {
		if l.dropWaiting(p) {
			close(p.cancelled)
		}
		return p
	}
	if c.State.Running() && l.dropWaiting(p) {
		return nil
	}
	return p
}

// dropWaiting takes p out of the list; false: a start has taken it.
func (l *live) dropWaiting(p *pendingAttach) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, w := range l.waiting {
		if w == p {
			l.waiting = append(l.waiting[:i:i], l.waiting[i+1:]...)
			return true
		}
	}
	return false
}

func (e *Engine) attach(ctx context.Context, c *model.Container, s model.Streams, p *pendingAttach) error {
	connected := func() {}
	if p != nil {
		select {
		case <-p.created:
			connected = p.done
		case <-p.cancelled:
			return nil
		case <-ctx.Done():
			return nil
		case <-e.ctx.Done():
			return nil
		}
	}
	e.containerEvent(c, "attach")
	err := e.runtime.Attach(ctx, c.ID, s, connected)
	switch {
	case errors.Is(err, model.ErrDetached):
		e.containerEvent(c, "detach")
		return err
	case err != nil && ctx.Err() != nil:
		return nil // the client is gone
	case err != nil:
		return fmt.Errorf("attach to container %s: %w", c.Name, err)
	}
	return nil
}

// replay writes what the container has written so far.
func (e *Engine) replay(ctx context.Context, id string, s model.Streams) error {
	q := model.LogQuery{Stdout: s.Stdout != nil, Stderr: s.Stderr != nil, Tail: -1}
	return e.runtime.Logs(ctx, id, q, func(line model.LogLine) error {
		var w io.Writer = s.Stdout
		if line.Stderr {
			w = s.Stderr
		}
		if w == nil {
			return nil
		}
		_, err := w.Write(line.Data)
		return err
	})
}
