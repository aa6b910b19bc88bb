package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// docker is the real command against a fixture.
type docker struct {
	*fixture
	socket string
}

func newDocker(t *testing.T) *docker {
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("the docker command is not installed")
	}
	f := newFixture(t)
	return &docker{fixture: f, socket: f.listen()}
}

func (d *docker) run(input string, args ...string) (stdout, stderr string, code int) {
	d.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", append([]string{"-H", "unix://" + d.socket}, args...)...)
	cmd.Env = []string{"HOME=" + d.TempDir(), "PATH=/usr/bin:/bin"}
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// wants runs a command that must succeed and print all the words.
func (d *docker) wants(args string, words ...string) string {
	d.Helper()
	out, errOut, code := d.run("", strings.Split(args, " ")...)
	for _, w := range words {
		if code != 0 || !strings.Contains(out, w) {
			d.Errorf("docker %s: exit %d\n%s%s\nwant …%s…", args, code, out, errOut, w)
		}
	}
	return out
}

func TestDockerReads(t *testing.T) {
	d := newDocker(t)
	web := d.engine.addContainer("web", true)
	d.engine.join(web, "bridge", "172.17.0.2/16")
	web.Config.ExposedPorts = []model.Port{{Number: 80, Proto: "tcp"}, {Number: 443, Proto: "tcp"}}
	web.Ports = []model.PortMapping{{HostIP: zeroAddr, HostPort: 8080, Port: model.Port{Number: 80, Proto: "tcp"}}}
	old := d.engine.addContainer("old", false)
	old.State = model.State{Status: model.StatusExited, ExitCode: 3, StartedAt: time.Now().Add(-time.Hour), FinishedAt: time.Now().Add(-3 * time.Minute)}

	d.wants("version", "Version:          0.1.0", "1.55 (minimum version 1.21)", "conmon:", "2.1.6")
	if out, errOut, code := d.run("", "info"); code != 0 || strings.Contains(out+errOut, "WARNING") || !strings.Contains(out, "Server Version: 0.1.0") || !strings.Contains(out, "Swarm: inactive") {
		t.Errorf("info: exit %d\n%s%s", code, out, errOut)
	}
	d.wants("ps", "web", `"sleep '1 h'"`, "Up 5 seconds", "443/tcp, 0.0.0.0:8080->80/tcp")
	d.wants("ps -a", "Exited (3) 3 minutes ago")
	if out := d.wants("ps -q", web.ID[:12]); strings.Contains(out, old.ID[:12]) {
		t.Error("ps shows a container that does not run")
	}
	d.wants("ps -a --filter exited=3 --format {{.Names}}:{{.Size}}", "old:10B (virtual 1kB)")
	d.wants("inspect --format {{.NetworkSettings.IPAddress}} web", "172.17.0.2\n")
	d.wants("inspect -f {{.State.Running}}{{.NetworkSettings.Networks.bridge.IPAddress}} web", "true172.17.0.2")
	d.wants("port web", "80/tcp -> 0.0.0.0:8080")
	d.wants("top web", "4711")
	d.wants("images", "busybox", "latest", "1kB")
	d.wants("image inspect -f {{.Id}}{{.Config.Cmd}} 127.0.0.1:5000/a/b:tag", d.images.images["busybox"].ID+"[sh]")
	d.wants("history busybox", "CMD sh", "<missing>")
	d.wants("network ls", "bridge", "host", "null")
	d.wants("network inspect bridge", `"Subnet": "172.17.0.0/16"`, `"Gateway": "172.17.0.1"`, `"IPv4Address": "172.17.0.2/16"`)
	d.wants("volume ls", "DRIVER")
	d.wants("system df", "Images", "Build Cache")
	d.wants("system df -v", "web")
	d.wants("diff web", "")
	if _, errOut, code := d.run("", "inspect", "nobody"); code != 1 || !strings.Contains(errOut, "No such object: nobody") {
		t.Errorf("inspect nobody: %d %s", code, errOut)
	}
}

func TestDockerWrites(t *testing.T) {
	d := newDocker(t)
	d.engine.addContainer("web", true)
	d.wants("network create --subnet 10.1.0.0/24 dev", fakeID("net-dev"))
	d.wants("network connect --alias z dev web")
	equal(t, "connect", d.engine.joins, []model.EndpointRequest{{Network: "dev", Aliases: []string{"z"}, DriverOpts: map[string]string{}}})
	d.wants("volume create data", "data")
	d.wants("rename web www")
	d.wants("stop -t 3 web", "web")
	d.wants("kill -s HUP web", "web")
	d.wants("rm -f -v web", "web")
	d.wants("update --memory 5m --restart no web", "web")
	d.wants("tag busybox x/y:1")
	d.wants("rmi busybox", "Untagged: busybox")
	for _, call := range []string{"connect dev web", "rename web www", "stop web  3", "kill web HUP", "remove web true true"} {
		d.engine.called(t, call)
	}
	d.images.progress = []model.Progress{{ID: "aa", Status: "Pull complete"}, {Status: "Status: Downloaded newer image for busybox:latest"}}
	d.wants("pull busybox", "aa: Pull complete", "Downloaded newer image", "docker.io/library/busybox:latest")
	if _, errOut, code := d.run("", "cp", "web:/x", "/tmp/y"); code == 0 || !strings.Contains(errOut, "docker exec CONTAINER tar") {
		t.Errorf("cp: %d %s", code, errOut)
	}
}

func TestDockerRun(t *testing.T) {
	d := newDocker(t)
	program := func(s model.Streams) (int, error) {
		var in []byte
		if s.Stdin != nil {
			in, _ = io.ReadAll(s.Stdin) // the client's end of input, while its output stays open
		}
		_, _ = s.Stdout.Write(append([]byte("out:"), in...))
		if s.Stderr != nil {
			_, _ = s.Stderr.Write([]byte("err"))
		}
		d.engine.waited <- model.WaitResult{ExitCode: 7}
		return 7, nil
	}
	d.engine.run = program
	out, errOut, code := d.run("hello", "run", "-i", "--name", "a", "busybox", "cat")
	if out != "out:hello" || errOut != "err" || code != 7 {
		t.Errorf("run -i: %q %q %d", out, errOut, code)
	}
	for words, want := range map[string]int{
		`exec: "nope": executable file not found in $PATH`: 127,
		`exec: "/etc": permission denied`:                  126,
		"something else":                                   125,
	} {
		d.engine.run = func(model.Streams) (int, error) { return 0, model.ErrDetached }
		d.engine.fail["start"] = errs.New(errs.Invalid, "failed to create task for container: %s", words)
		_, errOut, code := d.run("", "run", "--name", "b", "busybox", "nope")
		if code != want || !strings.Contains(errOut, words) {
			t.Errorf("%s: exit %d, want %d: %s", words, code, want, errOut)
		}
	}
	d.engine.fail["create"] = errs.New(errs.Conflict, `Conflict. The container name "/a" is already in use`)
	if _, errOut, code := d.run("", "run", "--name", "a", "busybox"); code != 125 || !strings.Contains(errOut, "Conflict. The container name") {
		t.Errorf("taken name: %d %s", code, errOut)
	}
}

func TestDockerExec(t *testing.T) {
	d := newDocker(t)
	d.engine.addContainer("web", true)
	d.engine.run = func(s model.Streams) (int, error) {
		in, _ := io.ReadAll(s.Stdin)
		_, _ = s.Stdout.Write(in)
		_, _ = s.Stderr.Write([]byte("err"))
		return 5, nil
	}
	out, errOut, code := d.run("text", "exec", "-i", "web", "cat")
	if out != "text" || errOut != "err" || code != 5 {
		t.Errorf("exec: %q %q %d", out, errOut, code)
	}
	d.engine.fail["execstart"] = errs.New(errs.Invalid, "OCI runtime exec failed: exec: \"nope\": executable file not found in $PATH")
	_, errOut, code = d.run("", "exec", "web", "nope")
	if code != 127 || !strings.Contains(errOut, "executable file not found") {
		t.Errorf("exec of what is not there: %q %d", errOut, code)
	}
	if _, _, code = d.run("", "exec", "-d", "web", "nope"); code == 0 {
		t.Error("exec -d of what is not there succeeded")
	}
}

func TestDockerLogsAndEvents(t *testing.T) {
	d := newDocker(t)
	d.engine.addContainer("web", true)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	d.engine.lines = []model.LogLine{{Time: at, Data: []byte("one\n")}, {Time: at, Stderr: true, Data: []byte("two\n")}}
	out, errOut, _ := d.run("", "logs", "-t", "web")
	if out != "2026-01-02T03:04:05.000006000Z one\n" || errOut != "2026-01-02T03:04:05.000006000Z two\n" {
		t.Errorf("logs: %q %q", out, errOut)
	}
	d.run("", "logs", "--tail", "5", "--since", "2026-01-02T03:04:05.5Z", "web")
	q := d.engine.queries[1]
	if q.Tail != 5 || !q.Since.Equal(at.Truncate(time.Second).Add(500*time.Millisecond)) {
		t.Errorf("query %+v", q)
	}
	d.engine.past = []model.Event{
		{Type: "container", Action: "start", ID: fakeID("web"), Attributes: map[string]string{"name": "web", "image": "busybox:latest"}, Time: at},
		{Type: "network", Action: "connect", ID: "n", Attributes: map[string]string{"name": "dev"}, Time: at},
	}
	out = d.wants("events --since 2026-01-02T00:00:00 --until 2026-01-03T00:00:00 --filter container=web", "container start "+fakeID("web"))
	if strings.Contains(out, "network") {
		t.Errorf("the filter let pass: %s", out)
	}
}

func TestDockerStats(t *testing.T) {
	d := newDocker(t)
	d.engine.addContainer("web", true)
	d.engine.addContainer("old", false)
	d.engine.stats = model.Stats{Read: time.Now(), MemoryUsage: 1 << 20, MemoryLimit: 2 << 20, Pids: 3, Networks: []model.InterfaceStats{{Name: "eth0", RxBytes: 5000, TxBytes: 7000}}}
	d.wants("stats --no-stream --format {{.Name}}:{{.MemUsage}}:{{.NetIO}}:{{.PIDs}} web", "web:1MiB / 2MiB:5kB / 7kB:3")
	d.wants("stats --no-stream --format {{.Name}}:{{.PIDs}} old", "old:0")
}
