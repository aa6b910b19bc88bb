package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/jackstay/jackstay/internal/links"
	"github.com/jackstay/jackstay/internal/model"
)

// The routes that change ports, names and links of a container that is there
// already. They are Jackstay's own, in Docker's manner.

// extensionRoutes are the routes Docker has not.
func extensionRoutes() []route {
	const note, links = "Jackstay's own; see [live changes](live-changes.md)", "Jackstay's own; see [links](links.md#other-clients)"
	return []route{
		{Method: "POST", Pattern: "/containers/{name}/ports", serve: (*Server).portsAdd, Note: note},
		{Method: "DELETE", Pattern: "/containers/{name}/ports", serve: (*Server).portsRemove, Note: note},
		{Method: "GET", Pattern: "/containers/{name}/links", serve: (*Server).linkList, Note: links},
		{Method: "POST", Pattern: "/containers/{name}/links", serve: (*Server).linkAdd, Note: links},
		{Method: "DELETE", Pattern: "/containers/{name}/links", serve: (*Server).linkRemove, Note: links},
		{Method: "GET", Pattern: "/links", serve: (*Server).linkListAll, Note: links},
		{Method: "POST", Pattern: "/containers/{name}/swap", serve: (*Server).containerSwap, Note: note},
		{Method: "GET", Pattern: "/networks/{name}/aliases", serve: (*Server).aliasList, Note: note},
		{Method: "POST", Pattern: "/networks/{name}/aliases", serve: (*Server).aliasAdd, Note: note},
		{Method: "DELETE", Pattern: "/networks/{name}/aliases", serve: (*Server).aliasRemove, Note: note},
		{Method: "GET", Pattern: "/networks/{name}/leases", serve: (*Server).networkLeases, Note: note},
	}
}

// portsAdd publishes the ports of a body {"PortBindings": …} in Docker's form.
func (s *Server) portsAdd(w *responseWriter, r *request) error {
	var body struct{ PortBindings network.PortMap }
	if err := r.decode(&body); err != nil {
		return err
	}
	bindings, err := bindingsOf(body.PortBindings, r.version)
	if err != nil {
		return err
	}
	added, err := s.engine.AddPorts(r.Context(), r.name(), bindings)
	if err != nil {
		return err
	}
	out := network.PortMap{}
	for _, m := range added {
		p := dockerPort(m.Port)
		out[p] = append(out[p], network.PortBinding{HostIP: m.HostIP, HostPort: itoa(m.HostPort)})
	}
	writeJSON(w, http.StatusOK, map[string]network.PortMap{"Ports": out})
	return nil
}

// portsRemove takes back every port=[IP:]PORT[-PORT][/PROTO] of the query.
func (s *Server) portsRemove(w *responseWriter, r *request) error {
	var ports []model.PublishedPort
	for _, text := range r.query["port"] {
		p, err := publishedPort(text)
		if err != nil {
			return err
		}
		ports = append(ports, p)
	}
	return noContent(w, s.engine.RemovePorts(r.Context(), r.name(), ports))
}

// publishedPort reads [IP:]PORT[-PORT][/PROTO]; the protocol is tcp, as for -p.
func publishedPort(text string) (model.PublishedPort, error) {
	bad := invalid("invalid host port %q: give it as [IP:]PORT[-PORT][/PROTO], such as 8080 or 127.0.0.1:5353/udp", text)
	rest, proto, found := strings.Cut(text, "/")
	p := model.PublishedPort{Proto: "tcp"}
	if found {
		p.Proto = strings.ToLower(proto)
	}
	if !slices.Contains([]string{"tcp", "udp", "sctp"}, p.Proto) {
		return p, invalid("invalid host port %q: unknown protocol %q, there are tcp, udp and sctp", text, proto)
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		ip, err := netip.ParseAddr(strings.Trim(rest[:i], "[]"))
		if err != nil {
			return p, bad
		}
		p.HostIP, rest = ip.Unmap(), rest[i+1:]
	}
	first, last, ranged := strings.Cut(rest, "-")
	if !ranged {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || from == 0 || to < from {
		return p, bad
	}
	p.From, p.To = uint16(from), uint16(to)
	return p, nil
}

// aliasSet is the aliases of one container on a network.
type aliasSet struct {
	Container, ContainerID string
	Aliases                []string
}

func (s *Server) aliasList(w *responseWriter, r *request) error {
	n, err := s.engine.FindNetwork(r.name())
	if err != nil {
		return err
	}
	snap := s.engine.Snapshot()
	out := []aliasSet{}
	for _, e := range snap.ByNetwork[n.ID] {
		if c := snap.Containers[e.ContainerID]; c != nil && len(e.Aliases) > 0 {
			out = append(out, aliasSet{snap.Shown(c.Name, c.Tenant), c.ID, e.Aliases})
		}
	}
	slices.SortFunc(out, func(a, b aliasSet) int { return strings.Compare(a.Container, b.Container) })
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (s *Server) aliasAdd(w *responseWriter, r *request) error {
	var body struct {
		Container string
		Aliases   []string
	}
	if err := r.decode(&body); err != nil {
		return err
	}
	if body.Container == "" {
		return invalid("aliases on network %s: the container's name is missing", r.name())
	}
	return noContent(w, s.engine.AddAliases(r.Context(), r.name(), body.Container, body.Aliases))
}

// aliasRemove takes every alias= of the query from the container=.
func (s *Server) aliasRemove(w *responseWriter, r *request) error {
	if r.param("container") == "" {
		return invalid("aliases on network %s: the parameter container is missing", r.name())
	}
	return noContent(w, s.engine.RemoveAliases(r.Context(), r.name(), r.param("container"), r.query["alias"]))
}

// linkState is one link and where it leads now.
type linkState struct {
	Container, Alias string
	Target, TargetID string   // the ID is empty while the target is awaited
	Ports            []string // given ones; none: those that the target exposes
	Strict           bool
	Network          string // the one it goes over, or starts from; empty: none now
	TargetNetwork    string // where it ends, if that is another
	Addresses        []netip.Addr
	State            string
}

// What keeps a link from leading somewhere.
const (
	linkUp      = "up"
	linkWaiting = "waiting for the target"
	linkStopped = "target not running"
	linkApart   = "no way to the target"
	linkStrict  = "no common network"
)

func (s *Server) linkList(w *responseWriter, r *request) error {
	c, err := s.engine.FindContainer(r.name())
	if err != nil {
		return err
	}
	snap := s.engine.Snapshot()
	writeJSON(w, http.StatusOK, linkStates(snap, snap.LinksOf[c.ID]))
	return nil
}

func (s *Server) linkListAll(w *responseWriter, _ *request) error {
	snap := s.engine.Snapshot()
	var all []*model.Link
	for _, of := range snap.LinksOf {
		all = append(all, of...)
	}
	writeJSON(w, http.StatusOK, linkStates(snap, all))
	return nil
}

func linkStates(snap *model.Snapshot, links []*model.Link) []linkState {
	out := []linkState{}
	for _, l := range links {
		if c := snap.Containers[l.ContainerID]; c != nil {
			out = append(out, linkStateOf(snap, c, l))
		}
	}
	slices.SortFunc(out, func(a, b linkState) int {
		return strings.Compare(a.Container+"\x00"+a.Alias+"\x00"+a.Network, b.Container+"\x00"+b.Alias+"\x00"+b.Network)
	})
	return out
}

func linkStateOf(snap *model.Snapshot, c *model.Container, l *model.Link) linkState {
	out := linkState{
		Container: snap.Shown(c.Name, c.Tenant), Alias: l.Alias, Target: l.TargetName, Ports: []string{}, Strict: l.Strict,
		Addresses: []netip.Addr{}, State: linkWaiting,
	}
	for _, p := range l.Ports {
		out.Ports = append(out.Ports, p.String())
	}
	r := links.Find(snap, l)
	if r.Target == nil {
		return out
	}
	out.Target, out.TargetID = snap.Shown(r.Target.Name, r.Target.Tenant), r.Target.ID
	switch {
	case r.To == nil && l.Strict:
		out.State = linkStrict
		return out
	case r.To == nil:
		out.State = linkApart
		return out
	case r.Owner.Active:
		out.State, out.Addresses = linkUp, r.Addresses()
	default:
		out.State = linkStopped
	}
	out.Network = shownNetwork(snap, r.From.NetworkID)
	if r.Joined() {
		out.TargetNetwork = shownNetwork(snap, r.To.NetworkID)
	}
	return out
}

func (s *Server) linkAdd(w *responseWriter, r *request) error {
	var body struct {
		Target, Alias string
		Ports         []string
		Wait, Strict  bool
	}
	if err := r.decode(&body); err != nil {
		return err
	}
	if body.Target == "" {
		return invalid("a link of container %s: the target's name is missing", r.name())
	}
	l, err := s.engine.AddLink(r.Context(), r.name(), model.LinkRequest{
		Target: body.Target, Alias: body.Alias, Ports: body.Ports, Wait: body.Wait, Strict: body.Strict,
	})
	if err != nil {
		return err
	}
	snap := s.engine.Snapshot()
	if c := snap.Containers[l.ContainerID]; c != nil {
		writeJSON(w, http.StatusCreated, linkStateOf(snap, c, l))
		return nil
	}
	return noContent(w, nil) // both are gone by now
}

func (s *Server) linkRemove(w *responseWriter, r *request) error {
	if r.param("alias") == "" {
		return invalid("a link of container %s: the parameter alias is missing", r.name())
	}
	return noContent(w, s.engine.RemoveLink(r.Context(), r.name(), r.param("alias")))
}

func (s *Server) containerSwap(w *responseWriter, r *request) error {
	if r.param("with") == "" {
		return invalid("swapping container %s: the parameter with is missing", r.name())
	}
	return noContent(w, s.engine.Swap(r.Context(), r.name(), r.param("with")))
}

// lease is one address that is not free.
type lease struct {
	Address     netip.Addr
	MacAddress  string
	Container   string
	ContainerID string
	State       model.LeaseState
}

func (s *Server) networkLeases(w *responseWriter, r *request) error {
	leases, err := s.engine.Leases(r.name())
	if err != nil {
		return err
	}
	out := []lease{}
	for _, l := range leases {
		out = append(out, lease{l.Address, l.MAC, l.Container, l.ContainerID, l.State})
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// shownNetwork is how a network is called in a snapshot.
func shownNetwork(snap *model.Snapshot, id string) string {
	n := snap.Networks[id]
	return snap.Shown(n.Name, n.Tenant)
}
