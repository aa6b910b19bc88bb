package engine

import (
	"maps"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// mergeImage gives the container's configuration: the user's own, completed
// from the image's as Docker does. An entrypoint of the user's resets the
// image's command; a variable of the user's hides the image's of that name.
func mergeImage(user, image model.Config, entrypointReset bool) model.Config {
	c := user
	if c.User == "" {
		c.User = image.User
	}
	c.ExposedPorts = model.SortPorts(append(slices.Clone(user.ExposedPorts), image.ExposedPorts...))
	c.Env = mergeEnv(user.Env, image.Env)
	c.Labels = maps.Clone(image.Labels)
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	maps.Copy(c.Labels, user.Labels)
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 && !entrypointReset {
			c.Cmd = slices.Clone(image.Cmd)
		}
		if c.Entrypoint == nil && !entrypointReset {
			c.Entrypoint = slices.Clone(image.Entrypoint)
		}
	}
	if c.WorkingDir == "" {
		c.WorkingDir = image.WorkingDir
	}
	c.Volumes = union(user.Volumes, image.Volumes)
	if c.StopSignal == "" {
		c.StopSignal = image.StopSignal
	}
	if c.StopTimeout == nil {
		c.StopTimeout = image.StopTimeout
	}
	return c
}

// mergeEnv appends the base's variables that own does not name.
func mergeEnv(own, base []string) []string {
	named := map[string]bool{}
	for _, v := range own {
		name, _, _ := strings.Cut(v, "=")
		named[name] = true
	}
	out := slices.Clone(own)
	for _, v := range base {
		if name, _, _ := strings.Cut(v, "="); !named[name] {
			out = append(out, v)
		}
	}
	return out
}

// overrideEnv gives base with the variables of over replaced in place or
// appended; one without "=" is taken out, as `-e NAME` does for an unset one.
func overrideEnv(base, over []string) []string {
	at := make(map[string]int, len(base))
	out := slices.Clone(base)
	for i, v := range out {
		name, _, _ := strings.Cut(v, "=")
		at[name] = i
	}
	for _, v := range over {
		name, _, set := strings.Cut(v, "=")
		i, known := at[name]
		switch {
		case !set && known:
			out[i] = ""
		case !set:
		case known:
			out[i] = v
		default:
			at[name] = len(out)
			out = append(out, v)
		}
	}
	return slices.DeleteFunc(out, func(v string) bool { return v == "" })
}

func union(a, b []string) []string {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

// program splits entrypoint and command into what inspect calls Path and Args.
func program(c model.Config) (path string, args []string, err error) {
	all := append(slices.Clone(c.Entrypoint), c.Cmd...)
	if len(all) == 0 || (len(all) == 1 && all[0] == "") {
		return "", nil, errs.New(errs.Invalid, "no command specified")
	}
	return all[0], all[1:], nil
}
