//go:build linux

package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/jackstay/jackstay/internal/engine"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// specVersion is the version written to config.json: the oldest that has all
// we use, so that runc 1.0 reads it.
const specVersion = "1.0.2"

// ociSpec makes config.json: Docker's defaults (moby's daemon/oci_linux.go) with
// what the container asks for. An option that can't be met is an error.
func (r *Runtime) ociSpec(in engine.RunSpec) ([]byte, error) {
	c := in.Container
	sec, err := parseSecurity(c, r.masked)
	if err != nil {
		return nil, err
	}
	process, err := newProcess(in, sec)
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{
		Version:     specVersion,
		Process:     process,
		Root:        &specs.Root{Path: in.Rootfs, Readonly: c.Host.ReadonlyRootfs},
		Annotations: c.Host.Annotations,
		Linux: &specs.Linux{
			CgroupsPath:   r.cgroupPath(c),
			MaskedPaths:   sec.maskedPaths,
			ReadonlyPaths: sec.readonlyPaths,
		},
	}
	if err := setNamespaces(spec, in, r.cgroups.v2); err != nil {
		return nil, err
	}
	if spec.Linux.Resources, err = r.cgroups.resources(c.Host.Resources); err != nil {
		return nil, err
	}
	if err := setDevices(spec, c.Host); err != nil {
		return nil, err
	}
	if err := r.setMounts(spec, in, sec); err != nil {
		return nil, err
	}
	if c.Host.Init && !shared(c.Host.PidMode) {
		if err := addInit(spec); err != nil {
			return nil, err
		}
	}
	profile, err := r.seccomp.profile(sec, spec)
	if err != nil {
		return nil, err
	}
	return marshalSpec(spec, profile)
}

// marshalSpec writes the specification with an already encoded seccomp profile,
// by far its largest part.
func marshalSpec(spec *specs.Spec, seccomp json.RawMessage) ([]byte, error) {
	type linux struct {
		*specs.Linux
		Seccomp json.RawMessage `json:"seccomp,omitempty"`
	}
	data, err := json.Marshal(struct {
		*specs.Spec
		Linux linux `json:"linux"`
	}{spec, linux{spec.Linux, seccomp}})
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return data, nil
}

// newProcess describes the container's first process.
func newProcess(in engine.RunSpec, sec security) (*specs.Process, error) {
	c := in.Container
	if c.Path == "" {
		return nil, errs.New(errs.Invalid, "no command specified")
	}
	user, err := resolveUser(in.Rootfs, c.Config.User, c.Host.GroupAdd)
	if err != nil {
		return nil, err
	}
	cwd, err := workingDir(in.Rootfs, c.Config.WorkingDir)
	if err != nil {
		return nil, err
	}
	limits, err := rlimits(c.Host.Ulimits)
	if err != nil {
		return nil, err
	}
	score, err := oomScore(c.Host.OomScoreAdj)
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		Terminal:        c.Config.Tty,
		User:            user,
		Args:            append([]string{c.Path}, c.Args...),
		Env:             in.Env, // HOME is the OCI runtime's to add, from the /etc/passwd inside
		Cwd:             cwd,
		Capabilities:    capabilitySets(sec.caps),
		Rlimits:         limits,
		NoNewPrivileges: sec.noNewPrivileges,
		OOMScoreAdj:     score,
	}
	if size := c.Host.ConsoleSize; c.Config.Tty && size != [2]uint{} {
		p.ConsoleSize = &specs.Box{Height: size[0], Width: size[1]}
	}
	return p, nil
}

func capabilitySets(caps []string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps}
}

// workingDir makes the working directory if it is absent, as Docker does.
func workingDir(rootfs, dir string) (string, error) {
	if dir == "" {
		return "/", nil
	}
	dir = path.Clean(dir)
	if !path.IsAbs(dir) {
		return "", errs.New(errs.Invalid, "the working directory '%s' is invalid, it needs to be an absolute path", dir)
	}
	host, err := securejoin.SecureJoin(rootfs, dir)
	if err != nil {
		return "", fmt.Errorf("working directory %s: %w", dir, err)
	}
	if info, err := os.Stat(host); err == nil && !info.IsDir() {
		return "", errs.New(errs.Invalid, "cannot mkdir: %s is not a directory", dir)
	}
	if err := os.MkdirAll(host, 0o755); err != nil {
		return "", fmt.Errorf("working directory %s: %w", dir, err)
	}
	return dir, nil
}

// initPath is where Docker puts the init program inside the container.
const initPath = "/sbin/docker-init"

// addInit puts a small init before the program. It must be static: the image
// has no libraries for it.
func addInit(spec *specs.Spec) error {
	for _, name := range []string{"docker-init", "tini-static", "catatonit"} {
		for _, dir := range []string{"/usr/libexec/docker", "/usr/bin", "/usr/local/bin", "/usr/libexec/podman", "/usr/libexec/catatonit"} {
			file := filepath.Join(dir, name)
			if info, err := os.Stat(file); err != nil || info.Mode()&0o111 == 0 {
				continue
			}
			spec.Process.Args = append([]string{initPath, "--"}, spec.Process.Args...)
			spec.Mounts = append(spec.Mounts, specs.Mount{
				Type: "bind", Source: file, Destination: initPath, Options: []string{"bind", "ro"},
			})
			return nil
		}
	}
	return errs.New(errs.Unavailable, "--init: no docker-init, tini-static or catatonit on this host: install the package tini or catatonit")
}

// setNamespaces gives the container its own namespaces, or another's.
func setNamespaces(spec *specs.Spec, in engine.RunSpec, v2 bool) error {
	h := in.Container.Host
	add := func(t specs.LinuxNamespaceType, file string) {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: t, Path: file})
	}
	add(specs.MountNamespace, "")
	if err := addMode(add, specs.PIDNamespace, "pid", h.PidMode, in.PidOf, []string{"private"}); err != nil {
		return err
	}
	if err := addMode(add, specs.IPCNamespace, "ipc", h.IpcMode, in.IpcOf, []string{"private", "shareable", "none"}); err != nil {
		return err
	}
	if err := addMode(add, specs.UTSNamespace, "uts", h.UTSMode, 0, []string{"private"}); err != nil {
		return err
	}
	if h.UTSMode != "host" {
		spec.Hostname, spec.Domainname = in.Hostname, ""
		if d := in.Container.Config.Domainname; d != "" {
			// runc before 1.2 ignores the specification's domainname; the
			// sysctl is what moby sets, and reaches every version.
			setSysctl(spec, "kernel.domainname", d)
		}
	}
	if in.NetNS != "" {
		add(specs.NetworkNamespace, in.NetNS)
		if private := h.NetworkMode; private != "host" && !strings.HasPrefix(string(private), "container:") {
			defaultNetSysctls(spec)
		}
	}
	switch h.CgroupnsMode {
	case "private":
		add(specs.CgroupNamespace, "")
	case "":
		if v2 {
			add(specs.CgroupNamespace, "")
		}
	case "host":
	default:
		return errs.New(errs.Invalid, "invalid cgroup namespace mode: %v", h.CgroupnsMode)
	}
	for name, value := range h.Sysctls {
		if strings.HasPrefix(name, "net.") && in.NetNS == "" {
			return errs.New(errs.Invalid, "sysctl '%s' not allowed in host network namespace", name)
		}
		// The network's are written too: runc accepts them for a namespace
		// given by path, and writing them again where they are set is harmless.
		setSysctl(spec, name, value)
	}
	return nil
}

// addMode adds a namespace by mode: private, the host's (none added) or
// another container's, whose process is of.
func addMode(add func(specs.LinuxNamespaceType, string), t specs.LinuxNamespaceType, file, mode string, of int, private []string) error {
	switch {
	case mode == "" || slices.Contains(private, mode):
		add(t, "")
	case mode == "host":
	case strings.HasPrefix(mode, "container:") && of > 0:
		add(t, fmt.Sprintf("/proc/%d/ns/%s", of, file))
	case strings.HasPrefix(mode, "container:"):
		return errs.New(errs.Conflict, "cannot join the %s namespace of a non running container: %s", file, strings.TrimPrefix(mode, "container:"))
	default:
		return errs.New(errs.Invalid, "invalid %s mode: %s", strings.ToUpper(file), mode)
	}
	return nil
}

// shared tells whether a namespace mode joins somebody else's namespace.
func shared(mode string) bool { return mode == "host" || strings.HasPrefix(mode, "container:") }

func setSysctl(spec *specs.Spec, name, value string) {
	if spec.Linux.Sysctl == nil {
		spec.Linux.Sysctl = map[string]string{}
	}
	spec.Linux.Sysctl[name] = value
}

// defaultNetSysctls are Docker's: ping and low ports without capabilities.
func defaultNetSysctls(spec *specs.Spec) {
	setSysctl(spec, "net.ipv4.ping_group_range", "0 2147483647")
	setSysctl(spec, "net.ipv4.ip_unprivileged_port_start", "0")
}

// cgroupPath is the container's cgroup below the mount points.
func (r *Runtime) cgroupPath(c *model.Container) string {
	parent := c.Host.CgroupParent
	if parent == "" {
		parent = r.parent
	}
	return path.Join(path.Clean("/"+parent), c.ID) // Clean guards against ../..
}

// bundleCgroup reads the cgroup's path back from a bundle; without one it is
// the default.
func (r *Runtime) bundleCgroup(id string) string {
	var spec specs.Spec
	data, err := os.ReadFile(filepath.Join(r.bundle(id), "config.json"))
	if err == nil && json.Unmarshal(data, &spec) == nil && spec.Linux != nil && path.Base(spec.Linux.CgroupsPath) == id {
		return spec.Linux.CgroupsPath
	}
	return path.Join(path.Clean("/"+r.parent), id)
}
