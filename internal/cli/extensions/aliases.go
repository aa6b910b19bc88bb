package extensions

import (
	"net/url"
	"slices"
	"strings"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/spf13/cobra"
)

func aliasCommand(dockerCli command.Cli) *cobra.Command {
	return group(dockerCli, "alias", "Manage the names of containers on a network",
		&cobra.Command{
			Use: "add NETWORK CONTAINER NAME...", Short: "Give a container further names on a network",
			Long: "Give a container further names on a network, which resolve at once. *.NAME stands for every name\n" +
				"below NAME that nobody on the network has (RFC 4592).",
			Example: "  jackstay alias add dev web www '*.foo.test'",
			Args:    cli.RequiresMinArgs(3), DisableFlagsInUseLine: true,
			RunE: func(cmd *cobra.Command, args []string) error {
				return call(cmd.Context(), dockerCli, "POST", "/networks/"+args[0]+"/aliases", nil,
					map[string]any{"Container": args[1], "Aliases": args[2:]}, nil)
			},
		},
		&cobra.Command{
			Use: "rm NETWORK CONTAINER NAME...", Aliases: []string{"remove"}, Short: "Take names of a container on a network away",
			Args: cli.RequiresMinArgs(3), DisableFlagsInUseLine: true,
			RunE: func(cmd *cobra.Command, args []string) error {
				return call(cmd.Context(), dockerCli, "DELETE", "/networks/"+args[0]+"/aliases",
					url.Values{"container": {args[1]}, "alias": args[2:]}, nil, nil)
			},
		},
		&cobra.Command{
			Use: "ls NETWORK", Aliases: []string{"list"}, Short: "List the aliases on a network",
			Args: cli.ExactArgs(1), DisableFlagsInUseLine: true,
			RunE: func(cmd *cobra.Command, args []string) error { return aliasList(cmd, dockerCli, args[0]) },
		})
}

func aliasList(cmd *cobra.Command, dockerCli command.Cli, network string) error {
	var sets []struct {
		Container string
		Aliases   []string
	}
	if err := call(cmd.Context(), dockerCli, "GET", "/networks/"+network+"/aliases", nil, nil, &sets); err != nil {
		return err
	}
	rows := [][]string{{"CONTAINER", "ALIASES"}}
	for _, s := range sets {
		rows = append(rows, []string{s.Container, strings.Join(s.Aliases, ", ")})
	}
	return table(dockerCli, rows)
}

// printSorted prints lines in order.
func printSorted(dockerCli command.Cli, lines []string) error {
	slices.Sort(lines)
	for _, l := range lines {
		if _, err := dockerCli.Out().Write([]byte(l + "\n")); err != nil {
			return err
		}
	}
	return nil
}
