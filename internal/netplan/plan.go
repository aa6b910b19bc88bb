package netplan

import (
	"net/netip"
	"strings"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/links"
	"github.com/jackstay/jackstay/internal/model"
)

// Facts are what a plan needs to know of the host, beside the choices.
type Facts struct {
	// ContainersDir holds one directory per container ID for its files.
	ContainersDir string
	// Upstreams, Search and ResolvOptions are the host's resolvers, or the
	// daemon's --dns, with the search list and options that go with them.
	Upstreams     []netip.AddrPort
	Search        []string
	ResolvOptions []string
	// HostResolvConf and HostHosts are the host's own /etc/resolv.conf and
	// /etc/hosts, which containers in the host's network get.
	HostResolvConf string
	HostHosts      string
	// HostGateway is what host-gateway in --add-host means; invalid: the
	// default network's gateway.
	HostGateway netip.Addr
}

// Plan gives everything the choices in snap mean for the host's network. It
// shares what it can with snap, so neither may be changed afterwards.
func Plan(snap *model.Snapshot, f Facts) *desired.State {
	p := newPlan(snap, f)
	p.run()
	return p.out
}

// plan is a plan in the making.
type plan struct {
	snap  *model.Snapshot
	facts Facts
	out   *desired.State

	hostGateway map[string]string             // by tenant
	resolvConf  string                        // of a container without --dns options
	sysctls     map[string]string             // of a container without --sysctl
	insides     map[place]struct{}            // addresses on the interfaces of swapped containers
	joined      map[string][]*model.Container // owner ID to the active containers in its namespace
	opened      map[flowKey][]model.PortRange // what links open
	grouped     []*model.Container            // active ones in security groups
	routes      linkRoutes

	// For a Planner: what the plan before made and this one has, by owner ID,
	// and the records of the sandbox in the making.
	before, made       map[string]*made
	from               []any
	ends               []linkEnd
	zonesBefore, zones map[string]*madeZone // by network ID
	portsBefore        *madePorts
	published          *madePorts
}

func (p *plan) run() {
	for _, n := range p.snap.Networks {
		p.network(n)
	}
	p.tenants()
	for id, c := range p.snap.Containers {
		p.nicBridges(c)
		if c.Active {
			p.container(id, c)
		}
	}
	p.owners()
	p.finishFlows()
	p.finishGroups()
	p.finishPorts()
	p.finishZones()
}

func newPlan(snap *model.Snapshot, f Facts) *plan {
	n, nets := len(snap.Containers), len(snap.Networks)
	p := &plan{snap: snap, facts: f, sysctls: defaultSysctls(), joined: joiners(snap), insides: insides(snap),
		zones: make(map[string]*madeZone, nets), published: &madePorts{}}
	p.resolvConf = resolvConf([]netip.Addr{resolver.Addr()}, f.Search, withNdots(f.ResolvOptions))
	p.hostGateway = hostGateways(snap, f)
	p.findRoutes()
	p.out = &desired.State{
		Revision:  snap.Revision,
		Bridges:   make(map[string]*desired.Bridge, nets),
		Sandboxes: make(map[string]*desired.Sandbox, n),
		Files:     map[string][]desired.File{},
		Zones: &desired.Zones{
			Networks:  make(map[string]*desired.Zone, nets),
			Views:     make(map[string]*desired.View, n),
			Upstreams: f.Upstreams,
		},
		Firewall: desired.Firewall{
			Bridges:    make(map[string]struct{}, nets),
			Open:       make(map[string]struct{}, nets),
			Internal:   map[string]struct{}{},
			Masquerade: make(map[netip.Prefix]struct{}, nets),
			Hairpin:    make(map[desired.HairpinKey]struct{}, nets),
			Ports:      make(map[string]desired.BridgePort, n),
			MACs:       make(map[string]bool, n),
			Addresses:  make(map[netip.Addr]struct{}, n),
			Sources:    make(map[desired.Source]struct{}, n),
		},
	}
	return p
}

// container plans one active container.
func (p *plan) container(id string, c *model.Container) {
	owner := links.Owner(p.snap, c)
	if owner == nil {
		return // it joins one that is gone: there is no network to be in
	}
	if owner.Host.NetworkMode == model.DriverHost {
		p.out.Files[id] = p.files(id, owner)
		return
	}
	if p.out.Sandboxes[owner.ID] == nil {
		p.sandbox(owner)
		p.sources(owner)
		p.flows(owner)
		p.groups(owner)
	}
	if owner != c {
		p.out.Files[id] = p.files(id, owner)
		return
	}
	p.names(c)
	p.ports(c)
	p.floating(c)
	p.moved(c)
}

const joinPrefix = "container:"

// joiners gives the active containers in another's namespace, by its owner.
func joiners(snap *model.Snapshot) map[string][]*model.Container {
	var out map[string][]*model.Container
	for _, c := range snap.Containers {
		if !c.Active || !strings.HasPrefix(string(c.Host.NetworkMode), joinPrefix) {
			continue
		}
		if owner := links.Owner(snap, c); owner != nil {
			if out == nil {
				out = map[string][]*model.Container{}
			}
			out[owner.ID] = append(out[owner.ID], c)
		}
	}
	return out
}

func compareIDs(a, b *model.Container) int { return strings.Compare(a.ID, b.ID) }

// shortID is how an ID is a name: its first twelve digits.
func shortID(id string) string {
	return id[:min(12, len(id))]
}

// hostGateways gives the address host-gateway stands for, or "", by tenant.
func hostGateways(snap *model.Snapshot, f Facts) map[string]string {
	out := make(map[string]string, 1+len(snap.Tenants))
	out[""] = hostGateway(snap, f, "")
	for tenant := range snap.Tenants {
		out[tenant] = hostGateway(snap, f, tenant)
	}
	return out
}

func hostGateway(snap *model.Snapshot, f Facts, tenant string) string {
	if f.HostGateway.IsValid() {
		return f.HostGateway.String()
	}
	n := defaultNetwork(snap, tenant)
	if n == nil {
		return ""
	}
	for _, s := range n.Subnets {
		if s.Gateway.IsValid() {
			return s.Gateway.String()
		}
	}
	return ""
}

// defaultNetwork gives the default network of a tenant, or nil.
func defaultNetwork(snap *model.Snapshot, tenant string) *model.Network {
	return snap.Networks[snap.NetworkNames[model.Qualify(model.DefaultNetwork, tenant)]]
}
