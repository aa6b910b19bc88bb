// Package errs names the few meanings an error can have for a caller.
// Whoever knows the cause wraps it once; the API maps the meaning to an HTTP
// status once. Everything else passes errors on with %w.
package errs

import (
	"errors"
	"fmt"
)

// Kind is what an error means to the one who asked.
type Kind int

// The kinds, each with the HTTP status the API answers.
const (
	Unknown        Kind = iota // 500: something of ours went wrong
	NotFound                   // 404: the named object does not exist
	Conflict                   // 409: the state of the object forbids it
	Invalid                    // 400: the request can't be right
	Forbidden                  // 403: right, and yet refused
	Unauthorized               // 401: credentials missing or wrong
	Unavailable                // 503: a thing we depend on is absent, full or broken
	NotImplemented             // 501: Jackstay does not do this (yet)
	NotModified                // 304: it is already so
)

// Error carries a kind and the error it wraps.
type Error struct {
	Kind Kind
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the wrapped error to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of a kind; format and args are fmt.Errorf's, %w included.
func New(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// Wrap gives err a kind; nil stays nil.
func Wrap(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: kind, Err: err}
}

// KindOf gives the outermost kind in err's chain, Unknown if it has none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Unknown
}

// Is tells whether err has the kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
