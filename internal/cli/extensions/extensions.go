// Package extensions holds the commands that Docker's command line has not:
//
//	client.go   asks the daemon over docker/cli's connection
//	list.go     every command that lists, with its options
//	complete.go what the shell completes with
//	usage.go    errors of command lines
//	ports.go    port add, port rm
//	aliases.go  alias add, rm, ls
//	links.go    link add, rm, ls
//	network.go  network leases
//	swap.go     swap
//	fip*.go     fip, fip pool
//	sg*.go      sg: security groups
//	rates.go    update --net-rate-in, --net-rate-out
//	nic.go      nic add, rm, ls, wait
//	inside.go   route, rule, tc
//	ps*.go      ps with a column for floating IPs
//	tenant.go   tenant create, inspect, ls, rm, update
//	options.go  options of ours on Docker's commands
package extensions

import (
	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/spf13/cobra"
)

// Add adds the commands to the root command, which has docker/cli's already.
func Add(root *cobra.Command, dockerCli command.Cli) {
	root.AddCommand(aliasCommand(dockerCli), linkCommand(dockerCli), swapCommand(dockerCli), NewFIPCommand(dockerCli), sgCommand(dockerCli), nicCommand(dockerCli), tenantCommand(dockerCli))
	root.AddCommand(insideCommands(dockerCli)...)
	addOptions(root)
	for _, c := range root.Commands() {
		switch c.Name() {
		case "port":
			addPortCommands(c, dockerCli)
		case "ps":
			showPublicIP(c, dockerCli)
		case "network":
			c.AddCommand(leaseList(dockerCli).command(dockerCli))
		case "update":
			addRateFlags(c, dockerCli)
		case "container":
			for _, sub := range c.Commands() {
				switch sub.Name() {
				case "port":
					addPortCommands(sub, dockerCli)
				case "update":
					addRateFlags(sub, dockerCli)
				case "ls":
					showPublicIP(sub, dockerCli)
				}
			}
		}
	}
	plainUsage(root)
}

// group makes a command that only has others below it.
func group(dockerCli command.Cli, use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cli.NoArgs, RunE: command.ShowHelp(dockerCli.Err())}
	c.AddCommand(subs...)
	return c
}
