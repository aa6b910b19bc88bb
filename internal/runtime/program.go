//go:build linux

package runtime

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// program is a found program with its version.
type program struct {
	path    string
	version string
	commit  string
	// isRunc tells runc itself from another OCI runtime with its command line.
	isRunc bool
}

// programKind is what we need of a program.
type programKind struct {
	name, pkg string
	min       [3]int
}

// conmon 2.0.25 has --full-attach, --no-sync-log and log reopening, and is the
// oldest in a supported Debian or Ubuntu. runc 1.0 is the first with the state
// layout and exec.fifo that start.go relies on.
var (
	runcProgram   = programKind{name: "runc", pkg: "runc", min: [3]int{1, 0, 0}}
	conmonProgram = programKind{name: "conmon", pkg: "conmon", min: [3]int{2, 0, 25}}
)

var (
	versionLine = regexp.MustCompile(`(?m)^(\S+) version:? v?(\d+)\.(\d+)(?:\.(\d+))?(\S*)`)
	commitLine  = regexp.MustCompile(`(?m)^commit: *(\S+)`)
)

// findProgram finds a program and checks its version. Another OCI runtime than
// runc is taken as it is.
func findProgram(kind programKind, path string) (program, error) {
	if path == "" {
		path = kind.name
	}
	found, err := exec.LookPath(path)
	if err != nil {
		return program{}, errs.New(errs.Unavailable, "%s is not installed (looked for %s): install the package %s, e.g. apt install %s",
			kind.name, path, kind.pkg, kind.pkg)
	}
	if found, err = filepath.Abs(found); err != nil {
		return program{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, found, "--version").CombinedOutput()
	if err != nil {
		return program{}, errs.New(errs.Unavailable, "%s --version failed: %w: %s; reinstall the package %s",
			found, err, strings.TrimSpace(string(out)), kind.pkg)
	}
	return checkVersion(kind, found, string(out))
}

// checkVersion reads the output of --version.
func checkVersion(kind programKind, path, out string) (program, error) {
	p := program{path: path}
	if c := commitLine.FindStringSubmatch(out); c != nil {
		p.commit = c[1]
	}
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return program{}, errs.New(errs.Unavailable, "%s does not tell its version; install the package %s", path, kind.pkg)
	}
	p.isRunc = m[1] == "runc"
	p.version = m[2] + "." + m[3]
	if m[4] != "" {
		p.version += "." + m[4]
	}
	var have [3]int
	for i := range have {
		have[i], _ = strconv.Atoi(m[i+2]) // the pattern admits digits or nothing
	}
	if m[1] == kind.name && less(have, kind.min) {
		return program{}, errs.New(errs.Unavailable, "%s %s is too old: at least %d.%d.%d is needed; upgrade the package %s",
			path, p.version, kind.min[0], kind.min[1], kind.min[2], kind.pkg)
	}
	p.version += m[5]
	return p, nil
}

func less(a, b [3]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// Version names the programs that run containers.
func (r *Runtime) Version(context.Context) (model.RuntimeVersion, error) {
	return model.RuntimeVersion{
		Runtime: filepath.Base(r.runc.path), RuntimeVersion: r.runc.version, RuntimeCommit: r.runc.commit,
		ConmonVersion: r.conmon.version,
	}, nil
}
