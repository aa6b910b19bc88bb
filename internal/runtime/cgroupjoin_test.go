//go:build linux

package runtime

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestOwnCgroup(t *testing.T) {
	v1 := &hierarchy{mounts: map[string]cgroupMount{
		"":             {"/sys/fs/cgroup/unified", "/"},
		"pids":         {"/sys/fs/cgroup/pids", "/"},
		"memory":       {"/sys/fs/cgroup/memory", "/docker/abc"},
		"name=systemd": {"/sys/fs/cgroup/systemd", "/"},
	}}
	v2 := &hierarchy{v2: true, mounts: map[string]cgroupMount{"": {"/sys/fs/cgroup", "/"}}}
	for _, c := range []struct {
		name string
		h    *hierarchy
		proc string
		want string
	}{
		{"v2", v2, "0::/system.slice/jackstay.service\n", "/sys/fs/cgroup/system.slice/jackstay.service"},
		{"v2's root", v2, "0::/\n", "/sys/fs/cgroup"},
		{"v1", v1, "12:name=systemd:/a\n8:pids:/b\n0::/c\n", "/sys/fs/cgroup/pids/b"},
		{"v1 mounted from below", v1, "4:memory,hugetlb:/docker/abc/d\n", "/sys/fs/cgroup/memory/d"},
		{"only a named one", v1, "12:name=systemd:/a\n0::/c\n", ""},
		{"outside of the namespace", v2, "0::/../x\n", ""},
		{"not mounted", v1, "3:rdma:/\n", ""},
	} {
		if got := c.h.own(c.proc); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestRejoinChangesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: writes cgroup.procs")
	}
	h, err := findCgroups("/proc/self/mountinfo")
	if err != nil {
		t.Skip(err)
	}
	before, _ := os.ReadFile("/proc/self/cgroup")
	q := &quickJoins{cgroups: h}
	first, second := q.begin(), q.begin()
	if err := h.rejoin(); err != nil {
		t.Fatal(err)
	}
	after, _ := os.ReadFile("/proc/self/cgroup")
	if string(before) != string(after) {
		t.Errorf("moved from\n%sto\n%s", before, after)
	}
	procs, err := os.ReadFile(filepath.Join(h.own(string(after)), "cgroup.procs"))
	if err != nil || !slices.Contains(strings.Fields(string(procs)), strconv.Itoa(os.Getpid())) {
		t.Errorf("%d is not in its cgroup: %v", os.Getpid(), err)
	}
	first()
	first() // counts once
	if !q.wanted() {
		t.Error("it ended while a process was being made")
	}
	second()
	for range 200 {
		q.mu.Lock()
		running := q.running
		q.mu.Unlock()
		if !running {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it goes on with nothing being made")
}
