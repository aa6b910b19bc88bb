//go:build linux

// Package nettest gives a kernel test a machine of its own: the test runs
// again as a child process in fresh network and mount namespaces, so all its
// threads are in them, as a daemon's are, and the kernel removes everything
// when the child ends.
package nettest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const child = "JACKSTAY_NETTEST"

// Run runs fn in fresh namespaces and reports how it went. It is all that a
// top-level test calls. Without root the test is skipped.
//
// The child's mounts are private and its /sys is the new namespace's.
func Run(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	if os.Getenv(child) == t.Name() {
		settle(t)
		fn(t)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	out, err := command(t).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Skipf("can't run in fresh namespaces: %v", err)
	}
	text := strings.TrimSpace(string(out))
	switch {
	case err != nil:
		t.Fatalf("in fresh namespaces: %v\n%s", err, text)
	case strings.Contains(text, "--- SKIP: "+t.Name()):
		t.Skip(text)
	case !strings.Contains(text, "--- PASS: "+t.Name()):
		t.Fatalf("did not run in fresh namespaces:\n%s", text)
	}
	t.Log(text)
}

func command(t *testing.T) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.count=1", "-test.timeout=120s",
		"-test.run=^"+regexp.QuoteMeta(t.Name())+"$")
	cmd.Env = append(os.Environ(), child+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd
}

// settle cuts the child's mounts off from the machine's and shows it its own /sys.
func settle(t *testing.T) {
	t.Helper()
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		t.Fatalf("private mounts: %v", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		t.Logf("own /sys: %v", err)
	}
}

// KernelAtLeast tells whether the running kernel is of this release or newer.
func KernelAtLeast(t *testing.T, major, minor int) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		t.Fatal(err)
	}
	return a > major || a == major && b >= minor
}
