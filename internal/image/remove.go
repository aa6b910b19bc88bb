package image

import (
	"context"
	"fmt"
	"slices"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/storage"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// inUseFunc tells which container uses an image, a running one before others.
// It is called while no layer can be made, so it must not make one.
type inUseFunc func(imageID string) (container string, running, used bool)

// Tag gives the image a further name; another image that has it loses it.
func (s *Store) Tag(_ context.Context, ref, target string) error {
	name, err := parseTag(target)
	if err != nil {
		return err
	}
	img, err := s.find(ref)
	if err != nil {
		return err
	}
	if err := s.store.AddNames(img.ID, []string{name.String()}); err != nil {
		return errs.New(errs.Unavailable, "tagging image %s: %w", shortID(img.ID), err)
	}
	return nil
}

// Remove takes the name ref from its image and deletes the image with its last
// name; an ID deletes it whole. Rules and words are Docker's.
// Source: moby, daemon/images/image_delete.go. No image here has a parent, so
// prune makes no difference.
func (s *Store) Remove(_ context.Context, ref string, force, _ bool, inUse func(string) (string, bool, bool)) ([]model.ImageRemoval, error) {
	r := &removalOf{s: s, force: force, inUse: inUse}
	if err := r.decide(ref); err != nil {
		return r.records, err
	}
	return r.records, r.finish()
}

// isIDOf tells an ID or its prefix from a name: a name goes first, and find
// has looked it up.
func isIDOf(img *storage.Image, ref string) bool {
	if !prefixID.MatchString(ref) {
		return false
	}
	named, err := reference.ParseDockerRef(ref)
	return err != nil || fullID.MatchString(ref) || !slices.Contains(img.Names, named.String())
}

// removalOf is one removal on its way: decided while no container's layer can
// be made, finished afterwards, because deleting files takes its time.
type removalOf struct {
	s       *Store
	img     *storage.Image
	force   bool
	inUse   inUseFunc
	records []model.ImageRemoval
	doomed  bool  // hidden, to be deleted by finish
	freed   int64 // bytes
}

func (r *removalOf) decide(ref string) (err error) {
	r.s.removal.Lock()
	defer r.s.removal.Unlock()
	if r.img, err = r.s.find(ref); err != nil {
		return err
	}
	if isIDOf(r.img, ref) {
		return r.byID()
	}
	return r.byName(ref)
}

// finish deletes the image's record and files, where decide found that it goes.
func (r *removalOf) finish() (err error) {
	if !r.doomed {
		return nil
	}
	if r.freed, err = r.s.deleteRecord(r.img.ID); err != nil {
		r.s.unmarkHidden(r.img.ID)
		return errs.Wrap(errs.Unavailable, err)
	}
	r.records = append(r.records, model.ImageRemoval{Deleted: imageID(r.img)})
	return nil
}

func (r *removalOf) byName(ref string) error {
	named, err := parseName(ref)
	if err != nil {
		return err
	}
	if !slices.Contains(r.img.Names, named.String()) { // a digest the image has, but under no name of its own
		return errs.New(errs.Conflict, "conflict: unable to remove %s: image %s has no such name, remove it by its ID or tag",
			reference.FamiliarString(named), shortID(r.img.ID))
	}
	container, _, used := r.inUse(imageID(r.img))
	if used && !r.force && singleReference(r.img.Names) {
		return errs.New(errs.Conflict, "conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s",
			ref, shortContainer(container), shortID(r.img.ID))
	}
	gone := []string{named.String()}
	if !isDigestName(named.String()) {
		gone = append(gone, lonelyDigests(r.img.Names, named)...)
	}
	if err := r.untag(gone); err != nil {
		return err
	}
	if len(r.img.Names) > 0 {
		return nil
	}
	if conflict := r.conflict(true); conflict != nil {
		if _, _, used := r.inUse(imageID(r.img)); used {
			return nil // the name is gone; the image stays for its containers
		}
		return conflict
	}
	return r.delete()
}

func (r *removalOf) byID() error {
	single := singleReference(r.img.Names)
	if conflict := r.conflict(single); conflict != nil {
		return conflict
	}
	if err := r.untag(r.img.Names); err != nil {
		return err
	}
	return r.delete()
}

// conflict gives what forbids to delete the image.
func (r *removalOf) conflict(single bool) error {
	id := shortID(r.img.ID)
	if r.img.ReadOnly {
		return errs.New(errs.Conflict, "conflict: unable to delete %s (cannot be forced) - image is in a read-only store", id)
	}
	container, running, used := r.inUse(imageID(r.img))
	switch {
	case used && running:
		return errs.New(errs.Conflict, "conflict: unable to delete %s (cannot be forced) - image is being used by running container %s", id, shortContainer(container))
	case !r.force && !single:
		return errs.New(errs.Conflict, "conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", id)
	case !r.force && used:
		return errs.New(errs.Conflict, "conflict: unable to delete %s (must be forced) - image is being used by stopped container %s", id, shortContainer(container))
	}
	return nil
}

// untag takes names from the image and records them.
func (r *removalOf) untag(names []string) error {
	if len(names) == 0 {
		return nil
	}
	names = slices.Clone(names)
	if err := r.s.store.RemoveNames(r.img.ID, names); err != nil {
		return errs.New(errs.Unavailable, "untagging image %s: %w", shortID(r.img.ID), err)
	}
	r.img.Names = slices.DeleteFunc(slices.Clone(r.img.Names), func(n string) bool { return slices.Contains(names, n) })
	for _, n := range names {
		r.records = append(r.records, model.ImageRemoval{Untagged: familiar(n)})
	}
	return nil
}

// delete marks the image for finish, or hides it while a container stands on it.
func (r *removalOf) delete() error {
	users, err := r.s.layersOf(r.img.ID)
	if err != nil {
		return err
	}
	if len(users) == 0 {
		r.s.markHidden(r.img.ID)
		r.doomed = true
		return nil
	}
	if err := r.s.setHidden(r.img.ID, true); err != nil {
		return errs.Wrap(errs.Unavailable, err)
	}
	r.records = append(r.records, model.ImageRemoval{Deleted: imageID(r.img)})
	return nil
}

// singleReference tells that an image has at most one tag, and digests only of
// that tag's repository.
func singleReference(names []string) bool {
	tags := 0
	for _, n := range names {
		if !isDigestName(n) {
			tags++
		}
		if repository(n) != repository(names[0]) {
			return false
		}
	}
	return tags <= 1
}

// lonelyDigests gives the digest references of a tag's repository, if that tag
// is the repository's last.
func lonelyDigests(names []string, tag reference.Named) []string {
	var digests []string
	for _, n := range names {
		switch {
		case n == tag.String() || repository(n) != tag.Name():
		case isDigestName(n):
			digests = append(digests, n)
		default:
			return nil
		}
	}
	return digests
}

// shortContainer shortens a container's ID as Docker does; a name stays.
func shortContainer(c string) string {
	if fullID.MatchString(c) {
		return shortID(c)
	}
	return c
}

// Prune deletes images without tag, or with dangling false all that no
// container uses, but those keep says to leave. It gives the bytes it freed.
func (s *Store) Prune(_ context.Context, dangling bool, keep func(model.ImageDetail) bool, inUse func(string) (string, bool, bool)) ([]model.ImageRemoval, int64, error) {
	images, err := s.images()
	if err != nil {
		return nil, 0, err
	}
	var records []model.ImageRemoval
	var freed int64
	for i := range images {
		r := &removalOf{s: s, img: &images[i], inUse: inUse}
		err := r.pruneOne(dangling, keep)
		if err == nil {
			err = r.finish()
		}
		records, freed = append(records, r.records...), freed+r.freed
		if err != nil {
			return records, freed, fmt.Errorf("pruning images: %w", err)
		}
	}
	return records, freed, nil
}

func (r *removalOf) pruneOne(dangling bool, keep func(model.ImageDetail) bool) error {
	r.s.removal.Lock()
	defer r.s.removal.Unlock()
	if !r.s.prunable(r.img, dangling, keep, r.inUse) {
		return nil
	}
	if err := r.untag(r.img.Names); err != nil {
		return err
	}
	return r.delete()
}

func (s *Store) prunable(img *storage.Image, onlyDangling bool, keep func(model.ImageDetail) bool, inUse inUseFunc) bool {
	if img.ReadOnly || onlyDangling && !dangling(img) {
		return false
	}
	if _, _, used := inUse(imageID(img)); used {
		return false
	}
	if keep == nil {
		return true
	}
	d, err := s.detail(img, false)
	if err != nil {
		s.log.Warn("pruning leaves an image that can't be read", "image", shortID(img.ID), "error", err)
		return false
	}
	return !keep(d)
}
