package engine

import (
	"context"
	"slices"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// TC runs a line of tc(8) inside a running container and gives what it prints.
// A line that changes something is run again whenever the container's
// interfaces are made anew.
func (e *Engine) TC(ctx context.Context, ref string, words []string) (string, error) {
	c, err := e.FindContainer(ref)
	if err != nil {
		return "", err
	}
	if err := e.administrators("tc, which reads files of the host,"); err != nil {
		return "", err
	}
	if err := hasOwnNetwork(e.store.Snapshot(), c); err != nil {
		return "", err
	}
	if !c.Active || !alive(c) {
		return "", errs.New(errs.Conflict, "container %s is not running: tc needs its interfaces, start it first", c.Name)
	}
	if !tcChanges(words) {
		return e.host.TC(ctx, e.netns(c.ID), words)
	}
	return "", e.changeInside(ctx, ref, "tc", tcText(words), func(s *model.Snapshot, c *model.Container) error {
		dev := tcDevice(words)
		if dev == "" {
			return errs.New(errs.Invalid, "tc %s: name the interface: dev INTERFACE", tcText(words))
		}
		v, err := findNIC(s, c.ID, dev)
		if err != nil {
			return err
		}
		if !v.NIC.Kind.HostEnd() && limitsOf(c.Rates, v.NIC.ID) {
			return errs.New(errs.Conflict, "interface %s of container %s, a %s, has its limits (--net-rate-in, --net-rate-out) where tc would change them: lift them first (jackstay update with %s=none)", dev, c.Name, v.NIC.Kind, dev)
		}
		if words[0] == "qdisc" && slices.Contains(words, "root") && (slices.Contains(words, "del") || slices.Contains(words, "delete")) {
			before := len(c.TC)
			c.TC = slices.DeleteFunc(c.TC, func(line []string) bool { return tcDevice(line) == dev && !slices.Contains(line, "ingress") })
			if len(c.TC) == before {
				return errs.New(errs.NotFound, "interface %s of container %s has no queueing discipline of Jackstay's", dev, c.Name)
			}
			return nil
		}
		c.TC = append(c.TC, words)
		if len(c.TC) > maxTC {
			c.TC = compactTC(c.TC)
		}
		if len(c.TC) > maxTC {
			return errs.New(errs.Conflict, "container %s has %d lines of tc, as many as are kept: begin anew with `jackstay tc %s qdisc del dev %s root`", c.Name, maxTC, c.Name, dev)
		}
		return nil
	})
}

// maxTC is how many lines of tc(8) are kept of a container: each is run again at
// its start.
const maxTC = 128

// compactTC leaves out what a later, equal line repeats, where that changes
// nothing: lines that change or replace something, since the last that deletes.
// The first of equal ones stays too, for others may need what it made.
func compactTC(lines [][]string) [][]string {
	deleted := 0
	for i, line := range lines {
		if slices.Contains(line, "del") || slices.Contains(line, "delete") {
			deleted = i + 1
		}
	}
	out := slices.Clone(lines[:deleted])
	since := lines[deleted:]
	for i, line := range since {
		equal := func(o []string) bool { return slices.Equal(o, line) }
		sets := slices.Contains(line, "change") || slices.Contains(line, "replace")
		if !sets || !slices.ContainsFunc(since[:i], equal) || !slices.ContainsFunc(since[i+1:], equal) {
			out = append(out, line)
		}
	}
	return out
}

// tcChanges tells whether a line changes something: its second word says so.
func tcChanges(words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		return slices.Contains([]string{"add", "change", "replace", "link", "del", "delete"}, w)
	})
}

func tcDevice(words []string) string {
	if i := slices.Index(words, "dev"); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}

func tcText(words []string) string {
	out := ""
	for i, w := range words {
		if i > 0 {
			out += " "
		}
		out += w
	}
	return out
}
