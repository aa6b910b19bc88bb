package extensions

import (
	"net/url"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/completion"
	"github.com/spf13/cobra"
)

func swapCommand(dockerCli command.Cli) *cobra.Command {
	return &cobra.Command{
		Use: "swap OLD NEW", Short: "Let a running container take the place of another in one step",
		Long: "Let a running container take the place of another in one step: its published ports, its aliases, and\n" +
			"the links that lead to it. Connections to the old one may finish; new ones meet the new one. Both keep\n" +
			"their names and addresses.",
		Args: cli.ExactArgs(2), DisableFlagsInUseLine: true, ValidArgsFunction: completion.ContainerNames(dockerCli, false),
		RunE: func(cmd *cobra.Command, args []string) error {
			return call(cmd.Context(), dockerCli, "POST", "/containers/"+args[0]+"/swap", url.Values{"with": {args[1]}}, nil, nil)
		},
	}
}
