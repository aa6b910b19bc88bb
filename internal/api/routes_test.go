package api

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
)

func TestVersions(t *testing.T) {
	f := newFixture(t)
	for path, want := range map[string]struct {
		status int
		words  string
	}{
		"/_ping":             {200, "OK"},
		"/v1.21/_ping":       {200, "OK"},
		"/v1.55/_ping":       {200, "OK"},
		"/v1.20/_ping":       {400, "client version 1.20 is too old. Minimum supported API version is 1.21, please upgrade your client to a newer version"},
		"/v0.9/_ping":        {400, "too old"},
		"/v1.56/_ping":       {400, "client version 1.56 is too new. Maximum supported API version is 1.55"},
		"/v2.0/_ping":        {400, "too new"},
		"/version2/_ping":    {404, "page not found"},
		"/v1.44/nothing":     {404, "page not found"},
		"/v1.44":             {404, "page not found"},
		"/containers//x/top": {200, "PID"},
		"/networks/":         {200, "bridge"},
	} {
		status, text := f.do("GET", path, "")
		if status != want.status || !strings.Contains(text, want.words) {
			t.Errorf("%s: got %d %s, want %d …%s…", path, status, text, want.status, want.words)
		}
	}
	f.want("PATCH", "/containers/json", "", 404, `{"message":"page not found"}`)
}

func TestPing(t *testing.T) {
	f := newFixture(t)
	for _, method := range []string{"GET", "HEAD"} {
		r, _ := http.NewRequest(method, "/_ping", nil)
		w := newRecorder()
		f.server.ServeHTTP(w, r)
		for key, want := range map[string]string{
			"Api-Version": "1.55", "Docker-Experimental": "false", "Ostype": "linux", "Builder-Version": "1", "Swarm": "inactive",
			"Cache-Control": "no-cache, no-store, must-revalidate", "Server": "Jackstay/0.1.0 (linux)",
		} {
			if got := w.Header().Get(key); got != want {
				t.Errorf("%s: %s is %q, want %q", method, key, got, want)
			}
		}
	}
}

func TestStatusOf(t *testing.T) {
	for kind, want := range map[errs.Kind]int{
		errs.Unknown: 500, errs.NotFound: 404, errs.Conflict: 409, errs.Invalid: 400, errs.Forbidden: 403,
		errs.Unauthorized: 401, errs.Unavailable: 503, errs.NotImplemented: 501, errs.NotModified: 304,
	} {
		f := newFixture(t)
		f.engine.fail["start"] = errs.New(kind, "said so")
		status, text := f.do("POST", "/containers/x/start", "")
		if status != want || (want != 304) != (text == `{"message":"said so"}`+"\n") {
			t.Errorf("kind %d: got %d %q, want %d", kind, status, text, want)
		}
	}
}

func TestPanicBecomesAnAnswer(t *testing.T) {
	f := newFixture(t)
	f.server.engine = nil
	f.want("GET", "/info", "", 500, `"message":"internal error: `)
}

func TestMissingRoutesSayWhatToDo(t *testing.T) {
	f := newFixture(t)
	fill := strings.NewReplacer("{name}", "x", "{name...}", "x", "{path...}", "a/b/json", "{checkpoint}", "c")
	n := 0
	for _, rt := range routes() {
		if rt.Missing == "" {
			continue
		}
		n++
		status, text := f.do(rt.Method, "/v1.44"+fill.Replace(rt.Pattern), "")
		if status != 501 || (rt.Method != "HEAD" && !saysMissing(text, rt.Missing, rt.Instead)) {
			t.Errorf("%s %s: %d %s", rt.Method, rt.Pattern, status, text)
		}
	}
	if n < 50 {
		t.Errorf("only %d routes of Docker's are listed as missing", n)
	}
	f.want("GET", "/images/a/b/attestations", "", 501, "attestations")
	f.want("GET", "/images/a/b/nothing", "", 404, "page not found")
	f.want("POST", "/images/a/b/nothing", "", 404, "page not found")
}

func TestContentType(t *testing.T) {
	f := newFixture(t)
	status, text := f.with("POST", "/containers/create", `{"Image":"i"}`, http.Header{"Content-Type": {"text/plain"}})
	if status != 400 || !strings.Contains(text, "must be 'application/json'") {
		t.Errorf("%d %s", status, text)
	}
}

// TestCompatibilityTable keeps docs/compatibility.md true: run with
// UPDATE_DOCS=1 to write it.
func TestCompatibilityTable(t *testing.T) {
	const file, begin, end = "../../docs/compatibility.md", "<!-- routes: begin -->\n", "<!-- routes: end -->\n"
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		t.Fatal("docs/compatibility.md is missing")
	}
	text := string(data)
	i, j := strings.Index(text, begin), strings.Index(text, end)
	if i < 0 || j < i {
		t.Fatalf("%s has no marks %q and %q", file, begin, end)
	}
	want := text[:i+len(begin)] + compatibilityTable() + text[j:]
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != text {
		t.Errorf("%s differs from the route table: run UPDATE_DOCS=1 go test ./internal/api -run TestCompatibilityTable", file)
	}
}

func compatibilityTable() string {
	var b strings.Builder
	b.WriteString("| route | works | |\n| --- | --- | --- |\n")
	for _, rt := range routes() {
		works, note := "yes", rt.Note
		if rt.Missing != "" {
			works, note = "no (501)", rt.Missing+": "+rt.Instead
		}
		b.WriteString("| `" + rt.Method + " " + rt.Pattern + "` | " + works + " | " + note + " |\n")
	}
	return b.String()
}

// saysMissing: with the verb that the words ask for.
func saysMissing(text, what, instead string) bool {
	verb := " is "
	switch what {
	case "secrets", "configs", "managed plugins", "build sessions":
		verb = " are "
	}
	return strings.Contains(text, what+verb+"not supported by Jackstay: "+instead)
}
