//go:build linux

package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/term"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// conmon's attach protocol: each packet's first byte names the stream.
const (
	packetStdout = 2
	packetStderr = 3
	// stdinChunk is below what conmon reads at once: the rest of a longer
	// packet would be lost.
	stdinChunk = 8 << 10
	// outputPacket is above conmon's largest packet, 32 KiB and the first byte.
	outputPacket = 64 << 10
)

// Attach connects streams to a container's process. It returns nil when the
// process has ended and all its output is written, model.ErrDetached on the
// detach keys, ctx's error, or a client's write error.
func (r *Runtime) Attach(ctx context.Context, id string, s model.Streams, ready func()) error {
	rec, err := r.live(id)
	if err != nil {
		return err
	}
	conn, err := r.join(ctx, rec)
	if err != nil {
		return err
	}
	if ready != nil {
		ready()
	}
	out := newBacklog(s.Stdout, s.Stderr)
	output := make(chan error, 1)
	go func() { output <- copyPackets(conn, out) }()

	var input chan error // nil, which blocks for ever, without a stdin
	if s.Stdin != nil && rec.OpenStdin {
		input = make(chan error, 1)
		go func() { input <- sendStdin(conn, s) }()
	}
	for {
		select {
		case err := <-output:
			_ = conn.Close()
			return err
		case err := <-out.failed:
			leave(conn, out, output, rec, s.CloseStdin)
			return err
		case <-ctx.Done():
			leave(conn, out, output, rec, s.CloseStdin)
			return ctx.Err()
		case err := <-input:
			if errors.Is(err, model.ErrDetached) {
				leave(conn, out, output, rec, false)
				return err
			}
			input = nil // output goes on
		}
	}
}

// leave ends a client's connection before the process has ended. conmon closes
// the process's stdin with whichever connection is closed, if it may at all; so
// that of a client that did not bring the stdin stays, and its output is dropped.
func leave(conn *net.UnixConn, out *backlog, output <-chan error, rec *record, closeStdin bool) {
	out.drop()
	if !rec.OpenStdin || rec.keepsStdin() || closeStdin {
		_ = conn.Close()
		return
	}
	go func() {
		<-output
		_ = conn.Close()
	}()
}

// join connects to conmon and returns once conmon has taken the connection.
// connect(2) succeeds before that, and what the container writes in between
// conmon sends to those it has taken only. That it has shows in conmon's
// descriptors: one more is a socket. Clients of one container join one after
// another, so that each sees its own.
func (r *Runtime) join(ctx context.Context, rec *record) (*net.UnixConn, error) {
	defer r.joining.Lock(rec.ID)()
	pid := rec.Conmon
	if pid == 0 {
		pid = readPid(r.conmonPid(rec.ID))
	}
	before := socketsOf(pid)
	conn, err := r.dialAttach(rec.ID)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(joinWithin); ; time.Sleep(joinPoll) {
		for socket := range socketsOf(pid) {
			if !before[socket] {
				return conn, nil
			}
		}
		// Without a look at conmon the connection is as good as it ever was.
		if ctx.Err() != nil || len(before) == 0 || time.Now().After(deadline) || !r.conmonAlive(rec) {
			return conn, nil
		}
	}
}

const (
	joinWithin = time.Second
	joinPoll   = 100 * time.Microsecond
)

// socketsOf gives the names of a process's sockets (socket:[INODE]), none if
// it can't be looked into.
func socketsOf(pid int) map[string]bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	sockets := map[string]bool{}
	for _, e := range entries {
		if name, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(name, "socket:") {
			sockets[name] = true
		}
	}
	return sockets
}

// dialAttach connects to BUNDLE/attach. The path goes through a descriptor of
// the bundle: sun_path holds 107 bytes only (unix(7)).
func (r *Runtime) dialAttach(id string) (*net.UnixConn, error) {
	dir, err := unix.Open(r.bundle(id), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errs.New(errs.Conflict, "container %s is not running", id)
	}
	defer unix.Close(dir)
	name := filepath.Join("/proc/self/fd", strconv.Itoa(dir), "attach")
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: name, Net: "unixpacket"})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, errs.New(errs.Conflict, "container %s is not running", id)
	}
	if err != nil {
		return nil, fmt.Errorf("attach to container %s: %w", id, err)
	}
	return conn, nil
}

// copyPackets passes output on until conmon closes the connection. conmon
// writes to every client in turn and waits for each, so it is read at once into
// a buffer; only a client that is far behind holds the container up, as a pipe
// would.
func copyPackets(conn io.Reader, out *backlog) error {
	buf := make([]byte, outputPacket)
	for {
		n, err := conn.Read(buf)
		if n > 1 {
			out.add(buf[0], buf[1:n])
		}
		if err == nil && n > 0 {
			continue
		}
		flushErr := out.finish()
		if err == nil || errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
			return flushErr
		}
		return err
	}
}

// sendStdin copies a client's input until its end or the detach keys. At the
// end conmon is told by shutdown(2), whereupon it closes the process's stdin,
// unless it was started with --leave-stdin-open.
func sendStdin(conn *net.UnixConn, s model.Streams) error {
	err := copyDetachable(conn, s.Stdin, s.DetachKeys)
	if err == nil && s.CloseStdin {
		return conn.CloseWrite()
	}
	return err
}

// copyDetachable copies in chunks; the keys give model.ErrDetached.
func copyDetachable(w io.Writer, r io.Reader, keys []byte) error {
	if len(keys) > 0 {
		r = term.NewEscapeProxy(r, keys)
	}
	buf := make([]byte, stdinChunk)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &term.EscapeError{}):
			return model.ErrDetached
		default:
			return err
		}
	}
}

// Resize sets the size of the container's terminal.
func (r *Runtime) Resize(_ context.Context, id string, rows, cols uint) error {
	rec, err := r.live(id)
	if err != nil {
		return err
	}
	if !rec.Tty {
		return nil // Docker resizes nothing, without an error
	}
	return r.control(id, fmt.Sprintf("1 %d %d\n", rows, cols))
}

// control writes a line to conmon's control fifo: "1 ROWS COLUMNS" resizes,
// "2 0 0" reopens the log.
func (r *Runtime) control(id, line string) error {
	fifo, err := os.OpenFile(r.controlFifo(id), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, os.ErrNotExist) {
		return errs.New(errs.Conflict, "container %s is not running", id)
	}
	if err != nil {
		return fmt.Errorf("control of container %s: %w", id, err)
	}
	defer fifo.Close()
	if err := fifo.SetWriteDeadline(time.Now().Add(killLimit)); err != nil {
		return fmt.Errorf("control of container %s: %w", id, err)
	}
	if _, err := fifo.WriteString(line); err != nil {
		return fmt.Errorf("control of container %s: %w", id, err)
	}
	return nil
}
