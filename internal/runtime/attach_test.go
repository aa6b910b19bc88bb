//go:build linux

package runtime

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/model"
)

// attach attaches and returns once nothing can be missed any more.
func (h *host) attach(id string, s model.Streams) <-chan error {
	h.t.Helper()
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- h.r.Attach(h.ctx, id, s, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		h.t.Fatalf("attach: %v", err)
	}
	return done
}

func interactive(c *model.Container) { c.Config.OpenStdin, c.Config.StdinOnce = true, true }
func openStdin(c *model.Container)   { c.Config.OpenStdin = true }
func tty(c *model.Container)         { c.Config.Tty = true }

func TestAttachBeforeStart(t *testing.T) {
	h := newHost(t)
	id := h.create(h.sh("echo first; echo bad >&2; seq 100000; echo last"))
	var out, errOut output
	done := h.attach(id, model.Streams{Stdout: &out, Stderr: &errOut})
	if err := h.r.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("attach: %v", err)
	}
	h.wait(id)
	if s := out.String(); !strings.HasPrefix(s, "first\n1\n2\n") || !strings.HasSuffix(s, "\n100000\nlast\n") || strings.Count(s, "\n") != 100002 {
		t.Errorf("output of %d bytes, %d lines, begins %.20q", len(s), strings.Count(s, "\n"), s)
	}
	if errOut.String() != "bad\n" {
		t.Errorf("errors %q", errOut.String())
	}
}

func TestStdinReachesItsEnd(t *testing.T) {
	h := newHost(t)
	big := strings.Repeat("0123456789abcde\n", 40000)
	for _, in := range []string{"hi\n", "", big} {
		id := h.create(h.command([]string{"cat"}, interactive))
		var out output
		done := h.attach(id, model.Streams{Stdin: strings.NewReader(in), Stdout: &out, CloseStdin: true})
		if err := h.r.Start(h.ctx, id); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("attach: %v", err)
		}
		if exit := h.wait(id); exit.ExitCode != 0 || out.String() != in {
			t.Errorf("%d bytes in, %d out, exit %+v", len(in), len(out.String()), exit)
		}
	}
}

func TestStdinStaysOpen(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("read a; echo got $a; read b; echo got $b", openStdin))
	for _, word := range []string{"one", "two"} {
		var out output
		done := h.attach(id, model.Streams{Stdin: strings.NewReader(word + "\n"), Stdout: &out})
		h.eventually(word, func() bool { return strings.Contains(out.String(), "got "+word) })
		if word == "two" {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	h.wait(id)
}

// A terminal stays open for the next client, whatever the first one did.
func TestTerminalOutlivesItsClient(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("read a; echo got $a; read b; echo got $b", interactive, tty))
	for _, word := range []string{"one", "two"} {
		var out output
		ctx, leave := context.WithCancel(h.ctx)
		left := make(chan error, 1)
		go func() {
			left <- h.r.Attach(ctx, id, model.Streams{Stdin: strings.NewReader(word + "\n"), Stdout: &out}, nil)
		}()
		h.eventually(word, func() bool { return strings.Contains(out.String(), "got "+word) })
		leave()
		<-left
	}
	h.wait(id)
}

// A client without stdin must not end the stdin of the one that has it.
func TestOtherClientKeepsStdin(t *testing.T) {
	h := newHost(t)
	id := h.start(h.command([]string{"cat"}, interactive))
	in, write := io.Pipe()
	var out output
	done := h.attach(id, model.Streams{Stdin: in, Stdout: &out, CloseStdin: true})
	ctx, cancel := context.WithCancel(h.ctx)
	left := make(chan error, 1)
	go func() { left <- h.r.Attach(ctx, id, model.Streams{Stdout: io.Discard}, cancel) }()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	time.Sleep(50 * time.Millisecond)
	_, _ = io.WriteString(write, "still here\n")
	h.eventually("echo", func() bool { return out.String() == "still here\n" })
	_ = write.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	h.wait(id)
}

func TestTerminal(t *testing.T) {
	h := newHost(t)
	id := h.create(h.sh(`for s in "30 100" "40 120"; do until [ "$(stty size)" = "$s" ]; do sleep 0.01; done; echo "$s"; done; test -t 0 && echo tty`, openStdin, tty))
	in, _ := io.Pipe()
	var out output
	done := h.attach(id, model.Streams{Stdin: in, Stdout: &out})
	if err := h.r.Resize(h.ctx, id, 30, 100); err != nil {
		t.Error(err)
	}
	if err := h.r.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	h.eventually("first size", func() bool { return strings.Contains(out.String(), "30 100") })
	if err := h.r.Resize(h.ctx, id, 40, 120); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	h.wait(id)
	for _, want := range []string{"40 120\r\n", "tty\r\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
}

func TestDetach(t *testing.T) {
	h := newHost(t)
	id := h.start(h.command([]string{"cat"}, openStdin, tty))
	var out output
	in, write := io.Pipe()
	done := h.attach(id, model.Streams{Stdin: in, Stdout: &out, DetachKeys: []byte{16, 17}})
	_, _ = io.WriteString(write, "ab\n")
	h.eventually("echo", func() bool { return strings.Contains(out.String(), "ab") })
	_, _ = write.Write([]byte{16})
	_, _ = write.Write([]byte{17})
	if err := <-done; !errors.Is(err, model.ErrDetached) {
		t.Errorf("error: %v", err)
	}
	if s, _ := h.r.State(h.ctx, id); !s.Running {
		t.Error("detaching ended the container")
	}
}

// A client that does not read must not keep others, or the log, from output
// that fits its backlog.
func TestSlowClient(t *testing.T) {
	h := newHost(t)
	id := h.create(h.sh("seq 100000; echo end"))
	blocked, unblock := io.Pipe()
	slow := h.attach(id, model.Streams{Stdout: unblock})
	var out output
	fast := h.attach(id, model.Streams{Stdout: &out})
	if err := h.r.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := <-fast; err != nil || !strings.HasSuffix(out.String(), "100000\nend\n") {
		t.Errorf("fast client: %d bytes, %v", len(out.String()), err)
	}
	h.wait(id)
	got := make(chan int, 1)
	go func() {
		n, _ := io.Copy(io.Discard, blocked)
		got <- int(n)
	}()
	if err := <-slow; err != nil {
		t.Errorf("slow client: %v", err)
	}
	_ = unblock.Close()
	if n := <-got; n != len(out.String()) {
		t.Errorf("slow client got %d bytes of %d", n, len(out.String()))
	}
}

func TestClientThatLeft(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("sleep 0.1; yes | head -c 9000000; echo done >&2"))
	read, write := io.Pipe()
	_ = read.Close()
	if err := <-h.attach(id, model.Streams{Stdout: write}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error: %v", err)
	}
	if exit := h.wait(id); exit.ExitCode != 0 {
		t.Errorf("exit: %+v", exit)
	}
}
