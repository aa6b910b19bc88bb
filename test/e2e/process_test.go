package e2e

import (
	"bytes"
	"context"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// process is a shell line that runs beside the test.
type process struct {
	cmd  *exec.Cmd
	out  *output
	once sync.Once
}

// output is what a process printed so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start starts a shell line on the host; it ends with the test at the latest.
func start(h *host.Host, line string) *process {
	h.T.Helper()
	p := &process{cmd: h.Command(context.Background(), "sh", "-c", "exec "+line), out: &output{}}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		h.T.Fatal(err)
	}
	h.T.Cleanup(func() { p.stop() })
	return p
}

// stop ends the process as Ctrl-C does and gives what it printed.
func (p *process) stop() string {
	p.once.Do(func() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT)
		kill := time.AfterFunc(5*time.Second, func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
		defer kill.Stop()
		_ = p.cmd.Wait()
	})
	return p.out.String()
}
