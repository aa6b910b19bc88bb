package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// engine is one container engine in its sandbox. Its commands are Docker's.
type engine struct {
	name      string
	version   string
	box       *sandbox
	cli       []string         // the command and its global flags
	daemon    func() *exec.Cmd // nil: no daemon
	process   *exec.Cmd
	network   string  // a user network, made at start
	memoryPer float64 // MB, left by growth
	lost      float64 // pings, left by restart
	lostErr   error
}

// available says which engines are installed, ours first.
func available(bin string) []func() (*engine, error) {
	all := []func() (*engine, error){func() (*engine, error) { return jackstay(bin) }}
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
	socket := filepath.Join(box.dir, "run/jackstay.sock")
	e := &engine{lostErr: errSkipped, name: "jackstay", box: box, cli: []string{filepath.Join(bin, "jackstay")}}
	box.env = []string{"JACKSTAY_HOST=unix://" + socket}
	e.daemon = func() *exec.Cmd {
		cmd, err := box.start("log", filepath.Join(bin, "jackstayd"), "--root", box.dir+"/root", "--run-dir", box.dir+"/run")
		fatal(err)
		return cmd
	}
	return e, e.up()
}

func docker() (*engine, error) {
	box, err := newSandbox()
	if err != nil {
		return nil, err
	}
	e := &engine{lostErr: errSkipped, name: "docker", box: box, cli: []string{"/usr/bin/docker"}}
	if _, err := os.Stat("/usr/bin/docker"); err != nil {
		e.cli = []string{"docker"}
	}
	box.env = []string{"DOCKER_HOST=unix://" + box.dir + "/docker.sock", "PATH=/usr/sbin:/usr/bin:/sbin:/bin:" + os.Getenv("PATH")}
	e.daemon = func() *exec.Cmd {
		cmd, err := box.start("log", "/usr/sbin/dockerd", "--data-root", box.dir+"/root", "--exec-root", box.dir+"/run",
			"--pidfile", box.dir+"/pid", "-H", "unix://"+box.dir+"/docker.sock", "--live-restore", "--storage-driver", "overlay2", "--log-level", "error")
		fatal(err)
		return cmd
	}
	return e, e.up()
}

func podman() (*engine, error) {
	box, err := newSandbox()
	if err != nil {
		return nil, err
	}
	e := &engine{lostErr: errSkipped, name: "podman", box: box, cli: []string{"podman", "--root", box.dir + "/root", "--runroot", box.dir + "/run",
		"--tmpdir", box.dir + "/tmp", "--cgroup-manager", "cgroupfs", "--network-backend", "netavark",
		"--network-config-dir", box.dir + "/net", "--events-backend", "none", "--runtime", "runc", "--storage-driver", "overlay"}}
	return e, e.up()
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
	e.process = e.daemon()
	for range 3000 {
		if _, err := e.run("network", "ls", "-q"); err == nil {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(e.box.dir, "log"))
	return fmt.Errorf("%s's daemon did not come up:\n%s", e.name, log)
}

// run runs one of the engine's commands.
func (e *engine) run(args ...string) (string, error) {
	return e.box.run(e.cli[0], append(e.cli[1:len(e.cli):len(e.cli)], args...)...)
}

// must runs a command that is to succeed.
func (e *engine) must(args ...string) string {
	out, err := e.run(args...)
	fatal(err)
	return out
}

// timed runs a command and gives how long it took, from call to prompt.
func (e *engine) timed(args ...string) (time.Duration, error) {
	start := time.Now()
	_, err := e.run(args...)
	return time.Since(start), err
}

// remove removes these containers at once.
func (e *engine) remove(names ...string) {
	if len(names) > 0 {
		_, _ = e.run(append([]string{"rm", "-f"}, names...)...)
	}
}

// pid gives a container's first process.
func (e *engine) pid(name string) int {
	pid, err := strconv.Atoi(e.must("inspect", "-f", "{{.State.Pid}}", name))
	fatal(err)
	return pid
}

// in runs a program of the host's inside a container's network namespace.
func (e *engine) in(pid int, name string, args ...string) (string, error) {
	return e.box.run("nsenter", append([]string{"--net=/proc/" + strconv.Itoa(pid) + "/ns/net", "--", name}, args...)...)
}

// address gives a container's address on its only network.
func (e *engine) address(name string) string {
	return e.must("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)
}

// close removes every container, ends the daemon and the sandbox.
func (e *engine) close() {
	if ids, err := e.run("ps", "-aq"); err == nil {
		e.remove(strings.Fields(ids)...)
	}
	if e.process != nil {
		_ = e.process.Process.Signal(os.Interrupt)
		done := make(chan struct{})
		go func() { _ = e.process.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			_ = e.process.Process.Kill()
		}
	}
	if err := e.box.close(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s left files: %v\n", e.name, err)
	}
}
