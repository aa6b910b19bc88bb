//go:build linux

package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackstay/jackstay/internal/errs"
)

// renamedPid finds a PID column under another name, `ps -o user=PID`, which
// would let somebody read other processes.
var renamedPid = regexp.MustCompile(`\s+([^\s]*)=\s*(PID[^\s]*)`)

// Top runs the host's ps and keeps the container's processes, as Docker does.
func (r *Runtime) Top(ctx context.Context, id string, psArgs string) ([]string, [][]string, error) {
	if psArgs == "" {
		psArgs = "-ef"
	}
	for _, m := range renamedPid.FindAllStringSubmatch(" "+psArgs, -1) {
		if m[1] != "pid" {
			return nil, nil, errs.New(errs.Invalid, "specifying \"%s=%s\" is not allowed", m[1], m[2])
		}
	}
	rec, err := r.live(id)
	if err != nil {
		return nil, nil, err
	}
	pids, err := processes(mainCgroup(rec.Cgroups))
	if err != nil {
		return nil, nil, fmt.Errorf("processes of container %s: %w", id, err)
	}
	args, err := formatOnly(strings.Fields(psArgs))
	if err != nil {
		return nil, nil, err
	}
	out, err := exec.CommandContext(ctx, "ps", append([]string{"-q" + joinPids(pids)}, args...)...).Output()
	if err != nil {
		// Some options, such as f, don't go with -q, and -p reads all of /proc.
		out, err = exec.CommandContext(ctx, "ps", append([]string{"-p" + joinPids(pids)}, args...)...).Output()
	}
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) && len(failed.Stderr) > 0 {
			line, _, _ := bytes.Cut(failed.Stderr, []byte("\n"))
			return nil, nil, errs.New(errs.Invalid, "ps: %s", line)
		}
		return nil, nil, errs.New(errs.Unavailable, "ps: %w (package procps)", err)
	}
	return parsePS(string(out), pids)
}

// What ps takes for its format: letters after a dash, letters without one, and
// words. Letters that ask for more processes are taken and left out.
const (
	dashedLetters = "cFfHjLlMmwyZ"
	plainLetters  = "cefhjlmnsuvwSX"
	dashedMore    = "Aade"
	plainMore     = "agx"
)

var formatWords = []string{"--forest", "--cumulative", "--headers", "--heading", "--no-headers", "--no-heading", "--context", "--sort", "--format", "--cols", "--columns", "--width"}

// formatOnly gives the arguments of ps without those that ask for all processes,
// and refuses those that choose some: it is the container that says which. What
// of a column's title or text is the PID can't be trusted to tell them apart.
func formatOnly(args []string) ([]string, error) {
	var out []string
	for i := 0; i < len(args); i++ {
		word := args[i]
		if strings.HasPrefix(word, "--") {
			if name, _, _ := strings.Cut(word, "="); !slices.Contains(formatWords, name) {
				return nil, refusedPs(word)
			}
			out = append(out, word)
			continue
		}
		if strings.HasPrefix(word, "-aux") { // everybody's slip, which ps forgives
			word = word[1:]
		}
		dash, known, more := "", plainLetters, plainMore
		letters, dashed := strings.CutPrefix(word, "-")
		if dashed {
			dash, known, more = "-", dashedLetters, dashedMore
		}
		kept := ""
		for at, c := range letters {
			if c == 'o' || dashed && c == 'O' { // the columns follow
				columns := letters[at+1:]
				if columns == "" && i+1 < len(args) {
					i++
					columns = args[i]
				}
				out = append(out, "-"+string(c)+columns) // in one word, so that ps takes them for nothing else
				break
			}
			switch {
			case strings.ContainsRune(known, c):
				kept += string(c)
			case !strings.ContainsRune(more, c):
				return nil, refusedPs(word)
			}
		}
		if kept != "" {
			out = append(out, dash+kept)
		}
	}
	return out, nil
}

func refusedPs(word string) error {
	return errs.New(errs.Invalid, "the ps option %q is not supported: only those that choose columns and their order are, such as -ef, aux or -o pid,comm", word)
}

func joinPids(pids []int) string {
	texts := make([]string, len(pids))
	for i, pid := range pids {
		texts[i] = strconv.Itoa(pid)
	}
	return strings.Join(texts, ",")
}

// parsePS keeps the lines of the given processes, and those of their threads
// (PID "-") that follow. What is over the number of titles belongs to the last.
func parsePS(out string, pids []int) ([]string, [][]string, error) {
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	titles := asciiFields(lines[0])
	column := slices.Index(titles, "PID")
	if column < 0 {
		return nil, nil, errs.New(errs.Invalid, "Couldn't find PID field in ps output")
	}
	var rows [][]string
	ours := false
	for _, line := range lines[1:] {
		fields := asciiFields(line)
		if len(fields) <= column {
			continue
		}
		if fields[column] != "-" {
			pid, err := strconv.Atoi(fields[column])
			if err != nil {
				return nil, nil, fmt.Errorf("unexpected pid '%s': %w", fields[column], err)
			}
			ours = slices.Contains(pids, pid)
		}
		if ours {
			last := min(len(titles), len(fields)) - 1
			rows = append(rows, append(slices.Clone(fields[:last]), strings.Join(fields[last:], " ")))
		}
	}
	return titles, rows, nil
}

// asciiFields splits at ASCII white space only: a command may hold other kinds.
func asciiFields(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune("\t\n\f\r ", c) })
}
