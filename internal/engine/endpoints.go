package engine

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// Docker's words for combinations of networks that can't be.
const (
	wordsShared     = "container sharing network namespace with another container or host cannot be connected to any other network"
	wordsNone       = "container cannot be connected to multiple networks with one of the networks in private (none) mode"
	wordsToHost     = "cannot connect container to host network - container must be created in host network mode"
	wordsFromHost   = "cannot disconnect container from host network - container was created in host network mode"
	wordsNoIP       = "user specified IP address is supported on user defined networks only"
	wordsNoAlias    = "network-scoped alias is supported only for containers in user defined networks"
	wordsModeAndMAC = "conflicting options: mac-address and the network mode"
)

// joinedContainer gives X of --network container:X.
func joinedContainer(mode model.NetworkMode) (ref string, ok bool) {
	return strings.CutPrefix(string(mode), "container:")
}

// isDefaultMode tells whether the mode names the default network.
func isDefaultMode(mode model.NetworkMode) bool {
	return mode == "" || mode == "default" || mode == model.DefaultNetwork
}

// resolveNetworks completes the network mode of a request and gives what is
// asked of each network, the mode's first. Unknown networks are errs.Invalid
// rather than errs.NotFound: to a client, a 404 of create means the image.
func resolveNetworks(s *model.Snapshot, req *model.CreateRequest) ([]model.EndpointRequest, error) {
	h := &req.Host
	if ref, joined := joinedContainer(h.NetworkMode); joined {
		return nil, resolveJoined(s, req, ref)
	}
	asked := slices.Clone(req.Endpoints)
	if isDefaultMode(h.NetworkMode) {
		h.NetworkMode = model.DefaultNetwork
		if len(asked) > 0 && !slices.ContainsFunc(asked, func(r model.EndpointRequest) bool { return r.Network == "default" || r.Network == model.DefaultNetwork }) {
			h.NetworkMode = model.NetworkMode(asked[0].Network)
		}
	}
	mode, err := findNetwork(s, string(h.NetworkMode))
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err)
	}
	if string(h.NetworkMode) != mode.Name && string(h.NetworkMode) != mode.ID {
		h.NetworkMode = model.NetworkMode(mode.ID)
	}
	return sortRequests(s, mode, asked)
}

// sortRequests replaces names by IDs, puts the mode's network first and
// refuses doubles.
func sortRequests(s *model.Snapshot, mode *model.Network, asked []model.EndpointRequest) ([]model.EndpointRequest, error) {
	out := []model.EndpointRequest{{Network: mode.ID}}
	seen := map[string]bool{}
	for _, r := range asked {
		n, err := findNetwork(s, r.Network)
		if err != nil {
			return nil, errs.Wrap(errs.Invalid, err)
		}
		if seen[n.ID] {
			return nil, errs.New(errs.Invalid, "network %s is given twice", n.Name)
		}
		seen[n.ID] = true
		r.Network = n.ID
		if n.ID == mode.ID {
			out[0] = r
		} else {
			out = append(out, r)
		}
	}
	return out, nil
}

func resolveJoined(s *model.Snapshot, req *model.CreateRequest, ref string) error {
	target, err := findContainer(s, ref)
	if err != nil {
		return errs.New(errs.Invalid, "joining network namespace of container: %w", err)
	}
	if len(req.Endpoints) > 0 {
		for _, r := range req.Endpoints {
			if r.MAC != "" {
				return errs.New(errs.Invalid, wordsModeAndMAC)
			}
		}
		return errs.New(errs.Invalid, wordsShared)
	}
	if req.MAC != "" {
		return errs.New(errs.Invalid, wordsModeAndMAC)
	}
	req.Host.NetworkMode = model.NetworkMode("container:" + target.ID)
	return nil
}

// checkMembership tells whether a container of this mode that is on have may
// be on n too.
func checkMembership(mode model.NetworkMode, have []*model.Network, n *model.Network) error {
	if _, joined := joinedContainer(mode); joined {
		return errs.New(errs.Invalid, wordsShared)
	}
	if n.Driver == model.DriverHost && mode != "host" {
		return errs.New(errs.Invalid, wordsToHost)
	}
	for _, h := range have {
		switch {
		case h.ID == n.ID:
		case h.Driver == model.DriverHost || n.Driver == model.DriverHost:
			return errs.New(errs.Invalid, wordsShared)
		case h.Driver == model.DriverNull || n.Driver == model.DriverNull:
			return errs.New(errs.Invalid, wordsNone)
		}
	}
	return nil
}

// newEndpoint picks what has to be picked once for a container's membership in
// a network: interface, address and MAC.
func newEndpoint(s *model.Snapshot, c *model.Container, n *model.Network, r model.EndpointRequest) (*model.Endpoint, error) {
	ep := &model.Endpoint{
		ID: alloc.ID(), ContainerID: c.ID, NetworkID: n.ID, Order: freeOrder(s, c.ID),
		Aliases: slices.Clone(r.Aliases), Links: slices.Clone(r.Links), GwPriority: r.GwPriority, DriverOpts: r.DriverOpts,
		RequestedIPv4: r.IPv4, RequestedIPv6: r.IPv6, RequestedMAC: r.MAC,
	}
	if n.Driver != model.DriverBridge {
		return ep, checkBare(r)
	}
	ep.HostName, ep.MTU, ep.Gateways, ep.Extra = r.HostName, r.MTU, r.Gateways, r.Extra
	for _, check := range []func() error{
		func() (err error) { ep.Interface, err = pickInterface(s, c, interfaceName(r), ep.Order); return },
		func() error { return checkAliases(r.Aliases) },
		func() error { return checkEndpointOptions(n, r.DriverOpts) },
		func() error { return pickAddresses(s, n, r, ep) },
		func() error { return pickMAC(s, n, r, ep) },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return ep, nil
}

// checkBare refuses what host and none can't give.
func checkBare(r model.EndpointRequest) error {
	switch {
	case r.IPv4.IsValid() || r.IPv6.IsValid():
		return errs.New(errs.Invalid, wordsNoIP)
	case len(r.Aliases) > 0:
		return errs.New(errs.Invalid, wordsNoAlias)
	case r.MAC != "":
		return errs.New(errs.Invalid, wordsModeAndMAC)
	}
	return nil
}

func pickAddresses(s *model.Snapshot, n *model.Network, r model.EndpointRequest, ep *model.Endpoint) (err error) {
	used := alloc.Addresses(s.ByNetwork[n.ID])
	switch {
	case r.IPv6.IsValid() && r.IPv6.Unmap().Is4():
		return errs.New(errs.Invalid, "invalid IPv6 address: %s", r.IPv6)
	case r.IPv6.IsValid() && !n.EnableIPv6:
		return errs.New(errs.Invalid, "invalid address %s: network %s has no IPv6: it would have to be made with --ipv6", r.IPv6, n.Name)
	}
	if r.IPv4.IsValid() {
		if !r.IPv4.Unmap().Is4() {
			return errs.New(errs.Invalid, "invalid IPv4 address: %s", r.IPv4)
		}
		ep.IPv4, err = alloc.CheckAddress(n, r.IPv4, used)
	} else if n.EnableIPv4 {
		ep.IPv4, err = alloc.Address(n, used)
	}
	if err != nil || !n.EnableIPv6 {
		return err
	}
	if r.IPv6.IsValid() {
		ep.IPv6, err = alloc.CheckAddress(n, r.IPv6, used)
	} else {
		ep.IPv6, err = alloc.Address6(n, used)
	}
	return err
}

func pickMAC(s *model.Snapshot, n *model.Network, r model.EndpointRequest, ep *model.Endpoint) (err error) {
	if r.MAC == "" {
		ep.MAC = alloc.MAC(ep.IPv4.Addr())
		if macHolder(s, n, ep.MAC) != "" { // somebody asked for the one that goes with our address
			ep.MAC = alloc.MAC(netip.Addr{})
		}
		return nil
	}
	if ep.MAC, err = alloc.ParseMAC(r.MAC); err != nil {
		return err
	}
	if holder := macHolder(s, n, ep.MAC); holder != "" {
		return errs.New(errs.Conflict, "MAC address %s is already in use on network %s by container %s", ep.MAC, n.Name, nameOf(s, holder))
	}
	return nil
}

// macHolder gives the ID of the container that has the MAC on the network, or "".
func macHolder(s *model.Snapshot, n *model.Network, mac string) string {
	for _, o := range s.ByNetwork[n.ID] {
		if o.MAC == mac {
			return o.ContainerID
		}
	}
	return ""
}

func nameOf(s *model.Snapshot, id string) string {
	if c := s.Containers[id]; c != nil {
		return s.Shown(c.Name, c.Tenant)
	}
	return id
}

// freeOrder gives the lowest number no endpoint of the container has.
func freeOrder(s *model.Snapshot, containerID string) int {
	taken := map[int]bool{}
	for _, ep := range s.ByContainer[containerID] {
		taken[ep.Order] = true
	}
	n := 0
	for taken[n] {
		n++
	}
	return n
}

// validAlias matches names the resolver can answer for, each label RFC 1123's
// with Docker's underscores; a wildcard may stand in front (RFC 4592).
func validAlias(a string) bool {
	ok, _ := regexp.MatchString(`^(\*\.)?[a-zA-Z0-9_]([a-zA-Z0-9_.-]*[a-zA-Z0-9_])?$`, a)
	return ok && len(a) <= 253 && !strings.Contains(a, "..")
}

func checkAliases(aliases []string) error {
	for _, a := range aliases {
		if !validAlias(a) {
			return errs.New(errs.Invalid, "invalid network alias %q: use letters, digits, '-', '_' and '.'", a)
		}
	}
	return nil
}

// optionIfname is Docker's endpoint option for the interface's name inside.
const optionIfname = "com.docker.network.endpoint.ifname"

func interfaceName(r model.EndpointRequest) string {
	if r.Interface != "" {
		return r.Interface
	}
	return r.DriverOpts[optionIfname]
}

func checkEndpointOptions(n *model.Network, o map[string]string) error {
	for k, v := range o {
		if k == optionIfname {
			if err := checkLinkName("interface name", v); err != nil {
				return err
			}
			continue
		}
		return errs.New(errs.NotImplemented, "endpoint option %s of network %s is not supported yet", k, n.Name)
	}
	return nil
}

// putEndpoint makes the membership within a transaction.
func putEndpoint(tx *store.Tx, c *model.Container, r model.EndpointRequest) (*model.Endpoint, error) {
	s := tx.Snapshot()
	n := s.Networks[r.Network]
	if n == nil {
		return nil, errs.New(errs.Invalid, "network %s not found", r.Network)
	}
	var have []*model.Network
	for _, ep := range s.ByContainer[c.ID] {
		have = append(have, s.Networks[ep.NetworkID])
	}
	if err := checkMembership(c.Host.NetworkMode, have, n); err != nil {
		return nil, err
	}
	ep, err := newEndpoint(s, c, n, r)
	if err != nil {
		return nil, err
	}
	if err := tx.PutEndpoint(ep); err != nil {
		return nil, err
	}
	return ep, nil
}
