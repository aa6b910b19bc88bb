package extensions

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	dockercli "github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/opts"
	"github.com/spf13/cobra"
)

// NewFIPCommand makes `jackstay fip`, whose commands and output are Hyper.sh's.
func NewFIPCommand(cli command.Cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fip",
		Short: "Manage floating IPs",
		Args:  dockercli.NoArgs,
		RunE:  command.ShowHelp(cli.Err()),
	}
	cmd.AddCommand(fipAllocate(cli), fipAttach(cli), fipDetach(cli), fipList(cli), fipRelease(cli), fipName(cli), newFIPPoolCommand(cli))
	return cmd
}

func fipAllocate(cli command.Cli) *cobra.Command {
	var pick bool
	var pool string
	cmd := &cobra.Command{
		Use:   "allocate [OPTIONS] COUNT",
		Short: "Allocate floating IPs from the pools",
		Args:  dockercli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			count, err := strconv.Atoi(args[0])
			if err != nil || count < 1 {
				return fmt.Errorf("invalid COUNT %q: how many floating IPs? a number from 1 on", args[0])
			}
			if pick && pool != "" {
				return errors.New("conflicting options: --pick takes what is allocated already, of whatever pool, and --pool allocates: give one of them")
			}
			var got []string
			if pick {
				free, err := fips(cli, cmd, map[string]map[string]bool{"dangling": {"true": true}})
				if err != nil {
					return err
				}
				for _, f := range free[:min(count, len(free))] {
					got = append(got, f.FIP)
				}
			}
			if missing := count - len(got); missing > 0 {
				var fresh []string
				if err := call(cmd.Context(), cli, "POST", "/fips/allocate", url.Values{"count": {strconv.Itoa(missing)}, "pool": {pool}}, nil, &fresh); err != nil {
					return err
				}
				got = append(got, fresh...)
			}
			for _, f := range got {
				_, _ = fmt.Fprintln(cli.Out(), f)
			}
			return nil
		},
	}
	cmd.Flags().BoolP("yes", "y", false, "Don't ask (nothing is asked: floating IPs cost nothing here)")
	cmd.Flags().StringVar(&pool, "pool", "", "Allocate from this pool, such as 2001:db8::/124 (default: any, IPv4 first)")
	cmd.Flags().BoolVar(&pick, "pick", false, "Take those that are allocated and not attached first")
	return cmd
}

func fipAttach(cli command.Cli) *cobra.Command {
	var force, exposeOnly bool
	cmd := &cobra.Command{
		Use:   "attach [OPTIONS] FIP CONTAINER",
		Short: "Attach a floating IP to a container",
		Args:  dockercli.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"ip": {args[0]}, "container": {args[1]}, "force": {strconv.FormatBool(force)}, "exposeOnly": {strconv.FormatBool(exposeOnly)}}
			return call(cmd.Context(), cli, "POST", "/fips/attach", q, nil, nil)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Move it, in one step, if another container has it, and detach the one this container has")
	cmd.Flags().BoolVar(&exposeOnly, "expose-only", false, "Let only the container's exposed ports answer at it")
	return cmd
}

func fipDetach(cli command.Cli) *cobra.Command {
	return &cobra.Command{
		Use:   "detach CONTAINER",
		Short: "Detach the floating IP of a container",
		Args:  dockercli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var address string
			if err := call(cmd.Context(), cli, "POST", "/fips/detach", url.Values{"container": args}, nil, &address); err != nil {
				return err
			}
			_, _ = fmt.Fprintln(cli.Out(), address)
			return nil
		},
	}
}

func fipRelease(cli command.Cli) *cobra.Command {
	return &cobra.Command{
		Use:   "release FIP [FIP...]",
		Short: "Release floating IPs",
		Args:  dockercli.RequiresMinArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(args, func(fip string) error {
				return call(cmd.Context(), cli, "POST", "/fips/release", url.Values{"ip": {fip}}, nil, nil)
			})
		},
	}
}

func fipName(cli command.Cli) *cobra.Command {
	return &cobra.Command{
		Use:   "name FIP [NAME]",
		Short: "Name a floating IP, or take its name away",
		Args:  dockercli.RequiresRangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"ip": {args[0]}}
			if len(args) == 2 {
				q.Set("name", args[1])
			}
			return call(cmd.Context(), cli, "POST", "/fips/name", q, nil, nil)
		},
	}
}

func fipList(cli command.Cli) *cobra.Command {
	var quiet bool
	var format string
	filter := opts.NewFilterOpt()
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List floating IPs",
		Args:    dockercli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fips, err := fips(cli, cmd, filter.Value())
			if err != nil {
				return err
			}
			return writeFIPs(cli.Out(), fips, format, quiet)
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only display the addresses")
	cmd.Flags().VarP(&filter, "filter", "f", `Filter output based on conditions provided (dangling=true, name=...)`)
	cmd.Flags().StringVar(&format, "format", "", `Format output using a custom template: 'table TEMPLATE', 'json' or a Go template with .FIP, .Name and .Container`)
	return cmd
}

// fips asks for the floating IPs that a filter lets through.
func fips(cli command.Cli, cmd *cobra.Command, filter any) ([]fip, error) {
	text, err := json.Marshal(filter)
	if err != nil {
		return nil, err
	}
	var out []fip
	err = call(cmd.Context(), cli, "GET", "/fips", url.Values{"filters": {string(text)}}, nil, &out)
	return out, err
}
