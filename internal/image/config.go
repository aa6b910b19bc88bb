package image

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/storage"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// imageJSON is an image's configuration, Docker's and OCI's at once: OCI's is
// Docker's without a few fields.
// Source: https://github.com/moby/docker-image-spec and image-spec's config.md.
type imageJSON struct {
	Created      *time.Time    `json:"created,omitempty"`
	Author       string        `json:"author,omitempty"`
	Comment      string        `json:"comment,omitempty"`
	Architecture string        `json:"architecture"`
	Variant      string        `json:"variant,omitempty"`
	OS           string        `json:"os"`
	Config       configJSON    `json:"config"`
	RootFS       rootfsJSON    `json:"rootfs"`
	History      []historyJSON `json:"history,omitempty"`
}

type configJSON struct {
	Hostname     string              `json:",omitempty"`
	Domainname   string              `json:",omitempty"`
	User         string              `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:",omitempty"`
	Env          []string            `json:",omitempty"`
	Cmd          []string            `json:",omitempty"`
	Healthcheck  *healthJSON         `json:",omitempty"`
	Volumes      map[string]struct{} `json:",omitempty"`
	WorkingDir   string              `json:",omitempty"`
	Entrypoint   []string            `json:",omitempty"`
	OnBuild      []string            `json:",omitempty"`
	Labels       map[string]string   `json:",omitempty"`
	StopSignal   string              `json:",omitempty"`
	StopTimeout  *int                `json:",omitempty"`
	Shell        []string            `json:",omitempty"`
}

type healthJSON struct {
	Test []string `json:",omitempty"`
}

type rootfsJSON struct {
	Type    string          `json:"type"`
	DiffIDs []digest.Digest `json:"diff_ids"`
}

type historyJSON struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Author     string     `json:"author,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// parsedImages remembers what can't change for an image ID.
type parsedImages struct {
	mu   sync.Mutex
	byID map[string]*parsedImage
}

type parsedImage struct {
	image  model.Image // without ID, Names and Config
	config imageJSON
	ports  []model.Port
	sizes  []int64 // bytes of each layer, base first
}

// parse reads an image's configuration and sizes, once per image.
func (s *Store) parse(img *storage.Image) (*parsedImage, error) {
	s.parsed.mu.Lock()
	p := s.parsed.byID[img.ID]
	s.parsed.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := s.readImage(img)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "image %s is damaged, remove it and get it again: %w", shortID(img.ID), err)
	}
	s.parsed.mu.Lock()
	defer s.parsed.mu.Unlock()
	if s.parsed.byID == nil {
		s.parsed.byID = map[string]*parsedImage{}
	}
	s.parsed.byID[img.ID] = p
	return p, nil
}

func (s *Store) forget(id string) {
	s.parsed.mu.Lock()
	delete(s.parsed.byID, id)
	s.parsed.mu.Unlock()
	s.lowers.forget(id)
}

func (s *Store) readImage(img *storage.Image) (*parsedImage, error) {
	raw, err := s.configBlob(img)
	if err != nil {
		return nil, err
	}
	p := &parsedImage{}
	if err := json.Unmarshal(raw, &p.config); err != nil {
		return nil, fmt.Errorf("reading its configuration: %w", err)
	}
	if p.sizes, err = s.layerSizes(img.TopLayer); err != nil {
		return nil, err
	}
	if p.ports, err = p.config.Config.ports(); err != nil {
		return nil, err
	}
	p.image.Platform = platformString(p.config.OS, p.config.Architecture, p.config.Variant)
	for _, size := range p.sizes {
		p.image.Size += size
	}
	if p.config.Created != nil {
		p.image.Created = p.config.Created.UTC()
	}
	return p, nil
}

// configBlob reads the configuration; its key is the image's ID but for images
// other tools made.
func (s *Store) configBlob(img *storage.Image) ([]byte, error) {
	if raw, err := s.store.ImageBigData(img.ID, imageID(img)); err == nil {
		return raw, nil
	}
	raw, err := s.store.ImageBigData(img.ID, storage.ImageDigestBigDataKey)
	if err != nil {
		return nil, fmt.Errorf("reading its manifest: %w", err)
	}
	man, err := manifest.FromBlob(raw, manifest.GuessMIMEType(raw))
	if err != nil {
		return nil, fmt.Errorf("reading its manifest: %w", err)
	}
	raw, err = s.store.ImageBigData(img.ID, man.ConfigInfo().Digest.String())
	if err != nil {
		return nil, fmt.Errorf("reading its configuration: %w", err)
	}
	return raw, nil
}

// layerSizes gives the bytes of each layer down from top, base first.
func (s *Store) layerSizes(top string) ([]int64, error) {
	var sizes []int64
	for id := top; id != ""; {
		l, err := s.store.Layer(id)
		if err != nil {
			return nil, fmt.Errorf("reading its layer %s: %w", id, err)
		}
		size := l.UncompressedSize
		if size < 0 || l.UncompressedDigest == "" {
			if size, err = s.store.DiffSize("", id); err != nil {
				return nil, fmt.Errorf("measuring its layer %s: %w", id, err)
			}
		}
		sizes = append(sizes, size)
		id = l.Parent
	}
	slices.Reverse(sizes)
	return sizes, nil
}

// ports gives the exposed ports, sorted.
func (c configJSON) ports() ([]model.Port, error) {
	ports := make([]model.Port, 0, len(c.ExposedPorts))
	for spec := range c.ExposedPorts {
		port, err := parsePort(spec)
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return model.SortPorts(ports), nil
}

// model maps an image's configuration to ours. What it gives is the caller's
// to change.
func (c configJSON) model(ports []model.Port) model.Config {
	return model.Config{
		Hostname: c.Hostname, Domainname: c.Domainname, User: c.User,
		ExposedPorts: slices.Clone(ports),
		Env:          slices.Clone(c.Env), Cmd: slices.Clone(c.Cmd), Entrypoint: slices.Clone(c.Entrypoint),
		Volumes:    slices.Sorted(maps.Keys(c.Volumes)),
		WorkingDir: c.WorkingDir, Labels: maps.Clone(c.Labels),
		StopSignal: c.StopSignal, StopTimeout: c.StopTimeout,
		OnBuild: slices.Clone(c.OnBuild), Shell: slices.Clone(c.Shell),
	}
}

// parsePort reads NUMBER[/PROTO].
func parsePort(spec string) (model.Port, error) {
	number, proto, _ := strings.Cut(spec, "/")
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 {
		return model.Port{}, fmt.Errorf("invalid exposed port %q", spec)
	}
	switch proto = strings.ToLower(proto); proto {
	case "":
		proto = "tcp"
	case "tcp", "udp", "sctp":
	default:
		return model.Port{}, fmt.Errorf("invalid protocol of exposed port %q", spec)
	}
	return model.Port{Number: uint16(n), Proto: proto}, nil
}

func platformString(os, arch, variant string) string {
	out := os + "/" + arch
	if variant != "" {
		out += "/" + variant
	}
	return out
}
