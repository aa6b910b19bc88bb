package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/streams"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// connection is docker/cli's connection and streams, with what its commands
// leave unsaid or say of docker.
type connection struct {
	*command.DockerCli
	reword bool // what is written to the error stream is the command's own, and no container's
}

// Client gives the API.
func (c *connection) Client() client.APIClient {
	return warned{c.DockerCli.Client(), c.DockerCli.Err()}
}

// Err gives the error stream.
func (c *connection) Err() *streams.Out {
	if !c.reword {
		return c.DockerCli.Err()
	}
	return streams.NewOut(reworded{c.DockerCli.Err()})
}

// warned prints the daemon's warnings that docker/cli drops.
type warned struct {
	client.APIClient
	err io.Writer
}

// NetworkCreate creates a network.
func (w warned) NetworkCreate(ctx context.Context, name string, o client.NetworkCreateOptions) (client.NetworkCreateResult, error) {
	res, err := w.APIClient.NetworkCreate(ctx, name, o)
	for _, warning := range res.Warning {
		_, _ = fmt.Fprintln(w.err, "WARNING:", warning)
	}
	return res, err
}

// reworded is a stream of whole messages in our words.
type reworded struct{ to io.Writer }

func (r reworded) Write(p []byte) (int, error) {
	if _, err := io.WriteString(r.to, reword(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// rewordErrors rewords what docker/cli's own commands print of errors by
// themselves; others give them back to Main.
func rewordErrors(root *cobra.Command, c *connection) {
	for _, path := range [][]string{{"network", "rm"}, {"inspect"}, {"rmi"}, {"image", "rm"}, {"info"}, {"system", "info"}} {
		cmd, _, err := root.Find(path)
		if err != nil || cmd.RunE == nil {
			continue
		}
		run := cmd.RunE
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			c.reword = true
			return run(cmd, args)
		}
	}
}
