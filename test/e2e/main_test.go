// Package e2e runs whole daemons on test hosts and asserts what a user sees:
// bytes through a real connection, a name resolved inside a container, an exit
// code, the text of an error.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestMain fails the whole run if it leaves something on the machine.
func TestMain(m *testing.M) {
	before := machine()
	code := m.Run()
	after := machine()
	for kind, was := range before {
		for _, line := range after[kind] {
			if line != "" && !slices.Contains(was, line) {
				fmt.Printf("left on the machine, %s: %s\n", kind, line)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// machine lists what tests must not change.
func machine() map[string][]string {
	list := func(line string) []string {
		out, _ := exec.Command("sh", "-c", line).Output()
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	return map[string][]string{
		"links":        list("ip -o link | cut -d: -f2"),
		"namespaces":   list("ip netns"),
		"mounts":       list("cut -d' ' -f5 /proc/self/mountinfo"),
		"nft tables":   list("nft list tables"),
		"cgroups":      list("find /sys/fs/cgroup/jackstay /sys/fs/cgroup/memory/jackstay -mindepth 1 -type d 2>/dev/null"),
		"ip_forward":   list("cat /proc/sys/net/ipv4/ip_forward"),
		"test folders": list("ls -d /tmp/jst* 2>/dev/null"),
	}
}
