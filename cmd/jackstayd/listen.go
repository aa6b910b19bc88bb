package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// lock makes sure that one daemon alone works on a run directory. The lock is
// the kernel's: it goes with the process, however that ends.
func lock(runDir string) (*os.File, error) {
	if err := os.MkdirAll(runDir, 0o711); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	path := filepath.Join(runDir, "jackstayd.pid")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if err := flock(f); err != nil {
		holder, _ := os.ReadFile(path)
		f.Close()
		return nil, fmt.Errorf("another jackstayd (pid %s) works on %s; stop it, or start this one in another network namespace with its own --run-dir and --root",
			strings.TrimSpace(string(holder)), runDir)
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return f, err
}

// lockNetwork makes sure that one daemon alone works in a network namespace:
// two would take each other's bridges and firewall for leftovers. The lock is
// on the namespace itself (flock(2) on its nsfs file).
func lockNetwork() (*os.File, error) {
	f, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		f.Close()
		return nil, errors.New("another jackstayd works in this network namespace; stop it, or start this one in a namespace of its own (ip netns add NAME; ip netns exec NAME jackstayd …)")
	}
	return f, nil
}

// listen opens every --host.
func listen(c *config, log *slog.Logger) ([]net.Listener, error) {
	var all []net.Listener
	for _, host := range c.Hosts {
		scheme, rest, _ := strings.Cut(host, "://")
		switch scheme {
		case "unix":
			l, err := listenUnix(rest, c.Group, log)
			if err != nil {
				return nil, err
			}
			all = append(all, l)
		case "fd":
			ls, err := activation.Listeners()
			if err != nil || len(ls) == 0 {
				return nil, errors.Join(errors.New("-H fd://: systemd passed no socket; start jackstay.socket"), err)
			}
			all = append(all, ls...)
		case "tcp":
			l, err := listenTLS(rest, c)
			if err != nil {
				return nil, fmt.Errorf("-H %s: %w", host, err)
			}
			all = append(all, l)
		default:
			return nil, fmt.Errorf("-H %s: want unix://PATH, fd:// or tcp://ADDRESS:PORT", host)
		}
	}
	return all, nil
}

// listenUnix makes the socket for root and the group. A socket left by a daemon
// that was killed is replaced; one that answers is somebody else's.
func listenUnix(path, group string, log *slog.Logger) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("-H unix://%s: somebody listens there already", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("-H unix://%s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("-H unix://%s: %w", path, err)
	}
	old := syscall.Umask(0o777)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("-H unix://%s: %w", path, err)
	}
	gid := 0
	if g, err := user.LookupGroup(group); err == nil {
		gid, _ = strconv.Atoi(g.Gid)
	} else {
		log.Debug("no such group: the socket is for root alone", "group", group)
	}
	if err := errors.Join(os.Chown(path, 0, gid), os.Chmod(path, 0o660)); err != nil {
		l.Close()
		return nil, fmt.Errorf("-H unix://%s: %w", path, err)
	}
	return l, nil
}
