package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/test/host"
)

// TestDocumentedCommands runs every line after "$ " in the console blocks of
// the README and of docs, a daemon per document.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	documents, _ := filepath.Glob("../../docs/*.md")
	ran := 0
	for _, path := range append(documents, "../../README.md") {
		lines := consoleLines(t, path)
		if len(lines) == 0 {
			continue
		}
		ran += len(lines)
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			h := host.New(t)
			for _, line := range lines {
				// A busy machine wants longer than a reader until a server listens.
				if r := h.TrySh("set -e\n" + strings.ReplaceAll(line, "sleep 1;", "sleep 3;")); r.Code != 0 {
					t.Errorf("$ %s\nexit code %d\n%s%s", line, r.Code, r.Stdout, r.Stderr)
				}
			}
		})
	}
	if ran == 0 {
		t.Error("no document has a command to run")
	}
}

// consoleLines gives the commands of a document's ```console blocks.
func consoleLines(t *testing.T, path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case inside && strings.HasPrefix(line, "$ "):
			lines = append(lines, line[2:])
		}
	}
	return lines
}

// TestDemo runs the demonstration as `make demo` does, on a host of its own,
// and looks for what it leaves.
func TestDemo(t *testing.T) {
	t.Parallel()
	h := host.Bare(t)
	demo := filepath.Join(h.Bin, "..", "examples/demo/demo")
	env := "DEMO_ROOT=" + h.Dir + "/demo DEMO_RUN=" + h.Dir + "/demorun "
	state := func() string {
		return h.Sh("ip -o link; nft list ruleset; cat /proc/sys/net/ipv4/ip_forward; cut -d' ' -f5 /proc/self/mountinfo; ls -A " + h.Dir)
	}
	// A test host reaches no registry and no packages: the image is made before.
	packages := host.DebianTar(t, "redis", "redis-server")
	before := state()
	h.Sh("mkdir -p " + h.Dir + "/demo && cp " + packages + " " + h.Dir + "/demo/redis.tar")
	out := h.Sh(env + demo + " start")
	if n := strings.Count(out, "Counted in the Redis called redis, found at 172."); n != 2 {
		t.Errorf("the page was seen %d times, want twice:\n%s", n, out)
	}
	for _, want := range []string{"http://127.0.0.1:", "demo-stop", "--link datastore:redis"} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not print %q:\n%s", want, out)
		}
	}
	h.Sh(env + demo + " start") // a second time finds all in place
	h.Sh(env + demo + " stop")
	if after := state(); after != before {
		t.Errorf("left by the demo:\n%s\nbefore:\n%s", after, before)
	}
	if left := h.Processes(); len(left) > 0 {
		t.Errorf("processes left by the demo: %v", left)
	}
}
