//go:build linux

package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// errLogDone ends a reading early: what follows is after Until.
var errLogDone = errors.New("no more of the log is wanted")

// Logs reads a container's log, its older files included. With Follow it goes
// on until the process that lives now has ended and all it wrote is read.
func (r *Runtime) Logs(ctx context.Context, id string, q model.LogQuery, emit func(model.LogLine) error) error {
	rec, err := r.load(id)
	if err == nil && rec.LogDriver == logNone {
		return errs.New(errs.NotImplemented, "configured logging driver does not support reading")
	}
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	l := &logReader{name: r.logFile(id), query: q, emit: emit, ctx: ctx}
	defer l.close()
	// conmon reaps the process before it has read and written all it said.
	follow := q.Follow && rec != nil && (rec.alive() || r.conmonAlive(rec))
	var woken <-chan struct{}
	if follow {
		signal, stop, err := r.logSignal(id)
		if err != nil {
			return err
		}
		defer stop()
		woken = signal
	}
	if err := l.open(); err != nil {
		return fmt.Errorf("log of container %s: %w", id, err)
	}
	err = r.readLog(ctx, l, rec, follow, woken)
	if errors.Is(err, errLogDone) {
		return nil
	}
	return err
}

func (r *Runtime) readLog(ctx context.Context, l *logReader, rec *record, follow bool, woken <-chan struct{}) error {
	var until <-chan time.Time
	if follow && !l.query.Until.IsZero() {
		timer := time.NewTimer(time.Until(l.query.Until))
		defer timer.Stop()
		until = timer.C
	}
	for {
		// Asked before reading: what is written before the end is read then.
		ended := follow && r.ended(rec)
		if err := l.read(); err != nil {
			return err
		}
		if !follow || ended {
			return l.flush()
		}
		select {
		case <-woken:
		case <-until:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-r.closed:
			return errs.New(errs.Unavailable, "the daemon is stopping")
		}
	}
}

// ended tells whether conmon has written the container's end, and so all of
// its log, or will never.
func (r *Runtime) ended(rec *record) bool {
	if _, err := os.Stat(r.exitFile(rec.ID)); err == nil {
		return true
	}
	now, err := r.load(rec.ID)
	return err != nil || now.Pid != rec.Pid || now.StartTicks != rec.StartTicks
}

// logSignal fires when the container's log grew, was rotated, or it ended.
func (r *Runtime) logSignal(id string) (<-chan struct{}, func(), error) {
	signal := make(chan struct{}, 1)
	wake := func() {
		select {
		case signal <- struct{}{}:
		default:
		}
	}
	name := filepath.Base(r.logFile(id))
	stopLog, err := r.watch.add(filepath.Dir(r.logFile(id)), unix.IN_MODIFY|unix.IN_MOVED_TO|unix.IN_CREATE, func(e watchEvent) {
		if e.Lost || len(e.Name) >= len(name) && e.Name[:len(name)] == name {
			wake()
		}
	})
	if err != nil {
		return nil, nil, err
	}
	stopExit, err := r.watch.add(r.exitDir(), unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE|unix.IN_DELETE, func(e watchEvent) {
		if e.Lost || e.Name == id {
			wake()
		}
	})
	if err != nil {
		stopLog()
		return nil, nil, err
	}
	return signal, func() { stopLog(); stopExit() }, nil
}

// logReader reads the files of one log in order.
type logReader struct {
	name  string
	query model.LogQuery
	emit  func(model.LogLine) error
	ctx   context.Context //nolint:containedctx // of one call of Logs, which it lives in

	file   *os.File // nil: none yet
	begun  []byte   // a line whose newline is not there yet
	joiner joiner
}

func (l *logReader) close() {
	if l.file != nil {
		_ = l.file.Close()
	}
}

// open finds where to begin: at the oldest file, or N lines before the end.
func (l *logReader) open() error {
	oldest := 0
	for ; ; oldest++ {
		if _, err := os.Stat(rotated(l.name, oldest+1)); err != nil {
			break
		}
	}
	first, offset := oldest, int64(0)
	if l.query.Tail >= 0 {
		var err error
		if first, offset, err = l.tail(oldest); err != nil {
			return err
		}
	}
	file, err := os.Open(rotated(l.name, first))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	l.file = file
	_, err = file.Seek(offset, io.SeekStart)
	return err
}

// tail finds the file and offset from which Tail lines are left.
func (l *logReader) tail(oldest int) (int, int64, error) {
	left := l.query.Tail
	for i := 0; i <= oldest; i++ {
		file, err := os.Open(rotated(l.name, i))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		offset, found, err := tailOffset(file, left, l.wanted)
		_ = file.Close()
		if err != nil {
			return 0, 0, err
		}
		if found >= left {
			return i, offset, nil
		}
		left -= found
	}
	return oldest, 0, nil
}

// tailOffset walks a file backwards to where its last n wanted lines begin, or
// tells how many it has, if fewer. A partial record at the very end is a line.
func tailOffset(file io.ReaderAt, n int, wanted func(logRecord) bool) (offset int64, found int, err error) {
	end, err := fileSize(file)
	if err != nil {
		return 0, 0, err
	}
	if n == 0 {
		return end, 0, nil
	}
	var last [2]bool // a later record of the stream was seen
	err = backwards(file, end, func(at int64, line []byte) bool {
		rec, ok := parseRecord(line)
		if !ok || !wanted(rec) {
			return true
		}
		i := index(rec.stderr)
		if rec.full || !last[i] { // the end of a line
			if found == n {
				return false
			}
			found++
		}
		last[i], offset = true, at
		return true
	})
	if found < n {
		offset = 0
	}
	return offset, found, err
}

func fileSize(file io.ReaderAt) (int64, error) {
	if f, ok := file.(*os.File); ok {
		info, err := f.Stat()
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	if s, ok := file.(interface{ Size() int64 }); ok {
		return s.Size(), nil
	}
	return 0, errors.New("log: size unknown")
}

// backwards calls fn with each line before end, the last first, until it is false.
func backwards(file io.ReaderAt, end int64, fn func(at int64, line []byte) bool) error {
	const chunk = 64 << 10
	var held []byte // the begin of what is read, up to the first newline
	for pos := end; pos > 0; {
		size := min(pos, chunk)
		pos -= size
		buf := make([]byte, size, size+int64(len(held)))
		if _, err := file.ReadAt(buf, pos); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		held = append(buf, held...)
		for {
			body := bytes.TrimSuffix(held, []byte("\n"))
			i := bytes.LastIndexByte(body, '\n')
			if i < 0 {
				break
			}
			if line := body[i+1:]; len(line) > 0 && !fn(pos+int64(i)+1, line) {
				return nil
			}
			held = held[:i+1]
		}
	}
	if line := bytes.TrimSuffix(held, []byte("\n")); len(line) > 0 {
		fn(0, line)
	}
	return nil
}

// wanted tells whether the query wants a record, but for its time.
func (l *logReader) wanted(rec logRecord) bool {
	return rec.stderr && l.query.Stderr || !rec.stderr && l.query.Stdout
}

// read passes on everything there is now, through rotated files.
func (l *logReader) read() error {
	for {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if l.file == nil {
			file, err := os.Open(l.name)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			l.file = file
		}
		next, err := l.next() // asked first: a file that has a successor does not grow
		if err != nil {
			return err
		}
		if err := l.drain(); err != nil {
			if next != nil {
				_ = next.Close()
			}
			return err
		}
		if next == nil {
			return nil
		}
		_ = l.file.Close()
		l.file, l.begun = next, nil
	}
}

// next opens the file after the one being read, if that was rotated away and
// conmon has begun another.
func (l *logReader) next() (*os.File, error) {
	mine, err := l.file.Stat()
	if err != nil {
		return nil, err
	}
	for i := 0; ; i++ {
		info, err := os.Stat(rotated(l.name, i))
		switch {
		case errors.Is(err, fs.ErrNotExist) && i == 0:
			continue // renamed, and no new one yet
		case errors.Is(err, fs.ErrNotExist):
			return openIfThere(l.name) // ours was removed: go on with the newest
		case err != nil:
			return nil, err
		case os.SameFile(mine, info) && i == 0:
			return nil, nil
		case os.SameFile(mine, info):
			return openIfThere(rotated(l.name, i-1))
		}
	}
}

func openIfThere(name string) (*os.File, error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return file, err
}

// drain passes on the rest of the file being read.
func (l *logReader) drain() error {
	buf := make([]byte, 64<<10)
	for {
		n, err := l.file.Read(buf)
		for data := buf[:n]; len(data) > 0; {
			line, rest, ok := bytes.Cut(data, []byte("\n"))
			if !ok {
				l.begun = append(l.begun, data...)
				break
			}
			data = rest
			if len(l.begun) > 0 {
				line = append(l.begun, line...)
				l.begun = nil
			}
			if err := l.line(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return l.ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := l.ctx.Err(); err != nil {
			return err
		}
	}
}

func (l *logReader) line(text []byte) error {
	rec, ok := parseRecord(text)
	if !ok || !l.wanted(rec) || rec.time.Before(l.query.Since) {
		return nil
	}
	if !l.query.Until.IsZero() && rec.time.After(l.query.Until) {
		return errors.Join(l.flush(), errLogDone)
	}
	if line, ok := l.joiner.add(rec); ok {
		return l.emit(line)
	}
	return nil
}

// flush passes on lines that have no newline.
func (l *logReader) flush() error {
	for _, line := range l.joiner.rest() {
		if err := l.emit(line); err != nil {
			return err
		}
	}
	return nil
}
