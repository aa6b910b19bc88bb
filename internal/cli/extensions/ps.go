package extensions

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/formatter"
	"github.com/docker/cli/opts"
	"github.com/docker/cli/templates"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// publicIP is the last column of ps, as Hyper.sh's command has it.
const publicIP = `\t{{.PublicIP}}`

// showPublicIP makes ps, whose flags docker/cli has made, show floating IPs.
func showPublicIP(c *cobra.Command, cli command.Cli) {
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := newListing(cmd, cli)
		if err != nil {
			return err
		}
		found, err := cli.Client().ContainerList(cmd.Context(), l.ask)
		if err != nil {
			return err
		}
		var fips map[string]string
		if l.uses("PublicIP") {
			fips = publicIPs(cmd.Context(), cli)
		}
		return l.write(found.Items, fips)
	}
}

// listing is one call of ps.
type listing struct {
	ask    client.ContainerListOptions
	source string // the format as given
	out    formatter.Context
}

func newListing(cmd *cobra.Command, cli command.Cli) (*listing, error) {
	flags := cmd.Flags()
	is := func(name string) bool { on, _ := flags.GetBool(name); return on }
	l := &listing{source: flags.Lookup("format").Value.String()}
	quiet := is("quiet")
	switch {
	case l.source == "":
		l.source = cli.ConfigFile().PsFormat
	case quiet:
		_, _ = fmt.Fprintln(cli.Err(), "WARNING: Ignoring custom format, because both --format and --quiet are set.")
	}
	l.ask = client.ContainerListOptions{All: is("all"), Size: is("size")}
	l.ask.Limit, _ = flags.GetInt("last")
	if is("latest") && l.ask.Limit == -1 {
		l.ask.Limit = 1
	}
	if f, ok := flags.Lookup("filter").Value.(*opts.FilterOpt); ok {
		l.ask.Filters = f.Value()
	}
	if l.source != "" {
		t, err := templates.Parse(l.source)
		if err != nil {
			return nil, fmt.Errorf("failed to parse template: %w", err)
		}
		if err := t.Execute(io.Discard, &psRow{}); err != nil {
			return nil, fmt.Errorf("failed to execute template: %w", err)
		}
	}
	l.ask.Size = l.ask.Size || !quiet && !flags.Changed("size") && strings.Contains(l.source, ".Size")
	format := formatter.NewContainerFormat(l.source, quiet, l.ask.Size)
	if !quiet && (l.source == "" || l.source == formatter.TableFormatKey) {
		format += publicIP
	}
	l.out = formatter.Context{Output: cli.Out(), Format: format, Trunc: !is("no-trunc")}
	return l, nil
}

// uses tells whether a column or all of them are asked for.
func (l *listing) uses(column string) bool {
	return strings.Contains(string(l.out.Format), column) || l.out.Format.IsJSON() || strings.Contains(string(l.out.Format), "json .")
}

// publicIPs gives the floating IPs by container. Other daemons have none.
func publicIPs(ctx context.Context, cli command.Cli) map[string]string {
	var list []fip
	if err := call(ctx, cli, "GET", "/fips", nil, nil, &list); err != nil {
		return nil
	}
	out := make(map[string]string, len(list))
	for _, f := range list {
		out[f.Container] = f.FIP
	}
	return out
}

// write prints the containers. docker/cli makes every column but the last; it
// gives them away as JSON only.
func (l *listing) write(found []container.Summary, fips map[string]string) error {
	var rows bytes.Buffer
	if err := formatter.ContainerWrite(formatter.Context{Output: &rows, Format: "{{json .}}", Trunc: l.out.Trunc}, found); err != nil {
		return err
	}
	all := json.NewDecoder(&rows)
	head := &psRow{}
	head.Header = formatter.SubHeaderContext{
		"ID": formatter.ContainerIDHeader, "Names": "NAMES", "Image": formatter.ImageHeader, "Command": "COMMAND",
		"CreatedAt": formatter.CreatedAtHeader, "RunningFor": "CREATED", "Ports": formatter.PortsHeader, "State": formatter.StateHeader,
		"Status": formatter.StatusHeader, "Size": formatter.SizeHeader, "Labels": formatter.LabelsHeader, "Mounts": "MOUNTS",
		"LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS", "Platform": "PLATFORM", "HealthStatus": "HEALTH STATUS",
		"PublicIP": "PUBLIC IP",
	}
	return l.out.Write(head, func(write func(formatter.SubContext) error) error {
		for _, c := range found {
			row := &psRow{labels: c.Labels, publicIP: fips[c.ID]}
			if err := all.Decode(&row.columns); err != nil {
				return fmt.Errorf("list containers: %w", err)
			}
			if err := write(row); err != nil {
				return err
			}
		}
		return nil
	})
}
