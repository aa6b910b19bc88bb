package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// messages is an answer of one JSON object a line, each sent at once. Its
// headers go with the first: an error before that gets a proper status.
type messages struct {
	w   *responseWriter
	enc *json.Encoder
}

func newMessages(w *responseWriter) *messages {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &messages{w: w, enc: enc}
}

// message is moby's with the plain-text error older clients read.
type message struct {
	jsonstream.Message
	PlainError string `json:"error,omitempty"`
}

func (m *messages) send(v message) {
	if !m.w.started {
		m.w.Header().Set("Content-Type", "application/json")
	}
	_ = m.enc.Encode(v) // failing means that the client went; its context tells the work
	m.w.Flush()
}

func (m *messages) status(format string, args ...any) {
	m.send(message{Message: jsonstream.Message{Status: fmt.Sprintf(format, args...)}})
}

// end reports an error in band when the answer has begun, else as a status.
func (m *messages) end(err error) error {
	if err == nil || !m.w.started {
		return err
	}
	m.send(message{Message: jsonstream.Message{Error: &jsonstream.Error{Code: statusOf(err), Message: err.Error()}}, PlainError: err.Error()})
	return err
}

// progress passes a pull's or push's progress on.
func (m *messages) progress(p model.Progress) {
	out := jsonstream.Message{ID: p.ID, Status: p.Status}
	if p.ID != "" || p.Current != 0 || p.Total != 0 {
		out.Progress = &jsonstream.Progress{Current: p.Current, Total: p.Total}
	}
	if p.Digest == "" {
		m.send(message{Message: out})
		return
	}
	if out.Status == "" {
		out.Status = fmt.Sprintf("%s: digest: %s size: %d", p.Tag, p.Digest, p.Size)
	}
	m.send(message{Message: out})
	if aux, err := json.Marshal(map[string]any{"Tag": p.Tag, "Digest": p.Digest, "Size": p.Size}); err == nil && p.Tag != "" {
		raw := json.RawMessage(aux)
		m.send(message{Message: jsonstream.Message{Progress: &jsonstream.Progress{}, Aux: &raw}})
	}
}

// authOf reads the registry's credentials. Docker takes unreadable ones for
// none, and so do clients that send "null".
func (s *Server) authOf(r *request) model.RegistryAuth {
	a, _ := authconfig.Decode(r.Header.Get(registry.AuthHeader))
	if a == nil {
		a = &registry.AuthConfig{}
	}
	return s.modelAuth(*a)
}

func (s *Server) modelAuth(a registry.AuthConfig) model.RegistryAuth {
	// Clients that read config.json may pass "auth": base64(user:password).
	if plain, err := base64.StdEncoding.DecodeString(a.Auth); a.Username == "" && err == nil {
		a.Username, a.Password, _ = strings.Cut(string(plain), ":")
	}
	auth := model.RegistryAuth{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken, ServerAddress: a.ServerAddress}
	if s.tenant != "" {
		auth.Reach = tenantsReach{s}
	}
	return auth
}

// tenantsReach keeps the host from asking for a tenant what the tenant does not
// reach itself.
type tenantsReach struct{ s *Server }

// OffLimits implements model.Reach.
func (t tenantsReach) OffLimits(a netip.Addr) bool { return t.s.everybody().OffLimits(a, t.s.tenant) }

// imageCreate pulls an image, or imports one from the body.
func (s *Server) imageCreate(w *responseWriter, r *request) error {
	if r.param("fromImage") == "" {
		return s.imageImport(w, r)
	}
	// Old clients say "pull all tags" with a colon at the end.
	ref, err := withTag(strings.TrimSuffix(r.param("fromImage"), ":"), r.param("tag"))
	if err != nil {
		return err
	}
	platform := ""
	if !r.version.before(32) {
		platform = r.param("platform")
	}
	m := newMessages(w)
	if _, err := s.images.Pull(r.Context(), ref, platform, s.authOf(r), m.progress); err != nil {
		return m.end(err)
	}
	if !w.started {
		m.status("Status: Image is up to date for %s", ref)
	}
	s.imageEvent("pull", ref, ref)
	return nil
}

// withTag joins a repository and a tag or digest, in the short form.
func withTag(repo, tag string) (string, error) {
	named, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return "", invalid("invalid reference format: %q: %w", repo, err)
	}
	if reference.FamiliarName(named) == "scratch" {
		return "", errs.New(errs.Forbidden, "'scratch' is a reserved name")
	}
	switch {
	case tag == "":
		named = reference.TagNameOnly(named)
	case strings.Contains(tag, ":"):
		full, err := reference.ParseNormalizedNamed(reference.TrimNamed(named).Name() + "@" + tag)
		if err != nil {
			return "", invalid("invalid digest %q of %s: %w", tag, repo, err)
		}
		named = full
	default:
		if named, err = reference.WithTag(reference.TrimNamed(named), tag); err != nil {
			return "", invalid("invalid tag %q of %s: %w", tag, repo, err)
		}
	}
	return reference.FamiliarString(named), nil
}

func (s *Server) imageImport(w *responseWriter, r *request) error {
	switch src := r.param("fromSrc"); src {
	case "-":
	case "":
		return invalid("neither fromImage nor fromSrc is given: name an image to pull, or import with fromSrc=-")
	default:
		return errs.New(errs.NotImplemented, "importing from a URL (%s) is not supported by Jackstay: fetch it and pipe it, as in `curl URL | docker import - NAME`", src)
	}
	if err := s.administrators("importing an image"); err != nil {
		return err
	}
	ref := ""
	if repo := r.param("repo"); repo != "" {
		var err error
		if ref, err = withTag(repo, r.param("tag")); err != nil {
			return err
		}
		if strings.Contains(ref, "@") {
			return invalid("cannot import digest reference")
		}
	}
	comment := orDefault(r.param("message"), "Imported from -")
	id, err := s.images.Import(r.Context(), r.Body, ref, comment, r.param("platform"), r.query["changes"])
	if err != nil {
		return err
	}
	s.imageEvent("import", id, orDefault(ref, id))
	newMessages(w).status("%s", id)
	return nil
}

func (s *Server) imagePush(w *responseWriter, r *request, name string) error {
	ref := name
	if tag := r.param("tag"); tag != "" {
		var err error
		if ref, err = withTag(name, tag); err != nil {
			return err
		}
	}
	m := newMessages(w)
	if err := s.images.Push(r.Context(), ref, s.authOf(r), m.progress); err != nil {
		return m.end(err)
	}
	if !w.started {
		m.status("Pushed %s", ref)
	}
	s.imageEvent("push", ref, ref)
	return nil
}

func (s *Server) imageLoad(w *responseWriter, r *request) error {
	if r.param("platform") != "" {
		return unsupported("loading one platform of an image (--platform) is not supported yet: leave it out")
	}
	m := newMessages(w)
	names, err := s.images.Load(r.Context(), r.Body)
	if err != nil {
		return m.end(err)
	}
	for _, n := range names {
		what := "Loaded image: "
		if strings.HasPrefix(n, "sha256:") {
			what = "Loaded image ID: "
		}
		m.send(message{Message: jsonstream.Message{Stream: what + n + "\n"}})
		s.imageEvent("load", n, n)
	}
	return nil
}

// imageSave saves the images of the names parameter.
func (s *Server) imageSave(w *responseWriter, r *request) error {
	names := r.query["names"]
	if len(names) == 1 && strings.Contains(names[0], ",") {
		names = strings.Split(names[0], ",")
	}
	if len(names) == 0 {
		return invalid("no image to save: give names")
	}
	return s.saveImages(w, r, names)
}

func (s *Server) saveImages(w *responseWriter, r *request, names []string) error {
	if r.param("platform") != "" {
		return unsupported("saving one platform of an image (--platform) is not supported yet: leave it out")
	}
	for _, n := range names {
		if _, err := s.images.Lookup(r.Context(), n); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/x-tar")
	if err := s.images.Save(r.Context(), names, w); err != nil {
		if w.started {
			// Nothing in a tar archive can say so: break it off, so that the client knows.
			s.log.Error("save failed", "images", names, "err", err)
			panic(http.ErrAbortHandler)
		}
		w.Header().Del("Content-Type")
		return err
	}
	for _, n := range names {
		s.imageEvent("save", n, n)
	}
	return nil
}

func parseStars(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, invalid("invalid filter 'stars=%s': must be a number", v)
	}
	return n, nil
}
