package engine

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// What a tenant may not do: whatever reaches the host, or what others have on
// it. The administrator's engine permits everything.

// administrators refuses a tenant what is the administrator's to do.
func (e *Engine) administrators(what string) error {
	if e.tenant == "" {
		return nil
	}
	return errs.New(errs.Forbidden, "%s is not open to tenants, as it reaches beyond what is their own: the administrator can do it", what)
}

// tenantCapabilities are those a tenant's container may have: the ones every
// container has.
func tenantCapability(name string) bool {
	switch strings.TrimPrefix(strings.ToUpper(name), "CAP_") {
	case "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
		"SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT":
		return true
	}
	return false
}

// permitContainer refuses a tenant the options that lead out of a container.
func (e *Engine) permitContainer(req *model.CreateRequest) error {
	if e.tenant == "" {
		return nil
	}
	h := &req.Host
	for what, asked := range map[string]bool{
		"--privileged":        h.Privileged,
		"--network host":      h.NetworkMode == "host" || slices.ContainsFunc(req.Endpoints, func(r model.EndpointRequest) bool { return r.Network == "host" }),
		"--pid host":          h.PidMode == "host",
		"--ipc host":          h.IpcMode == "host",
		"--uts host":          h.UTSMode == "host",
		"--cgroupns host":     h.CgroupnsMode == "host",
		"--cgroup-parent":     h.CgroupParent != "",
		"--device":            len(h.Devices) > 0,
		"--annotation":        len(h.Annotations) > 0,
		"--oom-score-adj < 0": h.OomScoreAdj < 0,
		"unmasking /proc":     h.MaskedPaths != nil || h.ReadonlyPaths != nil,
		"a bind mount":        slices.ContainsFunc(h.Binds, isHostPath) || slices.ContainsFunc(h.MountSpecs, func(m model.Mount) bool { return m.Type == "bind" }),
		"--oom-kill-disable":  h.Resources.OomKillDisable,
		"--cap-add":           slices.ContainsFunc(h.CapAdd, func(c string) bool { return !tenantCapability(c) }),
		"that --security-opt": slices.ContainsFunc(h.SecurityOpt, func(o string) bool { return !strings.HasPrefix(o, "no-new-privileges") }),
	} {
		if asked {
			if err := e.administrators(what); err != nil {
				return err
			}
		}
	}
	for _, a := range h.DNS {
		if e.store.All().OffLimits(a, e.tenant) {
			return errs.New(errs.Forbidden, "--dns %s is not open to tenants: the host asks it, and it is the host's own, on one of its links, or not available; "+
				"give a server in the world outside or on a network of your own, or no --dns", a)
		}
	}
	return e.permitHostIPs(h.PortBindings)
}

// isHostPath tells whether the source of a -v is a path rather than a volume.
func isHostPath(bind string) bool {
	source, _, more := strings.Cut(bind, ":")
	return more && path.IsAbs(source)
}

// permitResources refuses a tenant limits that are at others' cost.
func (e *Engine) permitResources(r model.Resources) error {
	if !r.OomKillDisable {
		return nil
	}
	return e.administrators("--oom-kill-disable")
}

// permitVolume refuses a tenant volumes that are directories of the host.
func (e *Engine) permitVolume(req model.VolumeRequest) error {
	if len(req.Options) == 0 {
		return nil
	}
	return e.administrators("a volume on a path of the host (--opt device)")
}

// permitHostIPs refuses a tenant to publish on addresses that are others'.
func (e *Engine) permitHostIPs(bs []model.PortBinding) error {
	for _, b := range bs {
		if err := permitHostIP(e.store.All(), e.tenant, b.HostIP); err != nil {
			return err
		}
	}
	return nil
}

// permitHostIP refuses a tenant a host address on others' bridges, where to
// others the host answers, and in pools, unless it is the tenant's floating IP.
func permitHostIP(all *model.Snapshot, tenant string, a netip.Addr) error {
	if tenant == "" || !a.IsValid() {
		return nil
	}
	a = a.Unmap().WithZone("")
	refused := errs.New(errs.Forbidden, "host address %s is not available: publish on another address of the host, or on all of them", a)
	for _, n := range all.Networks {
		for _, sub := range n.Subnets {
			if n.Tenant != tenant && sub.Prefix.Contains(a) {
				return refused
			}
		}
	}
	if f := all.FIPs[a.String()]; f != nil && f.Tenant == tenant {
		return nil
	}
	for _, p := range all.FIPPools {
		if p.Prefix.Contains(a) {
			return refused
		}
	}
	return nil
}

// permitClaim is permitHostIP of all that a container publishes by these
// bindings: what was nobody's when they were asked for may be somebody's now.
func permitClaim(tx *store.Tx, c *model.Container, bs []model.PortBinding) error {
	s := tx.Snapshot()
	_, n := publishing(s, c)
	if c.Tenant == "" || n == nil {
		return nil
	}
	for _, b := range bs {
		for _, a := range bindingIPs(s, c, n, b) {
			if err := permitHostIP(tx.All(), c.Tenant, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// permitNIC refuses a tenant NICs on what is the host's; those that lead
// nowhere are its own.
func (e *Engine) permitNIC(on string) error {
	if strings.HasPrefix(on, "dummy") {
		return nil
	}
	return e.administrators("a NIC on a bridge or device of the host (" + on + ", which is no network)")
}

// permitNetwork refuses a tenant options that name something of the host's.
func (e *Engine) permitNetwork(n *model.Network, req model.NetworkRequest) error {
	if _, named := req.Options[optBridgeName]; named {
		if err := e.administrators("option " + optBridgeName); err != nil {
			return err
		}
	}
	return permitHostIP(e.store.All(), e.tenant, n.HostIP)
}

// tenantSubnets are where a tenant may have a --subnet: elsewhere it could make
// itself an address that the host, and so everybody on it, reaches for.
var tenantSubnets = [...]netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"), // RFC 1918
	netip.MustParsePrefix("100.64.0.0/10"), // RFC 6598
	netip.MustParsePrefix("fd00::/8"),      // RFC 4193
}

// permitSubnets refuses a tenant subnets that would take something from the
// host; elsewhere says that it has a route to a part of one.
func (e *Engine) permitSubnets(subnets []model.Subnet, elsewhere string) error {
	if e.tenant == "" {
		return nil
	}
	if elsewhere != "" {
		return notAvailable(subnets)
	}
	for _, sub := range subnets {
		within := func(p netip.Prefix) bool { return p.Bits() <= sub.Prefix.Bits() && p.Contains(sub.Prefix.Addr()) }
		if !slices.ContainsFunc(tenantSubnets[:], within) {
			return errs.New(errs.Forbidden, "invalid pool request: subnet %s is not open to tenants: take private addresses (RFC 1918, RFC 6598, RFC 4193), or give no --subnet and one is picked", sub.Prefix)
		}
	}
	return nil
}

// notAvailable is all a tenant learns of a subnet that somebody else has.
func notAvailable(subnets []model.Subnet) error {
	var all []string
	for _, sub := range subnets {
		all = append(all, sub.Prefix.String())
	}
	return errs.New(errs.Forbidden, "invalid pool request: subnet %s is not available: choose another, or give no --subnet and one is picked", strings.Join(all, ", "))
}
