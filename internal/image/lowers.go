package image

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
)

// lowers is what a container's layer on an image needs of the image.
type lowers struct {
	dirs []string // absolute, the topmost layer first
	// mount are the same for the mount call, relative to the driver's folder
	// and short where storage has a short link.
	mount    []string
	mode     os.FileMode // of the image's /
	uid, gid int
}

// storageRootMode is what containers/storage gives a / that no layer lists;
// Docker gives such a one 0755, so that root without capabilities may write.
const storageRootMode os.FileMode = 0o555

// lowerCache remembers lowers, which can't change for an image ID.
type lowerCache struct {
	mu   sync.Mutex
	byID map[string]lowers
}

func (c *lowerCache) forget(id string) {
	c.mu.Lock()
	delete(c.byID, id)
	c.mu.Unlock()
}

func (s *Store) lowersOf(img *storage.Image) (lowers, error) {
	s.lowers.mu.Lock()
	l, ok := s.lowers.byID[img.ID]
	s.lowers.mu.Unlock()
	if ok {
		return l, nil
	}
	l, err := s.findLowers(img)
	if err != nil {
		return lowers{}, fmt.Errorf("finding the layers of image %s: %w", shortID(img.ID), err)
	}
	s.lowers.mu.Lock()
	defer s.lowers.mu.Unlock()
	if s.lowers.byID == nil {
		s.lowers.byID = map[string]lowers{}
	}
	s.lowers.byID[img.ID] = l
	return l, nil
}

func (s *Store) findLowers(img *storage.Image) (lowers, error) {
	var l lowers
	var err error
	if l.dirs, err = s.layerDirs(img.TopLayer); err != nil {
		return l, err
	}
	for _, dir := range l.dirs {
		l.mount = append(l.mount, s.mountPath(dir))
	}
	info, err := os.Stat(l.dirs[0])
	if err != nil {
		return l, err
	}
	l.mode = info.Mode() & (os.ModePerm | os.ModeSticky | os.ModeSetgid | os.ModeSetuid)
	if l.mode == storageRootMode {
		l.mode = 0o755
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		l.uid, l.gid = int(st.Uid), int(st.Gid)
	}
	return l, nil
}

// layerDirs gives the folders of a layer and those under it, topmost first. An
// image without layers stands on an empty folder.
func (s *Store) layerDirs(top string) ([]string, error) {
	if top == "" {
		empty := s.configDir()
		return []string{empty}, os.Chmod(empty, 0o755)
	}
	driver, err := s.store.GraphDriver()
	if err != nil {
		return nil, err
	}
	if s.driver == driverVFS {
		dir, err := driver.Get(top, graphdriver.MountOpts{})
		return []string{dir}, err
	}
	meta, err := driver.Metadata(top)
	if err != nil {
		return nil, err
	}
	dirs := []string{meta["UpperDir"]}
	if lower := meta["LowerDir"]; lower != "" {
		dirs = append(dirs, strings.Split(lower, ":")...)
	}
	return dirs, nil
}

// driverHome is the folder relative lower directories are relative to.
func (s *Store) driverHome() string { return filepath.Join(s.graphRoot, s.driver) }

// mountPath shortens a layer's folder: all lower directories of a mount must
// fit into one page. storage keeps l/SHORT beside LAYER/diff and notes SHORT
// in LAYER/link.
func (s *Store) mountPath(dir string) string {
	rel, err := filepath.Rel(s.driverHome(), dir)
	if err != nil || strings.HasPrefix(rel, "..") {
		return dir
	}
	short, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "link"))
	if err != nil {
		return rel
	}
	link := filepath.Join("l", string(short))
	if _, err := os.Stat(filepath.Join(s.driverHome(), link)); err != nil {
		return rel
	}
	return link
}
