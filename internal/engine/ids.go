package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// nameChars is Docker's way to say what a name is made of.
const nameChars = "[a-zA-Z0-9][a-zA-Z0-9_.-]"

// engineID reads the engine's ID, made at its first start.
func engineID(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(b))) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the engine's id: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return "", fmt.Errorf("make %s: %w", filepath.Dir(path), err)
	}
	id := alloc.ID()[:32]
	id = strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
	if err := os.WriteFile(path, []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write the engine's id: %w", err)
	}
	return id, nil
}

// validName matches the names of containers and volumes: two characters at least.
func validName(name string) bool {
	ok, _ := regexp.MatchString(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`, name)
	return ok
}

// checkContainerName gives the name without its slash, or Docker's words against it.
func checkContainerName(name string) (string, error) {
	bare := strings.TrimPrefix(name, "/")
	if !validName(bare) {
		return "", errs.New(errs.Invalid, "Invalid container name (%s), only %s are allowed", name, nameChars)
	}
	return bare, nil
}

// nameFree refuses a name another container has.
func nameFree(s *model.Snapshot, name, id string) error {
	holder, ok := s.ContainerNames[name]
	if !ok || holder == id {
		return nil
	}
	return errs.New(errs.Conflict, "Conflict. The container name %q is already in use by container %q. "+
		"You have to remove (or rename) that container to be able to reuse that name.", "/"+name, holder)
}
