package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

func TestExitCodesAndStreams(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	for _, c := range []struct {
		code int
		args []string
	}{
		{0, []string{"busybox", "true"}},
		{3, []string{"busybox", "sh", "-c", "exit 3"}},
		{127, []string{"busybox", "nothing-here"}},
		{126, []string{"busybox", "/etc"}},
		{137, []string{"busybox", "sh", "-c", `sh -c 'kill -9 $$'; exit $?`}},
		{125, []string{"--name", "with space", "busybox", "true"}},
		{125, []string{"nothing-here:latest"}},
	} {
		if r := h.TryJ(append([]string{"run", "--rm"}, c.args...)...); r.Code != c.code {
			t.Errorf("run %v: exit code %d, want %d\n%s", c.args, r.Code, c.code, r.Stderr)
		}
	}
	if r := h.Try(strings.NewReader("hello\n"), "jackstay", "run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo bad >&2"); r.Stdout != "hello\n" || r.Stderr != "bad\n" {
		t.Errorf("streams: %+v", r)
	}
	if r := h.Try(nil, "script", "-qec", "jackstay run --rm -t busybox tty", "/dev/null"); !strings.Contains(r.Stdout, "/dev/pts/0") {
		t.Errorf("tty: %+v", r)
	}
	if ps := h.J("ps", "-aq"); ps != "" {
		t.Errorf("--rm left %s", ps)
	}
}

// The steps of the documents, with the machine's own docker command.
func TestDockerCommand(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	id := h.D("run", "-d", "--name", "ticktock", "-p", "8080:8000", "busybox", "sh", "-c", "echo tick; echo tock >&2; exec probe serve ticktock tcp:8000")
	if got := h.D("ps", "-l", "--format", "{{.ID}} {{.Names}} {{.Ports}}"); got != id[:12]+" ticktock 0.0.0.0:8080->8000/tcp" {
		t.Errorf("ps -l: %s", got)
	}
	if got := h.D("inspect", "-f", "{{json .State.Running}}", "ticktock"); got != "true" {
		t.Errorf("inspect: %s", got)
	}
	if got := h.D("inspect", "--format", "{{ .NetworkSettings.IPAddress }}", "ticktock"); got != h.IP("ticktock", "bridge") || got == "" {
		t.Errorf("IPAddress: %q", got)
	}
	if got := h.J("inspect", "--format", "{{ .NetworkSettings.IPAddress }}", "ticktock"); got != h.IP("ticktock", "bridge") {
		t.Errorf("IPAddress with our command: %q", got)
	}
	if got := h.D("port", "ticktock", "8000"); got != "0.0.0.0:8080" {
		t.Errorf("port: %s", got)
	}
	if r := h.Try(nil, "docker", "logs", "ticktock"); r.Stdout != "tick\n" || r.Stderr != "tock\n" {
		t.Errorf("logs: %+v", r)
	}
	if got := h.D("exec", "ticktock", "hostname"); got != id[:12] {
		t.Errorf("hostname: %s", got)
	}
	if r := h.Try(nil, "docker", "run", "--name", "ticktock", "busybox"); r.Code != 125 || !strings.Contains(r.Stderr, `The container name "/ticktock" is already in use by container "`+id) {
		t.Errorf("taken name: %+v", r)
	}
	h.D("rename", "ticktock", "oldticktock")
	h.D("stop", "-t", "1", "oldticktock")
	if got := h.D("ps", "-a", "--filter", "status=exited", "--format", "{{.Names}}"); got != "oldticktock" {
		t.Errorf("after stop: %s", got)
	}
	h.D("rm", "oldticktock")
	if got := h.D("ps", "-aq"); got != "" {
		t.Errorf("after rm: %s", got)
	}
	for _, args := range [][]string{{"version"}, {"info"}, {"network", "ls"}, {"network", "inspect", "bridge"}, {"images"}, {"system", "df"}, {"volume", "ls"}} {
		h.D(args...)
	}
}

// The address is the container's from create to remove.
func TestAddressStays(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	serve(h, "first")
	serve(h, "db", "--restart", "always")
	h.J("run", "-d", "--name", "web", "--link", "db:store", "--restart", "always", "busybox", "sleep", "100000")
	ip := h.IP("db", "bridge")
	reached := func(what string) {
		t.Helper()
		h.Eventually(5*time.Second, func() error {
			if got := get(h, "web", "store:8000"); got != "db" {
				return errorf("%s: store answered %q", what, got)
			}
			return nil
		})
		if got := h.IP("db", "bridge"); got != ip {
			t.Errorf("%s: address %s, was %s", what, got, ip)
		}
	}
	h.J("stop", "-t", "0", "db")
	h.J("rm", "-f", "first") // its lower address is free now
	serve(h, "third")
	h.J("start", "db")
	reached("stopped and started")
	h.J("kill", "db")
	h.J("start", "db")
	reached("killed and started")
	h.StopDaemon()
	h.StartDaemon()
	reached("the daemon restarted")
	h.KillDaemon()
	h.StartDaemon()
	reached("the daemon killed")
}

// What happens while the daemon is down is known when it is back.
func TestContainersOutliveTheDaemon(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("run", "-d", "--name", "talker", "-p", "8080:8000", "busybox", "sh", "-c", "(while true; do echo line; sleep 0.1; done) & exec probe serve talker tcp:8000")
	h.J("run", "-d", "--name", "ends", "busybox", "sh", "-c", "sleep 0.5; echo last words; exit 7")
	h.J("run", "-d", "--name", "again", "--restart", "on-failure:3", "busybox", "sh", "-c", "sleep 0.5; exit 1")
	h.KillDaemon()
	written := func() (n int) {
		files, _ := filepath.Glob(h.Root() + "/containers/*/container.log")
		for _, f := range files {
			data, _ := os.ReadFile(f)
			n += strings.Count(string(data), " line\n")
		}
		return n
	}
	before := written()
	h.Eventually(5*time.Second, func() error {
		if n := written(); n < before+8 {
			return errorf("%d lines when the daemon was killed, %d now", before, n)
		}
		return nil
	})
	if got := askHost(h, "127.0.0.1:8080"); !strings.HasPrefix(got, "talker") {
		t.Errorf("the published port while the daemon is down: %q", got)
	}
	h.StartDaemon()
	if n := strings.Count(h.J("logs", "talker"), "line\n"); n < before+8 {
		t.Errorf("%d lines: those written while the daemon was down are missing", n)
	}
	if got := h.J("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "ends"); got != "exited 7" {
		t.Errorf("ended meanwhile: %s", got)
	}
	if got := h.J("logs", "ends"); got != "last words" {
		t.Errorf("its log: %q", got)
	}
	h.Eventually(10*time.Second, func() error {
		if got := h.J("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "again"); got != "3 exited" {
			return errorf("restart policy: %s", got)
		}
		return nil
	})
}
