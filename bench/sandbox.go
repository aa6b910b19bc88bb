package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sandbox is a network and a mount namespace for one engine: nothing it does
// is seen by the machine, and its processes can be told apart.
type sandbox struct {
	dir    string
	holder *exec.Cmd
	env    []string
}

func newSandbox() (*sandbox, error) {
	dir, err := os.MkdirTemp("/tmp", "jsb")
	if err != nil {
		return nil, err
	}
	s := &sandbox{dir: dir}
	s.holder = exec.Command("unshare", "--net", "--mount", "--propagation", "private", "sleep", "3600")
	s.holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.holder.Start(); err != nil {
		return nil, err
	}
	for range 400 {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", s.holder.Process.Pid))
		if strings.TrimSpace(string(comm)) == "sleep" {
			// The host's own address, for what is published on it.
			_, err := s.run("sh", "-c", "ip link set lo up && ip addr add "+hostAddress+"/32 dev lo")
			return s, err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil, errors.New("the namespaces did not come")
}

// hostAddress is an address of the host inside every sandbox.
const hostAddress = "10.200.0.1"

// command prepares a command in the sandbox.
func (s *sandbox) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	pid := strconv.Itoa(s.holder.Process.Pid)
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/proc/" + pid + "/ns/net", "--mount=/proc/" + pid + "/ns/mnt", "--", name}, args...)...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.WaitDelay = time.Second
	return cmd
}

// run runs a command to its end, five minutes at most, and gives its output.
func (s *sandbox) run(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := s.command(ctx, name, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// start leaves a command running, its output in a file of the sandbox.
func (s *sandbox) start(logName, name string, args ...string) (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(s.dir, logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := s.command(context.Background(), name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	return cmd, cmd.Start()
}

// processes lists what runs in the sandbox's mount namespace: the engine's
// daemon and helpers, not what is inside containers.
func (s *sandbox) processes() []int {
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", s.holder.Process.Pid))
	if err != nil {
		return nil
	}
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == s.holder.Process.Pid {
			continue
		}
		if own, err := os.Readlink("/proc/" + e.Name() + "/ns/mnt"); err == nil && own == ns {
			pids = append(pids, pid)
		}
	}
	return pids
}

// memory sums the proportional set sizes of the engine's processes, in bytes:
// what is shared between them counts once (proc(5), smaps_rollup).
func (s *sandbox) memory() int64 {
	var sum int64
	for _, pid := range s.processes() {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				sum += kb << 10
			}
		}
	}
	return sum
}

// close ends everything in the sandbox and removes its files.
func (s *sandbox) close() error {
	for range 3 {
		for _, pid := range s.processes() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(50 * time.Millisecond)
	}
	_ = s.holder.Process.Kill()
	_ = s.holder.Wait()
	var err error
	for range 50 {
		if err = os.RemoveAll(s.dir); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}
