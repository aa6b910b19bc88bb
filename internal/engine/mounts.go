package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// resolvedMount is a mount with what create still has to do for it.
type resolvedMount struct {
	model.Mount
	volume *model.Volume // of a volume mount: its record, stored or to be
	dir    string        // where that volume's content is
	fill   bool          // the image's content goes into it if it is empty
}

// resolveMounts gives a new container's mounts: volumes-from first, then -v,
// then --mount, each hiding those before it at its destination, then an
// anonymous volume for every destination the image or the user wants one at.
func (e *Engine) resolveMounts(s *model.Snapshot, c *model.Config, h *model.HostConfig) ([]resolvedMount, error) {
	byDest := map[string]resolvedMount{}
	if err := fromContainers(s, h.VolumesFrom, byDest); err != nil {
		return nil, err
	}
	given := map[string]bool{}
	for dest := range h.Tmpfs {
		given[path.Clean(dest)] = true
	}
	add := func(m model.Mount) error {
		if given[m.Destination] {
			return errs.New(errs.Invalid, "Duplicate mount point: %s", m.Destination)
		}
		given[m.Destination] = true
		byDest[m.Destination] = e.resolveMount(s, m)
		return nil
	}
	for _, raw := range h.Binds {
		m, err := parseBind(raw)
		if err != nil {
			return nil, err
		}
		if err := add(m); err != nil {
			return nil, err
		}
	}
	for _, spec := range h.MountSpecs {
		m, err := checkMountSpec(spec)
		if err != nil {
			return nil, err
		}
		if err := add(m); err != nil {
			return nil, err
		}
	}
	for _, dest := range c.Volumes {
		m := model.Mount{Type: "volume", Destination: dest, RW: true}
		if err := checkTarget(&m); err != nil {
			return nil, err
		}
		if _, taken := byDest[m.Destination]; !taken && !given[m.Destination] {
			byDest[m.Destination] = e.resolveMount(s, m)
		}
	}
	return shareVolumes(byDest), nil
}

// shareVolumes sorts the mounts so that none hides another, and gives those of
// one new volume the same record.
func shareVolumes(byDest map[string]resolvedMount) []resolvedMount {
	out := slices.Collect(maps.Values(byDest))
	slices.SortFunc(out, func(a, b resolvedMount) int {
		depth := func(m resolvedMount) int { return strings.Count(m.Destination, "/") }
		return cmp.Or(cmp.Compare(depth(a), depth(b)), cmp.Compare(a.Destination, b.Destination))
	})
	records := map[string]*model.Volume{}
	for i, m := range out {
		if m.volume == nil {
			continue
		}
		if v := records[m.volume.Name]; v != nil {
			out[i].volume = v
		}
		records[m.volume.Name] = out[i].volume
	}
	return out
}

// fromContainers takes over the mounts of the containers named by --volumes-from.
func fromContainers(s *model.Snapshot, refs []string, byDest map[string]resolvedMount) error {
	for _, raw := range refs {
		ref, mode, _ := strings.Cut(raw, ":")
		if ref == "" {
			return errs.New(errs.Invalid, "volumes-from specification cannot be an empty string")
		}
		if mode != "" && (!validMode(mode) || strings.Contains(mode, "copy")) {
			return errs.New(errs.Invalid, "invalid mode: %s", mode)
		}
		c, err := findContainer(s, ref)
		if err != nil {
			return errs.Wrap(errs.Invalid, err)
		}
		if c.Tenant != s.Tenant {
			return errs.New(errs.Invalid, "the volumes of container %s belong to tenant %s", c.FullName(), c.Tenant)
		}
		for _, m := range c.Mounts {
			m.RW = m.RW && !slices.Contains(strings.Split(mode, ","), "ro")
			r := resolvedMount{Mount: m}
			if m.Type == "volume" {
				if r.volume = s.VolumeOf(c, m.Name); r.volume == nil {
					return errs.New(errs.Invalid, "volumes-from %s: get %s: no such volume", ref, m.Name)
				}
				r.dir = volumeSource(r.volume)
			}
			byDest[m.Destination] = r
		}
	}
	return nil
}

// resolveMount ties a volume mount to its volume, new or stored.
func (e *Engine) resolveMount(s *model.Snapshot, m model.Mount) resolvedMount {
	if m.Type != "volume" {
		return resolvedMount{Mount: m}
	}
	v := findVolume(s, m.Name)
	if v == nil {
		v = e.newVolume(m.Name, m.Labels, nil)
	}
	m.Name, m.Source, m.Driver = v.Name, v.Mountpoint, "local"
	if m.Mode == "" && !m.CreateSource { // --mount and anonymous ones, as Docker shows them
		m.Mode = "z"
	}
	return resolvedMount{Mount: m, volume: v, dir: volumeSource(v), fill: !m.NoCopy}
}

// runMounts gives what the runtime mounts for the user: volumes, binds and
// tmpfs, outer before inner. A missing source is made for -v and refused for --mount.
func (e *Engine) runMounts(s *model.Snapshot, c *model.Container) ([]RunMount, error) {
	var out []RunMount
	for _, m := range c.Mounts {
		r, err := e.runMount(s, c, m)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	for dest, raw := range c.Host.Tmpfs {
		opts, err := tmpfsOptions(dest, raw)
		if err != nil {
			return nil, err
		}
		out = append(out, RunMount{Type: "tmpfs", Source: "tmpfs", Destination: path.Clean(dest), Options: opts})
	}
	slices.SortStableFunc(out, func(a, b RunMount) int {
		return cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/"))
	})
	return out, nil
}

func (e *Engine) runMount(s *model.Snapshot, c *model.Container, m model.Mount) (RunMount, error) {
	access := "rw"
	if !m.RW {
		access = "ro"
	}
	switch m.Type {
	case "tmpfs":
		opts := []string{"noexec", "nosuid", "nodev", access}
		if m.TmpfsSize > 0 {
			opts = append(opts, fmt.Sprintf("size=%d", m.TmpfsSize))
		}
		if m.TmpfsMode != 0 {
			opts = append(opts, fmt.Sprintf("mode=%o", m.TmpfsMode))
		}
		return RunMount{Type: "tmpfs", Source: "tmpfs", Destination: m.Destination, Options: opts}, nil
	case "volume":
		v := s.VolumeOf(c, m.Name)
		if v == nil {
			return RunMount{}, errs.New(errs.NotFound, "get %s: no such volume", m.Name)
		}
		src := volumeSource(v)
		if src == v.Mountpoint {
			if err := os.MkdirAll(src, 0o755); err != nil {
				return RunMount{}, fmt.Errorf("mount volume %s: %w", m.Name, err)
			}
		} else if _, err := os.Stat(src); err != nil {
			return RunMount{}, errs.New(errs.Invalid, "error while mounting volume '%s': device %s: %w", m.Name, src, err)
		}
		return RunMount{Type: "bind", Source: src, Destination: m.Destination, Options: []string{"rbind", access, "rprivate"}}, nil
	}
	if err := ensureSource(m); err != nil {
		return RunMount{}, err
	}
	prop := cmp.Or(m.Propagation, "rprivate")
	return RunMount{Type: "bind", Source: m.Source, Destination: m.Destination, Options: []string{"rbind", access, prop}}, nil
}

func ensureSource(m model.Mount) error {
	_, err := os.Stat(m.Source)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return errs.New(errs.Invalid, "error while checking mount source path '%s': %w", m.Source, err)
	case !m.CreateSource:
		return errs.New(errs.Invalid, "invalid mount config for type %q: bind source path does not exist: %s", m.Type, m.Source)
	}
	if err := os.MkdirAll(m.Source, 0o755); err != nil {
		return errs.New(errs.Invalid, "error while creating mount source path '%s': %w", m.Source, err)
	}
	return nil
}
