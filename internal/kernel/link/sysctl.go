//go:build linux

package link

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jackstay/jackstay/internal/errs"
)

// setSysctl gives a setting below /proc/sys its value in the network namespace
// of the calling thread. An equal value is not written again.
func setSysctl(path, value string) error {
	have, err := getSysctl(path)
	if err == nil && have == strings.Join(strings.Fields(value), " ") {
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) { // some can be written only
		err = writeSysctl(path, value)
	}
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("sysctl %s: this kernel has no such setting here", dotted(path))
	}
	if errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("sysctl %s: the kernel does not take the value %q", dotted(path), value)
	}
	if err != nil {
		return fmt.Errorf("sysctl %s: %w", dotted(path), err)
	}
	return nil
}

// writeSysctl writes without looking first: half the time on a new interface.
func writeSysctl(path, value string) error {
	if err := plainSysctl(path); err != nil {
		return err
	}
	f, err := os.OpenFile("/proc/sys/"+path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}

func getSysctl(path string) (string, error) {
	if err := plainSysctl(path); err != nil {
		return "", err
	}
	b, err := os.ReadFile("/proc/sys/" + path)
	// Values of several fields are separated by tabs when read.
	return strings.Join(strings.Fields(string(b)), " "), err
}

// plainSysctl refuses a path that leads out of /proc/sys, or elsewhere in it
// than it seems to: not every setting is the network namespace's.
func plainSysctl(path string) error {
	if path == "." || !filepath.IsLocal(path) || filepath.Clean(path) != path {
		return errs.New(errs.Invalid, "the path %q is no setting below /proc/sys", path)
	}
	return nil
}

// dotted is how sysctl(8) and docker's --sysctl write a path.
func dotted(path string) string { return strings.ReplaceAll(path, "/", ".") }
