package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"

	"github.com/jackstay/jackstay/internal/model"
)

var eventFilters = []string{
	"type", "event", "action", "container", "image", "network", "volume", "label", "daemon", "scope", "id",
	"plugin", "service", "node", "secret", "config",
}

// eventMessage is moby's with what it had in the days of API 1.21.
type eventMessage struct {
	events.Message
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
}

func (s *Server) events(w *responseWriter, r *request) error {
	f, err := parseFilters(r.param("filters"), eventFilters...)
	if err != nil {
		return err
	}
	since, err := unixTime(r.param("since"))
	if err != nil {
		return err
	}
	until, err := unixTime(r.param("until"))
	if err != nil {
		return err
	}
	if !until.IsZero() && until.Before(since) {
		return invalid("`since` time (%s) cannot be after `until` time (%s)", r.param("since"), r.param("until"))
	}
	stream, err := s.engine.Events(r.Context(), since, until)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	w.Flush()
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for {
		select {
		case <-r.Context().Done():
			return nil
		case e, ok := <-stream:
			if !ok {
				return nil
			}
			if !matchEvent(f, &e) {
				continue
			}
			if err := enc.Encode(dockerEvent(&e)); err != nil {
				return fmt.Errorf("send event: %w", err)
			}
			w.Flush()
		}
	}
}

func dockerEvent(e *model.Event) eventMessage {
	out := eventMessage{Message: events.Message{
		Type: events.Type(e.Type), Action: events.Action(e.Action), Scope: "local",
		Actor: events.Actor{ID: e.ID, Attributes: nonNilMap(e.Attributes)},
		Time:  e.Time.Unix(), TimeNano: e.Time.UnixNano(),
	}}
	switch e.Type {
	case "container":
		out.Status, out.ID, out.From = e.Action, e.ID, e.Attributes["image"]
	case "image":
		out.Status, out.ID = e.Action, e.ID
	}
	return out
}

func matchEvent(f filterSet, e *model.Event) bool {
	switch {
	case !f.exact("type", e.Type), !f.exact("scope", "local"), !f.labels(e.Attributes), !f.prefix("id", e.ID),
		!matchAction(f, "event", e.Action), !matchAction(f, "action", e.Action):
		return false
	}
	return matchActors(f, e)
}

// matchAction matches an action; "exec_start" matches "exec_start: sh -c …" too.
func matchAction(f filterSet, key, action string) bool {
	kind, _, _ := strings.Cut(action, ":")
	return f.exact(key, action) || f.exact(key, kind)
}

// matchActors matches container, network, … with the actor of an event of that
// type, by ID (or its beginning) and name.
func matchActors(f filterSet, e *model.Event) bool {
	for _, kind := range []string{"container", "network", "volume", "daemon", "plugin", "service", "node", "secret", "config"} {
		wanted, ok := f[kind]
		if !ok {
			continue
		}
		if e.Type != kind || !slices.ContainsFunc(wanted, func(w string) bool {
			return strings.HasPrefix(e.ID, w) || strings.TrimPrefix(w, "/") == model.Qualify(e.Attributes["name"], e.Tenant)
		}) {
			return false
		}
	}
	wanted, ok := f["image"]
	return !ok || slices.ContainsFunc(wanted, func(w string) bool { return matchImage(e, w) })
}

// matchImage matches an image's own events, and those of its containers, by ID
// or name, with the tag or without.
func matchImage(e *model.Event, want string) bool {
	name := e.Attributes["image"]
	switch e.Type {
	case "image":
		if e.ID == want || strings.HasPrefix(strings.TrimPrefix(e.ID, "sha256:"), want) {
			return true
		}
		name = e.Attributes["name"]
	case "container":
	default:
		return false
	}
	return want == name || want == withoutTag(name)
}

func withoutTag(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarName(ref)
}
