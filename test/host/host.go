// Package host makes test hosts: a network and a mount namespace with a
// jackstayd of its own in it, with its own root and run directories. Tests run
// beside each other and never touch the machine; several hosts joined by veth
// are several machines.
package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Timeout bounds one command on a test host.
const Timeout = 60 * time.Second

// Host is one test host.
type Host struct {
	T      testing.TB
	Dir    string // all of its files
	holder *exec.Cmd
	daemon *exec.Cmd
	exited chan struct{} // closed when the daemon's process is reaped
	log    *os.File
	args   []string
	socket string // a tenant's; empty: the administrator's
	Bin    string // where jackstay and jackstayd are
}

// Root and Run are the daemon's directories, Socket its API.
func (h *Host) Root() string { return filepath.Join(h.Dir, "root") }
func (h *Host) Run() string  { return filepath.Join(h.Dir, "run") }
func (h *Host) Socket() string {
	if h.socket != "" {
		return h.socket
	}
	return filepath.Join(h.Run(), "jackstay.sock")
}

// As is the host as one of its tenants has it: commands use its socket.
func (h *Host) As(tenant string) *Host {
	t := *h
	t.socket = filepath.Join(h.Run(), "tenants", tenant, "jackstay.sock")
	return &t
}

// New makes a host with a running daemon and the image busybox; args are
// further arguments of jackstayd. The host is gone when the test ends, and the
// test fails if anything of it is left.
func New(t testing.TB, args ...string) *Host {
	t.Helper()
	h := Bare(t)
	h.args = args
	h.StartDaemon()
	h.Import("busybox", BusyboxTar(t), `CMD ["sh"]`, "ENV PATH=/bin")
	return h
}

// Bare makes a host without a daemon: another machine on the network.
func Bare(t testing.TB) *Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a network namespace and containers")
	}
	dir, err := os.MkdirTemp("/tmp", "jst")
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{T: t, Dir: dir, Bin: binDir(t)}
	h.holder = exec.Command("unshare", "--net", "--mount", "--propagation", "private", "sleep", "3600")
	h.holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.holder.Start(); err != nil {
		t.Fatalf("test host: %v", err)
	}
	t.Cleanup(h.close)
	h.waitForNamespaces()
	h.Sh("ip link set lo up")
	return h
}

// waitForNamespaces returns once unshare has become sleep in its own namespaces.
func (h *Host) waitForNamespaces() {
	own, _ := os.Readlink("/proc/self/ns/mnt")
	for range 200 {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", h.holder.Process.Pid))
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", h.holder.Process.Pid))
		if err == nil && ns != own && strings.TrimSpace(string(comm)) == "sleep" {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	h.T.Fatal("test host: its namespaces did not come")
}

// binDir finds bin/ above the working directory; `make build` fills it.
func binDir(t testing.TB) string {
	dir, _ := os.Getwd()
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			bin := filepath.Join(dir, "bin")
			if _, err := os.Stat(filepath.Join(bin, "jackstayd")); err != nil {
				t.Fatal("bin/jackstayd is not there: run `make build` first (or `make test`)")
			}
			return bin
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}

// Command prepares a command in the host's namespaces, with JACKSTAY_HOST and
// DOCKER_HOST set.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	pid := strconv.Itoa(h.holder.Process.Pid)
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/proc/" + pid + "/ns/net", "--mount=/proc/" + pid + "/ns/mnt", "--", name}, args...)...)
	cmd.Env = append(os.Environ(), "JACKSTAY_HOST=unix://"+h.Socket(), "DOCKER_HOST=unix://"+h.Socket(),
		"DOCKER_CONFIG="+filepath.Join(h.Dir, "docker"), "PATH="+h.Bin+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Result is what a command printed and how it ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Try runs a command with standard input and gives its result, whatever it is.
func (h *Host) Try(stdin io.Reader, name string, args ...string) Result {
	h.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	cmd := h.Command(ctx, name, args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errOut
	err := cmd.Run()
	r := Result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
	if ctx.Err() != nil {
		h.T.Fatalf("%s %s: no end within %v\n%s%s", name, strings.Join(args, " "), Timeout, r.Stdout, r.Stderr)
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		h.T.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return r
}

// must runs a command that is to succeed and gives its trimmed output.
func (h *Host) must(name string, args ...string) string {
	h.T.Helper()
	r := h.Try(nil, name, args...)
	if r.Code != 0 {
		h.T.Fatalf("%s %s: exit code %d\n%s%s", name, strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// J runs jackstay and gives its output; the test fails if it does.
func (h *Host) J(args ...string) string { h.T.Helper(); return h.must("jackstay", args...) }

// D runs the machine's docker command against the host's daemon.
func (h *Host) D(args ...string) string { h.T.Helper(); return h.must("docker", args...) }

// Sh runs a shell line on the host.
func (h *Host) Sh(line string) string { h.T.Helper(); return h.must("sh", "-c", line) }

// TryJ runs jackstay and gives its result.
func (h *Host) TryJ(args ...string) Result { h.T.Helper(); return h.Try(nil, "jackstay", args...) }

// TrySh runs a shell line and gives its result.
func (h *Host) TrySh(line string) Result { h.T.Helper(); return h.Try(nil, "sh", "-c", line) }

// Fails runs jackstay, wants this exit code and every text in its error output.
func (h *Host) Fails(code int, texts []string, args ...string) {
	h.T.Helper()
	r := h.TryJ(args...)
	if r.Code != code {
		h.T.Errorf("jackstay %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), r.Code, code, r.Stdout, r.Stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.Stderr, text) {
			h.T.Errorf("jackstay %s: error lacks %q:\n%s", strings.Join(args, " "), text, r.Stderr)
		}
	}
}

// slack is what a busy machine may be late by: a time never decides a test.
const slack = 15 * time.Second

// Eventually repeats a check until it gives nil, or fails the test when within,
// and some slack, have passed.
func (h *Host) Eventually(within time.Duration, check func() error) {
	h.T.Helper()
	deadline := time.Now().Add(within + slack)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			h.T.Fatalf("not within %v: %v", within, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Import makes an image from a tar archive, with Dockerfile lines.
func (h *Host) Import(name, tar string, changes ...string) {
	h.T.Helper()
	args := []string{"import"}
	for _, c := range changes {
		args = append(args, "--change", c)
	}
	h.J(append(args, tar, name)...)
}

// IP gives a container's address on a network.
func (h *Host) IP(container, network string) string {
	h.T.Helper()
	return h.J("inspect", "-f", fmt.Sprintf(`{{(index .NetworkSettings.Networks %q).IPAddress}}`, network), container)
}

// Join connects two hosts by a veth pair with these addresses (with lengths).
func Join(a, b *Host, addrA, addrB string) {
	a.T.Helper()
	nameA, nameB := fmt.Sprintf("to%d", b.holder.Process.Pid), fmt.Sprintf("to%d", a.holder.Process.Pid)
	cmd := exec.Command("ip", "link", "add", nameA, "netns", strconv.Itoa(a.holder.Process.Pid), "type", "veth",
		"peer", "name", nameB, "netns", strconv.Itoa(b.holder.Process.Pid))
	if out, err := cmd.CombinedOutput(); err != nil {
		a.T.Fatalf("join hosts: %v: %s", err, out)
	}
	for _, end := range []struct {
		h          *Host
		name, addr string
	}{{a, nameA, addrA}, {b, nameB, addrB}} {
		end.h.Sh(fmt.Sprintf("ip addr add %s dev %s && ip link set %s up", end.addr, end.name, end.name))
	}
}
