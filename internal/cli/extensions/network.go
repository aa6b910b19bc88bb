package extensions

import (
	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/completion"
	"github.com/spf13/cobra"
)

func leasesCommand(dockerCli command.Cli) *cobra.Command {
	return &cobra.Command{
		Use: "leases NETWORK", Short: "List the addresses of a network that are taken, and by whom",
		Long: "List the addresses of a network that are taken: active ones are in use now, kept ones belong to a\n" +
			"container that is stopped, reserved ones are never given to a container.",
		Args: cli.ExactArgs(1), DisableFlagsInUseLine: true, ValidArgsFunction: completion.NetworkNames(dockerCli),
		RunE: func(cmd *cobra.Command, args []string) error {
			var leases []struct{ Address, MacAddress, Container, State string }
			if err := call(cmd.Context(), dockerCli, "GET", "/networks/"+args[0]+"/leases", nil, nil, &leases); err != nil {
				return err
			}
			rows := [][]string{{"ADDRESS", "MAC", "CONTAINER", "STATE"}}
			for _, l := range leases {
				name, mac := l.Container, l.MacAddress
				if l.State == "reserved" {
					name, mac = "("+name+")", "-"
				}
				rows = append(rows, []string{l.Address, mac, name, l.State})
			}
			return table(dockerCli, rows)
		},
	}
}
