package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

const (
	portTries     = 5                // starts with other host ports, when other programs hold the chosen ones
	networkWithin = 30 * time.Second // the network of a start is there by then, or the start fails
	attachWithin  = 5 * time.Second  // clients that attached before the start are connected by then
)

// StartContainer starts a container; one that runs is errs.NotModified.
func (e *Engine) StartContainer(ctx context.Context, ref string) error {
	c, err := e.FindContainer(ref)
	if err != nil {
		return err
	}
	l, unlock := e.lock(c.ID)
	defer unlock()
	ctx = context.WithoutCancel(ctx)
	if err := e.checkStartable(l, c.ID, ref); err != nil {
		return err
	}
	l.stopTimer()
	return e.start(ctx, l, c.ID, true)
}

func (e *Engine) checkStartable(l *live, id, ref string) error {
	c := e.store.Snapshot().Containers[id]
	switch {
	case c == nil:
		return noSuchContainer(ref)
	case l.isRemoving() || c.State.Status == model.StatusRemoving || c.State.Status == model.StatusDead:
		return errs.New(errs.Conflict, "container is marked for removal and cannot be started")
	case c.State.Status == model.StatusPaused:
		return errs.New(errs.Conflict, "cannot start a paused container, try unpause instead")
	case alive(c):
		return errs.New(errs.NotModified, "container is already running")
	}
	return nil
}

// start is one start under way. Its container's lock is held.
type start struct {
	e       *Engine
	l       *live
	id      string
	c       *model.Container    // as the claim stored it
	rev     uint64              // the claim's revision
	ports   []model.PortMapping // the host ports of before, to be tried again after a failure
	mounted bool
	created bool
}

// start makes the container's process run. by a user, it resets what restart
// policies remember. What fails leaves nothing but its reason in the record.
func (e *Engine) start(ctx context.Context, l *live, id string, user bool) error {
	st := &start{e: e, l: l, id: id}
	if c := e.store.Snapshot().Containers[id]; c != nil {
		st.ports = c.Remembered
	}
	if err := st.claim(user, nil); err != nil {
		if c := e.store.Snapshot().Containers[id]; c != nil && c.State.Status != model.StatusRemoving {
			st.fail(ctx, err)
		}
		return err
	}
	err := st.run(ctx, user)
	if err != nil {
		st.fail(ctx, err)
		return startError(err)
	}
	return nil
}

// startError gives a failed program Docker's status: 400.
func startError(err error) error {
	var program *StartError
	if errors.As(err, &program) && errs.KindOf(err) == errs.Unknown {
		return errs.Wrap(errs.Invalid, err)
	}
	return err
}

// claim makes the container active in one transaction: from here on its
// network is wanted and its host ports are its.
func (st *start) claim(user bool, avoid map[model.PortKey]bool) error {
	snap, err := st.e.store.Update(func(tx *store.Tx) error {
		s := tx.Snapshot()
		old := s.Containers[st.id]
		if old == nil {
			return noSuchContainer(st.id)
		}
		c := *old
		if err := checkNetworksThere(s, &c); err != nil {
			return err
		}
		if !old.Active {
			if err := settleInside(tx, &c); err != nil {
				return err
			}
			s = tx.Snapshot()
		}
		if err := checkLinksUp(s, &c); err != nil {
			return err
		}
		if err := permitClaim(tx, &c, bindings(&c)); err != nil {
			return err
		}
		ports, err := claimPorts(s, &c, avoid)
		if err != nil {
			return err
		}
		c.Ports, c.Active = ports, true
		if len(ports) > 0 {
			c.Remembered = slices.Clone(ports)
		}
		if user {
			c.ManuallyStopped = false
			c.State.RestartCount = 0
		}
		c.State.Error = ""
		return tx.PutContainer(&c)
	})
	if err != nil {
		return err
	}
	st.c, st.rev = snap.Containers[st.id], snap.Revision
	return nil
}

// checkNetworksThere refuses a start without a network the container was on.
func checkNetworksThere(s *model.Snapshot, c *model.Container) error {
	if len(c.LostNetworks) > 0 {
		return noSuchNetwork(c.LostNetworks[0])
	}
	return nil
}

// run brings namespace, files, process and network together and lets go.
func (st *start) run(ctx context.Context, user bool) error {
	e := st.e
	net := make(chan error, 1)
	go func() { net <- st.settle(ctx, user) }()
	err := st.create(ctx)
	// The network is waited for even when the process could not be made: the
	// undoing that follows must not race with it.
	if nerr := <-net; err == nil {
		err = nerr
	}
	if err != nil {
		return err
	}
	if err := st.connectAttached(ctx); err != nil {
		return err
	}
	began := e.clock.Now()
	if err := e.runtime.Start(ctx, st.id); err != nil {
		return err
	}
	st.c = e.store.Snapshot().Containers[st.id]
	_, err = e.softChange(st.id, func(c *model.Container) error {
		c.State.Status, c.State.StartedAt = model.StatusRunning, began
		c.State.ExitCode, c.State.OOMKilled, c.State.Error = 0, false, ""
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range st.l.takeWaiting() { // they came after the process was made
		close(p.created)
	}
	st.announce()
	e.keepLeases(st.id, true)
	return nil
}

// announce records the start's events in Docker's order.
func (st *start) announce() {
	s := st.e.store.Snapshot()
	for _, ep := range s.ByContainer[st.id] {
		if n := s.Networks[ep.NetworkID]; n != nil {
			st.e.networkEvent(n, "connect", "container", st.id)
		}
	}
	st.e.containerEvent(st.c, "start")
}

// awaitTargets waits until those whom links between networks lead to have their
// way back. One that does not get it is no reason not to start.
func (st *start) awaitTargets(ctx context.Context, rev uint64) {
	s := st.e.store.Snapshot()
	for _, l := range s.LinksOf[st.id] {
		for _, id := range wayBack(s, l) {
			if err := st.e.network.Wait(ctx, id, rev); err != nil {
				st.e.log.Warn("the target of a link has no way back", "container", st.id, "link", l.Alias, "error", err)
			}
		}
	}
}

// settle waits for the container's network. When another program holds a host
// port that may be another, others are tried.
func (st *start) settle(ctx context.Context, user bool) error {
	ctx, cancel := context.WithTimeout(ctx, networkWithin)
	defer cancel()
	rev, c := st.rev, st.c
	avoid := map[model.PortKey]bool{}
	for try := 1; ; try++ {
		err := st.e.network.Wait(ctx, st.id, rev)
		if err == nil {
			st.awaitTargets(ctx, rev)
			return nil
		}
		ep, _ := publishing(st.e.store.Snapshot(), c)
		if !errs.Is(err, errs.Conflict) || ep == nil {
			return fmt.Errorf("set up the network of container %s: %w", c.Name, err)
		}
		others := otherPorts(c)
		if len(others) == 0 || try == portTries {
			return errs.Wrap(errs.Conflict, endpointError(c, ep, err))
		}
		for _, k := range others {
			avoid[k] = true
		}
		again := &start{e: st.e, l: st.l, id: st.id}
		if err := again.claim(user, avoid); err != nil {
			return err
		}
		rev, c = again.rev, again.c
	}
}

// create mounts the files, makes the namespace and creates the process in it.
func (st *start) create(ctx context.Context) error {
	e := st.e
	type prepared struct {
		path string
		err  error
	}
	ns := make(chan prepared, 1)
	go func() {
		path, err := st.namespace(ctx)
		ns <- prepared{path, err}
	}()
	rootfs, err := e.images.Mount(ctx, st.id)
	st.mounted = true
	p := <-ns
	if err != nil {
		return fmt.Errorf("mount the files of container %s: %w", st.c.Name, err)
	}
	if p.err != nil {
		return p.err
	}
	spec, err := e.runSpec(e.store.Snapshot(), st.c, rootfs, p.path)
	if err != nil {
		return err
	}
	st.created = true
	pid, err := e.runtime.Create(ctx, spec)
	if err != nil {
		return err
	}
	_, err = e.softChange(st.id, func(c *model.Container) error {
		c.State.Pid = pid
		return nil
	})
	return err
}

// fail undoes a start and notes why it failed.
func (st *start) fail(ctx context.Context, cause error) {
	e := st.e
	if st.created {
		if err := e.runtime.Delete(ctx, st.id); err != nil {
			e.log.Error("a failed start's process can't be removed", "container", st.id, "error", err)
		}
	}
	st.l.setDeadUntil(e.clock.Now())
	e.releaseLeases(ctx, st.id) // of a restart
	if st.mounted {
		if err := e.images.Unmount(ctx, st.id); err != nil {
			e.log.Error("a failed start's files can't be unmounted", "container", st.id, "error", err)
		}
	}
	var autoRemove bool
	_, err := e.softChange(st.id, func(c *model.Container) error {
		c.Active, c.Ports, c.Remembered = false, nil, st.ports
		c.State.Pid, c.State.Error, c.State.ExitCode = 0, cause.Error(), exitCodeOf(cause)
		if c.State.Status != model.StatusCreated {
			c.State.Status = model.StatusExited
		}
		autoRemove = c.Host.AutoRemove
		return nil
	})
	if err != nil && !errs.Is(err, errs.NotFound) {
		e.log.Error("a failed start can't be recorded", "container", st.id, "error", err)
	}
	for _, p := range st.l.takeWaiting() {
		p.cancel()
	}
	if c := e.store.Snapshot().Containers[st.id]; c != nil {
		e.waiters.ended(st.id, waitResult(c))
	}
	if autoRemove {
		if err := e.removeLocked(ctx, st.l, st.id, true); err != nil {
			e.log.Error("a container can't be removed after its failed start", "container", st.id, "error", err)
		}
	}
}

// exitCodeOf gives the exit code Docker notes for a failed start.
func exitCodeOf(err error) int {
	var program *StartError
	if errors.As(err, &program) {
		return program.Code
	}
	if strings.Contains(err.Error(), "permission denied") {
		return 126
	}
	return 128
}
