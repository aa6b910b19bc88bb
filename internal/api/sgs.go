package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackstay/jackstay/internal/model"
)

// Security groups are not Docker's: their routes and forms are Hyper.sh's.
func sgRoutes() []route {
	const hyper, own = "Jackstay's own (Hyper.sh's): [security groups](security-groups.md)", "Jackstay's own: [security groups](security-groups.md)"
	return []route{
		{Method: "GET", Pattern: "/sg", serve: (*Server).sgList, Note: hyper},
		{Method: "GET", Pattern: "/sg/{name}", serve: (*Server).sgInspect, Note: hyper},
		{Method: "POST", Pattern: "/sg/create", serve: (*Server).sgCreate, Note: hyper},
		{Method: "POST", Pattern: "/sg/update", serve: (*Server).sgUpdate, Note: hyper},
		{Method: "DELETE", Pattern: "/sg/{name}", serve: (*Server).sgRemove, Note: hyper},
		{Method: "POST", Pattern: "/containers/{name}/sg", serve: (*Server).sgAttach, Note: own},
		{Method: "DELETE", Pattern: "/containers/{name}/sg", serve: (*Server).sgDetach, Note: own},
	}
}

// sgRule is a rule in the API.
type sgRule struct {
	Direction      string `json:"direction"`
	Protocol       string `json:"protocol"`
	PortRangeMin   int    `json:"port_range_min,omitempty"`
	PortRangeMax   int    `json:"port_range_max,omitempty"`
	RemoteIPPrefix string `json:"remote_ip_prefix,omitempty"`
	RemoteGroup    string `json:"remote_group,omitempty"`
}

// sgMessage is a security group in the API.
type sgMessage struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Created     time.Time `json:"created"`
	Rules       []sgRule  `json:"rules"`
	Containers  []string  `json:"containers"` // IDs
}

func sgMessageOf(snap *model.Snapshot, g *model.SecurityGroup) sgMessage {
	out := sgMessage{ID: g.ID, Name: snap.Shown(g.Name, g.Tenant), Description: g.Description, Created: g.Created, Rules: []sgRule{}, Containers: []string{}}
	for _, r := range g.Rules {
		m := sgRule{Direction: "ingress", Protocol: r.Proto, PortRangeMin: int(r.First), PortRangeMax: int(r.Last)}
		if r.Source.IsValid() {
			m.RemoteIPPrefix = r.Source.String()
		} else if source := snap.SecurityGroups[r.Group]; source != nil {
			m.RemoteGroup = snap.Shown(source.Name, source.Tenant)
		}
		out.Rules = append(out.Rules, m)
	}
	for _, c := range snap.Containers {
		if slices.Contains(c.SecurityGroups, g.ID) {
			out.Containers = append(out.Containers, c.ID)
		}
	}
	slices.Sort(out.Containers)
	return out
}

// sgNames gives the names of a container's groups.
func sgNames(snap *model.Snapshot, c *model.Container) []string {
	out := []string{}
	for _, id := range c.SecurityGroups {
		if g := snap.SecurityGroups[id]; g != nil {
			out = append(out, snap.Shown(g.Name, g.Tenant))
		}
	}
	return out
}

func (s *Server) sgList(w *responseWriter, r *request) error {
	f, err := parseFilters(r.param("filters"), "name")
	if err != nil {
		return err
	}
	snap := s.engine.Snapshot()
	out := []sgMessage{}
	for _, g := range snap.SecurityGroups {
		if f.pattern("name", snap.Shown(g.Name, g.Tenant)) {
			out = append(out, sgMessageOf(snap, g))
		}
	}
	slices.SortFunc(out, func(a, b sgMessage) int { return strings.Compare(a.Name, b.Name) })
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (s *Server) sgInspect(w *responseWriter, r *request) error {
	g, err := s.engine.FindSecurityGroup(r.name())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, sgMessageOf(s.engine.Snapshot(), g))
	return nil
}

// sgBody is what create and update take. A body is as strict as its rules.
type sgBody struct {
	Name        string            `json:"name"`
	Description *string           `json:"description"`
	Rules       []json.RawMessage `json:"rules"`
	AddRules    []json.RawMessage `json:"add_rules"`
	RemoveRules []json.RawMessage `json:"remove_rules"`
}

// sgRequest reads the name of the query, or of the body, and the body.
func sgRequest(r *request) (name string, body sgBody, err error) {
	data, err := r.body()
	if err != nil {
		return "", body, err
	}
	if data != nil {
		if err := decodeJSON(data, &body); err != nil {
			return "", body, err
		}
		if err := refuseUnknown(data, "", body, nil); err != nil {
			return "", body, err
		}
	}
	name = r.param("name")
	switch {
	case name == "":
		name = body.Name
	case body.Name != "" && body.Name != name:
		return "", body, invalid("the security group is called %s in the query and %s in the body: give one name", name, body.Name)
	}
	if name == "" {
		return "", body, invalid("the parameter name is missing")
	}
	return name, body, nil
}

// sgRules reads rules.
func sgRules(list []json.RawMessage) ([]model.GroupRuleRequest, error) {
	out := []model.GroupRuleRequest{}
	for _, data := range list {
		var m sgRule
		if err := decodeJSON(data, &m); err != nil {
			return nil, err
		}
		if err := refuseUnknown(data, "rule", m, nil); err != nil {
			return nil, err
		}
		switch m.Direction {
		case "", "ingress":
		case "egress":
			return nil, unsupported("a rule of direction egress is not supported: security groups say who may reach a container, and not whom it may; leave the rule out")
		default:
			return nil, invalid("invalid direction %q of a rule: it is ingress", m.Direction)
		}
		out = append(out, model.GroupRuleRequest{Proto: m.Protocol, First: m.PortRangeMin, Last: m.PortRangeMax, Prefix: m.RemoteIPPrefix, Group: m.RemoteGroup})
	}
	return out, nil
}

func (s *Server) sgCreate(w *responseWriter, r *request) error {
	name, body, err := sgRequest(r)
	if err != nil {
		return err
	}
	if len(body.AddRules)+len(body.RemoveRules) > 0 {
		return invalid("add_rules and remove_rules are for a security group that is there: give rules")
	}
	req := model.SecurityGroupRequest{Name: name}
	if body.Description != nil {
		req.Description = *body.Description
	}
	if req.Rules, err = sgRules(body.Rules); err != nil {
		return err
	}
	g, err := s.engine.CreateSecurityGroup(r.Context(), req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, sgMessageOf(s.engine.Snapshot(), g))
	return nil
}

// sgUpdate replaces the rules if the body has any rules, and adds and removes some.
func (s *Server) sgUpdate(w *responseWriter, r *request) error {
	name, body, err := sgRequest(r)
	if err != nil {
		return err
	}
	ch := model.SecurityGroupChange{Description: body.Description, Replace: body.Rules != nil}
	for _, part := range []struct {
		from []json.RawMessage
		to   *[]model.GroupRuleRequest
	}{{body.Rules, &ch.Rules}, {body.RemoveRules, &ch.Remove}, {body.AddRules, &ch.Add}} {
		if *part.to, err = sgRules(part.from); err != nil {
			return err
		}
	}
	g, err := s.engine.UpdateSecurityGroup(r.Context(), name, ch)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, sgMessageOf(s.engine.Snapshot(), g))
	return nil
}

func (s *Server) sgRemove(w *responseWriter, r *request) error {
	return noContent(w, s.engine.RemoveSecurityGroup(r.Context(), r.name()))
}

// sgAttach puts the container into every sg= of the query.
func (s *Server) sgAttach(w *responseWriter, r *request) error {
	return noContent(w, s.engine.AttachSecurityGroups(r.Context(), r.name(), r.query["sg"]))
}

func (s *Server) sgDetach(w *responseWriter, r *request) error {
	return noContent(w, s.engine.DetachSecurityGroups(r.Context(), r.name(), r.query["sg"]))
}
