package extensions

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/completion"
	"github.com/docker/go-connections/nat"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// addPortCommands puts add and rm below Docker's port command, which takes a
// container and at most one port. They take at least two arguments themselves,
// so that no line means both; a container called add or rm is still listed.
func addPortCommands(port *cobra.Command, dockerCli command.Cli) {
	port.Long = "List port mappings or a specific mapping for the container:\n" +
		"`jackstay port CONTAINER [PRIVATE_PORT[/PROTO]]`.\n\n" +
		"`jackstay port add` and `jackstay port rm` publish and take back ports of a container,\n" +
		"running or not. A container that is called add or rm is listed as any other."
	port.AddCommand(
		portCommand(port, dockerCli, &cobra.Command{
			Use:   "add CONTAINER [[IP:]HOST:]PORT[/PROTO]...",
			Short: "Publish further ports of a container, as -p does when it is created",
			Example: "  jackstay port add web 8080:80\n  jackstay port add web 127.0.0.1:5353:53/udp 9000-9010:9000-9010\n" +
				"  jackstay port add web 80      # a host port is chosen and printed",
		}, portAdd),
		portCommand(port, dockerCli, &cobra.Command{
			Use:     "rm CONTAINER [IP:]HOST[/PROTO]...",
			Aliases: []string{"remove"},
			Short:   "Take published ports back; connections through them end",
			Example: "  jackstay port rm web 8080\n  jackstay port rm web 127.0.0.1:5353/udp 9000-9010",
		}, portRemove))
}

// portCommand completes add or rm: with too few arguments for it, it is Docker's
// port command if a container has that name.
func portCommand(port *cobra.Command, dockerCli command.Cli, c *cobra.Command, run func(*cobra.Command, command.Cli, []string) error) *cobra.Command {
	c.ValidArgsFunction = completion.ContainerNames(dockerCli, true)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) >= 2 {
			return run(cmd, dockerCli, args)
		}
		if _, err := dockerCli.Client().ContainerInspect(cmd.Context(), cmd.CalledAs(), client.ContainerInspectOptions{}); err == nil {
			return port.RunE(cmd, append([]string{cmd.CalledAs()}, args...))
		}
		return cli.RequiresMinArgs(2)(cmd, args)
	}
	return c
}

func portAdd(cmd *cobra.Command, dockerCli command.Cli, args []string) error {
	bindings, err := portBindings(args[1:])
	if err != nil {
		return err
	}
	var out struct{ Ports network.PortMap }
	if err := call(cmd.Context(), dockerCli, "POST", "/containers/"+args[0]+"/ports", nil, map[string]any{"PortBindings": bindings}, &out); err != nil {
		return err
	}
	var lines []string
	for port, held := range out.Ports {
		for _, b := range held {
			lines = append(lines, fmt.Sprintf("%s -> %s", port, net.JoinHostPort(b.HostIP.String(), b.HostPort)))
		}
	}
	return printSorted(dockerCli, lines)
}

// portBindings reads -p's short form.
func portBindings(specs []string) (network.PortMap, error) {
	_, parsed, err := nat.ParsePortSpecs(specs)
	if err != nil {
		return nil, err
	}
	out := network.PortMap{}
	for port, bindings := range parsed {
		p, err := network.ParsePort(string(port))
		if err != nil {
			return nil, err
		}
		for _, b := range bindings {
			var ip netip.Addr
			if b.HostIP != "" {
				if ip, err = netip.ParseAddr(strings.Trim(b.HostIP, "[]")); err != nil {
					return nil, fmt.Errorf("invalid host address %q: %w", b.HostIP, err)
				}
			}
			out[p] = append(out[p], network.PortBinding{HostIP: ip, HostPort: b.HostPort})
		}
	}
	return out, nil
}

func portRemove(cmd *cobra.Command, dockerCli command.Cli, args []string) error {
	return call(cmd.Context(), dockerCli, "DELETE", "/containers/"+args[0]+"/ports", url.Values{"port": args[1:]}, nil, nil)
}
