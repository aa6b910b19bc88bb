//go:build linux

package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// watcher shares one inotify(7) instance among all who watch: users have a
// limit of 128 instances by default, and a host may follow more logs than that.
type watcher struct {
	file *os.File
	fd   int
	done chan struct{}

	mu   sync.Mutex
	next int
	subs map[int]map[int]func(watchEvent) // by watch descriptor and subscription
}

// watchEvent is one event: a name in a watched directory. Lost says that
// events were dropped and anything may have happened.
type watchEvent struct {
	Name string
	Lost bool
}

func newWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w; fs.inotify.max_user_instances may be too low", err)
	}
	w := &watcher{
		file: os.NewFile(uintptr(fd), "inotify"), fd: fd, done: make(chan struct{}),
		subs: map[int]map[int]func(watchEvent){},
	}
	go w.run()
	return w, nil
}

// add calls fn for every event of mask in a directory until cancel. fn must not block.
func (w *watcher) add(dir string, mask uint32, fn func(watchEvent)) (cancel func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, err := unix.InotifyAddWatch(w.fd, dir, mask|unix.IN_MASK_ADD|unix.IN_ONLYDIR)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	if w.subs[wd] == nil {
		w.subs[wd] = map[int]func(watchEvent){}
	}
	w.next++
	key := w.next
	w.subs[wd][key] = fn
	return func() { w.remove(wd, key) }, nil
}

func (w *watcher) remove(wd, key int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	subs, ok := w.subs[wd]
	if !ok {
		return
	}
	delete(subs, key)
	if len(subs) == 0 {
		delete(w.subs, wd)
		_, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) // the directory may be gone, and the watch with it
	}
}

func (w *watcher) close() {
	w.mu.Lock()
	w.subs = map[int]map[int]func(watchEvent){}
	w.mu.Unlock()
	_ = w.file.Close()
	<-w.done
}

// run reads events until the file is closed.
func (w *watcher) run() {
	defer close(w.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			wd := int(int32(binary.NativeEndian.Uint32(rest[0:])))
			mask := binary.NativeEndian.Uint32(rest[4:])
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:]))
			name := strings.TrimRight(string(rest[unix.SizeofInotifyEvent:size]), "\x00")
			rest = rest[size:]
			w.dispatch(wd, mask, name)
		}
	}
}

func (w *watcher) dispatch(wd int, mask uint32, name string) {
	w.mu.Lock()
	var fns []func(watchEvent)
	for d, subs := range w.subs {
		if d == wd || mask&unix.IN_Q_OVERFLOW != 0 {
			for _, fn := range subs {
				fns = append(fns, fn)
			}
		}
	}
	if mask&unix.IN_IGNORED != 0 {
		delete(w.subs, wd)
	}
	w.mu.Unlock()
	event := watchEvent{Name: name, Lost: mask&(unix.IN_Q_OVERFLOW|unix.IN_IGNORED) != 0}
	for _, fn := range fns {
		fn(event)
	}
}
