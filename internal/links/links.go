// Package links tells where a container's links lead, and makes the environment
// that they give it, from a snapshot. It is pure.
package links

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/jackstay/jackstay/internal/model"
)

// Env gives the variables of a container's links, in the order of its networks,
// as Docker sets them when the container starts: NAME=value, an alias once.
// Links without a way to their target give none.
func Env(snap *model.Snapshot, containerID string) []string {
	c := snap.Containers[containerID]
	if c == nil || len(snap.LinksOf[containerID]) == 0 {
		return nil
	}
	routes := make([]Route, len(snap.LinksOf[containerID]))
	for i, l := range snap.LinksOf[containerID] {
		routes[i] = Find(snap, l)
	}
	var env []string
	seen := map[string]bool{}
	for _, e := range snap.ByContainer[containerID] {
		for i, l := range snap.LinksOf[containerID] {
			r := routes[i]
			if r.From != e || seen[l.Alias] || len(r.Addresses()) == 0 {
				continue
			}
			seen[l.Alias] = true
			env = append(env, variables(c.Name, l.Alias, r.Addresses()[0], r.Target)...)
		}
	}
	return env
}

// variables gives what one link sets.
func variables(owner, alias string, addr netip.Addr, target *model.Container) []string {
	prefix := strings.ReplaceAll(strings.ToUpper(alias), "-", "_")
	var env []string
	for i, p := range tcpFirst(target.Config.ExposedPorts) {
		url := fmt.Sprintf("%s://%s", p.Proto, netip.AddrPortFrom(addr, p.Number))
		if i == 0 {
			env = append(env, prefix+"_PORT="+url)
		}
		name := fmt.Sprintf("%s_PORT_%d_%s", prefix, p.Number, strings.ToUpper(p.Proto))
		env = append(env,
			name+"="+url,
			name+"_ADDR="+addr.String(),
			fmt.Sprintf("%s_PORT=%d", name, p.Number),
			name+"_PROTO="+p.Proto)
	}
	env = append(env, fmt.Sprintf("%s_NAME=/%s/%s", prefix, owner, alias))
	for _, v := range target.Config.Env {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "HOME" || name == "PATH" {
			continue
		}
		env = append(env, prefix+"_ENV_"+name+"="+value)
	}
	return env
}

// tcpFirst sorts ports as Docker's links do: tcp, then other protocols by name,
// each by number.
func tcpFirst(ports []model.Port) []model.Port {
	out := slices.Clone(ports)
	slices.SortFunc(out, func(a, b model.Port) int {
		if tcp := cmp.Compare(rank(a), rank(b)); tcp != 0 {
			return tcp
		}
		return cmp.Or(strings.Compare(a.Proto, b.Proto), cmp.Compare(a.Number, b.Number))
	})
	return slices.Compact(out)
}

func rank(p model.Port) int {
	if p.Proto == "tcp" {
		return 0
	}
	return 1
}
