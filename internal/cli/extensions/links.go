package extensions

import (
	"net/url"
	"strings"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/spf13/cobra"
)

func linkCommand(dockerCli command.Cli) *cobra.Command {
	var wait bool
	add := &cobra.Command{
		Use: "add [OPTIONS] CONTAINER TARGET[:ALIAS]", Short: "Link a container to another, on whatever network both are on",
		Long: "Link a container to another, on whatever network both are on. Its hosts file and its names follow at once,\n" +
			"and whenever the target restarts, moves, is renamed, or is removed and made again under its name.\n" +
			"Environment variables come with the container's next start.",
		Args: cli.ExactArgs(2), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, alias, _ := strings.Cut(args[1], ":")
			return call(cmd.Context(), dockerCli, "POST", "/containers/"+args[0]+"/links", nil,
				map[string]any{"Target": target, "Alias": alias, "Wait": wait}, nil)
		},
	}
	add.Flags().BoolVar(&wait, "wait", false, "Keep the link even if its target is not there yet")
	return group(dockerCli, "link", "Manage links of containers, running or not", add,
		&cobra.Command{
			Use: "rm CONTAINER ALIAS", Aliases: []string{"remove"}, Short: "Remove a link of a container",
			Args: cli.ExactArgs(2), DisableFlagsInUseLine: true,
			RunE: func(cmd *cobra.Command, args []string) error {
				return call(cmd.Context(), dockerCli, "DELETE", "/containers/"+args[0]+"/links", url.Values{"alias": {args[1]}}, nil, nil)
			},
		},
		&cobra.Command{
			Use: "ls [CONTAINER]", Aliases: []string{"list"}, Short: "List links and where they lead",
			Args: cli.RequiresMaxArgs(1), DisableFlagsInUseLine: true,
			RunE: func(cmd *cobra.Command, args []string) error { return linkList(cmd, dockerCli, args) },
		})
}

func linkList(cmd *cobra.Command, dockerCli command.Cli, args []string) error {
	path := "/links"
	if len(args) == 1 {
		path = "/containers/" + args[0] + "/links"
	}
	var links []struct {
		Container, Alias, Target, Network, State string
		Addresses                                []string
	}
	if err := call(cmd.Context(), dockerCli, "GET", path, nil, nil, &links); err != nil {
		return err
	}
	rows := [][]string{{"CONTAINER", "ALIAS", "TARGET", "NETWORK", "ADDRESS", "STATE"}}
	for _, l := range links {
		rows = append(rows, []string{l.Container, l.Alias, l.Target, l.Network, strings.Join(l.Addresses, ","), l.State})
	}
	return table(dockerCli, rows)
}
