package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// engine is one container engine in its sandbox. Its commands are Docker's.
type engine struct {
	name                  string
	version               string
	box                   *sandbox
	cli                   []string // the command and its global flags
	atOnce                []string // flags that make rm -f the others': no ten seconds for the stop signal, no failure where one is gone
	daemon                []string // nil: no daemon
	process               *exec.Cmd
	network               string  // a user network, made at start
	memoryPer, machinePer float64 // MB, left by growth
	outage                *outage // left by restart
}

// available says which engines are installed, ours first.
func available() []func(bin string) (*engine, error) {
	all := []func(string) (*engine, error){jackstay}
	if _, err := os.Stat("/usr/sbin/dockerd"); err == nil {
		all = append(all, docker)
	}
	if _, err := exec.LookPath("podman"); err == nil {
		all = append(all, podman)
	}
	return all
}

func jackstay(bin string) (*engine, error) {
	box, err := newSandbox()
	if err != nil {
		return nil, err
	}
	box.env = []string{"JACKSTAY_HOST=unix://" + box.dir + "/run/jackstay.sock"}
	return &engine{
		name: "jackstay", box: box, cli: []string{filepath.Join(bin, "jackstay")},
		daemon: []string{filepath.Join(bin, "jackstayd"), "--root", box.dir + "/root", "--run-dir", box.dir + "/run"},
	}, nil
}

// docker is dockerd as it starts itself, with a containerd of its own.
func docker(string) (*engine, error) {
	box, err := newSandbox()
	if err != nil {
		return nil, err
	}
	cli := "/usr/bin/docker"
	if _, err := os.Stat(cli); err != nil {
		cli = "docker"
	}
	socket := "unix://" + box.dir + "/docker.sock"
	box.env = []string{"DOCKER_HOST=" + socket, "PATH=/usr/sbin:/usr/bin:/sbin:/bin:" + os.Getenv("PATH")}
	return &engine{
		name: "docker", box: box, cli: []string{cli},
		daemon: []string{"/usr/sbin/dockerd", "--data-root", box.dir + "/root", "--exec-root", box.dir + "/run", "--pidfile", box.dir + "/pid",
			"-H", socket, "--live-restore", "--storage-driver", "overlay2", "--log-level", "error"},
	}, nil
}

func podman(string) (*engine, error) {
	box, err := newSandbox()
	if err != nil {
		return nil, err
	}
	// Podman asks for more files and processes than a host may allow; the
	// others take the host's limits.
	var files, processes unix.Rlimit
	if err := errors.Join(unix.Getrlimit(unix.RLIMIT_NOFILE, &files), unix.Getrlimit(unix.RLIMIT_NPROC, &processes)); err != nil {
		return nil, errors.Join(err, box.close())
	}
	conf := fmt.Sprintf("[containers]\ndefault_ulimits = [\"nofile=%d:%d\", \"nproc=%d:%d\"]\n", files.Max, files.Max, processes.Max, processes.Max)
	if err := os.WriteFile(box.dir+"/containers.conf", []byte(conf), 0o644); err != nil {
		return nil, errors.Join(err, box.close())
	}
	box.env = []string{"CONTAINERS_CONF=" + box.dir + "/containers.conf"}
	return &engine{
		name: "podman", box: box, atOnce: []string{"-t", "0", "--ignore"},
		cli: []string{"podman", "--root", box.dir + "/root", "--runroot", box.dir + "/run",
			"--tmpdir", box.dir + "/tmp", "--cgroup-manager", "cgroupfs", "--network-backend", "netavark",
			"--network-config-dir", box.dir + "/net", "--events-backend", "none", "--runtime", "runc", "--storage-driver", "overlay"},
	}, nil
}

// up starts the daemon, if there is one, and makes the image and the network.
func (e *engine) up() error {
	if err := e.startDaemon(); err != nil {
		return err
	}
	out, err := e.run("version", "--format", "{{.Client.Version}}")
	if err != nil {
		return err
	}
	e.version = out
	if _, err := e.run("import", imageTar, "bench"); err != nil {
		return err
	}
	e.network = "benchnet"
	_, err = e.run("network", "create", e.network)
	return err
}

// startDaemon starts the daemon and waits until its API answers.
func (e *engine) startDaemon() error {
	if e.daemon == nil {
		return nil
	}
	var err error
	if e.process, err = e.box.start("log", e.daemon[0], e.daemon[1:]...); err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if _, err = e.run("network", "ls", "-q"); err == nil {
			return nil
		}
	}
	log, _ := os.ReadFile(filepath.Join(e.box.dir, "log"))
	if len(log) > 1000 {
		log = log[len(log)-1000:]
	}
	return fmt.Errorf("%s's daemon did not come up: %w\n%s", e.name, err, log)
}

// run runs one of the engine's commands.
func (e *engine) run(args ...string) (string, error) {
	return e.box.run(e.cli[0], append(e.cli[1:len(e.cli):len(e.cli)], args...)...)
}

// timed runs a command and gives how long it took, from call to prompt.
func (e *engine) timed(args ...string) (time.Duration, error) {
	start := time.Now()
	_, err := e.run(args...)
	return time.Since(start), err
}

// remove removes these containers at once.
func (e *engine) remove(names ...string) {
	if len(names) == 0 {
		return
	}
	args := append([]string{"rm", "-f"}, e.atOnce...)
	if _, err := e.run(append(args, names...)...); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s: %v\n", e.name, err)
	}
}

// pid gives a container's first process, as seen in the sandbox.
func (e *engine) pid(name string) (string, error) {
	return e.run("inspect", "-f", "{{.State.Pid}}", name)
}

// in runs a program of the host's inside a container's network namespace.
func (e *engine) in(pid, name string, args ...string) (string, error) {
	return e.box.run("nsenter", append([]string{"--net=/proc/" + pid + "/ns/net", "--", name}, args...)...)
}

// address gives a container's address on its only network.
func (e *engine) address(name string) (string, error) {
	return e.run("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)
}

// close removes every container, which takes their cgroups too, and ends the
// sandbox with all that runs in it.
func (e *engine) close() {
	if ids, err := e.run("ps", "-aq"); err == nil {
		e.remove(strings.Fields(ids)...)
	}
	if e.process != nil && kill(e.process, syscall.SIGTERM) == nil {
		done := make(chan struct{})
		go func() { _ = e.process.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
		}
	}
	if err := e.box.close(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s left files: %v\n", e.name, err)
	}
}
