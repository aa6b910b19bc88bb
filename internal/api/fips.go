package api

import (
	"maps"
	"net/http"
	"slices"

	"github.com/jackstay/jackstay/internal/model"
)

// fipMessage is a floating IP as Hyper.sh's API shows one.
func fipMessage(f *model.FloatingIP, snap *model.Snapshot) map[string]string {
	out := map[string]string{"fip": f.Address.String(), "name": f.Name, "container": f.ContainerID, "service": ""}
	if snap.Tenant == "" && f.Tenant != "" {
		out["name"], out["tenant"] = f.FullName(), f.Tenant
	}
	return out
}

func (s *Server) fipList(w *responseWriter, r *request) error {
	f, err := parseFilters(r.param("filters"), "dangling", "name")
	if err != nil {
		return err
	}
	dangling, err := f.boolean("dangling")
	if err != nil {
		return err
	}
	out := []map[string]string{}
	snap := s.engine.Snapshot()
	for _, fip := range slices.SortedFunc(maps.Values(snap.FIPs), func(a, b *model.FloatingIP) int { return a.Address.Compare(b.Address) }) {
		if f.pattern("name", fip.Name) && (dangling == nil || *dangling == (fip.ContainerID == "")) {
			out = append(out, fipMessage(fip, snap))
		}
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// fipAllocate answers with the addresses.
func (s *Server) fipAllocate(w *responseWriter, r *request) error {
	count, err := r.integer("count")
	if err != nil {
		return err
	}
	var fips []*model.FloatingIP
	switch ip := r.param("ip"); {
	case ip != "" && (count != nil || r.param("pool") != ""):
		return invalid("conflicting parameters: ip is a certain address, and count and pool are for any: give the one or the others")
	case ip != "":
		var f *model.FloatingIP
		f, err = s.engine.AllocateFIP(r.Context(), ip)
		fips = append(fips, f)
	case count == nil:
		return invalid("the parameter count is missing: how many floating IPs? Or give a certain one as ip")
	default:
		fips, err = s.engine.AllocateFIPs(r.Context(), *count, r.param("pool"))
	}
	if err != nil {
		return err
	}
	out := make([]string, 0, len(fips))
	for _, f := range fips {
		out = append(out, f.Address.String())
	}
	writeJSON(w, http.StatusCreated, out)
	return nil
}

func (s *Server) fipAttach(w *responseWriter, r *request) error {
	container, err := r.required("container")
	if err != nil {
		return err
	}
	fip, err := r.required("ip")
	if err != nil {
		return err
	}
	return noContent(w, s.engine.AttachFIP(r.Context(), fip, container, r.flag("force"), r.flag("exposeOnly")))
}

// fipDetach answers with the address that is free now.
func (s *Server) fipDetach(w *responseWriter, r *request) error {
	container, err := r.required("container")
	if err != nil {
		return err
	}
	f, err := s.engine.DetachFIP(r.Context(), container)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, f.Address.String())
	return nil
}

func (s *Server) fipRelease(w *responseWriter, r *request) error {
	fip, err := r.required("ip")
	if err != nil {
		return err
	}
	return noContent(w, s.engine.ReleaseFIP(r.Context(), fip))
}

func (s *Server) fipName(w *responseWriter, r *request) error {
	fip, err := r.required("ip")
	if err != nil {
		return err
	}
	return noContent(w, s.engine.NameFIP(r.Context(), fip, r.param("name")))
}

// fipPool is a pool in the API.
type fipPool struct {
	Prefix string
	Device string
	// Allocated and Attached count its floating IPs.
	Allocated, Attached int
}

func (s *Server) fipPoolList(w *responseWriter, _ *request) error {
	snap := s.engine.Snapshot()
	pools := slices.SortedFunc(maps.Values(snap.FIPPools), func(a, b *model.FIPPool) int { return a.Prefix.Compare(b.Prefix) })
	out := []fipPool{}
	for _, p := range pools {
		m := fipPool{Prefix: p.ID(), Device: p.Device}
		for _, f := range snap.FIPs {
			if f.Pool == p.Prefix {
				m.Allocated++
				if f.ContainerID != "" {
					m.Attached++
				}
			}
		}
		out = append(out, m)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (s *Server) fipPoolAdd(w *responseWriter, r *request) error {
	data, err := r.body()
	if err != nil {
		return err
	}
	var body struct{ Prefix, Device string }
	if err := decodeJSON(data, &body); err != nil {
		return err
	}
	if err := refuseUnknown(data, "", body, nil); err != nil {
		return err
	}
	p, err := s.engine.AddFIPPool(r.Context(), body.Prefix, body.Device)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, fipPool{Prefix: p.ID(), Device: p.Device})
	return nil
}

func (s *Server) fipPoolRemove(w *responseWriter, r *request) error {
	prefix, err := r.required("prefix")
	if err != nil {
		return err
	}
	return noContent(w, s.engine.RemoveFIPPool(r.Context(), prefix))
}
