package image

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"go.podman.io/storage"
	"go.podman.io/storage/pkg/reexec"

	"github.com/jackstay/jackstay/internal/errs"
)

// Options say where a Store keeps its things. Everything but GraphRoot and
// RunRoot may be left empty.
type Options struct {
	GraphRoot string // images and layers, e.g. /var/lib/jackstay/storage
	RunRoot   string // what does not outlive a boot, e.g. /run/jackstay/storage
	// Driver is overlay (also when empty) or vfs, which copies every layer whole.
	Driver string
	// AdditionalStores are read-only graph roots to find more images in.
	AdditionalStores []string
	// CertDirs hold HOST:PORT/ca.crt (and client.cert, client.key); the first
	// that has the host wins. Empty: /etc/jackstay/certs.d and /etc/docker/certs.d.
	CertDirs []string
	// HubSearch is the v1 search service; empty: https://index.docker.io.
	HubSearch string
	Log       *slog.Logger
}

// Drivers.
const (
	driverOverlay = "overlay"
	driverVFS     = "vfs"
)

// Store is the image store. It is safe for concurrent use.
type Store struct {
	store     storage.Store
	log       *slog.Logger
	driver    string
	graphRoot string
	tmp       string // spooled archives, emptied at New
	etc       string // our own, empty configuration of the libraries
	certDirs  []string
	hubSearch string

	parsed parsedImages
	work   work
	names  keyed // one pull of a name at a time

	layers     string       // root of the containers' layers
	removal    sync.RWMutex // held for writing while images are deleted
	containers keyed        // one mount or unmount of a container at a time
	lowers     lowerCache
	hidden     hiddenImages
}

// Reexec runs the child half of containers/storage's archive extraction when
// this process is that child; then main must return at once. It must be called
// first in main, before flags are parsed.
func Reexec() bool { return reexec.Init() }

// New opens the store, makes it if it is not there, and removes what an
// interrupted pull, load or create left behind.
func New(o Options) (*Store, error) {
	if o.Driver == "" {
		o.Driver = driverOverlay
	}
	if o.Driver != driverOverlay && o.Driver != driverVFS {
		return nil, errs.New(errs.Invalid, "storage driver %q is not supported: use overlay or vfs", o.Driver)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if len(o.CertDirs) == 0 {
		o.CertDirs = []string{"/etc/jackstay/certs.d", "/etc/docker/certs.d"}
	}
	if o.HubSearch == "" {
		o.HubSearch = "https://index.docker.io"
	}
	graph, err := filepath.Abs(o.GraphRoot)
	if err != nil {
		return nil, fmt.Errorf("resolving %s: %w", o.GraphRoot, err)
	}
	if strings.ContainsAny(graph, `,:\`) {
		return nil, errs.New(errs.Invalid, `the image store's path %q contains a comma, colon or backslash, which overlay mounts don't take`, graph)
	}
	s := &Store{
		log: o.Log, driver: o.Driver, graphRoot: graph, certDirs: o.CertDirs, hubSearch: o.HubSearch,
		tmp:    filepath.Join(graph, "tmp"),
		etc:    filepath.Join(graph, "etc"),
		layers: filepath.Join(graph, "containers"),
	}
	routeLogs(o.Log)
	if err := s.prepareFolders(); err != nil {
		return nil, err
	}
	if s.store, err = s.open(o); err != nil {
		return nil, errs.New(errs.Unavailable, "opening the image store %s with driver %s: %w", graph, o.Driver, err)
	}
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("cleaning up the image store %s: %w", graph, err)
	}
	return s, nil
}

// prepareFolders makes our folders, the temporary one empty.
func (s *Store) prepareFolders() error {
	if err := os.RemoveAll(s.tmp); err != nil {
		return fmt.Errorf("emptying %s: %w", s.tmp, err)
	}
	for _, dir := range []string{s.graphRoot, s.tmp, s.layers, s.configDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the image store's folders: %w", err)
		}
	}
	for file, body := range map[string]string{
		s.storageConf():    fmt.Sprintf("[storage]\ndriver = %q\n", s.driver), // it warns without
		s.registriesConf(): "",
	} {
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			return fmt.Errorf("making the image store's folders: %w", err)
		}
	}
	return nil
}

// The libraries look for configuration under /etc/containers unless they are
// given other paths; these are ours, and say nothing.
func (s *Store) storageConf() string    { return filepath.Join(s.etc, "storage.conf") }
func (s *Store) registriesConf() string { return filepath.Join(s.etc, "registries.conf") }
func (s *Store) configDir() string      { return filepath.Join(s.etc, "empty.d") }

// storageConfEnv names storage's configuration file; there is no option for it.
const storageConfEnv = "CONTAINERS_STORAGE_CONF"

func (s *Store) open(o Options) (storage.Store, error) {
	before, was := os.LookupEnv(storageConfEnv)
	if err := os.Setenv(storageConfEnv, s.storageConf()); err != nil {
		return nil, err
	}
	defer func() {
		if was {
			_ = os.Setenv(storageConfEnv, before)
		} else {
			_ = os.Unsetenv(storageConfEnv)
		}
	}()
	var driverOptions []string
	for _, dir := range o.AdditionalStores {
		driverOptions = append(driverOptions, o.Driver+".imagestore="+dir)
	}
	return storage.GetStore(storage.StoreOptions{
		RunRoot: o.RunRoot, GraphRoot: s.graphRoot,
		GraphDriverName: o.Driver, GraphDriverOptions: driverOptions,
		// Image IDs stay the digest of the configuration, as Docker's are.
		PullOptions: map[string]string{"enable_partial_images": "false"},
	})
}

// recover brings the store to a state without leftovers. Nothing is in flight yet.
func (s *Store) recover() error {
	if s.driver == driverOverlay {
		if err := makePrivate(s.layers); err != nil {
			return err
		}
	}
	if err := s.removeHalfLayers(); err != nil {
		return err
	}
	if err := s.loadHidden(); err != nil {
		return err
	}
	return s.collectLayers()
}

// Driver names the storage driver, for `info`.
func (s *Store) Driver() string { return s.driver }

// Status describes the driver in pairs, for `info`.
func (s *Store) Status() ([][2]string, error) {
	status, err := s.store.Status()
	if err != nil {
		return nil, fmt.Errorf("asking the image store for its status: %w", err)
	}
	return status, nil
}

// Close gives up the store. Layers of running containers stay mounted.
func (s *Store) Close() error {
	err := unmountIdle(s.layers)
	if _, shutErr := s.store.Shutdown(false); shutErr != nil && !errors.Is(shutErr, storage.ErrLayerUsedByContainer) {
		err = errors.Join(err, fmt.Errorf("closing the image store: %w", shutErr))
	}
	s.store.Free()
	return err
}

// tempDir makes a folder for one operation's files; the caller calls remove.
func (s *Store) tempDir(what string) (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp(s.tmp, what+"-")
	if err != nil {
		return "", nil, errs.New(errs.Unavailable, "making a temporary folder: %w", err)
	}
	return dir, func() {
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("removing a temporary folder", "folder", dir, "error", err)
		}
	}, nil
}
