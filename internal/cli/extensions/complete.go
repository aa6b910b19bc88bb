package extensions

import (
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/completion"
	"github.com/spf13/cobra"
)

// inTurn completes each argument as the function of its place says; the last one
// is for all that follow. nil completes nothing.
func inTurn(places ...cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		f := places[min(len(args), len(places)-1)]
		if f == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, toComplete)
	}
}

// names completes with what a list of the API's has in one of its fields.
func names(dockerCli command.Cli, path string, fields ...string) cobra.CompletionFunc {
	return completion.Unique(func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		var all []map[string]any
		if err := call(cmd.Context(), dockerCli, "GET", path, nil, nil, &all); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var out []string
		for _, item := range all {
			for _, field := range fields {
				if name, ok := item[field].(string); ok && name != "" {
					out = append(out, name)
				}
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	})
}

func fipNames(dockerCli command.Cli) cobra.CompletionFunc {
	return names(dockerCli, "/fips", "fip", "name")
}

func groupNames(dockerCli command.Cli) cobra.CompletionFunc { return names(dockerCli, "/sg", "name") }

func tenantNames(dockerCli command.Cli) cobra.CompletionFunc {
	return names(dockerCli, "/tenants", "Name")
}
