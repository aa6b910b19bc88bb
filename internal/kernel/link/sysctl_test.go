//go:build linux

package link

import (
	"strings"
	"testing"
)

// What leads elsewhere than it seems to is neither written nor read.
func TestSysctlPaths(t *testing.T) {
	for _, path := range []string{"net/../kernel/osrelease", "../version", "/proc/version", "net/./core/somaxconn", "net//core/somaxconn", ".", ""} {
		_, read := getSysctl(path)
		// None of these takes this value: without the check the kernel refuses, in other words.
		for what, err := range map[string]error{"read": read, "write": writeSysctl(path, "?"), "set": setSysctl(path, "?")} {
			if err == nil || !strings.Contains(err.Error(), "no setting below /proc/sys") {
				t.Errorf("%s %q: %v", what, path, err)
			}
		}
	}
	if v, err := getSysctl("net/core/somaxconn"); err != nil || v == "" {
		t.Errorf("a setting: %q, %v", v, err)
	}
}
