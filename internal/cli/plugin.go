package cli

import (
	"github.com/docker/cli/cli-plugins/metadata"
	"github.com/docker/cli/cli-plugins/plugin"
	"github.com/docker/cli/cli/command"
	"github.com/spf13/cobra"

	"github.com/jackstay/jackstay/internal/cli/extensions"
	"github.com/jackstay/jackstay/internal/version"
)

// PluginName is the name of the file by which docker(1) finds `docker fip`.
const PluginName = "docker-fip"

// Plugin runs `jackstay fip` as a plugin of docker(1), at the host that docker
// is told: --host, its context, or DOCKER_HOST. It ends the process on failure.
func Plugin() {
	plugin.Run(func(cli command.Cli) *cobra.Command { return extensions.NewFIPCommand(cli) }, metadata.Metadata{
		SchemaVersion: "0.1.0", Vendor: "Jackstay", Version: version.Version, ShortDescription: "Manage Jackstay's floating IPs",
	})
}
