package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// summary is moby's, with a port's address left out when there is none, as
// Docker writes it.
type summary struct {
	container.Summary
	Ports []portSummary
}

type portSummary struct {
	IP          string `json:",omitempty"`
	PrivatePort uint16
	PublicPort  uint16 `json:",omitempty"`
	Type        string
}

func (s *Server) containerList(w *responseWriter, r *request) error {
	q, err := s.listQuery(r)
	if err != nil {
		return err
	}
	l := s.lister(r.Context(), r.version)
	out := []*summary{}
	for _, c := range q.selectFrom(l.snap) {
		sum := l.summarise(c)
		if q.size {
			// A container removed meanwhile has no size.
			sum.SizeRw, sum.SizeRootFs, err = s.engine.ContainerSize(r.Context(), c.ID)
			if err != nil && !errs.Is(err, errs.NotFound) {
				return err
			}
		}
		out = append(out, sum)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// imageNames gives the name to show for a container's image: the one it was
// made with while it still stands for the same image, else the ID. It asks the
// image store once per name.
func (s *Server) imageNames(ctx context.Context) func(*model.Container) string {
	ids := map[string]string{}
	return func(c *model.Container) string {
		id, seen := ids[c.Image]
		if !seen {
			img, err := s.images.Lookup(ctx, c.Image)
			switch {
			case err == nil:
				id = img.ID
			case errs.Is(err, errs.NotFound):
				id = "gone"
			}
			ids[c.Image] = id
		}
		if id != "" && id != c.ImageID {
			return c.ImageID
		}
		return c.Image
	}
}

// lister is what a list looks up once for all its containers.
type lister struct {
	snap      *model.Snapshot
	version   apiVersion
	now       time.Time
	imageName func(*model.Container) string
	linked    map[string][]string // container ID to its names by links
}

func (s *Server) lister(ctx context.Context, v apiVersion) *lister {
	snap := s.engine.Snapshot()
	return &lister{snap: snap, version: v, now: s.now(), imageName: s.imageNames(ctx), linked: linkNames(snap)}
}

func (l *lister) summarise(c *model.Container) *summary {
	out := &summary{
		Summary: container.Summary{
			ID: c.ID, Names: append([]string{"/" + l.snap.Shown(c.Name, c.Tenant)}, l.linked[c.ID]...), Image: l.imageName(c), ImageID: c.ImageID,
			Command: commandLine(c), Created: c.Created.Unix(),
			Labels: c.Config.Labels, State: container.ContainerState(c.State.Status), Status: statusText(&c.State, l.now),
			NetworkSettings: &container.NetworkSettingsSummary{Networks: endpointSettings(c, l.snap, l.version)},
			Mounts:          mountPoints(c, l.snap),
		},
		Ports: portSummaries(c),
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	out.HostConfig.NetworkMode = string(c.Host.NetworkMode)
	if !l.version.before(46) {
		out.HostConfig.Annotations = c.Host.Annotations
	}
	return out
}

// linkNames are the names containers have by others' links on the default
// network: /web/db.
func linkNames(snap *model.Snapshot) map[string][]string {
	out := map[string][]string{}
	for _, l := range snap.Links {
		n, user := snap.Networks[l.NetworkID], snap.Containers[l.ContainerID]
		if n != nil && n.Default() && user != nil && l.TargetID != "" {
			out[l.TargetID] = append(out[l.TargetID], "/"+snap.Shown(user.Name, user.Tenant)+"/"+l.Alias)
		}
	}
	for _, names := range out {
		slices.Sort(names)
	}
	return out
}

// commandLine is the program and its arguments as ps shows them.
func commandLine(c *model.Container) string {
	var b strings.Builder
	b.WriteString(c.Path)
	for _, a := range c.Args {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		b.WriteByte(' ')
		b.WriteString(a)
	}
	return b.String()
}

// statusText is a state in Docker's words.
func statusText(st *model.State, now time.Time) string {
	since := func(t time.Time) string { return units.HumanDuration(now.Sub(t)) }
	switch st.Status {
	case model.StatusRunning:
		return "Up " + since(st.StartedAt)
	case model.StatusPaused:
		return "Up " + since(st.StartedAt) + " (Paused)"
	case model.StatusRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", st.ExitCode, since(st.FinishedAt))
	case model.StatusRemoving:
		return "Removal In Progress"
	case model.StatusDead:
		return "Dead"
	case model.StatusExited:
		if st.FinishedAt.IsZero() {
			return ""
		}
		return fmt.Sprintf("Exited (%d) %s ago", st.ExitCode, since(st.FinishedAt))
	default:
		return "Created"
	}
}

// portSummaries is the ports of a running container, in order.
func portSummaries(c *model.Container) []portSummary {
	out := []portSummary{}
	if !c.Active || !hasOwnPorts(c.Host.NetworkMode) {
		return out
	}
	published := map[model.Port]bool{}
	for _, m := range c.Ports {
		published[m.Port] = true
		out = append(out, portSummary{IP: addrString(m.HostIP), PrivatePort: m.Port.Number, PublicPort: m.HostPort, Type: m.Port.Proto})
	}
	for _, p := range c.Config.ExposedPorts {
		if !published[p] {
			out = append(out, portSummary{PrivatePort: p.Number, Type: p.Proto})
		}
	}
	return out
}
