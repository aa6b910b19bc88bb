package cli

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/flags"
)

// at runs a command line at a socket; text is what Main would print of its error.
func at(t *testing.T, socket string, args ...string) (stdout, stderr, text string, code int) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	var out, errs bytes.Buffer
	dockerCli, err := command.NewDockerCli(command.WithOutputStream(&out), command.WithErrorStream(&errs))
	if err != nil {
		t.Fatal(err)
	}
	if err := dockerCli.Initialize(&flags.ClientOptions{Hosts: []string{"unix://" + socket}, LogLevel: "info"}); err != nil {
		t.Fatal(err)
	}
	root, _, _ := newRoot(dockerCli)
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return out.String(), errs.String(), message(err), exitCode(err)
}

// serve answers everything but pings with a status and a body.
func serve(t *testing.T, status int, body string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Api-Version", "1.55")
		if r.URL.Path != "/_ping" {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return socket
}

func TestNetworkCreateWarns(t *testing.T) {
	out, errs, text, code := at(t, serve(t, 201, `{"Id":"abc","Warning":"the host has a route"}`), "network", "create", "x")
	if out != "abc\n" || errs != "WARNING: the host has a route\n" || text != "" || code != 0 {
		t.Errorf("printed %q and %q, %q, exit code %d", out, errs, text, code)
	}
	if out, errs, _, _ := at(t, serve(t, 201, `{"Id":"abc","Warning":""}`), "network", "create", "x"); out != "abc\n" || errs != "" {
		t.Errorf("without a warning: %q and %q", out, errs)
	}
}

// What a command has said already is not followed by its exit code.
func TestUnknownNetworkIsSaidOnce(t *testing.T) {
	_, errs, text, code := at(t, serve(t, 404, `{"message":"network x not found"}`), "network", "rm", "x")
	if !strings.Contains(errs, "network x not found") || text != "" || code != 1 {
		t.Errorf("printed %q, then %q, exit code %d", errs, text, code)
	}
}

// Whatever asks a daemon that is not there says the same.
func TestNoDaemon(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none")
	want := "Cannot connect to the Jackstay daemon at unix://" + socket + ". Is jackstayd running?"
	for _, line := range []string{"network rm x", "network create x", "network ls", "ps", "fip ls", "link ls", "info", "inspect x", "rm x", "volume rm x", "rmi x", "stop x", "tenant ls"} {
		_, errs, text, code := at(t, socket, strings.Fields(line)...)
		if got := strings.TrimSpace(errs + text); got != want || code != 1 {
			t.Errorf("%s: %q, exit code %d, want %q", line, got, code, want)
		}
	}
}

// What Jackstay refuses is not listed, and says so.
func TestRefusedCommandsAreHidden(t *testing.T) {
	socket := serve(t, 501, `{"message":"committing a container to an image is not supported by Jackstay"}`)
	out, _, _, _ := at(t, socket, "--help")
	for _, line := range strings.Split(out, "\n") {
		for _, path := range refused {
			if words := strings.Fields(line); len(words) > 0 && words[0] == path[0] && len(path) == 1 {
				t.Errorf("listed: %s", line)
			}
		}
	}
	if !strings.Contains(out, "\n  exec ") {
		t.Errorf("the help lists no commands: %s", out)
	}
	if _, errs, text, code := at(t, socket, "commit", "web"); code != 1 || !strings.Contains(errs+text, "is not supported by Jackstay") {
		t.Errorf("commit: %q, exit code %d", errs+text, code)
	}
}
