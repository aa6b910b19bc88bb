package extensions

import (
	"net/url"
	"slices"
	"strings"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/completion"
	"github.com/spf13/cobra"
)

func aliasCommand(dockerCli command.Cli) *cobra.Command {
	complete := inTurn(completion.NetworkNames(dockerCli), completion.ContainerNames(dockerCli, true), nil)
	return group(dockerCli, "alias", "Manage the names of containers on a network",
		&cobra.Command{
			Use: "add NETWORK CONTAINER NAME...", Short: "Give a container further names on a network",
			Long: "Give a container further names on a network, which resolve at once. *.NAME stands for every name\n" +
				"below NAME that nobody on the network has (RFC 4592).",
			Example: "  jackstay alias add dev web www '*.foo.test'",
			Args:    cli.RequiresMinArgs(3), ValidArgsFunction: complete,
			RunE: func(cmd *cobra.Command, args []string) error {
				return call(cmd.Context(), dockerCli, "POST", "/networks/"+args[0]+"/aliases", nil,
					map[string]any{"Container": args[1], "Aliases": args[2:]}, nil)
			},
		},
		&cobra.Command{
			Use: "rm NETWORK CONTAINER NAME...", Aliases: []string{"remove"}, Short: "Take names of a container on a network away",
			Args: cli.RequiresMinArgs(3), ValidArgsFunction: complete,
			RunE: func(cmd *cobra.Command, args []string) error {
				return call(cmd.Context(), dockerCli, "DELETE", "/networks/"+args[0]+"/aliases",
					url.Values{"container": {args[1]}, "alias": args[2:]}, nil, nil)
			},
		},
		aliasList(dockerCli).command(dockerCli))
}

// aliasSet is a container's aliases as the API tells them.
type aliasSet struct {
	Container string
	Aliases   []string
}

func aliasList(dockerCli command.Cli) *lister[aliasSet] {
	return &lister[aliasSet]{
		use: "ls [OPTIONS] NETWORK", short: "List the aliases on a network", args: cli.ExactArgs(1), complete: inTurn(completion.NetworkNames(dockerCli), nil),
		path: func(args []string) string { return "/networks/" + args[0] + "/aliases" },
		columns: []column[aliasSet]{
			{field: "Container", head: "CONTAINER", value: func(s *aliasSet) any { return s.Container }},
			{field: "Aliases", head: "ALIASES", value: func(s *aliasSet) any { return strings.Join(s.Aliases, ", ") }},
		},
		quiet: func(s *aliasSet) []string { return s.Aliases }, quietWords: "the aliases",
	}
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
