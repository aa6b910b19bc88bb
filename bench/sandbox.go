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

	"golang.org/x/sys/unix"
)

// sandbox is a network, mount and process namespace for one engine: nothing it
// does is seen by the machine, its processes can be told apart, and the kernel
// ends them all with the first one.
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
	s.holder = exec.Command("/proc/self/exe", "init")
	s.holder.Stderr = os.Stderr
	s.holder.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	ready, err := s.holder.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	if err := s.holder.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("namespaces: %w", err), os.Remove(dir))
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		return nil, errors.Join(errors.New("the namespaces did not come"), s.close())
	}
	// The host's own address, for what is published on it.
	if _, err := s.run("sh", "-c", "ip link set lo up && ip addr add "+hostAddress+"/32 dev lo"); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// initSandbox is the first process of a sandbox. It mounts the process
// namespace's /proc, says so, and reaps what is left to it, as every init does:
// dockerd waits for a containerd that only looks alive as a zombie.
func initSandbox() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	fmt.Println("ready")
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); errors.Is(err, unix.ECHILD) {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// hostAddress is an address of the host inside every sandbox.
const hostAddress = "10.200.0.1"

// command prepares a command in the sandbox.
func (s *sandbox) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	pid := strconv.Itoa(s.holder.Process.Pid)
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/proc/" + pid + "/ns/net", "--mount=/proc/" + pid + "/ns/mnt", "--pid=/proc/" + pid + "/ns/pid", "--", name}, args...)...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the bench, which cleans up
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

// kill sends a signal to a command left running. nsenter waits for it as its
// parent: only a child of its own is in the process namespace.
func kill(cmd *exec.Cmd, sig syscall.Signal) error {
	pid := strconv.Itoa(cmd.Process.Pid)
	children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		return err
	}
	for _, child := range strings.Fields(string(children)) {
		n, err := strconv.Atoi(child)
		if err != nil {
			return err
		}
		return syscall.Kill(n, sig)
	}
	return os.ErrProcessDone
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

// usedMemory is what the whole machine uses that it could not give back, in
// bytes: the containers' own processes and the kernel's share (namespaces,
// cgroups, mounts) with it, and all that others did meanwhile (proc(5), meminfo).
func usedMemory() int64 {
	b, _ := os.ReadFile("/proc/meminfo")
	var total, available int64
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, "MemTotal: %d kB", &total)
		_, _ = fmt.Sscanf(line, "MemAvailable: %d kB", &available)
	}
	return (total - available) << 10
}

// close ends everything in the sandbox and removes its files.
func (s *sandbox) close() error {
	_ = s.holder.Process.Kill()
	_ = s.holder.Wait() // returns once every process of the namespace is gone
	var err error
	for range 50 {
		if err = os.RemoveAll(s.dir); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}
