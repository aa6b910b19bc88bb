package image

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs f on a thread that ends with it, so f may unshare what
// threads share. It is never the process's first thread: that one can't end,
// and /proc/self shows its namespaces and folder as the process's.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onOwnThread(f) // holds the first thread meanwhile
			runtime.UnlockOSThread()
			return
		}
		done <- f() // the thread ends with the goroutine that locked it
	}()
	return <-done
}
