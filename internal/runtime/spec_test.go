//go:build linux

package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/engine"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// TestInside asks containers about themselves.
func TestInside(t *testing.T) {
	h := newHost(t)
	caps := func(add, drop []string) func(*model.Container) {
		return func(c *model.Container) { c.Host.CapAdd, c.Host.CapDrop = add, drop }
	}
	config := func(f func(*model.Config)) func(*model.Container) {
		return func(c *model.Container) { f(&c.Config) }
	}
	hostConfig := func(f func(*model.HostConfig)) func(*model.Container) {
		return func(c *model.Container) { f(&c.Host) }
	}
	option := func(options ...string) func(*model.Container) {
		return hostConfig(func(h *model.HostConfig) { h.SecurityOpt = options })
	}
	noop := func(*model.Container) {}
	status := func(field string) string { return "grep '^" + field + ":' /proc/self/status | tr '\\t' ' '" }
	for name, c := range map[string]struct {
		change func(*model.Container)
		script string
		want   string
	}{
		"default capabilities": {noop, status("CapEff"), "CapEff: 00000000a80425fb\n"},
		"inheritable":          {noop, status("CapInh"), "CapInh: 0000000000000000\n"},
		"cap-drop ALL":         {caps(nil, []string{"all"}), status("CapEff"), "CapEff: 0000000000000000\n"},
		"cap-add":              {caps([]string{"NET_ADMIN"}, []string{"ALL"}), status("CapEff"), "CapEff: 0000000000001000\n"},
		"cap-drop one":         {caps(nil, []string{"CAP_MKNOD"}), status("CapEff"), "CapEff: 00000000a00425fb\n"},
		"seccomp":              {noop, status("Seccomp"), "Seccomp: 2\n"},
		"seccomp=unconfined":   {option("seccomp=unconfined"), status("Seccomp"), "Seccomp: 0\n"},
		"seccomp profile": {option(`seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`),
			"mkdir /tmp/x 2>&1", "mkdir: can't create directory '/tmp/x': Operation not permitted\n"},
		"no-new-privileges":   {option("no-new-privileges"), status("NoNewPrivs"), "NoNewPrivs: 1\n"},
		"new privileges":      {noop, status("NoNewPrivs"), "NoNewPrivs: 0\n"},
		"apparmor=unconfined": {option("apparmor=unconfined", "label=disable"), "echo ok", "ok\n"},
		"masked":              {noop, "wc -c < /proc/interrupts; ls /sys/firmware | wc -l", "0\n0\n"},
		"read-only proc":      {noop, "echo 1 2>&1 > /proc/sys/kernel/randomize_va_space", "sh: can't create /proc/sys/kernel/randomize_va_space: Read-only file system\n"},
		"read-only sys":       {noop, "grep -c ' /sys sysfs ro' /proc/self/mounts", "1\n"},
		"unmasked":            {option("systempaths=unconfined"), "grep -c /proc/kcore /proc/self/mounts", "0\n"},
		"read-only root":      {hostConfig(func(h *model.HostConfig) { h.ReadonlyRootfs = true }), "touch /x 2>&1", "touch: /x: Read-only file system\n"},
		"user by name":        {config(func(c *model.Config) { c.User = "web" }), "id; echo $HOME", "uid=1000(web) gid=1001(web) groups=1001(web),2000(logs)\n/home/web\n"},
		"user by number":      {config(func(c *model.Config) { c.User = "4711" }), "id -u; id -g; echo $HOME", "4711\n0\n/\n"},
		"user and group":      {config(func(c *model.Config) { c.User = "web:audio" }), "id -G", "29\n"},
		"uid and gid":         {config(func(c *model.Config) { c.User = "5:6" }), "id -u; id -g", "5\n6\n"},
		"group-add":           {hostConfig(func(h *model.HostConfig) { h.GroupAdd = []string{"audio", "77"} }), "id -G", "0 29 77\n"},
		"root's home":         {noop, "echo $HOME", "/root\n"},
		"hostname":            {noop, "hostname", "box\n"},
		"domainname":          {config(func(c *model.Config) { c.Domainname = "example.org" }), "cat /proc/sys/kernel/domainname", "example.org\n"},
		"working dir":         {config(func(c *model.Config) { c.WorkingDir = "/srv/new/dir" }), "pwd", "/srv/new/dir\n"},
		"own pids":            {noop, "echo $$", "1\n"},
		"host's pids":         {hostConfig(func(h *model.HostConfig) { h.PidMode = "host" }), "test $$ -gt 1 && echo many", "many\n"},
		"shm size":            {hostConfig(func(h *model.HostConfig) { h.ShmSize = 1 << 20 }), "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", "1024\n"},
		"no shm":              {hostConfig(func(h *model.HostConfig) { h.IpcMode = "none" }), "ls /dev/shm 2>/dev/null | wc -l; grep -c shm /proc/self/mounts", "0\n0\n"},
		"ulimit":              {hostConfig(func(h *model.HostConfig) { h.Ulimits = []model.Ulimit{{Name: "nofile", Soft: 99, Hard: 100}} }), "ulimit -Sn; ulimit -Hn", "99\n100\n"},
		"device": {hostConfig(func(h *model.HostConfig) {
			h.Devices = []model.Device{{Host: "/dev/zero", Container: "/dev/nix", Permissions: "r"}}
		}), "head -c 3 /dev/nix | wc -c", "3\n"},
		"no other devices": {noop, "ls /dev | grep -v core | tr '\\n' ' '", "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "},
		"sysctl":           {hostConfig(func(h *model.HostConfig) { h.Sysctls = map[string]string{"kernel.shmmax": "12345"} }), "cat /proc/sys/kernel/shmmax", "12345\n"},
		"oom score":        {hostConfig(func(h *model.HostConfig) { h.OomScoreAdj = 500 }), "cat /proc/self/oom_score_adj", "500\n"},
		"private cgroups":  {hostConfig(func(h *model.HostConfig) { h.CgroupnsMode = "private" }), "grep -c jackstay-test /proc/self/cgroup", "0\n"},
		"cgroups ro":       {noop, "mkdir /sys/fs/cgroup/pids/x 2>&1 | grep -c Read-only", "1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if stdout, stderr, _ := h.run(h.sh(c.script, c.change)); stdout != c.want {
				t.Errorf("output %q, want %q; errors %q", stdout, c.want, stderr)
			}
		})
	}
}

func TestPrivileged(t *testing.T) {
	h := newHost(t)
	out := h.out(h.sh("grep -E '^(CapEff|Seccomp):' /proc/self/status | tr '\\t' ' '; ls -d /dev/loop* /dev/kmsg 2>/dev/null | wc -l; mkdir /tmp/m; mount -t tmpfs none /tmp/m && echo mounted; grep -c ' /sys sysfs rw' /proc/self/mounts",
		func(c *model.Container) { c.Host.Privileged = true }))
	bounding, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(bounding), "CapBnd:\t")
	want := "CapEff: " + rest[:16] + "\nSeccomp: 0\n"
	if !strings.HasPrefix(out, want) || !strings.HasSuffix(out, "mounted\n1\n") {
		t.Errorf("%q, want %q first", out, want)
	}
}

func TestRefused(t *testing.T) {
	h := newHost(t)
	var nofile unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &nofile); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*model.Container)
		want   string
	}{
		"user":            {func(c *model.Container) { c.Config.User = "nobody-here" }, "unable to find user nobody-here: no matching entries in passwd file"},
		"group":           {func(c *model.Container) { c.Config.User = "web:nope" }, "unable to find group nope: no matching entries in group file"},
		"group-add":       {func(c *model.Container) { c.Host.GroupAdd = []string{"nope"} }, "nope"},
		"capability":      {func(c *model.Container) { c.Host.CapAdd = []string{"FLY"} }, `unknown capability to add: "FLY"`},
		"security option": {func(c *model.Container) { c.Host.SecurityOpt = []string{"magic=on"} }, `invalid --security-opt 2: "magic=on"`},
		"apparmor":        {func(c *model.Container) { c.Host.SecurityOpt = []string{"apparmor=mine"} }, "AppArmor profiles are not supported"},
		"seccomp":         {func(c *model.Container) { c.Host.SecurityOpt = []string{"seccomp={"} }, "ecoding seccomp profile failed"},
		"device":          {func(c *model.Container) { c.Host.Devices = []model.Device{{Host: "/dev/nope"}} }, `custom device "/dev/nope": no such file or directory`},
		"ulimit":          {func(c *model.Container) { c.Host.Ulimits = []model.Ulimit{{Name: "files"}} }, "invalid ulimit type: files"},
		"working dir":     {func(c *model.Container) { c.Config.WorkingDir = "/bin/sh" }, "cannot mkdir: /bin/sh is not a directory"},
		"ipc":             {func(c *model.Container) { c.Host.IpcMode = "container:" + newID() }, "non running container"},
		"log driver":      {func(c *model.Container) { c.Host.LogDriver = "syslog" }, "no log driver named 'syslog'"},
		"sysctl":          {func(c *model.Container) { c.Host.Sysctls = map[string]string{"net.ipv4.ip_forward": "1"} }, "not allowed in host network namespace"},
		"oom score":       {func(c *model.Container) { c.Host.OomScoreAdj = -2000 }, "range for oom score adj is [-1000, 1000]"},
	} {
		spec := h.sh("true", c.change)
		switch name {
		case "capability", "security option", "apparmor", "seccomp", "ulimit": // whatever the container
			if err := h.r.Check(spec.Container.Host); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s before there is a container: %v, want %q", name, err, c.want)
			}
		}
		_, err := h.r.Create(h.ctx, spec)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if k := errs.KindOf(err); k != errs.Invalid && k != errs.Conflict {
			t.Errorf("%s: kind %v", name, k)
		}
		if !h.r.absent(spec.Container.ID) {
			t.Errorf("%s: something is left", name)
		}
	}
	if bounded(24) { // CAP_SYS_RESOURCE
		return
	}
	for name, change := range map[string]func(*model.Container){
		"the hard limit": func(c *model.Container) {
			c.Host.Ulimits = []model.Ulimit{{Name: "nofile", Soft: 1, Hard: int64(nofile.Max) + 1}}
		},
		"below the daemon'": func(c *model.Container) { c.Host.OomScoreAdj = -500 },
		"not available":     func(c *model.Container) { c.Host.CapAdd = []string{"SYS_RESOURCE"} },
	} {
		if _, err := h.r.Create(h.ctx, h.sh("true", change)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	out := h.out(h.sh("grep CapEff /proc/self/status", func(c *model.Container) { c.Host.CapAdd = []string{"ALL"} }))
	if !strings.Contains(out, "000001fffeffffff") {
		t.Errorf("cap-add ALL: %s", out)
	}
}

func TestOwnMounts(t *testing.T) {
	h := newHost(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := h.sh("cat /data/f /etc/hosts; touch /data/g 2>&1; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2; grep ' /tmp ' /proc/self/mounts | grep -o 'dirsync.*mode=[0-9]*'",
		func(c *model.Container) { c.Host.ReadonlyRootfs = true })
	spec.Mounts = []engine.RunMount{
		{Type: "bind", Source: dir, Destination: "/data", Options: []string{"rbind", "ro", "rprivate"}},
		{Type: "bind", Source: filepath.Join(dir, "f"), Destination: "/etc/hosts", Options: []string{"rbind", "rprivate"}},
		{Type: "tmpfs", Source: "tmpfs", Destination: "/dev/shm", Options: []string{"size=2m"}},
		{Type: "tmpfs", Source: "tmpfs", Destination: "/tmp", Options: []string{"nosuid", "nodev", "dirsync", "nostrictatime", "size=1m", "mode=0700"}},
	}
	out := h.out(spec)
	if want := "from the host\nfrom the host\ntouch: /data/g: Read-only file system\n2048\ndirsync,nosuid,nodev,relatime,size=1024k,mode=700\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
}

func TestSharedNamespaces(t *testing.T) {
	h := newHost(t)
	donor := h.start(h.sh("echo secret > /dev/shm/x; sleep 60", func(c *model.Container) { c.Host.IpcMode = "shareable" }))
	s, err := h.r.State(h.ctx, donor)
	if err != nil {
		t.Fatal(err)
	}
	h.eventually("shm", func() bool { _, err := os.Stat(filepath.Join(h.r.shmDir(donor), "x")); return err == nil })
	spec := h.sh("cat /dev/shm/x; kill -0 1 && grep -c sleep /proc/*/comm | grep -c ':1'", func(c *model.Container) {
		c.Host.IpcMode, c.Host.PidMode = "container:"+donor, "container:"+donor
	})
	spec.IpcOf, spec.PidOf = s.Pid, s.Pid
	if out := h.out(spec); out != "secret\n1\n" {
		t.Errorf("%q", out)
	}
}

func TestLimits(t *testing.T) {
	h := newHost(t)
	pids := int64(20) // runc has a dozen threads in it
	out, _, _ := h.run(h.sh("for i in $(seq 30); do sleep 1 & done 2>&1; true", func(c *model.Container) { c.Host.Resources.PidsLimit = &pids }))
	if !strings.Contains(out, "can't fork") {
		t.Errorf("pids limit: %q", out)
	}
	_, _, exit := h.run(h.sh("tail /dev/zero", func(c *model.Container) { c.Host.Resources.Memory = 16 << 20 }))
	if exit.ExitCode != 137 || !exit.OOMKilled {
		t.Errorf("memory limit: %+v", exit)
	}
	id := h.start(h.sh("sleep 60", func(c *model.Container) {
		c.Host.Resources = model.Resources{Memory: 32 << 20, NanoCPUs: 5e8, CPUShares: 512}
	}))
	if err := h.r.Update(h.ctx, id, model.Resources{Memory: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	stats, err := h.r.Stats(h.ctx, id)
	if err != nil || stats.MemoryLimit != 64<<20 || stats.Pids != 1 || stats.MemoryUsage == 0 || stats.SystemCPU == 0 || stats.OnlineCPUs == 0 || stats.CPUTotal == 0 {
		t.Errorf("stats: %+v, %v", stats, err)
	}
	if rec, err := h.r.load(id); err == nil && !h.r.cgroups.v2 {
		if quota := readString(filepath.Join(rec.Cgroups["cpu"], "cpu.cfs_quota_us")); quota != "50000" {
			t.Errorf("quota %s", quota)
		}
	}
}

// A kernel that does not account for swap limits memory alone.
func TestMemoryWithoutSwapAccounting(t *testing.T) {
	h := &hierarchy{mounts: map[string]cgroupMount{"memory": {point: t.TempDir()}}}
	res, err := h.resources(model.Resources{Memory: 64 << 20, MemorySwap: 128 << 20}) // what create makes of --memory
	if err != nil || *res.Memory.Limit != 64<<20 || res.Memory.Swap != nil {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := h.resources(model.Resources{Memory: 64 << 20, MemorySwap: 100 << 20}); !errs.Is(err, errs.Invalid) {
		t.Errorf("a limit that can't be kept: %v", err)
	}
}

func TestTop(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("sleep 61 & sleep 62 & wait"))
	h.eventually("processes", func() bool {
		_, rows, err := h.r.Top(h.ctx, id, "-o pid,comm")
		return err == nil && len(rows) == 3 && !slices.ContainsFunc(rows[1:], func(r []string) bool { return r[1] != "sleep" })
	})
	titles, rows, err := h.r.Top(h.ctx, id, "")
	if err != nil || titles[0] != "UID" || titles[len(titles)-1] != "CMD" || len(rows) != 3 {
		t.Fatalf("%v %v %v", titles, rows, err)
	}
	s, _ := h.r.State(h.ctx, id)
	if rows[0][1] != strconv.Itoa(s.Pid) || !slices.ContainsFunc(rows, func(r []string) bool { return r[len(r)-1] == "sleep 62" }) {
		t.Errorf("rows %v", rows)
	}
	if titles, rows, err = h.r.Top(h.ctx, id, "-o pid,comm"); err != nil || strings.Join(titles, " ") != "PID COMMAND" || len(rows) != 3 {
		t.Errorf("%v %v %v", titles, rows, err)
	}
	if _, _, err = h.r.Top(h.ctx, id, "-o comm"); err == nil || !strings.Contains(err.Error(), "Couldn't find PID field in ps output") {
		t.Errorf("no pid: %v", err)
	}
	if _, _, err = h.r.Top(h.ctx, id, "-o user=PID"); !errs.Is(err, errs.Invalid) {
		t.Errorf("renamed column: %v", err)
	}
}

func TestThermalThrottleIsMasked(t *testing.T) {
	sys := t.TempDir()
	for _, dir := range []string{"cpu0/thermal_throttle", "cpu12/thermal_throttle", "cpu3/cache", "cpuidle"} {
		if err := os.MkdirAll(filepath.Join(sys, "devices/system/cpu", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got := defaultMaskedPaths(sys)
	want := []string{"/sys/devices/virtual/powercap", "/sys/devices/system/cpu/cpu0/thermal_throttle", "/sys/devices/system/cpu/cpu12/thermal_throttle"}
	if !slices.Equal(got[len(got)-3:], want) {
		t.Errorf("%q, want %q at the end", got, want)
	}
}

// An image's user files are a stranger's.
func TestHostileUserFiles(t *testing.T) {
	make := map[string]func(name string) error{
		"a fifo":      func(name string) error { return unix.Mkfifo(name, 0o644) },
		"a device":    func(name string) error { return unix.Mknod(name, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) },
		"a huge file": func(name string) error { return errors.Join(os.WriteFile(name, nil, 0o644), os.Truncate(name, 1<<40)) },
		"a fifo, by link": func(name string) error {
			return errors.Join(unix.Mkfifo(name+"2", 0o644), os.Symlink("/etc/passwd2", name))
		},
	}
	for what, make := range make {
		rootfs := t.TempDir()
		if err := os.Mkdir(filepath.Join(rootfs, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := make(filepath.Join(rootfs, "etc/passwd")); err != nil {
			t.Logf("%s can't be made here: %v", what, err)
			continue
		}
		failed := goes(func() error { _, err := resolveUser(rootfs, "web", nil); return err })
		if err := <-failed; !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "/etc/passwd of the container is") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// goes runs f beside the test, which would otherwise hang with it.
func goes(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	go func() { time.Sleep(10 * time.Second); done <- errors.New("it hangs") }()
	return done
}
