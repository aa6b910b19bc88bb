package engine

import (
	"context"
	"fmt"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// A call is done when the kernel has what it recorded. When the kernel refuses,
// what the call gives is taken back, and what it takes away stays away: who
// closes something never finds it open again because closing it was difficult.

// effect is what a recorded change comes to.
type effect struct {
	doing string   // for errors; empty: change the network of the container
	of    []string // containers whose network is another; those not active have none
	more  func(context.Context) error
}

// settle returns when a change recorded by then is in effect, or with what keeps
// it from being. Only the containers it is about can fail it, and what all share.
func (e *Engine) settle(ctx context.Context, s *model.Snapshot, f effect) error {
	for _, id := range f.of {
		c := s.Containers[id]
		if c == nil || !c.Active {
			continue
		}
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), networkWithin)
		err := e.network.Wait(within, id, s.Revision)
		cancel()
		if err == nil && f.more != nil {
			err = f.more(context.WithoutCancel(ctx))
		}
		switch {
		case err == nil:
		case f.doing == "":
			return fmt.Errorf("change the network of container %s: %w", c.Name, err)
		default:
			return fmt.Errorf("%s: %w", f.doing, err)
		}
	}
	return nil
}

// orTakeBack is settle for what gives something: if it can't be made true, undo
// takes it out of the records, and nothing of it is left when this returns.
func (e *Engine) orTakeBack(ctx context.Context, s *model.Snapshot, f effect, undo func(*store.Tx) error) error {
	err := e.settle(ctx, s, f)
	if err == nil {
		return nil
	}
	before, uerr := e.insist(undo)
	if isGone(uerr) { // with its container
		return err
	}
	if uerr != nil {
		e.log.Error("what failed can't be taken back", "error", uerr, "failure", err)
		return fmt.Errorf("%w; it stays recorded, for it can't be taken back: %w", err, uerr)
	}
	_ = e.settle(ctx, before, effect{of: f.of}) // what fails of it is tried again by itself
	return fmt.Errorf("%w; nothing was changed", err)
}

// orKeep is settle for what takes something away: it stays recorded, and is
// tried until it is so.
func (e *Engine) orKeep(ctx context.Context, s *model.Snapshot, f effect) error {
	if err := e.settle(ctx, s, f); err != nil {
		return fmt.Errorf("%w; it is recorded all the same, and tried again until it is in effect", err)
	}
	return nil
}

// insist stores what is so whatever the disk says: a disk that refuses gets it
// later.
func (e *Engine) insist(fn func(*store.Tx) error) (*model.Snapshot, error) {
	s, err := e.store.Update(fn)
	if errs.Is(err, errs.Unavailable) {
		return e.store.Soft(fn)
	}
	return s, err
}
