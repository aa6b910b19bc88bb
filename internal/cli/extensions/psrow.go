package extensions

import (
	"github.com/docker/cli/cli/command/formatter"
)

// psRow is one container for templates: docker/cli's columns and ours.
type psRow struct {
	formatter.HeaderContext
	columns struct {
		ID, Names, Image, Command, CreatedAt, RunningFor, Ports, State, Status, Size string
		Labels, Mounts, LocalVolumes, Networks, HealthStatus                         string
		Platform                                                                     any
	}
	labels   map[string]string
	publicIP string
}

// MarshalJSON gives every column, for --format json.
func (r *psRow) MarshalJSON() ([]byte, error) { return formatter.MarshalJSON(r) }

// ID is the container's, cut unless --no-trunc is given.
func (r *psRow) ID() string { return r.columns.ID }

// Names are the container's, separated by commas.
func (r *psRow) Names() string { return r.columns.Names }

// Image is the image's name.
func (r *psRow) Image() string { return r.columns.Image }

// Command is the command line, quoted.
func (r *psRow) Command() string { return r.columns.Command }

// CreatedAt is the time of creation.
func (r *psRow) CreatedAt() string { return r.columns.CreatedAt }

// RunningFor is how long ago that was.
func (r *psRow) RunningFor() string { return r.columns.RunningFor }

// Ports are the published and exposed ports.
func (r *psRow) Ports() string { return r.columns.Ports }

// State is one word: running, exited, …
func (r *psRow) State() string { return r.columns.State }

// Status is the state in a sentence.
func (r *psRow) Status() string { return r.columns.Status }

// Size is that of the container's files.
func (r *psRow) Size() string { return r.columns.Size }

// Labels are all labels.
func (r *psRow) Labels() string { return r.columns.Labels }

// Label is one label's value.
func (r *psRow) Label(name string) string { return r.labels[name] }

// Mounts are the names of volumes and the sources of other mounts.
func (r *psRow) Mounts() string { return r.columns.Mounts }

// LocalVolumes counts the volumes.
func (r *psRow) LocalVolumes() string { return r.columns.LocalVolumes }

// Networks are the names of the container's networks.
func (r *psRow) Networks() string { return r.columns.Networks }

// Platform is what docker/cli shows of the image's platform.
func (r *psRow) Platform() any { return r.columns.Platform }

// HealthStatus is the health check's result.
func (r *psRow) HealthStatus() string { return r.columns.HealthStatus }

// PublicIP is the container's floating IP, or empty.
func (r *psRow) PublicIP() string { return r.publicIP }
