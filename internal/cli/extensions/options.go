package extensions

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// optionPrefix begins the labels and driver options that carry an option of
// ours: any other client gives those directly.
const optionPrefix = "com.jackstay."

// option is a flag of ours on a command of Docker's.
type option struct {
	name, usage string
	value       optionValue
}

// optionValue is what a flag takes: a word, nothing (true), or a list, whose
// members are joined by commas, or by blanks if they have commas themselves.
type optionValue struct{ kind, placeholder string }

var (
	word  = func(placeholder string) optionValue { return optionValue{"word", placeholder} }
	truth = optionValue{kind: "bool"}
	list  = func(placeholder string) optionValue { return optionValue{"list", placeholder} }
	words = func(placeholder string) optionValue { return optionValue{"words", placeholder} }
)

// containerOptions are run's and create's, networkOptions network create's. The
// engine's own table of them is in engine/options.go and engine/netoptions.go.
func containerOptions() []option {
	return []option{
		{"expose-only", "Let only the container's exposed ports answer at its floating IP", truth},
		{"fip", "Attach a floating IP: auto (a new one, which goes with the container), or one that is allocated", word("auto|ADDRESS|NAME")},
		{"mac-from", "Make the container's MAC address from a word, the same on every host", word("WORD")},
		{"sg", "Put the container into a security group", list("NAME")},
		{"link-later", "Link to a container that may come later", words("NAME[:ALIAS[:PORTS]]")},
		{"strict", "Refuse links between containers on no common network", truth},
		{"net-rate-in", rateInUsage, list("[NETWORK|INTERFACE=]RATE")},
		{"net-rate-out", rateOutUsage, list("[NETWORK|INTERFACE=]RATE")},
	}
}

func networkOptions() []option {
	return []option{
		{"policy", "Who reaches whom on it: open (everybody), or deny (nobody but along links, on exposed ports)", word("POLICY")},
	}
}

// addOptions puts our options on docker/cli's commands, each of which hands them
// on through a flag that it has.
func addOptions(root *cobra.Command) {
	for _, c := range root.Commands() {
		switch c.Name() {
		case "run", "create":
			through(c, "label", containerOptions())
			takePorts(c)
		case "container":
			for _, sub := range c.Commands() {
				if sub.Name() == "run" || sub.Name() == "create" {
					through(sub, "label", containerOptions())
					takePorts(sub)
				}
			}
		case "network":
			for _, sub := range c.Commands() {
				switch sub.Name() {
				case "create":
					through(sub, "opt", networkOptions())
				case "connect":
					takePorts(sub)
				}
			}
		}
	}
}

// through gives a command options that become NAME=VALUE of its own flag carrier.
func through(c *cobra.Command, carrier string, options []option) {
	for _, o := range options {
		switch o.value.kind {
		case "bool":
			c.Flags().Bool(o.name, false, o.usage)
		case "list", "words":
			c.Flags().StringArray(o.name, nil, o.usage+" (`"+o.value.placeholder+"`; may be given several times)")
		default:
			c.Flags().String(o.name, "", o.usage+" (`"+o.value.placeholder+"`)")
		}
	}
	run := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		for _, o := range options {
			f := cmd.Flags().Lookup(o.name)
			if !f.Changed {
				continue
			}
			if err := cmd.Flags().Set(carrier, optionPrefix+o.name+"="+given(o, f)); err != nil {
				return err
			}
		}
		return run(cmd, args)
	}
}

func given(o option, f *pflag.Flag) string {
	if l, ok := f.Value.(pflag.SliceValue); ok {
		sep := ","
		if o.value.kind == "words" {
			sep = " "
		}
		return strings.Join(l.GetSlice(), sep)
	}
	return f.Value.String()
}
