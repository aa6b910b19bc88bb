// Package cli is the jackstay command: docker/cli's own commands, embedded,
// under our name and with our socket, so that every flag, format and template
// a Docker user knows is there.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/containerd/errdefs"
	dockercli "github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/commands"
	"github.com/docker/cli/cli/flags"
	dockerversion "github.com/docker/cli/cli/version"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/jackstay/jackstay/internal/cli/extensions"
	"github.com/jackstay/jackstay/internal/version"
)

// DefaultHost is where jackstayd listens unless told otherwise.
const DefaultHost = "unix:///run/jackstay/jackstay.sock"

// HostEnv names the environment variable that gives another host.
const HostEnv = "JACKSTAY_HOST"

// left are docker/cli's commands for what Jackstay is not: an orchestrator, a
// plugin host, a builder.
var left = map[string]bool{
	"swarm": true, "stack": true, "service": true, "node": true, "secret": true, "config": true,
	"plugin": true, "trust": true, "checkpoint": true, "buildx": true, "builder": true, "bake": true,
}

// refused are docker/cli's commands whose routes Jackstay has not: they are not
// listed, and say so.
var refused = [][]string{
	{"build"}, {"commit"}, {"cp"}, {"export"}, {"image", "build"}, {"container", "commit"}, {"container", "cp"}, {"container", "export"},
}

// terminated is the end of a command by a signal.
type terminated struct{ signal syscall.Signal }

func (terminated) Error() string { return "" }

// Main runs the command line and gives the process's exit code.
func Main() int {
	ctx, cancel := withSignals(context.Background())
	defer cancel()
	dockerversion.Version = version.Version
	dockerversion.GitCommit = version.Commit
	dockerversion.BuildTime = version.Time
	dockerversion.PlatformName = "Jackstay"
	dockerCli, err := command.NewDockerCli(command.WithBaseContext(ctx), command.WithUserAgent("Jackstay-Client/"+version.Version+" (linux)"))
	if err == nil {
		logrus.SetOutput(dockerCli.Err())
		err = run(ctx, dockerCli)
	}
	if t := (terminated{}); errors.As(context.Cause(ctx), &t) && err != nil {
		return 128 + int(t.signal)
	}
	if text := message(err); text != "" {
		fmt.Fprintln(os.Stderr, text)
	}
	return exitCode(err)
}

// message is what is left to say of an error: nothing, if the command has said
// it and gives its exit code alone.
func message(err error) string {
	if err == nil || errdefs.IsCanceled(err) {
		return ""
	}
	if text := err.Error(); text != fmt.Sprintf("exit status %d", exitCode(err)) {
		return reword(text)
	}
	return ""
}

// withSignals cancels the context on the signals that end a command. A second
// and third one end the process by force.
func withSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		for n := 1; ; n++ {
			s, ok := (<-signals).(syscall.Signal)
			if !ok {
				return
			}
			cancel(terminated{s})
			if n == 3 {
				os.Exit(128 + int(s))
			}
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

func run(ctx context.Context, dockerCli *command.DockerCli) error {
	root, top, opts := newRoot(dockerCli)
	_, args, err := top.HandleGlobalFlags()
	if err != nil {
		return err
	}
	chooseHost(opts)
	if err := top.Initialize(); err != nil {
		return err
	}
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// chooseHost settles the socket: -H or --context, then JACKSTAY_HOST, then the
// default one. Docker's own variables and current context lead to Docker, so
// they don't count here.
func chooseHost(opts *flags.ClientOptions) {
	if len(opts.Hosts) > 0 || opts.Context != "" {
		return
	}
	host := os.Getenv(HostEnv)
	if host == "" {
		host = DefaultHost
	}
	opts.Hosts = []string{host}
}

// newRoot makes the jackstay command with all that is below it.
func newRoot(dockerCli *command.DockerCli) (*cobra.Command, *dockercli.TopLevelCommand, *flags.ClientOptions) {
	root := &cobra.Command{
		Use:   "jackstay [OPTIONS] COMMAND [ARG...]",
		Short: "A container engine whose speciality is the network",
		// docker/cli prints usage and errors itself.
		SilenceUsage:     true,
		SilenceErrors:    true,
		TraverseChildren: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.ShowHelp(dockerCli.Err())(cmd, args)
			}
			return fmt.Errorf("jackstay: unknown command: jackstay %s\n\nRun 'jackstay --help' for more information", args[0])
		},
		Version:               version.Version + ", build " + version.Commit,
		DisableFlagsInUseLine: true,
		CompletionOptions:     cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.SetIn(dockerCli.In())
	root.SetOut(dockerCli.Out())
	root.SetErr(dockerCli.Err())
	opts, _ := dockercli.SetupRootCommand(root)
	root.SetVersionTemplate("Jackstay version {{.Version}}\n")
	root.Annotations["additionalHelp"] = "Default socket: " + DefaultHost + " (or " + HostEnv + ", or -H)"
	root.Flags().BoolP("version", "v", false, "Print version information and quit")

	all := &cobra.Command{}
	conn := &connection{DockerCli: dockerCli}
	commands.AddCommands(all, conn)
	for _, c := range all.Commands() {
		if left[c.Name()] {
			continue
		}
		all.RemoveCommand(c)
		root.AddCommand(c)
	}
	extensions.Add(root, dockerCli)

	for _, path := range refused {
		if c, _, err := root.Find(path); err == nil {
			c.Hidden = true
		}
	}
	rewordErrors(root, conn)
	rewordOnDemand(root)
	return root, dockercli.NewTopLevelCommand(root, dockerCli, opts, root.Flags()), opts
}

// exitCode gives docker/cli's code for an error: its own where it has one, else 1.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var status dockercli.StatusError
	if errors.As(err, &status) && status.StatusCode != 0 {
		return status.StatusCode
	}
	return 1
}
