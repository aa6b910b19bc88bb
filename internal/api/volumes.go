package api

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/moby/moby/api/types/volume"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func (s *Server) volumeList(w *responseWriter, r *request) error {
	f, err := parseFilters(r.param("filters"), "dangling", "name", "driver", "label", "label!")
	if err != nil {
		return err
	}
	dangling, err := f.boolean("dangling")
	if err != nil {
		return err
	}
	snap := s.engine.Snapshot()
	users := volumeUsers(snap)
	out := volume.ListResponse{Volumes: []volume.Volume{}, Warnings: []string{}}
	for _, v := range sortedVolumes(snap) {
		if !f.pattern("name", snap.Shown(v.Name, v.Tenant)) || !f.exact("driver", "local") || !f.labels(v.Labels) {
			continue
		}
		if dangling == nil || *dangling == (users[v.Key()] == 0) {
			out.Volumes = append(out.Volumes, dockerVolume(v, snap))
		}
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func sortedVolumes(snap *model.Snapshot) []*model.Volume {
	return slices.SortedFunc(maps.Values(snap.Volumes), func(a, b *model.Volume) int { return cmp.Compare(a.Key(), b.Key()) })
}

// volumeUsers counts the containers that mount each volume, by its key.
func volumeUsers(snap *model.Snapshot) map[string]int64 {
	users := map[string]int64{}
	for _, c := range snap.Containers {
		counted := map[string]bool{}
		for _, m := range c.Mounts {
			if m.Type == "volume" && !counted[m.Name] {
				counted[m.Name] = true
				users[model.Qualify(m.Name, c.Tenant)]++
			}
		}
	}
	return users
}

func dockerVolume(v *model.Volume, snap *model.Snapshot) volume.Volume {
	return volume.Volume{
		Name: snap.Shown(v.Name, v.Tenant), CreatedAt: v.Created.Format(time.RFC3339), Driver: "local", Scope: "local",
		Mountpoint: v.Mountpoint, Labels: v.Labels, Options: v.Options,
	}
}

func (s *Server) volumeInspect(w *responseWriter, r *request) error {
	snap := s.engine.Snapshot()
	v := snap.Volumes[model.Qualify(r.name(), snap.Tenant)]
	if v == nil {
		return errs.New(errs.NotFound, "get %s: no such volume", r.name())
	}
	writeJSON(w, http.StatusOK, dockerVolume(v, snap))
	return nil
}

// volumeCreate answers with the volume there is if one of the name exists.
func (s *Server) volumeCreate(w *responseWriter, r *request) error {
	data, err := r.body()
	if err != nil {
		return err
	}
	body := volume.CreateRequest{}
	if data != nil {
		if err := decodeJSON(data, &body); err != nil {
			return err
		}
		if err := refuseUnknown(data, "", body, nil); err != nil {
			return err
		}
	}
	if body.ClusterVolumeSpec != nil {
		return unsupported("cluster volumes belong to swarm mode, which Jackstay has not: leave ClusterVolumeSpec out")
	}
	if body.Driver != "" && body.Driver != "local" {
		return errs.New(errs.NotFound, "error looking up volume plugin %s: plugin \"%s\" not found: use the driver local", body.Driver, body.Driver)
	}
	v, err := s.engine.CreateVolume(r.Context(), model.VolumeRequest{Name: body.Name, Driver: body.Driver, Options: body.DriverOpts, Labels: body.Labels})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, dockerVolume(v, s.engine.Snapshot()))
	return nil
}

func (s *Server) volumeRemove(w *responseWriter, r *request) error {
	force := r.flag("force")
	err := s.engine.RemoveVolume(r.Context(), r.name(), force)
	if force && errs.Is(err, errs.NotFound) {
		err = nil
	}
	return noContent(w, err)
}

func (s *Server) volumePrune(w *responseWriter, r *request) error {
	f, err := parseFilters(r.param("filters"), "label", "label!", "all")
	if err != nil {
		return err
	}
	all, err := f.boolean("all")
	if err != nil {
		return err
	}
	// Before API 1.42 prune took named volumes too.
	everything := r.version.before(42) || (all != nil && *all)
	names, size, err := s.engine.PruneVolumes(r.Context(), everything, func(v *model.Volume) bool { return !f.labels(v.Labels) })
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, volume.PruneReport{VolumesDeleted: nonNil(names), SpaceReclaimed: uint64(max(size, 0))})
	return nil
}
