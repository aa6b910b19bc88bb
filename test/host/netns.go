package host

import (
	"fmt"
	"path/filepath"

	"github.com/jackstay/jackstay/internal/kernel/netns"
)

// Inside calls f in the host's network namespace: sockets opened there are the
// host's.
func (h *Host) Inside(f func() error) {
	h.T.Helper()
	if err := netns.Do(fmt.Sprintf("/proc/%d/ns/net", h.holder.Process.Pid), f); err != nil {
		h.T.Fatal(err)
	}
}

// InContainer calls f in the network namespace of a container.
func (h *Host) InContainer(name string, f func() error) {
	h.T.Helper()
	path := filepath.Join(h.Run(), "netns", h.J("inspect", "-f", "{{.Id}}", name))
	// The mount is seen in the host's mount namespace alone.
	if err := netns.Do(fmt.Sprintf("/proc/%d/root%s", h.holder.Process.Pid, path), f); err != nil {
		h.T.Fatal(err)
	}
}
