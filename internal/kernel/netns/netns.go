//go:build linux

// Package netns makes network namespaces and enters them. Nothing else in
// Jackstay calls unshare(2) or setns(2).
//
// A network namespace belongs to a thread, while Go moves goroutines between
// threads as it likes. So every visit follows the same rules:
//
//   - it runs on a goroutine of its own, locked to its thread, so the caller's
//     goroutine never finds itself in a foreign namespace;
//   - the thread goes back to where it came from before it is unlocked;
//   - a thread that could not go back is never unlocked: Go ends a locked
//     thread with its goroutine, and nobody inherits the wrong namespace;
//   - /proc/thread-self names the namespace, not /proc/self, which is the main
//     thread's;
//   - new threads are not cloned from a locked one (Go's runtime keeps a
//     template thread for that), so a visit does not spread.
//
// A socket belongs for life to the namespace it was opened in, whoever uses it:
// open it during a visit, use it anywhere.
package netns

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

const threadSelf = "/proc/thread-self/ns/net"

// Do runs fn in the network namespace at path and returns fn's error.
func Do(path string, fn func() error) error {
	fd, err := Open(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return DoFD(fd, fn)
}

// DoFD runs fn in the network namespace open as fd and returns fn's error. fd
// stays open.
func DoFD(fd int, fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return nil
	}, fn)
}

// Try runs fn in a new network namespace that ends with it, and returns fn's
// error.
func Try(fn func() error) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		return nil
	}, fn)
}

// Open gives a descriptor of the network namespace at path, for DoFD and for
// netlink's IFLA_NET_NS_FD. A path where none is mounted is an error.
func Open(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("network namespace %s: %w", path, err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		unix.Close(fd)
		return -1, fmt.Errorf("network namespace %s: not mounted there: %w", path, errors.Join(unix.ENOENT, err))
	}
	return fd, nil
}

// Own gives a descriptor of the calling thread's namespace.
func Own() (int, error) {
	fd, err := unix.Open(threadSelf, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("own network namespace: %w", err)
	}
	return fd, nil
}

// onThread changes a thread's namespace with enter, runs fn, and takes the
// thread back.
func onThread(enter, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("network namespace: the visit ended without returning")
		defer func() { done <- err }()

		runtime.LockOSThread()
		home, openErr := unix.Open(threadSelf, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if openErr != nil {
			runtime.UnlockOSThread()
			err = fmt.Errorf("own network namespace: %w", openErr)
			return
		}
		defer unix.Close(home)
		if enterErr := enter(); enterErr != nil {
			runtime.UnlockOSThread() // it never left
			err = enterErr
			return
		}
		fnErr := fn()
		if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
			err = errors.Join(fnErr, fmt.Errorf("return from network namespace: %w", back))
			return // still locked: the thread ends here
		}
		runtime.UnlockOSThread()
		err = fnErr
	}()
	return <-done
}
