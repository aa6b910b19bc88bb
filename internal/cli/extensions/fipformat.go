package extensions

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/docker/cli/cli/command/formatter"
)

// fip is a floating IP as the API tells it.
type fip struct {
	FIP       string `json:"fip"`
	Name      string `json:"name"`
	Container string `json:"container"`
	Service   string `json:"service"`
}

// writeFIPs writes a list: without a format as Hyper.sh's command did, whose
// columns are twenty characters wide, with a column for names if there are any.
func writeFIPs(w io.Writer, fips []fip, format string, quiet bool) error {
	switch {
	case quiet && format == "":
		for _, f := range fips {
			_, _ = fmt.Fprintln(w, f.FIP)
		}
		return nil
	case format != "" && format != formatter.TableFormatKey:
		return formatFIPs(w, fips, format)
	}
	named := slices.ContainsFunc(fips, func(f fip) bool { return f.Name != "" })
	t := tabwriter.NewWriter(w, 20, 1, 3, ' ', 0)
	row := func(f fip) {
		if named {
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\n", f.FIP, f.Name, f.Container)
			return
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\n", f.FIP, f.Container)
	}
	row(fip{FIP: "Floating IP", Name: "Name", Container: "Container"})
	for _, f := range fips {
		row(f)
	}
	return t.Flush()
}

// fipContext is one floating IP for templates.
type fipContext struct {
	formatter.HeaderContext
	f fip
}

func (c *fipContext) MarshalJSON() ([]byte, error) { return formatter.MarshalJSON(c) }

// FIP is the address.
func (c *fipContext) FIP() string { return c.f.FIP }

// Name is its name, or empty.
func (c *fipContext) Name() string { return c.f.Name }

// Container is the full ID of the container that has it, or empty.
func (c *fipContext) Container() string { return c.f.Container }

func formatFIPs(w io.Writer, fips []fip, format string) error {
	head := &fipContext{}
	head.Header = formatter.SubHeaderContext{"FIP": "Floating IP", "Name": "Name", "Container": "Container"}
	ctx := formatter.Context{Output: w, Format: formatter.Format(format)}
	return ctx.Write(head, func(write func(formatter.SubContext) error) error {
		for _, f := range fips {
			if err := write(&fipContext{f: f}); err != nil {
				return err
			}
		}
		return nil
	})
}

// each does something for every argument and gives all that failed.
func each(args []string, do func(string) error) error {
	var failed []error
	for _, a := range args {
		failed = append(failed, do(a))
	}
	return errors.Join(failed...)
}
