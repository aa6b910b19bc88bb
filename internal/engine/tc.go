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
		if _, err := findNIC(s, c.ID, dev); err != nil {
			return err
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
		return nil
	})
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
