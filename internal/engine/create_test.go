package engine

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

type mod = func(*model.CreateRequest)

func host(f func(*model.HostConfig)) mod { return func(r *model.CreateRequest) { f(&r.Host) } }

func config(f func(*model.Config)) mod { return func(r *model.CreateRequest) { f(&r.Config) } }

func endpoint(eps ...model.EndpointRequest) mod {
	return func(r *model.CreateRequest) { r.Endpoints = append(r.Endpoints, eps...) }
}

// TestRefusedCreates: each in Docker's words, with its status, and nothing is left.
func TestRefusedCreates(t *testing.T) {
	r := newWorld(t).engine()
	if _, _, err := r.CreateNetwork(t.Context(), model.NetworkRequest{Name: "dev", Subnets: []model.SubnetRequest{{Prefix: "10.9.0.0/24"}}}); err != nil {
		t.Fatal(err)
	}
	web := r.create(t, "web", "serve")
	r.create(t, "nethost", "serve", onNetwork("host"))
	r.create(t, "ondev", "serve", onNetwork("dev"), endpoint(model.EndpointRequest{Network: "dev", IPv4: netip.MustParseAddr("10.9.0.9")}))
	missing := filepath.Join(t.TempDir(), "missing")
	file := filepath.Join(r.w.rootfs, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := len(r.Snapshot().Containers)
	for _, tc := range []struct {
		name string
		mod  mod
		kind errs.Kind
		want string
	}{
		{"", func(q *model.CreateRequest) { q.Name = "web" }, errs.Conflict, `Conflict. The container name "/web" is already in use by container "` + web + `". You have to remove (or rename) that container to be able to reuse that name.`},
		{"", func(q *model.CreateRequest) { q.Name = "a b" }, errs.Invalid, "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"},
		{"", func(q *model.CreateRequest) { q.Name = "x" }, errs.Invalid, "Invalid container name (x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"},
		{"image", func(q *model.CreateRequest) { q.Image = "nobody" }, errs.NotFound, "No such image: nobody"},
		{"command", func(q *model.CreateRequest) { q.Config.Cmd, q.EntrypointReset = nil, true }, errs.Invalid, "no command specified"},
		{"what the runtime can't", host(func(h *model.HostConfig) { h.SecurityOpt = []string{"apparmor=mine"} }), errs.Invalid, "AppArmor profiles are not supported"},
		{"memory", host(func(h *model.HostConfig) { h.Resources.Memory = 1 << 20 }), errs.Invalid, "Minimum memory limit allowed is 6MB"},
		{"swap alone", host(func(h *model.HostConfig) { h.Resources.MemorySwap = 1 << 30 }), errs.Invalid, "You should always set the Memory limit when using Memoryswap limit, see usage"},
		{"little swap", host(func(h *model.HostConfig) { h.Resources.Memory, h.Resources.MemorySwap = 64<<20, 32<<20 }), errs.Invalid, "Minimum memoryswap limit should be larger than memory limit, see usage"},
		{"swappiness", host(func(h *model.HostConfig) { n := int64(101); h.Resources.MemorySwappiness = &n }), errs.Invalid, "valid memory swappiness range is 0-100"},
		{"cpu shares", host(func(h *model.HostConfig) { h.Resources.CPUShares = -1 }), errs.Invalid, "invalid CPU shares (-1)"},
		{"cpus and quota", host(func(h *model.HostConfig) { h.Resources.NanoCPUs, h.Resources.CPUQuota = 1e9, 5000 }), errs.Invalid, "Nano CPUs and CPU Quota cannot both be set"},
		{"cgroupns", host(func(h *model.HostConfig) { h.CgroupnsMode = "x" }), errs.Invalid, "invalid cgroup namespace mode: x"},
		{"ipc mode", host(func(h *model.HostConfig) { h.IpcMode = "x" }), errs.Invalid, "invalid IPC mode: x"},
		{"pid mode", host(func(h *model.HostConfig) { h.PidMode = "x" }), errs.Invalid, `invalid PID mode "x"`},
		{"uts mode", host(func(h *model.HostConfig) { h.UTSMode = "x" }), errs.Invalid, `invalid UTS mode "x"`},
		{"shm", host(func(h *model.HostConfig) { h.ShmSize = -1 }), errs.Invalid, "SHM size can not be less than 0"},
		{"oom score", host(func(h *model.HostConfig) { h.OomScoreAdj = 2000 }), errs.Invalid, "range for oom score adj is [-1000, 1000]"},
		{"join unnamed", onNetwork("container:"), errs.Invalid, "invalid container format container:<name|id>"},
		{"join and hosts", func(q *model.CreateRequest) { onNetwork("container:web")(q); q.Host.ExtraHosts = []string{"a:1.1.1.1"} }, errs.Invalid, "conflicting options: custom host-to-IP mapping and the network mode"},
		{"join and another", func(q *model.CreateRequest) {
			onNetwork("container:web")(q)
			endpoint(model.EndpointRequest{Network: "dev"})(q)
		}, errs.Invalid, wordsShared},
		{"cpus", host(func(h *model.HostConfig) { h.Resources.NanoCPUs = 1000e9 }), errs.Invalid, "range of CPUs is from 0.01 to "},
		{"policy", restartPolicy("sometimes", 0), errs.Invalid, "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"},
		{"retries", restartPolicy("always", 3), errs.Invalid, "invalid restart policy: maximum retry count can only be used with 'on-failure'"},
		{"rm and restart", host(func(h *model.HostConfig) { h.AutoRemove, h.RestartPolicy.Name = true, "always" }), errs.Invalid, "can't create 'AutoRemove' container with restart policy"},
		{"workdir", config(func(c *model.Config) { c.WorkingDir = "here" }), errs.Invalid, "the working directory 'here' is invalid, it needs to be an absolute path"},
		{"env", config(func(c *model.Config) { c.Env = []string{"=x"} }), errs.Invalid, "invalid environment variable: =x"},
		{"signal", config(func(c *model.Config) { c.StopSignal = "NONE" }), errs.Invalid, "invalid signal: NONE"},
		{"capability", host(func(h *model.HostConfig) { h.CapAdd = []string{"FLY"} }), errs.Invalid, `invalid CapAdd: unknown capability: "CAP_FLY"`},
		{"hosts", host(func(h *model.HostConfig) { h.ExtraHosts = []string{"db:nowhere"} }), errs.Invalid, `invalid IP address in add-host: "nowhere"`},
		{"hosts line", host(func(h *model.HostConfig) { h.ExtraHosts = []string{"db\n1.2.3.4 bank:10.0.0.1"} }), errs.Invalid, `invalid name in add-host: "db\n1.2.3.4 bank"`},
		{"hostname line", config(func(c *model.Config) { c.Hostname = "a\n1.2.3.4 bank" }), errs.Invalid, `invalid hostname "a\n1.2.3.4 bank"`},
		{"domainname", config(func(c *model.Config) { c.Domainname = "a b" }), errs.Invalid, `invalid domainname "a b"`},
		{"sysctl out of net", host(func(h *model.HostConfig) { h.Sysctls = map[string]string{"net/../kernel/core_pattern": "|/x"} }), errs.Invalid, `invalid sysctl "net/../kernel/core_pattern"`},
		{"sysctl out of net with dots", host(func(h *model.HostConfig) { h.Sysctls = map[string]string{"net.//.kernel.core_pattern": "|/x"} }), errs.Invalid, `invalid sysctl "net.//.kernel.core_pattern"`},
		{"sysctl out of /proc/sys", host(func(h *model.HostConfig) { h.Sysctls = map[string]string{"/etc/passwd": "x"} }), errs.Invalid, `invalid sysctl "/etc/passwd"`},
		{"sysctl with a detour", host(func(h *model.HostConfig) { h.Sysctls = map[string]string{"net/./core//somaxconn": "1"} }), errs.Invalid, `invalid sysctl "net/./core//somaxconn"`},
		{"dns-search line", host(func(h *model.HostConfig) { h.DNSSearch = []string{"a\nnameserver 1.2.3.4"} }), errs.Invalid, `invalid DNS search domain "a\nnameserver 1.2.3.4"`},
		{"dns-option line", host(func(h *model.HostConfig) { h.DNSOptions = []string{"rotate\nnameserver 1.2.3.4"} }), errs.Invalid, `invalid DNS option "rotate\nnameserver 1.2.3.4"`},
		{"same port", func(q *model.CreateRequest) { publish("", 80, 0, 80)(q); publish("", 80, 0, 81)(q) }, errs.Invalid, "host port 80/tcp is given twice, for the container's ports 80/tcp and 81/tcp"},
		{"network", onNetwork("nowhere"), errs.Invalid, "network nowhere not found"},
		{"join nobody", onNetwork("container:nobody"), errs.Invalid, "joining network namespace of container: No such container: nobody"},
		{"join and -p", func(q *model.CreateRequest) { onNetwork("container:web")(q); publish("", 80, 0, 80)(q) }, errs.Invalid, "conflicting options: port publishing and the container type network mode"},
		{"join and --expose", func(q *model.CreateRequest) {
			onNetwork("container:web")(q)
			q.Config.ExposedPorts = []model.Port{{Number: 1, Proto: "tcp"}}
		}, errs.Invalid, "conflicting options: port exposing and the container type network mode"},
		{"join and hostname", func(q *model.CreateRequest) { onNetwork("container:web")(q); q.Config.Hostname = "x" }, errs.Invalid, "conflicting options: hostname and the network mode"},
		{"join and links", func(q *model.CreateRequest) { onNetwork("container:web")(q); q.Host.Links = []string{"web"} }, errs.Invalid, "conflicting options: container type network can't be used with links. This would result in undefined behavior"},
		{"join and dns", func(q *model.CreateRequest) {
			onNetwork("container:web")(q)
			q.Host.DNS = []netip.Addr{netip.MustParseAddr("1.1.1.1")}
		}, errs.Invalid, "conflicting options: dns and the network mode"},
		{"join and mac", func(q *model.CreateRequest) { onNetwork("container:web")(q); q.MAC = "02:42:00:00:00:01" }, errs.Invalid, "conflicting options: mac-address and the network mode"},
		{"host and links", func(q *model.CreateRequest) { onNetwork("host")(q); q.Host.Links = []string{"web"} }, errs.Invalid, "conflicting options: host type networking can't be used with links. This would result in undefined behavior"},
		{"host and another", func(q *model.CreateRequest) { onNetwork("host")(q); endpoint(model.EndpointRequest{Network: "dev"})(q) }, errs.Invalid, wordsShared},
		{"none and another", func(q *model.CreateRequest) { onNetwork("none")(q); endpoint(model.EndpointRequest{Network: "dev"})(q) }, errs.Invalid, wordsNone},
		{"link to nobody", host(func(h *model.HostConfig) { h.Links = []string{"nobody:db"} }), errs.Invalid, "could not get container for nobody: No such container: nobody"},
		{"link form", host(func(h *model.HostConfig) { h.Links = []string{"a:b:c"} }), errs.Invalid, "bad format for links: a:b:c"},
		{"link elsewhere", func(q *model.CreateRequest) {
			host(func(h *model.HostConfig) { h.Links = []string{"ondev"} })(q)
			q.Config.Labels = map[string]string{"com.jackstay.strict": "true"}
		}, errs.Invalid, " and ondev are on no common network, and strict links join none: connect ondev to one of the other's first (jackstay network connect bridge ondev), or leave out --strict"},
		{"link elsewhere 2", func(q *model.CreateRequest) {
			onNetwork("dev")(q)
			endpoint(model.EndpointRequest{Network: "dev", Links: []string{"web"}})(q)
			q.Config.Labels = map[string]string{"com.jackstay.strict": "true"}
		}, errs.Invalid, " and web are on no common network, and strict links join none: connect web to one of the other's first (jackstay network connect dev web), or leave out --strict"},
		{"link to host", host(func(h *model.HostConfig) { h.Links = []string{"nethost"} }), errs.Invalid, "conflicting options: host type networking can't be used with links. This would result in undefined behavior"},
		{"ip outside", func(q *model.CreateRequest) {
			onNetwork("dev")(q)
			endpoint(model.EndpointRequest{Network: "dev", IPv4: netip.MustParseAddr("10.8.0.1")})(q)
		}, errs.Invalid, "invalid address 10.8.0.1: It does not belong to any of this network's subnets"},
		{"ip in use", func(q *model.CreateRequest) {
			onNetwork("dev")(q)
			endpoint(model.EndpointRequest{Network: "dev", IPv4: netip.MustParseAddr("10.9.0.9")})(q)
		}, errs.Forbidden, "Address already in use"},
		{"ip6", func(q *model.CreateRequest) {
			onNetwork("dev")(q)
			endpoint(model.EndpointRequest{Network: "dev", IPv6: netip.MustParseAddr("fd00::9")})(q)
		}, errs.Invalid, "invalid address fd00::9: network dev has no IPv6"},
		{"ip on host", func(q *model.CreateRequest) {
			onNetwork("host")(q)
			endpoint(model.EndpointRequest{Network: "host", IPv4: netip.MustParseAddr("10.9.0.9")})(q)
		}, errs.Invalid, wordsNoIP},
		{"mac", func(q *model.CreateRequest) { q.MAC = "zz" }, errs.Invalid, "invalid MAC address"},
		{"bind form", host(func(h *model.HostConfig) { h.Binds = []string{"a:b:c:d"} }), errs.Invalid, "invalid volume specification: 'a:b:c:d'"},
		{"bind mode", host(func(h *model.HostConfig) { h.Binds = []string{"/a:/b:rx"} }), errs.Invalid, "invalid mode: rx"},
		{"bind target", host(func(h *model.HostConfig) { h.Binds = []string{"/a:b"} }), errs.Invalid, "invalid mount path: 'b' mount path must be absolute"},
		{"bind root", host(func(h *model.HostConfig) { h.Binds = []string{"/a:/"} }), errs.Invalid, "invalid specification: destination can't be '/'"},
		{"bind name", host(func(h *model.HostConfig) { h.Binds = []string{"a/b:/c"} }), errs.Invalid, `includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`},
		{"twice", host(func(h *model.HostConfig) { h.Binds = []string{"/a:/c", "vol:/c/"} }), errs.Invalid, "Duplicate mount point: /c"},
		{"mount source", host(func(h *model.HostConfig) {
			h.MountSpecs = []model.Mount{{Type: "bind", Source: missing, Destination: "/x", RW: true}}
		}), errs.Invalid, `invalid mount config for type "bind": bind source path does not exist: ` + missing},
		{"mount type", host(func(h *model.HostConfig) { h.MountSpecs = []model.Mount{{Type: "npipe", Destination: "/x"}} }), errs.Invalid, `invalid mount config for type "npipe": mount type unknown`},
		{"tmpfs option", host(func(h *model.HostConfig) { h.Tmpfs = map[string]string{"/x": "colour=red"} }), errs.Invalid, `invalid tmpfs option ["colour=red"]`},
		{"volumes from", host(func(h *model.HostConfig) { h.VolumesFrom = []string{"nobody"} }), errs.Invalid, "No such container: nobody"},
		{"volume over file", host(func(h *model.HostConfig) { h.Binds = []string{"vol:/file"} }), errs.Invalid, "cannot mount volume over existing file, file exists /file"},
		{"runtime", host(func(h *model.HostConfig) { h.Runtime = "kata" }), errs.Invalid, "unknown or invalid runtime name: kata"},
		{"pid", host(func(h *model.HostConfig) { h.PidMode = "container:nobody" }), errs.Invalid, "joining PID namespace of container: No such container: nobody"},
	} {
		_, err := r.tryCreate(t, tc.name, "serve", tc.mod)
		if tc.name != "" && !validName(tc.name) { // table names have spaces: the request needs none
			_, err = r.tryCreate(t, "", "serve", tc.mod)
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) || errs.KindOf(err) != tc.kind {
			t.Errorf("%s: %v (kind %d), want %q (kind %d)", tc.name, err, errs.KindOf(err), tc.want, tc.kind)
		}
	}
	if got := len(r.Snapshot().Containers); got != before {
		t.Errorf("%d containers, %d before", got, before)
	}
	if got := len(r.Snapshot().Volumes); got != 0 {
		t.Errorf("%d volumes are left", got)
	}
	r.noLeaks(t)
}

func TestMergeWithImage(t *testing.T) {
	image := model.Config{
		Env: []string{"PATH=/bin", "A=image"}, Cmd: []string{"run"}, Entrypoint: []string{"entry"}, User: "www",
		WorkingDir: "/srv", ExposedPorts: []model.Port{{Number: 80, Proto: "tcp"}}, Labels: map[string]string{"a": "image", "b": "image"},
		Volumes: []string{"/data"}, StopSignal: "SIGINT",
	}
	for _, tc := range []struct {
		name  string
		user  model.Config
		reset bool
		want  string // path and arguments
	}{
		{"nothing", model.Config{}, false, "entry run"},
		{"command", model.Config{Cmd: []string{"x"}}, false, "entry x"},
		{"entrypoint", model.Config{Entrypoint: []string{"sh"}}, false, "sh"},
		{"both", model.Config{Entrypoint: []string{"sh"}, Cmd: []string{"-c"}}, false, "sh -c"},
		{"reset", model.Config{Cmd: []string{"x"}}, true, "x"},
	} {
		c := mergeImage(tc.user, image, tc.reset)
		path, args, err := program(c)
		if got := strings.Join(append([]string{path}, args...), " "); err != nil || got != tc.want {
			t.Errorf("%s: %q %v, want %q", tc.name, got, err, tc.want)
		}
	}
	c := mergeImage(model.Config{
		Env: []string{"A=user"}, Labels: map[string]string{"a": "user"}, ExposedPorts: []model.Port{{Number: 443, Proto: "tcp"}},
		Volumes: []string{"/logs"},
	}, image, false)
	if got := strings.Join(c.Env, " "); got != "A=user PATH=/bin" {
		t.Errorf("environment %s", got)
	}
	if c.Labels["a"] != "user" || c.Labels["b"] != "image" || len(c.ExposedPorts) != 2 || len(c.Volumes) != 2 ||
		c.User != "www" || c.WorkingDir != "/srv" || c.StopSignal != "SIGINT" {
		t.Errorf("merged %+v", c)
	}
	if image.Labels["a"] != "image" || len(image.ExposedPorts) != 1 {
		t.Error("the image's configuration was changed")
	}
}

func TestCreatedContainer(t *testing.T) {
	r := newWorld(t).engine()
	id := r.create(t, "", "", publish("", 8080, 0, 80))
	c := r.container(id)
	if !strings.Contains(c.Name, "_") || c.Config.Hostname != id[:12] || c.Host.NetworkMode != "bridge" || c.Path != "serve" {
		t.Errorf("defaults: name %q hostname %q mode %q path %q", c.Name, c.Config.Hostname, c.Host.NetworkMode, c.Path)
	}
	if len(c.Config.ExposedPorts) != 1 || c.Config.ExposedPorts[0].Number != 80 {
		t.Errorf("exposed %v", c.Config.ExposedPorts)
	}
	hostname, _ := os.Hostname()
	if c = r.container(r.create(t, "hosted", "", onNetwork("host"))); c.Config.Hostname != hostname {
		t.Errorf("hostname in the host's network: %q", c.Config.Hostname)
	}
	ip := model.EndpointRequest{Network: "bridge", IPv4: netip.MustParseAddr("172.17.9.9"), Aliases: []string{"www"}, MAC: "02:42:aa:00:00:01"}
	id = r.create(t, "fixed", "", endpoint(ip))
	ep := r.Snapshot().ByContainer[id][0]
	if ep.IPv4.String() != "172.17.9.9/16" || ep.MAC != ip.MAC || ep.Aliases[0] != "www" || ep.Interface != "eth0" {
		t.Errorf("endpoint %+v", ep)
	}
}

func TestVolumesAndMounts(t *testing.T) {
	r := newWorld(t).engine()
	for path, content := range map[string]string{"data/a/b": "from the image", "anon/x": "x"} {
		p := filepath.Join(r.w.rootfs, path)
		if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a/b", filepath.Join(r.w.rootfs, "data/link")); err != nil {
		t.Fatal(err)
	}
	bind := filepath.Join(t.TempDir(), "made")
	id := r.runContainer(t, "web", "serve", func(q *model.CreateRequest) {
		q.Host.Binds = []string{"named:/data", bind + ":/bound:ro", "plain:/data2:nocopy"}
		q.Config.Volumes = []string{"/anon"}
		q.Host.Tmpfs = map[string]string{"/tmp": "size=1m,exec"}
		q.Host.MountSpecs = []model.Mount{{Type: "tmpfs", Destination: "/t2", RW: true, TmpfsSize: 4096}}
	})
	s := r.Snapshot()
	v := s.Volumes["named"]
	if b, err := os.ReadFile(filepath.Join(v.Mountpoint, "a/b")); err != nil || string(b) != "from the image" {
		t.Errorf("copy-up: %q %v", b, err)
	}
	if l, err := os.Readlink(filepath.Join(v.Mountpoint, "link")); err != nil || l != "a/b" {
		t.Errorf("copied link: %q %v", l, err)
	}
	if info, err := os.Stat(v.Mountpoint); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("mode of the volume: %v %v", info.Mode(), err)
	}
	if info, err := os.Stat(bind); err != nil || !info.IsDir() {
		t.Errorf("the bind's source was not made: %v", err)
	}
	var got []string
	for _, m := range r.w.procs[id].spec.Mounts {
		got = append(got, m.Type+" "+m.Destination+" "+strings.Join(m.Options, ","))
	}
	for _, want := range []string{
		"bind /data rbind,rw,rprivate", "bind /bound rbind,ro,rprivate", "bind /etc/hosts rbind,rw,rprivate",
		"tmpfs /tmp nosuid,nodev,size=1m,exec", "tmpfs /t2 noexec,nosuid,nodev,rw,size=4096",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no mount %q in\n%s", want, strings.Join(got, "\n"))
		}
	}
	// Another container sees the same volumes, and they are in use.
	r.create(t, "other", "serve", host(func(h *model.HostConfig) { h.VolumesFrom = []string{"web:ro"} }))
	for _, m := range byName(r, "other").Mounts {
		if m.RW {
			t.Errorf("%s is writable", m.Destination)
		}
	}
	if err := r.RemoveVolume(t.Context(), "named", false); !errs.Is(err, errs.Conflict) || !strings.HasPrefix(err.Error(), "remove named: volume is in use - [") {
		t.Errorf("rm of a used volume: %v", err)
	}
	for _, name := range []string{"web", "other"} {
		if err := r.RemoveContainer(t.Context(), name, model.RemoveOptions{Force: true, Volumes: true}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(r.Snapshot().Volumes); got != 2 {
		t.Errorf("%d volumes are left, not the two named ones", got)
	}
	if size, err := r.VolumeSize(t.Context(), "named"); err != nil || size < 14 {
		t.Errorf("size %d %v", size, err)
	}
	if names, _, err := r.PruneVolumes(t.Context(), false, nil); err != nil || len(names) != 0 {
		t.Errorf("prune took %v %v", names, err)
	}
	if names, n, err := r.PruneVolumes(t.Context(), true, func(v *model.Volume) bool { return v.Name == "plain" }); err != nil || len(names) != 1 || n == 0 {
		t.Errorf("prune took %v, %d bytes, %v", names, n, err)
	}
	if err := r.RemoveVolume(t.Context(), "named", false); err == nil || err.Error() != "get named: no such volume" {
		t.Errorf("rm of an absent volume: %v", err)
	}
	r.noLeaks(t)
}

func TestCreateVolume(t *testing.T) {
	r := newWorld(t).engine()
	dev := t.TempDir()
	for _, tc := range []struct {
		req  model.VolumeRequest
		want string
	}{
		{model.VolumeRequest{Name: "vol"}, ""},
		{model.VolumeRequest{}, ""},
		{model.VolumeRequest{Name: "bound", Options: map[string]string{"type": "none", "o": "bind", "device": dev}}, ""},
		{model.VolumeRequest{Name: "v"}, "create v: volume name is too short, names should be at least two alphanumeric characters"},
		{model.VolumeRequest{Name: "a/b"}, "includes invalid characters for a local volume name"},
		{model.VolumeRequest{Name: "vv", Driver: "nfs"}, `error looking up volume plugin nfs: plugin "nfs" not found`},
		{model.VolumeRequest{Name: "vv", Options: map[string]string{"type": "tmpfs", "device": "tmpfs"}}, "not supported yet"},
		{model.VolumeRequest{Name: "vv", Options: map[string]string{"colour": "red"}}, `create vv: invalid option: "colour"`},
	} {
		v, err := r.CreateVolume(t.Context(), tc.req)
		if tc.want == "" {
			if err != nil || v.Anonymous != (tc.req.Name == "") {
				t.Errorf("%+v: %v", tc.req, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %s", tc.req, err, tc.want)
		}
	}
	id := r.runContainer(t, "web", "serve", host(func(h *model.HostConfig) { h.Binds = []string{"bound:/d"} }))
	if !slices.ContainsFunc(r.w.procs[id].spec.Mounts, func(m RunMount) bool { return m.Source == dev }) {
		t.Error("the device is not what is mounted")
	}
	r.noLeaks(t)
}

func TestTmpfsOptions(t *testing.T) {
	for asked, want := range map[string]string{
		"":                       "noexec nosuid nodev",
		"size=1m,exec":           "nosuid nodev size=1m exec",
		"exec,noexec,mode=17":    "nosuid nodev noexec mode=17",
		"size=1,size=2,ro":       "noexec nosuid nodev size=2 ro",
		"dirsync,nostrictatime,": "noexec nosuid nodev dirsync nostrictatime",
	} {
		got, err := tmpfsOptions("/x", asked)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v", asked, got, err)
		}
	}
}
