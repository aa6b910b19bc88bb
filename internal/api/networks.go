package api

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func (s *Server) networkList(w *responseWriter, r *request) error {
	f, err := parseFilters(r.param("filters"), "driver", "id", "label", "label!", "name", "scope", "type", "dangling")
	if err != nil {
		return err
	}
	dangling, err := f.boolean("dangling")
	if err != nil {
		return err
	}
	for _, t := range f["type"] {
		if t != "custom" && t != "builtin" {
			return invalid("invalid filter: 'type'='%s'", t)
		}
	}
	snap := s.engine.Snapshot()
	out := []networkResponse{}
	for _, n := range sortedNetworks(snap) {
		if !matchNetwork(f, n, snap) || (dangling != nil && *dangling != unused(n, snap)) {
			continue
		}
		one := dockerNetwork(n, snap)
		if r.version.before(28) {
			one.Containers = networkContainers(n, snap)
		}
		out = append(out, one)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// sortedNetworks gives the newest last, as Docker's list grows.
func sortedNetworks(snap *model.Snapshot) []*model.Network {
	all := slices.Collect(maps.Values(snap.Networks))
	slices.SortFunc(all, func(a, b *model.Network) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.FullName(), b.FullName()))
	})
	return all
}

func matchNetwork(f filterSet, n *model.Network, snap *model.Snapshot) bool {
	kind := "custom"
	if builtin(n) {
		kind = "builtin"
	}
	return f.exact("driver", n.Driver) && f.prefix("id", n.ID) && f.pattern("name", snap.Shown(n.Name, n.Tenant)) &&
		f.exact("scope", orDefault(n.Scope, "local")) && f.exact("type", kind) && f.labels(n.Labels)
}

func builtin(n *model.Network) bool {
	return n.Default() || n.Driver == model.DriverHost || n.Driver == model.DriverNull
}

// unused tells whether prune could take a network.
func unused(n *model.Network, snap *model.Snapshot) bool {
	return !builtin(n) && len(snap.ByNetwork[n.ID]) == 0
}

func (s *Server) networkInspect(w *responseWriter, r *request) error {
	n, err := s.engine.FindNetwork(r.name())
	if err != nil {
		return err
	}
	if scope := r.param("scope"); scope != "" && scope != orDefault(n.Scope, "local") {
		return errs.New(errs.NotFound, "network %s not found", r.name())
	}
	snap := s.engine.Snapshot()
	out := dockerNetwork(n, snap)
	out.Containers = networkContainers(n, snap)
	for _, o := range s.engine.Overlaps(n.ID) {
		out.Overlaps = append(out.Overlaps, overlap{o.Subnet.String(), o.Route.String(), o.Device})
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// networkResponse is moby's with the containers before the options, where
// scripts cut them out: sed -n '/Containers/,/Options/p'.
type networkResponse struct {
	network.Network
	Containers map[string]network.EndpointResource
	Options    map[string]string
	Labels     map[string]string
	// Overlaps are Jackstay's own: routes of the host where the network is.
	Overlaps []overlap `json:",omitempty"`
}

type overlap struct{ Subnet, Route, Device string }

// dockerNetwork is a network as list and inspect show it, without containers.
func dockerNetwork(n *model.Network, snap *model.Snapshot) networkResponse {
	out := networkResponse{
		Network: network.Network{
			Name: snap.Shown(n.Name, n.Tenant), ID: n.ID, Created: n.Created, Scope: orDefault(n.Scope, "local"), Driver: n.Driver,
			EnableIPv4: n.EnableIPv4, EnableIPv6: n.EnableIPv6,
			Internal: n.Internal, Attachable: n.Attachable,
			IPAM: network.IPAM{Driver: "default", Options: map[string]string{}, Config: []network.IPAMConfig{}},
		},
		Containers: map[string]network.EndpointResource{},
		Options:    nonNilMap(n.Options), Labels: nonNilMap(n.Labels),
	}
	for _, sub := range n.Subnets {
		c := network.IPAMConfig{Subnet: sub.Prefix, Gateway: sub.Gateway, AuxAddress: sub.Reserved}
		if sub.Range != sub.Prefix {
			c.IPRange = sub.Range
		}
		out.IPAM.Config = append(out.IPAM.Config, c)
	}
	return out
}

func nonNilMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// networkContainers are the running containers of a network.
func networkContainers(n *model.Network, snap *model.Snapshot) map[string]network.EndpointResource {
	out := map[string]network.EndpointResource{}
	for _, e := range snap.ByNetwork[n.ID] {
		c := snap.Containers[e.ContainerID]
		if c == nil || !c.Active {
			continue
		}
		out[c.ID] = network.EndpointResource{
			Name: snap.Shown(c.Name, c.Tenant), EndpointID: e.ID, MacAddress: hardwareAddr(e.MAC), IPv4Address: e.IPv4, IPv6Address: e.IPv6,
		}
	}
	return out
}

// networkBody is a request for a network, with addresses as text: the engine
// explains what is wrong with one.
type networkBody struct {
	Name, Driver, Scope    string
	CheckDuplicate         bool // before API 1.44; names are unique
	Internal, Attachable   bool
	Ingress, ConfigOnly    bool
	ConfigFrom             *network.ConfigReference
	EnableIPv4, EnableIPv6 *bool
	IPAM                   *ipamBody
	Options, Labels        map[string]string
}

type ipamBody struct {
	Driver  string
	Options map[string]string
	Config  []ipamConfigBody
}

type ipamConfigBody struct {
	Subnet, IPRange, Gateway string
	AuxiliaryAddresses       map[string]string
}

func (s *Server) networkCreate(w *responseWriter, r *request) error {
	data, err := r.body()
	if err != nil {
		return err
	}
	var body networkBody
	if err := decodeJSON(data, &body); err != nil {
		return err
	}
	if err := refuseUnknown(data, "", body, nil); err != nil {
		return err
	}
	req, err := networkRequest(&body)
	if err != nil {
		return err
	}
	id, warning, err := s.engine.CreateNetwork(r.Context(), req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, network.CreateResponse{ID: id, Warning: warning})
	return nil
}

func networkRequest(b *networkBody) (model.NetworkRequest, error) {
	req := model.NetworkRequest{
		Name: b.Name, Driver: b.Driver, Internal: b.Internal, Attachable: b.Attachable,
		EnableIPv4: b.EnableIPv4, EnableIPv6: b.EnableIPv6, Labels: b.Labels, Options: b.Options,
	}
	switch {
	case strings.TrimSpace(b.Name) == "":
		return req, invalid("invalid network name: name is empty")
	case b.Ingress:
		return req, unsupported("network %s: ingress networks (--ingress) belong to swarm mode, which Jackstay has not", b.Name)
	case b.ConfigOnly:
		return req, unsupported("network %s: configuration-only networks (--config-only) are not supported: give the options to each network", b.Name)
	case b.ConfigFrom != nil && b.ConfigFrom.Network != "":
		return req, unsupported("network %s: --config-from is not supported: give the options to the network itself", b.Name)
	case b.Scope != "" && b.Scope != "local":
		return req, unsupported("network %s: scope %q is not supported: use local", b.Name, b.Scope)
	}
	if b.IPAM == nil {
		return req, nil
	}
	if d := b.IPAM.Driver; d != "" && d != "default" {
		return req, unsupported("network %s: IPAM driver %q (--ipam-driver) is not supported: use default", b.Name, d)
	}
	if len(b.IPAM.Options) > 0 {
		return req, unsupported("network %s: IPAM options (--ipam-opt) are not supported: leave them out", b.Name)
	}
	req.IPAMDriver = b.IPAM.Driver
	for _, c := range b.IPAM.Config {
		if c.Subnet == "" && c.IPRange == "" && c.Gateway == "" && len(c.AuxiliaryAddresses) == 0 {
			continue // python-docker sends an empty one
		}
		req.Subnets = append(req.Subnets, model.SubnetRequest{Prefix: c.Subnet, Range: c.IPRange, Gateway: c.Gateway, Reserved: c.AuxiliaryAddresses})
	}
	return req, nil
}

func (s *Server) networkRemove(w *responseWriter, r *request) error {
	return noContent(w, s.engine.RemoveNetwork(r.Context(), r.name()))
}

func (s *Server) networkConnect(w *responseWriter, r *request) error {
	var body struct {
		Container      string
		EndpointConfig json.RawMessage
	}
	if err := r.decode(&body); err != nil {
		return err
	}
	if body.Container == "" {
		return invalid("connecting to network %s: the container's name is missing", r.name())
	}
	var settings network.EndpointSettings
	if err := decodeEndpoint(body.EndpointConfig, "EndpointConfig", &settings); err != nil {
		return err
	}
	if r.version.before(48) {
		settings.GwPriority = 0
	}
	e, err := endpointOf(r.name(), &settings)
	if err != nil {
		return err
	}
	if r.version.before(44) {
		e.MAC = ""
	}
	if err := s.engine.ConnectNetwork(r.Context(), r.name(), body.Container, e); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) networkDisconnect(w *responseWriter, r *request) error {
	var body network.DisconnectRequest
	if err := r.decode(&body); err != nil {
		return err
	}
	if body.Container == "" {
		return invalid("disconnecting from network %s: the container's name is missing", r.name())
	}
	if err := s.engine.DisconnectNetwork(r.Context(), r.name(), body.Container, body.Force); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) networkPrune(w *responseWriter, r *request) error {
	f, err := parseFilters(r.param("filters"), "until", "label", "label!")
	if err != nil {
		return err
	}
	until, err := f.until(s.now())
	if err != nil {
		return err
	}
	names, err := s.engine.PruneNetworks(r.Context(), func(n *model.Network) bool {
		return !f.labels(n.Labels) || (!until.IsZero() && n.Created.After(until))
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, network.PruneReport{NetworksDeleted: nonNil(names)})
	return nil
}
