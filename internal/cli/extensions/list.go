package extensions

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/formatter"
	"github.com/docker/cli/opts"
	"github.com/docker/cli/templates"
	"github.com/spf13/cobra"
)

// lister is a command that lists things of the kind T, with the options that
// docker/cli's own lists have.
type lister[T any] struct {
	use, short, long string
	args             cobra.PositionalArgs
	complete         cobra.CompletionFunc
	path             func(args []string) string // of the API
	filters          string                     // those that the API has, for the help; empty: none
	columns          []column[T]
	quiet            func(*T) []string // what -q prints, a line each
	quietWords       string            // its name in the help
	width            int               // of a column at least; 0: docker/cli's
}

// column is one field of templates, and a column of the table unless it is extra.
type column[T any] struct {
	field, head string
	value       func(*T) any
	extra       bool
	cut         bool           // an ID, which is shortened without --no-trunc
	unless      func([]T) bool // not in the table if this is so
}

// listOptions are what the user asked for.
type listOptions struct {
	quiet, noTrunc bool
	format         string
}

func (l *lister[T]) command(dockerCli command.Cli) *cobra.Command {
	var o listOptions
	filter := opts.NewFilterOpt()
	c := &cobra.Command{
		Use: l.use, Short: l.short, Long: l.long, Args: l.args, ValidArgsFunction: l.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := l.check(o.format); err != nil {
				return err
			}
			var query url.Values
			if l.filters != "" {
				query = filterQuery(filter.Value())
			}
			var all []T
			if err := call(cmd.Context(), dockerCli, "GET", l.path(args), query, nil, &all); err != nil {
				return err
			}
			return l.write(dockerCli.Out(), all, o)
		},
	}
	if c.Name() == "ls" {
		c.Aliases = []string{"list"}
	}
	whole := "Don't truncate output"
	if !slices.ContainsFunc(l.columns, func(c column[T]) bool { return c.cut }) {
		whole += " (nothing is truncated here)"
	}
	f := c.Flags()
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Only display "+l.quietWords)
	f.BoolVar(&o.noTrunc, "no-trunc", false, whole)
	f.StringVar(&o.format, "format", "", "Format output using a custom template: 'table', 'table TEMPLATE', 'json', or a Go template with "+l.fields())
	if l.filters != "" {
		f.VarP(&filter, "filter", "f", "Filter output based on conditions provided ("+l.filters+")")
	}
	return c
}

// filterQuery writes filters as Docker's API takes them.
func filterQuery(filters any) url.Values {
	text, _ := json.Marshal(filters) // a map of names
	return url.Values{"filters": {string(text)}}
}

// fields names all fields for people.
func (l *lister[T]) fields() string {
	var out []string
	for _, c := range l.columns {
		out = append(out, "."+c.field)
	}
	last := len(out) - 1
	return strings.Join(out[:last], ", ") + " and " + out[last]
}

// listRow is one thing for templates.
type listRow map[string]any

// FullHeader makes it a row of docker/cli's formatter, which has the head from
// the first.
func (listRow) FullHeader() any { return nil }

// listHead is the row of heads.
type listHead map[string]string

// FullHeader gives the heads.
func (h listHead) FullHeader() any { return map[string]string(h) }

func (l *lister[T]) row(item *T, noTrunc bool) listRow {
	row := listRow{}
	for _, c := range l.columns {
		v := c.value(item)
		if id, ok := v.(string); ok && c.cut && !noTrunc {
			v = formatter.TruncateID(id)
		}
		row[c.field] = v
	}
	return row
}

// check refuses a format with fields that are not there, also if there is
// nothing to list.
func (l *lister[T]) check(format string) error {
	if format == "" || format == formatter.TableFormatKey || format == formatter.JSONFormatKey {
		return nil
	}
	t, err := templates.Parse(strings.TrimPrefix(format, formatter.TableFormatKey))
	if err != nil {
		return fmt.Errorf("template parsing error: %w", err)
	}
	err = t.Option("missingkey=error").Execute(io.Discard, l.row(new(T), true))
	if err != nil && strings.Contains(err.Error(), "map has no entry for key") {
		return fmt.Errorf("template parsing error: %w: there are %s", err, l.fields())
	}
	return nil // what else is wrong with an empty one may be right with others
}

func (l *lister[T]) write(w io.Writer, all []T, o listOptions) error {
	plain := o.format == "" || o.format == formatter.TableFormatKey
	switch {
	case plain && o.quiet:
		for i := range all {
			for _, line := range l.quiet(&all[i]) {
				_, _ = fmt.Fprintln(w, line)
			}
		}
		return nil
	case plain:
		return l.table(w, all, o)
	}
	head := listHead{}
	for _, c := range l.columns {
		head[c.field] = c.head
	}
	ctx := formatter.Context{Output: w, Format: formatter.Format(o.format)}
	return ctx.Write(head, func(write func(formatter.SubContext) error) error {
		for i := range all {
			if err := write(l.row(&all[i], o.noTrunc)); err != nil {
				return err
			}
		}
		return nil
	})
}

// table prints the columns that are for it.
func (l *lister[T]) table(w io.Writer, all []T, o listOptions) error {
	width := l.width
	if width == 0 {
		width = 10
	}
	t := tabwriter.NewWriter(w, width, 1, 3, ' ', 0)
	var shown []column[T]
	var heads []string
	for _, c := range l.columns {
		if !c.extra && (c.unless == nil || !c.unless(all)) {
			shown, heads = append(shown, c), append(heads, c.head)
		}
	}
	_, _ = fmt.Fprintln(t, strings.Join(heads, "\t"))
	for i := range all {
		row := l.row(&all[i], o.noTrunc)
		for n, c := range shown {
			if n > 0 {
				_, _ = fmt.Fprint(t, "\t")
			}
			_, _ = fmt.Fprint(t, row[c.field])
		}
		_, _ = fmt.Fprintln(t)
	}
	return t.Flush()
}
