package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/term"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func (s *Server) execCreate(w *responseWriter, r *request) error {
	data, err := r.body()
	if err != nil {
		return err
	}
	var body container.ExecCreateRequest
	if err := decodeJSON(data, &body); err != nil {
		return err
	}
	// Detach and Container were in Docker's own type for long and had no effect here.
	if err := refuseUnknown(data, "", body, []string{"Detach", "Container"}); err != nil {
		return err
	}
	if len(body.Cmd) == 0 {
		return invalid("No exec command specified")
	}
	if _, err := detachKeys(body.DetachKeys, body.Tty); err != nil {
		return err
	}
	req := model.ExecRequest{
		Cmd: body.Cmd, Env: body.Env, User: body.User, WorkingDir: body.WorkingDir, DetachKeys: body.DetachKeys,
		Tty: body.Tty, Privileged: body.Privileged,
		AttachStdin: body.AttachStdin, AttachStdout: body.AttachStdout, AttachStderr: body.AttachStderr,
	}
	if body.ConsoleSize != nil && !r.version.before(42) {
		req.ConsoleSize = *body.ConsoleSize
	}
	id, err := s.engine.CreateExec(r.Context(), r.name(), req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, container.ExecCreateResponse{ID: id})
	return nil
}

func (s *Server) execInspect(w *responseWriter, r *request) error {
	e, err := s.engine.FindExec(r.name())
	if err != nil {
		return err
	}
	out := container.ExecInspectResponse{
		ID: e.ID, Running: e.Running, ExitCode: e.ExitCode, ContainerID: e.ContainerID, Pid: e.Pid,
		OpenStdin: e.AttachStdin, OpenStdout: e.AttachStdout, OpenStderr: e.AttachStderr,
		CanRemove: e.ExitCode != nil, DetachKeys: []byte{},
		ProcessConfig: &container.ExecProcessConfig{Tty: e.Tty, Privileged: &e.Privileged, User: e.User, Arguments: []string{}},
	}
	if len(e.Cmd) > 0 {
		out.ProcessConfig.Entrypoint, out.ProcessConfig.Arguments = e.Cmd[0], nonNil(slices.Clone(e.Cmd[1:]))
	}
	if e.DetachKeys != "" {
		if keys, err := term.ToBytes(e.DetachKeys); err == nil {
			out.DetachKeys = keys
		}
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (s *Server) execResize(w *responseWriter, r *request) error {
	rows, cols, err := r.size()
	if err != nil {
		return err
	}
	if err := s.engine.ResizeExec(r.Context(), r.name(), rows, cols); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) execStart(w *responseWriter, r *request) error {
	var body container.ExecStartRequest
	if err := r.decode(&body); err != nil {
		return err
	}
	e, err := s.engine.FindExec(r.name())
	if err != nil {
		return err
	}
	if body.Detach {
		err := s.engine.StartExec(r.Context(), e.ID, model.Streams{}, true, func() error { return nil })
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return s.execAttached(w, r, e, body)
}

// execAttached runs an exec with the client's connection as its streams.
func (s *Server) execAttached(w *responseWriter, r *request, e model.Exec, body container.ExecStartRequest) error {
	keys, err := detachKeys(e.DetachKeys, e.Tty)
	if err != nil {
		return err
	}
	h := newHijacked(w, r, !body.Tty)
	defer h.close()
	streams := model.Streams{CloseStdin: true, DetachKeys: keys}
	if e.AttachStdin {
		streams.Stdin = h
	} else {
		go discardInput(h)
	}
	if e.AttachStdout {
		streams.Stdout = h.output(stdcopy.Stdout)
	}
	if e.AttachStderr && !body.Tty {
		streams.Stderr = h.output(stdcopy.Stderr)
	}
	ready := h.open
	if size := body.ConsoleSize; size != nil && body.Tty && !r.version.before(42) {
		ready = func() error {
			if err := s.engine.ResizeExec(r.Context(), e.ID, size[0], size[1]); err != nil {
				s.log.Debug("resize exec at its start", "exec", e.ID, "err", err)
			}
			return h.open()
		}
	}
	// As in Docker the process outlives its client: it gets the end of its input.
	err = s.engine.StartExec(context.WithoutCancel(r.Context()), e.ID, streams, false, ready)
	if err != nil && !w.started && (errs.Is(err, errs.NotFound) || errs.Is(err, errs.Conflict)) {
		return err
	}
	if err != nil && !isStreamEnd(err) {
		// A program that could not be run: the client shows what comes on the
		// stream and takes the exit code, 126 or 127, from the exec's inspect.
		s.log.Debug("exec failed", "exec", e.ID, "err", err)
		_, _ = fmt.Fprintf(h.output(stdcopy.Stderr), "%v\r\n", err)
		return nil
	}
	return h.open()
}
