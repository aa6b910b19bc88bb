//go:build linux

package runtime

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// logOf is a Runtime without programs over a container's log files, oldest first.
func logOf(t *testing.T, files ...string) (*Runtime, string) {
	t.Helper()
	r := &Runtime{rootDir: t.TempDir(), runDir: t.TempDir(), records: map[string]*record{}}
	id := newID()
	if err := os.MkdirAll(filepath.Dir(r.logFile(id)), 0o700); err != nil {
		t.Fatal(err)
	}
	for i, text := range files {
		if err := os.WriteFile(rotated(r.logFile(id), len(files)-1-i), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return r, id
}

// logLines makes a file of conmon's: each word is second, stream (o or e), F or
// P and text.
func logLines(words ...string) string {
	var b strings.Builder
	for _, w := range words {
		stream := map[byte]string{'o': "stdout", 'e': "stderr"}[w[1]]
		fmt.Fprintf(&b, "2026-11-21T02:57:4%c.533510861+01:00 %s %c %s\n", w[0], stream, w[2], w[3:])
	}
	return b.String()
}

func TestLogQueries(t *testing.T) {
	old := logLines("0oFzero", "1eFone")
	now := logLines("2oPtw", "2eFother", "2oFo", "3oFthree", "4oPfour")
	at := func(second int) time.Time {
		return time.Date(2026, 11, 21, 1, 57, 40+second, 533510861, time.UTC)
	}
	all := model.LogQuery{Stdout: true, Stderr: true, Tail: -1}
	with := func(f func(*model.LogQuery)) model.LogQuery { q := all; f(&q); return q }
	for name, c := range map[string]struct {
		query model.LogQuery
		want  string
	}{
		"all":           {all, "zero\n|one\n|other\n|two\n|three\n|four"},
		"stdout":        {with(func(q *model.LogQuery) { q.Stderr = false }), "zero\n|two\n|three\n|four"},
		"stderr":        {with(func(q *model.LogQuery) { q.Stdout = false }), "one\n|other\n"},
		"tail 0":        {with(func(q *model.LogQuery) { q.Tail = 0 }), ""},
		"tail 1":        {with(func(q *model.LogQuery) { q.Tail = 1 }), "four"},
		"tail 2":        {with(func(q *model.LogQuery) { q.Tail = 2 }), "three\n|four"},
		"tail 5":        {with(func(q *model.LogQuery) { q.Tail = 5 }), "one\n|other\n|two\n|three\n|four"},
		"tail 99":       {with(func(q *model.LogQuery) { q.Tail = 99 }), "zero\n|one\n|other\n|two\n|three\n|four"},
		"tail of one":   {with(func(q *model.LogQuery) { q.Tail, q.Stdout = 2, false }), "one\n|other\n"},
		"since":         {with(func(q *model.LogQuery) { q.Since = at(3) }), "three\n|four"},
		"until":         {with(func(q *model.LogQuery) { q.Until = at(1) }), "zero\n|one\n"},
		"since, until":  {with(func(q *model.LogQuery) { q.Since, q.Until = at(1), at(2) }), "one\n|other\n|two\n"},
		"follow, ended": {with(func(q *model.LogQuery) { q.Follow = true }), "zero\n|one\n|other\n|two\n|three\n|four"},
	} {
		r, id := logOf(t, old, now)
		var got []string
		err := r.Logs(context.Background(), id, c.query, func(l model.LogLine) error {
			got = append(got, string(l.Data))
			if strings.HasPrefix(string(l.Data), "o") != l.Stderr {
				t.Errorf("%s: wrong stream of %q", name, l.Data)
			}
			return nil
		})
		if err != nil || strings.Join(got, "|") != c.want {
			t.Errorf("%s: %q, want %q, %v", name, strings.Join(got, "|"), c.want, err)
		}
	}
}

func TestLogTime(t *testing.T) {
	r, id := logOf(t, logLines("1oPa", "2oFb"))
	err := r.Logs(context.Background(), id, model.LogQuery{Stdout: true, Tail: -1}, func(l model.LogLine) error {
		if want := time.Date(2026, 11, 21, 1, 57, 41, 533510861, time.UTC); !l.Time.Equal(want) {
			t.Errorf("time %v, want that of the line's begin, %v", l.Time, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// What is no record is skipped: a log cut short by a full disk stays readable.
func TestLogWithRubbish(t *testing.T) {
	text := "rubbish\n\n2026 stdout F x\n" + logLines("1oFgood") + "2026-11-21T02:57:41.533510861+01:00 stdo"
	r, id := logOf(t, text)
	for _, tail := range []int{-1, 1} {
		var got []string
		err := r.Logs(context.Background(), id, model.LogQuery{Stdout: true, Tail: tail}, func(l model.LogLine) error {
			got = append(got, string(l.Data))
			return nil
		})
		if err != nil || strings.Join(got, "") != "good\n" {
			t.Errorf("tail %d: %q, %v", tail, got, err)
		}
	}
}

// TestTailReadsTheEnd counts the bytes read of a large log.
func TestTailReadsTheEnd(t *testing.T) {
	text := strings.Repeat(logLines("1oFa line of some length to fill the log"), 200000)
	counter := &countingReader{Reader: bytes.NewReader([]byte(text))}
	offset, found, err := tailOffset(counter, 10, func(logRecord) bool { return true })
	if err != nil || found != 10 || strings.Count(text[offset:], "\n") != 10 {
		t.Errorf("offset %d, found %d, %v", offset, found, err)
	}
	if counter.read > 1<<20 {
		t.Errorf("read %d of %d bytes", counter.read, len(text))
	}
}

type countingReader struct {
	*bytes.Reader
	read int
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	c.read += len(p)
	return c.Reader.ReadAt(p, off)
}

func TestFollow(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("echo one; while ! test -e /tmp/go; do sleep 0.02; done; echo two; printf three"))
	var got output
	done := make(chan error, 1)
	go func() {
		done <- h.r.Logs(h.ctx, id, model.LogQuery{Stdout: true, Tail: -1, Follow: true}, func(l model.LogLine) error {
			_, err := got.Write(l.Data)
			return err
		})
	}()
	h.eventually("one", func() bool { return got.String() == "one\n" })
	h.write("tmp/go", "", 0o644)
	if err := <-done; err != nil || got.String() != "one\ntwo\nthree" {
		t.Errorf("%q, %v", got.String(), err)
	}
	h.wait(id)
}

// TestFollowReadsAll has a container end right after much output: the follower
// gets all of it.
func TestFollowReadsAll(t *testing.T) {
	h := newHost(t)
	id := h.create(h.sh("seq 100000"))
	lines := 0
	done := make(chan error, 1)
	go func() {
		done <- h.r.Logs(h.ctx, id, model.LogQuery{Stdout: true, Tail: -1, Follow: true}, func(model.LogLine) error { lines++; return nil })
	}()
	if err := h.r.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || lines != 100000 {
		t.Errorf("%d lines, %v", lines, err)
	}
	h.wait(id)
}

func TestFollowIsCancelled(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("sleep 60"))
	ctx, cancel := context.WithTimeout(h.ctx, 50*time.Millisecond)
	defer cancel()
	err := h.r.Logs(ctx, id, model.LogQuery{Stdout: true, Tail: -1, Follow: true}, func(model.LogLine) error { return nil })
	if err == nil || ctx.Err() == nil {
		t.Errorf("error: %v", err)
	}
	err = h.r.Logs(h.ctx, id, model.LogQuery{Stdout: true, Tail: -1, Follow: true, Until: time.Now().Add(50 * time.Millisecond)}, func(model.LogLine) error { return nil })
	if err != nil {
		t.Errorf("until: %v", err)
	}
}

// TestRotation writes far more than max-size while a follower reads: the files
// stay within bounds and the follower misses nothing.
func TestRotation(t *testing.T) {
	h := newHost(t)
	id := h.create(h.sh("for i in $(seq 1 6000); do echo line $i 0123456789012345678901234567890123456789; test $((i % 100)) = 0 && sleep 0.08; done; true", func(c *model.Container) {
		c.Host.LogOptions = map[string]string{"max-size": "50k", "max-file": "3"}
	}))
	next, wrong := 1, ""
	done := make(chan error, 1)
	go func() {
		done <- h.r.Logs(h.ctx, id, model.LogQuery{Stdout: true, Tail: -1, Follow: true}, func(l model.LogLine) error {
			if !strings.HasPrefix(string(l.Data), fmt.Sprintf("line %d ", next)) && wrong == "" {
				wrong = fmt.Sprintf("%q, want line %d", l.Data, next)
			}
			next++
			return nil
		})
	}()
	if err := h.r.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || wrong != "" || next != 6001 {
		t.Errorf("followed %d lines, %s, %v", next-1, wrong, err)
	}
	h.wait(id)
	files, _ := filepath.Glob(h.r.logFile(id) + "*")
	if len(files) != 3 {
		t.Errorf("files %v", files)
	}
	if out, _ := h.logs(id); !strings.HasSuffix(out, "line 6000 0123456789012345678901234567890123456789\n") || strings.Contains(out, "line 1 ") {
		t.Errorf("%d bytes left, from %.20q to %q", len(out), out, out[max(0, len(out)-80):])
	}
}

func TestMaxSizeWithOneFile(t *testing.T) {
	h := newHost(t)
	out := h.out(h.sh("seq 20000", func(c *model.Container) { c.Host.LogOptions = map[string]string{"max-size": "50k"} }))
	if len(out) > 60000 || !strings.HasSuffix(out, "20000\n") {
		t.Errorf("%d bytes, ends %q", len(out), out[max(0, len(out)-10):])
	}
}

func TestNoLog(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("echo hello", func(c *model.Container) { c.Host.LogDriver = "none" }))
	h.wait(id)
	err := h.r.Logs(h.ctx, id, model.LogQuery{Stdout: true, Tail: -1}, func(model.LogLine) error { return nil })
	if err == nil || err.Error() != "configured logging driver does not support reading" {
		t.Errorf("error: %v", err)
	}
	if _, err := os.Stat(h.r.logFile(id)); err == nil {
		t.Error("there is a log")
	}
}

func TestLogConfig(t *testing.T) {
	for _, c := range []struct {
		driver  string
		options map[string]string
		ok      bool
	}{
		{"", nil, true}, {"json-file", nil, true}, {"local", nil, true}, {"none", nil, true},
		{"json-file", map[string]string{"max-size": "10m", "max-file": "3"}, true},
		{"json-file", map[string]string{"max-file": "3"}, false},
		{"json-file", map[string]string{"max-size": "lots"}, false},
		{"json-file", map[string]string{"max-file": "0"}, false},
		{"json-file", map[string]string{"labels": "a"}, false},
		{"none", map[string]string{"max-size": "1"}, false},
		{"syslog", nil, false},
	} {
		if _, _, _, err := logSettings(c.driver, c.options); (err == nil) != c.ok || err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("%s %v: %v", c.driver, c.options, err)
		}
	}
}

// A process that is reaped is not done yet: conmon still writes what it said.
func TestFollowWhileConmonWrites(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("sleep 1; echo late"))
	rec, err := h.r.load(id)
	if err != nil {
		t.Fatal(err)
	}
	rec.StartTicks++ // so nobody has this process
	if err := h.r.save(rec); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err = h.r.Logs(h.ctx, id, model.LogQuery{Stdout: true, Tail: -1, Follow: true}, func(l model.LogLine) error {
		out.Write(l.Data)
		return nil
	})
	if err != nil || out.String() != "late\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
