package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// newMark is in a volume's directory until its record is stored: a directory
// that has it and no record is the leftover of a crash.
const newMark = ".new"

func (e *Engine) volumesDir() string { return filepath.Join(e.opt.Root, "volumes") }

// volumeDir is the directory of the volume with this key.
func (e *Engine) volumeDir(key string) string { return filepath.Join(e.volumesDir(), key) }

// findVolume resolves the name of a volume; nil: there is none.
func findVolume(s *model.Snapshot, ref string) *model.Volume {
	return s.Volumes[model.Qualify(ref, s.Tenant)]
}

func checkVolumeName(name string) error {
	if len(name) == 1 {
		return errs.New(errs.Invalid, "create %s: volume name is too short, names should be at least two alphanumeric characters", name)
	}
	if !validName(name) {
		return errs.New(errs.Invalid, "create %s: %q includes invalid characters for a local volume name, only %q are allowed. "+
			"If you intended to pass a host directory, use absolute path", name, name, nameChars)
	}
	return nil
}

func errNoVolumeDriver(driver string) error {
	return errs.New(errs.NotFound, "error looking up volume plugin %s: plugin %q not found: only the driver local exists", driver, driver)
}

// checkVolumeOptions takes what the local driver does: nothing, or a bind of a
// host directory (type=none, o=bind, device=PATH).
func checkVolumeOptions(name string, o map[string]string) error {
	for k := range o {
		if k != "type" && k != "o" && k != "device" {
			return errs.New(errs.Invalid, "create %s: invalid option: %q", name, k)
		}
	}
	if len(o) == 0 {
		return nil
	}
	opts := strings.Split(o["o"], ",")
	if (o["type"] != "none" && o["type"] != "") || !(slices.Contains(opts, "bind") || slices.Contains(opts, "rbind")) {
		return errs.New(errs.NotImplemented, "create %s: volume options type=%s,o=%s are not supported yet: "+
			"of the local driver's, only type=none,o=bind,device=/PATH is", name, o["type"], o["o"])
	}
	for _, opt := range opts {
		if opt != "bind" && opt != "rbind" && opt != "rw" {
			return errs.New(errs.NotImplemented, "create %s: volume option o=%s is not supported yet", name, opt)
		}
	}
	if !filepath.IsAbs(o["device"]) {
		return errs.New(errs.Invalid, "create %s: volume option device=%s must be an absolute path", name, o["device"])
	}
	return nil
}

// volumeSource is the host directory a volume's content is in.
func volumeSource(v *model.Volume) string {
	if d := v.Options["device"]; d != "" {
		return d
	}
	return v.Mountpoint
}

func (e *Engine) newVolume(name string, labels, options map[string]string) *model.Volume {
	v := &model.Volume{
		Name: name, Tenant: e.tenant, Created: e.clock.Now(), Labels: maps.Clone(labels), Options: maps.Clone(options),
		Anonymous: name == "",
	}
	if v.Anonymous {
		v.Name = alloc.ID()
	}
	v.Mountpoint = filepath.Join(e.volumeDir(v.Key()), "_data")
	return v
}

// makeVolumeDir makes the directories of a volume whose record is still to be
// stored; made says that they are new.
func (e *Engine) makeVolumeDir(v *model.Volume) (made bool, err error) {
	dir := e.volumeDir(v.Key())
	if err := os.MkdirAll(e.volumesDir(), 0o711); err != nil {
		return false, fmt.Errorf("create volume %s: %w", v.Name, err)
	}
	err = os.Mkdir(dir, 0o711)
	if err == nil {
		made = true
		err = os.WriteFile(filepath.Join(dir, newMark), nil, 0o600)
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err == nil {
		err = os.MkdirAll(v.Mountpoint, 0o755)
	}
	if err != nil {
		if made {
			e.dropVolumeDir(v.Key())
		}
		return false, fmt.Errorf("create volume %s: %w", v.Name, err)
	}
	return made, nil
}

// keepVolumeDir says that the volume's record is stored.
func (e *Engine) keepVolumeDir(key string) {
	if err := os.Remove(filepath.Join(e.volumeDir(key), newMark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.log.Warn("a new volume's mark can't be removed", "volume", key, "error", err)
	}
}

func (e *Engine) dropVolumeDir(key string) {
	if err := os.RemoveAll(e.volumeDir(key)); err != nil {
		e.log.Error("a volume's directory can't be removed", "volume", key, "error", err)
	}
}

// CreateVolume makes a volume; one of that name that exists is given as it is.
func (e *Engine) CreateVolume(ctx context.Context, req model.VolumeRequest) (*model.Volume, error) {
	if req.Driver != "" && req.Driver != "local" && req.Driver != "default" {
		return nil, errNoVolumeDriver(req.Driver)
	}
	if req.Name != "" {
		if err := checkVolumeName(req.Name); err != nil {
			return nil, err
		}
	}
	if err := checkVolumeOptions(req.Name, req.Options); err != nil {
		return nil, err
	}
	if err := e.permitVolume(req); err != nil {
		return nil, err
	}
	v := e.newVolume(req.Name, req.Labels, req.Options)
	defer e.volumeLocks.Lock(v.Key())()
	if old := e.store.Snapshot().Volumes[v.Key()]; old != nil {
		return old, nil
	}
	made, err := e.makeVolumeDir(v)
	if err != nil {
		return nil, err
	}
	if _, err := e.store.Update(func(tx *store.Tx) error { return tx.PutVolume(v) }); err != nil {
		if made {
			e.dropVolumeDir(v.Key())
		}
		return nil, fmt.Errorf("create volume %s: %w", v.Name, err)
	}
	e.keepVolumeDir(v.Key())
	e.volumeEvent(v, "create")
	return v, nil
}

// volumeUsers lists the IDs of the containers that mount the volume.
func volumeUsers(s *model.Snapshot, v *model.Volume) []string {
	var ids []string
	for id, c := range s.Containers {
		if c.Tenant == v.Tenant && slices.ContainsFunc(c.Mounts, func(m model.Mount) bool { return m.Type == "volume" && m.Name == v.Name }) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// RemoveVolume deletes a volume nobody uses; force takes an absent one as success.
func (e *Engine) RemoveVolume(ctx context.Context, name string, force bool) error {
	defer e.volumeLocks.Lock(model.Qualify(name, e.tenant))()
	_, err := e.removeVolume(name, force)
	return err
}

// removeVolume deletes the volume; its lock is held. The record goes after the
// files: a crash between leaves an empty volume, not files without a record.
func (e *Engine) removeVolume(name string, force bool) (removed bool, err error) {
	s := e.store.Snapshot()
	v := findVolume(s, name)
	if v == nil {
		if force {
			return false, nil
		}
		return false, errs.New(errs.NotFound, "get %s: no such volume", name)
	}
	if users := volumeUsers(s, v); len(users) > 0 {
		return false, errs.New(errs.Conflict, "remove %s: volume is in use - [%s]", name, strings.Join(users, ", "))
	}
	if err := os.RemoveAll(e.volumeDir(v.Key())); err != nil {
		return false, fmt.Errorf("remove %s: %w", name, err)
	}
	_, err = e.insist(func(tx *store.Tx) error { // its files are gone
		if users := volumeUsers(tx.Snapshot(), v); len(users) > 0 {
			return errs.New(errs.Conflict, "remove %s: volume is in use - [%s]", name, strings.Join(users, ", "))
		}
		tx.DeleteVolume(v.Key())
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("remove %s: %w", name, err)
	}
	e.volumeEvent(v, "destroy")
	return true, nil
}

// PruneVolumes removes unused anonymous volumes, with all the named ones too,
// except those keep wants.
func (e *Engine) PruneVolumes(ctx context.Context, all bool, keep func(*model.Volume) bool) (names []string, reclaimed int64, err error) {
	s := e.store.Snapshot()
	for _, key := range slices.Sorted(maps.Keys(s.Volumes)) {
		if err := ctx.Err(); err != nil {
			return names, reclaimed, err
		}
		v := s.Volumes[key]
		if v.Tenant != e.tenant || (!all && !v.Anonymous) || (keep != nil && keep(v)) || len(volumeUsers(s, v)) > 0 {
			continue
		}
		size, removed := e.pruneVolume(v)
		if removed {
			names = append(names, v.Name)
			reclaimed += size
		}
	}
	return names, reclaimed, nil
}

func (e *Engine) pruneVolume(v *model.Volume) (size int64, removed bool) {
	defer e.volumeLocks.Lock(v.Key())()
	size, _ = diskUsage(e.volumeDir(v.Key()))
	removed, err := e.removeVolume(v.Name, true)
	if err != nil && !errs.Is(err, errs.Conflict) {
		e.log.Error("a volume can't be pruned", "volume", v.Key(), "error", err)
	}
	return size, removed && err == nil
}

// VolumeSize gives the bytes a volume takes on disk.
func (e *Engine) VolumeSize(ctx context.Context, name string) (int64, error) {
	v := findVolume(e.store.Snapshot(), name)
	if v == nil {
		return 0, errs.New(errs.NotFound, "get %s: no such volume", name)
	}
	return diskUsage(volumeSource(v))
}

// diskUsage sums file sizes below dir, hard links once.
func diskUsage(dir string) (int64, error) {
	var total int64
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		info, err := d.Info()
		if err != nil || d.IsDir() {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
			k := inode{uint64(st.Dev), st.Ino}
			if seen[k] {
				return nil
			}
			seen[k] = true
		}
		total += info.Size()
		return nil
	})
	return total, err
}
