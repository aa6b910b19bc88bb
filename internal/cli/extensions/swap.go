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
		Long: "Let a running container take the place of another in one step: its addresses, IPv4 and IPv6, on the networks\n" +
			"both are on, its floating IP, its published ports, its aliases, and the links that lead to it. TCP connections\n" +
			"of the old one go on; new ones meet the new one. The old one gets the addresses, and the floating IP, that the\n" +
			"new one had. Both keep their names and their hardware addresses.",
		Args: cli.ExactArgs(2), ValidArgsFunction: inTurn(completion.ContainerNames(dockerCli, false), completion.ContainerNames(dockerCli, false), nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			return call(cmd.Context(), dockerCli, "POST", "/containers/"+args[0]+"/swap", url.Values{"with": {args[1]}}, nil, nil)
		},
	}
}
