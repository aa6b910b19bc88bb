package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/jackstay/jackstay/internal/api"
	"github.com/jackstay/jackstay/internal/engine"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// credentials tells by where a request comes from whose it is: the
// administrator's, or a tenant's.
type credentials struct {
	engine        *engine.Engine
	administrator *api.Server

	mu      *sync.Mutex
	servers map[string]http.Handler // of tenants, by name
}

func newCredentials(e *engine.Engine, administrator *api.Server) credentials {
	return credentials{engine: e, administrator: administrator, mu: &sync.Mutex{}, servers: map[string]http.Handler{}}
}

// tenant gives the API as a tenant has it.
func (c credentials) tenant(name string) http.Handler {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.servers[name]
	if h == nil {
		h = c.administrator.For(name, c.engine.For(name))
		c.servers[name] = h
	}
	return h
}

// ServeHTTP answers the administrator, and, where a client has shown a
// certificate, whom its organisation names. An organisation that is no tenant is
// refused: a removed tenant's certificate must not become the administrator's.
func (c credentials) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil {
		c.administrator.ServeHTTP(w, r)
		return
	}
	if len(r.TLS.VerifiedChains) == 0 {
		api.Refuse(w, errs.New(errs.Unauthorized, "a client certificate is needed"))
		return
	}
	switch organisations := r.TLS.VerifiedChains[0][0].Subject.Organization; {
	case len(organisations) == 0:
		c.administrator.ServeHTTP(w, r)
	case len(organisations) == 1 && served(c.engine.Snapshot(), organisations[0]):
		c.tenant(organisations[0]).ServeHTTP(w, r)
	default:
		api.Refuse(w, errs.New(errs.Forbidden, "the client certificate's organisation %q is no tenant of this daemon; the administrator's certificate has no organisation", organisations))
	}
}

// served tells whether there is a tenant of this name. One that is being removed
// gets nothing new.
func served(s *model.Snapshot, name string) bool {
	t := s.Tenants[name]
	return t != nil && !t.Removing
}

// tenantSockets serves each tenant on a socket of its own, DIR/NAME/jackstay.sock.
type tenantSockets struct {
	dir     string
	handler func(tenant string) http.Handler
	log     *slog.Logger

	mu   sync.Mutex
	open map[string]*tenantSocket
}

type tenantSocket struct {
	server *http.Server
	group  string
}

func newTenantSockets(dir string, log *slog.Logger) *tenantSockets {
	return &tenantSockets{dir: dir, log: log, open: map[string]*tenantSocket{}}
}

// Path is where a tenant's socket is.
func (s *tenantSockets) Path(tenant string) string {
	return filepath.Join(s.dir, tenant, "jackstay.sock")
}

// Set opens a socket for each of these tenants and closes all others.
func (s *tenantSockets) Set(_ context.Context, tenants []*model.Tenant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[string]bool{}
	var failed []error
	for _, t := range tenants {
		wanted[t.Name] = true
		if err := s.serve(t); err != nil {
			failed = append(failed, err)
		}
	}
	for name, o := range s.open {
		if !wanted[name] {
			_ = o.server.Close() // its connections go with it
			delete(s.open, name)
		}
	}
	left, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		failed = append(failed, err)
	}
	for _, d := range left {
		if !wanted[d.Name()] {
			failed = append(failed, os.RemoveAll(filepath.Join(s.dir, d.Name())))
		}
	}
	return errors.Join(failed...)
}

// serve opens a tenant's socket, or gives it to another group.
func (s *tenantSockets) serve(t *model.Tenant) error {
	gid, err := groupID(t.Group)
	if err != nil {
		return err
	}
	path := s.Path(t.Name)
	if o := s.open[t.Name]; o != nil {
		if _, err := os.Lstat(path); err == nil {
			o.group = t.Group
			return os.Chown(path, 0, gid)
		}
		_ = o.server.Close() // somebody took the socket away
		delete(s.open, t.Name)
	}
	l, err := listenPath(path, gid)
	if err != nil {
		return errs.New(errs.Unavailable, "the socket of tenant %s: %w", t.Name, err)
	}
	o := &tenantSocket{server: &http.Server{Handler: s.handler(t.Name), ReadHeaderTimeout: 30 * time.Second}, group: t.Group}
	s.open[t.Name] = o
	go func() {
		if err := o.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("a tenant is not served any more", "tenant", t.Name, "error", err)
		}
	}()
	return nil
}

// close ends calls in progress as the daemon's own listeners do.
func (s *tenantSockets) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	end, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	var all sync.WaitGroup
	for _, o := range s.open {
		all.Add(1)
		go func() {
			defer all.Done()
			if o.server.Shutdown(end) != nil {
				_ = o.server.Close()
			}
		}()
	}
	all.Wait()
}

// groupID reads a group's name or number; none is root's.
func groupID(group string) (int, error) {
	if group == "" {
		return 0, nil
	}
	if gid, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(gid), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, errs.New(errs.Invalid, "there is no group %s on this host: make it (groupadd %s), or give its number", group, group)
	}
	return strconv.Atoi(g.Gid)
}

// listenPath makes a socket for root and a group.
func listenPath(path string, gid int) (net.Listener, error) {
	const longest = 107 // sun_path of unix(7), less the NUL
	if len(path) > longest {
		return nil, fmt.Errorf("its path %s is longer than %d characters: start jackstayd with a shorter --run-dir", path, longest)
	}
	dir := filepath.Dir(path)
	if err := errors.Join(os.MkdirAll(dir, 0o711), os.Chmod(dir, 0o700)); err != nil { // nobody comes in before the socket is ready
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Chown(path, 0, gid), os.Chmod(path, 0o660), os.Chmod(dir, 0o711)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
