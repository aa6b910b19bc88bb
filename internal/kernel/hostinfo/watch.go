//go:build linux

package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// quiet is how long a burst of file events is waited out.
	quiet = 50 * time.Millisecond
	// lookAgain finds what inotify can't tell: a directory that appeared, a file
	// on a file system without events.
	lookAgain = 30 * time.Second
	// mask is everything by which a file gets other content: written, created,
	// linked or renamed into place, removed.
	mask = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE |
		unix.IN_MODIFY
	maxLinks = 40 // as the kernel's ELOOP
)

// WatchResolvers signals, coalesced, that what ReadResolvers(path) gives may
// have changed: the file was rewritten, replaced, or its symbolic link leads
// elsewhere. It ends with ctx; the channel stays open then and silent.
func WatchResolvers(ctx context.Context, path string) (<-chan struct{}, error) {
	return watch(ctx, path, resolvedConf)
}

// watch looks at the directories of the files and of all links on the way, for
// replacing a file is an event of its directory, and at the files themselves: one
// that is mounted there, as in a container, is written in another directory.
func watch(ctx context.Context, paths ...string) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", paths[0], err)
	}
	w := &watcher{file: os.NewFile(uintptr(fd), "inotify"), fd: fd, paths: paths, dirs: map[string]int32{}}
	w.follow()
	w.seen = w.fingerprint()
	signal := make(chan struct{}, 1)
	go w.run(ctx, signal)
	return signal, nil
}

type watcher struct {
	file  *os.File
	fd    int
	paths []string
	dirs  map[string]int32 // watched directory or file to watch descriptor
	seen  string
}

func (w *watcher) run(ctx context.Context, signal chan<- struct{}) {
	events := make(chan struct{}, 1)
	go w.read(events)
	defer w.file.Close() // ends read
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			if !sleep(ctx, quiet) {
				return
			}
		case <-time.After(lookAgain):
		}
		w.follow()
		if now := w.fingerprint(); now != w.seen {
			w.seen = now
			select {
			case signal <- struct{}{}:
			default:
			}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// read says that something happened; what, the fingerprint tells.
func (w *watcher) read(events chan<- struct{}) {
	buf := make([]byte, 64*int(unsafe.Sizeof(unix.InotifyEvent{})+unix.NAME_MAX+1))
	for {
		if _, err := w.file.Read(buf); err != nil {
			return
		}
		select {
		case events <- struct{}{}:
		default:
		}
	}
}

// follow watches the directories and files that matter now, and no others.
func (w *watcher) follow() {
	want := map[string]bool{}
	for _, p := range w.paths {
		for _, dir := range trail(p) {
			want[dir] = true
		}
	}
	for dir, wd := range w.dirs {
		if !want[dir] {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) // gone with its directory otherwise
			delete(w.dirs, dir)
		}
	}
	for dir := range want {
		// Adding again is harmless and finds a directory that was made anew.
		if wd, err := unix.InotifyAddWatch(w.fd, dir, mask); err == nil {
			w.dirs[dir] = int32(wd)
		}
	}
}

// trail is the directories of path and of every file its links lead over, and
// the file they lead to.
func trail(path string) []string {
	var dirs []string
	for range maxLinks {
		dir := filepath.Dir(path)
		dirs = append(dirs, dir)
		target, err := os.Readlink(path)
		if err != nil {
			return append(dirs, path)
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return dirs
}

// fingerprint is the files' contents.
func (w *watcher) fingerprint() string {
	var all string
	for _, p := range w.paths {
		b, err := os.ReadFile(p)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			b = []byte(err.Error())
		}
		all += fmt.Sprintf("%d\n%s", len(b), b)
	}
	return all
}
