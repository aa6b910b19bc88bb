package extensions

import (
	"net/url"
	"strings"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/completion"
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
		Args: cli.ExactArgs(2), ValidArgsFunction: inTurn(completion.ContainerNames(dockerCli, true), completion.ContainerNames(dockerCli, true), nil),
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
			Args: cli.ExactArgs(2), ValidArgsFunction: inTurn(completion.ContainerNames(dockerCli, true), names(dockerCli, "/links", "Alias"), nil),
			RunE: func(cmd *cobra.Command, args []string) error {
				return call(cmd.Context(), dockerCli, "DELETE", "/containers/"+args[0]+"/links", url.Values{"alias": {args[1]}}, nil, nil)
			},
		},
		linkList(dockerCli).command(dockerCli))
}

// link is a link as the API tells it.
type link struct {
	Container, Alias, Target, Network, TargetNetwork, State string
	Ports, Addresses                                        []string
}

func linkList(dockerCli command.Cli) *lister[link] {
	return &lister[link]{
		use: "ls [OPTIONS] [CONTAINER]", short: "List links and where they lead", args: cli.RequiresMaxArgs(1),
		complete: inTurn(completion.ContainerNames(dockerCli, true), nil),
		path:     ofContainer("links"),
		columns: []column[link]{
			{field: "Container", head: "CONTAINER", value: func(l *link) any { return l.Container }},
			{field: "Alias", head: "ALIAS", value: func(l *link) any { return l.Alias }},
			{field: "Target", head: "TARGET", value: func(l *link) any { return l.Target }},
			{field: "Ports", head: "PORTS", value: func(l *link) any { return strings.Join(l.Ports, ",") }},
			{field: "Network", head: "NETWORK", value: func(l *link) any {
				if l.TargetNetwork != "" {
					return l.Network + " -> " + l.TargetNetwork
				}
				return l.Network
			}},
			{field: "Addresses", head: "ADDRESS", value: func(l *link) any { return strings.Join(l.Addresses, ",") }},
			{field: "State", head: "STATE", value: func(l *link) any { return l.State }},
		},
		quiet: func(l *link) []string { return []string{l.Alias} }, quietWords: "the aliases",
	}
}

// ofContainer gives the API's path of a kind of things, all or one container's.
func ofContainer(kind string) func(args []string) string {
	return func(args []string) string {
		if len(args) == 1 {
			return "/containers/" + args[0] + "/" + kind
		}
		return "/" + kind
	}
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
