package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// raw sends a request over the socket and leaves the connection to the test.
func (f *fixture) raw(method, target string, upgrade bool, body string) (*net.UnixConn, *bufio.Reader) {
	f.Helper()
	c, err := net.Dial("unix", f.listen())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", method, target, len(body))
	if upgrade {
		head += "Connection: Upgrade\r\nUpgrade: tcp\r\n"
	}
	if _, err := io.WriteString(c, head+"\r\n"+body); err != nil {
		f.Fatal(err)
	}
	return c.(*net.UnixConn), bufio.NewReader(c)
}

// head reads the status line and headers.
func (f *fixture) head(r *bufio.Reader) (status string, header string) {
	f.Helper()
	status, err := r.ReadString('\n')
	if err != nil {
		f.Fatal(err)
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			f.Fatal(err)
		}
		if line == "\r\n" {
			return strings.TrimSpace(status), header
		}
		header += line
	}
}

func frame(kind byte, text string) string {
	head := [8]byte{0: kind}
	binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
	return string(head[:]) + text
}

func TestAttachBothWays(t *testing.T) {
	for _, c := range []struct {
		name, version  string
		tty, upgrade   bool
		status, format string
		stream         string
	}{
		{"upgraded", "/v1.50", false, true, "HTTP/1.1 101 UPGRADED", "multiplexed-stream", frame(1, "in") + frame(2, "err")},
		{"upgraded, before 1.42", "/v1.41", false, true, "HTTP/1.1 101 UPGRADED", "raw-stream", frame(1, "in") + frame(2, "err")},
		{"upgraded, tty", "/v1.50", true, true, "HTTP/1.1 101 UPGRADED", "raw-stream", "in"},
		{"not upgraded", "/v1.50", false, false, "HTTP/1.1 200 OK", "raw-stream", frame(1, "in") + frame(2, "err")},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			web := f.engine.addContainer("web", true)
			web.Config.Tty, web.Config.OpenStdin = c.tty, true
			f.engine.run = func(s model.Streams) (int, error) {
				in, _ := io.ReadAll(s.Stdin) // ends with the client's half-close
				_, _ = s.Stdout.Write(in)
				if s.Stderr != nil {
					_, _ = s.Stderr.Write([]byte("err"))
				}
				return 0, nil
			}
			conn, r := f.raw("POST", c.version+"/containers/web/attach?stream=1&stdin=1&stdout=1&stderr=1&logs=0", c.upgrade, "")
			status, header := f.head(r)
			if status != c.status || !strings.Contains(header, "Content-Type: application/vnd.docker."+c.format+"\r\n") {
				t.Fatalf("answered %q\n%s", status, header)
			}
			if c.upgrade != strings.Contains(header, "Upgrade: tcp\r\n") {
				t.Errorf("upgrade header: %s", header)
			}
			_, _ = io.WriteString(conn, "in")
			_ = conn.CloseWrite()
			got, err := io.ReadAll(r)
			if err != nil || string(got) != c.stream {
				t.Errorf("stream %q, want %q (%v)", got, c.stream, err)
			}
		})
	}
}

func TestAttachWithUnreadInputEndsCleanly(t *testing.T) {
	f := newFixture(t)
	f.engine.addContainer("web", true).Config.OpenStdin = true
	f.engine.run = func(s model.Streams) (int, error) {
		_, err := s.Stdout.Write([]byte("done"))
		return 0, err
	}
	conn, r := f.raw("POST", "/containers/web/attach?stream=1&stdin=1&stdout=1", true, "")
	_, _ = io.WriteString(conn, strings.Repeat("unread", 1000))
	f.head(r)
	got, err := io.ReadAll(r)
	if err != nil || string(got) != frame(1, "done") {
		t.Errorf("%q %v", got, err)
	}
}

func TestAttachRefusedBeforeTheStream(t *testing.T) {
	f := newFixture(t)
	f.engine.addContainer("web", true)
	f.engine.fail["attach"] = errs.New(errs.Conflict, "You cannot attach to a paused container, unpause it first")
	_, r := f.raw("POST", "/containers/web/attach?stream=1&stdout=1", true, "")
	if status, _ := f.head(r); status != "HTTP/1.1 409 Conflict" {
		t.Error(status)
	}
	f.want("POST", "/containers/nobody/attach?stream=1", "", 404, "No such container: nobody")
	f.want("POST", "/containers/web/attach?stream=1&detachKeys=ctrl-nope", "", 400, "Invalid detach keys (ctrl-nope) provided")
}

func TestAttachEndsWhenTheClientGoes(t *testing.T) {
	f := newFixture(t)
	f.engine.addContainer("web", true)
	gone := make(chan struct{})
	f.engine.run = func(s model.Streams) (int, error) { return 0, nil }
	f.server.engine = &watchingEngine{fakeEngine: f.engine, gone: gone}
	conn, r := f.raw("POST", "/containers/web/attach?stream=1&stdout=1", true, "")
	f.head(r)
	_ = conn.CloseWrite() // a client without input does this at once, and stays
	select {
	case <-gone:
		t.Fatal("a half-closed client was taken for gone")
	case <-time.After(1500 * time.Millisecond):
	}
	_ = conn.Close()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("a client that went was not noticed")
	}
}

// watchingEngine attaches until the context ends.
type watchingEngine struct {
	*fakeEngine
	gone chan struct{}
}

func (w *watchingEngine) AttachContainer(ctx context.Context, _ string, _ model.Streams, _ model.AttachOptions, ready func() error) error {
	if err := ready(); err != nil {
		return err
	}
	<-ctx.Done()
	close(w.gone)
	return ctx.Err()
}

func TestExecStart(t *testing.T) {
	f := newFixture(t)
	f.engine.addContainer("web", true)
	f.want("POST", "/containers/web/exec", `{"Cmd":["cat"],"AttachStdout":true,"AttachStderr":true,"Tty":true,"ConsoleSize":[24,80],"DetachKeys":"ctrl-a"}`, 201, `"Id":"`)
	equal(t, "request", f.engine.execReqs[0], model.ExecRequest{Cmd: []string{"cat"}, Tty: true, AttachStdout: true, AttachStderr: true, ConsoleSize: [2]uint{24, 80}, DetachKeys: "ctrl-a"})
	id := fakeID("execweb")
	f.want("GET", "/exec/"+id+"/json", "", 200, `"ExitCode":null`)
	f.engine.run = func(s model.Streams) (int, error) {
		if s.Stdin != nil || s.Stderr != nil || !bytes.Equal(s.DetachKeys, []byte{1}) {
			t.Errorf("streams %+v", s)
		}
		_, _ = s.Stdout.Write([]byte("raw"))
		return 3, model.ErrDetached
	}
	_, r := f.raw("POST", "/exec/"+id+"/start", true, `{"Tty":true,"ConsoleSize":[30,90]}`)
	status, header := f.head(r)
	got, _ := io.ReadAll(r)
	if status != "HTTP/1.1 101 UPGRADED" || !strings.Contains(header, "raw-stream") || string(got) != "raw" {
		t.Errorf("%s %s %q", status, header, got)
	}
	f.engine.called(t, "execresize "+id[:4]+" 30 90")
	f.want("GET", "/exec/"+id+"/json", "", 200, `"ExitCode":3`)
	f.want("POST", "/exec/"+id+"/start", `{"Detach":true}`, 200, "")
	f.want("POST", "/exec/nope/start", `{"Detach":true}`, 404, "No such exec instance: nope")
	f.want("POST", "/containers/web/exec", `{"Cmd":[]}`, 400, "No exec command specified")
	f.want("POST", "/exec/"+id+"/resize?h=5&w=6", "", 200, "")
	f.want("POST", "/exec/"+id+"/resize?h=x&w=6", "", 400, "invalid resize height")
}

func TestLogs(t *testing.T) {
	f := newFixture(t)
	web := f.engine.addContainer("web", true)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.engine.lines = []model.LogLine{{Time: at, Data: []byte("a\n")}, {Time: at, Stderr: true, Data: []byte("b")}}
	if _, got := f.do("GET", "/containers/web/logs?stdout=1&stderr=1&details=1", ""); got != frame(1, "a\n")+frame(2, "b") {
		t.Errorf("%q", got)
	}
	if _, got := f.do("GET", "/containers/web/logs?stderr=1&timestamps=1", ""); got != frame(2, "2026-01-02T03:04:05.000000000Z b") {
		t.Errorf("%q", got)
	}
	web.Config.Tty = true
	if _, got := f.do("GET", "/containers/web/logs?stdout=1&tail=all&since=0&until=1700000000.5", ""); got != "a\n" {
		t.Errorf("%q", got)
	}
	equal(t, "query", f.engine.queries[2], model.LogQuery{Stdout: true, Tail: -1, Until: time.Unix(1700000000, 500000000)})
	f.engine.addContainer("quiet", true).Host.LogDriver = "none"
	f.want("GET", "/containers/quiet/logs?stdout=1", "", 501, "configured logging driver does not support reading")
	f.want("GET", "/containers/web/logs", "", 400, "you must choose at least one stream")
	f.want("GET", "/containers/web/logs?stdout=1&since=x", "", 400, "as a Unix time in seconds")
	f.want("GET", "/containers/nobody/logs?stdout=1", "", 404, "No such container")
	web.Config.Tty = false
	f.engine.fail["logs"] = errs.New(errs.Unavailable, "disk on fire")
	if _, got := f.do("GET", "/containers/web/logs?stdout=1", ""); !strings.Contains(got, frame(3, "Error grabbing logs: disk on fire\n")) {
		t.Errorf("%q", got)
	}
}

func TestLogsFollowSendsEachLineAtOnce(t *testing.T) {
	f := newFixture(t)
	f.engine.addContainer("web", true).Config.Tty = true
	f.engine.lines = []model.LogLine{{Data: []byte("first\n")}}
	_, r := f.raw("GET", "/containers/web/logs?stdout=1&follow=1", false, "")
	f.head(r)
	var got string
	for !strings.Contains(got, "first") {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("the line did not come while the log goes on: %q %v", got, err)
		}
		got += line
	}
}

func TestWait(t *testing.T) {
	f := newFixture(t)
	f.engine.addContainer("web", true)
	_, r := f.raw("POST", "/v1.44/containers/web/wait?condition=next-exit", false, "")
	if status, _ := f.head(r); status != "HTTP/1.1 200 OK" { // headers come before the exit
		t.Fatal(status)
	}
	f.engine.waited <- model.WaitResult{ExitCode: 9}
	body := make([]byte, 64)
	n, _ := r.Read(body)
	rest := string(body[:n])
	for !strings.Contains(rest, `{"StatusCode":9}`) {
		n, err := r.Read(body)
		rest += string(body[:n])
		if err != nil {
			t.Fatalf("%q %v", rest, err)
		}
	}
	f.engine.called(t, "wait web next-exit")
	f.want("POST", "/containers/web/wait?condition=never", "", 400, "invalid condition: ")
	f.engine.waited <- model.WaitResult{ExitCode: 1, Error: "could not be removed"}
	f.want("POST", "/v1.21/containers/web/wait?condition=ignored", "", 200, `{"Error":{"Message":"could not be removed"},"StatusCode":1}`)
	f.engine.called(t, "wait web not-running")
}
