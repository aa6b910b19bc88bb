//go:build linux

package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// startTicks gives when a process started, in clock ticks since boot: field 22
// of /proc/PID/stat (proc(5)). Pid and start together name one process for
// ever. A zombie counts as gone.
func startTicks(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses and may hold anything.
	i := bytes.LastIndexByte(data, ')')
	if i < 0 {
		return 0, fmt.Errorf("process %d: malformed stat", pid)
	}
	fields := strings.Fields(string(data[i+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("process %d: malformed stat", pid)
	}
	if s := fields[0]; s == "Z" || s == "X" {
		return 0, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// sameProcess tells whether pid still is the process that started at ticks.
func sameProcess(pid int, ticks uint64) bool {
	if pid <= 0 {
		return false
	}
	now, err := startTicks(pid)
	return err == nil && now == ticks
}

// openProcess gives a pidfd of a process, sure that it is the one that started
// at ticks: the descriptor is opened first and names one process for ever.
func openProcess(pid int, ticks uint64) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, err
	}
	if !sameProcess(pid, ticks) {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// signalProcess sends a signal to that very process; os.ErrProcessDone if it is gone.
func signalProcess(pid int, ticks uint64, signal unix.Signal) error {
	fd, err := openProcess(pid, ticks)
	if err == nil {
		defer unix.Close(fd)
		err = unix.PidfdSendSignal(fd, signal, nil, 0)
	}
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.3
		if !sameProcess(pid, ticks) {
			return os.ErrProcessDone
		}
		err = unix.Kill(pid, signal)
	}
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) && !sameProcess(pid, ticks) {
		return os.ErrProcessDone
	}
	return err
}

// waitGone waits until the process ended, at most limit.
func waitGone(pid int, ticks uint64, limit time.Duration) bool {
	fd, err := openProcess(pid, ticks)
	if err != nil {
		return !sameProcess(pid, ticks)
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(limit)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left/time.Millisecond)+1)
		if n > 0 {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

// whenGone gives a channel that is closed when the process has ended, waiting
// without a thread of its own. The caller calls stop in the end. Before Linux
// 5.10 it is unix.EINVAL.
func whenGone(pid int, ticks uint64) (gone <-chan struct{}, stop func(), err error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, nil, err
	}
	if !sameProcess(pid, ticks) {
		unix.Close(fd)
		return nil, nil, unix.ESRCH
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	conn, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() {
		err := conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
		if err == nil { // otherwise it is closed
			close(ended)
		}
	}()
	return ended, func() { _ = file.Close() }, nil
}

// isConmonOf tells whether pid is the conmon of a container, by its arguments.
func isConmonOf(pid int, id string) bool {
	args, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && bytes.Contains(args, []byte("\x00-c\x00"+id+"\x00"))
}

// readPid reads a pid file; 0 if there is none.
func readPid(name string) int {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
