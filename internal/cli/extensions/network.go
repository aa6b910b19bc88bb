package extensions

import (
	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/completion"
)

// lease is an address of a network's as the API tells it.
type lease struct{ Address, MacAddress, Container, State string }

func leaseList(dockerCli command.Cli) *lister[lease] {
	return &lister[lease]{
		use: "leases [OPTIONS] NETWORK", short: "List the addresses of a network that are taken, and by whom",
		long: "List the addresses of a network that are taken: active ones are in use now, kept ones belong to a\n" +
			"container that is stopped, reserved ones are never given to a container.",
		args: cli.ExactArgs(1), complete: inTurn(completion.NetworkNames(dockerCli), nil),
		path: func(args []string) string { return "/networks/" + args[0] + "/leases" },
		columns: []column[lease]{
			{field: "Address", head: "ADDRESS", value: func(l *lease) any { return l.Address }},
			{field: "MAC", head: "MAC", value: func(l *lease) any {
				if l.State == "reserved" {
					return "-"
				}
				return l.MacAddress
			}},
			{field: "Container", head: "CONTAINER", value: func(l *lease) any {
				if l.State == "reserved" {
					return "(" + l.Container + ")"
				}
				return l.Container
			}},
			{field: "State", head: "STATE", value: func(l *lease) any { return l.State }},
		},
		quiet: func(l *lease) []string { return []string{l.Address} }, quietWords: "the addresses",
	}
}
