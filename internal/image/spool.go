package image

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.podman.io/image/v5/pkg/compression"

	"github.com/jackstay/jackstay/internal/errs"
)

// ctxReader ends reading when ctx does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// sourceReader remembers whether reading itself failed, apart from what a
// decompressor or tar reader makes of the bytes.
type sourceReader struct {
	r   io.Reader
	n   int64
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// spool writes an archive, decompressed, into dir and gives the file's path.
func (s *Store) spool(ctx context.Context, r io.Reader, dir string) (string, error) {
	src := &sourceReader{r: ctxReader{ctx, r}}
	plain, _, err := compression.AutoDecompress(src)
	if err != nil {
		return "", archiveError(src, err)
	}
	defer plain.Close()
	path := filepath.Join(dir, "archive.tar")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", errs.New(errs.Unavailable, "keeping the archive: %w", err)
	}
	defer f.Close()
	if _, err := io.Copy(writeMarker{f}, plain); err != nil {
		return "", archiveError(src, err)
	}
	if src.n == 0 {
		return "", errs.New(errs.Invalid, "the archive is empty")
	}
	return path, f.Close()
}

// writeError is an error of writing, to be told from one of reading.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

type writeMarker struct{ w io.Writer }

func (m writeMarker) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	if err != nil {
		err = &writeError{err}
	}
	return n, err
}

// archiveError says whose fault a failed read of an archive is.
func archiveError(src *sourceReader, err error) error {
	if src.err != nil {
		return fmt.Errorf("reading the archive: %w", src.err)
	}
	if w, ok := err.(*writeError); ok {
		return errs.New(errs.Unavailable, "keeping the archive: %w", w.err)
	}
	return errs.New(errs.Invalid, "the archive is corrupted or not one: %w", err)
}
