package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/oci/layout"
	storagetransport "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"

	"github.com/jackstay/jackstay/internal/errs"
)

// packed is one image in an archive.
type packed struct {
	from  types.ImageReference
	names []reference.Named
	id    string // bare, once it is known
	had   bool   // the store had the image before
}

// Load reads a docker-archive or an OCI archive, compressed or not, and gives
// the names it loaded, and IDs for images without one. All of an archive is
// loaded or nothing.
func (s *Store) Load(ctx context.Context, r io.Reader) (loaded []string, err error) {
	dir, remove, err := s.tempDir("load")
	if err != nil {
		return nil, err
	}
	defer remove()
	archive, err := s.spool(ctx, r, dir)
	if err != nil {
		return nil, err
	}
	images, done, err := s.unpackArchive(archive, dir)
	if err != nil {
		return nil, err
	}
	defer done()
	if len(images) == 0 {
		return nil, errs.New(errs.Invalid, "there is no image in the archive")
	}
	end := s.begin()
	defer func() { end(err) }()
	if err := s.loadAll(ctx, images); err != nil {
		return nil, loadError(ctx, err)
	}
	return s.nameLoaded(images)
}

// loadError gives a failed load its meaning: what can't be stored is not the
// archive's fault.
func loadError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("loading the archive: %w", ctx.Err())
	case noSpace(err):
		return errs.New(errs.Unavailable, "loading the archive: %w", err)
	default:
		return errs.New(errs.Invalid, "the archive is corrupted or not one of images: %w", err)
	}
}

// unpackArchive finds the images in an archive. The caller calls done after use.
func (s *Store) unpackArchive(archive, dir string) (images []packed, done func(), err error) {
	entries, err := topEntries(archive)
	if err != nil {
		return nil, nil, errs.New(errs.Invalid, "the archive is corrupted or not one: %w", err)
	}
	switch {
	case entries["manifest.json"]: // Docker writes both; its own says more
		return s.dockerImages(archive)
	case entries["index.json"]:
		images, err := ociImages(archive, filepath.Join(dir, "oci"))
		return images, func() {}, err
	default:
		return nil, nil, errs.New(errs.Invalid, "the archive is corrupted or not one of images: it has neither manifest.json nor index.json (a root file system is imported, not loaded)")
	}
}

// topEntries walks through a tar archive and gives the names at its top.
func topEntries(archive string) (map[string]bool, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names := map[string]bool{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		names[path.Clean(h.Name)] = true
	}
}

func (s *Store) dockerImages(archive string) ([]packed, func(), error) {
	reader, err := dockerarchive.NewReader(s.system(), archive)
	if err != nil {
		return nil, nil, errs.New(errs.Invalid, "the archive is corrupted: %w", err)
	}
	done := func() {
		if err := reader.Close(); err != nil {
			s.log.Warn("closing an archive", "error", err)
		}
	}
	groups, err := reader.List()
	if err != nil {
		done()
		return nil, nil, errs.New(errs.Invalid, "the archive is corrupted: %w", err)
	}
	var images []packed
	for _, refs := range groups {
		p := packed{from: refs[0]}
		for _, ref := range refs {
			if named := ref.DockerReference(); named != nil {
				p.names = append(p.names, named)
			}
		}
		images = append(images, p)
	}
	return images, done, nil
}

// ociImages extracts an OCI layout and lists its images, without attestations.
func ociImages(archive, dir string) ([]packed, error) {
	if err := extractLayout(archive, dir); err != nil {
		return nil, err
	}
	list, err := layout.List(dir)
	if err != nil {
		return nil, errs.New(errs.Invalid, "the archive is corrupted: reading index.json: %w", err)
	}
	var images []packed
	for i, entry := range list {
		notes := entry.ManifestDescriptor.Annotations
		if notes["vnd.docker.reference.type"] == "attestation-manifest" {
			continue
		}
		from, err := layout.NewIndexReference(dir, i)
		if err != nil {
			return nil, fmt.Errorf("reading image %d of the archive: %w", i, err)
		}
		p := packed{from: from}
		name := notes["io.containerd.image.name"] // the whole name, where containerd or BuildKit wrote it
		if name == "" {
			name = notes[imgspecv1.AnnotationRefName]
		}
		if named, err := parseTag(name); err == nil {
			p.names = []reference.Named{named}
		}
		images = append(images, p)
	}
	return images, nil
}

// extractLayout extracts the regular files of a tar archive below dir and
// nowhere else.
func extractLayout(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("reading the archive: %w", err)
	}
	defer f.Close()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return errs.New(errs.Unavailable, "extracting the archive: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return errs.New(errs.Unavailable, "extracting the archive: %w", err)
	}
	defer root.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errs.New(errs.Invalid, "the archive is corrupted: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := extractFile(root, path.Clean(h.Name), r); err != nil {
			return err
		}
	}
}

func extractFile(root *os.Root, name string, r io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return errs.New(errs.Invalid, "extracting %q from the archive: %w", name, err)
	}
	out, err := root.Create(name)
	if err != nil {
		return errs.New(errs.Invalid, "extracting %q from the archive: %w", name, err)
	}
	if _, err := io.Copy(out, r); err != nil {
		_ = out.Close()
		return errs.New(errs.Invalid, "extracting %q from the archive: %w", name, err)
	}
	return out.Close()
}

// loadAll brings the images into the store without names; if one fails, those
// that are new go again.
func (s *Store) loadAll(ctx context.Context, images []packed) error {
	for i := range images {
		if err := s.loadOne(ctx, &images[i]); err != nil {
			s.dropLoaded(images[:i])
			return err
		}
	}
	return nil
}

func (s *Store) loadOne(ctx context.Context, p *packed) error {
	sys := s.system()
	img, err := p.from.NewImage(ctx, sys)
	if err != nil {
		return err
	}
	p.id = img.ConfigInfo().Digest.Encoded()
	if err := img.Close(); err != nil {
		return err
	}
	if _, err = s.store.Image(p.id); err == nil {
		// The ID is the digest of all that is in it, down to the layers' content.
		// They may have other IDs here, of an import, which can't be mixed.
		p.had = true
		return nil
	}
	to, err := storagetransport.Transport.NewStoreReference(s.store, nil, p.id)
	if err != nil {
		return err
	}
	_, _, err = transfer{from: p.from, to: to, fromSys: sys, toSys: sys}.run(ctx)
	return err
}

func (s *Store) dropLoaded(images []packed) {
	for _, p := range images {
		if p.had {
			continue
		}
		if _, err := s.store.DeleteImage(p.id, true); err != nil && !errors.Is(err, storage.ErrNotAnImage) {
			s.log.Warn("removing an image of a corrupted archive", "image", shortID(p.id), "error", err)
		}
	}
}

// nameLoaded gives the loaded images their names.
func (s *Store) nameLoaded(images []packed) ([]string, error) {
	var loaded []string
	for _, p := range images {
		if err := s.setHidden(p.id, false); err != nil {
			return nil, err
		}
		var names []string
		for _, n := range p.names {
			names = append(names, n.String())
			loaded = append(loaded, reference.FamiliarString(n))
		}
		if len(names) == 0 {
			loaded = append(loaded, "sha256:"+p.id)
			continue
		}
		if err := s.store.AddNames(p.id, names); err != nil {
			return nil, errs.New(errs.Unavailable, "naming the loaded image %s: %w", shortID(p.id), err)
		}
	}
	return loaded, nil
}
