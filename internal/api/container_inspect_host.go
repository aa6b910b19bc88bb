package api

import (
	"net/netip"
	"strconv"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/jackstay/jackstay/internal/model"
)

// defaultShmSize is the size of /dev/shm, in bytes, when none is asked for.
const defaultShmSize = 64 << 20

// dockerHost is HostConfig as inspect shows it: what was asked for, with the
// defaults Docker writes in.
func dockerHost(c *model.Container, snap *model.Snapshot) *container.HostConfig {
	h := &c.Host
	out := &container.HostConfig{
		Binds: h.Binds, ContainerIDFile: h.ContainerIDFile,
		LogConfig:   container.LogConfig{Type: orDefault(h.LogDriver, "json-file"), Config: h.LogOptions},
		NetworkMode: container.NetworkMode(h.NetworkMode), PortBindings: bindingMap(h.PortBindings),
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyMode(orDefault(h.RestartPolicy.Name, "no")), MaximumRetryCount: h.RestartPolicy.MaxRetries},
		AutoRemove:    h.AutoRemove, VolumesFrom: h.VolumesFrom, ConsoleSize: h.ConsoleSize, Annotations: h.Annotations,
		CapAdd: h.CapAdd, CapDrop: h.CapDrop, CgroupnsMode: container.CgroupnsMode(h.CgroupnsMode),
		DNS: nonNil(h.DNS), DNSOptions: nonNil(h.DNSOptions), DNSSearch: nonNil(h.DNSSearch), ExtraHosts: h.ExtraHosts,
		GroupAdd: h.GroupAdd, IpcMode: container.IpcMode(orDefault(h.IpcMode, "private")),
		Links: defaultLinks(c, snap), OomScoreAdj: h.OomScoreAdj, PidMode: container.PidMode(h.PidMode),
		Privileged: h.Privileged, PublishAllPorts: h.PublishAllPorts, ReadonlyRootfs: h.ReadonlyRootfs,
		SecurityOpt: h.SecurityOpt, Tmpfs: h.Tmpfs, UTSMode: container.UTSMode(h.UTSMode),
		ShmSize: h.ShmSize, Sysctls: h.Sysctls, Runtime: orDefault(h.Runtime, "runc"),
		Resources:   dockerResources(h),
		MaskedPaths: h.MaskedPaths, ReadonlyPaths: h.ReadonlyPaths,
	}
	if out.ShmSize == 0 {
		out.ShmSize = defaultShmSize
	}
	if out.LogConfig.Config == nil {
		out.LogConfig.Config = map[string]string{}
	}
	if h.Init {
		out.Init = &h.Init
	}
	for i := range h.MountSpecs {
		out.Mounts = append(out.Mounts, dockerMount(&h.MountSpecs[i]))
	}
	return out
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// defaultLinks are the links on the default network, and those of no network in
// particular, as Docker shows them: /TARGET:/NAME/ALIAS, with the names of today.
func defaultLinks(c *model.Container, snap *model.Snapshot) []string {
	var out []string
	for _, l := range snap.LinksOf[c.ID] {
		n, target := snap.Networks[l.NetworkID], snap.Containers[l.TargetID]
		if target != nil && (l.NetworkID == "" || n != nil && n.Default()) {
			out = append(out, "/"+snap.Shown(target.Name, target.Tenant)+":/"+snap.Shown(c.Name, c.Tenant)+"/"+l.Alias)
		}
	}
	return out
}

func bindingMap(bindings []model.PortBinding) network.PortMap {
	out := network.PortMap{}
	for _, b := range bindings {
		p := dockerPort(b.Port)
		ip, _ := netip.ParseAddr(b.HostIPGiven) // empty stays empty
		out[p] = append(out[p], network.PortBinding{HostIP: ip, HostPort: b.HostPortGiven})
	}
	return out
}

// gatewayOf is the gateway of the subnet an address is in; invalid: none.
func gatewayOf(n *model.Network, addr netip.Prefix) netip.Addr {
	if !addr.IsValid() {
		return netip.Addr{}
	}
	for _, sub := range n.Subnets {
		if sub.Prefix.Contains(addr.Addr()) {
			return sub.Gateway
		}
	}
	return netip.Addr{}
}

// addrString is "" for no address, where netip says "invalid IP".
func addrString(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func itoa(port uint16) string { return strconv.Itoa(int(port)) }
