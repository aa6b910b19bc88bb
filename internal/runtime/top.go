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
	args := strings.Fields(psArgs)
	out, err := exec.CommandContext(ctx, "ps", append(slices.Clone(args), "-q"+joinPids(pids))...).Output()
	if err != nil {
		// Some options, such as f, don't go with -q.
		out, err = exec.CommandContext(ctx, "ps", args...).Output()
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
