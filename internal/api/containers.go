package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func (s *Server) containerStart(w *responseWriter, r *request) error {
	if r.param("checkpoint") != "" || r.param("checkpoint-dir") != "" {
		return errs.New(errs.NotImplemented, "starting from a checkpoint is not supported by Jackstay: start the container without --checkpoint")
	}
	if err := checkStartBody(r); err != nil {
		return err
	}
	return noContent(w, s.engine.StartContainer(r.Context(), r.name()))
}

// checkStartBody refuses a host configuration sent with start, as clients
// older than API 1.24 could. One that asks for nothing is accepted.
func checkStartBody(r *request) error {
	if r.Body == nil || r.ContentLength == 0 {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return invalid("read the request's body: %w", err)
	}
	var v any
	if data = bytes.TrimSpace(data); len(data) == 0 || (json.Unmarshal(data, &v) == nil && isZeroJSON(v)) {
		return nil
	}
	return invalid("starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
}

func (s *Server) containerStop(w *responseWriter, r *request) error {
	signal, timeout, err := stopOptions(r)
	if err != nil {
		return err
	}
	return noContent(w, s.engine.StopContainer(r.Context(), r.name(), signal, timeout))
}

func (s *Server) containerRestart(w *responseWriter, r *request) error {
	signal, timeout, err := stopOptions(r)
	if err != nil {
		return err
	}
	return noContent(w, s.engine.RestartContainer(r.Context(), r.name(), signal, timeout))
}

// stopOptions reads t, and signal, which older clients don't have.
func stopOptions(r *request) (signal string, timeout *int, err error) {
	if !r.version.before(42) {
		signal = r.param("signal")
	}
	timeout, err = r.integer("t")
	return signal, timeout, err
}

func (s *Server) containerKill(w *responseWriter, r *request) error {
	signal := r.param("signal")
	if signal == "" {
		signal = "SIGKILL"
	}
	if err := s.engine.KillContainer(r.Context(), r.name(), signal); err != nil {
		return fmt.Errorf("cannot kill container: %s: %w", r.name(), err)
	}
	return noContent(w, nil)
}

func (s *Server) containerPause(w *responseWriter, r *request) error {
	return noContent(w, s.engine.PauseContainer(r.Context(), r.name()))
}

func (s *Server) containerUnpause(w *responseWriter, r *request) error {
	return noContent(w, s.engine.UnpauseContainer(r.Context(), r.name()))
}

func (s *Server) containerRename(w *responseWriter, r *request) error {
	name := r.param("name")
	if r.name() == "" || name == "" {
		return invalid("Neither old nor new names may be empty")
	}
	return noContent(w, s.engine.RenameContainer(r.Context(), r.name(), name))
}

func (s *Server) containerResize(w *responseWriter, r *request) error {
	rows, cols, err := r.size()
	if err != nil {
		return err
	}
	if err := s.engine.ResizeContainer(r.Context(), r.name(), rows, cols); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) containerRemove(w *responseWriter, r *request) error {
	if r.flag("link") {
		return errs.New(errs.NotImplemented, "removing a link from a container is not supported by Jackstay: create the container again without it")
	}
	return noContent(w, s.engine.RemoveContainer(r.Context(), r.name(), model.RemoveOptions{Force: r.flag("force"), Volumes: r.flag("v")}))
}

// noContent answers 204 when there was no error.
func noContent(w *responseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (s *Server) containerTop(w *responseWriter, r *request) error {
	titles, rows, err := s.engine.ContainerTop(r.Context(), r.name(), r.param("ps_args"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, container.TopResponse{Titles: nonNil(titles), Processes: nonNil(rows)})
	return nil
}

// containerChanges answers null when nothing changed, as Docker does.
func (s *Server) containerChanges(w *responseWriter, r *request) error {
	changes, err := s.engine.ContainerChanges(r.Context(), r.name())
	if err != nil {
		return err
	}
	var out []container.FilesystemChange
	for _, c := range changes {
		out = append(out, container.FilesystemChange{Path: c.Path, Kind: container.ChangeType(c.Kind)})
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (s *Server) containerPrune(w *responseWriter, r *request) error {
	f, err := parseFilters(r.param("filters"), "until", "label", "label!")
	if err != nil {
		return err
	}
	until, err := f.until(s.now())
	if err != nil {
		return err
	}
	ids, size, err := s.engine.PruneContainers(r.Context(), func(c *model.Container) bool {
		return !f.labels(c.Config.Labels) || (!until.IsZero() && c.Created.After(until))
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, container.PruneReport{ContainersDeleted: nonNil(ids), SpaceReclaimed: uint64(max(size, 0))})
	return nil
}

// containerUpdate changes limits and the restart policy.
func (s *Server) containerUpdate(w *responseWriter, r *request) error {
	var body struct {
		container.UpdateConfig
		NetRateIn, NetRateOut string // Jackstay's own, as the flags take them
	}
	data, err := r.body()
	if err != nil {
		return err
	}
	if err := decodeJSON(data, &body); err != nil {
		return err
	}
	if err := refuseUnknown(data, "", body, nil); err != nil {
		return err
	}
	if err := checkResources(&body.Resources); err != nil {
		return err
	}
	if err := refuseAtUpdate(&body.Resources); err != nil {
		return err
	}
	u := model.UpdateRequest{Resources: resourcesOf(&body.Resources), RateIn: body.NetRateIn, RateOut: body.NetRateOut}
	if r.version.before(40) {
		u.Resources.PidsLimit = nil
	}
	if body.RestartPolicy.Name != "" {
		p, err := restartPolicyOf(body.RestartPolicy)
		if err != nil {
			return err
		}
		u.RestartPolicy = &p
	}
	warnings, err := s.engine.UpdateContainer(r.Context(), r.name(), u)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, container.UpdateResponse{Warnings: nonNil(warnings)})
	return nil
}

// refuseAtUpdate refuses what can be set at create only.
func refuseAtUpdate(rs *container.Resources) error {
	switch {
	case len(rs.Devices) > 0:
		return unsupported("devices of a container can't be changed: create it again with --device")
	case len(rs.Ulimits) > 0:
		return unsupported("ulimits of a container can't be changed: create it again with --ulimit")
	case rs.CgroupParent != "":
		return unsupported("the cgroup parent of a container can't be changed: create it again with --cgroup-parent")
	}
	return nil
}

// containerWait sends its headers once it can't miss the exit any more, so that
// a client knows when it may start the container.
func (s *Server) containerWait(w *responseWriter, r *request) error {
	condition := model.WaitNotRunning
	early := !r.version.before(30)
	if early {
		switch c := model.WaitCondition(r.param("condition")); c {
		case "":
		case model.WaitNotRunning, model.WaitNextExit, model.WaitRemoved:
			condition = c
		default:
			return invalid("invalid condition: %q", string(c))
		}
	}
	done, err := s.engine.WaitContainer(r.Context(), r.name(), condition)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	if early {
		w.Flush()
	}
	select {
	case <-r.Context().Done():
		return r.Context().Err()
	case result, ok := <-done:
		if !ok {
			return errors.New("the wait ended without a result: the daemon is stopping")
		}
		out := container.WaitResponse{StatusCode: int64(result.ExitCode)}
		if result.Error != "" {
			out.Error = &container.WaitExitError{Message: result.Error}
		}
		return json.NewEncoder(w).Encode(out)
	}
}

// nonNil makes an absent list an empty one, for JSON.
func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
