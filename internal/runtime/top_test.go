//go:build linux

package runtime

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
)

// No arguments of ps show other processes than the container's.
func TestTopShowsNoOthers(t *testing.T) {
	h := newHost(t)
	id := h.start(h.sh("sleep 61 & sleep 62 & wait"))
	h.eventually("processes", func() bool {
		_, rows, err := h.r.Top(h.ctx, id, "")
		return err == nil && len(rows) == 3
	})
	own := strconv.Itoa(os.Getpid())
	for _, args := range []string{"-ef", "aux", "axf", "-ejH", "-e --forest", "axo pid,comm", "-eo pid,comm --sort=-pid", "-eopid,args", "-A -o pid,comm", "-F f", "-eo pid,comm f", "l --sort=pid"} {
		_, rows, err := h.r.Top(h.ctx, id, args)
		if err != nil || len(rows) != 3 {
			t.Errorf("%q: %v %v", args, rows, err)
		}
	}
	for _, args := range []string{
		"-p " + own, "-p" + own, "-q" + own + " -o pid,comm", "p " + own, own, "--pid " + own, "--pid=" + own, "-u root", "U root", "-N", "--deselect", "-C go", "t ?", "T", "r", "-t ?", "-G 0", "-g 0",
		"--ppid 1 -o pid", "--quick-pid=" + own, "-efp" + own, "aup" + own,
	} {
		if _, rows, err := h.r.Top(h.ctx, id, args); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "is not supported") {
			t.Errorf("%q: %v %v", args, rows, err)
		}
	}
	// Where columns are no single words, nothing of others comes out either.
	for _, args := range []string{"-eo lstart,pid,args f", "-e --forest -o lstart,pid,comm", "-eo args,pid f", "-o pid,ppid -o -e", "-o pid,args o e f"} {
		if _, rows, err := h.r.Top(h.ctx, id, args); err == nil && len(rows) > 3 {
			t.Errorf("%q: %v", args, rows)
		}
	}
}

func TestFormatOnly(t *testing.T) {
	for args, want := range map[string]string{
		"-ef": "-f", "aux": "u", "-auxww": "uww", "-e": "", "axo pid,comm": "-opid,comm", "-eLo pid": "-opid -L", "-O -e": "-O-e", "a -A x": "", "axf --sort=pid": "f --sort=pid", "-o": "-o",
	} {
		if got, err := formatOnly(strings.Fields(args)); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v; want %q", args, got, err, want)
		}
	}
}
