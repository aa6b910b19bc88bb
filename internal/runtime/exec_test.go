//go:build linux

package runtime

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/engine"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func execOf(container string, args ...string) model.Exec {
	return model.Exec{ID: newID(), ContainerID: container, Cmd: args, Env: testEnv()}
}

func TestExec(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("sleep 60", func(c *model.Container) { c.Config.WorkingDir = "/tmp" }))
	for name, c := range map[string]struct {
		change         func(*model.Exec)
		script         string
		stdin          string
		code           int
		stdout, stderr string
	}{
		"output":      {script: "echo out; echo err >&2", stdout: "out\n", stderr: "err\n"},
		"exit code":   {script: "exit 42", code: 42},
		"signal":      {script: "kill -TERM $$", code: 143},
		"stdin":       {script: "cat; echo end", stdin: "a\nb\n", stdout: "a\nb\nend\n"},
		"working dir": {script: "pwd", stdout: "/tmp\n"},
		"other dir":   {change: func(e *model.Exec) { e.WorkingDir = "/etc" }, script: "pwd", stdout: "/etc\n"},
		"user":        {change: func(e *model.Exec) { e.User = "web" }, script: "id; echo $HOME", stdout: "uid=1000(web) gid=1001(web) groups=1001(web),2000(logs)\n/home/web\n"},
		"group-add":   {change: func(e *model.Exec) { e.User, e.GroupAdd = "5", []string{"audio", "77"} }, script: "id -G", stdout: "0 29 77\n"},
		"env":         {change: func(e *model.Exec) { e.Env = append(testEnv(), "A=b c") }, script: "echo $A $PATH ${TERM-none}", stdout: "b c /bin none\n"},
		"caps":        {script: "grep CapEff /proc/self/status | cut -c8-", stdout: "\t00000000a80425fb\n"},
		"privileged":  {change: func(e *model.Exec) { e.Privileged = true }, script: "test $(grep -c a80425fb /proc/self/status) = 0 && echo more", stdout: "more\n"},
		"tty":         {change: func(e *model.Exec) { e.Tty = true }, script: "test -t 0 && test -t 1 && echo yes", stdout: "yes\r\n"},
		"much":        {script: "seq 100000 | tail -c 700000 | wc -l; seq 50000 | tail -1", stdout: "100000\n50000\n"},
	} {
		t.Run(name, func(t *testing.T) {
			e := execOf(id, "sh", "-c", c.script)
			if c.change != nil {
				c.change(&e)
			}
			var out, errOut output
			s := model.Streams{Stdout: &out, Stderr: &errOut}
			if c.stdin != "" {
				s.Stdin = strings.NewReader(c.stdin)
			}
			started := 0
			code, err := h.r.Exec(h.ctx, e, s, func(pid int) { started = pid })
			if err != nil || code != c.code || out.String() != c.stdout || errOut.String() != c.stderr {
				t.Errorf("code %d, output %q, errors %q, %v", code, out.String(), errOut.String(), err)
			}
			if started <= 0 {
				t.Error("not told of its start")
			}
		})
	}
}

func TestExecThatCannotRun(t *testing.T) {
	h := newHost(t)
	h.write("bin/plain", "", 0o644)
	id := h.start(h.sh("sleep 60"))
	for program, c := range map[string]struct {
		code  int
		words string
	}{
		"nope":       {127, `OCI runtime exec failed: exec failed: unable to start container process: exec: "nope": executable file not found in $PATH: unknown`},
		"/bin/plain": {126, `OCI runtime exec failed: exec failed: unable to start container process: exec: "/bin/plain": permission denied: unknown`},
	} {
		code, err := h.r.Exec(h.ctx, execOf(id, program), model.Streams{}, nil)
		var failed *engine.StartError
		if code != c.code || !errors.As(err, &failed) || failed.Code != c.code || err.Error() != c.words {
			t.Errorf("%s: %d, %v", program, code, err)
		}
	}
	e := execOf(id, "true")
	e.User = "ghost"
	if _, err := h.r.Exec(h.ctx, e, model.Streams{}, nil); err == nil || err.Error() != "unable to find user ghost: no matching entries in passwd file" {
		t.Errorf("user: %v", err)
	}
	if _, err := h.r.Exec(h.ctx, execOf(newID(), "true"), model.Streams{}, nil); !errs.Is(err, errs.Conflict) {
		t.Errorf("no container: %v", err)
	}
}

func TestExecTerminal(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("sleep 60"))
	e := execOf(id, "sh", "-c", "echo up; while read x; do stty size; done; sleep 60")
	e.Tty = true
	in, write := io.Pipe()
	var out output
	done := make(chan error, 1)
	go func() {
		_, err := h.r.Exec(h.ctx, e, model.Streams{Stdin: in, Stdout: &out, DetachKeys: []byte{16, 17}}, func(int) {
			if err := h.r.ExecResize(h.ctx, e.ID, 20, 90); err != nil {
				t.Error(err)
			}
		})
		done <- err
	}()
	h.eventually("up", func() bool { return strings.Contains(out.String(), "up") })
	// The new size goes through two terminals.
	h.eventually("first size", func() bool { _, _ = io.WriteString(write, "\n"); return strings.Contains(out.String(), "20 90\r\n") })
	if err := h.r.ExecResize(h.ctx, e.ID, 25, 80); err != nil {
		t.Error(err)
	}
	h.eventually("second size", func() bool { _, _ = io.WriteString(write, "\n"); return strings.Contains(out.String(), "25 80\r\n") })
	_, _ = write.Write([]byte{16, 17})
	if err := <-done; !errors.Is(err, model.ErrDetached) {
		t.Errorf("error: %v", err)
	}
	h.eventually("two processes after detaching", func() bool { s, _ := h.r.Stats(h.ctx, id); return s.Pids == 2 })
	if err := h.r.Delete(h.ctx, id); err != nil {
		t.Error(err)
	}
	h.eventually("exec ends with its container", func() bool {
		return errs.Is(h.r.ExecResize(h.ctx, e.ID, 1, 1), errs.NotFound)
	})
}

func TestExecEndsWithContainer(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("sleep 60"))
	code := make(chan int, 1)
	started := make(chan struct{})
	go func() {
		c, _ := h.r.Exec(h.ctx, execOf(id, "sleep", "60"), model.Streams{}, func(int) { close(started) })
		code <- c
	}()
	<-started
	if err := h.r.Delete(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != 137 {
		t.Errorf("code %d", c)
	}
}

// What an exec leaves in the background does not keep its client waiting.
func TestExecLeavesSomethingRunning(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("sleep 60"))
	var out output
	began := time.Now()
	code, err := h.r.Exec(h.ctx, execOf(id, "sh", "-c", "sleep 50 & echo begun; exit 3"), model.Streams{Stdout: &out}, nil)
	if took := time.Since(began); took > outputGrace+5*time.Second {
		t.Errorf("it took %s", took)
	}
	if code != 3 || err != nil || out.String() != "begun\n" {
		t.Errorf("code %d, output %q, %v", code, out.String(), err)
	}
	if s, _ := h.r.Stats(h.ctx, id); s.Pids != 2 {
		t.Errorf("%d processes, want the one in the background to run on", s.Pids)
	}
}

// The files of an exec, its environment among them, go with the next daemon
// when theirs was killed.
func TestExecFilesOfAKilledDaemon(t *testing.T) {
	h := newHost(t)
	dir := filepath.Join(h.r.execDir(), newID())
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h.r.Close()
	h.r = h.open()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

func TestExecCancelled(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("sleep 60"))
	ctx, cancel := context.WithCancel(h.ctx)
	_, err := h.r.Exec(ctx, execOf(id, "sh", "-c", "trap 'touch /tmp/asked; exit' TERM; while true; do sleep 0.02; done"), model.Streams{}, func(int) {
		go func() { time.Sleep(50 * time.Millisecond); cancel() }()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
	if _, err := os.Stat(h.rootfs + "/tmp/asked"); err != nil {
		t.Errorf("it got no SIGTERM: %v", err)
	}
}
