//go:build linux

package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/kernel/netns"
)

// tcDone is which lines of tc(8) were run in which namespace.
type tcDone struct {
	NetNS uint64 // inode
	Lines [][]string
}

func (h *Host) tcFile(container string) string { return filepath.Join(h.run, "tc", container) }

// tcRun gives the lines that were run in the visited namespace.
func (v *visit) tcRun() [][]string {
	b, err := os.ReadFile(v.host.tcFile(v.container))
	if err != nil {
		return nil
	}
	var done tcDone
	if json.Unmarshal(b, &done) != nil || done.NetNS != v.inode() {
		return nil
	}
	return done.Lines
}

func (v *visit) inode() uint64 {
	var st unix.Stat_t
	_ = unix.Fstat(v.fd, &st)
	return st.Ino
}

// ensureTC runs what is new of the wanted lines. When an interface was made
// anew, or lines that were run are not wanted any more, the interfaces they
// name are cleared and all run again.
func (v *visit) ensureTC(s *desired.Sandbox) error {
	done := v.tcRun()
	if len(s.TC) == 0 && len(done) == 0 {
		return nil
	}
	rest := s.TC
	if !v.fresh && len(done) <= len(s.TC) && slices.EqualFunc(done, s.TC[:len(done)], slices.Equal[[]string]) {
		rest = s.TC[len(done):]
	} else {
		v.clearTC(append(slices.Clone(done), s.TC...))
		done = nil
	}
	done = slices.Clone(done)
	for _, line := range rest {
		if out, err := runTC(line); err != nil {
			return errors.Join(err, v.noteTC(done))
		} else if out != "" {
			v.host.log.Debug("tc", "container", v.container, "line", line, "out", out)
		}
		done = append(done, line)
	}
	if len(rest) == 0 && len(done) > 0 {
		return nil
	}
	return v.noteTC(done)
}

func (v *visit) noteTC(done [][]string) error {
	path := v.host.tcFile(v.container)
	if len(done) == 0 {
		return ifThere(os.Remove(path))
	}
	b, err := json.Marshal(tcDone{v.inode(), done})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// clearTC takes what is at the root and at the ingress of the interfaces that
// the lines name.
func (v *visit) clearTC(lines [][]string) {
	devs := map[string]bool{}
	for _, line := range lines {
		if i := slices.Index(line, "dev"); i >= 0 && i+1 < len(line) {
			devs[line[i+1]] = true
		}
	}
	for dev := range devs {
		_, _ = runTC([]string{"qdisc", "del", "dev", dev, "root"}) // there may be none
		_, _ = runTC([]string{"qdisc", "del", "dev", dev, "ingress"})
	}
}

func (v *visit) tcIntact(s *desired.Sandbox) bool {
	return slices.EqualFunc(v.tcRun(), s.TC, slices.Equal[[]string])
}

// tcWithin is how long a line of tc(8) may take: `tc monitor` would never end.
const tcWithin = 10 * time.Second

// runTC runs tc(8) of the host in the network namespace of the calling thread,
// which the child is cloned from.
func runTC(words []string) (string, error) { return runTCWithin(tcWithin, words) }

func runTCWithin(within time.Duration, words []string) (string, error) {
	path, err := exec.LookPath("tc")
	if err != nil {
		return "", errs.New(errs.Unavailable, "the host has no program tc: install iproute2")
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, words...)
	cmd.WaitDelay = within // for what it started itself
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if ctx.Err() != nil {
		return "", errs.New(errs.Invalid, "tc %s: it has not ended within %s", strings.Join(words, " "), within)
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return "", errs.New(errs.Invalid, "tc %s: %s", strings.Join(words, " "), text)
	}
	if err != nil {
		return "", fmt.Errorf("run tc: %w", err)
	}
	return text, nil
}

// TC runs tc(8) in a container's namespace, for what only shows something.
func TC(nsPath string, words []string) (out string, err error) {
	err = netns.Do(nsPath, func() (err error) { out, err = runTC(words); return })
	return out, err
}
