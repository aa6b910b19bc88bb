package engine

import (
	"net/netip"
	"path"
	"runtime"
	"strconv"
	"strings"
	"unicode"

	"github.com/moby/sys/signal"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// minMemory is the least memory limit Docker accepts: 6 MB.
const minMemory = 6 << 20

// validate refuses what can't be right in a create request, in Docker's words.
func validate(c *model.Config, h *model.HostConfig) error {
	for _, check := range []func() error{
		func() error { return checkConfig(c) },
		func() error { return checkRestartPolicy(h.RestartPolicy) },
		func() error { return checkAutoRemove(h) },
		func() error { return checkResources(h.Resources, false) },
		func() error { return checkExtraHosts(h.ExtraHosts) },
		func() error { return checkResolver(h) },
		func() error { return checkPortBindings(h.PortBindings) },
		func() error { return checkCapabilities(h) },
		func() error { return checkModes(c, h) },
		func() error { return checkUlimits(h.Ulimits) },
		func() error { return checkLogging(h) },
		func() error { return checkSysctls(h.Sysctls) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func checkConfig(c *model.Config) error {
	if c.WorkingDir != "" {
		if !path.IsAbs(c.WorkingDir) {
			return errs.New(errs.Invalid, "the working directory '%s' is invalid, it needs to be an absolute path", c.WorkingDir)
		}
		c.WorkingDir = path.Clean(c.WorkingDir)
	}
	if c.StopSignal != "" {
		if _, err := parseSignal(c.StopSignal); err != nil {
			return err
		}
	}
	for _, v := range c.Env {
		if name, _, _ := strings.Cut(v, "="); name == "" {
			return errs.New(errs.Invalid, "invalid environment variable: %s", v)
		}
	}
	if strings.ContainsFunc(c.Hostname, endsWord) {
		return errs.New(errs.Invalid, "invalid hostname %q: it must not have white space or control characters", c.Hostname)
	}
	if strings.ContainsFunc(c.Domainname, endsWord) {
		return errs.New(errs.Invalid, "invalid domainname %q: it must not have white space or control characters", c.Domainname)
	}
	if len(c.Hostname) > 63 {
		return errs.New(errs.Invalid, "invalid hostname %s: it has %d characters, and the kernel takes at most 63", c.Hostname, len(c.Hostname))
	}
	return nil
}

// endsWord tells the characters that end a word of a hosts file or a
// resolv.conf: a name that has one would write other entries too.
func endsWord(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// checkResolver refuses --dns-search and --dns-option that would write other
// lines into resolv.conf.
func checkResolver(h *model.HostConfig) error {
	for _, d := range h.DNSSearch {
		if strings.ContainsFunc(d, unicode.IsControl) {
			return errs.New(errs.Invalid, "invalid DNS search domain %q: it must be one line", d)
		}
	}
	for _, o := range h.DNSOptions {
		if strings.ContainsFunc(o, unicode.IsControl) {
			return errs.New(errs.Invalid, "invalid DNS option %q: it must be one line", o)
		}
	}
	return nil
}

// parseSignal reads a name, with or without SIG, or a number.
func parseSignal(s string) (int, error) {
	sig, err := signal.ParseSignal(s)
	if err != nil {
		return 0, errs.Wrap(errs.Invalid, err)
	}
	return int(sig), nil
}

func checkRestartPolicy(p model.RestartPolicy) error {
	const words = "invalid restart policy: "
	switch p.Name {
	case "":
	case "no", "always", "unless-stopped":
		if p.MaxRetries < 0 {
			return errs.New(errs.Invalid, words+"maximum retry count can only be used with 'on-failure' and cannot be negative")
		}
		if p.MaxRetries != 0 {
			return errs.New(errs.Invalid, words+"maximum retry count can only be used with 'on-failure'")
		}
	case "on-failure":
		if p.MaxRetries < 0 {
			return errs.New(errs.Invalid, words+"maximum retry count cannot be negative")
		}
	default:
		return errs.New(errs.Invalid, words+"unknown policy '%s'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'", p.Name)
	}
	return nil
}

func checkAutoRemove(h *model.HostConfig) error {
	if h.AutoRemove && h.RestartPolicy.Name != "" && h.RestartPolicy.Name != "no" {
		return errs.New(errs.Invalid, "can't create 'AutoRemove' container with restart policy")
	}
	return nil
}

func checkResources(r model.Resources, update bool) error {
	cpus := runtime.NumCPU()
	switch {
	case r.Memory != 0 && r.Memory < minMemory:
		return errs.New(errs.Invalid, "Minimum memory limit allowed is 6MB")
	case r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return errs.New(errs.Invalid, "Minimum memoryswap limit should be larger than memory limit, see usage")
	case r.Memory == 0 && r.MemorySwap > 0 && !update:
		return errs.New(errs.Invalid, "You should always set the Memory limit when using Memoryswap limit, see usage")
	case r.MemorySwap < -1:
		return errs.New(errs.Invalid, "invalid memory swap %d: use -1 for no limit", r.MemorySwap)
	case r.MemorySwappiness != nil && *r.MemorySwappiness != -1 && (*r.MemorySwappiness < 0 || *r.MemorySwappiness > 100):
		return errs.New(errs.Invalid, "Invalid value: %d, valid memory swappiness range is 0-100", *r.MemorySwappiness)
	case r.MemoryReservation > 0 && r.MemoryReservation < minMemory:
		return errs.New(errs.Invalid, "Minimum memory reservation allowed is 6MB")
	case r.Memory > 0 && r.MemoryReservation > r.Memory:
		return errs.New(errs.Invalid, "Minimum memory limit can not be less than memory reservation limit, see usage")
	case r.NanoCPUs > 0 && r.CPUPeriod > 0:
		return errs.New(errs.Invalid, "Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota > 0:
		return errs.New(errs.Invalid, "Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(cpus)*1e9:
		return errs.New(errs.Invalid, "range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", cpus, cpus)
	case r.CPUShares < 0:
		return errs.New(errs.Invalid, "invalid CPU shares (%d): value must be a positive integer", r.CPUShares)
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1000000):
		return errs.New(errs.Invalid, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPUQuota > 0 && r.CPUQuota < 1000:
		return errs.New(errs.Invalid, "CPU cfs quota can not be less than 1ms (i.e. 1000)")
	case r.BlkioWeight > 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000):
		return errs.New(errs.Invalid, "Range of blkio weight is from 10 to 1000")
	}
	return nil
}

func checkExtraHosts(hosts []string) error {
	for _, h := range hosts {
		name, addr, ok := strings.Cut(h, ":")
		if !ok || name == "" {
			return errs.New(errs.Invalid, "bad format for add-host: %q", h)
		}
		if strings.ContainsFunc(name, endsWord) {
			return errs.New(errs.Invalid, "invalid name in add-host: %q must not have white space or control characters", name)
		}
		if addr == "host-gateway" {
			continue
		}
		if _, err := netip.ParseAddr(strings.Trim(addr, "[]")); err != nil {
			return errs.New(errs.Invalid, "invalid IP address in add-host: %q", addr)
		}
	}
	return nil
}

func checkPortBindings(bs []model.PortBinding) error {
	type fixed struct {
		ip    netip.Addr
		proto string
		port  uint16
	}
	seen := map[fixed]model.Port{}
	for _, b := range bs {
		switch {
		case b.Port.Number == 0:
			return errs.New(errs.Invalid, "invalid port specification: %q", strconv.Itoa(int(b.Port.Number)))
		case b.Port.Proto != "tcp" && b.Port.Proto != "udp" && b.Port.Proto != "sctp":
			return errs.New(errs.Invalid, "invalid proto: %s", b.Port.Proto)
		case b.HostIP.IsValid() && b.HostIP.Is6() && (b.HostIP.IsLoopback() || b.HostIP.IsLinkLocalUnicast() || b.HostIP.IsMulticast()):
			return errs.New(errs.Invalid, "host address %s of port %s: ports can't be published there; use another address of the host, [::] for all of IPv6, or none", b.HostIP, b.Port)
		case b.HostPortEnd != 0 && b.HostPortEnd < b.HostPort:
			return errs.New(errs.Invalid, "invalid port specification: %q", b.HostPortGiven)
		}
		if b.HostPort == 0 || b.HostPortEnd > b.HostPort {
			continue
		}
		k := fixed{b.HostIP, b.Port.Proto, b.HostPort}
		if other, twice := seen[k]; twice {
			return errs.New(errs.Invalid, "host port %d/%s is given twice, for the container's ports %s and %s", b.HostPort, b.Port.Proto, other, b.Port)
		}
		seen[k] = b.Port
	}
	return nil
}

func checkUlimits(us []model.Ulimit) error {
	for _, u := range us {
		if u.Hard != -1 && (u.Soft > u.Hard || u.Soft == -1) {
			return errs.New(errs.Invalid, "ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard)
		}
	}
	return nil
}

// checkModes refuses combinations of namespaces that make no sense.
func checkModes(c *model.Config, h *model.HostConfig) error {
	if h.UTSMode != "" && h.UTSMode != "host" {
		return errs.New(errs.Invalid, "--uts: invalid UTS mode %q: use host", h.UTSMode)
	}
	if h.UTSMode == "host" && c.Hostname != "" {
		return errs.New(errs.Invalid, "conflicting options: hostname and the UTS mode")
	}
	switch kind, of, joined := strings.Cut(h.PidMode, ":"); {
	case h.PidMode == "" || h.PidMode == "host" || (kind == "container" && joined && of != ""):
	default:
		return errs.New(errs.Invalid, "--pid: invalid PID mode %q", h.PidMode)
	}
	switch kind, of, joined := strings.Cut(h.IpcMode, ":"); {
	case h.IpcMode == "" || h.IpcMode == "host" || h.IpcMode == "private" || h.IpcMode == "shareable" || h.IpcMode == "none":
	case kind == "container" && joined && of != "":
	default:
		return errs.New(errs.Invalid, "IPC mode: invalid IPC mode: %v", h.IpcMode)
	}
	if h.CgroupnsMode != "" && h.CgroupnsMode != "private" && h.CgroupnsMode != "host" {
		return errs.New(errs.Invalid, "invalid cgroup namespace mode: %v", h.CgroupnsMode)
	}
	if h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000 {
		return errs.New(errs.Invalid, "Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	}
	if h.ShmSize < 0 {
		return errs.New(errs.Invalid, "SHM size can not be less than 0")
	}
	for path, opts := range h.Tmpfs {
		if _, err := tmpfsOptions(path, opts); err != nil {
			return err
		}
	}
	return checkJoinedNetwork(c, h)
}

// checkJoinedNetwork refuses what --network container: and host can't have.
func checkJoinedNetwork(c *model.Config, h *model.HostConfig) error {
	if h.NetworkMode == "host" && len(h.Links) > 0 {
		return errs.New(errs.Invalid, "conflicting options: host type networking can't be used with links. This would result in undefined behavior")
	}
	of, joined := strings.CutPrefix(string(h.NetworkMode), "container:")
	if !joined {
		return nil
	}
	var words string
	switch {
	case of == "":
		words = "Invalid network mode: invalid container format container:<name|id>"
	case c.Hostname != "":
		words = "conflicting options: hostname and the network mode"
	case len(h.Links) > 0:
		words = "conflicting options: container type network can't be used with links. This would result in undefined behavior"
	case len(h.DNS) > 0:
		words = "conflicting options: dns and the network mode"
	case len(h.ExtraHosts) > 0:
		words = "conflicting options: custom host-to-IP mapping and the network mode"
	case len(h.PortBindings) > 0 || h.PublishAllPorts:
		words = "conflicting options: port publishing and the container type network mode"
	case len(c.ExposedPorts) > 0:
		words = "conflicting options: port exposing and the container type network mode"
	default:
		return nil
	}
	return errs.New(errs.Invalid, "%s", words)
}

func checkCapabilities(h *model.HostConfig) error {
	for _, set := range []struct {
		name string
		caps []string
	}{{"CapAdd", h.CapAdd}, {"CapDrop", h.CapDrop}} {
		for _, c := range set.caps {
			name := strings.TrimPrefix(strings.ToUpper(c), "CAP_")
			if name != "ALL" && !knownCapability(name) {
				return errs.New(errs.Invalid, "invalid %s: unknown capability: %q", set.name, "CAP_"+name)
			}
		}
	}
	return nil
}

// knownCapability tells whether the name, without CAP_, is in capabilities(7).
func knownCapability(name string) bool {
	switch name {
	case "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN",
		"DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE",
		"LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST",
		"NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT",
		"SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE",
		"SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM":
		return true
	}
	return false
}

func checkLogging(h *model.HostConfig) error {
	switch h.LogDriver {
	case "", "json-file", "local", "k8s-file", "none":
		return nil
	}
	return errs.New(errs.Invalid, "logger: no log driver named '%s' is registered: use json-file or none", h.LogDriver)
}

// checkSysctls refuses keys that would lead elsewhere below /proc/sys than they
// seem to: it is the host's root who writes them.
func checkSysctls(sysctls map[string]string) error {
	for key := range sysctls {
		if _, ok := model.SysctlPath(key); !ok {
			return errs.New(errs.Invalid, "invalid sysctl %q: it must name one setting, such as net.ipv4.ip_forward, without empty parts and '..'", key)
		}
	}
	return nil
}
