//go:build linux

package link

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/kernel/netns/nettest"
)

// The first thing a container sends gets through: a lost question for an
// address would cost it a second.
func TestTheFirstPacketArrives(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		if !nettest.KernelAtLeast(t, 6, 7) {
			t.Skip("this kernel lets a bridge port forward when it gets to it")
		}
		b, s := build(t, h, 1)
		greeter(t, h, s[0], "tcp4")
		time.Sleep(50 * time.Millisecond)
		for n := range 30 {
			x := testSandbox(b, n+10)
			must(t, h.EnsureSandbox(context.Background(), x))
			_, err := ask(h, x, addrOf(s[0]))
			must(t, err)
			if again := strings.Fields(inside(t, h, x, "nstat -asz TcpExtTCPSynRetrans")); !slices.Contains(again, "TcpExtTCPSynRetrans") || !slices.Contains(again, "0") {
				t.Errorf("container %d sent its first packet again: %v", n, again)
			}
		}
	})
}
