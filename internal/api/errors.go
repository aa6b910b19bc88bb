package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/moby/moby/api/types/common"

	"github.com/jackstay/jackstay/internal/errs"
)

// statusOf is the one place where an error's meaning becomes an HTTP status.
func statusOf(err error) int {
	switch errs.KindOf(err) {
	case errs.NotFound:
		return http.StatusNotFound
	case errs.Conflict:
		return http.StatusConflict
	case errs.Invalid:
		return http.StatusBadRequest
	case errs.Forbidden:
		return http.StatusForbidden
	case errs.Unauthorized:
		return http.StatusUnauthorized
	case errs.Unavailable:
		return http.StatusServiceUnavailable
	case errs.NotImplemented:
		return http.StatusNotImplemented
	case errs.NotModified:
		return http.StatusNotModified
	default:
		return http.StatusInternalServerError
	}
}

// fail answers a request with an error in Docker's JSON form, if nothing has
// been answered yet, and logs what is our fault.
func (s *Server) fail(w *responseWriter, r *http.Request, err error) {
	status := statusOf(err)
	level := slog.LevelDebug
	if status == http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		level = slog.LevelError
	}
	s.log.Log(r.Context(), level, "request failed", "method", r.Method, "path", r.URL.Path, "status", status, "err", err)
	if w.started {
		return
	}
	if status == http.StatusNotModified {
		w.WriteHeader(status)
		return
	}
	writeJSON(w, status, common.ErrorResponse{Message: err.Error()})
}

// Refuse answers a request that no server gets to see.
func Refuse(w http.ResponseWriter, err error) {
	writeJSON(w, statusOf(err), common.ErrorResponse{Message: err.Error()})
}

func invalid(format string, args ...any) error { return errs.New(errs.Invalid, format, args...) }

// unsupported refuses an option that is right in Docker and absent here.
func unsupported(format string, args ...any) error {
	return errs.New(errs.Invalid, format, args...)
}
