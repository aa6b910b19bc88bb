package image

import (
	"encoding/json"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
)

// applyChanges applies the lines of import's --change: Dockerfile instructions
// that change only the configuration. Quoting and variables are a
// Dockerfile's; see words.go.
// Source: https://docs.docker.com/reference/dockerfile/
func applyChanges(c *configJSON, changes []string) error {
	for _, change := range changes {
		for _, line := range instructionLines(change) {
			name, args, _ := strings.Cut(line, " ")
			if err := applyChange(c, strings.ToUpper(name), strings.TrimSpace(args)); err != nil {
				return errs.New(errs.Invalid, "invalid change %q: %w", line, err)
			}
		}
	}
	return nil
}

// instructionLines splits a change into instructions: a backslash at its end
// continues a line, comments and empty lines are dropped.
func instructionLines(change string) []string {
	var out []string
	joined := ""
	for line := range strings.Lines(change) {
		line = strings.TrimSpace(line)
		if joined == "" && strings.HasPrefix(line, "#") {
			continue
		}
		if rest, more := strings.CutSuffix(line, `\`); more {
			joined += rest
			continue
		}
		if line = strings.TrimSpace(joined + line); line != "" {
			out = append(out, strings.Replace(line, "\t", " ", 1))
		}
		joined = ""
	}
	if joined = strings.TrimSpace(joined); joined != "" {
		out = append(out, joined)
	}
	return out
}

func applyChange(c *configJSON, name, args string) error {
	apply := map[string]func(*configJSON, string) error{
		"CMD":         func(c *configJSON, a string) error { c.Cmd = command(a); return nil },
		"ENTRYPOINT":  func(c *configJSON, a string) error { c.Entrypoint = command(a); return nil },
		"ENV":         changeEnv,
		"EXPOSE":      changeExpose,
		"HEALTHCHECK": changeHealthcheck,
		"LABEL":       changeLabel,
		"ONBUILD":     func(c *configJSON, a string) error { c.OnBuild = append(c.OnBuild, a); return nil },
		"STOPSIGNAL":  changeStopSignal,
		"USER":        changeUser,
		"VOLUME":      changeVolume,
		"WORKDIR":     changeWorkdir,
	}[name]
	if apply == nil {
		return errs.New(errs.Invalid, "%s is not a valid change command", name)
	}
	if args == "" {
		return errs.New(errs.Invalid, "%s requires at least one argument", name)
	}
	return apply(c, args)
}

// command reads the exec form, a JSON array, or else the shell form.
func command(args string) []string {
	if list, ok := jsonList(args); ok {
		return list
	}
	return []string{"/bin/sh", "-c", args}
}

func jsonList(args string) ([]string, bool) {
	var list []string
	if !strings.HasPrefix(args, "[") || json.Unmarshal([]byte(args), &list) != nil {
		return nil, false
	}
	return list, true
}

func changeEnv(c *configJSON, args string) error {
	pairs, err := keyValues(args, c.Env)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		i := slices.IndexFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, p.key+"=") })
		if i < 0 {
			c.Env = append(c.Env, p.key+"="+p.value)
		} else {
			c.Env[i] = p.key + "=" + p.value
		}
	}
	return nil
}

func changeLabel(c *configJSON, args string) error {
	pairs, err := keyValues(args, c.Env)
	if err != nil {
		return err
	}
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	for _, p := range pairs {
		c.Labels[p.key] = p.value
	}
	return nil
}

// changeExpose reads PORT[-PORT][/PROTO]...
func changeExpose(c *configJSON, args string) error {
	specs, err := expandWords(args, c.Env)
	if err != nil {
		return err
	}
	if c.ExposedPorts == nil {
		c.ExposedPorts = map[string]struct{}{}
	}
	for _, spec := range specs {
		numbers, proto, _ := strings.Cut(spec, "/")
		first, last, isRange := strings.Cut(numbers, "-")
		if !isRange {
			last = first
		}
		from, errFrom := strconv.ParseUint(first, 10, 16)
		to, errTo := strconv.ParseUint(last, 10, 16)
		if errFrom != nil || errTo != nil || from == 0 || to < from {
			return errs.New(errs.Invalid, "invalid containerPort: %s", spec)
		}
		for n := from; n <= to; n++ {
			port, err := parsePort(strconv.FormatUint(n, 10) + "/" + proto)
			if err != nil {
				return errs.New(errs.Invalid, "invalid proto: %s", proto)
			}
			c.ExposedPorts[port.String()] = struct{}{}
		}
	}
	return nil
}

// changeHealthcheck takes NONE alone: health checks are not run.
func changeHealthcheck(c *configJSON, args string) error {
	if !strings.EqualFold(args, "NONE") {
		return errs.New(errs.Invalid, "health checks are not supported, only HEALTHCHECK NONE is")
	}
	c.Healthcheck = &healthJSON{Test: []string{"NONE"}}
	return nil
}

func changeStopSignal(c *configJSON, args string) error {
	signal, err := expandOne(args, c.Env)
	if err != nil {
		return err
	}
	if !validSignal(signal) {
		return errs.New(errs.Invalid, "invalid signal: %s", signal)
	}
	c.StopSignal = signal
	return nil
}

// validSignal takes 1 to 64, TERM, SIGTERM, SIGRTMIN+3 and the like.
func validSignal(s string) bool {
	if n, err := strconv.Atoi(s); err == nil {
		return n >= 1 && n <= 64
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for _, rt := range []string{"SIGRTMIN", "SIGRTMAX"} {
		if rest, ok := strings.CutPrefix(name, rt); ok {
			n, err := strconv.Atoi(rest)
			inRange := n >= 0 && n <= 30 && rt == "SIGRTMIN" || n <= 0 && n >= -30 && rt == "SIGRTMAX"
			return rest == "" || err == nil && inRange
		}
	}
	return unix.SignalNum(name) != 0
}

func changeUser(c *configJSON, args string) (err error) {
	c.User, err = expandOne(args, c.Env)
	return err
}

func changeVolume(c *configJSON, args string) error {
	paths, ok := jsonList(args)
	if !ok {
		var err error
		if paths, err = expandWords(args, c.Env); err != nil {
			return err
		}
	}
	if c.Volumes == nil {
		c.Volumes = map[string]struct{}{}
	}
	for _, p := range paths {
		if p = strings.TrimSpace(p); p == "" {
			return errs.New(errs.Invalid, "VOLUME specified can not be an empty string")
		}
		c.Volumes[p] = struct{}{}
	}
	return nil
}

// changeWorkdir takes a relative path as one below the last.
func changeWorkdir(c *configJSON, args string) error {
	dir, err := expandOne(args, c.Env)
	if err != nil {
		return err
	}
	if !path.IsAbs(dir) {
		dir = path.Join("/", c.WorkingDir, dir)
	}
	c.WorkingDir = path.Clean(dir)
	return nil
}
