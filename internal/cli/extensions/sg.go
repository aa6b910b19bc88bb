package extensions

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	dockercli "github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/completion"
	"github.com/docker/cli/cli/command/inspect"
	"github.com/spf13/cobra"
)

const ruleUsage = "A rule is PROTO[:PORTS][:SOURCE]: tcp, udp, sctp, icmp or any; a port or a range of them, none for all;\n" +
	"an address, a prefix or another group, none for everybody. tcp:80  tcp:8000-8010:10.0.0.0/8  udp:53:web  any:web  icmp"

// sgCommand makes `jackstay sg`, whose commands are Hyper.sh's.
func sgCommand(cli command.Cli) *cobra.Command {
	return group(cli, "sg", "Manage security groups: who may open connections to their containers",
		sgCreate(cli), sgUpdate(cli), sgList().command(cli), sgInspect(cli), sgRemove(cli),
		sgMembers(cli, "attach", "POST", "Put a container, running or not, into a security group"),
		sgMembers(cli, "detach", "DELETE", "Take a container out of a security group"))
}

func sgCreate(cli command.Cli) *cobra.Command {
	var file, description string
	var rules []string
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] [NAME]",
		Short: "Create a security group; without rules nobody opens connections to its containers",
		Long:  "Create a security group; without rules nobody opens connections to its containers.\n\n" + ruleUsage,
		Example: "  jackstay sg create --rule tcp:80 --rule tcp:22:10.0.0.0/8 web\n  jackstay sg create --rule tcp:5432:web db\n" +
			"  jackstay sg create -f group.yml",
		Args: dockercli.RequiresMaxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			g, err := readGroup(cmd, file)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				if g.Name != "" && g.Name != args[0] {
					return fmt.Errorf("the security group is called %s on the command line and %s in %s: give one name", args[0], g.Name, file)
				}
				g.Name = args[0]
			}
			if g.Name == "" {
				return usageError(cmd, "requires the security group's name, as an argument or in the file")
			}
			more, err := parseRules(rules)
			if err != nil {
				return err
			}
			g.Rules = append(g.Rules, more...)
			if cmd.Flags().Changed("description") {
				g.Description = description
			}
			var made sg
			if err := call(cmd.Context(), cli, "POST", "/sg/create", url.Values{"name": {g.Name}}, g, &made); err != nil {
				return err
			}
			_, _ = fmt.Fprintln(cli.Out(), made.ID)
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "Read the group from a YAML or JSON file in Hyper.sh's form, - for the standard input")
	cmd.Flags().StringArrayVar(&rules, "rule", nil, "A rule, `PROTO[:PORTS][:SOURCE]` (may be given several times)")
	cmd.Flags().StringVar(&description, "description", "", "What it is for")
	return cmd
}

func sgUpdate(cli command.Cli) *cobra.Command {
	var file, description string
	var add, remove []string
	cmd := &cobra.Command{
		Use:   "update [OPTIONS] NAME",
		Short: "Change the rules of a security group, for connections that are open too",
		Long: "Change the rules of a security group in one step, for connections that are open too: those that no rule\n" +
			"lets in any more stop at once.\n\n" + ruleUsage,
		Example: "  jackstay sg update --add-rule tcp:443 --rm-rule tcp:80 web\n  jackstay sg update -f group.yml web",
		Args:    dockercli.ExactArgs(1), ValidArgsFunction: inTurn(groupNames(cli), nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{}
			if file != "" {
				g, err := readGroup(cmd, file)
				if err != nil {
					return err
				}
				if g.Name != "" {
					body["name"] = g.Name
				}
				body["rules"] = append([]sgRule{}, g.Rules...)
				body["description"] = g.Description
			}
			for name, texts := range map[string][]string{"add_rules": add, "remove_rules": remove} {
				rules, err := parseRules(texts)
				if err != nil {
					return err
				}
				if len(rules) > 0 {
					body[name] = rules
				}
			}
			if cmd.Flags().Changed("description") {
				body["description"] = description
			}
			if len(body) == 0 {
				return usageError(cmd, "has nothing to change: give --add-rule, --rm-rule, --description, or a file of all rules with -f")
			}
			return call(cmd.Context(), cli, "POST", "/sg/update", url.Values{"name": args}, body, nil)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "Replace all rules by those of a YAML or JSON file in Hyper.sh's form, - for the standard input")
	cmd.Flags().StringArrayVar(&add, "add-rule", nil, "Add a rule, `PROTO[:PORTS][:SOURCE]` (may be given several times)")
	cmd.Flags().StringArrayVar(&remove, "rm-rule", nil, "Remove a rule, `PROTO[:PORTS][:SOURCE]` (may be given several times)")
	cmd.Flags().StringVar(&description, "description", "", "What it is for")
	return cmd
}

func sgList() *lister[sg] {
	return &lister[sg]{
		use: "ls [OPTIONS]", short: "List security groups", args: dockercli.NoArgs, filters: "name=...",
		path: func([]string) string { return "/sg" },
		columns: []column[sg]{
			{field: "ID", head: "ID", value: func(g *sg) any { return g.ID }, extra: true, cut: true},
			{field: "Name", head: "NAME", value: func(g *sg) any { return g.Name }},
			{field: "Rules", head: "RULES", value: func(g *sg) any { return len(g.Rules) }},
			{field: "Containers", head: "CONTAINERS", value: func(g *sg) any { return len(g.Containers) }},
			{field: "Description", head: "DESCRIPTION", value: func(g *sg) any { return g.Description }},
		},
		quiet: func(g *sg) []string { return []string{g.Name} }, quietWords: "the names",
	}
}

func sgInspect(cli command.Cli) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] NAME [NAME...]",
		Short: "Display what security groups let in, and who is in them",
		Args:  dockercli.RequiresMinArgs(1), ValidArgsFunction: groupNames(cli),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspect.Inspect(cli.Out(), args, format, func(name string) (any, []byte, error) {
				var raw json.RawMessage
				if err := call(cmd.Context(), cli, "GET", "/sg/"+name, nil, nil, &raw); err != nil {
					return nil, nil, err
				}
				var g sg
				return &g, raw, json.Unmarshal(raw, &g)
			})
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", `Format output using a custom template: 'json' or a Go template, e.g. {{json .Rules}}`)
	return cmd
}

func sgRemove(cli command.Cli) *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME [NAME...]",
		Aliases: []string{"remove"},
		Short:   "Remove security groups that nobody is in",
		Args:    dockercli.RequiresMinArgs(1), ValidArgsFunction: groupNames(cli),
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(args, func(name string) error {
				if err := call(cmd.Context(), cli, "DELETE", "/sg/"+name, nil, nil, nil); err != nil {
					return err
				}
				_, _ = fmt.Fprintln(cli.Out(), name)
				return nil
			})
		},
	}
}

// sgMembers makes attach and detach.
func sgMembers(cli command.Cli, name, method, short string) *cobra.Command {
	return &cobra.Command{
		Use:   name + " NAME[,NAME...] CONTAINER",
		Short: short,
		Args:  dockercli.ExactArgs(2), ValidArgsFunction: inTurn(groupNames(cli), completion.ContainerNames(cli, true), nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			return call(cmd.Context(), cli, method, "/containers/"+args[1]+"/sg", url.Values{"sg": strings.Split(args[0], ",")}, nil, nil)
		},
	}
}
