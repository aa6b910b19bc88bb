package api

import (
	"maps"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/jackstay/jackstay/internal/model"
)

// checkConfig refuses what Jackstay does not do of a container's Config.
func checkConfig(b *createBody) error {
	switch h := b.Healthcheck; {
	case h == nil, len(h.Test) == 0 && h.Interval == 0 && h.Timeout == 0 && h.StartPeriod == 0 && h.StartInterval == 0 && h.Retries == 0:
	case len(h.Test) == 1 && h.Test[0] == "NONE":
	default:
		return unsupported("health checks (--health-cmd and its kin) are not supported yet: leave them out, or use --no-healthcheck")
	}
	if b.ArgsEscaped {
		return unsupported("ArgsEscaped is for Windows containers")
	}
	if b.NetworkDisabled {
		return unsupported("NetworkDisabled is not supported: use the network mode none (--network none)")
	}
	return nil
}

// configOf is the portable half of a container's configuration.
func configOf(c *container.Config) (model.Config, error) {
	ports, err := exposedPorts(c.ExposedPorts)
	return model.Config{
		Hostname: c.Hostname, Domainname: c.Domainname, User: c.User,
		AttachStdin: c.AttachStdin, AttachStdout: c.AttachStdout, AttachStderr: c.AttachStderr,
		ExposedPorts: ports,
		Tty:          c.Tty, OpenStdin: c.OpenStdin, StdinOnce: c.StdinOnce,
		Env: c.Env, Cmd: c.Cmd, Entrypoint: c.Entrypoint,
		Volumes:    slices.Sorted(maps.Keys(c.Volumes)),
		WorkingDir: c.WorkingDir, Labels: c.Labels,
		StopSignal: c.StopSignal, StopTimeout: c.StopTimeout,
		OnBuild: c.OnBuild, Shell: c.Shell,
	}, err
}

func exposedPorts(set network.PortSet) ([]model.Port, error) {
	var ports []model.Port
	for p := range set {
		port, err := portOf(p)
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return model.SortPorts(ports), nil
}

// portOf reads PORT/PROTO.
func portOf(p network.Port) (model.Port, error) {
	switch p.Proto() {
	case network.TCP, network.UDP, network.SCTP:
	default:
		return model.Port{}, invalid("invalid port %s: the protocol must be tcp, udp or sctp", p)
	}
	if p.Num() == 0 {
		return model.Port{}, invalid("invalid port %s: must be between 1 and 65535", p)
	}
	return model.Port{Number: p.Num(), Proto: string(p.Proto())}, nil
}

// dockerConfig is Config as inspect shows it.
func dockerConfig(c *model.Container) *container.Config {
	m := &c.Config
	out := &container.Config{
		Hostname: m.Hostname, Domainname: m.Domainname, User: m.User,
		AttachStdin: m.AttachStdin, AttachStdout: m.AttachStdout, AttachStderr: m.AttachStderr,
		ExposedPorts: portSet(m.ExposedPorts),
		Tty:          m.Tty, OpenStdin: m.OpenStdin, StdinOnce: m.StdinOnce,
		Env: nonNil(m.Env), Cmd: m.Cmd, Image: c.Image, Entrypoint: m.Entrypoint,
		WorkingDir: m.WorkingDir, Labels: m.Labels,
		StopSignal: m.StopSignal, StopTimeout: m.StopTimeout,
		OnBuild: m.OnBuild, Shell: m.Shell,
	}
	for _, v := range m.Volumes {
		if out.Volumes == nil {
			out.Volumes = map[string]struct{}{}
		}
		out.Volumes[v] = struct{}{}
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	return out
}

func portSet(ports []model.Port) network.PortSet {
	if len(ports) == 0 {
		return nil
	}
	set := network.PortSet{}
	for _, p := range ports {
		set[dockerPort(p)] = struct{}{}
	}
	return set
}

func dockerPort(p model.Port) network.Port {
	port, _ := network.PortFrom(p.Number, network.IPProtocol(p.Proto))
	return port
}
