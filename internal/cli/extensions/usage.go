package extensions

import (
	"fmt"

	"github.com/spf13/cobra"
)

// usageError says, in docker/cli's form, what is wrong with a command line.
func usageError(cmd *cobra.Command, format string, a ...any) error {
	return fmt.Errorf("%s: '%s' %s\n\nUsage:  %s\n\nRun '%s --help' for more information",
		cmd.Root().Name(), cmd.CommandPath(), fmt.Sprintf(format, a...), cmd.UseLine(), cmd.CommandPath())
}

// needs refuses a command line without a flag that it can't do without.
func needs(cmd *cobra.Command, flag, what string) error {
	if cmd.Flags().Changed(flag) {
		return nil
	}
	return usageError(cmd, "requires --%s: %s", flag, what)
}

// plainUsage takes cobra's "[flags]" off the usage lines of a command and all
// below it: docker/cli's, and ours, say [OPTIONS] themselves.
func plainUsage(c *cobra.Command) {
	c.DisableFlagsInUseLine = true
	for _, sub := range c.Commands() {
		plainUsage(sub)
	}
}
