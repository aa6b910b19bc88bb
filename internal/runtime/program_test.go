//go:build linux

package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
)

func TestCheckVersion(t *testing.T) {
	for _, c := range []struct {
		kind          programKind
		out           string
		version, want string // want: of the error
	}{
		{runcProgram, "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\nspec: 1.0.2-dev\n", "1.1.5+ds1", ""},
		{runcProgram, "runc version 1.3.2\n", "1.3.2", ""},
		{runcProgram, "runc version 1.0.0-rc10\n", "1.0.0-rc10", ""},
		{runcProgram, "runc version 0.1.1\n", "", "runc 0.1.1 is too old: at least 1.0.0 is needed; upgrade the package runc"},
		{runcProgram, "crun version 0.17\n", "0.17", ""},
		{conmonProgram, "conmon version 2.1.6\ncommit: unknown\n", "2.1.6", ""},
		{conmonProgram, "conmon version 2.0.9\n", "", "conmon 2.0.9 is too old: at least 2.0.25 is needed; upgrade the package conmon"},
		{conmonProgram, "hello\n", "", "does not tell its version; install the package conmon"},
	} {
		p, err := checkVersion(c.kind, "/bin/"+c.kind.name, c.out)
		if p.version != c.version || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %+v, %v", c.out, p, err)
		}
	}
}

func TestMissingProgram(t *testing.T) {
	_, err := New(Options{RootDir: t.TempDir(), RunDir: t.TempDir(), RuncPath: "/nowhere/runc"})
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "runc is not installed (looked for /nowhere/runc): install the package runc") {
		t.Errorf("error: %v", err)
	}
}

func TestFindCgroups(t *testing.T) {
	const (
		v1     = "30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n31 25 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd\n"
		v2     = "32 25 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
		hybrid = "33 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		named  = "31 25 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
	)
	for text, want := range map[string]struct {
		v2     bool
		mounts int
	}{v1: {false, 3}, v2: {true, 1}, v1 + hybrid: {false, 4}, named + v2: {true, 2}} {
		file := filepath.Join(t.TempDir(), "mountinfo")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := findCgroups(file)
		if err != nil || h.v2 != want.v2 || len(h.mounts) != want.mounts {
			t.Errorf("%s: %+v, %v", text, h, err)
		}
	}
	if _, err := findCgroups(os.DevNull); !errs.Is(err, errs.Unavailable) {
		t.Errorf("no cgroups: %v", err)
	}
}

func TestStatsV2(t *testing.T) {
	entries := blkioV2("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n")
	if len(entries) != 2 || entries[0].Op != "read" || entries[0].Value != 10 || entries[1].Op != "write" || entries[1].Major != 8 {
		t.Errorf("%+v", entries)
	}
}
