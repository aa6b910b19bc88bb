package extensions

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/inspect"
	"github.com/spf13/cobra"
)

// unlimited is the quota of a tenant without one.
const unlimited = -1

// tenant is a tenant as the API tells it.
type tenant struct {
	Name, Created, Group, Socket string
	FIPQuota                     int
	Removing                     bool

	Containers, Running, Networks, Volumes, FIPs int
	DefaultNetwork                               string
}

// tenantCommand makes `jackstay tenant`, by which the administrator gives others
// a host of their own on this one.
func tenantCommand(dockerCli command.Cli) *cobra.Command {
	return group(dockerCli, "tenant", "Manage tenants: users of this host who know nothing of each other",
		tenantCreate(dockerCli), tenantInspect(dockerCli), tenantList().command(dockerCli), tenantRemove(dockerCli), tenantUpdate(dockerCli))
}

// tenantFlags are create's and update's; asked gives those that were used.
func tenantFlags(cmd *cobra.Command) (asked func() map[string]any) {
	quota := cmd.Flags().Int("fip-quota", unlimited, "How many floating IPs it may have; -1: as many as there are")
	group := cmd.Flags().String("group", "", "Group that may use its socket, by name or number (default: root alone)")
	return func() map[string]any {
		out := map[string]any{}
		if cmd.Flags().Changed("fip-quota") {
			out["FIPQuota"] = *quota
		}
		if cmd.Flags().Changed("group") {
			out["Group"] = *group
		}
		return out
	}
}

func tenantCreate(dockerCli command.Cli) *cobra.Command {
	c := &cobra.Command{
		Use: "create [OPTIONS] NAME", Short: "Create a tenant",
		Long: "Create a tenant, with a default network, names, volumes and a socket of its own. Whoever may use the socket,\n" +
			"or shows a client certificate whose organisation (O) is NAME, has all of that and sees nothing else.",
		Example: "  jackstay tenant create --fip-quota 4 --group acme acme",
		Args:    cli.ExactArgs(1),
	}
	asked := tenantFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		body := asked()
		body["Name"] = args[0]
		var made tenant
		if err := call(cmd.Context(), dockerCli, "POST", "/tenants", nil, body, &made); err != nil {
			return err
		}
		_, _ = fmt.Fprintln(dockerCli.Out(), made.Name)
		return nil
	}
	return c
}

func tenantUpdate(dockerCli command.Cli) *cobra.Command {
	c := &cobra.Command{
		Use: "update [OPTIONS] NAME [NAME...]", Short: "Change the quota or the group of tenants",
		Example: "  jackstay tenant update --fip-quota 8 acme",
		Args:    cli.RequiresMinArgs(1), ValidArgsFunction: tenantNames(dockerCli),
	}
	asked := tenantFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		body := asked()
		if len(body) == 0 {
			return usageError(cmd, "has nothing to change: give --fip-quota or --group")
		}
		return each(args, func(name string) error {
			if err := call(cmd.Context(), dockerCli, "PATCH", "/tenants/"+url.PathEscape(name), nil, body, nil); err != nil {
				return err
			}
			_, _ = fmt.Fprintln(dockerCli.Out(), name)
			return nil
		})
	}
	return c
}

func tenantList() *lister[tenant] {
	return &lister[tenant]{
		use: "ls [OPTIONS]", short: "List tenants", args: cli.NoArgs,
		path: func([]string) string { return "/tenants" },
		columns: []column[tenant]{
			{field: "Name", head: "TENANT", value: func(t *tenant) any { return t.Name }},
			{field: "Containers", head: "CONTAINERS", value: func(t *tenant) any { return t.Containers }},
			{field: "Running", head: "RUNNING", value: func(t *tenant) any { return t.Running }, extra: true},
			{field: "Networks", head: "NETWORKS", value: func(t *tenant) any { return t.Networks }},
			{field: "Volumes", head: "VOLUMES", value: func(t *tenant) any { return t.Volumes }},
			{field: "FIPs", head: "FLOATING IPS", value: func(t *tenant) any { return t.fips() }},
			{field: "Group", head: "GROUP", value: func(t *tenant) any { return t.Group }, extra: true},
			{field: "Socket", head: "SOCKET", value: func(t *tenant) any { return t.where() }},
			{field: "Created", head: "CREATED AT", value: func(t *tenant) any { return t.Created }, extra: true},
		},
		quiet: func(t *tenant) []string { return []string{t.Name} }, quietWords: "the names",
	}
}

// fips is how many floating IPs a tenant has, of how many it may have.
func (t *tenant) fips() string {
	if t.FIPQuota == unlimited {
		return strconv.Itoa(t.FIPs)
	}
	return fmt.Sprintf("%d of %d", t.FIPs, t.FIPQuota)
}

func (t *tenant) where() string {
	if t.Removing {
		return "(being removed)"
	}
	return t.Socket
}

func tenantInspect(dockerCli command.Cli) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "inspect [OPTIONS] NAME [NAME...]", Short: "Display what is known of tenants",
		Args: cli.RequiresMinArgs(1), ValidArgsFunction: tenantNames(dockerCli),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspect.Inspect(dockerCli.Out(), args, format, func(name string) (any, []byte, error) {
				var raw json.RawMessage
				if err := call(cmd.Context(), dockerCli, "GET", "/tenants/"+url.PathEscape(name), nil, nil, &raw); err != nil {
					return nil, nil, err
				}
				t := &tenant{}
				return t, raw, json.Unmarshal(raw, t)
			})
		},
	}
	c.Flags().StringVarP(&format, "format", "f", "", "Format output using a custom template: 'json' or a Go template")
	return c
}

func tenantRemove(dockerCli command.Cli) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "rm [OPTIONS] NAME [NAME...]", Aliases: []string{"remove"}, Short: "Remove tenants",
		Args: cli.RequiresMinArgs(1), ValidArgsFunction: tenantNames(dockerCli),
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(args, func(name string) error {
				q := url.Values{"force": {strconv.FormatBool(force)}}
				if err := call(cmd.Context(), dockerCli, "DELETE", "/tenants/"+url.PathEscape(name), q, nil, nil); err != nil {
					return err
				}
				_, _ = fmt.Fprintln(dockerCli.Out(), name)
				return nil
			})
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "Remove its containers, networks, volumes, security groups and floating IPs, too")
	return c
}
