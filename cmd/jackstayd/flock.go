package main

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// lockWait is how long a daemon that was killed may still hold a lock.
const lockWait = 2 * time.Second

// flock takes the lock on an open file, which goes with the process that has
// it. One that was killed while it started a program leaves a child that has the
// file, too, until it executes that program (O_CLOEXEC): so it is waited for.
func flock(f *os.File) error {
	for deadline := time.Now().Add(lockWait); ; time.Sleep(2 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			return err
		}
	}
}
