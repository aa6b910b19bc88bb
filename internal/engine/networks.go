package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// predefined tells whether the name is one of the networks every host has.
func predefined(name string) bool {
	return name == model.DefaultNetwork || name == "host" || name == "none" || name == "default"
}

// CreateNetwork makes a network of the bridge driver.
func (e *Engine) CreateNetwork(ctx context.Context, req model.NetworkRequest) (id string, warning string, err error) {
	n, err := networkOf(req)
	if err != nil {
		return "", "", err
	}
	if err := e.permitNetwork(n, req); err != nil {
		return "", "", err
	}
	n.Created, n.Tenant = e.clock.Now(), e.tenant
	if n.Subnets, err = alloc.ParseSubnets(req); err != nil {
		return "", "", err
	}
	routes, err := e.host.Routes(ctx)
	if err != nil {
		return "", "", fmt.Errorf("read the host's routes: %w", err)
	}
	if warning, err = checkRoutes(n.Subnets, routes); err != nil {
		return "", "", err
	}
	if err := e.permitSubnets(n.Subnets, warning); err != nil {
		return "", "", err
	}
	if foreign, err := e.host.ForeignLink(ctx, n.Bridge); err != nil {
		return "", "", fmt.Errorf("look for a link named %s: %w", n.Bridge, err)
	} else if foreign {
		return "", "", errs.New(errs.Conflict, "the host has a link named %s which is not Jackstay's: choose another %s", n.Bridge, optBridgeName)
	}
	_, err = e.store.Update(func(tx *store.Tx) error { return e.putNetwork(tx, n, routes) })
	if err != nil {
		return "", "", err
	}
	e.networkEvent(n, "create")
	return n.ID, warning, nil
}

// putNetwork writes a network whose name and link are free, with a subnet of
// the pools for each family it has none of.
func (e *Engine) putNetwork(tx *store.Tx, n *model.Network, routes []netip.Prefix) error {
	s, all := tx.Snapshot(), tx.All()
	if _, taken := s.NetworkNames[n.Name]; taken {
		return errs.New(errs.Conflict, "network with name %s already exists", n.Name)
	}
	for _, o := range all.Networks {
		if o.Bridge != "" && o.Bridge == n.Bridge {
			return errs.New(errs.Conflict, "bridge %s is already that of network %s", n.Bridge, s.Shown(o.Name, o.Tenant))
		}
	}
	if len(n.Subnets) > 0 {
		if err := alloc.CheckOverlap(n.Subnets, s.Networks); err != nil {
			return err
		}
		if alloc.CheckOverlap(n.Subnets, all.Networks) != nil { // whose it is, is nobody's business
			return notAvailable(n.Subnets)
		}
		if err := checkPools(n.Subnets, s); err != nil {
			return err
		}
	}
	if err := e.fillSubnets(all, n, routes); err != nil {
		return err
	}
	return tx.PutNetwork(n)
}

// fillSubnets gives a network a subnet of each family it has none of, IPv4's first.
func (e *Engine) fillSubnets(s *model.Snapshot, n *model.Network, routes []netip.Prefix) error {
	taken := slices.Concat(subnetsOf(s), fipPrefixes(s), routes)
	var out []model.Subnet
	for _, v6 := range [...]bool{false, true} {
		if at := slices.IndexFunc(n.Subnets, func(sub model.Subnet) bool { return sub.Prefix.Addr().Is6() == v6 }); at >= 0 {
			out = append(out, n.Subnets[at])
			continue
		}
		if v6 && !n.EnableIPv6 {
			continue
		}
		p, err := e.freeSubnet(s, v6, taken)
		if err != nil {
			return err
		}
		out = append(out, model.Subnet{Prefix: p, Gateway: p.Addr().Next()})
	}
	n.Subnets = out
	return nil
}

// freeSubnet takes a subnet of the pools. Those of IPv6, where none was given,
// are this host's own /48, made of the default network's ID, which is random and
// stays.
func (e *Engine) freeSubnet(s *model.Snapshot, v6 bool, taken []netip.Prefix) (netip.Prefix, error) {
	if !v6 {
		return alloc.Subnet(e.opt.Pools, taken)
	}
	pools := e.opt.Pools
	if !slices.ContainsFunc(pools, func(p model.AddressPool) bool { return strings.Contains(p.Base, ":") }) {
		ula, err := alloc.ULAPool(s.NetworkNames[model.DefaultNetwork])
		if err != nil {
			return netip.Prefix{}, err
		}
		pools = []model.AddressPool{ula}
	}
	return alloc.Subnet6(pools, taken)
}

func subnetsOf(s *model.Snapshot) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range s.Networks {
		for _, sub := range n.Subnets {
			out = append(out, sub.Prefix)
		}
	}
	return out
}

// checkRoutes refuses subnets that would take a network the host reaches
// elsewhere away from it, and warns of those that take a part of a wider one,
// such as a VPN's 10.0.0.0/8: who asks for that by name may want it.
func checkRoutes(subnets []model.Subnet, routes []netip.Prefix) (warning string, err error) {
	for _, sub := range subnets {
		for _, r := range routes {
			switch {
			case !r.Overlaps(sub.Prefix):
			case r.Bits() >= sub.Prefix.Bits():
				return "", errs.New(errs.Forbidden, "invalid pool request: Pool overlaps with other one on this address space: "+
					"the host has a route or an address for %s, which overlaps %s", r, sub.Prefix)
			default:
				warning = fmt.Sprintf("the host has a route for %s: of that, it no longer reaches %s", r, sub.Prefix)
			}
		}
	}
	return warning, nil
}

// checkPools refuses subnets that floating IPs are allocated from.
func checkPools(subnets []model.Subnet, s *model.Snapshot) error {
	for _, sub := range subnets {
		for _, p := range fipPrefixes(s) {
			if p.Overlaps(sub.Prefix) {
				return errs.New(errs.Forbidden, "invalid pool request: Pool overlaps with other one on this address space: "+
					"%s is a pool of floating IPs, which overlaps %s", p, sub.Prefix)
			}
		}
	}
	return nil
}

// RemoveNetwork deletes a network no active container is on. A stopped one
// loses its membership; it will not start until it is disconnected from what
// is not there any more.
func (e *Engine) RemoveNetwork(ctx context.Context, ref string) error {
	n, err := e.FindNetwork(ref)
	if err != nil {
		return err
	}
	if predefined(n.Name) {
		return errs.New(errs.Forbidden, "%s is a pre-defined network and cannot be removed", n.Name)
	}
	_, err = e.store.Update(func(tx *store.Tx) error {
		s := tx.Snapshot()
		if s.Networks[n.ID] == nil {
			return noSuchNetwork(ref)
		}
		if active := activeEndpoints(s, n); len(active) > 0 {
			return errs.New(errs.Forbidden, "error while removing network: network %s has active endpoints (%s)", n.Name, strings.Join(active, ", "))
		}
		return dropNetwork(tx, n)
	})
	if err != nil {
		return err
	}
	e.networkEvent(n, "destroy")
	return nil
}

// activeEndpoints lists who uses the network now, as Docker words it.
func activeEndpoints(s *model.Snapshot, n *model.Network) []string {
	var out []string
	for _, ep := range s.ByNetwork[n.ID] {
		if c := s.Containers[ep.ContainerID]; c != nil && (c.Active || alive(c)) {
			out = append(out, fmt.Sprintf("name:%q id:%q", c.Name, ep.ID[:alloc.ShortID]))
		}
	}
	slices.Sort(out)
	return out
}

// dropNetwork deletes the network with the memberships of stopped containers,
// which remember what they lost.
func dropNetwork(tx *store.Tx, n *model.Network) error {
	s := tx.Snapshot()
	for _, l := range s.Links {
		if l.NetworkID == n.ID {
			tx.DeleteLink(l.ID)
		}
	}
	for _, ep := range s.ByNetwork[n.ID] {
		c := *s.Containers[ep.ContainerID]
		c.LostNetworks = append(slices.Clone(c.LostNetworks), n.Name)
		c.Rates = c.Rates.Without(ep.ID)
		tx.DeleteEndpoint(ep.ID)
		if err := tx.PutContainer(&c); err != nil {
			return err
		}
	}
	tx.DeleteNetwork(n.ID)
	return nil
}

// PruneNetworks removes the user's networks that no active container is on,
// except those keep wants.
func (e *Engine) PruneNetworks(ctx context.Context, keep func(*model.Network) bool) ([]string, error) {
	s := e.store.Snapshot()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.NetworkNames)) {
		if err := ctx.Err(); err != nil {
			return names, err
		}
		n := s.Networks[s.NetworkNames[name]]
		if n.Tenant != e.tenant || predefined(n.Name) || (keep != nil && keep(n)) || len(s.ByNetwork[n.ID]) > 0 {
			continue
		}
		err := e.RemoveNetwork(ctx, n.ID)
		switch {
		case err == nil:
			names = append(names, name)
		case errs.Is(err, errs.NotFound) || errs.Is(err, errs.Forbidden):
		default:
			return names, err
		}
	}
	return names, nil
}

// ensureDefaults makes the networks every host has, at the first start.
func (e *Engine) ensureDefaults(ctx context.Context) error {
	s := e.store.Snapshot()
	var missing []*model.Network
	for name, driver := range map[string]string{model.DefaultNetwork: model.DriverBridge, "host": model.DriverHost, "none": model.DriverNull} {
		if _, ok := s.NetworkNames[name]; !ok {
			missing = append(missing, &model.Network{
				ID: alloc.ID(), Name: name, Driver: driver, Scope: "local", Created: e.clock.Now(), EnableIPv4: true,
			})
		}
	}
	if len(missing) == 0 {
		return e.ensureDefaultPolicy(s)
	}
	routes, err := e.host.Routes(ctx)
	if err != nil {
		return fmt.Errorf("read the host's routes: %w", err)
	}
	_, err = e.store.Update(func(tx *store.Tx) error {
		for _, n := range missing {
			if n.Driver == model.DriverBridge {
				if err := e.fillDefault(tx.Snapshot(), n, routes); err != nil {
					return err
				}
			}
			if err := tx.PutNetwork(n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make the default networks: %w", err)
	}
	return nil
}

// ensureDefaultPolicy gives the default networks, tenants' ones too, the policy
// of this start, --icc: they may have been made with another.
func (e *Engine) ensureDefaultPolicy(s *model.Snapshot) error {
	var others []*model.Network
	for _, n := range s.Networks {
		if n.Default() && n.Deny != e.opt.NoICC {
			others = append(others, n)
		}
	}
	if len(others) == 0 {
		return nil
	}
	_, err := e.store.Update(func(tx *store.Tx) error {
		for _, old := range others {
			n := *old
			n.Options = maps.Clone(n.Options)
			e.setDefaultPolicy(&n)
			if err := tx.PutNetwork(&n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("change the default network's policy: %w", err)
	}
	return nil
}

func (e *Engine) setDefaultPolicy(n *model.Network) {
	n.Deny = e.opt.NoICC
	n.Options[optICC] = strconv.FormatBool(!n.Deny)
}

// fillDefault gives the default network its subnet: --bip, unless the host has
// a route there; then the first free piece of the pools.
func (e *Engine) fillDefault(s *model.Snapshot, n *model.Network, routes []netip.Prefix) error {
	n.Bridge, n.Masquerade, n.HostIP = e.opt.Bridge, true, netip.IPv4Unspecified()
	n.Options = map[string]string{optBridgeName: n.Bridge}
	e.setDefaultPolicy(n)
	bip := e.opt.BIP
	if bip.IsValid() {
		sub := model.Subnet{Prefix: bip.Masked(), Gateway: bip.Addr()}
		warning, err := checkRoutes([]model.Subnet{sub}, routes)
		if err == nil && warning != "" {
			err = errors.New(warning)
		}
		if err == nil {
			err = alloc.CheckOverlap([]model.Subnet{sub}, s.Networks)
		}
		if err == nil {
			n.Subnets = []model.Subnet{sub}
			return nil
		}
		e.log.Warn("the default network takes another subnet", "wanted", bip, "reason", err)
	}
	if err := e.fillSubnets(s, n, routes); err != nil {
		return err
	}
	if bip.IsValid() {
		e.Emit(model.Event{Type: "network", Action: "update", ID: n.ID, Attributes: map[string]string{
			"name": n.Name, "type": n.Driver, "wanted": bip.String(), "subnet": n.Subnets[0].Prefix.String(),
		}})
	}
	return nil
}
