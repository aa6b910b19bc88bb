package api

import (
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/image"

	"github.com/jackstay/jackstay/internal/model"
)

func (s *Server) imageTag(w *responseWriter, r *request, name string) error {
	if r.param("repo") == "" {
		return invalid("the new name (repo) is missing")
	}
	target, err := withTag(r.param("repo"), r.param("tag"))
	if err != nil {
		return err
	}
	if strings.Contains(target, "@") {
		return invalid("refusing to create a tag with a digest reference")
	}
	if strings.HasPrefix(target, "sha256:") {
		return invalid("refusing to create an ambiguous tag using digest algorithm as name")
	}
	if err := s.administrators("giving an image another name"); err != nil {
		return err
	}
	img, err := s.images.Lookup(r.Context(), name)
	if err != nil {
		return err
	}
	if err := s.images.Tag(r.Context(), name, target); err != nil {
		return err
	}
	s.imageEvent("tag", img.ID, target)
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *Server) imageRemove(w *responseWriter, r *request) error {
	name := r.name()
	if strings.TrimSpace(name) == "" {
		return invalid("image name cannot be blank")
	}
	if len(r.query["platforms"]) > 0 {
		return unsupported("removing one platform of an image (--platform) is not supported yet: leave it out")
	}
	if err := s.permitImageRemove(r, name); err != nil {
		return err
	}
	removed, err := s.images.Remove(r.Context(), name, r.flag("force"), !r.flag("noprune"), s.imageInUse())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.removals(removed))
	return nil
}

// imageInUse tells which container, a running one first, uses an image.
func imageInUse(snap *model.Snapshot) func(imageID string) (container string, running, used bool) {
	users := map[string]*model.Container{}
	for _, c := range snap.Containers {
		if was := users[c.ImageID]; was == nil || (c.State.Running() && !was.State.Running()) {
			users[c.ImageID] = c
		}
	}
	return func(imageID string) (string, bool, bool) {
		c := users[imageID]
		if c == nil {
			return "", false, false
		}
		return shortID(c.ID), c.State.Running(), true
	}
}

// removals tells the world and the client what went.
func (s *Server) removals(removed []model.ImageRemoval) []image.DeleteResponse {
	out := []image.DeleteResponse{}
	for _, x := range removed {
		if x.Untagged != "" {
			s.imageEvent("untag", x.Untagged, x.Untagged)
			out = append(out, image.DeleteResponse{Untagged: x.Untagged})
		}
		if x.Deleted != "" {
			s.imageEvent("delete", x.Deleted, x.Deleted)
			out = append(out, image.DeleteResponse{Deleted: x.Deleted})
		}
	}
	return out
}

func (s *Server) imagePrune(w *responseWriter, r *request) error {
	f, err := parseFilters(r.param("filters"), "dangling", "until", "label", "label!")
	if err != nil {
		return err
	}
	dangling, err := f.boolean("dangling")
	if err != nil {
		return err
	}
	until, err := f.until(s.now())
	if err != nil {
		return err
	}
	keep := func(img model.ImageDetail) bool {
		return !f.labels(img.Config.Labels) || (!until.IsZero() && img.Created.After(until))
	}
	removed, size, err := s.images.Prune(r.Context(), dangling == nil || *dangling, keep, s.imageInUse())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, image.PruneReport{ImagesDeleted: s.removals(removed), SpaceReclaimed: uint64(max(size, 0))})
	return nil
}

// imageEvent records what happened to an image.
func (s *Server) imageEvent(action, id, name string) {
	s.engine.Emit(model.Event{Type: "image", Action: action, ID: id, Attributes: map[string]string{"name": name}, Time: s.now()})
}
