package cli

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// words turns docker/cli's own name in its help and errors into ours. What
// names something of Docker's (Docker Hub, a Dockerfile, a docker-archive, a
// path below .docker) stays.
var words = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`failed to connect to the docker API at (\S+); check if the path is correct and if the daemon is running: .*`),
		"Cannot connect to the Jackstay daemon at $1. Is jackstayd running?"},
	{regexp.MustCompile(`\bthe docker daemon\b`), "jackstayd"},
	{regexp.MustCompile(`(?m)^docker: `), "jackstay: "},
	{regexp.MustCompile(`\bdocker (COMMAND|API|[a-z]+)\b`), "jackstay $1"},
	{regexp.MustCompile(`'docker'`), "'jackstay'"},
	{regexp.MustCompile(`\bDocker (daemon|API|client|server|host|objects|system)`), "Jackstay $1"},
	{regexp.MustCompile(`\bManage Docker\b`), "Manage Jackstay"},
	{regexp.MustCompile(`the Docker version`), "the Jackstay version"},
	{regexp.MustCompile(`\bDOCKER_HOST\b`), HostEnv},
}

func reword(s string) string {
	if !strings.Contains(s, "ocker") {
		return s
	}
	for _, w := range words {
		s = w.from.ReplaceAllString(s, w.to)
	}
	return s
}

// rewordOnDemand rewords a command and all below it once somebody reads it: its
// help, its usage, or descriptions in a completion. Going through a thousand
// texts takes milliseconds, which no other command has to wait for.
func rewordOnDemand(root *cobra.Command) {
	reworded := sync.OnceFunc(func() { rewordCommands(root) })
	help, usage := root.HelpFunc(), root.UsageFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		reworded()
		help(c, args)
	})
	root.SetUsageFunc(func(c *cobra.Command) error {
		reworded()
		return usage(c)
	})
	if slices.Contains(os.Args, cobra.ShellCompRequestCmd) {
		reworded()
	}
}

// rewordCommands goes through the help of a command and all below it.
func rewordCommands(c *cobra.Command) {
	c.Use, c.Short, c.Long, c.Example = reword(c.Use), reword(c.Short), reword(c.Long), reword(c.Example)
	if aliases, ok := c.Annotations["aliases"]; ok {
		c.Annotations["aliases"] = reword(aliases)
	}
	c.Flags().VisitAll(func(f *pflag.Flag) { f.Usage = reword(f.Usage) })
	for _, sub := range c.Commands() {
		rewordCommands(sub)
	}
}
