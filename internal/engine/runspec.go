package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackstay/jackstay/internal/links"
	"github.com/jackstay/jackstay/internal/model"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// runSpec gives what the runtime needs to make the container's process.
func (e *Engine) runSpec(s *model.Snapshot, c *model.Container, rootfs, netns string) (RunSpec, error) {
	spec := RunSpec{Container: c, Rootfs: rootfs, NetNS: netns, Hostname: c.Config.Hostname}
	if ref, joined := joinedContainer(c.Host.NetworkMode); joined {
		t, err := runningTarget(s, c, ref, "network")
		if err != nil {
			return spec, err
		}
		spec.Hostname = t.Config.Hostname
	}
	for _, j := range []struct {
		mode, what string
		pid        *int
	}{{c.Host.PidMode, "PID", &spec.PidOf}, {c.Host.IpcMode, "IPC", &spec.IpcOf}} {
		ref, joined := strings.CutPrefix(j.mode, "container:")
		if !joined {
			continue
		}
		t, err := runningTarget(s, c, ref, j.what)
		if err != nil {
			return spec, err
		}
		*j.pid = t.State.Pid
	}
	spec.Env = e.environment(s, c, spec.Hostname, c.Config.Tty)
	mounts, err := e.runMounts(s, c)
	if err != nil {
		return spec, err
	}
	files, err := e.fileMounts(c, mounts)
	spec.Mounts = append(files, mounts...)
	return spec, err
}

// environment gives a process's variables: the defaults, then those of links,
// then the container's own, each replacing what was there before.
func (e *Engine) environment(s *model.Snapshot, c *model.Container, hostname string, tty bool) []string {
	env := []string{defaultPath, "HOSTNAME=" + hostname}
	if tty {
		env = append(env, "TERM=xterm")
	}
	env = overrideEnv(env, links.Env(s, c.ID))
	return overrideEnv(env, c.Config.Env)
}

// fileMounts gives hosts, hostname and resolv.conf, except where the user
// mounts a file there. The reconciler writes them; they only have to exist now.
func (e *Engine) fileMounts(c *model.Container, user []RunMount) ([]RunMount, error) {
	taken := map[string]bool{}
	for _, m := range user {
		taken[m.Destination] = true
	}
	access := "rw"
	if c.Host.ReadonlyRootfs {
		access = "ro"
	}
	dir := e.containerDir(c.ID)
	if err := os.MkdirAll(dir, 0o710); err != nil {
		return nil, fmt.Errorf("make the directory of container %s: %w", c.Name, err)
	}
	var out []RunMount
	for _, name := range []string{"resolv.conf", "hostname", "hosts"} {
		dest, src := "/etc/"+name, filepath.Join(dir, name)
		if taken[dest] {
			continue
		}
		f, err := os.OpenFile(src, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("make the files of container %s: %w", c.Name, err)
		}
		_ = f.Close() // nothing was written
		out = append(out, RunMount{Type: "bind", Source: src, Destination: dest, Options: []string{"rbind", access, "rprivate"}})
	}
	return out, nil
}
