//go:build linux

package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// execIO are the streams of an exec: three pipes, or a pseudo terminal that is
// the OCI runtime's own; the runtime copies between it and the one inside and
// follows its size (SIGWINCH).
type execIO struct {
	tty                   bool
	stdin, stdout, stderr *os.File    // ours; with tty the first two are the terminal's master
	theirs                [3]*os.File // the child's
	closing               sync.Once
}

func newExecIO(tty, wantStdin bool) (*execIO, error) {
	x := &execIO{tty: tty}
	if tty {
		master, slave, err := openPty()
		if err != nil {
			return nil, err
		}
		x.stdin, x.stdout, x.theirs = master, master, [3]*os.File{slave, slave, slave}
		return x, nil
	}
	var err error
	if wantStdin {
		x.theirs[0], x.stdin, err = os.Pipe()
	} else {
		x.theirs[0], err = os.Open(os.DevNull)
	}
	if err == nil {
		x.stdout, x.theirs[1], err = os.Pipe()
	}
	if err == nil {
		x.stderr, x.theirs[2], err = os.Pipe()
	}
	if err != nil {
		x.given()
		x.close()
		return nil, err
	}
	return x, nil
}

// give sets the child's streams. With a terminal the child leads a session that
// has it as controlling terminal, or it would get no SIGWINCH.
func (x *execIO) give(cmd *exec.Cmd) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = x.theirs[0], x.theirs[1], x.theirs[2]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: x.tty, Ctty: 0}
}

// given closes our copies of the child's ends: their end is the child's then.
func (x *execIO) given() {
	for i, f := range x.theirs {
		if f != nil && (i == 0 || f != x.theirs[0]) {
			_ = f.Close()
		}
	}
}

func (x *execIO) close() {
	x.closing.Do(func() {
		for _, f := range []*os.File{x.stdin, x.stdout, x.stderr} {
			if f != nil {
				_ = f.Close() // closing the terminal twice is an error we don't mind
			}
		}
	})
}

// abandon ends our side, so that nobody waits for output nobody reads.
func (x *execIO) abandon() { x.close() }

// execStreams tell of the copying between a client and an exec.
type execStreams struct {
	input  chan error // the client's input ended; model.ErrDetached on the keys
	output chan error // all output is written, or it can't be
}

// connect copies between the client's streams and the process's. A stream the
// client does not want is read and dropped.
func (x *execIO) connect(s model.Streams) execStreams {
	streams := execStreams{output: make(chan error, 1)}
	gate := &gate{}
	if s.Stdin != nil && x.stdin != nil {
		streams.input = make(chan error, 1)
		go func() {
			err := copyDetachable(x.stdin, s.Stdin, s.DetachKeys)
			if errors.Is(err, model.ErrDetached) {
				gate.shut()
			} else if !x.tty {
				_ = x.stdin.Close()
			}
			streams.input <- err
		}()
	}
	results := make(chan error, 2)
	go func() { results <- gate.copy(s.Stdout, x.stdout) }()
	go func() { results <- gate.copy(s.Stderr, x.stderr) }()
	go func() { streams.output <- errors.Join(<-results, <-results) }()
	return streams
}

// gate lets output through until a client detaches; then it is dropped.
type gate struct {
	mu     sync.Mutex
	closed bool
}

func (g *gate) shut() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
}

// copy passes output on until its end. After a write error it goes on reading:
// a process must not be stopped by a client that left.
func (g *gate) copy(w io.Writer, r *os.File) error {
	if r == nil {
		return nil
	}
	buf := make([]byte, 32<<10)
	var failed error
	for {
		n, err := r.Read(buf)
		g.mu.Lock()
		open := !g.closed
		g.mu.Unlock()
		if n > 0 && w != nil && open && failed == nil {
			_, failed = w.Write(buf[:n])
		}
		if err != nil {
			// A terminal whose last other end is closed gives EIO.
			if errors.Is(err, io.EOF) || errors.Is(err, unix.EIO) || errors.Is(err, os.ErrClosed) {
				return failed
			}
			return err
		}
	}
}

func (x *execIO) resize(rows, cols uint) error {
	if !x.tty {
		return nil
	}
	conn, err := x.stdout.SyscallConn()
	if err != nil {
		return errs.New(errs.Conflict, "the exec has ended")
	}
	size := &unix.Winsize{Row: uint16(rows), Col: uint16(cols)}
	var ioctlErr error
	if err := conn.Control(func(fd uintptr) { ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) }); err != nil {
		return errs.New(errs.Conflict, "the exec has ended")
	}
	return ioctlErr
}

// openPty makes a pseudo terminal in raw mode (pty(7)): the terminal inside
// the container is the one that echoes and edits lines.
func openPty() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("pseudo terminal: %w", err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err == nil {
		err = makeRaw(int(slave.Fd()))
	}
	if err != nil {
		_ = master.Close()
		if slave != nil {
			_ = slave.Close()
		}
		return nil, nil, fmt.Errorf("pseudo terminal: %w", err)
	}
	return master, slave, nil
}

// makeRaw is cfmakeraw(3).
func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}
