package api

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"github.com/jackstay/jackstay/internal/model"
)

// inspectResponse is moby's with the members it has dropped and clients read.
type inspectResponse struct {
	container.InspectResponse
	Config          inspectConfig
	HostConfig      *container.HostConfig
	NetworkSettings networkSettings
}

type inspectConfig struct {
	*container.Config
	MacAddress string `json:",omitempty"` // before API 1.44
}

// networkSettings carries, beside what moby's has, the default network's
// endpoint at the top, where it was before API 1.52 and where
// {{.NetworkSettings.IPAddress}} looks for it to this day.
type networkSettings struct {
	Bridge                 string
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []string
	SecondaryIPv6Addresses []string
	EndpointID             string
	Gateway                string
	GlobalIPv6Address      string
	GlobalIPv6PrefixLen    int
	IPAddress              string
	IPPrefixLen            int
	IPv6Gateway            string
	MacAddress             string
	SecurityGroups         []string // names; Jackstay's own
	// NICs are all interfaces, those on networks included; Routes, Rules and TC
	// what was asked for inside, in the words of ip(8) and tc(8).
	NICs              []nicMessage
	Routes, Rules, TC []string `json:",omitempty"`
	// Links are Jackstay's own: all of them as `link ls` shows them, those too that
	// lead nowhere yet, which Docker's HostConfig.Links has no words for.
	Links []linkState
	container.NetworkSettings
	Rates *rates `json:",omitempty"` // Jackstay's own
	// FloatingIP is Jackstay's own; null: the container has none. It is always
	// there, for templates.
	FloatingIP *attachedFIP
}

// attachedFIP is a container's floating IP in inspect.
type attachedFIP struct {
	Address, Name string
	ExposeOnly    bool
}

// rates are the limits of what goes into a container and what comes out, as
// --net-rate-in and --net-rate-out take them.
type rates struct{ In, Out string }

func (s *Server) containerInspect(w *responseWriter, r *request) error {
	c, err := s.engine.FindContainer(r.name())
	if err != nil {
		return err
	}
	out := s.inspect(c, r.version)
	if r.flag("size") {
		rw, rootfs, err := s.engine.ContainerSize(r.Context(), c.ID)
		if err != nil {
			return err
		}
		out.SizeRw, out.SizeRootFs = &rw, &rootfs
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (s *Server) inspect(c *model.Container, v apiVersion) *inspectResponse {
	snap := s.engine.Snapshot()
	dir := filepath.Join(s.root, "containers", c.ID)
	out := &inspectResponse{
		InspectResponse: container.InspectResponse{
			ID: c.ID, Created: stamp(c.Created), Path: c.Path, Args: nonNil(c.Args),
			State: dockerState(&c.State), Image: c.ImageID,
			ResolvConfPath: filepath.Join(dir, "resolv.conf"), HostnamePath: filepath.Join(dir, "hostname"),
			HostsPath: filepath.Join(dir, "hosts"), LogPath: filepath.Join(dir, "container.log"),
			Name: "/" + snap.Shown(c.Name, c.Tenant), RestartCount: c.State.RestartCount,
			Driver: "overlay", Platform: platformOS(c.Platform),
			GraphDriver: &storage.DriverData{Name: "overlay"},
			Mounts:      mountPoints(c, snap),
		},
		Config:     inspectConfig{Config: dockerConfig(c)},
		HostConfig: dockerHost(c, snap),
	}
	if ids := s.engine.Execs(c.ID); len(ids) > 0 {
		out.ExecIDs = ids
	}
	if v.before(44) {
		out.Config.MacAddress = mainMAC(c, snap)
	}
	out.NetworkSettings = s.networkSettings(c, snap, v)
	if f := snap.FIPs[snap.FIPOf[c.ID]]; f != nil {
		out.NetworkSettings.FloatingIP = &attachedFIP{f.Address.String(), f.Name, f.ExposeOnly}
	}
	return out
}

// stamp writes a time as inspect does; the zero time is 0001-01-01T00:00:00Z.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func platformOS(p string) string {
	if os, _, _ := strings.Cut(p, "/"); os != "" {
		return os
	}
	return "linux"
}

func dockerState(st *model.State) *container.State {
	return &container.State{
		Status:  container.ContainerState(st.Status),
		Running: st.Running() || st.Status == model.StatusRestarting,
		Paused:  st.Status == model.StatusPaused, Restarting: st.Status == model.StatusRestarting,
		OOMKilled: st.OOMKilled, Dead: st.Status == model.StatusDead,
		Pid: st.Pid, ExitCode: st.ExitCode, Error: st.Error,
		StartedAt: stamp(st.StartedAt), FinishedAt: stamp(st.FinishedAt),
	}
}

func mountPoints(c *model.Container, snap *model.Snapshot) []container.MountPoint {
	out := make([]container.MountPoint, 0, len(c.Mounts))
	for i := range c.Mounts {
		m := &c.Mounts[i]
		name := m.Name
		if name != "" {
			name = snap.Shown(name, c.Tenant)
		}
		out = append(out, container.MountPoint{
			Type: mount.Type(m.Type), Name: name, Source: m.Source, Destination: m.Destination,
			Driver: m.Driver, Mode: m.Mode, RW: m.RW, Propagation: mount.Propagation(m.Propagation),
		})
	}
	return out
}

// mainMAC is the MAC address asked for on the container's main network.
func mainMAC(c *model.Container, snap *model.Snapshot) string {
	for _, e := range snap.ByContainer[c.ID] {
		if n := snap.Networks[e.NetworkID]; n != nil && (n.Name == string(c.Host.NetworkMode) || strings.HasPrefix(n.ID, string(c.Host.NetworkMode))) {
			return e.RequestedMAC
		}
	}
	return ""
}

func (s *Server) networkSettings(c *model.Container, snap *model.Snapshot, v apiVersion) networkSettings {
	out := networkSettings{SecurityGroups: sgNames(snap, c), Links: linkStates(snap, snap.LinksOf[c.ID])}
	out.Ports = network.PortMap{}
	out.Networks = endpointSettings(c, snap, v)
	if hasOwnPorts(c.Host.NetworkMode) || len(c.NICs) > 0 {
		out.Rates = &rates{In: c.Rates.In.Words(snap, c), Out: c.Rates.Out.Words(snap, c)}
	}
	s.insideSettings(c, &out)
	if c.Active {
		out.SandboxID = c.ID
		out.SandboxKey = filepath.Join(s.runDir, "netns", c.ID)
		out.Ports = portMap(c)
	}
	e := out.Networks[snap.Shown(model.DefaultNetwork, c.Tenant)]
	if e == nil {
		return out
	}
	out.EndpointID, out.MacAddress = e.EndpointID, e.MacAddress.String()
	out.IPAddress, out.IPPrefixLen, out.Gateway = addrString(e.IPAddress), e.IPPrefixLen, addrString(e.Gateway)
	out.GlobalIPv6Address, out.GlobalIPv6PrefixLen, out.IPv6Gateway = addrString(e.GlobalIPv6Address), e.GlobalIPv6PrefixLen, addrString(e.IPv6Gateway)
	return out
}

// portMap is the ports of a running container: those published with where,
// those only exposed with null.
func portMap(c *model.Container) network.PortMap {
	out := network.PortMap{}
	if !hasOwnPorts(c.Host.NetworkMode) {
		return out
	}
	for _, p := range c.Config.ExposedPorts {
		out[dockerPort(p)] = nil
	}
	for _, m := range c.Ports {
		p := dockerPort(m.Port)
		out[p] = append(out[p], network.PortBinding{HostIP: m.HostIP, HostPort: itoa(m.HostPort)})
	}
	return out
}

// hasOwnPorts tells whether a network mode gives a container ports that are
// not the host's or another container's.
func hasOwnPorts(m model.NetworkMode) bool {
	mode := container.NetworkMode(m)
	return !mode.IsHost() && !mode.IsNone() && !mode.IsContainer()
}

// endpointSettings are a container's networks by name. Addresses are shown
// while the container runs, as Docker does; what was asked for always is.
func endpointSettings(c *model.Container, snap *model.Snapshot, v apiVersion) map[string]*network.EndpointSettings {
	out := make(map[string]*network.EndpointSettings, 1)
	for _, e := range snap.ByContainer[c.ID] {
		n := snap.Networks[e.NetworkID]
		if n == nil || e.Extra { // a second one on the network is among the NICs
			continue
		}
		out[snap.Shown(n.Name, n.Tenant)] = endpointSetting(c, n, e, snap, v)
	}
	return out
}

func endpointSetting(c *model.Container, n *model.Network, e *model.Endpoint, snap *model.Snapshot, v apiVersion) *network.EndpointSettings {
	out := &network.EndpointSettings{
		NetworkID: n.ID, Aliases: e.Aliases, DriverOpts: e.DriverOpts, GwPriority: e.GwPriority,
		Links: endpointLinks(c, n, e, snap),
	}
	if e.RequestedIPv4.IsValid() || e.RequestedIPv6.IsValid() {
		out.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: e.RequestedIPv4, IPv6Address: e.RequestedIPv6}
	}
	if container.NetworkMode(n.Name).IsUserDefined() {
		out.DNSNames = dnsNames(c, e)
		if v.before(45) {
			out.Aliases = out.DNSNames[1:]
		}
	}
	if !c.Active {
		return out
	}
	out.EndpointID, out.MacAddress = e.ID, hardwareAddr(e.MAC)
	if e.IPv4.IsValid() {
		out.IPAddress, out.IPPrefixLen = e.IPv4.Addr(), e.IPv4.Bits()
	}
	if e.IPv6.IsValid() {
		out.GlobalIPv6Address, out.GlobalIPv6PrefixLen = e.IPv6.Addr(), e.IPv6.Bits()
	}
	if !n.Internal {
		out.Gateway, out.IPv6Gateway = gatewayOf(n, e.IPv4), gatewayOf(n, e.IPv6)
	}
	return out
}

// dnsNames is the container's name and then its other names on a network: the
// user's aliases, the short ID and the host name, each once.
func dnsNames(c *model.Container, e *model.Endpoint) []string {
	names := append([]string{c.Name}, e.Aliases...)
	names = append(names, shortID(c.ID))
	if c.Config.Hostname != "" {
		names = append(names, c.Config.Hostname)
	}
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

func shortID(id string) string { return id[:min(12, len(id))] }

// endpointLinks are the links on a user's network, NAME:ALIAS[:PORTS], with the
// target's name of today.
func endpointLinks(c *model.Container, n *model.Network, e *model.Endpoint, snap *model.Snapshot) []string {
	if n.Default() {
		return nil
	}
	var out []string
	for _, l := range snap.LinksOf[c.ID] {
		if target := snap.Containers[l.TargetID]; target != nil && l.NetworkID == n.ID {
			out = append(out, snap.Shown(target.Name, target.Tenant)+":"+l.Alias+linkPorts(l))
		}
	}
	if out == nil {
		out = e.Links
	}
	return out
}

// linkPorts are a link's ports as given with it.
func linkPorts(l *model.Link) string {
	sep, out := ":", ""
	for _, p := range l.Ports {
		out += sep + p.String()
		sep = ","
	}
	return out
}
