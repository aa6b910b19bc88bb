package engine

import (
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// FindContainer resolves a full ID, a name, or a unique prefix of an ID, in
// this order, as Docker does.
func (e *Engine) FindContainer(ref string) (*model.Container, error) {
	return findContainer(e.store.Snapshot(), ref)
}

func findContainer(s *model.Snapshot, ref string) (*model.Container, error) {
	if c := s.Containers[ref]; c != nil {
		return c, nil
	}
	if id, ok := s.ContainerNames[strings.TrimPrefix(ref, "/")]; ok {
		return s.Containers[id], nil
	}
	if ref == "" {
		return nil, errs.New(errs.Invalid, "invalid name or ID supplied: %q", ref)
	}
	id, several := byPrefix(s.Containers, ref)
	switch {
	case several:
		return nil, errs.New(errs.Invalid, "Multiple IDs found with provided prefix: %s", ref)
	case id == "":
		return nil, noSuchContainer(ref)
	}
	return s.Containers[id], nil
}

func noSuchContainer(ref string) error {
	return errs.New(errs.NotFound, "No such container: %s", ref)
}

// FindNetwork resolves a full ID, a name, or a unique prefix of an ID.
func (e *Engine) FindNetwork(ref string) (*model.Network, error) {
	return findNetwork(e.store.Snapshot(), ref)
}

func findNetwork(s *model.Snapshot, ref string) (*model.Network, error) {
	if n := s.Networks[ref]; n != nil {
		return n, nil
	}
	if ref == "default" {
		ref = model.DefaultNetwork
	}
	if id, ok := s.NetworkNames[ref]; ok {
		return s.Networks[id], nil
	}
	id, several := byPrefix(s.Networks, ref)
	switch {
	case several:
		return nil, errs.New(errs.Invalid, "network %s is ambiguous (several matches found based on ID prefix)", ref)
	case id == "":
		return nil, noSuchNetwork(ref)
	}
	return s.Networks[id], nil
}

func noSuchNetwork(ref string) error {
	return errs.New(errs.NotFound, "network %s not found", ref)
}

// byPrefix finds the one key that starts with prefix; several says there are more.
func byPrefix[T any](m map[string]T, prefix string) (key string, several bool) {
	if prefix == "" {
		return "", false
	}
	for k := range m {
		if !strings.HasPrefix(k, prefix) {
			continue
		}
		if key != "" {
			return "", true
		}
		key = k
	}
	return key, false
}

// alive tells whether a container counts as running for what a user may do
// with it: one that waits for its restart does.
func alive(c *model.Container) bool {
	return c.State.Running() || c.State.Status == model.StatusRestarting
}

func errNotRunning(c *model.Container) error {
	return errs.New(errs.Conflict, "container %s is not running", c.ID)
}

func errRestarting(c *model.Container) error {
	return errs.New(errs.Conflict, "Container %s is restarting, wait until the container is running", c.ID)
}

// checkRunning refuses a container without a process.
func checkRunning(c *model.Container) error {
	switch {
	case c.State.Status == model.StatusRestarting:
		return errRestarting(c)
	case !c.State.Running():
		return errNotRunning(c)
	}
	return nil
}
