package api

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types"
	"golang.org/x/sys/unix"
)

// drainTime bounds how long a finished stream waits for its client to close.
const drainTime = time.Second

// hijacked is a request's connection taken over as a raw stream. It is taken
// when open is called or the first byte is written, whichever comes first:
// until then an error can still be answered properly.
type hijacked struct {
	w       *responseWriter
	r       *request
	framed  bool // output is multiplexed, see stdcopy
	once    sync.Once
	opened  chan struct{}
	err     error // of taking over; valid once opened is closed
	conn    net.Conn
	in      io.Reader
	writing sync.Mutex
}

func newHijacked(w *responseWriter, r *request, framed bool) *hijacked {
	return &hijacked{w: w, r: r, framed: framed, opened: make(chan struct{})}
}

// open takes the connection over and answers: 101 to clients that asked to
// upgrade, 200 to older ones. Calling it again does nothing.
func (h *hijacked) open() error {
	h.once.Do(func() {
		defer close(h.opened)
		conn, buffered, err := h.w.Hijack()
		if err != nil {
			h.err = err
			return
		}
		// net/http leaves a deadline on the connection if the server has one.
		_ = conn.SetDeadline(time.Time{})
		h.conn, h.in = conn, buffered.Reader
		_, h.err = io.WriteString(conn, h.head())
	})
	<-h.opened
	return h.err
}

func (h *hijacked) head() string {
	if _, upgrade := h.r.Header["Upgrade"]; !upgrade {
		return "HTTP/1.1 200 OK\r\nContent-Type: " + types.MediaTypeRawStream + "\r\n\r\n"
	}
	return "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + streamType(h.framed, h.r.version) +
		"\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nApi-Version: " + MaxVersion + "\r\n\r\n"
}

// streamType is the media type of a stream; older clients know only one.
func streamType(framed bool, v apiVersion) string {
	if framed && !v.before(42) {
		return types.MediaTypeMultiplexedStream
	}
	return types.MediaTypeRawStream
}

// Read gives the client's input, once the connection is taken over.
func (h *hijacked) Read(p []byte) (int, error) {
	<-h.opened
	if h.err != nil {
		return 0, h.err
	}
	return h.in.Read(p)
}

// output is the writer of one of the two output streams.
func (h *hijacked) output(kind stdcopy.StdType) io.Writer { return &hijackedOutput{h, kind} }

type hijackedOutput struct {
	h    *hijacked
	kind stdcopy.StdType
}

func (o *hijackedOutput) Write(p []byte) (int, error) {
	if err := o.h.open(); err != nil {
		return 0, err
	}
	o.h.writing.Lock()
	defer o.h.writing.Unlock()
	if o.h.framed {
		return writeFrame(o.h.conn, o.kind, p)
	}
	return o.h.conn.Write(p)
}

// writeFrame writes one frame of the multiplexed stream: the stream's number,
// three zeros, the length (big-endian), the bytes.
func writeFrame(w io.Writer, kind stdcopy.StdType, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	head := [8]byte{0: byte(kind)}
	binary.BigEndian.PutUint32(head[4:], uint32(len(p)))
	n, err := (&net.Buffers{head[:], p}).WriteTo(w)
	return max(0, int(n)-len(head)), err
}

// close ends the stream: first our half, so that the client reads all there is,
// then, when it has closed too or takes too long, the rest. Closing with unread
// input would make the client see a reset.
func (h *hijacked) close() {
	h.once.Do(func() { h.err = net.ErrClosed; close(h.opened) })
	if h.conn == nil {
		return
	}
	if half, ok := h.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		_ = h.conn.SetReadDeadline(time.Now().Add(drainTime))
		_, _ = io.Copy(io.Discard, h.conn)
	}
	_ = h.conn.Close()
}

// watch calls gone when the client has closed both halves of the connection.
// A client without input closes its writing half at once and goes on reading,
// so the end of its input says nothing.
func (h *hijacked) watch(ctx context.Context, gone func()) {
	select {
	case <-h.opened:
	case <-ctx.Done():
		return
	}
	sc, ok := h.conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if hungUp(raw) {
			gone()
			return
		}
	}
}

// hungUp asks for POLLHUP and POLLERR, which poll(2) reports unasked.
func hungUp(raw syscall.RawConn) bool {
	up := false
	err := raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(fds, 0)
		up = err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
	})
	return up || errors.Is(err, net.ErrClosed)
}

// flushWriter writes and sends at once.
type flushWriter struct{ w *responseWriter }

func (f flushWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	f.w.Flush()
	return n, err
}

var _ http.Flusher = (*responseWriter)(nil)
