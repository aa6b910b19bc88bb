package api

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// oldDiskUsage is the answer before API 1.52, and beside the new one in 1.52.
type oldDiskUsage struct {
	LayersSize  int64
	Images      []imageSummary      `json:",omitzero"`
	Containers  []*summary          `json:",omitzero"`
	Volumes     []volume.Volume     `json:",omitzero"`
	BuildCache  []build.CacheRecord `json:",omitzero"`
	BuilderSize int64
}

// newDiskUsage is moby's, its items with our own types.
type newDiskUsage struct {
	ImageUsage      *usage[imageSummary]      `json:",omitempty"`
	ContainerUsage  *usage[*summary]          `json:",omitempty"`
	VolumeUsage     *usage[volume.Volume]     `json:",omitempty"`
	BuildCacheUsage *usage[build.CacheRecord] `json:",omitempty"`
}

// usage is what objects of one kind take: sizes in bytes.
type usage[T any] struct {
	ActiveCount int64 `json:",omitempty"`
	TotalCount  int64 `json:",omitempty"`
	Reclaimable int64 `json:",omitempty"`
	TotalSize   int64 `json:",omitempty"`
	Items       []T   `json:",omitempty"`
}

func (u *usage[T]) add(item T, size int64, active bool) {
	u.Items = append(u.Items, item)
	u.TotalCount++
	u.TotalSize += size
	if active {
		u.ActiveCount++
	} else {
		u.Reclaimable += size
	}
}

func (s *Server) diskUsage(w *responseWriter, r *request) error {
	want, err := diskUsageTypes(r)
	if err != nil {
		return err
	}
	var du newDiskUsage
	if want[system.ImageObject] {
		if du.ImageUsage, err = s.imageUsage(r.Context(), r.version); err != nil {
			return err
		}
	}
	if want[system.ContainerObject] {
		if du.ContainerUsage, err = s.containerUsage(r.Context(), r.version); err != nil {
			return err
		}
	}
	if want[system.VolumeObject] {
		if du.VolumeUsage, err = s.volumeUsage(r.Context()); err != nil {
			return err
		}
	}
	if want[system.BuildCacheObject] {
		du.BuildCacheUsage = &usage[build.CacheRecord]{}
	}
	if r.version.before(52) {
		writeJSON(w, http.StatusOK, du.old())
		return nil
	}
	if !r.flag("verbose") {
		du.dropItems()
	}
	writeJSON(w, http.StatusOK, du)
	return nil
}

func diskUsageTypes(r *request) (map[system.DiskUsageObject]bool, error) {
	want := map[system.DiskUsageObject]bool{}
	all := []system.DiskUsageObject{system.ContainerObject, system.ImageObject, system.VolumeObject, system.BuildCacheObject}
	for _, t := range all {
		want[t] = r.version.before(42) || len(r.query["type"]) == 0
	}
	if r.version.before(42) {
		return want, nil
	}
	for _, t := range r.query["type"] {
		if _, known := want[system.DiskUsageObject(t)]; !known {
			return nil, invalid("unknown object type: %s", t)
		}
		want[system.DiskUsageObject(t)] = true
	}
	return want, nil
}

// imageUsage counts images as active that a container uses. Layers are shared,
// so the total is that of layers, not the sum of images.
func (s *Server) imageUsage(ctx context.Context, v apiVersion) (*usage[imageSummary], error) {
	images, err := s.images.List(ctx, model.ImageFilter{All: true})
	if err != nil {
		return nil, err
	}
	users := imageUsers(s.engine.Snapshot())
	u := &usage[imageSummary]{}
	for i := range images {
		sum := dockerImage(&images[i], v, users)
		sum.Containers = users[images[i].ID]
		u.add(sum, max(0, images[i].Size-max(0, images[i].SharedSize)), sum.Containers > 0)
	}
	u.TotalSize, err = s.images.DiskUsage(ctx)
	return u, err
}

func (s *Server) containerUsage(ctx context.Context, v apiVersion) (*usage[*summary], error) {
	l := s.lister(ctx, v)
	u := &usage[*summary]{}
	for _, c := range (&listQuery{filters: filterSet{}, all: true}).selectFrom(l.snap) {
		sum := l.summarise(c)
		var err error
		sum.SizeRw, sum.SizeRootFs, err = s.engine.ContainerSize(ctx, c.ID)
		if err != nil && !errs.Is(err, errs.NotFound) {
			return nil, err
		}
		active := c.State.Running() || c.State.Status == model.StatusRestarting
		u.add(sum, sum.SizeRw, active)
	}
	return u, nil
}

func (s *Server) volumeUsage(ctx context.Context) (*usage[volume.Volume], error) {
	snap := s.engine.Snapshot()
	users := volumeUsers(snap)
	u := &usage[volume.Volume]{}
	for _, v := range sortedVolumes(snap) {
		size, err := s.engine.VolumeSize(ctx, snap.Shown(v.Name, v.Tenant))
		if err != nil && !errs.Is(err, errs.NotFound) {
			return nil, err
		}
		out := dockerVolume(v, snap)
		out.UsageData = &volume.UsageData{RefCount: users[v.Key()], Size: size}
		u.add(out, size, users[v.Key()] > 0)
	}
	return u, nil
}

// buildPrune deletes the whole build cache, which is none: system prune asks
// for it with the rest.
func (s *Server) buildPrune(w *responseWriter, _ *request) error {
	writeJSON(w, http.StatusOK, build.CachePruneReport{CachesDeleted: []string{}})
	return nil
}

func (du *newDiskUsage) old() oldDiskUsage {
	var out oldDiskUsage
	if u := du.ImageUsage; u != nil {
		out.LayersSize, out.Images = u.TotalSize, nonNil(u.Items)
	}
	if u := du.ContainerUsage; u != nil {
		out.Containers = nonNil(u.Items)
	}
	if u := du.VolumeUsage; u != nil {
		out.Volumes = nonNil(u.Items)
	}
	if du.BuildCacheUsage != nil {
		out.BuildCache = []build.CacheRecord{}
	}
	return out
}

func (du *newDiskUsage) dropItems() {
	if du.ImageUsage != nil {
		du.ImageUsage.Items = nil
	}
	if du.ContainerUsage != nil {
		du.ContainerUsage.Items = nil
	}
	if du.VolumeUsage != nil {
		du.VolumeUsage.Items = nil
	}
}
