package api

import (
	"io"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"

	"github.com/jackstay/jackstay/internal/model"
)

// indexServer is what clients take for the name of Docker Hub.
const indexServer = "https://index.docker.io/v1/"

// ping answers OK. Its headers tell a client which API to speak, and, with
// builder version 1, not to expect BuildKit.
func (s *Server) ping(w *responseWriter, r *request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Builder-Version", "1")
	h.Set("Swarm", string(swarm.LocalNodeStateInactive))
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, _ = io.WriteString(w, "OK")
	return nil
}

func (s *Server) versionInfo(w *responseWriter, r *request) error {
	info, err := s.engine.Info(r.Context())
	if err != nil {
		return err
	}
	rt := info.Runtime
	v := s.version
	out := system.VersionResponse{
		Platform: system.PlatformInfo{Name: "Jackstay"},
		Version:  v.Version, APIVersion: MaxVersion, MinAPIVersion: MinVersion,
		Os: "linux", Arch: runtime.GOARCH, GitCommit: v.GitCommit, GoVersion: runtime.Version(),
		KernelVersion: s.host.kernel, BuildTime: v.BuildTime,
		Components: []system.ComponentVersion{
			{Name: "Engine", Version: v.Version, Details: map[string]string{
				"ApiVersion": MaxVersion, "MinAPIVersion": MinVersion, "Os": "linux", "Arch": runtime.GOARCH,
				"GitCommit": v.GitCommit, "GoVersion": runtime.Version(), "KernelVersion": s.host.kernel,
				"BuildTime": v.BuildTime, "Experimental": "false",
			}},
			{Name: orDefault(rt.Runtime, "runc"), Version: rt.RuntimeVersion, Details: map[string]string{"GitCommit": rt.RuntimeCommit}},
			{Name: "conmon", Version: rt.ConmonVersion, Details: map[string]string{}},
		},
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// infoResponse is moby's with what older clients warn about when it is missing.
type infoResponse struct {
	system.Info
	BridgeNfIptables  bool
	BridgeNfIp6tables bool
	ClusterStore      string `json:",omitempty"`
}

func (s *Server) info(w *responseWriter, r *request) error {
	in, err := s.engine.Info(r.Context())
	if err != nil {
		return err
	}
	images, err := s.images.List(r.Context(), model.ImageFilter{})
	if err != nil {
		return err
	}
	h, absent := s.host, system.Commit{ID: "N/A"} // Docker's word for what can't be asked for its version
	name := orDefault(in.Runtime.Runtime, "runc")
	out := infoResponse{Info: system.Info{
		ID: in.ID, Containers: in.Containers, ContainersRunning: in.Running, ContainersPaused: in.Paused, ContainersStopped: in.Stopped,
		Images: len(images), Driver: orDefault(in.StorageDriver, "overlay"), DriverStatus: nonNil(in.StorageStatus),
		Plugins: system.PluginsInfo{
			Volume: []string{"local"}, Network: []string{"bridge", "host", "null"}, Authorization: []string{}, Log: []string{"json-file", "local", "none"},
		},
		MemoryLimit: h.memoryLimit, SwapLimit: h.swapLimit, CPUCfsPeriod: h.cpu, CPUCfsQuota: h.cpu, CPUShares: h.cpu,
		CPUSet: h.cpuset, PidsLimit: h.pids, OomKillDisable: h.oomKillDisable,
		IPv4Forwarding: ipForwarding("/proc/sys/net/ipv4/ip_forward"),
		NFd:            openFiles(), NGoroutines: runtime.NumGoroutine(), SystemTime: s.now().Format(time.RFC3339Nano),
		LoggingDriver: "json-file", CgroupDriver: in.CgroupDriver, CgroupVersion: in.CgroupVersion,
		KernelVersion: h.kernel, OperatingSystem: h.system, OSVersion: h.systemVersion, OSType: "linux", Architecture: h.arch,
		IndexServerAddress: indexServer, RegistryConfig: registries(), NCPU: h.cpus, MemTotal: h.memory,
		GenericResources: []swarm.GenericResource{}, DockerRootDir: in.Root, Name: h.hostname, Labels: []string{},
		HTTPProxy: proxy("HTTP_PROXY"), HTTPSProxy: proxy("HTTPS_PROXY"), NoProxy: proxy("NO_PROXY"),
		ServerVersion:  s.version.Version,
		Runtimes:       map[string]system.RuntimeWithStatus{name: {Runtime: system.Runtime{Path: orDefault(in.RuntimePath, name)}}},
		DefaultRuntime: name, Swarm: swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive, RemoteManagers: []swarm.Peer{}},
		LiveRestoreEnabled: true, InitBinary: "docker-init", RuncCommit: system.Commit{ID: in.Runtime.RuntimeCommit},
		ContainerdCommit: absent, InitCommit: absent,
		SecurityOptions: nonNil(in.SecurityOptions), DefaultAddressPools: addressPools(in.DefaultAddressPools),
		CDISpecDirs: []string{}, Warnings: nonNil(in.Warnings),
	}, BridgeNfIptables: true, BridgeNfIp6tables: true}
	if !r.version.before(49) {
		out.FirewallBackend = &system.FirewallInfo{Driver: "nftables"}
	}
	if r.version.before(25) {
		out.SecurityOptions = optionNames(out.SecurityOptions)
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// registries tells which registries are reached without TLS: those on this host.
func registries() *registry.ServiceConfig {
	return &registry.ServiceConfig{
		InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.0/8")},
		IndexConfigs: map[string]*registry.IndexInfo{
			"docker.io": {Name: "docker.io", Mirrors: []string{}, Secure: true, Official: true},
		},
		Mirrors: []string{},
	}
}

// optionNames turns name=seccomp,profile=builtin into seccomp, as before API 1.25.
func optionNames(options []string) []string {
	out := []string{}
	for _, o := range options {
		first, _, _ := strings.Cut(o, ",")
		out = append(out, strings.TrimPrefix(first, "name="))
	}
	return out
}

func addressPools(pools []model.AddressPool) []system.NetworkAddressPool {
	var out []system.NetworkAddressPool
	for _, p := range pools {
		if base, err := netip.ParsePrefix(p.Base); err == nil {
			out = append(out, system.NetworkAddressPool{Base: base, Size: p.Size})
		}
	}
	return out
}

func ipForwarding(path string) bool {
	data, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(data)) == "1"
}

func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries)
}

func proxy(name string) string { return orDefault(os.Getenv(name), os.Getenv(strings.ToLower(name))) }

// auth checks credentials at a registry, for login.
func (s *Server) auth(w *responseWriter, r *request) error {
	var body registry.AuthConfig
	if err := r.decode(&body); err != nil {
		return err
	}
	if body.ServerAddress == "" {
		body.ServerAddress = indexServer
	}
	status, token, err := s.images.Login(r.Context(), s.modelAuth(body))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, registry.AuthResponse{Status: status, IdentityToken: token})
	return nil
}
