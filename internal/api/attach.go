package api

import (
	"context"
	"errors"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/term"

	"github.com/jackstay/jackstay/internal/model"
)

// containerAttach connects the client to a container's streams.
func (s *Server) containerAttach(w *responseWriter, r *request) error {
	c, err := s.engine.FindContainer(r.name())
	if err != nil {
		return err
	}
	keys, err := detachKeys(r.param("detachKeys"), c.Config.Tty)
	if err != nil {
		return err
	}
	h := newHijacked(w, r, !c.Config.Tty)
	defer h.close()
	streams := model.Streams{CloseStdin: c.Config.StdinOnce, DetachKeys: keys}
	if r.flag("stdin") && c.Config.OpenStdin {
		streams.Stdin = h
	}
	if r.flag("stdout") {
		streams.Stdout = h.output(stdcopy.Stdout)
	}
	if r.flag("stderr") && !c.Config.Tty {
		streams.Stderr = h.output(stdcopy.Stderr)
	}
	// The request's context does not end with a hijacked connection.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	go h.watch(ctx, cancel)
	if streams.Stdin == nil {
		go discardInput(h)
	}
	err = s.engine.AttachContainer(ctx, c.ID, streams, model.AttachOptions{
		Logs: r.flag("logs"), Stream: r.flag("stream"), DetachKeys: r.param("detachKeys"),
	}, h.open)
	return s.streamEnd(w, r, err)
}

// discardInput reads what a client sends that nobody wants, so that it is not
// left waiting for us to take it.
func discardInput(h *hijacked) {
	buf := make([]byte, 4096)
	for {
		if _, err := h.Read(buf); err != nil {
			return
		}
	}
}

// streamEnd tells which ends of a stream are an answer: an error before it
// began is, one after it can only be logged.
func (s *Server) streamEnd(w *responseWriter, r *request, err error) error {
	switch {
	case err == nil:
		if !w.started {
			return errors.New("the stream ended before it began")
		}
	case isStreamEnd(err):
	case !w.started:
		return err
	default:
		s.log.Debug("stream ended", "path", r.URL.Path, "err", err)
	}
	return nil
}

// detachKeys reads the keys, or refuses what are none, before anything is
// connected. They are looked for on terminals only; the default is ctrl-p,ctrl-q.
func detachKeys(keys string, tty bool) ([]byte, error) {
	if keys == "" {
		keys = "ctrl-p,ctrl-q"
	}
	sequence, err := term.ToBytes(keys)
	if err != nil {
		return nil, invalid("Invalid detach keys (%s) provided", keys)
	}
	if !tty {
		return nil, nil
	}
	return sequence, nil
}

// isStreamEnd tells the ends that are no failure: the detach keys, and a client
// that went.
func isStreamEnd(err error) bool {
	return errors.Is(err, model.ErrDetached) || errors.Is(err, context.Canceled)
}
