package engine

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// For gives the engine as a tenant has it. It may be asked for tenants that are
// no more: they see nothing and get nothing.
func (e *Engine) For(tenant string) *Engine {
	if tenant == "" {
		return &Engine{core: e.core, store: e.choices.View("")}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tenants[tenant]
	if t == nil {
		t = &Engine{core: e.core, store: e.choices.View(tenant), tenant: tenant}
		e.tenants[tenant] = t
	}
	return t
}

// tenantName is what a socket's path, a certificate and NAME@TENANT can carry.
var tenantName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// CreateTenant makes a tenant with a default network and a socket of its own.
func (e *Engine) CreateTenant(ctx context.Context, t model.Tenant) (*model.Tenant, error) {
	if err := e.administrators("tenant create"); err != nil {
		return nil, err
	}
	if !tenantName.MatchString(t.Name) {
		return nil, errs.New(errs.Invalid, "invalid tenant name %q: it has 1 to 32 of a-z, 0-9, '_' and '-', and begins with a letter or a digit", t.Name)
	}
	if err := checkQuota(t.FIPQuota); err != nil {
		return nil, err
	}
	routes, err := e.host.Routes(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the host's routes: %w", err)
	}
	t.Created, t.Removing = e.clock.Now(), false
	_, err = e.store.Update(func(tx *store.Tx) error {
		if old := tx.Snapshot().Tenants[t.Name]; old != nil {
			return errs.New(errs.Conflict, "there is a tenant %s already", t.Name)
		}
		put := t
		if err := tx.PutTenant(&put); err != nil {
			return err
		}
		return e.putTenantNetworks(tx, t.Name, routes)
	})
	if err != nil {
		return nil, err
	}
	if err := e.ServeTenants(ctx); err != nil {
		if rerr := e.RemoveTenant(ctx, t.Name, true); rerr != nil {
			e.log.Error("a tenant that can't be served can't be removed", "tenant", t.Name, "error", rerr)
		}
		return nil, fmt.Errorf("create tenant %s: %w", t.Name, err)
	}
	e.tenantEvent(t.Name, "create")
	return &t, nil
}

func checkQuota(n int) error {
	if n < model.Unlimited {
		return errs.New(errs.Invalid, "invalid quota of floating IPs %d: give a number from 0 on, or %d for no limit", n, model.Unlimited)
	}
	return nil
}

// putTenantNetworks makes the networks every tenant has: its default one and none.
func (e *Engine) putTenantNetworks(tx *store.Tx, tenant string, routes []netip.Prefix) error {
	bridge := &model.Network{
		ID: alloc.ID(), Name: model.DefaultNetwork, Tenant: tenant, Driver: model.DriverBridge, Scope: "local", Created: e.clock.Now(),
		EnableIPv4: true, Masquerade: true, HostIP: netip.IPv4Unspecified(),
	}
	bridge.Bridge, bridge.Options = "jk-"+bridge.ID[:alloc.ShortID], map[string]string{}
	e.setDefaultPolicy(bridge)
	none := &model.Network{
		ID: alloc.ID(), Name: "none", Tenant: tenant, Driver: model.DriverNull, Scope: "local", Created: e.clock.Now(), EnableIPv4: true,
	}
	if err := e.fillSubnets(tx.All(), bridge, routes); err != nil {
		return err
	}
	if err := tx.PutNetwork(bridge); err != nil {
		return err
	}
	return tx.PutNetwork(none)
}

// UpdateTenant changes a tenant's quota or the group of its socket.
func (e *Engine) UpdateTenant(ctx context.Context, name string, u model.TenantUpdate) (*model.Tenant, error) {
	if err := e.administrators("tenant update"); err != nil {
		return nil, err
	}
	if u.FIPQuota != nil {
		if err := checkQuota(*u.FIPQuota); err != nil {
			return nil, err
		}
	}
	before, after, err := e.changeTenant(name, func(t *model.Tenant) {
		if u.FIPQuota != nil {
			t.FIPQuota = *u.FIPQuota
		}
		if u.Group != nil {
			t.Group = *u.Group
		}
	})
	if err != nil {
		return nil, err
	}
	if after.Group != before.Group {
		if err := e.ServeTenants(ctx); err != nil {
			if _, _, uerr := e.changeTenant(name, func(t *model.Tenant) { *t = before }); uerr != nil {
				e.log.Error("a tenant's change can't be taken back", "tenant", name, "error", uerr)
			}
			return nil, fmt.Errorf("update tenant %s: %w", name, err)
		}
	}
	e.tenantEvent(name, "update")
	return &after, nil
}

// changeTenant stores a changed copy of a tenant's record.
func (e *Engine) changeTenant(name string, f func(*model.Tenant)) (before, after model.Tenant, err error) {
	_, err = e.store.Update(func(tx *store.Tx) error {
		old := tx.Snapshot().Tenants[name]
		if old == nil || old.Removing {
			return noSuchTenant(name)
		}
		before, after = *old, *old
		f(&after)
		put := after
		return tx.PutTenant(&put)
	})
	return before, after, err
}

// RemoveTenant removes a tenant that has nothing, or, with force, all it has.
// Cut off, it is finished at the next start, or by another call.
func (e *Engine) RemoveTenant(ctx context.Context, name string, force bool) error {
	if err := e.administrators("tenant rm"); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	_, err := e.store.Update(func(tx *store.Tx) error {
		old := tx.Snapshot().Tenants[name]
		if old == nil {
			return noSuchTenant(name)
		}
		if has := possessions(tx.All(), name); len(has) > 0 && !force {
			return errs.New(errs.Conflict, "tenant %s has %s: remove them first, or everything with -f", name, strings.Join(has, ", "))
		}
		t := *old
		t.Removing = true
		return tx.PutTenant(&t)
	})
	if err != nil {
		return err
	}
	if err := e.ServeTenants(ctx); err != nil {
		e.log.Error("the sockets of the other tenants", "error", err)
	}
	if err := e.For(name).removeOwn(ctx); err != nil {
		return fmt.Errorf("remove tenant %s: %w", name, err)
	}
	_, err = e.store.Update(func(tx *store.Tx) error {
		for _, n := range tx.All().Networks {
			if n.Tenant == name {
				if err := dropNetwork(tx, n); err != nil {
					return err
				}
			}
		}
		for id, f := range tx.All().FIPs {
			if f.Tenant == name {
				tx.DeleteFIP(id)
			}
		}
		for id, g := range tx.All().SecurityGroups {
			if g.Tenant == name {
				tx.DeleteSecurityGroup(id)
			}
		}
		tx.DeleteTenant(name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove tenant %s: %w", name, err)
	}
	e.mu.Lock()
	delete(e.tenants, name)
	e.mu.Unlock()
	e.tenantEvent(name, "destroy")
	return nil
}

// possessions lists what a tenant has beside what every one has.
func possessions(s *model.Snapshot, tenant string) []string {
	var out []string
	has := store.Of(s, tenant)
	has["network"] -= 2 // its default one and none
	for _, what := range slices.Sorted(maps.Keys(has)) {
		switch n := has[what]; {
		case n == 1:
			out = append(out, "1 "+what)
		case n > 1:
			out = append(out, fmt.Sprintf("%d %ss", n, what))
		}
	}
	return out
}

// removeOwn removes a tenant's containers and volumes.
func (e *Engine) removeOwn(ctx context.Context) error {
	for id := range e.store.Snapshot().Containers {
		if err := e.RemoveContainer(ctx, id, model.RemoveOptions{Force: true, Volumes: true}); err != nil && !isGone(err) {
			return err
		}
	}
	for _, v := range e.store.Snapshot().Volumes {
		if err := e.RemoveVolume(ctx, v.Name, true); err != nil {
			return err
		}
	}
	return nil
}

// ServeTenants opens the sockets of the tenants there are, and closes others.
func (e *Engine) ServeTenants(ctx context.Context) error {
	if e.opt.Sockets == nil {
		return nil
	}
	e.socketMu.Lock()
	defer e.socketMu.Unlock()
	var all []*model.Tenant
	for _, t := range e.choices.Snapshot().Tenants {
		if !t.Removing {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b *model.Tenant) int { return strings.Compare(a.Name, b.Name) })
	return e.opt.Sockets.Set(ctx, all)
}

// TenantSocket is where a tenant's socket is; empty: it has none.
func (e *Engine) TenantSocket(tenant string) string {
	if e.opt.Sockets == nil {
		return ""
	}
	return e.opt.Sockets.Path(tenant)
}

func noSuchTenant(name string) error {
	return errs.New(errs.NotFound, "no such tenant: %s; `jackstay tenant ls` shows those there are", name)
}

func (e *Engine) tenantEvent(name, action string) {
	e.Emit(model.Event{Type: "tenant", Action: action, ID: name, Attributes: map[string]string{"name": name}})
}
