package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxBody bounds the JSON a request may carry, in bytes.
const maxBody = 16 << 20

// request is one request: its API version and its query, parsed once. Forms in
// bodies are not read: no client sends them, and a body may be an archive.
type request struct {
	*http.Request
	version apiVersion
	query   url.Values
}

// name is the path's {name}: Docker lets a container's start with a slash.
func (r *request) name() string { return strings.TrimPrefix(r.PathValue("name"), "/") }

func (r *request) param(key string) string { return r.query.Get(key) }

// required reads a parameter that must be there.
func (r *request) required(key string) (string, error) {
	v := r.param(key)
	if v == "" {
		return "", invalid("the parameter %s is missing", key)
	}
	return v, nil
}

// flag reads a boolean parameter as Docker does: all but these words is true.
func (r *request) flag(key string) bool {
	switch strings.ToLower(strings.TrimSpace(r.query.Get(key))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// flagOr is flag with a default for when the parameter is absent.
func (r *request) flagOr(key string, absent bool) bool {
	if !r.query.Has(key) {
		return absent
	}
	return r.flag(key)
}

// integer reads an optional number; nil: absent.
func (r *request) integer(key string) (*int, error) {
	v := r.query.Get(key)
	if v == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return nil, invalid("invalid value %q of parameter %s: must be a number", v, key)
	}
	return &n, nil
}

// size reads resize's h and w.
func (r *request) size() (rows, cols uint, err error) {
	h, err := strconv.ParseUint(r.query.Get("h"), 10, 32)
	if err != nil {
		return 0, 0, invalid("invalid resize height %q: must be a positive number", r.query.Get("h"))
	}
	w, err := strconv.ParseUint(r.query.Get("w"), 10, 32)
	if err != nil {
		return 0, 0, invalid("invalid resize width %q: must be a positive number", r.query.Get("w"))
	}
	return uint(h), uint(w), nil
}

// unixTime reads a Unix time with an optional fraction; empty or 0: the zero time.
func unixTime(s string) (time.Time, error) {
	if s == "" || s == "0" {
		return time.Time{}, nil
	}
	whole, fraction, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err == nil && fraction != "" {
		var nsec int64
		digits := (fraction + "000000000")[:9]
		if nsec, err = strconv.ParseInt(digits, 10, 64); err == nil {
			return time.Unix(sec, nsec), nil
		}
	}
	if err != nil {
		return time.Time{}, invalid("failed to parse %q as a Unix time in seconds, such as 1700000000.25", s)
	}
	return time.Unix(sec, 0), nil
}

// body reads a JSON body whole. An empty one is nil.
func (r *request) body() ([]byte, error) {
	if r.Body == nil || r.ContentLength == 0 {
		return nil, nil
	}
	if err := r.wantJSON(); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, invalid("read the request's body: %w", err)
	}
	if len(data) > maxBody {
		return nil, invalid("the request's body is larger than %d MiB", maxBody>>20)
	}
	return data, nil
}

func (r *request) wantJSON() error {
	ct := r.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(ct)
	if err != nil {
		return invalid("malformed Content-Type header (%s): %w", ct, err)
	}
	if kind != "application/json" {
		return invalid("unsupported Content-Type header (%s): must be 'application/json'", ct)
	}
	return nil
}

// decode reads a JSON body into out; an empty one leaves out as it is.
func (r *request) decode(out any) error {
	data, err := r.body()
	if err != nil || data == nil {
		return err
	}
	return decodeJSON(data, out)
}

func decodeJSON(data []byte, out any) error {
	err := json.Unmarshal(data, out)
	switch {
	case errors.Is(err, io.EOF), len(data) == 0:
		return invalid("invalid JSON: got EOF while reading request body")
	case err != nil:
		return invalid("invalid JSON: %w", err)
	}
	return nil
}

// writeJSON answers with a value. Failing to write means that the client went.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}

// responseWriter remembers whether an answer has begun, so that an error after
// that does not garble it.
type responseWriter struct {
	http.ResponseWriter
	started  bool
	hijacked bool
	status   int
}

func (w *responseWriter) WriteHeader(status int) {
	if !w.started {
		w.started, w.status = true, status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) Write(p []byte) (int, error) {
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Flush sends what has been written.
func (w *responseWriter) Flush() {
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack takes the connection over.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.started, w.hijacked, w.status = true, true, http.StatusSwitchingProtocols
	}
	return conn, rw, err
}
