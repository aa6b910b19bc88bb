package extensions

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	dockercli "github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/completion"
	"github.com/spf13/cobra"
)

// NewFIPCommand makes `jackstay fip`, whose commands and output are Hyper.sh's.
func NewFIPCommand(cli command.Cli) *cobra.Command {
	cmd := group(cli, "fip", "Manage floating IPs",
		fipAllocate(cli), fipAttach(cli), fipDetach(cli), fipList().command(cli), fipRelease(cli), fipName(cli), newFIPPoolCommand(cli))
	plainUsage(cmd) // as docker's plugin it is below a root of docker/cli's
	return cmd
}

func fipAllocate(cli command.Cli) *cobra.Command {
	var pick bool
	var pool string
	cmd := &cobra.Command{
		Use:     "allocate [OPTIONS] COUNT|ADDRESS",
		Short:   "Allocate floating IPs from the pools, or a certain one",
		Example: "  jackstay fip allocate 2\n  jackstay fip allocate 203.0.113.21",
		Args:    dockercli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			count, err := strconv.Atoi(args[0])
			_, addressErr := netip.ParseAddr(args[0])
			certain := addressErr == nil
			switch {
			case !certain && (err != nil || count < 1):
				return usageError(cmd, "can't allocate %q: give how many floating IPs, a number from 1 on, or a certain address", args[0])
			case certain && (pick || pool != ""):
				return usageError(cmd, "takes neither --pick nor --pool with an address: it allocates exactly that one")
			case pick && pool != "":
				return usageError(cmd, "takes --pick or --pool: the one takes what is allocated already, of whatever pool, and the other allocates")
			}
			ask := func(q url.Values) (got []string, err error) {
				return got, call(cmd.Context(), cli, "POST", "/fips/allocate", q, nil, &got)
			}
			if certain {
				got, err := ask(url.Values{"ip": {args[0]}})
				return printed(cli, got, err)
			}
			var got []string
			if pick {
				var free []fip
				if err := call(cmd.Context(), cli, "GET", "/fips", filterQuery(map[string]map[string]bool{"dangling": {"true": true}}), nil, &free); err != nil {
					return err
				}
				for _, f := range free[:min(count, len(free))] {
					got = append(got, f.FIP)
				}
			}
			if missing := count - len(got); missing > 0 {
				fresh, err := ask(url.Values{"count": {strconv.Itoa(missing)}, "pool": {pool}})
				if err != nil {
					return err
				}
				got = append(got, fresh...)
			}
			return printed(cli, got, nil)
		},
	}
	cmd.Flags().BoolP("yes", "y", false, "Don't ask (nothing is asked: floating IPs cost nothing here)")
	cmd.Flags().StringVar(&pool, "pool", "", "Allocate from this pool, such as 2001:db8::/124 (default: any, IPv4 first)")
	cmd.Flags().BoolVar(&pick, "pick", false, "Take those that are allocated and not attached first")
	return cmd
}

// printed prints lines, unless there was an error.
func printed(cli command.Cli, lines []string, err error) error {
	for _, l := range lines {
		_, _ = fmt.Fprintln(cli.Out(), l)
	}
	return err
}

func fipAttach(cli command.Cli) *cobra.Command {
	var force, exposeOnly bool
	cmd := &cobra.Command{
		Use:   "attach [OPTIONS] FIP CONTAINER",
		Short: "Attach a floating IP to a container",
		Args:  dockercli.ExactArgs(2), ValidArgsFunction: inTurn(fipNames(cli), completion.ContainerNames(cli, true), nil),
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
		Args:  dockercli.ExactArgs(1), ValidArgsFunction: inTurn(completion.ContainerNames(cli, true), nil),
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
		Args:  dockercli.RequiresMinArgs(1), ValidArgsFunction: fipNames(cli),
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
		Args:  dockercli.RequiresRangeArgs(1, 2), ValidArgsFunction: inTurn(fipNames(cli), nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"ip": {args[0]}}
			if len(args) == 2 {
				q.Set("name", args[1])
			}
			return call(cmd.Context(), cli, "POST", "/fips/name", q, nil, nil)
		},
	}
}

// fipList is Hyper.sh's table, whose columns are twenty characters wide, with a
// column for names if there are any.
func fipList() *lister[fip] {
	nameless := func(all []fip) bool { return !slices.ContainsFunc(all, func(f fip) bool { return f.Name != "" }) }
	return &lister[fip]{
		use: "ls [OPTIONS]", short: "List floating IPs", args: dockercli.NoArgs, filters: "dangling=true, name=...", width: 20,
		path: func([]string) string { return "/fips" },
		columns: []column[fip]{
			{field: "FIP", head: "Floating IP", value: func(f *fip) any { return f.FIP }},
			{field: "Name", head: "Name", value: func(f *fip) any { return f.Name }, unless: nameless},
			{field: "Container", head: "Container", value: func(f *fip) any { return f.Container }},
		},
		quiet: func(f *fip) []string { return []string{f.FIP} }, quietWords: "the addresses",
	}
}

// fip is a floating IP as the API tells it.
type fip struct {
	FIP       string `json:"fip"`
	Name      string `json:"name"`
	Container string `json:"container"`
	Service   string `json:"service"`
}

// each does something for every argument and gives all that failed.
func each(args []string, do func(string) error) error {
	var failed []error
	for _, a := range args {
		failed = append(failed, do(a))
	}
	return errors.Join(failed...)
}
