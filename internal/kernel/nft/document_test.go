//go:build linux

package nft

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// blocks gives the sets, maps and chains of a table as they stand there.
func blocks(table string) []string {
	return regexp.MustCompile(`(?ms)^\t(?:set|map|chain) .*?^\t\}`).FindAllString(table, -1)
}

// The document shows each block as it is, and nothing that is no more.
func TestDocumentShowsRuleset(t *testing.T) {
	b, err := os.ReadFile("../../../docs/networking.md")
	must(t, err)
	doc := string(b)
	all := blocks(ruleset)
	if len(all) < 15 {
		t.Fatalf("only %d blocks found in ruleset.nft", len(all))
	}
	for _, block := range all {
		if !strings.Contains(doc, block) {
			t.Errorf("docs/networking.md does not show\n%s", block)
		}
	}
	for _, block := range blocks(doc) {
		if !strings.Contains(ruleset, block) {
			t.Errorf("docs/networking.md shows what is not in ruleset.nft:\n%s", block)
		}
	}
}

// What an operator lists is what the file says, comments and elements aside.
func TestListingIsRuleset(t *testing.T) {
	if !alone(t) {
		return
	}
	l := newLab(t)
	must(t, newFirewall(t).Load(t.Context(), empty()))
	plain := func(s string) string {
		var out []string
		for _, line := range strings.Split(s, "\n") {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "elements = ") {
				continue
			}
			out = append(out, strings.ReplaceAll(line, "priority dstnat", "priority -100"))
		}
		return strings.Join(out, "\n")
	}
	listed := l.nft("list", "table", "inet", "jackstay") + l.nft("list", "table", "bridge", "jackstay")
	if got, want := plain(listed), plain(ruleset); got != want {
		t.Errorf("listed\n%s\nwant\n%s", got, want)
	}
}

// The commands for debugging do what they are said to.
func TestDebugCommands(t *testing.T) {
	if !alone(t) {
		return
	}
	l := newLab(t)
	must(t, newFirewall(t).Load(t.Context(), sample()))
	b, err := os.ReadFile("../../../docs/networking.md")
	must(t, err)
	_, table, ok := strings.Cut(string(b), "## Debugging")
	if !ok {
		t.Fatal("no chapter on debugging")
	}
	ran := 0
	for _, m := range regexp.MustCompile("`((?:nft|ip|conntrack) [^`]*)`").FindAllStringSubmatch(table, -1) {
		line := strings.ReplaceAll(m[1], `\|`, "|")
		if strings.Contains(line, "flush ruleset") {
			continue
		}
		if _, err := exec.LookPath(strings.Fields(line)[0]); err != nil {
			continue
		}
		line = strings.ReplaceAll(line, "nft monitor trace", "timeout -s INT 0.2 nft monitor trace || true")
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", line, err, out)
		}
		ran++
	}
	if ran < 7 {
		t.Errorf("only %d commands were found and run", ran)
	}
	if out := l.nft("list", "tables"); strings.Contains(out, "trace") {
		t.Errorf("left behind: %s", out)
	}
}
