package api

import (
	"bufio"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hostFacts is what info tells of the machine. It is read once: none of it
// changes while a daemon runs.
type hostFacts struct {
	kernel, system, systemVersion, arch, hostname string
	cpus                                          int
	memory                                        int64 // bytes
	memoryLimit, swapLimit, cpu, cpuset, pids     bool  // cgroup controllers
	oomKillDisable                                bool  // cgroup v1 only
}

// readHostFacts reads the files under root, "/" but in tests. What can't be
// read stays empty.
func readHostFacts(root string) hostFacts {
	f := hostFacts{cpus: runtime.NumCPU()}
	f.hostname, _ = os.Hostname()
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		f.kernel, f.arch = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
	}
	release := keyValues(filepath.Join(root, "etc/os-release"), "=")
	f.system, f.systemVersion = orDefault(release["PRETTY_NAME"], "Linux"), release["VERSION_ID"]
	kib, _ := strconv.ParseInt(strings.TrimSuffix(keyValues(filepath.Join(root, "proc/meminfo"), ":")["MemTotal"], " kB"), 10, 64)
	f.memory = kib << 10
	f.readCgroups(root)
	return f
}

// readCgroups finds the controllers there are: cgroups(7), cgroup_v2 lists them
// in one file, v1 in /proc/cgroups.
func (f *hostFacts) readCgroups(root string) {
	if data, err := os.ReadFile(filepath.Join(root, "sys/fs/cgroup/cgroup.controllers")); err == nil {
		has := map[string]bool{}
		for _, name := range strings.Fields(string(data)) {
			has[name] = true
		}
		f.memoryLimit, f.swapLimit, f.cpu, f.cpuset, f.pids = has["memory"], has["memory"], has["cpu"], has["cpuset"], has["pids"]
		return
	}
	data, err := os.ReadFile(filepath.Join(root, "proc/cgroups"))
	if err != nil {
		return
	}
	enabled := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 4 {
			enabled[fields[0]] = fields[3] == "1"
		}
	}
	f.memoryLimit, f.oomKillDisable = enabled["memory"], enabled["memory"]
	f.cpu, f.cpuset, f.pids = enabled["cpu"], enabled["cpuset"], enabled["pids"]
	_, err = os.Stat(filepath.Join(root, "sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"))
	f.swapLimit = err == nil
}

// keyValues reads lines of KEY<sep>VALUE, the value perhaps quoted.
func keyValues(path, sep string) map[string]string {
	out := map[string]string{}
	file, err := os.Open(path)
	if err != nil {
		return out
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), sep); ok {
			out[strings.TrimSpace(key)] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return out
}
