package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/storage"

	"github.com/jackstay/jackstay/internal/errs"
)

// Import makes an image of one layer from a tar archive, compressed or not.
// ref may be empty; a name another image has moves to the new one. Changes are
// Dockerfile lines, see applyChanges. A broken archive is errs.Invalid and
// leaves nothing.
func (s *Store) Import(ctx context.Context, r io.Reader, ref, message, platform string, changes []string) (id string, err error) {
	var name reference.Named
	if ref != "" {
		if name, err = parseTag(ref); err != nil {
			return "", err
		}
	}
	now := time.Now().UTC()
	if message == "" {
		message = "Imported from -"
	}
	config := imageJSON{
		Created: &now, Comment: message, OS: "linux", Architecture: runtime.GOARCH,
		History: []historyJSON{{Created: &now, Comment: message}},
	}
	if platform != "" {
		p, err := platforms.Parse(platform)
		if err != nil {
			return "", errs.New(errs.Invalid, "invalid platform %q: %w", platform, err)
		}
		config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	}
	if err := applyChanges(&config.Config, changes); err != nil {
		return "", err
	}
	end := s.begin()
	defer func() { end(err) }()
	layer, err := s.putLayer(ctx, r)
	if err != nil {
		return "", err
	}
	return s.createImage(config, layer, name)
}

// parseTag reads a name an image can be given: NAME or NAME:TAG.
func parseTag(ref string) (reference.Named, error) {
	if fullID.MatchString(ref) {
		return nil, errs.New(errs.Invalid, "refusing to create an ambiguous tag using digest algorithm as name: %s", ref)
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, nameError(ref, err)
	}
	if _, digested := named.(reference.Digested); digested {
		return nil, errs.New(errs.Invalid, "refusing to create a tag with a digest reference: %s", ref)
	}
	return reference.TagNameOnly(named), nil
}

// putLayer makes a layer without parent of the archive in r.
func (s *Store) putLayer(ctx context.Context, r io.Reader) (*storage.Layer, error) {
	src := &sourceReader{r: ctxReader{ctx, r}}
	plain, _, err := compression.AutoDecompress(src)
	if err != nil {
		return nil, archiveError(src, err)
	}
	defer plain.Close()
	watched := &sourceReader{r: plain} // decompression's errors would lose their cause in the extracting process
	layer, _, err := s.store.PutLayer("", "", nil, "", false, nil, watched)
	switch {
	case watched.err != nil:
		return nil, archiveError(src, watched.err)
	case err != nil && noSpace(err):
		return nil, errs.New(errs.Unavailable, "extracting the archive: %w", err)
	case err != nil:
		return nil, archiveError(src, err)
	case src.n == 0:
		return nil, errs.New(errs.Invalid, "the archive is empty")
	}
	return layer, nil
}

// noSpace tells a full disk, whose errno the extracting process passes on as text.
func noSpace(err error) bool {
	return strings.Contains(err.Error(), "no space left on device") || strings.Contains(err.Error(), "disk quota exceeded")
}

// createImage records an image of one layer, with the manifest a registry
// would have given for it.
func (s *Store) createImage(config imageJSON, layer *storage.Layer, name reference.Named) (string, error) {
	config.RootFS = rootfsJSON{Type: "layers", DiffIDs: []digest.Digest{layer.UncompressedDigest}}
	raw, err := json.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("encoding the image's configuration: %w", err)
	}
	configDigest := digest.FromBytes(raw)
	man, err := json.Marshal(manifest.Schema2FromComponents(
		manifest.Schema2Descriptor{MediaType: manifest.DockerV2Schema2ConfigMediaType, Size: int64(len(raw)), Digest: configDigest},
		[]manifest.Schema2Descriptor{{
			// The same as a docker-archive's: not compressed, whatever it says.
			MediaType: manifest.DockerV2Schema2LayerMediaType,
			Size:      layer.UncompressedSize, Digest: layer.UncompressedDigest,
		}}))
	if err != nil {
		return "", fmt.Errorf("encoding the image's manifest: %w", err)
	}
	manifestDigest := digest.FromBytes(man)
	img, err := s.store.CreateImage(configDigest.Encoded(), nil, layer.ID, "", &storage.ImageOptions{
		CreationDate: *config.Created,
		BigData: []storage.ImageBigDataOption{
			{Key: configDigest.String(), Data: raw, Digest: configDigest},
			{Key: storage.ImageDigestManifestBigDataNamePrefix + "-" + manifestDigest.String(), Data: man, Digest: manifestDigest},
			{Key: storage.ImageDigestBigDataKey, Data: man, Digest: manifestDigest},
		},
	})
	if err != nil {
		return "", errs.New(errs.Unavailable, "recording the image: %w", err)
	}
	if name != nil {
		if err := s.store.AddNames(img.ID, []string{name.String()}); err != nil {
			return "", errs.New(errs.Unavailable, "naming the image %s: %w", reference.FamiliarString(name), err)
		}
	}
	return imageID(img), nil
}
