package image

import (
	"context"
	"fmt"
	"slices"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	storagetransport "go.podman.io/image/v5/storage"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Push sends a named image to its registry.
func (s *Store) Push(ctx context.Context, ref string, auth model.RegistryAuth, progress func(model.Progress)) error {
	name, err := parseTag(ref)
	if err != nil {
		return err
	}
	if progress == nil {
		progress = func(model.Progress) {}
	}
	img, err := s.find(name.String())
	if err != nil || !slices.Contains(img.Names, name.String()) {
		return errs.New(errs.NotFound, "An image does not exist locally with the tag: %s", reference.FamiliarString(name))
	}
	if err := s.reach(ctx, reference.Domain(name), auth); err != nil {
		return err
	}
	progress(model.Progress{Status: fmt.Sprintf("The push refers to repository [%s]", name.Name())})
	src, err := storagetransport.Transport.NewStoreReference(s.store, nil, img.ID)
	if err != nil {
		return fmt.Errorf("reading image %s: %w", shortID(img.ID), err)
	}
	dst, err := docker.NewReference(name)
	if err != nil {
		return errs.New(errs.Invalid, "%w", err)
	}
	raw, _, err := transfer{
		from: src, to: dst, fromSys: s.system(), toSys: s.registrySystem(reference.Domain(name), auth), progress: progress,
		words: words{"Preparing", "Pushing", "Pushing", "Pushed", "Layer already exists"},
	}.run(ctx)
	if err != nil {
		return registryError("push", name, err)
	}
	return s.reportPush(img.ID, name, raw, progress)
}

// reportPush notes the digest the image has at the registry and tells it.
func (s *Store) reportPush(id string, name reference.Named, raw []byte, progress func(model.Progress)) error {
	digest, err := manifest.Digest(raw)
	if err != nil {
		return fmt.Errorf("reading the pushed manifest: %w", err)
	}
	canonical, err := reference.WithDigest(reference.TrimNamed(name), digest)
	if err != nil {
		return fmt.Errorf("reading the pushed manifest: %w", err)
	}
	if err := s.store.AddNames(id, []string{canonical.String()}); err != nil {
		return errs.New(errs.Unavailable, "noting the digest of %s: %w", reference.FamiliarString(name), err)
	}
	tag := tagOrDigest(name)
	progress(model.Progress{
		Status: fmt.Sprintf("%s: digest: %s size: %d", tag, digest, len(raw)),
		Tag:    tag, Digest: digest.String(), Size: int64(len(raw)),
	})
	return nil
}
