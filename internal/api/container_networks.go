package api

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/jackstay/jackstay/internal/model"
)

// networksOf fills in the endpoints a request asks for: those of
// EndpointsConfig, or else the one network of NetworkMode.
func networksOf(b *createBody, req *model.CreateRequest, v apiVersion) (warnings []string, err error) {
	mode := container.NetworkMode(req.Host.NetworkMode)
	if mode.IsContainer() {
		req.MAC = b.MacAddress // which does not go together, nor does much else: the engine says so
	} else if v.before(44) && len(b.Networks) > 1 {
		var names []string
		for _, e := range b.Networks {
			names = append(names, e.Network)
		}
		return nil, invalid("Container cannot be created with multiple network endpoints: %s", strings.Join(names, ", "))
	}
	for i := range b.Networks {
		e := &b.Networks[i]
		name := e.Network
		if name == network.NetworkDefault {
			name = model.DefaultNetwork
		}
		req1, err := endpointOf(name, &e.EndpointSettings)
		if err != nil {
			return nil, err
		}
		if v.before(44) {
			req1.MAC = "" // an older API ignored it here
		}
		req.Endpoints = append(req.Endpoints, req1)
	}
	if mode.IsContainer() {
		return nil, nil
	}
	if len(req.Endpoints) == 0 {
		req.Endpoints = []model.EndpointRequest{{Network: string(mode)}}
	}
	if warnings, err = containerMAC(b.MacAddress, mode, req.Endpoints, v); err != nil {
		return nil, err
	}
	linksToEndpoint(req, mode)
	return warnings, nil
}

// endpointOf reads what is asked for a membership in a network. What Docker
// fills in itself (IPAddress and its kin) may be sent back by clients that copy
// an inspect; it is not a wish.
func endpointOf(name string, e *network.EndpointSettings) (model.EndpointRequest, error) {
	out := model.EndpointRequest{
		Network: name, MAC: e.MacAddress.String(), Aliases: e.Aliases, Links: e.Links,
		GwPriority: e.GwPriority, DriverOpts: e.DriverOpts,
	}
	if c := e.IPAMConfig; c != nil {
		out.IPv4, out.IPv6 = c.IPv4Address, c.IPv6Address
		if len(c.LinkLocalIPs) > 0 {
			return out, unsupported("--link-local-ip is not supported yet: leave it out")
		}
	}
	if out.IPv4.IsValid() && !out.IPv4.Is4() {
		return out, invalid("invalid IPv4 address: %s", out.IPv4)
	}
	if out.IPv6.IsValid() && !out.IPv6.Is6() {
		return out, invalid("invalid IPv6 address: %s", out.IPv6)
	}
	return out, nil
}

// containerMAC gives the container-wide MAC address of API < 1.44 to the main
// network's endpoint.
func containerMAC(mac string, mode container.NetworkMode, endpoints []model.EndpointRequest, v apiVersion) ([]string, error) {
	if mac == "" {
		return nil, nil
	}
	if !mode.IsBridge() && !mode.IsUserDefined() {
		return nil, invalid("conflicting options: mac-address and the network mode")
	}
	i := max(0, slices.IndexFunc(endpoints, func(e model.EndpointRequest) bool { return e.Network == string(mode) }))
	e := &endpoints[i]
	if e.MAC != "" && !strings.EqualFold(e.MAC, mac) {
		return nil, invalid("the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty")
	}
	e.MAC = mac
	if v.before(44) {
		return nil, nil
	}
	return []string{"The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."}, nil
}

// linksToEndpoint moves links of a container on a network of its own to that
// endpoint: clients send them here, there, or in both places.
func linksToEndpoint(req *model.CreateRequest, mode container.NetworkMode) {
	if !mode.IsUserDefined() || len(req.Host.Links) == 0 {
		return
	}
	i := max(0, slices.IndexFunc(req.Endpoints, func(e model.EndpointRequest) bool { return e.Network == string(mode) }))
	e := &req.Endpoints[i]
	for _, l := range req.Host.Links {
		if !slices.ContainsFunc(e.Links, func(have string) bool { return fullLink(have) == fullLink(l) }) {
			e.Links = append(slices.Clone(e.Links), l)
		}
	}
	req.Host.Links = nil
}

// fullLink writes NAME as NAME:NAME.
func fullLink(l string) string {
	if name, _, ok := strings.Cut(l, ":"); !ok {
		return l + ":" + name
	}
	return l
}

// mainNetworkFirst moves the endpoint of NetworkMode to the front, by name or,
// if one is an ID and the other not, by what they stand for.
func (s *Server) mainNetworkFirst(endpoints []model.EndpointRequest, mode string) {
	if len(endpoints) < 2 {
		return
	}
	i := slices.IndexFunc(endpoints, func(e model.EndpointRequest) bool { return e.Network == mode })
	if i < 0 {
		i = slices.IndexFunc(endpoints, func(e model.EndpointRequest) bool { return s.sameNetwork(e.Network, mode) })
	}
	if i > 0 {
		main := endpoints[i]
		copy(endpoints[1:], endpoints[:i])
		endpoints[0] = main
	}
}

func (s *Server) sameNetwork(a, b string) bool {
	na, errA := s.engine.FindNetwork(a)
	nb, errB := s.engine.FindNetwork(b)
	return errA == nil && errB == nil && na.ID == nb.ID
}

func hardwareAddr(s string) network.HardwareAddr {
	var mac network.HardwareAddr
	_ = mac.UnmarshalText([]byte(s)) // a stored address was parsed before
	return mac
}

func addrOf(p netip.Prefix) netip.Addr {
	if !p.IsValid() {
		return netip.Addr{}
	}
	return p.Addr()
}
