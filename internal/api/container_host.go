package api

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/jackstay/jackstay/internal/model"
)

// checkHost refuses what Jackstay does not do of a HostConfig. What can't be
// right, or does not go together, is the engine's to refuse.
func checkHost(h *container.HostConfig, v apiVersion) error {
	if h.UsernsMode != "" && h.UsernsMode != "host" {
		return unsupported("user namespaces (--userns %s) are not supported: containers share the host's", h.UsernsMode)
	}
	switch {
	case h.VolumeDriver != "" && h.VolumeDriver != "local":
		return unsupported("volume driver %q (--volume-driver) is not supported: use local", h.VolumeDriver)
	case h.Cgroup != "":
		return unsupported("joining another container's cgroup (Cgroup %q) is not supported: use --cgroup-parent", h.Cgroup)
	case len(h.StorageOpt) > 0:
		return unsupported("storage options (--storage-opt) are not supported: leave them out")
	case !h.Isolation.IsDefault():
		return invalid("invalid isolation (%s): linux only supports 'default'", h.Isolation)
	}
	if err := checkLog(h.LogConfig); err != nil {
		return err
	}
	if err := checkResources(&h.Resources); err != nil {
		return err
	}
	return checkMounts(h.Mounts, v)
}

// logDrivers are those whose logs are kept, and none.
var logDrivers = []string{"json-file", "local", "k8s-file", "none"}

// logOptions are the drivers' options that are understood; their values are
// checked where they are used.
var logOptions = []string{"max-size", "max-file", "compress"}

func checkLog(l container.LogConfig) error {
	if l.Type != "" && !slices.Contains(logDrivers, l.Type) {
		return unsupported("log driver %q (--log-driver) is not supported: use json-file, local or none", l.Type)
	}
	for name, value := range l.Config {
		switch {
		case l.Type == "none":
			return invalid("log driver none takes no option, but has %s (--log-opt)", name)
		case !slices.Contains(logOptions, name), name == "compress" && value != "false":
			return unsupported("log option %s=%s (--log-opt) is not supported: there are max-size and max-file", name, value)
		}
	}
	return nil
}

// hostOf is the half of the configuration that ties a container to this host.
func hostOf(h *container.HostConfig, v apiVersion) (model.HostConfig, error) {
	bindings, err := bindingsOf(h.PortBindings, v)
	if err != nil {
		return model.HostConfig{}, err
	}
	restart, err := restartPolicyOf(h.RestartPolicy)
	if err != nil {
		return model.HostConfig{}, err
	}
	out := model.HostConfig{
		Binds: h.Binds, MountSpecs: mountsOf(h.Mounts), VolumesFrom: h.VolumesFrom, Tmpfs: h.Tmpfs,
		ContainerIDFile: h.ContainerIDFile,
		NetworkMode:     networkModeOf(h.NetworkMode),
		PortBindings:    bindings, PublishAllPorts: h.PublishAllPorts, Links: h.Links,
		RestartPolicy: restart, AutoRemove: h.AutoRemove,
		CapAdd: h.CapAdd, CapDrop: h.CapDrop,
		DNS: h.DNS, DNSOptions: h.DNSOptions, DNSSearch: h.DNSSearch, ExtraHosts: h.ExtraHosts,
		GroupAdd: h.GroupAdd, IpcMode: string(h.IpcMode), PidMode: string(h.PidMode), UTSMode: string(h.UTSMode),
		CgroupnsMode: string(h.CgroupnsMode), CgroupParent: h.CgroupParent, OomScoreAdj: h.OomScoreAdj,
		Privileged: h.Privileged, ReadonlyRootfs: h.ReadonlyRootfs, SecurityOpt: h.SecurityOpt,
		ShmSize: h.ShmSize, Sysctls: h.Sysctls, Runtime: h.Runtime,
		Resources: resourcesOf(&h.Resources),
		LogDriver: h.LogConfig.Type, LogOptions: h.LogConfig.Config, ConsoleSize: h.ConsoleSize,
		MaskedPaths: h.MaskedPaths, ReadonlyPaths: h.ReadonlyPaths, Annotations: h.Annotations,
		Init: h.Init != nil && *h.Init,
	}
	if n := out.Resources.PidsLimit; n != nil && *n == 0 {
		out.Resources.PidsLimit = nil
	}
	for _, d := range h.Devices {
		out.Devices = append(out.Devices, model.Device{Host: d.PathOnHost, Container: d.PathInContainer, Permissions: d.CgroupPermissions})
	}
	for _, u := range h.Ulimits {
		if u == nil {
			continue
		}
		out.Ulimits = append(out.Ulimits, model.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	return out, nil
}

// networkModeOf makes "default" and nothing the default network by its name,
// as Docker does.
func networkModeOf(m container.NetworkMode) model.NetworkMode {
	if m == "" || m.IsDefault() {
		return model.DefaultNetwork
	}
	return model.NetworkMode(m)
}

func restartPolicyOf(p container.RestartPolicy) (model.RestartPolicy, error) {
	if err := container.ValidateRestartPolicy(p); err != nil {
		return model.RestartPolicy{}, invalid("%w", err)
	}
	return model.RestartPolicy{Name: string(p.Name), MaxRetries: p.MaximumRetryCount}, nil
}

// bindingsOf reads -p in the form it arrives in. Ports are in order, so that
// equal requests give equal records.
func bindingsOf(m network.PortMap, v apiVersion) ([]model.PortBinding, error) {
	ports := make([]model.Port, 0, len(m))
	given := map[model.Port][]network.PortBinding{}
	for p, bindings := range m {
		port, err := portOf(p)
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
		given[port] = append(given[port], bindings...)
	}
	var out []model.PortBinding
	for _, port := range model.SortPorts(ports) {
		// An empty list once meant any host port (the API's docs, v1.52).
		if len(given[port]) == 0 && v.before(53) {
			given[port] = []network.PortBinding{{}}
		}
		for _, b := range given[port] {
			binding, err := bindingOf(port, b)
			if err != nil {
				return nil, err
			}
			out = append(out, binding)
		}
	}
	return out, nil
}

func bindingOf(port model.Port, b network.PortBinding) (model.PortBinding, error) {
	out := model.PortBinding{Port: port, HostIP: b.HostIP, HostPortGiven: b.HostPort}
	if b.HostIP.IsValid() {
		out.HostIPGiven = b.HostIP.String()
	} else {
		out.HostIP = netip.Addr{}
	}
	if b.HostPort == "" {
		return out, nil
	}
	start, end, ranged := strings.Cut(b.HostPort, "-")
	low, err := strconv.ParseUint(start, 10, 16)
	if err != nil {
		return out, invalid("invalid port specification: %q", b.HostPort)
	}
	out.HostPort = uint16(low)
	if !ranged {
		return out, nil
	}
	high, err := strconv.ParseUint(end, 10, 16)
	if err != nil || high < low || low == 0 {
		return out, invalid("invalid port specification: %q", b.HostPort)
	}
	if high > low {
		out.HostPortEnd = uint16(high)
	}
	return out, nil
}
