package cli

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"testing"

	dockercli "github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/flags"
	"github.com/spf13/cobra"
)

func TestReword(t *testing.T) {
	for from, want := range map[string]string{
		"docker: Error response\n\nRun 'docker run --help' for more information": "jackstay: Error response\n\nRun 'jackstay run --help' for more information",
		"failed to connect to the docker API at unix:///x; check":                "failed to connect to the jackstay API at unix:///x; check",
		"Cannot connect to the Docker daemon at unix:///x":                       "Cannot connect to the Jackstay daemon at unix:///x",
		"docker container run, docker run":                                       "jackstay container run, jackstay run",
		"Search Docker Hub for images":                                           "Search Docker Hub for images",
		"pull access denied, may require 'docker login'":                         "pull access denied, may require 'jackstay login'",
		"docker.io/library/redis":                                                "docker.io/library/redis",
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
