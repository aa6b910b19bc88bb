package api

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Tenants and what they may not do are Jackstay's own.
func tenantRoutes() []route {
	const note = "Jackstay's own; see [tenants](tenants.md)"
	return []route{
		{Method: "GET", Pattern: "/tenants", serve: (*Server).tenantList, Note: note, Administrator: true},
		{Method: "POST", Pattern: "/tenants", serve: (*Server).tenantCreate, Note: note, Administrator: true},
		{Method: "GET", Pattern: "/tenants/{name}", serve: (*Server).tenantInspect, Note: note, Administrator: true},
		{Method: "PATCH", Pattern: "/tenants/{name}", serve: (*Server).tenantUpdate, Note: note, Administrator: true},
		{Method: "DELETE", Pattern: "/tenants/{name}", serve: (*Server).tenantRemove, Note: note, Administrator: true},
	}
}

// administrators refuses a tenant what is the administrator's to do.
func (s *Server) administrators(what string) error {
	if s.tenant == "" {
		return nil
	}
	return errs.New(errs.Forbidden, "%s is not open to tenants, as it reaches beyond what is their own: the administrator can do it", what)
}

// tenantMessage is a tenant with what it has.
type tenantMessage struct {
	Name, Created, Group, Socket string
	FIPQuota                     int // model.Unlimited: none
	Removing                     bool

	Containers, Running, Networks, Volumes, FIPs int
	DefaultNetwork                               string // its subnet
}

func (s *Server) tenantMessage(t *model.Tenant, snap *model.Snapshot) tenantMessage {
	out := tenantMessage{
		Name: t.Name, Created: t.Created.Format(time.RFC3339Nano), Group: t.Group, Socket: s.engine.TenantSocket(t.Name),
		FIPQuota: t.FIPQuota, Removing: t.Removing,
	}
	for _, c := range snap.Containers {
		if c.Tenant == t.Name {
			out.Containers++
			if c.State.Running() {
				out.Running++
			}
		}
	}
	for _, n := range snap.Networks {
		if n.Tenant != t.Name {
			continue
		}
		out.Networks++
		if n.Default() && len(n.Subnets) > 0 {
			out.DefaultNetwork = n.Subnets[0].Prefix.String()
		}
	}
	for _, v := range snap.Volumes {
		if v.Tenant == t.Name {
			out.Volumes++
		}
	}
	for _, f := range snap.FIPs {
		if f.Tenant == t.Name {
			out.FIPs++
		}
	}
	return out
}

func (s *Server) tenantList(w *responseWriter, _ *request) error {
	snap := s.engine.Snapshot()
	out := []tenantMessage{}
	for _, t := range slices.SortedFunc(maps.Values(snap.Tenants), func(a, b *model.Tenant) int { return cmp.Compare(a.Name, b.Name) }) {
		out = append(out, s.tenantMessage(t, snap))
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (s *Server) tenantInspect(w *responseWriter, r *request) error {
	snap := s.engine.Snapshot()
	t := snap.Tenants[r.name()]
	if t == nil {
		return errs.New(errs.NotFound, "no such tenant: %s; `jackstay tenant ls` shows those there are", r.name())
	}
	writeJSON(w, http.StatusOK, s.tenantMessage(t, snap))
	return nil
}

// tenantBody is what a tenant is made or changed with; nil leaves as is.
type tenantBody struct {
	Name     string
	Group    *string
	FIPQuota *int
}

func (r *request) tenantBody() (tenantBody, error) {
	var body tenantBody
	data, err := r.body()
	if err != nil {
		return body, err
	}
	if err := decodeJSON(data, &body); err != nil {
		return body, err
	}
	return body, refuseUnknown(data, "", body, nil)
}

func (s *Server) tenantCreate(w *responseWriter, r *request) error {
	body, err := r.tenantBody()
	if err != nil {
		return err
	}
	t := model.Tenant{Name: body.Name, FIPQuota: model.Unlimited}
	if body.FIPQuota != nil {
		t.FIPQuota = *body.FIPQuota
	}
	if body.Group != nil {
		t.Group = *body.Group
	}
	made, err := s.engine.CreateTenant(r.Context(), t)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, s.tenantMessage(made, s.engine.Snapshot()))
	return nil
}

func (s *Server) tenantUpdate(w *responseWriter, r *request) error {
	body, err := r.tenantBody()
	if err != nil {
		return err
	}
	if body.Name != "" && body.Name != r.name() {
		return invalid("tenant %s can't be called %s: a tenant keeps its name", r.name(), body.Name)
	}
	t, err := s.engine.UpdateTenant(r.Context(), r.name(), model.TenantUpdate{FIPQuota: body.FIPQuota, Group: body.Group})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.tenantMessage(t, s.engine.Snapshot()))
	return nil
}

func (s *Server) tenantRemove(w *responseWriter, r *request) error {
	return noContent(w, s.engine.RemoveTenant(r.Context(), r.name(), r.flag("force")))
}

// permitImageRemove refuses a tenant to remove an image that somebody else
// uses. Whose containers they are is not said.
func (s *Server) permitImageRemove(r *request, name string) error {
	if s.tenant == "" {
		return nil
	}
	img, err := s.images.Lookup(r.Context(), name)
	if err != nil {
		return err
	}
	own := s.engine.Snapshot().Containers
	for id, c := range s.everybody().Containers {
		if c.ImageID == img.ID && own[id] == nil {
			return errs.New(errs.Conflict, "conflict: unable to remove image %s: it is in use, and not only here: the administrator can remove it", name)
		}
	}
	return nil
}

// imageInUse tells which container uses an image: one of its own, for a tenant,
// before others', which have no name then.
func (s *Server) imageInUse() func(imageID string) (container string, running, used bool) {
	own := imageInUse(s.engine.Snapshot())
	if s.tenant == "" {
		return own
	}
	others := imageInUse(s.everybody())
	return func(imageID string) (string, bool, bool) {
		if c, running, used := own(imageID); used {
			return c, running, used
		}
		_, running, used := others(imageID)
		return "of somebody else", running, used
	}
}
