package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/jackstay/jackstay/internal/api"
	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/dhcp"
	"github.com/jackstay/jackstay/internal/dns"
	"github.com/jackstay/jackstay/internal/engine"
	"github.com/jackstay/jackstay/internal/image"
	"github.com/jackstay/jackstay/internal/kernel/claims"
	"github.com/jackstay/jackstay/internal/kernel/files"
	"github.com/jackstay/jackstay/internal/kernel/hostinfo"
	"github.com/jackstay/jackstay/internal/kernel/link"
	"github.com/jackstay/jackstay/internal/kernel/nft"
	"github.com/jackstay/jackstay/internal/netplan"
	"github.com/jackstay/jackstay/internal/reconcile"
	"github.com/jackstay/jackstay/internal/runtime"
	"github.com/jackstay/jackstay/internal/store"
	"github.com/jackstay/jackstay/internal/version"
)

// daemon is everything wired together; close undoes it in the opposite order.
type daemon struct {
	handler credentials
	closers []func()
}

func (d *daemon) onClose(f func()) { d.closers = append(d.closers, f) }

func (d *daemon) close() {
	for i := len(d.closers) - 1; i >= 0; i-- {
		d.closers[i]()
	}
}

// wire makes every part, recovers what the last daemon left, and starts the
// reconciler. What it returns answers the API.
func wire(ctx context.Context, c *config, log *slog.Logger) (_ *daemon, err error) {
	d := &daemon{}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := os.MkdirAll(c.Root, 0o711); err != nil {
		return nil, fmt.Errorf("root directory: %w", err)
	}
	if err := hostinfo.Probe(); err != nil {
		return nil, err
	}
	pools, poolsErr := c.pools()
	bip, bipErr := c.bip()
	upstreams, dnsErr := c.dns()
	if err := errors.Join(poolsErr, bipErr, dnsErr); err != nil {
		return nil, err
	}

	choices, err := store.Open(filepath.Join(c.Root, "jackstay.db"))
	if err != nil {
		return nil, err
	}
	d.onClose(func() { _ = choices.Close() })
	links, err := link.New(c.RunDir, log)
	if err != nil {
		return nil, err
	}
	d.onClose(func() { _ = links.Close() })
	firewall, err := nft.New(ctx, nft.Options{Path: c.NFT, Log: log})
	if err != nil {
		return nil, err
	}
	host, err := hostinfo.New()
	if err != nil {
		return nil, err
	}
	processes, err := runtime.New(runtime.Options{RootDir: c.Root, RunDir: c.RunDir, RuncPath: c.Runtime, ConmonPath: c.Conmon, Log: log})
	if err != nil {
		return nil, err
	}
	d.onClose(processes.Close)
	images, err := image.New(image.Options{
		GraphRoot: filepath.Join(c.Root, "storage"), RunRoot: filepath.Join(c.RunDir, "storage"),
		AdditionalStores: c.ImageStores, Log: log,
	})
	if err != nil {
		return nil, err
	}
	d.onClose(func() { _ = images.Close() })
	resolver := dns.New(dns.Options{Log: log})
	d.onClose(func() { _ = resolver.Close() })

	facts, err := newFacts(ctx, c, upstreams, log)
	if err != nil {
		return nil, err
	}
	// Nothing is planned, so nothing is taken away, before the engine knows what
	// became of its containers.
	var recovered atomic.Bool
	planner := &netplan.Planner{}
	reconciler := reconcile.New(reconcile.Options{
		Links: links, Firewall: firewall, Ports: claims.New(), Files: files.New(), Resolver: resolver,
		Plan: func() *desired.State {
			if !recovered.Load() {
				return nil
			}
			return planner.Plan(choices.Snapshot(), facts.get())
		},
		Changed: choices.Changed, FactsChanged: facts.changed, Log: log,
	})
	sockets := newTenantSockets(filepath.Join(c.RunDir, "tenants"), log)
	use, err := engine.New(engine.Options{
		Sockets: sockets, Store: choices, Network: reconciler, Runtime: processes, Images: images, Host: host, DHCP: dhcp.Client{},
		Root: c.Root, Run: c.RunDir, BIP: bip, NoICC: !c.ICC, Pools: pools,
		RuntimeName: filepath.Base(c.Runtime), RuntimePath: c.Runtime, StorageDriver: "overlay", Log: log,
		Warnings: firewall.Warnings,
	})
	if err != nil {
		return nil, err
	}
	d.onClose(use.Close)

	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var loops sync.WaitGroup
	d.onClose(func() { stop(); loops.Wait() })
	loop := func(name string, run func(context.Context) error) {
		loops.Add(1)
		go func() {
			defer loops.Done()
			if err := run(running); err != nil && running.Err() == nil {
				log.Error(name+" ended", "error", err)
			}
		}()
	}
	loop("reconciler", reconciler.Run)
	if err := use.Recover(ctx); err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	recovered.Store(true)
	go func() { _ = reconciler.Resync(running) }()
	loop("engine", use.Run)
	d.handler = newCredentials(use, api.New(api.Options{
		Engine: use, Images: images, Root: c.Root, RunDir: c.RunDir, Log: log,
		Version: api.Version{Version: version.Version, GitCommit: version.Commit, BuildTime: version.Time},
	}))
	sockets.handler = d.handler.tenant
	d.onClose(sockets.close)
	if err := use.ServeTenants(ctx); err != nil {
		log.Error("a tenant's socket can't be opened: it is served again after the next change of tenants", "error", err)
	}
	return d, nil
}

// facts keeps what the planner knows of the host and says when it changed.
type facts struct {
	now     atomic.Pointer[netplan.Facts]
	changed chan struct{}
}

func (f *facts) get() netplan.Facts { return *f.now.Load() }

// newFacts reads the host's resolvers and follows them until ctx ends.
func newFacts(ctx context.Context, c *config, upstreams []netip.AddrPort, log *slog.Logger) (*facts, error) {
	f := &facts{changed: make(chan struct{}, 1)}
	read := func() error {
		r, err := hostinfo.ReadResolvers(hostinfo.ResolvConf)
		if err != nil {
			return err
		}
		hosts, _ := os.ReadFile("/etc/hosts") // absent: containers of the host's network get an empty one
		now := netplan.Facts{
			ContainersDir: filepath.Join(c.Root, "containers"),
			Upstreams:     r.Upstreams, Search: r.Search, ResolvOptions: r.Options,
			HostResolvConf: r.Content, HostHosts: string(hosts),
		}
		if len(upstreams) > 0 {
			now.Upstreams = upstreams
		}
		f.now.Store(&now)
		return nil
	}
	if err := read(); err != nil {
		return nil, err
	}
	moved, err := hostinfo.WatchResolvers(ctx, hostinfo.ResolvConf)
	if err != nil {
		return nil, err
	}
	go func() {
		for range moved {
			if err := read(); err != nil {
				log.Warn("the host's resolvers can't be read; the last known ones stay", "error", err)
				continue
			}
			select {
			case f.changed <- struct{}{}:
			default:
			}
		}
	}()
	return f, nil
}

// cleanup takes everything of ours off the host's network: after the last
// container is gone, or to uninstall.
func cleanup(ctx context.Context, c *config, log *slog.Logger) error {
	if err := noneRuns(ctx, c, log); err != nil {
		return err
	}
	firewall, err := nft.New(ctx, nft.Options{Path: c.NFT, Log: log})
	if err != nil {
		return err
	}
	links, err := link.New(c.RunDir, log)
	if err != nil {
		return err
	}
	seen, err := links.Observe(ctx)
	if err != nil {
		return err
	}
	for name := range seen.HostEnds {
		err = errors.Join(err, links.DeleteHostEnd(ctx, name))
	}
	for a := range seen.Addresses {
		err = errors.Join(err, links.DeleteAddress(ctx, a))
	}
	for id := range seen.Namespaces {
		err = errors.Join(err, links.DeleteNamespace(ctx, id))
	}
	for name := range seen.Bridges {
		err = errors.Join(err, links.DeleteBridge(ctx, name))
	}
	return errors.Join(err, firewall.Cleanup(ctx), links.Close(), runtime.RemoveParent(""))
}

// noneRuns refuses to take the network from under running containers.
func noneRuns(ctx context.Context, c *config, log *slog.Logger) error {
	processes, err := runtime.New(runtime.Options{RootDir: c.Root, RunDir: c.RunDir, RuncPath: c.Runtime, ConmonPath: c.Conmon, Log: log})
	if err != nil {
		return err
	}
	defer processes.Close()
	ids, err := processes.List(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if s, err := processes.State(ctx, id); err == nil && s.Running {
			return fmt.Errorf("--cleanup: container %.12s runs; start jackstayd and remove the containers first (jackstay rm -f $(jackstay ps -q))", id)
		}
	}
	return nil
}
