// Package extensions holds the commands that Docker's command line has not:
//
//	client.go   asks the daemon over docker/cli's connection
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
	"fmt"
	"text/tabwriter"

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
			c.AddCommand(leasesCommand(dockerCli))
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
}

// group makes a command that only has others below it.
func group(dockerCli command.Cli, use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, RunE: func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("jackstay: unknown command: %s %s\n\nRun '%s --help' for more information", cmd.CommandPath(), args[0], cmd.CommandPath())
		}
		return command.ShowHelp(dockerCli.Err())(cmd, args)
	}}
	c.AddCommand(subs...)
	return c
}

// table prints rows under a head, in docker/cli's manner.
func table(dockerCli command.Cli, rows [][]string) error {
	w := tabwriter.NewWriter(dockerCli.Out(), 10, 1, 3, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}
