//go:build linux

// Package link makes bridges, veth pairs and what is inside containers' network
// namespaces agree with what is wanted, by netlink. Every call takes the whole
// wanted state of one object and is idempotent: deleting what is absent
// succeeds, and only links that carry our alias are ever changed or deleted.
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/kernel/netns"
	"github.com/jackstay/jackstay/internal/keyed"
)

// Alias begins the alias of every link of ours; the full ID of its network
// (bridges) or endpoint (host ends) follows.
const Alias = "jackstay:"

// Host is the machine's links and the containers' namespaces.
type Host struct {
	log   *slog.Logger
	nl    *netlink.Handle
	slow  *netlink.Handle // for deleting, see deleteLink
	wire  wire
	dir   *netns.Dir
	run   string // for what has to outlive the daemon, and not the machine
	home  int    // the host's namespace
	known *ledger
	// placed are our addresses on devices of others.
	placed placed
	// parents are devices of others that our interfaces inside are on.
	parents parents

	locks keyed.Mutexes // by object: it is changed by one caller at a time
}

// New opens the host whose network namespace the caller is in; runDir/netns
// holds the containers' namespaces.
func New(runDir string, log *slog.Logger) (*Host, error) {
	dir, err := netns.NewDir(filepath.Join(runDir, "netns"))
	if err != nil {
		return nil, err
	}
	h := &Host{log: log, dir: dir, run: runDir, known: newLedger()}
	if h.home, err = netns.Own(); err != nil {
		return nil, err
	}
	if h.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if h.slow, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		h.nl.Close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if h.wire, err = dial(); err != nil {
		h.nl.Close()
		h.slow.Close()
		return nil, err
	}
	return h, nil
}

// Close lets go of the sockets and, when no namespace is left, of the mount
// point of their directory. Links and namespaces stay.
func (h *Host) Close() error {
	h.nl.Close()
	h.slow.Close()
	h.wire.close()
	_ = unix.Close(h.home)
	return h.dir.Close()
}

// lock takes an object's lock and returns what releases it.
func (h *Host) lock(kind, name string) func() { return h.locks.Lock(kind + "/" + name) }

// EnsureNamespace makes the container's network namespace with lo up, if it is
// not there, and gives its path.
func (h *Host) EnsureNamespace(ctx context.Context, container string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	defer h.lock("sandbox", container)()
	return h.dir.Create(container)
}

// DeleteNamespace unmounts and removes the container's namespace. The kernel
// deletes the links inside, and their host ends with them, once nothing uses
// it any more, a moment later: DeleteHostEnd first makes it certain. Devices of
// the host that were moved in are given back before.
func (h *Host) DeleteNamespace(_ context.Context, container string) error {
	defer h.lock("sandbox", container)()
	if err := h.giveBackAll(container); err != nil {
		return err
	}
	h.known.forgetOf(container)
	h.parents.forget(container)
	_ = os.Remove(h.tcFile(container))
	return h.dir.Delete(container)
}

// find looks a link up by name; nil, nil when there is none.
func find(nl *netlink.Handle, name string) (netlink.Link, error) {
	var l netlink.Link
	err := retry(func() (err error) { l, err = nl.LinkByName(name); return })
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up link %s: %w", name, err)
	}
	return l, nil
}

// retry repeats a netlink call that a signal or a change during a dump
// interrupted. Repeating is safe: callers take EEXIST and ENOENT as done.
func retry(fn func() error) error {
	var err error
	for range 20 {
		err = fn()
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
	}
	return err
}

// retryAdd is retry for adding: what is there already is success.
func retryAdd(fn func() error) error {
	if err := retry(fn); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// retryDelete is retry for deleting: what is gone already is success.
func retryDelete(fn func() error) error {
	err := retry(fn)
	for _, gone := range []error{unix.ENOENT, unix.ENODEV, unix.ESRCH, unix.EADDRNOTAVAIL} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}

// deleteLink deletes a link of the host through a socket of its own: the kernel
// answers when nobody can be using the link any more, some 20 ms later
// (net/core/dev.c: netdev_run_todo, rcu_barrier). Meanwhile the other sockets
// serve those who start, and several deletions wait together.
func deleteLink(l netlink.Link) error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer nl.Close()
	return retryDelete(func() error { return nl.LinkDel(l) })
}

// owner gives the ID in a link's alias, and whether the link is ours.
func owner(l netlink.Link) (string, bool) { return strings.CutPrefix(l.Attrs().Alias, Alias) }

func up(l netlink.Link) bool { return l.Attrs().RawFlags&unix.IFF_UP != 0 }
