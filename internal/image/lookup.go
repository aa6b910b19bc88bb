package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/storage"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Lookup finds a local image by name, NAME@DIGEST, ID or unambiguous ID prefix.
// What is not there is errs.NotFound in Docker's words.
func (s *Store) Lookup(_ context.Context, ref string) (model.Image, error) {
	img, err := s.find(ref)
	if err != nil {
		return model.Image{}, err
	}
	return s.modelImage(img)
}

// find is Lookup down to storage's record. A name goes before an ID prefix, as
// in Docker.
func (s *Store) find(ref string) (*storage.Image, error) {
	if fullID.MatchString(ref) {
		return s.findID(ref)
	}
	named, nameErr := reference.ParseDockerRef(ref)
	images, err := s.images()
	if err != nil {
		return nil, err
	}
	if nameErr == nil {
		if img := findName(images, named); img != nil {
			return img, nil
		}
	}
	if prefixID.MatchString(ref) {
		return findPrefix(images, ref)
	}
	if nameErr != nil {
		return nil, nameError(ref, nameErr)
	}
	return nil, noSuchImage(ref)
}

// findID finds an image by its full ID.
func (s *Store) findID(id string) (*storage.Image, error) {
	img, err := s.store.Image(bareID(id))
	if err != nil {
		if errors.Is(err, storage.ErrImageUnknown) {
			return nil, noSuchImage(id)
		}
		return nil, fmt.Errorf("looking up image %s: %w", id, err)
	}
	if img.ID != bareID(id) || s.isHidden(img) {
		return nil, noSuchImage(id)
	}
	return img, nil
}

// findName finds the image that has the name, or the digest under its repository.
func findName(images []storage.Image, named reference.Named) *storage.Image {
	name := named.String()
	for i := range images {
		if slices.Contains(images[i].Names, name) {
			return &images[i]
		}
	}
	digested, ok := named.(reference.Digested)
	if !ok {
		return nil
	}
	for i := range images {
		inRepository := slices.ContainsFunc(images[i].Names, func(n string) bool { return repository(n) == named.Name() })
		if inRepository && slices.Contains(images[i].Digests, digested.Digest()) {
			return &images[i]
		}
	}
	return nil
}

func findPrefix(images []storage.Image, ref string) (*storage.Image, error) {
	var found *storage.Image
	for i := range images {
		if !strings.HasPrefix(images[i].ID, bareID(ref)) {
			continue
		}
		if found != nil {
			return nil, errs.New(errs.Invalid, "multiple IDs found with provided prefix: %s", ref)
		}
		found = &images[i]
	}
	if found == nil {
		return nil, noSuchImage(ref)
	}
	return found, nil
}

// images lists the images there are for a user.
func (s *Store) images() ([]storage.Image, error) {
	images, err := s.store.Images()
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	return slices.DeleteFunc(images, func(img storage.Image) bool { return s.isHidden(&img) }), nil
}

// modelImage gives the plain value of a stored image.
func (s *Store) modelImage(img *storage.Image) (model.Image, error) {
	p, err := s.parse(img)
	if err != nil {
		return model.Image{}, err
	}
	tags, digests := splitNames(img.Names)
	out := p.image
	out.Config = p.config.Config.model(p.ports)
	out.ID = imageID(img)
	out.Names = append(tags, digests...)
	return out, nil
}
