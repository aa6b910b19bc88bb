package extensions

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/docker/cli/cli/command"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	rateInUsage  = "Limit what each interface brings into the container, such as 10mbit; none for no limit"
	rateOutUsage = "Limit what the container sends by each interface, such as 10mbit; none for no limit"
)

// addRateFlags puts our flags on docker/cli's update, which hands Docker's own
// to the daemon by itself.
func addRateFlags(update *cobra.Command, dockerCli command.Cli) {
	in := update.Flags().StringArray("net-rate-in", nil, rateInUsage+" (`[NETWORK|INTERFACE=]RATE`; may be given several times)")
	out := update.Flags().StringArray("net-rate-out", nil, rateOutUsage+" (`[NETWORK|INTERFACE=]RATE`; may be given several times)")
	docker := update.RunE
	update.RunE = func(cmd *cobra.Command, args []string) error {
		if len(*in)+len(*out) == 0 {
			return docker(cmd, args)
		}
		body := struct {
			NetRateIn, NetRateOut string `json:",omitempty"`
		}{strings.Join(*in, ","), strings.Join(*out, ",")}
		others := false
		cmd.Flags().Visit(func(f *pflag.Flag) { others = others || !strings.HasPrefix(f.Name, "net-rate-") })
		err := each(args, func(container string) error {
			err := call(cmd.Context(), dockerCli, http.MethodPost, "/containers/"+container+"/update", nil, body, nil)
			if err == nil && !others {
				_, _ = fmt.Fprintln(dockerCli.Out(), container)
			}
			return err
		})
		if err != nil || !others {
			return err
		}
		return docker(cmd, args)
	}
}
