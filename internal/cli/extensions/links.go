package extensions

import (
	"net/url"
	"strings"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/opts"
	"github.com/spf13/cobra"
)

func linkCommand(dockerCli command.Cli) *cobra.Command {
	var wait, strict bool
	add := &cobra.Command{
		Use: "add [OPTIONS] CONTAINER TARGET[:ALIAS[:PORTS]]", Short: "Link a container to another, whatever networks they are on",
		Long: "Link a container to another, whatever networks they are on. Its hosts file, its names and the firewall follow\n" +
			"at once, and whenever the target restarts, moves, is renamed, or is removed and made again under its name.\n" +
			"Environment variables come with the container's next start.\n\n" +
			"PORTS are those of the target that the link opens, such as 5432/tcp or 53/udp,8000-8010, where not everything\n" +
			"is open anyway; without them, it opens those that the target exposes.",
		Args: cli.ExactArgs(2), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, alias, _ := strings.Cut(args[1], ":")
			alias, ports, given := strings.Cut(alias, ":")
			body := map[string]any{"Target": target, "Alias": alias, "Wait": wait, "Strict": strict}
			if given {
				body["Ports"] = strings.Split(ports, ",")
			}
			return call(cmd.Context(), dockerCli, "POST", "/containers/"+args[0]+"/links", nil, body, nil)
		},
	}
	add.Flags().BoolVar(&wait, "wait", false, "Keep the link even if its target is not there yet")
	add.Flags().BoolVar(&strict, "strict", false, "Refuse a link between containers on no common network")
	return group(dockerCli, "link", "Manage links of containers, running or not", add,
		&cobra.Command{
			Use: "rm CONTAINER ALIAS", Aliases: []string{"remove"}, Short: "Remove a link of a container",
			Args: cli.ExactArgs(2), DisableFlagsInUseLine: true,
			RunE: func(cmd *cobra.Command, args []string) error {
				return call(cmd.Context(), dockerCli, "DELETE", "/containers/"+args[0]+"/links", url.Values{"alias": {args[1]}}, nil, nil)
			},
		},
		&cobra.Command{
			Use: "ls [CONTAINER]", Aliases: []string{"list"}, Short: "List links and where they lead",
			Args: cli.RequiresMaxArgs(1), DisableFlagsInUseLine: true,
			RunE: func(cmd *cobra.Command, args []string) error { return linkList(cmd, dockerCli, args) },
		})
}

func linkList(cmd *cobra.Command, dockerCli command.Cli, args []string) error {
	path := "/links"
	if len(args) == 1 {
		path = "/containers/" + args[0] + "/links"
	}
	var links []struct {
		Container, Alias, Target, Network, TargetNetwork, State string
		Ports, Addresses                                        []string
	}
	if err := call(cmd.Context(), dockerCli, "GET", path, nil, nil, &links); err != nil {
		return err
	}
	rows := [][]string{{"CONTAINER", "ALIAS", "TARGET", "PORTS", "NETWORK", "ADDRESS", "STATE"}}
	for _, l := range links {
		network := l.Network
		if l.TargetNetwork != "" {
			network += " -> " + l.TargetNetwork
		}
		rows = append(rows, []string{l.Container, l.Alias, l.Target, strings.Join(l.Ports, ","), network, strings.Join(l.Addresses, ","), l.State})
	}
	return table(dockerCli, rows)
}

// takePorts lets a --link of docker/cli's have ports, NAME:ALIAS:PORTS, which it
// refuses itself: what is wrong with a link, the daemon says.
func takePorts(c *cobra.Command) {
	f := c.Flags().Lookup("link")
	if f == nil {
		return
	}
	links, ok := f.Value.(*opts.ListOpts)
	if !ok {
		return // docker/cli's own check stays
	}
	links.WithValidator(func(link string) (string, error) {
		if strings.Count(link, ":") < 2 {
			return opts.ValidateLink(link)
		}
		return link, nil
	})
}
