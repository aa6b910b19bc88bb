//go:build linux

package image

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func unused(string) (string, bool, bool) { return "", false, false }

func TestImportGivesItsConfiguration(t *testing.T) {
	s := newStore(t)
	id, err := s.Import(ctx, bytes.NewReader(rootTar(t)), "app:1", "made by hand", "linux/arm64", []string{
		`ENTRYPOINT ["/bin/app"]`, "CMD serve --all", "ENV A=1 B=\"two words\"", "EXPOSE 53/udp 80", "WORKDIR /data",
		"USER 100:200", "LABEL tier=web", "VOLUME /data", "STOPSIGNAL SIGINT",
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Lookup(ctx, "app:1")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "ID", got.ID, id)
	equal(t, "platform", got.Platform, "linux/arm64")
	c := got.Config
	equalList(t, "entrypoint", c.Entrypoint, []string{"/bin/app"})
	equalList(t, "cmd", c.Cmd, []string{"/bin/sh", "-c", "serve --all"})
	equalList(t, "env", c.Env, []string{"A=1", "B=two words"})
	equalList(t, "ports", c.ExposedPorts, []model.Port{{Number: 53, Proto: "udp"}, {Number: 80, Proto: "tcp"}})
	equalList(t, "volumes", c.Volumes, []string{"/data"})
	equal(t, "others", fmt.Sprint(c.WorkingDir, c.User, c.Labels, c.StopSignal), "/data100:200map[tier:web]SIGINT")

	d, err := s.Detail(ctx, got.ID)
	if err != nil {
		t.Fatal(err)
	}
	equalList(t, "tags", d.RepoTags, []string{"app:1"})
	equal(t, "comment", d.Comment, "made by hand")
	equal(t, "layers", len(d.Layers), 1)
	equal(t, "history", len(d.History), 1)
	equal(t, "history's ID", d.History[0].ID, id)
	equal(t, "history's size", d.History[0].Size, d.Size)
	if d.GraphData["UpperDir"] == "" || d.Size == 0 || time.Since(d.Created) > time.Minute {
		t.Errorf("detail: %+v", d)
	}
	usage, err := s.DiskUsage(ctx)
	equal(t, "usage", usage, d.Size)
	equal(t, "error", err, nil)
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestImportErrorsLeaveNothing(t *testing.T) {
	s := newStore(t)
	plain := rootTar(t)
	packed := gzipped(t, plain)
	for name, c := range map[string]struct {
		body     []byte
		ref      string
		platform string
		change   string
		want     string
	}{
		"empty":          {nil, "x", "", "", "archive is empty"},
		"text":           {bytes.Repeat([]byte("no archive\n"), 200), "x", "", "", "corrupted or not one"},
		"cut":            {plain[:700], "x", "", "", "corrupted or not one"},
		"cut gzip":       {packed[:len(packed)/2], "x", "", "", "corrupted or not one"},
		"bad name":       {plain, "Upper", "", "", "must be lowercase"},
		"digest as name": {plain, "x@sha256:" + cid(1), "", "", "digest reference"},
		"bad platform":   {plain, "x", "a/b/c/d", "", "invalid platform"},
		"bad change":     {plain, "x", "", "RUN rm -rf /", `invalid change "RUN rm -rf /"`},
	} {
		t.Run(name, func(t *testing.T) {
			var changes []string
			if c.change != "" {
				changes = append(changes, c.change)
			}
			_, err := s.Import(ctx, bytes.NewReader(c.body), c.ref, "", c.platform, changes)
			if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want Invalid with %q", err, c.want)
			}
			checkClean(t, s, 0, 0)
		})
	}
	if _, err := s.Import(ctx, brokenReader{}, "x", "", "", nil); err == nil || errs.Is(err, errs.Invalid) {
		t.Errorf("a connection that breaks is not the archive's fault: %v", err)
	}
	checkClean(t, s, 0, 0)
}

func TestImportCompressedAndOverTag(t *testing.T) {
	s := newStore(t)
	first := importImage(t, s, "app")
	second, err := s.Import(ctx, bytes.NewReader(gzipped(t, makeTar(t, file{name: "x", body: "y"}))), "app", "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	now, err := s.Lookup(ctx, "docker.io/library/app:latest")
	equal(t, "error", err, nil)
	equal(t, "the tag's image", now.ID, second)
	yes := true
	list, err := s.List(ctx, model.ImageFilter{Dangling: &yes})
	if err != nil || len(list) != 1 || list[0].ID != first || !list[0].Dangling {
		t.Errorf("dangling: %+v, %v", list, err)
	}
}

func TestLookup(t *testing.T) {
	s := newStore(t)
	id := importImage(t, s, "app")
	if err := s.Tag(ctx, "app", "localhost:5000/team/app:v2"); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"app", "app:latest", "library/app", "docker.io/app", "localhost:5000/team/app:v2", id, id[7:], id[7:8], id[:10], id[7:19]} {
		if got, err := s.Lookup(ctx, ref); err != nil || got.ID != id {
			t.Errorf("%s: %v %v", ref, got.ID, err)
		}
	}
	for ref, want := range map[string]struct {
		kind errs.Kind
		text string
	}{
		"redis":                      {errs.NotFound, "No such image: redis:latest"},
		"app:v9":                     {errs.NotFound, "No such image: app:v9"},
		"sha256:" + cid(1):           {errs.NotFound, "No such image: sha256:" + cid(1)},
		"redis@sha256:" + cid(1):     {errs.NotFound, "No such image: redis@sha256:" + cid(1)},
		"Upper":                      {errs.Invalid, "invalid reference format: repository name (library/Upper) must be lowercase"},
		"a b":                        {errs.Invalid, "invalid reference format"},
		"localhost:5000/team/app:v3": {errs.NotFound, "No such image: localhost:5000/team/app:v3"},
	} {
		if _, err := s.Lookup(ctx, ref); !errs.Is(err, want.kind) || err.Error() != want.text {
			t.Errorf("%s: got %v, want %s", ref, err, want.text)
		}
	}
	// Sixteen more images share a first digit with another one.
	seen := map[string]bool{id[7:8]: true}
	for n := 0; n < 17; n++ {
		more := importImage(t, s, "", fmt.Sprintf("ENV N=%d", n))
		if !seen[more[7:8]] {
			seen[more[7:8]] = true
			continue
		}
		if _, err := s.Lookup(ctx, more[7:8]); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "multiple IDs") {
			t.Errorf("an ambiguous prefix: %v", err)
		}
		return
	}
	t.Error("18 IDs without a common first digit")
}

func TestListFilters(t *testing.T) {
	s := newStore(t)
	for _, name := range []string{"old:1", "web:1", "localhost:5000/web:2", "new:1"} {
		importImage(t, s, name, "LABEL name="+name, "LABEL all=yes")
		time.Sleep(2 * time.Millisecond)
	}
	no := false
	mid, err := s.Lookup(ctx, "web:1")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		filter model.ImageFilter
		want   string
	}{
		"none":         {model.ImageFilter{}, "new:1 localhost:5000/web:2 web:1 old:1"},
		"not dangling": {model.ImageFilter{Dangling: &no}, "new:1 localhost:5000/web:2 web:1 old:1"},
		"label":        {model.ImageFilter{Labels: []string{"all", "name=web:1"}}, "web:1"},
		"not label":    {model.ImageFilter{NotLabels: []string{"name=web:1", "name=new:1"}}, "localhost:5000/web:2 old:1"},
		"before":       {model.ImageFilter{Before: "web:1"}, "old:1"},
		"since":        {model.ImageFilter{Since: "web:1"}, "new:1 localhost:5000/web:2"},
		"until":        {model.ImageFilter{Until: mid.Created}, "old:1"},
		"reference":    {model.ImageFilter{Reference: []string{"web"}}, "web:1"},
		"pattern":      {model.ImageFilter{Reference: []string{"*:1"}}, "new:1 web:1 old:1"},
		"two patterns": {model.ImageFilter{Reference: []string{"new", "localhost:5000/*"}}, "new:1 localhost:5000/web:2"},
	} {
		list, err := s.List(ctx, c.filter)
		var got []string
		for _, d := range list {
			got = append(got, d.RepoTags...)
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v %v, want %s", name, got, err, c.want)
		}
	}
	if _, err := s.List(ctx, model.ImageFilter{Before: "nobody"}); !errs.Is(err, errs.NotFound) {
		t.Errorf("before nobody: %v", err)
	}
	if _, err := s.List(ctx, model.ImageFilter{Reference: []string{"["}}); !errs.Is(err, errs.Invalid) {
		t.Errorf("a broken pattern: %v", err)
	}
}

func TestTagErrors(t *testing.T) {
	s := newStore(t)
	importImage(t, s, "app")
	for _, c := range []struct {
		ref, target string
		kind        errs.Kind
	}{
		{"nobody", "x", errs.NotFound}, {"app", "X", errs.Invalid}, {"app", "x@sha256:" + cid(1), errs.Invalid}, {"app", "sha256:" + cid(1), errs.Invalid},
	} {
		if err := s.Tag(ctx, c.ref, c.target); !errs.Is(err, c.kind) {
			t.Errorf("tag %s %s: %v", c.ref, c.target, err)
		}
	}
}

// TestRemove walks Docker's rules: what goes, what stays, what is refused.
func TestRemove(t *testing.T) {
	const user = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	running := func(string) (string, bool, bool) { return user, true, true }
	stopped := func(string) (string, bool, bool) { return user, false, true }
	for name, c := range map[string]struct {
		tags  []string // beside app:latest
		ref   string   // ID: the image's
		force bool
		inUse func(string) (string, bool, bool)
		want  string // records or error; ID stands for its short form
		stays bool
	}{
		"last name":                   {nil, "app", false, unused, "-app:latest x", false},
		"one of two names":            {[]string{"app:2"}, "app", false, unused, "-app:latest", true},
		"by ID":                       {nil, "ID", false, unused, "-app:latest x", false},
		"by ID, two names":            {[]string{"app:2"}, "ID", false, unused, "conflict: unable to delete ID (must be forced) - image is referenced in multiple repositories", true},
		"by ID, two names, forced":    {[]string{"other:2"}, "ID", true, unused, "-app:latest -other:2 x", false},
		"used by a stopped one":       {nil, "app", false, stopped, `conflict: unable to remove repository reference "app" (must force) - container 0123456789ab is using its referenced image ID`, true},
		"used, one of two names":      {[]string{"app:2"}, "app", false, running, "-app:latest", true},
		"by ID, stopped":              {nil, "ID", false, stopped, "conflict: unable to delete ID (must be forced) - image is being used by stopped container 0123456789ab", true},
		"by ID, running":              {nil, "ID", false, running, "conflict: unable to delete ID (cannot be forced) - image is being used by running container 0123456789ab", true},
		"by ID, running, forced":      {nil, "ID", true, running, "conflict: unable to delete ID (cannot be forced) - image is being used by running container 0123456789ab", true},
		"running, forced: only named": {nil, "app", true, running, "-app:latest", true},
		"nobody":                      {nil, "nobody", false, unused, "No such image: nobody:latest", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			id := importImage(t, s, "app")
			for _, tag := range c.tags {
				if err := s.Tag(ctx, "app", tag); err != nil {
					t.Fatal(err)
				}
			}
			ref := strings.Replace(c.ref, "ID", id[7:19], 1)
			records, err := s.Remove(ctx, ref, c.force, true, c.inUse)
			var got []string
			for _, r := range records {
				if r.Untagged != "" {
					got = append(got, "-"+r.Untagged)
				} else {
					equal(t, "deleted", r.Deleted, id)
					got = append(got, "x")
				}
			}
			if err != nil {
				got = []string{err.Error()}
			}
			slices.SortFunc(got, strings.Compare) // -names, then the image
			equal(t, "result", strings.Join(got, " "), strings.Replace(c.want, "ID", id[7:19], 1))
			if c.stays {
				checkClean(t, s, 1, 1)
			} else {
				checkClean(t, s, 0, 0)
			}
		})
	}
}

// TestForcedRemovalKeepsTheContainersFiles: the image is gone for users, its
// files stay until the last container on it is removed.
func TestForcedRemovalKeepsTheContainersFiles(t *testing.T) {
	dir := tempDir(t)
	s := openStore(t, dir)
	id := importImage(t, s, "app")
	if err := s.CreateLayer(ctx, cid(1), id); err != nil {
		t.Fatal(err)
	}
	stopped := func(string) (string, bool, bool) { return cid(1), false, true }
	if _, err := s.Remove(ctx, "app", true, true, stopped); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lookup(ctx, id); !errs.Is(err, errs.NotFound) {
		t.Errorf("after rmi -f: %v", err)
	}
	if list, _ := s.List(ctx, model.ImageFilter{}); len(list) != 0 {
		t.Errorf("after rmi -f it is listed: %v", list)
	}
	root := mustMount(t, s, cid(1))
	if _, err := os.Stat(root + "/bin/app"); err != nil {
		t.Error(err)
	}
	if err := s.Unmount(ctx, cid(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	mustMount(t, s, cid(1))
	if err := s.RemoveLayer(ctx, cid(1)); err != nil {
		t.Fatal(err)
	}
	checkClean(t, s, 0, 0)
}

func TestPrune(t *testing.T) {
	s := newStore(t)
	importImage(t, s, "app")         // becomes dangling
	used := importImage(t, s, "app") // has the name now
	importImage(t, s, "spare", "LABEL keep=yes")
	importImage(t, s, "other")
	inUse := func(id string) (string, bool, bool) { return "c", false, id == used }
	keep := func(d model.ImageDetail) bool { return d.Config.Labels["keep"] == "yes" }

	records, freed, err := s.Prune(ctx, true, nil, inUse)
	if err != nil || len(records) != 1 || freed != 0 { // its layer is another's too
		t.Errorf("dangling: %v %d %v", records, freed, err)
	}
	records, _, err = s.Prune(ctx, false, keep, inUse)
	if err != nil || len(records) != 2 || records[0].Untagged != "other:latest" {
		t.Errorf("all: %v %v", records, err)
	}
	list, err := s.List(ctx, model.ImageFilter{})
	if err != nil || len(list) != 2 {
		t.Errorf("left: %v %v", list, err)
	}
}

func TestManyImportsAtOnce(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	for n := range 12 {
		wg.Go(func() {
			if n%3 == 0 {
				if _, err := s.Import(ctx, strings.NewReader(strings.Repeat("junk", 500)), "", "", "", nil); err == nil {
					t.Error("junk imported")
				}
				return
			}
			importImage(t, s, fmt.Sprintf("app:%d", n))
		})
	}
	wg.Wait()
	checkClean(t, s, 8, 1) // the same content is the same layer
}

// TestImageConfigIsTheCallers: what a caller does to a configuration stays with it.
func TestImageConfigIsTheCallers(t *testing.T) {
	s := newStore(t)
	importImage(t, s, "app", "LABEL a=b", "ENV A=1")
	one, _ := s.Lookup(ctx, "app")
	one.Config.Labels["a"], one.Config.Env[0] = "changed", "changed"
	two, _ := s.Lookup(ctx, "app")
	got, _ := json.Marshal([]any{two.Config.Labels, two.Config.Env})
	equal(t, "configuration", string(got), `[{"a":"b"},["A=1"]]`)
}

// BenchmarkImport imports a root file system of 1.2 MB.
func BenchmarkImport(b *testing.B) {
	s := newStore(b)
	body := strings.Repeat("0123456789abcdef", 75_000)
	archive := makeTar(b, file{name: "bin/"}, file{name: "bin/busybox", body: body, mode: 0o755})
	for b.Loop() {
		if _, err := s.Import(ctx, bytes.NewReader(archive), "", "", "", nil); err != nil {
			b.Fatal(err)
		}
	}
}
