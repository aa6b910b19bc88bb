package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/jackstay/jackstay/"

// reasons says, for each package of the table in docs/architecture.md, why it
// may import no more of ours than its row allows.
var reasons = map[string]string{
	"internal/errs":      "everybody speaks of errors, so errors know nobody",
	"internal/keyed":     "a mutex knows nothing of what it guards",
	"internal/model":     "values everybody shares carry no behaviour along: what they import, everybody imports",
	"internal/desired":   "the wanted state says what, not why: kernel and resolver must not learn of containers' records",
	"internal/store":     "it keeps choices whatever they are for: a store that knew the engine or the plan would decide",
	"internal/alloc":     "choosing is a function of the sets it is given, so that its tests need no host and no store",
	"internal/groups":    "what rules let in follows from a snapshot alone, for the plan and for those who refuse too much of it",
	"internal/links":     "where a link leads and what environment it gives follow from a snapshot alone",
	"internal/netplan":   "a plan is a function of choices and facts: with the store or the kernel at hand it would look, and differ from time to time",
	"internal/engine":    "use cases ask through the interfaces they declare: with the kernel or the runtime imported they could not run over fakes",
	"internal/reconcile": "it compares wanted with found: with the choices at hand it would plan a second time, otherwise",
	"internal/kernel/":   "thin and idempotent: a kernel port that knew choices or loops would act on its own",
	"internal/dhcp":      "it speaks to servers; when to ask, renew and release is the engine's to decide",
	"internal/dns":       "it answers from the zones it is given: with the choices at hand it would have another truth",
	"internal/runtime":   "it runs what it is told to: networks and images are others' work",
	"internal/image":     "images know no containers beyond an ID",
	"internal/api":       "it translates: an API that reached past its backends would hold use cases of its own",
	"internal/cli":       "the command speaks to the daemon through its API, as every other client does",
	"internal/cli/":      "the command speaks to the daemon through its API, as every other client does",
	"internal/version":   "a version is a fact of the build",
}

// pure are the packages that import nothing but the standard library and ours.
var pure = []string{
	"internal/errs", "internal/keyed", "internal/model", "internal/desired", "internal/alloc", "internal/groups", "internal/links", "internal/netplan", "internal/version",
}

// TestImports checks every import of ours against the table in
// docs/architecture.md. Tests may import what they need.
func TestImports(t *testing.T) {
	table := readTable(t, "../docs/architecture.md")
	checked := 0
	for dir, files := range packages(t) {
		allowed, ok := table[dir]
		if !ok {
			t.Errorf("%s has no row in the table of docs/architecture.md: say there what it does and what it may import", dir)
			continue
		}
		why := reasonFor(dir)
		if why == "" && !slices.Contains(allowed, "anything") {
			t.Errorf("%s has no reason in this test", dir)
		}
		for _, f := range files {
			for _, imp := range importsOf(t, f) {
				checked++
				if ban := banned(dir, imp, allowed); ban != "" {
					t.Errorf("%s imports %s, %s: %s", f, imp, ban, why)
				}
			}
		}
	}
	for dir := range table {
		if _, err := os.Stat(filepath.Join("..", dir)); err != nil {
			t.Errorf("the table of docs/architecture.md has a row for %s, which is not there", dir)
		}
	}
	if checked < 50 {
		t.Errorf("only %d imports found: this test looks in the wrong place", checked)
	}
}

// banned says what is wrong with an import, or nothing.
func banned(dir, imp string, allowed []string) string {
	ours, isOurs := strings.CutPrefix(imp, module)
	switch {
	case slices.Contains(allowed, "anything"):
		return ""
	case isOurs && !slices.Contains(allowed, ours):
		return "which docs/architecture.md does not allow"
	case !isOurs && slices.Contains(pure, dir) && strings.Contains(strings.Split(imp, "/")[0], "."):
		return "which is not of the standard library"
	}
	return ""
}

// TestBanned: the test above can fail.
func TestBanned(t *testing.T) {
	for _, tt := range []struct {
		dir, imp string
		allowed  []string
		fine     bool
	}{
		{"internal/dns", module + "internal/desired", []string{"internal/desired"}, true},
		{"internal/dns", module + "internal/model", []string{"internal/desired"}, false},
		{"internal/dns", "github.com/miekg/dns", nil, true},
		{"internal/netplan", "github.com/miekg/dns", nil, false},
		{"internal/netplan", "net/netip", nil, true},
		{"cmd/jackstayd", module + "internal/dns", []string{"anything"}, true},
	} {
		if got := banned(tt.dir, tt.imp, tt.allowed); (got == "") != tt.fine {
			t.Errorf("%s imports %s: %q", tt.dir, tt.imp, got)
		}
	}
}

func reasonFor(dir string) string {
	if why := reasons[dir]; why != "" {
		return why
	}
	for prefix, why := range reasons {
		if strings.HasSuffix(prefix, "/") && strings.HasPrefix(dir, prefix) {
			return why
		}
	}
	return ""
}

// readTable gives the rows of the package table: directory to what it may
// import of ours.
func readTable(t *testing.T, file string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| (`(?:cmd|internal)/[^|]*) \\|[^|]*\\| ([^|]*) \\|$")
	remark := regexp.MustCompile(`\([^)]*\)`)
	table := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(string(data), -1) {
		var allowed []string
		for _, a := range strings.Split(remark.ReplaceAllString(m[2], ""), ",") {
			switch a = strings.TrimSpace(a); a {
			case "–", "":
			case "anything":
				allowed = append(allowed, a)
			default:
				allowed = append(allowed, "internal/"+a)
			}
		}
		for _, dir := range strings.Split(m[1], ",") {
			table[strings.Trim(dir, " `")] = allowed
		}
	}
	if len(table) < 15 {
		t.Fatalf("%s: %d rows found in the package table", file, len(table))
	}
	return table
}

// packages gives the directories with Go code that is not a test's, and their files.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, root := range []string{"../cmd", "../internal"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")
			if base := filepath.Base(dir); base == "util" || base == "utils" || base == "common" || base == "helpers" {
				t.Errorf("%s: a package is named for what it does", dir)
			}
			out[dir] = append(out[dir], path)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// importsOf gives a file's imports, and refuses init functions: wiring is cmd's.
func importsOf(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			t.Errorf("%s registers in init(): let cmd wire it", file)
		}
	}
	var out []string
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, path)
	}
	return out
}
