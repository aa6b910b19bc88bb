package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// background runs a shell line on a host until the returned function is called.
func background(h *host.Host, line string) (stop func()) {
	h.T.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := h.Command(ctx, "sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		h.T.Fatal(err)
	}
	done := false
	end := func() {
		if !done {
			done = true
			cancel()
			_ = cmd.Wait()
		}
	}
	h.T.Cleanup(end)
	return end
}

// serve runs a container that answers on port 8000, tcp and udp, with its name
// and the address it sees; args go before the image.
func serve(h *host.Host, name string, args ...string) {
	h.T.Helper()
	run := append([]string{"run", "-d", "--name", name}, args...)
	h.J(append(run, "busybox", "probe", "serve", name, "tcp:8000", "udp:8000")...)
	// It is started, which is not yet listening.
	ip := strings.Fields(h.J("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", name))[0]
	h.Eventually(5*time.Second, func() error {
		if got := askHost(h, ip+":8000"); !strings.HasPrefix(got, name+" ") {
			return errorf("%s at %s answered %q", name, ip, got)
		}
		return nil
	})
}

// ask asks a server of serve's from inside a container, by tcp unless addr
// begins with udp:, and gives its whole answer; "" when none comes.
func ask(h *host.Host, from, addr string) string {
	h.T.Helper()
	return strings.TrimSpace(h.TryJ("exec", from, "probe", "get", target(addr)).Stdout)
}

// get is ask without the address the server sees.
func get(h *host.Host, from, addr string) string {
	h.T.Helper()
	name, _, _ := strings.Cut(ask(h, from, addr), " ")
	return name
}

// askHost asks from the host itself.
func askHost(h *host.Host, addr string) string {
	h.T.Helper()
	return strings.TrimSpace(h.TrySh("probe get " + target(addr)).Stdout)
}

func target(addr string) string {
	if strings.HasPrefix(addr, "udp:") {
		return addr
	}
	return "tcp:" + addr
}

// errorf is fmt.Errorf, short.
func errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }

// standsStill waits until what grew has stopped growing: a third of a second
// brings nothing. Tracked flows end beside the call that cuts them.
func standsStill(h *host.Host, what string, size func() string) {
	h.T.Helper()
	h.Eventually(5*time.Second, func() error {
		before := size()
		time.Sleep(300 * time.Millisecond)
		if after := size(); after != before {
			return errorf("%s goes on: %s, then %s", what, before, after)
		}
		return nil
	})
}
