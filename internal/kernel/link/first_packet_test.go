//go:build linux

package link

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The first thing a container sends gets through: a lost question for an
// address would cost it a second.
func TestTheFirstPacketArrives(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		if !kernelAtLeast(t, 6, 7) {
			t.Skip("this kernel lets a bridge port forward when it gets to it")
		}
		b, s := build(t, h, 1)
		greeter(t, h, s[0], "tcp4")
		time.Sleep(50 * time.Millisecond)
		for n := range 30 {
			x := testSandbox(b, n+10)
			must(t, h.EnsureSandbox(context.Background(), x))
			start := time.Now()
			_, err := ask(h, x, addrOf(s[0]))
			must(t, err)
			if took := time.Since(start); took > 800*time.Millisecond {
				t.Errorf("container %d was answered after %v", n, took)
			}
		}
	})
}

func kernelAtLeast(t *testing.T, major, minor int) bool {
	t.Helper()
	var u unix.Utsname
	must(t, unix.Uname(&u))
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		t.Fatal(err)
	}
	return a > major || a == major && b >= minor
}
