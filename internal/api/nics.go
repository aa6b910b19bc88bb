package api

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// nicRoutes are the routes of further interfaces and of what is inside a
// container's network. They are Jackstay's own, in Docker's manner.
func nicRoutes() []route {
	const note = "Jackstay's own; see [NICs](nics.md)"
	return []route{
		{Method: "GET", Pattern: "/nics", serve: (*Server).nicListAll, Note: note},
		{Method: "GET", Pattern: "/containers/{name}/nics", serve: (*Server).nicList, Note: note},
		{Method: "POST", Pattern: "/containers/{name}/nics", serve: (*Server).nicAdd, Note: note},
		{Method: "DELETE", Pattern: "/containers/{name}/nics", serve: (*Server).nicRemove, Note: note},
		{Method: "POST", Pattern: "/containers/{name}/nics/wait", serve: (*Server).nicWait, Note: note},
		{Method: "GET", Pattern: "/containers/{name}/routes", serve: (*Server).insideRoutes, Note: note},
		{Method: "POST", Pattern: "/containers/{name}/routes", serve: (*Server).insideRouteChange, Note: note},
		{Method: "GET", Pattern: "/containers/{name}/rules", serve: (*Server).insideRules, Note: note},
		{Method: "POST", Pattern: "/containers/{name}/rules", serve: (*Server).insideRuleChange, Note: note},
		{Method: "POST", Pattern: "/containers/{name}/tc", serve: (*Server).insideTC, Note: note},
	}
}

// nicBody asks for a NIC.
type nicBody struct {
	On         string
	Name       string
	HostName   string
	Addresses  []string // ADDRESS/LENGTH[,GATEWAY]
	MacAddress string
	MacFrom    string
	MTU        int
	VLAN       int
	Routes     []string // DESTINATION[,GATEWAY], or ip(8)'s words
	DHCP       bool
	Direct     bool
	NetRateIn  string // in tc(8)'s units; empty: as the container is limited
	NetRateOut string
	Wait       bool
}

// nicMessage is an interface as it is shown.
type nicMessage struct {
	Container   string
	ContainerID string
	Name        string
	On          string
	Kind        model.NICKind
	Addresses   []netip.Prefix
	Gateways    []netip.Addr
	MacAddress  string
	HostName    string
	MTU         int
	VLAN        int
	DHCP        bool
	// NetRateIn and NetRateOut are its limits, whatever set them, or none.
	NetRateIn, NetRateOut string
	ID                    string
	// Up says that its container has it now.
	Up bool
}

func nicMessageOf(v model.NICView, snap *model.Snapshot) nicMessage {
	n := v.NIC
	m := nicMessage{
		Container: snap.Shown(v.Container.Name, v.Container.Tenant), ContainerID: v.Container.ID, Name: n.Name, On: n.On, Kind: n.Kind,
		Addresses: nonNil(n.Addrs), Gateways: nonNil(n.Gateways), MacAddress: n.MAC, HostName: n.HostName,
		MTU: n.MTU, VLAN: n.VLAN, DHCP: n.DHCP, ID: n.ID, Up: v.Container.Active,
	}
	ids := []string{n.ID}
	if v.Network != nil {
		ids = append(ids, v.Network.ID)
	}
	m.NetRateIn = model.RateWords(v.Container.Rates.In.For(ids...))
	m.NetRateOut = model.RateWords(v.Container.Rates.Out.For(ids...))
	if m.HostName == "" && n.Kind.HostEnd() {
		m.HostName = "jv" + n.ID[:min(12, len(n.ID))]
	}
	return m
}

func nicMessages(views []model.NICView, snap *model.Snapshot) []nicMessage {
	out := []nicMessage{}
	for _, v := range views {
		out = append(out, nicMessageOf(v, snap))
	}
	return out
}

func (s *Server) nicListAll(w *responseWriter, _ *request) error {
	views, err := s.engine.NICs("")
	if err == nil {
		writeJSON(w, http.StatusOK, nicMessages(views, s.engine.Snapshot()))
	}
	return err
}

func (s *Server) nicList(w *responseWriter, r *request) error {
	c, err := s.engine.FindContainer(r.name())
	if err != nil {
		return err
	}
	views, err := s.engine.NICs(c.ID)
	if err == nil {
		writeJSON(w, http.StatusOK, nicMessages(views, s.engine.Snapshot()))
	}
	return err
}

func (s *Server) nicAdd(w *responseWriter, r *request) error {
	data, err := r.body()
	if err != nil {
		return err
	}
	var b nicBody
	if err := decodeJSON(data, &b); err != nil {
		return err
	}
	if err := refuseUnknown(data, "", b, nil); err != nil {
		return err
	}
	req, err := nicRequest(&b)
	if err != nil {
		return err
	}
	v, err := s.engine.AddNIC(r.Context(), r.name(), req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, nicMessageOf(*v, s.engine.Snapshot()))
	return nil
}

func nicRequest(b *nicBody) (model.NICRequest, error) {
	out := model.NICRequest{
		On: b.On, Name: b.Name, HostName: b.HostName, MAC: b.MacAddress, MACFrom: b.MacFrom, MTU: b.MTU, VLAN: b.VLAN,
		DHCP: b.DHCP, Direct: b.Direct, RateIn: b.NetRateIn, RateOut: b.NetRateOut, Wait: b.Wait,
	}
	for _, text := range b.Addresses {
		p, gw, err := addressWithGateway(text)
		if err != nil {
			return out, err
		}
		out.Addrs = append(out.Addrs, p)
		if gw.IsValid() {
			out.Gateways = append(out.Gateways, gw)
		}
	}
	for _, text := range b.Routes {
		words := strings.Fields(text)
		if dst, via, ok := strings.Cut(text, ","); ok && len(words) == 1 {
			words = []string{dst, "via", via}
		}
		route, err := parseRoute(words, false)
		if err != nil {
			return out, err
		}
		out.Routes = append(out.Routes, route)
	}
	return out, nil
}

// addressWithGateway reads ADDRESS/LENGTH[,GATEWAY]; pipework wrote the gateway
// after an @.
func addressWithGateway(text string) (p netip.Prefix, gw netip.Addr, err error) {
	addr, via, given := strings.Cut(strings.Replace(text, "@", ",", 1), ",")
	if !strings.Contains(addr, "/") {
		return p, gw, invalid("invalid address %q: give it with the length of its subnet, such as 192.168.4.25/24", text)
	}
	if p, err = netip.ParsePrefix(addr); err == nil && given {
		gw, err = netip.ParseAddr(via)
	}
	if err != nil || p.Addr().Zone() != "" {
		return p, gw, invalid("invalid address %q: give it as ADDRESS/LENGTH[,GATEWAY], such as 192.168.4.25/24,192.168.4.1", text)
	}
	if gw.IsValid() && gw.Is4() != p.Addr().Is4() {
		return p, gw, invalid("invalid address %q: the gateway is of another family", text)
	}
	return p, gw, nil
}

func (s *Server) nicRemove(w *responseWriter, r *request) error {
	name, err := r.required("nic")
	if err != nil {
		return err
	}
	return noContent(w, s.engine.RemoveNIC(r.Context(), r.name(), name))
}

// maxWait is how many seconds one can wait for: a hundred years.
const maxWait = 100 * 365 * 24 * 3600

func (s *Server) nicWait(w *responseWriter, r *request) error {
	within := -time.Second
	seconds, err := r.integer("timeout")
	switch {
	case err != nil:
		return err
	case seconds != nil && (*seconds < 0 || *seconds > maxWait):
		return errs.New(errs.Invalid, "invalid timeout %d: give seconds, or 0 to wait without end", *seconds)
	case seconds != nil:
		within = time.Duration(*seconds) * time.Second
	}
	return noContent(w, s.engine.WaitNIC(r.Context(), r.name(), r.param("nic"), within))
}

// words is the body of what ip(8) and tc(8) would be told.
type words struct{ Words []string }

func (s *Server) wordsOf(r *request) ([]string, error) {
	var b words
	if err := r.decode(&b); err != nil {
		return nil, err
	}
	if len(b.Words) == 0 {
		return nil, invalid("nothing is asked for: the words are missing")
	}
	return b.Words, nil
}

func (s *Server) insideRoutes(w *responseWriter, r *request) error {
	lines, err := s.engine.Routes(r.name())
	if err == nil {
		writeJSON(w, http.StatusOK, lines)
	}
	return err
}

func (s *Server) insideRouteChange(w *responseWriter, r *request) error {
	ws, err := s.wordsOf(r)
	if err != nil {
		return err
	}
	op := opOf(ws[0])
	route, err := parseRoute(ws[1:], op == "del")
	if err != nil {
		return err
	}
	return noContent(w, s.engine.ChangeRoute(r.Context(), r.name(), op, route))
}

func (s *Server) insideRules(w *responseWriter, r *request) error {
	lines, err := s.engine.Rules(r.name())
	if err == nil {
		writeJSON(w, http.StatusOK, lines)
	}
	return err
}

func (s *Server) insideRuleChange(w *responseWriter, r *request) error {
	ws, err := s.wordsOf(r)
	if err != nil {
		return err
	}
	rule, err := parseRule(ws[1:])
	if err != nil {
		return err
	}
	return noContent(w, s.engine.ChangeRule(r.Context(), r.name(), opOf(ws[0]), rule))
}

func opOf(word string) string {
	switch word {
	case "delete", "rm":
		return "del"
	case "change":
		return "replace"
	}
	return word
}

// insideTC answers with what tc(8) prints.
func (s *Server) insideTC(w *responseWriter, r *request) error {
	ws, err := s.wordsOf(r)
	if err != nil {
		return err
	}
	out, err := s.engine.TC(r.Context(), r.name(), ws)
	if err == nil {
		writeJSON(w, http.StatusOK, map[string]string{"Output": out})
	}
	return err
}

// insideSettings fills in the interfaces and what was asked for inside.
func (s *Server) insideSettings(c *model.Container, out *networkSettings) {
	views, err := s.engine.NICs(c.ID)
	if err != nil {
		return // it is gone by now
	}
	out.NICs = nicMessages(views, s.engine.Snapshot())
	out.Routes, _ = s.engine.Routes(c.ID)
	out.Rules, _ = s.engine.Rules(c.ID)
	for _, line := range c.TC {
		out.TC = append(out.TC, strings.Join(line, " "))
	}
}
