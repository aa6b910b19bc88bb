//go:build linux

package runtime

import (
	"io"
	"sync"
)

// maxBacklog is how far a client may be behind, in bytes, before it holds the
// container's output up.
const maxBacklog = 4 << 20

// backlog writes packets to a client's streams from a goroutine of its own.
type backlog struct {
	stdout, stderr io.Writer
	done           chan struct{}
	failed         chan error // a client's write error, once

	mu      sync.Mutex
	changed *sync.Cond
	packets []packet
	size    int // bytes in packets, and of the one being written
	ended   bool
	dropped bool // nobody wants the rest
	err     error
}

type packet struct {
	stream byte
	data   []byte
}

func newBacklog(stdout, stderr io.Writer) *backlog {
	b := &backlog{stdout: stdout, stderr: stderr, done: make(chan struct{}), failed: make(chan error, 1)}
	b.changed = sync.NewCond(&b.mu)
	go b.run()
	return b
}

// add takes a copy of data, waiting while the backlog is full.
func (b *backlog) add(stream byte, data []byte) {
	if b.writer(stream) == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.size > maxBacklog && !b.dropped {
		b.changed.Wait()
	}
	if b.dropped {
		return
	}
	b.packets = append(b.packets, packet{stream, append([]byte(nil), data...)})
	b.size += len(data)
	b.changed.Broadcast()
}

// drop forgets what is not written, now and from now on.
func (b *backlog) drop() {
	b.mu.Lock()
	b.dropped, b.packets = true, nil
	b.changed.Broadcast()
	b.mu.Unlock()
}

// finish waits until all is written or dropped and gives the write error.
func (b *backlog) finish() error {
	b.mu.Lock()
	b.ended = true
	b.changed.Broadcast()
	b.mu.Unlock()
	<-b.done
	return b.err
}

func (b *backlog) writer(stream byte) io.Writer {
	switch stream {
	case packetStdout:
		return b.stdout
	case packetStderr:
		return b.stderr
	}
	return nil
}

func (b *backlog) run() {
	defer close(b.done)
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		for len(b.packets) == 0 {
			if b.ended || b.dropped {
				return
			}
			b.changed.Wait()
		}
		next := b.packets[0]
		b.packets = b.packets[1:]
		b.mu.Unlock()
		_, err := b.writer(next.stream).Write(next.data)
		b.mu.Lock()
		b.size -= len(next.data)
		b.changed.Broadcast()
		if err != nil {
			b.err, b.dropped, b.packets = err, true, nil
			b.failed <- err
			return
		}
	}
}
