package extensions

import (
	"fmt"
	"net/url"
	"text/tabwriter"

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
	cmd := &cobra.Command{
		Use:   "pool",
		Short: "Manage the prefixes that floating IPs are allocated from",
		Args:  dockercli.NoArgs,
		RunE:  command.ShowHelp(cli.Err()),
	}
	cmd.AddCommand(fipPoolAdd(cli), fipPoolList(cli), fipPoolRemove(cli))
	return cmd
}

func fipPoolAdd(cli command.Cli) *cobra.Command {
	var device string
	cmd := &cobra.Command{
		Use:     "add --dev DEVICE CIDR",
		Short:   "Add a prefix whose addresses the network behind a device expects at this host",
		Example: "jackstay fip pool add 203.0.113.16/28 --dev eth0",
		Args:    dockercli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var made fipPool
			if err := call(cmd.Context(), cli, "POST", "/fips/pools", nil, fipPool{Prefix: args[0], Device: device}, &made); err != nil {
				return err
			}
			_, _ = fmt.Fprintln(cli.Out(), made.Prefix)
			return nil
		},
	}
	cmd.Flags().StringVar(&device, "dev", "", "The host's device")
	_ = cmd.MarkFlagRequired("dev") // fails for a flag that is not there only
	return cmd
}

func fipPoolList(cli command.Cli) *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List pools",
		Args:    dockercli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var pools []fipPool
			if err := call(cmd.Context(), cli, "GET", "/fips/pools", nil, nil, &pools); err != nil {
				return err
			}
			t := tabwriter.NewWriter(cli.Out(), 20, 1, 3, ' ', 0)
			if !quiet {
				_, _ = fmt.Fprintln(t, "Pool\tDevice\tAllocated\tAttached")
			}
			for _, p := range pools {
				if quiet {
					_, _ = fmt.Fprintln(t, p.Prefix)
					continue
				}
				_, _ = fmt.Fprintf(t, "%s\t%s\t%d\t%d\n", p.Prefix, p.Device, p.Allocated, p.Attached)
			}
			return t.Flush()
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only display the prefixes")
	return cmd
}

func fipPoolRemove(cli command.Cli) *cobra.Command {
	return &cobra.Command{
		Use:     "rm CIDR [CIDR...]",
		Aliases: []string{"remove"},
		Short:   "Remove pools that no floating IP is allocated from",
		Args:    dockercli.RequiresMinArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(args, func(prefix string) error {
				return call(cmd.Context(), cli, "DELETE", "/fips/pools", url.Values{"prefix": {prefix}}, nil, nil)
			})
		},
	}
}
