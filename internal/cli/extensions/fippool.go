package extensions

import (
	"fmt"
	"net/url"

	dockercli "github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/spf13/cobra"
)

// fipPool is a pool in the API.
type fipPool struct {
	Prefix, Device      string
	Allocated, Attached int `json:",omitempty"`
}

// newFIPPoolCommand makes `jackstay fip pool`, by which the operator says where
// floating IPs come from.
func newFIPPoolCommand(cli command.Cli) *cobra.Command {
	return group(cli, "pool", "Manage the prefixes that floating IPs are allocated from", fipPoolAdd(cli), fipPoolList().command(cli), fipPoolRemove(cli))
}

func fipPoolAdd(cli command.Cli) *cobra.Command {
	var device string
	cmd := &cobra.Command{
		Use:     "add [OPTIONS] --dev DEVICE CIDR",
		Short:   "Add a prefix whose addresses the network behind a device expects at this host",
		Example: "  jackstay fip pool add 203.0.113.16/28 --dev eth0",
		Args:    dockercli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needs(cmd, "dev", "name the host's device behind which clients are, such as eth0"); err != nil {
				return err
			}
			var made fipPool
			if err := call(cmd.Context(), cli, "POST", "/fips/pools", nil, fipPool{Prefix: args[0], Device: device}, &made); err != nil {
				return err
			}
			_, _ = fmt.Fprintln(cli.Out(), made.Prefix)
			return nil
		},
	}
	cmd.Flags().StringVar(&device, "dev", "", "The host's device")
	return cmd
}

func fipPoolList() *lister[fipPool] {
	return &lister[fipPool]{
		use: "ls [OPTIONS]", short: "List pools", args: dockercli.NoArgs, width: 20,
		path: func([]string) string { return "/fips/pools" },
		columns: []column[fipPool]{
			{field: "Pool", head: "Pool", value: func(p *fipPool) any { return p.Prefix }},
			{field: "Device", head: "Device", value: func(p *fipPool) any { return p.Device }},
			{field: "Allocated", head: "Allocated", value: func(p *fipPool) any { return p.Allocated }},
			{field: "Attached", head: "Attached", value: func(p *fipPool) any { return p.Attached }},
		},
		quiet: func(p *fipPool) []string { return []string{p.Prefix} }, quietWords: "the prefixes",
	}
}

func fipPoolRemove(cli command.Cli) *cobra.Command {
	return &cobra.Command{
		Use:     "rm CIDR [CIDR...]",
		Aliases: []string{"remove"},
		Short:   "Remove pools that no floating IP is allocated from",
		Args:    dockercli.RequiresMinArgs(1), ValidArgsFunction: names(cli, "/fips/pools", "Prefix"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(args, func(prefix string) error {
				return call(cmd.Context(), cli, "DELETE", "/fips/pools", url.Values{"prefix": {prefix}}, nil, nil)
			})
		},
	}
}
