package api

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// logTime is how --timestamps writes times: of fixed width, so that lines sort.
const logTime = "2006-01-02T15:04:05.000000000Z07:00"

// containerLogs sends log lines. Its answer begins at once, so that a client
// that follows knows that it does. What `details` asks for does not exist: log
// drivers here add nothing to lines.
func (s *Server) containerLogs(w *responseWriter, r *request) error {
	q, err := logQuery(r)
	if err != nil {
		return err
	}
	c, err := s.engine.FindContainer(r.name())
	if err != nil {
		return err
	}
	if c.Host.LogDriver == "none" { // said as an error, while there is still a status to say it with
		return errs.New(errs.NotImplemented, "configured logging driver does not support reading")
	}
	framed := !c.Config.Tty
	w.Header().Set("Content-Type", streamType(framed, r.version))
	w.Flush()
	stamps := r.flag("timestamps")
	send := func(kind stdcopy.StdType, data []byte) error {
		var err error
		if framed {
			_, err = writeFrame(w, kind, data)
		} else {
			_, err = w.Write(data)
		}
		w.Flush()
		return err
	}
	err = s.engine.ContainerLogs(r.Context(), c.ID, q, func(l model.LogLine) error {
		kind := stdcopy.Stdout
		if l.Stderr {
			kind = stdcopy.Stderr
		}
		data := l.Data
		if stamps {
			data = append([]byte(l.Time.UTC().Format(logTime)+" "), data...)
		}
		return send(kind, data)
	})
	if err != nil && r.Context().Err() == nil && !errors.Is(err, model.ErrDetached) {
		_ = send(stdcopy.Systemerr, fmt.Appendf(nil, "Error grabbing logs: %v\n", err))
		return err
	}
	return nil
}

func logQuery(r *request) (model.LogQuery, error) {
	q := model.LogQuery{Stdout: r.flag("stdout"), Stderr: r.flag("stderr"), Follow: r.flag("follow"), Tail: -1}
	if !q.Stdout && !q.Stderr {
		return q, invalid("Bad parameters: you must choose at least one stream")
	}
	var err error
	if q.Since, err = logBound("since", r.param("since")); err != nil {
		return q, err
	}
	if q.Until, err = logBound("until", r.param("until")); err != nil {
		return q, err
	}
	if n, err := strconv.Atoi(r.param("tail")); err == nil && n >= 0 {
		q.Tail = n
	}
	return q, nil
}

func logBound(key, value string) (time.Time, error) {
	t, err := unixTime(value)
	if err != nil {
		return t, fmt.Errorf("invalid value for %q: %w", key, err)
	}
	return t, nil
}
