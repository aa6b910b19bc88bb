package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
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

// putLayer makes a layer without parent of the archive in r. Its ID is its
// content's digest, as of those pulled and loaded: the same image must stand on
// the same layer whichever way it comes, or storage refuses the second. So the
// digest is needed before the layer is made, and the archive kept until then.
func (s *Store) putLayer(ctx context.Context, r io.Reader) (*storage.Layer, error) {
	dir, done, err := s.tempDir("import")
	if err != nil {
		return nil, err
	}
	defer done()
	archive, err := s.spool(ctx, r, dir)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(archive)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "reading the archive again: %w", err)
	}
	defer f.Close()
	content, err := digest.FromReader(f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errs.New(errs.Unavailable, "reading the archive again: %w", err)
	}
	if layer, err := s.store.Layer(content.Encoded()); err == nil {
		return layer, nil
	}
	layer, _, err := s.store.PutLayer(content.Encoded(), "", nil, "", false, nil, f)
	switch {
	case errors.Is(err, storage.ErrDuplicateID): // made by another meanwhile
		return s.store.Layer(content.Encoded())
	case err != nil && noSpace(err):
		return nil, errs.New(errs.Unavailable, "extracting the archive: %w", err)
	case err != nil:
		return nil, errs.New(errs.Invalid, "the archive is corrupted or not one: %w", err)
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
