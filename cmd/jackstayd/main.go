// Command jackstayd is the Jackstay daemon: it serves the Docker Engine API,
// runs containers and keeps the network between them as planned.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/pflag"

	"github.com/jackstay/jackstay/internal/image"
	"github.com/jackstay/jackstay/internal/version"
)

// drain is how long calls in progress may go on after a request to stop.
const drain = 2 * time.Second

func main() {
	// containers/storage runs this program again, under other names, for work
	// in a changed root; such a run ends here.
	if image.Reexec() {
		return
	}
	c, err := parseConfig(os.Args[1:])
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "jackstayd:", err)
		os.Exit(1)
	}
}

func run(c *config) error {
	if c.version {
		fmt.Printf("jackstayd version %s, build %s\n", version.Version, version.Commit)
		return nil
	}
	log, err := newLogger(c.LogLevel)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("containers and networks need root; start it with sudo or by systemd")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	held, err := lock(c.RunDir)
	if err != nil {
		return err
	}
	defer held.Close()
	network, err := lockNetwork()
	if err != nil {
		return err
	}
	defer network.Close()
	if c.cleanup {
		return cleanup(ctx, c, log)
	}
	// The daemon's heap is small and lives long: trade a little CPU for memory,
	// which every container's share of it counts in.
	debug.SetGCPercent(50)
	d, err := wire(ctx, c, log)
	if err != nil {
		return err
	}
	defer d.close()
	listeners, err := listen(c, log)
	if err != nil {
		return err
	}
	return serve(ctx, d.handler, listeners, c.Hosts)
}

// newLogger logs to standard error, where systemd keeps it.
func newLogger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
	slog.SetDefault(log)
	return log, nil
}

// serve answers the API on every listener until ctx ends.
func serve(ctx context.Context, h http.Handler, listeners []net.Listener, hosts []string) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
	}
	fmt.Printf("jackstayd %s: the API listens on %s\n", version.Version, strings.Join(hosts, ", "))
	// Without systemd there is nobody to tell, which is no error.
	_, _ = systemd.SdNotify(false, systemd.SdNotifyReady)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	_, _ = systemd.SdNotify(false, systemd.SdNotifyStopping)
	end, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		return server.Close() // attached clients and followers of logs and events
	}
	return nil
}
