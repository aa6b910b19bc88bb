package cli

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	dockercli "github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/commands"
	"github.com/docker/cli/cli/flags"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestReword(t *testing.T) {
	for from, want := range map[string]string{
		"docker: Error response\n\nRun 'docker run --help' for more information":                                                        "jackstay: Error response\n\nRun 'jackstay run --help' for more information",
		"failed to connect to the docker API at unix:///x; check if the path is correct and if the daemon is running: dial unix /x: no": "Cannot connect to the Jackstay daemon at unix:///x. Is jackstayd running?",
		"Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?":                                               "Cannot connect to the Jackstay daemon at unix:///x. Is jackstayd running?",
		"Cannot connect to the Docker daemon at unix:///x":                                                                              "Cannot connect to the Jackstay daemon at unix:///x",
		"docker container run, docker run":                                                                                              "jackstay container run, jackstay run",
		"Search Docker Hub for images":                                                                                                  "Search Docker Hub for images",
		"pull access denied, may require 'docker login'":                                                                                "pull access denied, may require 'jackstay login'",
		"docker.io/library/redis":                                                                                                       "docker.io/library/redis",
	} {
		if got := reword(from); got != want {
			t.Errorf("reword(%q) = %q, want %q", from, got, want)
		}
	}
}

func TestCommands(t *testing.T) {
	dockerCli, err := command.NewDockerCli()
	if err != nil {
		t.Fatal(err)
	}
	root, _, _ := newRoot(dockerCli)
	has := map[string]bool{}
	for _, c := range root.Commands() {
		has[c.Name()] = true
	}
	for _, name := range []string{"run", "ps", "inspect", "network", "volume", "image", "container", "system", "events", "login", "import"} {
		if !has[name] {
			t.Errorf("there is no jackstay %s", name)
		}
	}
	for name := range left {
		if has[name] {
			t.Errorf("jackstay %s is there", name)
		}
	}
	walk(root, func(c *cobra.Command) {
		var help bytes.Buffer
		c.SetOut(&help)
		if err := c.Help(); err != nil || help.Len() == 0 {
			t.Errorf("%s has no help: %v", c.CommandPath(), err)
		}
		if text := ourName.FindString(help.String() + c.UsageString()); text != "" {
			t.Errorf("%s is called docker: %s", c.CommandPath(), text)
		}
	})
}

// Our commands read like docker/cli's: their usage lines, what they say of a
// wrong number of arguments, and the options of those that list.
func TestOurCommands(t *testing.T) {
	dockerCli, err := command.NewDockerCli()
	if err != nil {
		t.Fatal(err)
	}
	dockers := &cobra.Command{Use: "jackstay"}
	commands.AddCommands(dockers, dockerCli)
	theirs := map[string]bool{"jackstay": true, "jackstay help": true, "jackstay completion": true}
	walk(dockers, func(c *cobra.Command) { theirs[c.CommandPath()] = true })
	root, _, _ := newRoot(dockerCli)
	count := 0
	walk(root, func(c *cobra.Command) {
		path := c.CommandPath()
		called := map[string]string{}
		for _, sub := range c.Commands() {
			for _, name := range append(sub.Aliases, sub.Name()) {
				if other := called[name]; other != "" && other != sub.Name() {
					t.Errorf("%s %s is both %s and %s", path, name, other, sub.Name())
				}
				called[name] = sub.Name()
			}
		}
		if example, _, _ := strings.Cut(c.Example, "\n"); example != "" && !theirs[path] && !strings.HasPrefix(example, "  jackstay ") {
			t.Errorf("the first example of %s: %q", path, example)
		}
		if strings.Contains(c.UseLine(), "[flags]") {
			t.Errorf("usage of %s: %s", path, c.UseLine())
		}
		if theirs[path] {
			return
		}
		count++
		options := false
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { options = options || f.Name != "help" && !f.Hidden })
		if options != strings.Contains(c.UseLine(), "[OPTIONS]") {
			t.Errorf("usage of %s, with options %v: %s", path, options, c.UseLine())
		}
		if strings.HasSuffix(path, " ls") && !strings.HasPrefix(path, "jackstay route") && !strings.HasPrefix(path, "jackstay rule") {
			for _, name := range []string{"quiet", "format", "no-trunc"} {
				if c.Flags().Lookup(name) == nil {
					t.Errorf("%s has no --%s", path, name)
				}
			}
		}
		if c.Short == "" || c.Flags().Lookup("format") != nil && c.Flags().Lookup("format").Usage == "" {
			t.Errorf("%s says nothing of itself", path)
		}
		if c.Args == nil {
			if !c.DisableFlagParsing && path != "jackstay port add" && path != "jackstay port rm" && !strings.HasPrefix(path, "jackstay container port ") {
				t.Errorf("%s takes any number of arguments", path)
			}
			return
		}
		for _, args := range [][]string{nil, strings.Fields(strings.Repeat("x ", 20))} {
			err := c.Args(c, args)
			if err != nil && (!strings.HasPrefix(err.Error(), "jackstay: ") || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "\n\nUsage:  "+c.UseLine()+"\n\n")) {
				t.Errorf("%s with %d arguments: %v", path, len(args), err)
			}
		}
	})
	if count < 40 {
		t.Errorf("only %d commands are ours", count)
	}
}

// ourName finds the command called docker, not its --docker flags.
var ourName = regexp.MustCompile(`(?:^|[^-\w])docker [a-z]+.*`)

func walk(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		walk(sub, f)
	}
}

func TestChooseHost(t *testing.T) {
	for _, c := range []struct {
		opts flags.ClientOptions
		env  string
		want string
	}{
		{flags.ClientOptions{}, "", "[" + DefaultHost + "]"},
		{flags.ClientOptions{}, "unix:///other", "[unix:///other]"},
		{flags.ClientOptions{Hosts: []string{"unix:///given"}}, "unix:///other", "[unix:///given]"},
		{flags.ClientOptions{Context: "mine"}, "unix:///other", "[]"},
	} {
		t.Setenv(HostEnv, c.env)
		t.Setenv("DOCKER_HOST", "unix:///docker")
		chooseHost(&c.opts)
		if got := fmt.Sprint(c.opts.Hosts); got != c.want {
			t.Errorf("%+v with %q: %s, want %s", c.opts, c.env, got, c.want)
		}
	}
}

func TestExitCode(t *testing.T) {
	for want, err := range map[int]error{0: nil, 1: errors.New("x"), 127: fmt.Errorf("y: %w", dockercli.StatusError{StatusCode: 127})} {
		if got := exitCode(err); got != want {
			t.Errorf("exitCode(%v) = %d, want %d", err, got, want)
		}
	}
}
