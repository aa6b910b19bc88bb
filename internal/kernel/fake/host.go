// Package fake is a host in memory for tests of the reconciler: links and
// namespaces, a firewall's elements, host ports, files and a resolver, behind
// the interfaces of internal/reconcile. It refuses what Linux refuses, counts
// every single change, and can fail or die at any of them.
//
//	host.go   the host, counting and faults     dump.go   the host as text
//	links.go sandbox.go firewall.go daemon.go   the interfaces
//	others.go what other programs do            reach.go  who reaches whom
package fake

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/jackstay/jackstay/internal/desired"
)

// What an injected fault gives.
var (
	ErrInjected = errors.New("injected failure")
	ErrKilled   = errors.New("the daemon was killed")
)

// Host is a machine. What belongs to the kernel outlives the daemon; what
// belongs to the daemon's process, its sockets, ends with Restart.
type Host struct {
	mu    sync.Mutex
	links map[string]*link
	ns    map[string]*namespace
	made  int // namespaces ever made
	table *table
	files map[string]*file

	held    map[desired.Claim]struct{} // by the daemon
	foreign map[desired.Claim]struct{} // by other programs
	served  map[string]*socket
	zones   *desired.Zones

	linksWatch, tableWatch []chan struct{}

	ops    []string // changes since Journal was last called
	steps  int
	failAt int
	killAt int
	onKill func()
	killed bool
	hook   func(op string) error
}

type link struct {
	name, alias, mac, master string
	bridge, up               bool
	localnet, ownARP         bool
	mtu                      int
	addrs                    map[string]bool
	marked                   map[string]bool // addresses with our mark, on others' links
	peerNS, peer             string          // of the host end of a veth pair
	was                      *link           // of a device that was moved in: it, on the host
	limits                   rates           // of the host end of a veth pair
}

// rates are the limits of a host end, and whether somebody else took them off.
type rates struct {
	in, out uint64
	altered bool
}

type namespace struct {
	id        int
	links     map[string]*link
	routes    map[string]desired.Route // by destination
	rules     []desired.Rule
	tc        [][]string
	sysctls   map[string]string
	redirect  string // where port 53 is redirected to
	listeners map[string]*socket
}

type table struct {
	intact bool
	fw     desired.Firewall
}

type file struct {
	desired.File
	inode int
}

// New makes an empty machine.
func New() *Host {
	return &Host{
		links: map[string]*link{}, ns: map[string]*namespace{}, files: map[string]*file{},
		held: map[desired.Claim]struct{}{}, foreign: map[desired.Claim]struct{}{}, served: map[string]*socket{},
	}
}

// do makes one change: it is counted, may be made to fail, and is all or nothing.
func (h *Host) do(op string, change func() error) error {
	h.mu.Lock()
	hook := h.hook
	h.mu.Unlock()
	if hook != nil {
		if err := hook(op); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.killed && h.steps+1 == h.failAt {
		h.steps++
		return fmt.Errorf("%s: %w", op, ErrInjected)
	}
	return h.change(op, change)
}

// sure makes a change that can't fail. The daemon can be killed after it.
func (h *Host) sure(op string, change func()) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.change(op, func() error { change(); return nil })
}

func (h *Host) change(op string, change func() error) error {
	if h.killed {
		return ErrKilled
	}
	h.steps++
	if err := change(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	h.ops = append(h.ops, op)
	if h.steps == h.killAt {
		h.killed = true
		if h.onKill != nil {
			go h.onKill()
		}
	}
	return nil
}

// look reads the host; a killed daemon sees nothing.
func (h *Host) look(f func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.killed {
		return ErrKilled
	}
	return f()
}

// FailAt makes the n-th change from now, counted from 1, fail without effect.
func (h *Host) FailAt(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steps, h.failAt = 0, n
}

// KillAt makes the n-th change from now the daemon's last: everything it tries
// later is ErrKilled. then is called once it is dead.
func (h *Host) KillAt(n int, then func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steps, h.killAt, h.onKill = 0, n, then
}

// Hook has f called before every change, without a lock held: it may wait, to
// be a slow host, or refuse. nil ends it.
func (h *Host) Hook(f func(op string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = f
}

// Steps counts the changes tried since the last FailAt, KillAt or Restart.
func (h *Host) Steps() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.steps
}

// Journal gives the changes made since it was last called, in order.
func (h *Host) Journal() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	ops := h.ops
	h.ops = nil
	return ops
}

// Restart ends the daemon's process, as the kernel does: its sockets close,
// nothing else changes. A new daemon can use the host then.
func (h *Host) Restart() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.served {
		s.close()
	}
	for _, n := range h.ns {
		for _, s := range n.listeners {
			s.close()
		}
		clear(n.listeners)
	}
	clear(h.served)
	clear(h.held)
	h.zones = nil
	h.steps, h.failAt, h.killAt, h.onKill, h.killed, h.hook = 0, 0, 0, nil, false, nil
	h.linksWatch, h.tableWatch = nil, nil
}

// Errors as Linux has them.
const (
	eexist = syscall.EEXIST
	enoent = syscall.ENOENT
	enodev = syscall.ENODEV
)

func signal(watchers []chan struct{}) {
	for _, w := range watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}
