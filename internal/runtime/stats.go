//go:build linux

package runtime

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// tick is one of the kernel's USER_HZ clock ticks, 100 a second on every
// architecture Go runs on (time(7)).
const tick = uint64(time.Second / 100)

// Stats samples the container's cgroups.
func (r *Runtime) Stats(_ context.Context, id string) (model.Stats, error) {
	rec, err := r.live(id)
	if err != nil {
		return model.Stats{}, err
	}
	s := model.Stats{Read: time.Now()}
	if s.SystemCPU, s.OnlineCPUs, err = systemCPU(); err != nil {
		return s, err
	}
	if r.cgroups.v2 {
		statsV2(rec.Cgroups[""], &s)
	} else {
		statsV1(rec.Cgroups, &s)
	}
	if total, err := machineMemory(); err == nil && (s.MemoryLimit == 0 || s.MemoryLimit > total) {
		s.MemoryLimit = total
	}
	if !hostNetwork(rec.Pid) {
		s.Networks = interfaces(readString(fmt.Sprintf("/proc/%d/net/dev", rec.Pid)))
	}
	if !rec.alive() { // what was read may be half gone
		return model.Stats{}, errs.New(errs.Conflict, "container %s is not running", id)
	}
	return s, nil
}

// hostNetwork tells whether a process is in the daemon's own network namespace,
// whose traffic is not the container's.
func hostNetwork(pid int) bool {
	own, err := os.Readlink("/proc/thread-self/ns/net")
	theirs, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	return err == nil && err2 == nil && own == theirs
}

// interfaces reads lines of NAME: and sixteen numbers, as proc(5)'s
// /proc/PID/net/dev has them after two lines of titles, without lo.
func interfaces(text string) []model.InterfaceStats {
	var out []model.InterfaceStats
	for line := range strings.Lines(text) {
		name, numbers, found := strings.Cut(strings.TrimSpace(line), ":")
		fields := strings.Fields(numbers)
		if !found || name == "lo" || len(fields) < 12 {
			continue
		}
		n := make([]uint64, 12)
		for i := range n {
			n[i], _ = strconv.ParseUint(fields[i], 10, 64)
		}
		out = append(out, model.InterfaceStats{
			Name:    name,
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		})
	}
	return out
}

func statsV1(cgroups map[string]string, s *model.Stats) {
	file := func(controller, name string) string { return filepath.Join(cgroups[controller], name) }
	s.CPUTotal = readUint(file("cpuacct", "cpuacct.usage"))
	usage := readPairs(file("cpuacct", "cpuacct.stat"))
	s.CPUUser, s.CPUSys = usage["user"]*tick, usage["system"]*tick
	s.MemoryUsage = readUint(file("memory", "memory.usage_in_bytes"))
	s.MemoryLimit = readUint(file("memory", "memory.limit_in_bytes"))
	s.MemoryStats = readPairs(file("memory", "memory.stat"))
	s.Pids = readUint(file("pids", "pids.current"))
	s.PidsLimit = readUint(file("pids", "pids.max"))
	s.Blkio = blkioV1(readString(file("blkio", "blkio.throttle.io_service_bytes_recursive")))
}

func statsV2(dir string, s *model.Stats) {
	file := func(name string) string { return filepath.Join(dir, name) }
	usage := readPairs(file("cpu.stat"))
	s.CPUTotal, s.CPUUser, s.CPUSys = usage["usage_usec"]*1000, usage["user_usec"]*1000, usage["system_usec"]*1000
	s.MemoryUsage = readUint(file("memory.current"))
	s.MemoryLimit = readUint(file("memory.max"))
	s.MemoryStats = readPairs(file("memory.stat"))
	s.Pids = readUint(file("pids.current"))
	s.PidsLimit = readUint(file("pids.max"))
	s.Blkio = blkioV2(readString(file("io.stat")))
}

// readUint reads a number; "max" and what can't be read are 0.
func readUint(name string) uint64 {
	n, err := strconv.ParseUint(readString(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// readPairs reads lines of NAME NUMBER.
func readPairs(name string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(readString(name)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			out[key] = n
		}
	}
	return out
}

// blkioV1 reads lines of MAJOR:MINOR OP BYTES.
func blkioV1(text string) []model.BlkioEntry {
	var out []model.BlkioEntry
	for line := range strings.Lines(text) {
		var e model.BlkioEntry
		if n, err := fmt.Sscanf(line, "%d:%d %s %d", &e.Major, &e.Minor, &e.Op, &e.Value); err == nil && n == 4 {
			e.Op = strings.ToLower(e.Op)
			out = append(out, e)
		}
	}
	return out
}

// blkioV2 reads lines of MAJOR:MINOR rbytes=N wbytes=N ….
func blkioV2(text string) []model.BlkioEntry {
	var out []model.BlkioEntry
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		var major, minor uint64
		if len(fields) == 0 {
			continue
		}
		if n, err := fmt.Sscanf(fields[0], "%d:%d", &major, &minor); err != nil || n != 2 {
			continue
		}
		for _, f := range fields[1:] {
			key, value, _ := strings.Cut(f, "=")
			op := map[string]string{"rbytes": "read", "wbytes": "write"}[key]
			if n, err := strconv.ParseUint(value, 10, 64); err == nil && op != "" {
				out = append(out, model.BlkioEntry{Major: major, Minor: minor, Op: op, Value: n})
			}
		}
	}
	return out
}

// systemCPU gives the time all CPUs spent since boot, in nanoseconds, and how
// many there are: the first eight columns of /proc/stat (proc(5)), as Docker sums.
func systemCPU() (total uint64, cpus uint32, err error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("system CPU use: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 9 || !strings.HasPrefix(fields[0], "cpu") {
			break
		}
		if fields[0] != "cpu" {
			cpus++
			continue
		}
		for _, f := range fields[1:9] {
			n, err := strconv.ParseUint(f, 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("system CPU use: %w", err)
			}
			total += n * tick
		}
	}
	return total, cpus, nil
}

func machineMemory() (uint64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, err
	}
	return uint64(info.Totalram) * uint64(info.Unit), nil
}
