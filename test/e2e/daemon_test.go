package e2e

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// The daemon's own options, as an operator meets them.
func TestDaemonOptions(t *testing.T) {
	t.Parallel()
	h := host.New(t, "--bip", "10.50.0.1/24", "--default-address-pool", "base=10.60.0.0/16,size=28")
	serve(h, "web")
	if got := h.IP("web", "bridge"); got != "10.50.0.2" {
		t.Errorf("--bip: address %s", got)
	}
	h.J("network", "create", "dev")
	if got := h.J("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "dev"); got != "10.60.0.0/28" {
		t.Errorf("--default-address-pool: %s", got)
	}
	if got := h.Sh("jackstayd --version"); !strings.HasPrefix(got, "jackstayd version ") {
		t.Errorf("--version: %s", got)
	}
	if r := h.TrySh("jackstayd --root /nowhere --run-dir " + h.Run()); r.Code == 0 || !strings.Contains(r.Stderr, "another jackstayd") {
		t.Errorf("a second daemon on the same run directory: %+v", r)
	}
	if r := h.TrySh("jackstayd --bip nonsense --run-dir " + h.Dir + "/other --root " + h.Dir + "/other"); r.Code == 0 || !strings.Contains(r.Stderr, "--bip") {
		t.Errorf("a bad --bip: %+v", r)
	}
	if log := h.Log(); strings.Count(log, "the API listens on") != 1 {
		t.Errorf("the line that says the API listens is not there once:\n%s", log)
	}
}

// If the default network's subnet is somebody else's, it takes another.
func TestTakenDefaultSubnet(t *testing.T) {
	t.Parallel()
	h, outside := host.Bare(t), host.Bare(t)
	host.Join(h, outside, "172.17.5.1/24", "172.17.5.2/24")
	h.StartDaemon()
	h.Import("busybox", host.BusyboxTar(t), "ENV PATH=/bin")
	serve(h, "web", "-p", "8080:8000")
	if got := h.IP("web", "bridge"); strings.HasPrefix(got, "172.17.") {
		t.Errorf("the default network took a subnet that overlaps the host's 172.17.5.0/24: %s", got)
	}
	if got := askHost(outside, "172.17.5.1:8080"); got != "web 172.17.5.2" {
		t.Errorf("published on the host's 172.17 address: %q", got)
	}
}

// systemd hands over its socket and is told when the API answers.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	h := host.Bare(t)
	socket, notify := filepath.Join(h.Dir, "activated.sock"), filepath.Join(h.Dir, "notify.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := h.Command(ctx, "sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec jackstayd -H fd:// --root "+h.Root()+" --run-dir "+h.Run())
	cmd.ExtraFiles = []*os.File{f}
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+notify)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	buf := make([]byte, 100)
	_ = told.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := told.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
		t.Fatalf("systemd was told %q, %v", buf[:n], err)
	}
	if r := h.TryJ("-H", "unix://"+socket, "network", "ls", "--format", "{{.Name}}"); r.Stdout != "bridge\nhost\nnone\n" {
		t.Errorf("over the activated socket: %+v", r)
	}
}
