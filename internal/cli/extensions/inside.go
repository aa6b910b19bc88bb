package extensions

import (
	"fmt"
	"slices"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/completion"
	"github.com/spf13/cobra"
)

// insideCommands are route, rule and tc: what ip(8) and tc(8) would be told
// inside a container. Both orders of words are taken, `route add CONTAINER …`
// and pipework's `route CONTAINER add …`.
func insideCommands(dockerCli command.Cli) []*cobra.Command {
	route := inside(dockerCli, "route", "Manage routes inside containers, running or not", "routes", []string{"add", "replace", "del"},
		"[TYPE] DESTINATION [via ADDRESS] [dev INTERFACE] [src ADDRESS] [metric N] [table N] [mtu N] [onlink]",
		"  jackstay route add web 10.0.5.0/24 via 192.168.4.1\n  jackstay route replace web default via 192.168.4.1\n  jackstay route del web 10.0.5.0/24")
	rule := inside(dockerCli, "rule", "Manage routing rules inside containers, running or not", "rules", []string{"add", "del"},
		"[not] [from SUBNET] [to SUBNET] [iif NAME] [oif NAME] [fwmark MARK[/MASK]] [priority N] [table N | blackhole | unreachable | prohibit]",
		"  jackstay rule add web from 192.168.4.25 table 7\n  jackstay rule del web from 192.168.4.25 table 7")
	return []*cobra.Command{route, rule, tcCommand(dockerCli)}
}

func inside(dockerCli command.Cli, name, short, path string, ops []string, usage, example string) *cobra.Command {
	change := func(cmd *cobra.Command, container string, words []string) error {
		return call(cmd.Context(), dockerCli, "POST", "/containers/"+container+"/"+path, nil, map[string]any{"Words": words}, nil)
	}
	list := func(cmd *cobra.Command, container string) error {
		var lines []string
		if err := call(cmd.Context(), dockerCli, "GET", "/containers/"+container+"/"+path, nil, nil, &lines); err != nil {
			return err
		}
		for _, l := range lines {
			_, _ = fmt.Fprintln(dockerCli.Out(), l)
		}
		return nil
	}
	parent := group(dockerCli, name, short)
	parent.Args = nil // the words are looked at below
	parent.Long = short + ".\n\nThe container may be named first, as in `jackstay " + name + " CONTAINER add ...`."
	parent.DisableFlagParsing = true // words may begin with a dash
	parent.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) >= 2 && slices.Contains([]string{"ls", "list", "show"}, args[1]):
			return list(cmd, args[0])
		case len(args) >= 2 && slices.Contains(append(ops, "delete"), args[1]):
			return change(cmd, args[0], args[1:])
		case len(args) > 0 && (args[0] == "--help" || args[0] == "-h"):
			return cmd.Help()
		}
		if err := cli.NoArgs(cmd, args); err != nil {
			return err
		}
		return command.ShowHelp(dockerCli.Err())(cmd, args)
	}
	for _, op := range ops {
		c := &cobra.Command{
			Use: op + " CONTAINER " + usage, Short: map[string]string{"add": "Add a " + name, "replace": "Put a " + name + " in the place of another", "del": "Delete a " + name}[op],
			Example: example, DisableFlagParsing: true,
			ValidArgsFunction: completion.ContainerNames(dockerCli, true),
			RunE: func(cmd *cobra.Command, args []string) error {
				if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
					return cmd.Help()
				}
				if err := cli.RequiresMinArgs(2)(cmd, args); err != nil {
					return err
				}
				return change(cmd, args[0], append([]string{op}, args[1:]...))
			},
		}
		if op == "del" {
			c.Aliases = []string{"delete", "rm"}
		}
		parent.AddCommand(c)
	}
	parent.AddCommand(&cobra.Command{
		Use: "ls CONTAINER", Aliases: []string{"list"}, Short: "List what was asked for inside a container",
		Args: cli.ExactArgs(1), ValidArgsFunction: completion.ContainerNames(dockerCli, true),
		RunE: func(cmd *cobra.Command, args []string) error { return list(cmd, args[0]) },
	})
	return parent
}

func tcCommand(dockerCli command.Cli) *cobra.Command {
	return &cobra.Command{
		Use: "tc CONTAINER ARGS...", Short: "Shape traffic inside a running container, in tc(8)'s words",
		Long: "Run tc(8) of the host inside a running container. What changes something is done again whenever the\n" +
			"container's interfaces are made anew, by a restart or a reboot.",
		Example:            "  jackstay tc web qdisc add dev eth1 root tbf rate 10mbit burst 32kbit latency 50ms\n  jackstay tc web qdisc show",
		DisableFlagParsing: true,
		ValidArgsFunction:  completion.ContainerNames(dockerCli, true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && (args[0] == "--help" || args[0] == "-h") {
				return cmd.Help()
			}
			if err := cli.RequiresMinArgs(2)(cmd, args); err != nil {
				return err
			}
			var out struct{ Output string }
			if err := call(cmd.Context(), dockerCli, "POST", "/containers/"+args[0]+"/tc", nil, map[string]any{"Words": args[1:]}, &out); err != nil {
				return err
			}
			if out.Output != "" {
				_, _ = fmt.Fprintln(dockerCli.Out(), out.Output)
			}
			return nil
		},
	}
}
