package image

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	storagetransport "go.podman.io/image/v5/storage"

	"github.com/jackstay/jackstay/internal/errs"
)

// saved is one image to save with the tags asked for.
type saved struct {
	id   string
	tags []reference.NamedTagged
}

// Save writes a docker-archive of the refs. Nothing is written to w before the
// archive is complete.
func (s *Store) Save(ctx context.Context, refs []string, w io.Writer) error {
	images, err := s.toSave(refs)
	if err != nil {
		return err
	}
	dir, remove, err := s.tempDir("save")
	if err != nil {
		return err
	}
	defer remove()
	path := filepath.Join(dir, "archive.tar")
	if err := s.writeArchive(ctx, path, images); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading the archive: %w", err)
	}
	defer f.Close()
	if _, err := io.Copy(w, ctxReader{ctx, f}); err != nil {
		return fmt.Errorf("sending the archive: %w", err)
	}
	return nil
}

// toSave resolves refs: an ID saves no tag, a name its tag, a name without tag
// all tags of that repository.
func (s *Store) toSave(refs []string) ([]saved, error) {
	var images []saved
	add := func(id string, tags ...reference.NamedTagged) {
		i := slices.IndexFunc(images, func(x saved) bool { return x.id == id })
		if i < 0 {
			images = append(images, saved{id: id})
			i = len(images) - 1
		}
		for _, tag := range tags {
			if !slices.ContainsFunc(images[i].tags, func(t reference.NamedTagged) bool { return t.String() == tag.String() }) {
				images[i].tags = append(images[i].tags, tag)
			}
		}
	}
	for _, ref := range refs {
		if named, err := reference.ParseNormalizedNamed(ref); err == nil && reference.IsNameOnly(named) && !fullID.MatchString(ref) {
			found, err := s.repositoryTags(named)
			if err != nil {
				return nil, err
			}
			for _, x := range found {
				add(x.id, x.tags...)
			}
			if len(found) > 0 {
				continue
			}
		}
		img, err := s.find(ref)
		if err != nil {
			return nil, err
		}
		named, err := reference.ParseDockerRef(ref)
		tagged, ok := named.(reference.NamedTagged)
		if err == nil && ok && slices.Contains(img.Names, tagged.String()) {
			add(img.ID, tagged)
		} else {
			add(img.ID)
		}
	}
	if len(images) == 0 {
		return nil, errs.New(errs.Invalid, "no image to save")
	}
	return images, nil
}

// repositoryTags gives the images with tags in a repository.
func (s *Store) repositoryTags(repo reference.Named) ([]saved, error) {
	images, err := s.images()
	if err != nil {
		return nil, err
	}
	var out []saved
	for _, img := range images {
		x := saved{id: img.ID}
		for _, name := range img.Names {
			if named, err := reference.ParseNormalizedNamed(name); err == nil && named.Name() == repo.Name() {
				if tagged, ok := named.(reference.NamedTagged); ok {
					x.tags = append(x.tags, tagged)
				}
			}
		}
		if len(x.tags) > 0 {
			out = append(out, x)
		}
	}
	return out, nil
}

func (s *Store) writeArchive(ctx context.Context, path string, images []saved) (err error) {
	writer, err := dockerarchive.NewWriter(s.system(), path)
	if err != nil {
		return errs.New(errs.Unavailable, "writing the archive: %w", err)
	}
	defer func() {
		if closeErr := writer.Close(); err == nil && closeErr != nil {
			err = errs.New(errs.Unavailable, "writing the archive: %w", closeErr)
		}
	}()
	for _, img := range images {
		if err := s.saveOne(ctx, writer, img); err != nil {
			return fmt.Errorf("saving image %s: %w", shortID(img.id), err)
		}
	}
	return nil
}

func (s *Store) saveOne(ctx context.Context, writer *dockerarchive.Writer, img saved) error {
	from, err := storagetransport.Transport.NewStoreReference(s.store, nil, img.id)
	if err != nil {
		return err
	}
	sys := s.system()
	var first reference.NamedTagged
	if len(img.tags) > 0 {
		first, sys.DockerArchiveAdditionalTags = img.tags[0], img.tags[1:]
	}
	to, err := writer.NewReference(first)
	if err != nil {
		return err
	}
	_, _, err = transfer{from: from, to: to, fromSys: s.system(), toSys: sys}.run(ctx)
	return err
}
