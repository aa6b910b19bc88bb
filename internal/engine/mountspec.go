package engine

import (
	"cmp"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// parseBind reads one -v: [SOURCE:]DESTINATION[:OPTIONS]. A source with a slash
// in front is a host path, any other a volume's name.
func parseBind(raw string) (model.Mount, error) {
	bad := func() (model.Mount, error) {
		return model.Mount{}, errs.New(errs.Invalid, "invalid volume specification: '%s'", raw)
	}
	m := model.Mount{RW: true, CreateSource: true}
	switch parts := strings.Split(raw, ":"); {
	case parts[0] == "" || len(parts) > 3:
		return bad()
	case len(parts) == 1:
		m.Destination = parts[0]
	case len(parts) == 2:
		if validMode(parts[1]) {
			return bad()
		}
		m.Source, m.Destination = parts[0], parts[1]
	default:
		m.Source, m.Destination, m.Mode = parts[0], parts[1], parts[2]
	}
	if !validMode(m.Mode) {
		return model.Mount{}, errs.New(errs.Invalid, "invalid mode: %s", m.Mode)
	}
	m.Type = "volume"
	if path.IsAbs(m.Source) {
		m.Type = "bind"
		m.Propagation = "rprivate"
	} else {
		m.Name, m.Source = m.Source, ""
	}
	for o := range strings.SplitSeq(m.Mode, ",") {
		switch {
		case o == "ro":
			m.RW = false
		case o == "nocopy":
			m.NoCopy = true
		case propagations(o) && m.Type == "volume":
			return model.Mount{}, errs.New(errs.Invalid, "invalid volume specification: '%s': invalid mode: %s", raw, m.Mode)
		case propagations(o):
			m.Propagation = o
		}
	}
	if err := checkTarget(&m); err != nil {
		return model.Mount{}, errs.New(errs.Invalid, "invalid volume specification: '%s': %w", raw, err)
	}
	return m, nil
}

func propagations(o string) bool {
	switch o {
	case "private", "rprivate", "slave", "rslave", "shared", "rshared":
		return true
	}
	return false
}

// validMode tells whether every option of a -v is known, each kind once.
func validMode(mode string) bool {
	if mode == "" {
		return true
	}
	seen := map[string]bool{}
	for o := range strings.SplitSeq(mode, ",") {
		var kind string
		switch {
		case o == "ro" || o == "rw":
			kind = "access"
		case o == "z" || o == "Z":
			kind = "label"
		case o == "nocopy" || o == "copy":
			kind = "copy"
		case o == "consistent" || o == "cached" || o == "delegated":
			kind = "consistency"
		case propagations(o):
			kind = "propagation"
		}
		if kind == "" || seen[kind] {
			return false
		}
		seen[kind] = true
	}
	return true
}

// checkTarget refuses a destination that is no absolute path below the root,
// and cleans both paths.
func checkTarget(m *model.Mount) error {
	switch {
	case m.Destination == "":
		return errs.New(errs.Invalid, "invalid mount config for type %q: field Target must not be empty", m.Type)
	case path.Clean(m.Destination) == "/":
		return errs.New(errs.Invalid, "invalid mount config for type %q: invalid specification: destination can't be '/'", m.Type)
	case !path.IsAbs(m.Destination):
		return errs.New(errs.Invalid, "invalid mount config for type %q: invalid mount path: '%s' mount path must be absolute", m.Type, m.Destination)
	}
	m.Destination = path.Clean(m.Destination)
	if m.Type == "bind" {
		m.Source = path.Clean(m.Source)
	}
	if m.Type == "volume" && m.Name != "" {
		return checkVolumeName(m.Name)
	}
	return nil
}

// checkMountSpec reads one --mount.
func checkMountSpec(in model.Mount) (model.Mount, error) {
	m := in
	refuse := func(words string) (model.Mount, error) {
		return model.Mount{}, errs.New(errs.Invalid, "invalid mount config for type %q: %s", in.Type, words)
	}
	if m.Type != "bind" && m.Type != "volume" && m.Type != "tmpfs" {
		return refuse("mount type unknown")
	}
	if err := checkTarget(&m); err != nil {
		return model.Mount{}, err
	}
	switch m.Type {
	case "bind":
		switch {
		case in.Source == "":
			return refuse("field Source must not be empty")
		case !path.IsAbs(in.Source):
			return refuse("invalid mount path: '" + in.Source + "' mount path must be absolute")
		case m.Propagation != "" && !propagations(m.Propagation):
			return refuse("invalid propagation mode: " + m.Propagation)
		}
		m.Propagation = cmp.Or(m.Propagation, "rprivate")
		if _, err := os.Stat(m.Source); err != nil && !m.CreateSource {
			return refuse("bind source path does not exist: " + m.Source)
		}
	case "volume":
		if m.Name == "" {
			m.Name = m.Source
		}
		m.Source = ""
		if err := checkTarget(&m); err != nil {
			return model.Mount{}, err
		}
		if m.Name == "" && !m.RW {
			return refuse("must not set ReadOnly mode when using anonymous volumes")
		}
		if m.Driver != "" && m.Driver != "local" {
			return model.Mount{}, errNoVolumeDriver(m.Driver)
		}
	case "tmpfs":
		if in.Source != "" {
			return refuse("field Source must not be specified")
		}
	}
	return m, nil
}

// tmpfsOptions gives the mount options of one --tmpfs PATH:OPTIONS: Docker's
// defaults with the user's on top.
func tmpfsOptions(dest, raw string) ([]string, error) {
	if !path.IsAbs(dest) {
		return nil, errs.New(errs.Invalid, "invalid mount path: '%s' mount path must be absolute", dest)
	}
	if path.Clean(dest) == "/" {
		return nil, errs.New(errs.Invalid, "invalid specification: destination can't be '/'")
	}
	opts := []string{"noexec", "nosuid", "nodev"}
	for o := range strings.SplitSeq(raw, ",") {
		if o == "" {
			continue
		}
		key, _, valued := strings.Cut(o, "=")
		if !knownTmpfsOption(key, valued) {
			return nil, errs.New(errs.Invalid, "invalid tmpfs option [%q]", o)
		}
		opts = slices.DeleteFunc(opts, func(have string) bool {
			k, _, _ := strings.Cut(have, "=")
			return k == key || k == opposite(key)
		})
		opts = append(opts, o)
	}
	return opts, nil
}

// knownTmpfsOption tells whether tmpfs(5) or mount(8) knows the option.
func knownTmpfsOption(key string, valued bool) bool {
	switch key {
	case "size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge":
		return valued
	case "defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync",
		"atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime":
		return !valued
	}
	return !valued && propagations(key)
}

func opposite(o string) string {
	switch o {
	case "ro":
		return "rw"
	case "rw":
		return "ro"
	case "sync":
		return "async"
	case "async":
		return "sync"
	}
	if rest, ok := strings.CutPrefix(o, "no"); ok {
		return rest
	}
	return "no" + o
}
