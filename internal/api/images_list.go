package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/storage"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// imageSummary is moby's with what API < 1.44 had.
type imageSummary struct {
	image.Summary
	VirtualSize int64 `json:",omitempty"`
}

func (s *Server) imageList(w *responseWriter, r *request) error {
	f, err := parseFilters(r.param("filters"), "dangling", "label", "label!", "before", "since", "until", "reference")
	if err != nil {
		return err
	}
	if pattern := r.param("filter"); pattern != "" && r.version.before(41) {
		f["reference"] = append(f["reference"], pattern)
	}
	q, err := s.imageFilter(f)
	if err != nil {
		return err
	}
	q.All = r.flag("all")
	images, err := s.images.List(r.Context(), q)
	if err != nil {
		return err
	}
	users := imageUsers(s.engine.Snapshot())
	out := []imageSummary{}
	for i := range images {
		sum := dockerImage(&images[i], r.version, users)
		if !r.flag("shared-size") || r.version.before(42) {
			sum.SharedSize = -1
		}
		out = append(out, sum)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (s *Server) imageFilter(f filterSet) (model.ImageFilter, error) {
	q := model.ImageFilter{Labels: f["label"], NotLabels: f["label!"], Reference: f["reference"]}
	var err error
	if q.Dangling, err = f.boolean("dangling"); err != nil {
		return q, err
	}
	if q.Until, err = f.until(s.now()); err != nil {
		return q, err
	}
	if q.Before, err = oneOf(f, "before"); err != nil {
		return q, err
	}
	q.Since, err = oneOf(f, "since")
	return q, err
}

// oneOf is the value of a filter that can be given once.
func oneOf(f filterSet, key string) (string, error) {
	switch values := f[key]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", invalid("more than one '%s' filter specified", key)
}

// imageUsers counts containers by image ID.
func imageUsers(snap *model.Snapshot) map[string]int64 {
	users := map[string]int64{}
	for _, c := range snap.Containers {
		users[c.ImageID]++
	}
	return users
}

func dockerImage(img *model.ImageDetail, v apiVersion, users map[string]int64) imageSummary {
	out := imageSummary{Summary: image.Summary{
		ID: img.ID, ParentID: img.Parent, Created: img.Created.Unix(), Size: img.Size, SharedSize: img.SharedSize,
		RepoTags: nonNil(img.RepoTags), RepoDigests: nonNil(img.RepoDigests), Labels: img.Config.Labels,
		Containers: -1,
	}}
	if !v.before(51) {
		out.Containers = users[img.ID]
	}
	if v.before(44) {
		out.VirtualSize = img.Size
	}
	if v.before(43) && len(img.RepoTags) == 0 && len(img.RepoDigests) == 0 {
		out.RepoTags, out.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
	}
	return out
}

// imageGet serves /images/NAME/WHAT, where NAME may contain slashes.
func (s *Server) imageGet(w *responseWriter, r *request) error {
	name, what := splitImagePath(r.PathValue("path"))
	switch what {
	case "json":
		return s.imageInspect(w, r, name)
	case "history":
		return s.imageHistory(w, r, name)
	case "get":
		return s.saveImages(w, r, []string{name})
	case "attestations":
		return notSupported("reading an image's attestations", "read them from the registry")(s, w, r)
	}
	return errs.New(errs.NotFound, "page not found")
}

// imagePost serves POST /images/NAME/WHAT.
func (s *Server) imagePost(w *responseWriter, r *request) error {
	name, what := splitImagePath(r.PathValue("path"))
	switch what {
	case "push":
		return s.imagePush(w, r, name)
	case "tag":
		return s.imageTag(w, r, name)
	}
	return errs.New(errs.NotFound, "page not found")
}

func splitImagePath(path string) (name, what string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// imageInspectResponse is moby's with the members it has dropped and
// python-docker, Compose 1.29 and older clients read.
type imageInspectResponse struct {
	image.InspectResponse
	Config imageConfig
	// ContainerConfig was before API 1.45. Compose 1.29 speaks the newest version
	// there is and reads it whenever it recreates a container.
	ContainerConfig *imageConfig
	VirtualSize     int64   `json:",omitempty"` // before API 1.44
	Parent          string  `json:",omitempty"`
	DockerVersion   *string `json:",omitempty"` // before API 1.52
}

// imageConfig is the part of a container's configuration an image sets. The
// first eight members are always there; legacyConfig was before API 1.50.
type imageConfig struct {
	Cmd          []string
	Entrypoint   []string
	Env          []string
	Labels       map[string]string
	OnBuild      []string
	User         string
	Volumes      map[string]struct{}
	WorkingDir   string
	ExposedPorts map[string]struct{} `json:",omitempty"`
	StopSignal   string              `json:",omitempty"`
	Shell        []string            `json:",omitempty"`
	*legacyConfig
}

type legacyConfig struct {
	Hostname, Domainname, Image             string
	AttachStdin, AttachStdout, AttachStderr bool
	OpenStdin, StdinOnce, Tty               bool
}

func (s *Server) imageInspect(w *responseWriter, r *request, name string) error {
	img, err := s.images.Detail(r.Context(), name)
	if err != nil {
		return err
	}
	v := r.version
	out := imageInspectResponse{
		InspectResponse: image.InspectResponse{
			ID: img.ID, RepoTags: nonNil(img.RepoTags), RepoDigests: nonNil(img.RepoDigests),
			Comment: img.Comment, Author: img.Author,
			Architecture: img.Architecture, Variant: img.Variant, Os: orDefault(img.OS, "linux"), Size: img.Size,
			GraphDriver: &storage.DriverData{Name: img.GraphDriver, Data: img.GraphData},
			RootFS:      image.RootFS{Type: "layers", Layers: img.Layers},
			Metadata:    image.Metadata{LastTagTime: img.LastTagged},
		},
		Config: imageConfigOf(&img.Config, v), Parent: img.Parent,
	}
	out.ContainerConfig = &out.Config
	if !img.Created.IsZero() || v.before(44) {
		out.Created = stamp(img.Created)
	}
	if v.before(44) {
		out.VirtualSize = img.Size
	}
	if v.before(52) {
		out.DockerVersion = new(string)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func imageConfigOf(c *model.Config, v apiVersion) imageConfig {
	out := imageConfig{
		Cmd: c.Cmd, Entrypoint: c.Entrypoint, Env: c.Env, Labels: c.Labels, OnBuild: c.OnBuild, User: c.User,
		WorkingDir: c.WorkingDir, StopSignal: c.StopSignal, Shell: c.Shell,
	}
	for _, p := range c.ExposedPorts {
		if out.ExposedPorts == nil {
			out.ExposedPorts = map[string]struct{}{}
		}
		out.ExposedPorts[p.String()] = struct{}{}
	}
	for _, path := range c.Volumes {
		if out.Volumes == nil {
			out.Volumes = map[string]struct{}{}
		}
		out.Volumes[path] = struct{}{}
	}
	if v.before(50) {
		out.legacyConfig = &legacyConfig{}
	}
	return out
}

func (s *Server) imageHistory(w *responseWriter, r *request, name string) error {
	img, err := s.images.Detail(r.Context(), name)
	if err != nil {
		return err
	}
	out := []image.HistoryResponseItem{}
	for _, h := range img.History {
		item := image.HistoryResponseItem{ID: orDefault(h.ID, "<missing>"), CreatedBy: h.CreatedBy, Comment: h.Comment, Tags: h.Tags, Size: h.Size}
		if item.Created = h.Created.Unix(); h.Created.IsZero() {
			item.Created = time.Unix(0, 0).Unix()
		}
		out = append(out, item)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (s *Server) imageSearch(w *responseWriter, r *request) error {
	f, err := parseFilters(r.param("filters"), "is-official", "is-automated", "stars")
	if err != nil {
		return err
	}
	limit, err := r.integer("limit")
	if err != nil || (limit != nil && *limit < 0) {
		return invalid("invalid limit specified: %q", r.param("limit"))
	}
	n := 25 // Docker's default
	if limit != nil && *limit > 0 {
		n = *limit
	}
	keep, err := searchFilter(f)
	if err != nil {
		return err
	}
	hits, err := s.images.Search(r.Context(), r.param("term"), n, s.authOf(r))
	if err != nil {
		return err
	}
	out := []registry.SearchResult{}
	for _, h := range hits {
		if keep(h) {
			out = append(out, registry.SearchResult{Name: h.Name, Description: h.Description, StarCount: h.Stars, IsOfficial: h.Official, IsAutomated: h.Automated})
		}
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func searchFilter(f filterSet) (func(model.SearchResult) bool, error) {
	official, err := f.boolean("is-official")
	if err != nil {
		return nil, err
	}
	automated, err := f.boolean("is-automated")
	if err != nil {
		return nil, err
	}
	stars := 0
	for _, v := range f["stars"] {
		n, err := parseStars(v)
		if err != nil {
			return nil, err
		}
		stars = max(stars, n)
	}
	return func(h model.SearchResult) bool {
		return (official == nil || *official == h.Official) && (automated == nil || *automated == h.Automated) && h.Stars >= stars
	}, nil
}
