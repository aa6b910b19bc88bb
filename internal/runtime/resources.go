//go:build linux

package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// resources turns limits into OCI's. A limit this host's cgroups can't keep is
// an error, not ignored.
func (h *hierarchy) resources(r model.Resources) (*specs.LinuxResources, error) {
	if err := h.supports(r); err != nil {
		return nil, err
	}
	out := &specs.LinuxResources{Memory: h.memory(r), CPU: cpu(r)}
	if r.BlkioWeight > 0 {
		weight := r.BlkioWeight
		out.BlockIO = &specs.LinuxBlockIO{Weight: &weight}
	}
	if r.PidsLimit != nil {
		limit := *r.PidsLimit
		if limit <= 0 {
			limit = -1 // unlimited
		}
		out.Pids = &specs.LinuxPids{Limit: &limit}
	}
	return out, nil
}

// memory gives the memory limits.
func (h *hierarchy) memory(r model.Resources) *specs.LinuxMemory {
	m := specs.LinuxMemory{}
	if r.Memory > 0 {
		m.Limit = &r.Memory
	}
	if r.MemoryReservation > 0 {
		m.Reservation = &r.MemoryReservation
	}
	if swap := h.memorySwap(r); swap != 0 {
		m.Swap = &swap
	}
	if r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 {
		swappiness := uint64(*r.MemorySwappiness)
		m.Swappiness = &swappiness
	}
	if r.OomKillDisable {
		m.DisableOOMKiller = &r.OomKillDisable
	}
	if m == (specs.LinuxMemory{}) {
		return nil
	}
	return &m
}

// memorySwap gives the limit of memory and swap together; 0: none. Without
// --memory-swap it is twice --memory, Docker's rule, where swap is accounted
// for; where it is not, only the memory is limited, as in Docker.
func (h *hierarchy) memorySwap(r model.Resources) int64 {
	if r.Memory <= 0 || r.MemorySwap != 0 && r.MemorySwap != 2*r.Memory {
		return r.MemorySwap
	}
	if !h.swapAccounted() {
		return 0
	}
	return 2 * r.Memory
}

// cpu gives the CPU limits; the period is in microseconds.
func cpu(r model.Resources) *specs.LinuxCPU {
	c := specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
	if r.CPUShares > 0 {
		shares := uint64(r.CPUShares)
		c.Shares = &shares
	}
	if r.NanoCPUs > 0 {
		period := uint64(100_000)
		quota := r.NanoCPUs * int64(period) / 1e9
		c.Period, c.Quota = &period, &quota
	}
	if r.CPUPeriod > 0 {
		period := uint64(r.CPUPeriod)
		c.Period = &period
	}
	if r.CPUQuota != 0 {
		c.Quota = &r.CPUQuota
	}
	if c == (specs.LinuxCPU{}) {
		return nil
	}
	return &c
}

// supports checks limits against this host; the engine checked them against
// each other.
func (h *hierarchy) supports(r model.Resources) error {
	switch {
	case h.memorySwap(r) != 0 && !h.swapAccounted():
		return errs.New(errs.Invalid, "--memory-swap: this kernel does not account for swap (boot with swapaccount=1)")
	case h.v2 && (r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 || r.OomKillDisable):
		return errs.New(errs.Invalid, "--memory-swappiness and --oom-kill-disable do not exist with cgroup v2")
	}
	needs := map[string]bool{
		"memory": r.Memory > 0 || r.MemoryReservation > 0, "pids": r.PidsLimit != nil && *r.PidsLimit > 0,
		"cpu":    r.NanoCPUs > 0 || r.CPUShares > 0 || r.CPUQuota > 0 || r.CPUPeriod > 0,
		"cpuset": r.CpusetCpus != "" || r.CpusetMems != "",
		"blkio":  r.BlkioWeight > 0,
	}
	for controller, needed := range needs {
		if needed && !h.has(controller) {
			return errs.New(errs.Invalid, "this host has no cgroup controller %s, which the limit needs", controller)
		}
	}
	if r.BlkioWeight > 0 && !h.v2 && !exists(h.mounts["blkio"].point, "blkio.weight") && !exists(h.mounts["blkio"].point, "blkio.bfq.weight") {
		return errs.New(errs.Invalid, "--blkio-weight: this kernel does not support block I/O weight")
	}
	return nil
}

// has tells whether a controller, by its v1 name, can be used.
func (h *hierarchy) has(controller string) bool {
	if !h.v2 {
		_, ok := h.mounts[controller]
		return ok
	}
	if controller == "blkio" {
		controller = "io"
	}
	have := strings.Fields(readString(filepath.Join(h.mounts[""].point, "cgroup.controllers")))
	return slices.Contains(have, controller)
}

// swapAccounted tells whether swap can be limited.
func (h *hierarchy) swapAccounted() bool {
	if !h.v2 {
		return exists(h.mounts["memory"].point, "memory.memsw.limit_in_bytes")
	}
	// The root has no memory.swap.max; any other cgroup tells.
	own := strings.TrimPrefix(readString("/proc/self/cgroup"), "0::")
	dir := h.mounts[""].dir(own)
	return !exists(dir, "memory.max") || exists(dir, "memory.swap.max")
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// Update changes the limits of a live container; zero leaves one as it is.
func (r *Runtime) Update(ctx context.Context, id string, limits model.Resources) error {
	if _, err := r.live(id); err != nil {
		return err
	}
	res, err := r.cgroups.resources(limits)
	if err != nil {
		return err
	}
	data, err := json.Marshal(res)
	if err != nil {
		return fmt.Errorf("update container %s: %w", id, err)
	}
	cmd := exec.CommandContext(ctx, r.runc.path, "--root="+r.stateDir(), "update", "--resources", "-", id)
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("Cannot update container %s: %w: %s", id, err, runtimeMessage(string(out)))
	}
	return nil
}
