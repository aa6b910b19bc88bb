//go:build linux

package runtime

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/engine"
	"github.com/jackstay/jackstay/internal/model"
)

// host is a runtime of its own for one test: directories, cgroup parent and
// root file system. At its end nothing of it may be left on the machine.
type host struct {
	t      testing.TB
	r      *Runtime
	opts   Options
	rootfs string
	ctx    context.Context
}

func newHost(t *testing.T) *host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: runs containers")
	}
	for _, program := range []string{"runc", "conmon", "/bin/busybox"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s: %v", program, err)
		}
	}
	// Not t.TempDir: its long names would hide that /run/jackstay's are short,
	// and one test makes them long on purpose.
	dir, err := os.MkdirTemp("", "jkrt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return newHostAt(t, dir)
}

func newHostAt(t testing.TB, dir string) *host {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	h := &host{t: t, ctx: ctx, rootfs: filepath.Join(dir, "rootfs")}
	h.opts = Options{
		RootDir: filepath.Join(dir, "root"), RunDir: filepath.Join(dir, "run"),
		CgroupParent: "/jackstay-test-" + newID()[:12],
		Log:          slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	h.makeRootfs()
	h.r = h.open()
	t.Cleanup(h.checkNothingLeft)
	return h
}

// testWriter sends a log to the test's output.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) { w.t.Logf("%s", p); return len(p), nil }

func (h *host) open() *Runtime {
	h.t.Helper()
	r, err := New(h.opts)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(r.Close)
	return r
}

func (h *host) makeRootfs() {
	h.t.Helper()
	for _, dir := range []string{"bin", "etc", "proc", "sys", "dev", "tmp", "root", "sbin"} {
		if err := os.MkdirAll(filepath.Join(h.rootfs, dir), 0o755); err != nil {
			h.t.Fatal(err)
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		h.t.Fatal(err)
	}
	h.write("bin/busybox", string(busybox), 0o755)
	for _, applet := range strings.Fields("sh ash cat echo env id sleep printf true false ls head tail grep dd kill ps stty seq mkdir touch hostname pwd wc tr test yes usleep read mount df stat od cut sort tee trap") {
		if err := os.Symlink("busybox", filepath.Join(h.rootfs, "bin", applet)); err != nil {
			h.t.Fatal(err)
		}
	}
	h.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:web:/home/web:/bin/sh\n", 0o644)
	h.write("etc/group", "root:x:0:\nweb:x:1001:\nlogs:x:2000:web\naudio:x:29:\n", 0o644)
}

func (h *host) write(name, content string, mode os.FileMode) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.rootfs, name), []byte(content), mode); err != nil {
		h.t.Fatal(err)
	}
}

// checkNothingLeft runs before the directories are removed.
func (h *host) checkNothingLeft() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ids, err := h.r.List(ctx)
	if err != nil {
		h.t.Error(err)
	}
	for _, id := range ids {
		if err := h.r.Delete(ctx, id); err != nil {
			h.t.Errorf("delete: %v", err)
		}
	}
	for controller, dir := range h.r.cgroups.find(h.opts.CgroupParent) {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.IsDir() {
				h.t.Errorf("cgroup left: %s/%s", dir, e.Name())
			}
		}
		if err := removeCgroup(dir); err != nil {
			h.t.Errorf("%s: %v", controller, err)
		}
	}
	for _, dir := range []string{h.r.bundles(), h.r.stateDir(), h.r.execDir(), h.r.exitDir()} {
		// An exec's directory goes once its runtime has ended, after its client.
		var entries []os.DirEntry
		for range 100 {
			if entries, _ = os.ReadDir(dir); len(entries) == 0 {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		for _, e := range entries {
			h.t.Errorf("left: %s/%s", dir, e.Name())
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	if strings.Contains(string(mounts), h.opts.RunDir) {
		h.t.Errorf("mount left below %s", h.opts.RunDir)
	}
	for _, pid := range conmons(h.opts.RunDir) {
		h.t.Errorf("conmon left: %s", pid)
	}
}

// conmons lists the processes that have dir in their arguments.
func conmons(dir string) []string {
	var out []string
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		if args, err := os.ReadFile(name); err == nil && bytes.Contains(args, []byte(dir)) {
			out = append(out, filepath.Base(filepath.Dir(name)))
		}
	}
	return out
}

func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// testEnv is an environment as little as a shell script needs.
func testEnv() []string { return []string{"PATH=/bin"} }

// sh is a container that runs a shell script on the host's network.
func (h *host) sh(script string, change ...func(*model.Container)) engine.RunSpec {
	return h.command([]string{"sh", "-c", script}, change...)
}

func (h *host) command(args []string, change ...func(*model.Container)) engine.RunSpec {
	c := &model.Container{ID: newID(), Path: args[0], Args: args[1:]}
	for _, f := range change {
		f(c)
	}
	return engine.RunSpec{Container: c, Rootfs: h.rootfs, Hostname: "box", Env: testEnv()}
}

func (h *host) create(spec engine.RunSpec) string {
	h.t.Helper()
	pid, err := h.r.Create(h.ctx, spec)
	if err != nil {
		h.t.Fatalf("create: %v", err)
	}
	if pid <= 0 {
		h.t.Fatalf("create: pid %d", pid)
	}
	return spec.Container.ID
}

func (h *host) start(spec engine.RunSpec) string {
	h.t.Helper()
	id := h.create(spec)
	if err := h.r.Start(h.ctx, id); err != nil {
		h.t.Fatalf("start: %v", err)
	}
	return id
}

// run runs a container to its end.
func (h *host) run(spec engine.RunSpec) (stdout, stderr string, exit engine.Exit) {
	h.t.Helper()
	id := h.start(spec)
	exit = h.wait(id)
	stdout, stderr = h.logs(id)
	if err := h.r.Delete(h.ctx, id); err != nil {
		h.t.Errorf("delete: %v", err)
	}
	return stdout, stderr, exit
}

// out runs a container and wants it to succeed.
func (h *host) out(spec engine.RunSpec) string {
	h.t.Helper()
	stdout, stderr, exit := h.run(spec)
	if exit.ExitCode != 0 {
		h.t.Errorf("exit code %d, output %q, errors %q", exit.ExitCode, stdout, stderr)
	}
	return stdout
}

func (h *host) wait(id string) engine.Exit {
	h.t.Helper()
	return waitExit(h.t, h.r, id)
}

func waitExit(t testing.TB, r *Runtime, id string) engine.Exit {
	t.Helper()
	select {
	case exit := <-r.Exits():
		if exit.ID != id {
			t.Fatalf("exit of %s, want %s", exit.ID, id)
		}
		return exit
	case <-time.After(20 * time.Second):
		t.Fatalf("no exit of %s", id)
	}
	return engine.Exit{}
}

func (h *host) logs(id string) (stdout, stderr string) {
	h.t.Helper()
	var out, errOut strings.Builder
	err := h.r.Logs(h.ctx, id, model.LogQuery{Stdout: true, Stderr: true, Tail: -1}, func(l model.LogLine) error {
		if l.Stderr {
			errOut.Write(l.Data)
		} else {
			out.Write(l.Data)
		}
		return nil
	})
	if err != nil {
		h.t.Errorf("logs: %v", err)
	}
	return out.String(), errOut.String()
}

// eventually waits until check is true.
func (h *host) eventually(what string, check func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if check() {
			return
		}
	}
	h.t.Fatalf("not in time: %s", what)
}

// output is a writer that can be read while it is written.
type output struct {
	mu sync.Mutex
	b  strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
