package host

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// StartDaemon starts jackstayd on the host and waits until its API answers.
func (h *Host) StartDaemon(args ...string) {
	h.T.Helper()
	if len(args) > 0 {
		h.args = args
	}
	if err := h.TryStartDaemon(); err != nil {
		h.T.Fatal(err)
	}
}

// TryStartDaemon starts jackstayd and says why it did not come up.
func (h *Host) TryStartDaemon() error {
	if err := os.MkdirAll(h.Run(), 0o711); err != nil {
		return err
	}
	var err error
	h.log, err = os.OpenFile(h.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	args := append([]string{"--root", h.Root(), "--run-dir", h.Run(), "--log-level", "debug"}, h.args...)
	h.daemon = h.Command(context.Background(), "jackstayd", args...)
	h.daemon.Cancel = nil
	h.daemon.Stdout, h.daemon.Stderr = h.log, h.log
	if err := h.daemon.Start(); err != nil {
		return err
	}
	h.exited = make(chan struct{})
	go func(cmd *exec.Cmd, log *os.File, exited chan struct{}) {
		_ = cmd.Wait()
		log.Close()
		close(exited)
	}(h.daemon, h.log, h.exited)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if c, err := net.Dial("unix", h.Socket()); err == nil {
			c.Close()
			return nil
		}
		select {
		case <-h.exited:
			return fmt.Errorf("jackstayd ended:\n%s", h.Log())
		default:
		}
	}
	return fmt.Errorf("jackstayd did not listen within 20 s:\n%s", h.Log())
}

// LogPath is the daemon's log; Log gives its last 16 KB.
func (h *Host) LogPath() string { return filepath.Join(h.Dir, "log") }

// Log gives the last part of the daemon's log.
func (h *Host) Log() string {
	b, _ := os.ReadFile(h.LogPath())
	return string(b[max(0, len(b)-16<<10):])
}

// KillDaemon ends jackstayd at once, as kill -9 does.
func (h *Host) KillDaemon() { h.T.Helper(); h.signalDaemon(syscall.SIGKILL) }

// StopDaemon ends jackstayd as an operator would.
func (h *Host) StopDaemon() { h.T.Helper(); h.signalDaemon(syscall.SIGTERM) }

// Pid is the daemon's process: nsenter becomes it, so it is our child's.
func (h *Host) Pid() int { return h.daemon.Process.Pid }

func (h *Host) signalDaemon(s syscall.Signal) {
	h.T.Helper()
	if h.daemon == nil {
		return
	}
	_ = h.daemon.Process.Signal(s)
	select {
	case <-h.exited:
	case <-time.After(20 * time.Second):
		h.T.Errorf("jackstayd did not end after %v:\n%s", s, h.goroutines())
		_ = h.daemon.Process.Kill()
		<-h.exited
	}
	h.daemon = nil
}

// goroutines ends a daemon that hangs, and gives what it was doing.
func (h *Host) goroutines() string {
	_ = h.daemon.Process.Signal(syscall.SIGQUIT)
	select {
	case <-h.exited:
	case <-time.After(2 * time.Second):
	}
	log, _ := os.ReadFile(h.LogPath())
	if i := bytes.LastIndex(log, []byte("SIGQUIT")); i >= 0 {
		log = log[i:]
	}
	return string(log)
}

// close removes the containers, ends the daemon and the host, and fails the
// test if a process, a namespace, an interface or a mount is left.
func (h *Host) close() {
	t := h.T
	t.Helper()
	if t.Failed() {
		t.Logf("jackstayd's log on %s:\n%s", h.Dir, h.Log())
	}
	if h.daemon != nil {
		h.removeAll()
		h.StopDaemon()
	}
	h.killLeft()
	_ = h.holder.Process.Kill()
	_ = h.holder.Wait()
	if err := os.RemoveAll(h.Dir); err != nil {
		t.Errorf("test host's files: %v", err)
	}
}

// removeAll removes every container and checks that nothing of them is left.
func (h *Host) removeAll() {
	t := h.T
	ids := strings.Fields(h.TryJ("ps", "-aq", "--no-trunc").Stdout)
	if len(ids) > 0 {
		if r := h.TryJ(append([]string{"rm", "-fv"}, ids...)...); r.Code != 0 {
			t.Errorf("removing the containers: %s", r.Stderr)
		}
	}
	left := func() string {
		return h.TrySh(`ip -o link | grep -o '[[:space:]]jv[0-9a-f]*'; ls ` + h.Run() + `/netns 2>/dev/null; grep -o '` + h.Root() + `/[^ ]*merged' /proc/self/mountinfo`).Stdout
	}
	for deadline := time.Now().Add(5 * time.Second); left() != "" && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	if l := left(); l != "" {
		t.Errorf("left on the test host after every container was removed:\n%s", l)
	}
}

// killLeft ends what still runs in the host's mount namespace; that something
// does after every container was removed fails the test.
func (h *Host) killLeft() {
	// What was ended a moment ago may still be on its way out.
	for range 100 {
		if len(h.Processes()) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, pid := range h.Processes() {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if !h.T.Failed() {
			h.T.Errorf("left on the test host: process %d %s", pid, strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// EndProcesses kills every process of the host and its containers, as a reboot
// does, and waits until they are gone.
func (h *Host) EndProcesses() {
	h.T.Helper()
	for range 100 {
		pids := h.Processes()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
	h.T.Fatal("processes of the test host can't be killed")
}

// Processes lists the processes in the host's mount namespace and those of its
// containers, its holder and its daemon left out.
func (h *Host) Processes() []int {
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", h.holder.Process.Pid))
	if err != nil {
		return nil
	}
	machine, _ := os.Readlink("/proc/self/ns/mnt")
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil || pid == h.holder.Process.Pid || (h.daemon != nil && pid == h.daemon.Process.Pid) {
			continue
		}
		own, err := os.Readlink("/proc/" + e.Name() + "/ns/mnt")
		if err != nil {
			continue
		}
		// A container has a mount namespace of its own, with our layer as its root.
		mounts, _ := os.ReadFile("/proc/" + e.Name() + "/mountinfo")
		if own == ns || (own != machine && bytes.Contains(mounts, []byte(h.Dir+"/"))) {
			pids = append(pids, pid)
		}
	}
	return pids
}
