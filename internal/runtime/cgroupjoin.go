//go:build linux

package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	joinEvery = 5 * time.Millisecond // shorter than a grace period, which is a few of the kernel's ticks
	joinLimit = time.Second          // of one process being made; slower ones gain nothing more
)

// quickJoins spares the OCI runtime the wait of its first move of a process
// into a cgroup. Every such write takes cgroup_threadgroup_rwsem for writing,
// and after a quiet moment that waits for an RCU grace period, 10 to 20 ms; as
// long as the last writer is less than one ago, it doesn't
// (kernel/rcu/sync.c, kernel/cgroup/cgroup.c). So while a process is being
// made, the daemon moves itself to where it is, which changes nothing, and the
// grace period passes while conmon and the OCI runtime still load.
type quickJoins struct {
	cgroups *hierarchy

	mu      sync.Mutex
	users   int       // processes being made
	until   time.Time // joinLimit after the latest began
	running bool
}

// begin says that a process is being made; end is to be called once it is.
func (q *quickJoins) begin() (end func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.users++
	q.until = time.Now().Add(joinLimit)
	if !q.running {
		q.running = true
		go q.run()
	}
	return sync.OnceFunc(func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.users--
	})
}

func (q *quickJoins) run() {
	for q.wanted() {
		// Where it can't be written the start is only slower.
		_ = q.cgroups.rejoin()
		time.Sleep(joinEvery)
	}
}

func (q *quickJoins) wanted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running = q.users > 0 && time.Now().Before(q.until)
	return q.running
}

// rejoin moves this process into the cgroup it is in.
func (h *hierarchy) rejoin() error {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return fmt.Errorf("own cgroups: %w", err)
	}
	dir := h.own(string(own))
	if dir == "" {
		return errors.New("own cgroups: none is mounted here")
	}
	procs, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("own cgroup: %w", err)
	}
	defer procs.Close()
	_, err = procs.WriteString("0")
	return err
}

// own finds the directory of a mounted controller's cgroup in /proc/self/cgroup.
func (h *hierarchy) own(procCgroup string) string {
	for line := range strings.Lines(procCgroup) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 || strings.HasPrefix(parts[2], "/..") { // outside of our cgroup namespace
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			if m, ok := h.mounts[controller]; ok && (controller == "") == h.v2 && !strings.HasPrefix(controller, "name=") {
				return m.dir(parts[2])
			}
		}
	}
	return ""
}
