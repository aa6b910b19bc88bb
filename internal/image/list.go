package image

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/storage"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Detail adds to Lookup what inspect and history show.
func (s *Store) Detail(_ context.Context, ref string) (model.ImageDetail, error) {
	img, err := s.find(ref)
	if err != nil {
		return model.ImageDetail{}, err
	}
	d, err := s.detail(img, true)
	if err != nil {
		return model.ImageDetail{}, err
	}
	d.GraphData, err = s.graphData(img)
	return d, err
}

// List gives the images that pass the filter, newest first. All makes no
// difference: no image here is an intermediate one.
func (s *Store) List(_ context.Context, f model.ImageFilter) ([]model.ImageDetail, error) {
	images, err := s.images()
	if err != nil {
		return nil, err
	}
	before, since, err := s.bounds(f)
	if err != nil {
		return nil, err
	}
	for _, pattern := range f.Reference {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, errs.New(errs.Invalid, "invalid reference filter %q: %w", pattern, err)
		}
	}
	out := []model.ImageDetail{}
	for i := range images {
		if f.Dangling != nil && *f.Dangling != dangling(&images[i]) {
			continue
		}
		names := matchingNames(images[i].Names, f.Reference)
		if len(f.Reference) > 0 && len(names) == 0 {
			continue
		}
		images[i].Names = names
		d, err := s.detail(&images[i], f.WithHistory)
		if err != nil {
			s.log.Warn("listing images without one that can't be read", "image", shortID(images[i].ID), "error", err)
			continue
		}
		if passes(d, f, before, since) {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b model.ImageDetail) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.ID, b.ID))
	})
	return out, nil
}

// bounds resolves the images of --filter before= and since= to their times.
func (s *Store) bounds(f model.ImageFilter) (before, since time.Time, err error) {
	for ref, at := range map[string]*time.Time{f.Before: &before, f.Since: &since} {
		if ref == "" {
			continue
		}
		img, err := s.find(ref)
		if err != nil {
			return before, since, err
		}
		p, err := s.parse(img)
		if err != nil {
			return before, since, err
		}
		*at = p.image.Created
	}
	return before, since, nil
}

func passes(d model.ImageDetail, f model.ImageFilter, before, since time.Time) bool {
	return (before.IsZero() || d.Created.Before(before)) &&
		(since.IsZero() || d.Created.After(since)) &&
		(f.Until.IsZero() || d.Created.Before(f.Until)) &&
		!slices.ContainsFunc(f.Labels, func(l string) bool { return !hasLabel(d.Config.Labels, l) }) &&
		!slices.ContainsFunc(f.NotLabels, func(l string) bool { return hasLabel(d.Config.Labels, l) })
}

// hasLabel tells whether labels have KEY or KEY=VALUE.
func hasLabel(labels map[string]string, want string) bool {
	key, value, withValue := strings.Cut(want, "=")
	got, ok := labels[key]
	return ok && (!withValue || got == value)
}

// dangling tells that an image has no tag.
func dangling(img *storage.Image) bool {
	return !slices.ContainsFunc(img.Names, func(n string) bool { return !isDigestName(n) })
}

// matchingNames gives the names that match one of the patterns, all without
// patterns. A pattern without tag matches every tag.
func matchingNames(names, patterns []string) []string {
	if len(patterns) == 0 {
		return names
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return true
		}
		return !slices.ContainsFunc(patterns, func(p string) bool {
			ok, _ := reference.FamiliarMatch(p, named)
			return ok
		})
	})
}

// detail describes a stored image.
func (s *Store) detail(img *storage.Image, withHistory bool) (model.ImageDetail, error) {
	m, err := s.modelImage(img)
	if err != nil {
		return model.ImageDetail{}, err
	}
	p, err := s.parse(img)
	if err != nil {
		return model.ImageDetail{}, err
	}
	tags, digests := splitNames(img.Names)
	d := model.ImageDetail{
		Image: m, RepoTags: tags, RepoDigests: digests,
		Comment: p.config.Comment, Author: p.config.Author,
		Architecture: p.config.Architecture, Variant: p.config.Variant, OS: p.config.OS,
		GraphDriver: s.driver, SharedSize: -1, Dangling: len(tags) == 0,
		HealthcheckSet: p.config.Config.Healthcheck.set(),
	}
	for _, id := range p.config.RootFS.DiffIDs {
		d.Layers = append(d.Layers, id.String())
	}
	if withHistory {
		d.History = p.history(d)
	}
	return d, nil
}

// set tells whether a check would be run.
func (h *healthJSON) set() bool {
	return h != nil && len(h.Test) > 0 && h.Test[0] != "NONE"
}

// history gives the steps, newest first. The newest carries the image's ID and
// tags, the others have none of their own, as Docker shows it.
func (p *parsedImage) history(d model.ImageDetail) []model.ImageHistory {
	var out []model.ImageHistory
	layer := 0
	for _, h := range p.config.History {
		step := model.ImageHistory{ID: "<missing>", CreatedBy: h.CreatedBy, Comment: h.Comment, Empty: h.EmptyLayer}
		if h.Created != nil {
			step.Created = h.Created.UTC()
		}
		if !h.EmptyLayer && layer < len(p.sizes) {
			step.Size = p.sizes[layer]
			layer++
		}
		out = append(out, step)
	}
	if len(out) == 0 { // an image without history still has its layers
		for _, size := range p.sizes {
			out = append(out, model.ImageHistory{ID: "<missing>", Created: d.Created, Size: size})
		}
	}
	slices.Reverse(out)
	if len(out) > 0 {
		out[0].ID, out[0].Tags = d.ID, d.RepoTags
	}
	return out
}

// graphData gives the folders inspect shows.
func (s *Store) graphData(img *storage.Image) (map[string]string, error) {
	if s.driver != driverOverlay || img.TopLayer == "" {
		return map[string]string{}, nil
	}
	driver, err := s.store.GraphDriver()
	if err != nil {
		return nil, fmt.Errorf("asking the storage driver: %w", err)
	}
	data, err := driver.Metadata(img.TopLayer)
	if err != nil {
		return nil, fmt.Errorf("asking the storage driver: %w", err)
	}
	return data, nil
}

// DiskUsage gives the bytes of all images' layers, shared ones once.
func (s *Store) DiskUsage(context.Context) (int64, error) {
	layers, err := s.store.Layers()
	if err != nil {
		return 0, fmt.Errorf("listing layers: %w", err)
	}
	var total int64
	for _, l := range layers {
		total += max(0, l.UncompressedSize)
	}
	return total, nil
}
