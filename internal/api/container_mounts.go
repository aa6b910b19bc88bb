package api

import (
	"os"

	"github.com/moby/moby/api/types/mount"

	"github.com/jackstay/jackstay/internal/model"
)

// adaptMount drops options an older client sends without meaning them.
func adaptMount(m *mount.Mount, v apiVersion) {
	if v.before(40) && m.BindOptions != nil {
		m.BindOptions.NonRecursive = false
	}
	if !v.before(42) {
		return
	}
	if m.BindOptions != nil {
		m.BindOptions.CreateMountpoint = false
	}
	if m.Type != mount.TypeVolume {
		m.VolumeOptions = nil
	}
	if m.Type != mount.TypeTmpfs {
		m.TmpfsOptions = nil
	}
}

// checkMounts refuses mounts (--mount) of kinds and with options that are not there.
func checkMounts(mounts []mount.Mount, v apiVersion) error {
	for i := range mounts {
		if err := checkMount(&mounts[i], v); err != nil {
			return err
		}
	}
	return nil
}

func checkMount(m *mount.Mount, v apiVersion) error {
	switch m.Type {
	case mount.TypeBind, mount.TypeVolume, mount.TypeTmpfs:
	case "":
		return invalid("invalid mount config for target %q: the mount's type is missing", m.Target)
	case mount.TypeImage:
		return unsupported("--mount type=image is not supported: use a volume")
	default:
		return unsupported("--mount type=%s is not supported: use bind, volume or tmpfs", m.Type)
	}
	switch {
	case m.VolumeOptions != nil && m.Type != mount.TypeVolume:
		return invalid("VolumeOptions must not be specified on mount type %q", m.Type)
	case m.BindOptions != nil && m.Type != mount.TypeBind:
		return invalid("BindOptions must not be specified on mount type %q", m.Type)
	case m.TmpfsOptions != nil && m.Type != mount.TypeTmpfs:
		return invalid("TmpfsOptions must not be specified on mount type %q", m.Type)
	case m.ImageOptions != nil || m.ClusterOptions != nil:
		return unsupported("--mount %s: ImageOptions and ClusterOptions are not supported", m.Target)
	case m.Target == "":
		return invalid("invalid mount config for type %q: field Target must not be empty", m.Type)
	case m.Type == mount.TypeTmpfs && m.Source != "":
		return invalid("invalid mount config for type \"tmpfs\": field Source must not be specified")
	case m.Type == mount.TypeBind && m.Source == "":
		return invalid("invalid mount config for type \"bind\": field Source must not be empty")
	}
	switch m.Consistency {
	case "", mount.ConsistencyDefault, mount.ConsistencyFull, mount.ConsistencyCached, mount.ConsistencyDelegated:
	default:
		return invalid("invalid mount config for type %q: consistency %q", m.Type, m.Consistency)
	}
	return checkMountOptions(m)
}

func checkMountOptions(m *mount.Mount) error {
	if o := m.BindOptions; o != nil {
		switch {
		case o.NonRecursive:
			return unsupported("--mount bind-recursive=disabled (%s) is not supported yet: leave it out", m.Target)
		case o.ReadOnlyForceRecursive:
			return unsupported("--mount bind-recursive=readonly (%s) is not supported yet: leave it out", m.Target)
		}
	}
	if o := m.VolumeOptions; o != nil {
		switch d := o.DriverConfig; {
		case o.Subpath != "":
			return unsupported("--mount volume-subpath (%s) is not supported yet: leave it out", m.Target)
		case d != nil && d.Name != "" && d.Name != "local":
			return unsupported("volume driver %q (--mount volume-driver) is not supported: use local", d.Name)
		case d != nil && len(d.Options) > 0:
			return unsupported("--mount volume-opt (%s) is not supported yet: create the volume first with its options", m.Target)
		}
	}
	if o := m.TmpfsOptions; o != nil {
		switch {
		case len(o.Options) > 0:
			return unsupported("options of a tmpfs mount (%s) other than its size and mode are not supported: use --tmpfs", m.Target)
		case o.SizeBytes < 0:
			return invalid("invalid mount config for type \"tmpfs\": size must not be negative")
		}
	}
	return nil
}

func mountsOf(mounts []mount.Mount) []model.Mount {
	var out []model.Mount
	for i := range mounts {
		out = append(out, mountOf(&mounts[i]))
	}
	return out
}

func mountOf(m *mount.Mount) model.Mount {
	out := model.Mount{Type: string(m.Type), Destination: m.Target, RW: !m.ReadOnly}
	if m.Type == mount.TypeVolume {
		out.Name, out.Driver = m.Source, "local"
	} else {
		out.Source = m.Source
	}
	if o := m.BindOptions; o != nil {
		out.Propagation, out.CreateSource = string(o.Propagation), o.CreateMountpoint
	}
	if o := m.VolumeOptions; o != nil {
		out.NoCopy, out.Labels = o.NoCopy, o.Labels
	}
	if o := m.TmpfsOptions; o != nil {
		out.TmpfsSize, out.TmpfsMode = o.SizeBytes, uint32(o.Mode)
	}
	return out
}

// dockerMount is mountOf's way back, for inspect.
func dockerMount(m *model.Mount) mount.Mount {
	out := mount.Mount{Type: mount.Type(m.Type), Source: m.Source, Target: m.Destination, ReadOnly: !m.RW}
	switch out.Type {
	case mount.TypeVolume:
		out.Source = m.Name
		if m.NoCopy || len(m.Labels) > 0 {
			out.VolumeOptions = &mount.VolumeOptions{NoCopy: m.NoCopy, Labels: m.Labels}
		}
	case mount.TypeBind:
		if m.Propagation != "" || m.CreateSource {
			out.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(m.Propagation), CreateMountpoint: m.CreateSource}
		}
	case mount.TypeTmpfs:
		if m.TmpfsSize != 0 || m.TmpfsMode != 0 {
			out.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: m.TmpfsSize, Mode: os.FileMode(m.TmpfsMode)}
		}
	}
	return out
}
