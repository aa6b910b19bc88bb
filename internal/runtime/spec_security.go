//go:build linux

package runtime

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/profiles/seccomp"
	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// security is what a container may, after its options.
type security struct {
	caps            []string // CAP_…, sorted as Docker's
	privileged      bool
	noNewPrivileges bool
	writableCgroups bool
	unconfined      bool   // no seccomp
	profile         string // a seccomp profile as JSON; empty: the default one
	maskedPaths     []string
	readonlyPaths   []string
}

// defaultCaps are Docker's; as a mask they read a80425fb.
func defaultCaps() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}

// defaultMaskedPaths and defaultReadonlyPaths are moby's, oci/defaults.go.
// In sysfs, which is mounted at sysfs, how hot each CPU got is masked where the
// machine tells it: it tells of other programs (GHSA-6fw5-f8r9-fgfm).
func defaultMaskedPaths(sysfs string) []string {
	paths := []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
		"/sys/devices/virtual/powercap",
	}
	const throttle = "devices/system/cpu/cpu[0-9]*/thermal_throttle"
	cpus, _ := filepath.Glob(filepath.Join(sysfs, throttle)) // its only error is of the pattern
	for _, dir := range cpus {
		paths = append(paths, "/sys"+strings.TrimPrefix(dir, sysfs))
	}
	return paths
}

func defaultReadonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// Check refuses security options, capabilities and limits that no container can
// have.
func (r *Runtime) Check(h model.HostConfig) error {
	sec, err := parseSecurity(&model.Container{Host: h}, r.masked)
	if err != nil {
		return err
	}
	if sec.profile != "" {
		if err := json.Unmarshal([]byte(sec.profile), &seccomp.Seccomp{}); err != nil {
			return errs.New(errs.Invalid, "decoding seccomp profile failed: %w", err)
		}
	}
	_, err = rlimits(h.Ulimits)
	return err
}

// parseSecurity reads --security-opt, --cap-add, --cap-drop and --privileged.
// masked are the paths that are masked by default.
func parseSecurity(c *model.Container, masked []string) (security, error) {
	h := c.Host
	s := security{privileged: h.Privileged, maskedPaths: h.MaskedPaths, readonlyPaths: h.ReadonlyPaths}
	if s.maskedPaths == nil {
		s.maskedPaths = masked
	}
	if s.readonlyPaths == nil {
		s.readonlyPaths = defaultReadonlyPaths()
	}
	if h.Privileged {
		s.unconfined, s.writableCgroups = true, true
		s.maskedPaths, s.readonlyPaths = nil, nil
	}
	for _, option := range h.SecurityOpt {
		if err := s.option(option); err != nil {
			return s, err
		}
	}
	var err error
	s.caps, err = tweakCaps(h.CapAdd, h.CapDrop, h.Privileged)
	return s, err
}

// option applies one --security-opt, KEY=VALUE or, as of old, KEY:VALUE.
func (s *security) option(option string) error {
	if option == "no-new-privileges" {
		s.noNewPrivileges = true
		return nil
	}
	key, value, ok := strings.Cut(option, "=")
	if !ok {
		if key, value, ok = strings.Cut(option, ":"); !ok {
			return errs.New(errs.Invalid, "invalid --security-opt 1: %q", option)
		}
	}
	var err error
	switch key {
	case "no-new-privileges":
		s.noNewPrivileges, err = strconv.ParseBool(value)
	case "writable-cgroups":
		s.writableCgroups, err = strconv.ParseBool(value)
	case "seccomp":
		switch value {
		case "unconfined":
			s.unconfined = true
		case "builtin":
			s.unconfined = false
		default:
			s.unconfined, s.profile = false, value
		}
	case "apparmor":
		if value != "unconfined" && value != "" {
			return errs.New(errs.Invalid, "--security-opt %s: AppArmor profiles are not supported; only apparmor=unconfined is", option)
		}
	case "label":
		if value != "disable" {
			return errs.New(errs.Invalid, "--security-opt %s: SELinux labels are not supported; only label=disable is", option)
		}
	case "systempaths":
		if value != "unconfined" {
			return errs.New(errs.Invalid, "invalid --security-opt: %q", option)
		}
		s.maskedPaths, s.readonlyPaths = nil, nil
	default:
		return errs.New(errs.Invalid, "invalid --security-opt 2: %q", option)
	}
	if err != nil {
		return errs.New(errs.Invalid, "invalid --security-opt %q: %w", option, err)
	}
	return nil
}

// tweakCaps applies --cap-add and --cap-drop to the default ones, with Docker's
// meaning of ALL. Capabilities the daemon can't pass on, because they are not in
// its bounding set, are left out of ALL and --privileged, and refused by name.
func tweakCaps(add, drop []string, privileged bool) ([]string, error) {
	all, available := allCaps(), availableCaps()
	adds, err := normalizeCaps(add, all, available, "add")
	if err != nil {
		return nil, err
	}
	drops, err := normalizeCaps(drop, all, nil, "drop")
	if err != nil {
		return nil, err
	}
	var base []string
	switch {
	case privileged:
		return available, nil
	case slices.Contains(adds, allCap):
		base = available
	case slices.Contains(drops, allCap):
		base = nil
	default:
		base = defaultCaps()
	}
	var out []string
	for _, c := range append(slices.Clone(base), adds...) {
		dropped := slices.Contains(drops, c) || c == allCap
		if !dropped && !slices.Contains(out, c) && slices.Contains(available, c) {
			out = append(out, c)
		}
	}
	return out, nil
}

const allCap = "ALL"

// normalizeCaps writes names as CAP_NAME; available nil: any known one will do.
func normalizeCaps(names, all, available []string, verb string) ([]string, error) {
	var out []string
	for _, name := range names {
		c := strings.ToUpper(name)
		if c != allCap && !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		switch {
		case c == allCap:
		case !slices.Contains(all, c):
			return nil, errs.New(errs.Invalid, "invalid capability: unknown capability to %s: %q", verb, name)
		case available != nil && !slices.Contains(available, c):
			return nil, errs.New(errs.Invalid, "invalid capability to %s: capability not available in the daemon's own environment: %q", verb, name)
		}
		out = append(out, c)
	}
	return out, nil
}

func allCaps() []string {
	var out []string
	for _, c := range capability.ListKnown() {
		out = append(out, capName(c))
	}
	return out
}

func availableCaps() []string {
	var out []string
	for _, c := range capability.ListKnown() {
		if bounded(c) {
			out = append(out, capName(c))
		}
	}
	return out
}

func capName(c capability.Cap) string { return "CAP_" + strings.ToUpper(c.String()) }

// seccompCache holds the default profile, encoded, by capability set: making
// and encoding its 400 system calls costs more than the rest of config.json.
type seccompCache struct {
	mu     sync.Mutex
	byCaps map[string]json.RawMessage
}

// profile gives the container's seccomp profile, encoded; nil: none.
func (c *seccompCache) profile(sec security, spec *specs.Spec) (json.RawMessage, error) {
	if sec.unconfined {
		return nil, nil
	}
	if sec.profile != "" {
		p, err := seccomp.LoadProfile(sec.profile, spec)
		if err != nil {
			return nil, errs.Wrap(errs.Invalid, err)
		}
		return encodeProfile(p)
	}
	key := strings.Join(sec.caps, ",")
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.byCaps[key]; ok {
		return p, nil
	}
	p, err := seccomp.GetDefaultProfile(spec)
	if err != nil {
		return nil, fmt.Errorf("default seccomp profile: %w", err)
	}
	encoded, err := encodeProfile(p)
	if err != nil {
		return nil, err
	}
	if c.byCaps == nil || len(c.byCaps) >= 64 { // users' own sets are few; don't grow for ever
		c.byCaps = map[string]json.RawMessage{}
	}
	c.byCaps[key] = encoded
	return encoded, nil
}

func encodeProfile(p *specs.LinuxSeccomp) (json.RawMessage, error) {
	if p == nil {
		return nil, nil
	}
	data, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	return data, nil
}
