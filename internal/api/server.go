// Package api speaks the Docker Engine API: it decodes requests, asks the
// engine and the image store, and encodes their answers as Docker does.
// A file holds the handlers of one resource; routes.go lists them all.
package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// Version names the daemon's build.
type Version struct {
	Version   string // e.g. 0.1.0
	GitCommit string
	BuildTime string // RFC 3339
}

// Options are what a Server needs.
type Options struct {
	Engine  Engine
	Images  Images
	Version Version
	Root    string       // e.g. /var/lib/jackstay: paths shown by inspect
	RunDir  string       // e.g. /run/jackstay
	Log     *slog.Logger // nil: slog.Default
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Server answers the API. It is safe for concurrent use.
type Server struct {
	engine    Engine
	images    Images
	tenant    string                 // whom engine works for; empty: the administrator
	everybody func() *model.Snapshot // of a tenant's server: what images are in use by
	version   Version
	root      string
	runDir    string
	log       *slog.Logger
	now       func() time.Time
	host      hostFacts
	mux       *http.ServeMux
}

// New makes a server.
func New(o Options) *Server {
	s := &Server{
		engine: o.Engine, images: o.Images, version: o.Version,
		root: o.Root, runDir: o.RunDir, log: o.Log, now: o.Now,
		host: readHostFacts("/"),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.serveRoutes()
	return s
}

func (s *Server) serveRoutes() {
	s.mux = http.NewServeMux()
	for _, rt := range routes() {
		s.mux.Handle(rt.Method+" "+rt.Pattern, s.handler(rt))
	}
}

// For makes a server of the same host for a tenant, whose engine is given.
func (s *Server) For(tenant string, engine Engine) *Server {
	t := *s
	t.tenant, t.engine, t.everybody = tenant, engine, s.engine.Snapshot
	t.serveRoutes()
	return &t
}

// ServeHTTP takes the version off the path and routes the rest.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &responseWriter{ResponseWriter: rw}
	start := s.now()
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			s.log.Error("handler panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			if !w.started {
				s.fail(w, r, fmt.Errorf("internal error: %v (see the daemon's log)", p))
			}
		}
		s.log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", w.status, "took", s.now().Sub(start))
	}()

	h := w.Header()
	h.Set("Server", "Jackstay/"+s.version.Version+" (linux)")
	h.Set("Api-Version", MaxVersion)
	h.Set("Docker-Experimental", "false")
	h.Set("Ostype", "linux")

	version, rest, err := splitVersion(r.URL.Path)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	// A double slash is a container's name with its leading slash, from old
	// clients: cleaned here, for a redirect would lose the version and the body.
	r2 := r.WithContext(withVersion(r.Context(), version))
	r2.URL = &url.URL{Path: path.Clean(rest), RawQuery: r.URL.RawQuery}
	if _, pattern := s.mux.Handler(r2); pattern == "" {
		s.fail(w, r, errs.New(errs.NotFound, "page not found"))
		return
	}
	s.mux.ServeHTTP(w, r2)
}

// handler adapts a route's function: errors it returns become the answer.
func (s *Server) handler(rt route) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w, ok := rw.(*responseWriter)
		if !ok {
			w = &responseWriter{ResponseWriter: rw}
		}
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			s.fail(w, r, invalid("malformed query: %w", err))
			return
		}
		if rt.Administrator {
			if err := s.administrators(rt.Method + " " + rt.Pattern); err != nil {
				s.fail(w, r, err)
				return
			}
		}
		req := &request{Request: r, version: versionOf(r.Context()), query: query}
		if err := rt.serve(s, w, req); err != nil {
			s.fail(w, r, err)
		}
	})
}
