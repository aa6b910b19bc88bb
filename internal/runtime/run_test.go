//go:build linux

package runtime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/engine"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func TestRunToTheEnd(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct {
		script         string
		code           int
		stdout, stderr string
	}{
		{"echo hello; echo oops >&2", 0, "hello\n", "oops\n"},
		{"exit 3", 3, "", ""},
		{"printf 'no newline'", 0, "no newline", ""},
		{"kill -9 $$", 0, "", ""}, // init of a pid namespace is deaf to its own SIGKILL
		{"seq 20000 | tail -1", 0, "20000\n", ""},
	} {
		stdout, stderr, exit := h.run(h.sh(c.script))
		if exit.ExitCode != c.code || stdout != c.stdout || stderr != c.stderr {
			t.Errorf("%s: code %d, output %q, errors %q", c.script, exit.ExitCode, stdout, stderr)
		}
		if exit.OOMKilled || time.Since(exit.FinishedAt) > time.Minute {
			t.Errorf("%s: exit %+v", c.script, exit)
		}
	}
}

func TestSignals(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct {
		signal unix.Signal
		script string
		code   int
	}{
		{unix.SIGKILL, "echo up; sleep 60", 137},
		{unix.SIGTERM, "trap 'exit 7' TERM; echo up; while true; do sleep 0.05; done", 7},
	} {
		id := h.start(h.sh(c.script))
		h.eventually("up", func() bool { out, _ := h.logs(id); return out == "up\n" })
		if err := h.r.Signal(h.ctx, id, int(c.signal)); err != nil {
			t.Fatal(err)
		}
		if exit := h.wait(id); exit.ExitCode != c.code {
			t.Errorf("%v: exit code %d, want %d", c.signal, exit.ExitCode, c.code)
		}
		err := h.r.Signal(h.ctx, id, int(c.signal))
		if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "is not running") {
			t.Errorf("signal to an ended container: %v", err)
		}
	}
}

func TestProgramsThatCannotRun(t *testing.T) {
	h := newHost(t)
	h.write("bin/plain", "#!/bin/sh\n", 0o644)
	for _, c := range []struct {
		program string
		code    int
		words   string
	}{
		{"nope", 127, `OCI runtime create failed: runc create failed: unable to start container process: exec: "nope": executable file not found in $PATH: unknown`},
		{"/bin/nope", 127, `exec: "/bin/nope": stat /bin/nope: no such file or directory: unknown`},
		{"/bin/plain", 126, "permission denied: unknown"},
		{"/tmp", 126, "permission denied: unknown"},
	} {
		spec := h.command([]string{c.program})
		_, err := h.r.Create(h.ctx, spec)
		var failed *engine.StartError
		if !errors.As(err, &failed) || failed.Code != c.code {
			t.Errorf("%s: %v, want code %d", c.program, err, c.code)
			continue
		}
		if !strings.Contains(err.Error(), c.words) || !strings.HasPrefix(err.Error(), "failed to create task for container: ") {
			t.Errorf("%s: %v", c.program, err)
		}
		if !h.r.absent(spec.Container.ID) {
			t.Errorf("%s: something is left", c.program)
		}
	}
}

func TestCreatedIsNotStarted(t *testing.T) {
	h := newHost(t)
	spec := h.sh("echo started")
	id := h.create(spec)
	s, err := h.r.State(h.ctx, id)
	if err != nil || !s.Known || s.Running || s.Exited || s.Pid == 0 {
		t.Errorf("created: %+v, %v", s, err)
	}
	if out, _ := h.logs(id); out != "" {
		t.Errorf("ran before start: %q", out)
	}
	if _, err := h.r.Create(h.ctx, spec); !errs.Is(err, errs.Conflict) {
		t.Errorf("created twice: %v", err)
	}
	if err := h.r.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	h.wait(id)
	if s, err = h.r.State(h.ctx, id); err != nil || !s.Exited || s.Running || s.StartedAt.IsZero() || s.FinishedAt.Before(s.StartedAt.Add(-time.Second)) {
		t.Errorf("ended: %+v, %v", s, err)
	}
	// Again, without a Delete between: the log goes on.
	h.start(spec)
	h.wait(id)
	if out, _ := h.logs(id); out != "started\nstarted\n" {
		t.Errorf("log of both runs: %q", out)
	}
}

func TestDeleteIsIdempotent(t *testing.T) {
	h := newHost(t)
	if err := h.r.Delete(h.ctx, newID()); err != nil {
		t.Errorf("absent: %v", err)
	}
	id := h.start(h.sh("sleep 60 & sleep 60"))
	for range 2 {
		if err := h.r.Delete(h.ctx, id); err != nil {
			t.Errorf("running: %v", err)
		}
	}
	if s, err := h.r.State(h.ctx, id); err != nil || s.Known {
		t.Errorf("deleted: %+v, %v", s, err)
	}
	if ids, err := h.r.List(h.ctx); err != nil || len(ids) != 0 {
		t.Errorf("list: %v, %v", ids, err)
	}
	if err := h.r.Start(h.ctx, id); !errs.Is(err, errs.Conflict) {
		t.Errorf("start of a deleted one: %v", err)
	}
}

func TestLongPaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 20))
	if os.Geteuid() != 0 {
		t.Skip("needs root: runs containers")
	}
	h := newHostAt(t, dir)
	id := h.create(h.sh("echo far"))
	var out output
	done := h.attach(id, model.Streams{Stdout: &out})
	if err := h.r.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || out.String() != "far\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestPause(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("while true; do echo .; sleep 0.02; done"))
	if err := h.r.Pause(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	if s, _ := h.r.State(h.ctx, id); !s.Paused || !s.Running {
		t.Errorf("paused: %+v", s)
	}
	if err := h.r.Pause(h.ctx, id); !errs.Is(err, errs.Conflict) {
		t.Errorf("paused twice: %v", err)
	}
	time.Sleep(50 * time.Millisecond) // what was written before may be on its way
	before, _ := h.logs(id)
	time.Sleep(100 * time.Millisecond)
	if after, _ := h.logs(id); after != before {
		t.Error("a paused container writes")
	}
	if err := h.r.Resume(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	h.eventually("goes on", func() bool { now, _ := h.logs(id); return len(now) > len(before) })
	if err := h.r.Resume(h.ctx, id); !errs.Is(err, errs.Conflict) {
		t.Errorf("resumed twice: %v", err)
	}
	if err := h.r.Pause(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := h.r.Signal(h.ctx, id, int(unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	if exit := h.wait(id); exit.ExitCode != 137 {
		t.Errorf("killed while paused: %+v", exit)
	}
}

// TestDaemonGone has a second Runtime over the same directories take over, as
// a restarted daemon does.
func TestDaemonGone(t *testing.T) {
	h := newHost(t)
	stays := h.start(h.sh("echo before; while ! test -e /tmp/go; do sleep 0.02; done; echo after; exit 5"))
	ends := h.start(h.sh("sleep 0.1; echo meanwhile; exit 4"))
	h.r.Close()
	h.eventually("exit file", func() bool { _, err := os.Stat(h.r.exitFile(ends)); return err == nil })

	h.r = h.open()
	s, err := h.r.State(h.ctx, stays)
	if err != nil || !s.Running || s.StartedAt.IsZero() {
		t.Errorf("running: %+v, %v", s, err)
	}
	s, err = h.r.State(h.ctx, ends)
	if err != nil || !s.Exited || s.ExitCode != 4 || s.FinishedAt.IsZero() {
		t.Errorf("ended meanwhile: %+v, %v", s, err)
	}
	if out, _ := h.logs(ends); out != "meanwhile\n" {
		t.Errorf("log written meanwhile: %q", out)
	}
	h.write("tmp/go", "", 0o644)
	if exit := h.wait(stays); exit.ExitCode != 5 {
		t.Errorf("exit: %+v", exit)
	}
	if out, _ := h.logs(stays); out != "before\nafter\n" {
		t.Errorf("log: %q", out)
	}
	select {
	case exit := <-h.r.Exits():
		t.Errorf("delivered again: %+v", exit)
	case <-time.After(50 * time.Millisecond):
	}
}

// TestHalfMade leaves what a daemon killed within Create leaves: everything but
// the record.
func TestHalfMade(t *testing.T) {
	h := newHost(t)
	id := h.create(h.sh("sleep 60"))
	rec, err := h.r.load(id)
	if err != nil {
		t.Fatal(err)
	}
	h.r.Close()
	if err := os.Remove(h.r.recordFile(id)); err != nil {
		t.Fatal(err)
	}
	h.r = h.open()
	if ids, err := h.r.List(h.ctx); err != nil || len(ids) != 1 || ids[0] != id {
		t.Errorf("list: %v, %v", ids, err)
	}
	if err := h.r.Delete(h.ctx, id); err != nil {
		t.Error(err)
	}
	if rec.alive() {
		t.Error("the process is alive")
	}
}

func TestConmonKilled(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("sleep 60"))
	rec, err := h.r.load(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(rec.Conmon, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit := h.wait(id); exit.ExitCode != lostExitCode {
		t.Errorf("exit: %+v", exit)
	}
	if rec.alive() {
		t.Error("the process runs on without conmon")
	}
}

// The end is told even if the disk takes no exit file.
func TestEndWithoutExitFile(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("sleep 60"))
	rec, err := h.r.load(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.r.exitFile(id)+".lost", 0o700); err != nil { // as a full disk would, it can't be written
		t.Fatal(err)
	}
	if err := unix.Kill(rec.Conmon, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit := h.wait(id); exit.ExitCode != lostExitCode || exit.FinishedAt.IsZero() {
		t.Errorf("exit: %+v", exit)
	}
	if s, err := h.r.State(h.ctx, id); err != nil || !s.Exited {
		t.Errorf("state: %+v, %v", s, err)
	}
}

// Somebody empties the run directory and the daemon is started anew: what runs
// unknown to everybody can still be removed.
func TestDeleteWithoutFiles(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("sleep 60"))
	rec, err := h.r.load(id)
	if err != nil {
		t.Fatal(err)
	}
	h.r.Close()
	for _, dir := range []string{h.r.bundle(id), filepath.Join(h.r.stateDir(), id)} {
		_ = unix.Unmount(filepath.Join(dir, "shm"), unix.MNT_DETACH)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	h.r = h.open()
	if err := h.r.Delete(h.ctx, id); err != nil {
		t.Error(err)
	}
	if rec.alive() || !h.r.absent(id) {
		t.Error("it is still there")
	}
}

func TestCancelledCreateLeavesNothing(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(h.ctx)
	cancel()
	spec := h.sh("true")
	if _, err := h.r.Create(ctx, spec); !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
	if !h.r.absent(spec.Container.ID) {
		t.Error("something is left")
	}
}
