//go:build linux

package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/jackstay/jackstay/internal/errs"
)

func save(t testing.TB, s *Store, refs ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := s.Save(ctx, refs, &buf); err != nil {
		t.Fatalf("saving %v: %v", refs, err)
	}
	return buf.Bytes()
}

// ociArchive turns the image into an OCI archive as other tools make it.
func ociArchive(t testing.TB, config, layer []byte, annotations ...map[string]string) []byte {
	t.Helper()
	var files []file
	blob := func(mediaType string, b []byte) imgspecv1.Descriptor {
		d := digest.FromBytes(b)
		f := file{name: "blobs/sha256/" + d.Encoded(), body: string(b)}
		if !slices.Contains(files, f) {
			files = append(files, f)
		}
		return imgspecv1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
	}
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	man := imgspecv1.Manifest{MediaType: imgspecv1.MediaTypeImageManifest, Config: blob(imgspecv1.MediaTypeImageConfig, config),
		Layers: []imgspecv1.Descriptor{blob(imgspecv1.MediaTypeImageLayerGzip, layer)}}
	man.SchemaVersion = 2
	index := imgspecv1.Index{MediaType: imgspecv1.MediaTypeImageIndex}
	index.SchemaVersion = 2
	for _, a := range annotations {
		d := blob(imgspecv1.MediaTypeImageManifest, encode(man))
		d.Annotations = a
		index.Manifests = append(index.Manifests, d)
	}
	files = append([]file{{name: "oci-layout", body: `{"imageLayoutVersion":"1.0.0"}`}, {name: "index.json", body: string(encode(index))}}, files...)
	return makeTar(t, files...)
}

func ociConfig(t testing.TB, layer []byte) []byte {
	t.Helper()
	b, err := json.Marshal(imageJSON{OS: "linux", Architecture: "amd64", Config: configJSON{Env: []string{"FROM=oci"}},
		RootFS: rootfsJSON{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSaveAndLoad: what is loaded is what was saved, IDs and tags included.
func TestSaveAndLoad(t *testing.T) {
	from := newStore(t)
	app := importImage(t, from, "app:1", `CMD ["/bin/app"]`, "HEALTHCHECK NONE", "EXPOSE 80")
	other := importImage(t, from, "localhost:5000/other:2")
	if err := from.Tag(ctx, "app:1", "app:2"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		refs, want []string
	}{
		"a tag":          {[]string{"app:1"}, []string{"app:1"}},
		"all tags":       {[]string{"app"}, []string{"app:1", "app:2"}},
		"an ID":          {[]string{app}, []string{app}},
		"several images": {[]string{"app:1", other[:20], "localhost:5000/other:2"}, []string{"app:1", "localhost:5000/other:2"}},
	} {
		t.Run(name, func(t *testing.T) {
			archive := save(t, from, c.refs...)
			to := newStore(t)
			loaded, err := to.Load(ctx, bytes.NewReader(archive))
			slices.Sort(loaded)
			equalList(t, "loaded", loaded, c.want)
			equal(t, "error", err, nil)
			for _, ref := range append([]string{app}, c.want...) {
				want, _ := from.Lookup(ctx, ref)
				got, err := to.Lookup(ctx, ref)
				if err != nil || got.ID != want.ID || got.Size != want.Size {
					t.Errorf("%s: got %+v %v, want %+v", ref, got, err, want)
				}
			}
			if err := to.CreateLayer(ctx, cid(1), app); err != nil {
				t.Fatal(err)
			}
			body, err := os.ReadFile(filepath.Join(mustMount(t, to, cid(1)), "data/old"))
			equal(t, "a file", string(body), "old")
			equal(t, "error", err, nil)
		})
	}
	if err := from.Save(ctx, []string{"nobody"}, io.Discard); !errs.Is(err, errs.NotFound) {
		t.Errorf("saving nobody: %v", err)
	}
}

// TestLoadWhatIsThere: an image that was imported here, whose layers have IDs of
// their own, only gets its names again.
func TestLoadWhatIsThere(t *testing.T) {
	s := newStore(t)
	id := importImage(t, s, "app:1")
	archive := save(t, s, "app:1")
	if err := s.Tag(ctx, "app:1", "app:2"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, "app:1", false, false, func(string) (string, bool, bool) { return "", false, false }); err != nil {
		t.Fatal(err)
	}
	loaded, err := s.Load(ctx, bytes.NewReader(archive))
	equalList(t, "loaded", loaded, []string{"app:1"})
	equal(t, "error", err, nil)
	got, err := s.Lookup(ctx, "app:1")
	equal(t, "error", err, nil)
	equal(t, "the image", got.ID, id)
}

func TestLoadCompressed(t *testing.T) {
	from := newStore(t)
	importImage(t, from, "app:1")
	archive := save(t, from, "app:1")
	for _, program := range []string{"gzip", "bzip2", "xz", "zstd"} {
		t.Run(program, func(t *testing.T) {
			if _, err := exec.LookPath(program); err != nil {
				t.Skip("needs ", program)
			}
			cmd := exec.Command(program, "-c")
			cmd.Stdin = bytes.NewReader(archive)
			packed, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			loaded, err := newStore(t).Load(ctx, bytes.NewReader(packed))
			equalList(t, "loaded", loaded, []string{"app:1"})
			equal(t, "error", err, nil)
		})
	}
}

func TestLoadOCI(t *testing.T) {
	layer := rootTar(t)
	config := ociConfig(t, layer)
	id := digest.FromBytes(config).String()
	refName := func(n string) map[string]string { return map[string]string{imgspecv1.AnnotationRefName: n} }
	for name, c := range map[string]struct {
		notes []map[string]string
		want  []string
	}{
		"named":        {[]map[string]string{refName("docker.io/library/app:1")}, []string{"app:1"}},
		"short name":   {[]map[string]string{refName("app")}, []string{"app:latest"}},
		"no name":      {[]map[string]string{nil}, []string{id}},
		"two names":    {[]map[string]string{refName("app:1"), refName("app:2")}, []string{"app:1", "app:2"}},
		"containerd's": {[]map[string]string{{"io.containerd.image.name": "docker.io/library/app:3", imgspecv1.AnnotationRefName: "3"}}, []string{"app:3"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			loaded, err := s.Load(ctx, bytes.NewReader(ociArchive(t, config, gzipped(t, layer), c.notes...)))
			equalList(t, "loaded", loaded, c.want)
			equal(t, "error", err, nil)
			img, err := s.Lookup(ctx, c.want[0])
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "ID", img.ID, id)
			equalList(t, "env", img.Config.Env, []string{"FROM=oci"})
			checkClean(t, s, 1, 1)
		})
	}
}

// TestLoadErrorsLeaveNothing: of a broken archive no image, layer or file stays.
func TestLoadErrorsLeaveNothing(t *testing.T) {
	from := newStore(t)
	importImage(t, from, "app:1")
	importImage(t, from, "app:2", "ENV A=1")
	archive := save(t, from, "app:1", "app:2")
	layer := rootTar(t)
	oci := ociArchive(t, ociConfig(t, layer), gzipped(t, layer), nil)
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"empty":                {nil, "archive is empty"},
		"text":                 {bytes.Repeat([]byte("no archive\n"), 200), "corrupted or not one"},
		"a root file system":   {layer, "neither manifest.json nor index.json"},
		"cut":                  {archive[:len(archive)/2], "corrupted"},
		"cut and packed":       {gzipped(t, archive)[:900], "corrupted"},
		"a changed layer":      {rewrite(t, archive, "ID=test", "ID=evil"), "corrupted"},
		"a changed OCI layer":  {rewriteBlob(t, oci), "corrupted"},
		"no second layer file": {without(t, archive, ".json", 2), "corrupted"},
		"a broken list":        {makeTar(t, file{name: "manifest.json", body: "{"}), "corrupted"},
		"an empty list":        {makeTar(t, file{name: "manifest.json", body: "[]"}), "no image"},
		"a broken index":       {makeTar(t, file{name: "index.json", body: "["}), "corrupted"},
		"a path outside":       {makeTar(t, file{name: "index.json", body: "{}"}, file{name: "../../evil", body: "x"}), "evil"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			loaded, err := s.Load(ctx, bytes.NewReader(c.body))
			if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v %v, want Invalid with %q", loaded, err, c.want)
			}
			checkClean(t, s, 0, 0)
		})
	}
	if _, err := newStore(t).Load(ctx, brokenReader{}); err == nil || errs.Is(err, errs.Invalid) {
		t.Errorf("a connection that breaks is not the archive's fault: %v", err)
	}
}

// TestFailedLoadKeepsWhatWasThere: an image of the archive that was there before stays.
func TestFailedLoadKeepsWhatWasThere(t *testing.T) {
	s := newStore(t)
	importImage(t, s, "app:1")
	importImage(t, s, "app:2", "ENV A=1")
	archive := save(t, s, "app:1", "app:2")
	if _, err := s.Remove(ctx, "app:2", false, false, unused); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(ctx, bytes.NewReader(without(t, archive, ".json", 2))); !errs.Is(err, errs.Invalid) {
		t.Errorf("got %v", err)
	}
	checkClean(t, s, 1, 1)
}

// rewrite replaces bytes anywhere in an archive.
func rewrite(t testing.TB, archive []byte, old, now string) []byte {
	t.Helper()
	out := bytes.ReplaceAll(archive, []byte(old), []byte(now))
	if bytes.Equal(out, archive) {
		t.Fatalf("%q is not in the archive", old)
	}
	return out
}

// rewriteBlob replaces the gzipped layer by another one of other contents.
func rewriteBlob(t testing.TB, archive []byte) []byte {
	t.Helper()
	return edit(t, archive, func(f *file) bool {
		if strings.HasPrefix(f.body, "\x1f\x8b") {
			f.body = string(gzipped(t, makeTar(t, file{name: "evil", body: "x"})))
		}
		return true
	})
}

// without drops the nth file whose name ends in suffix, manifest.json aside.
func without(t testing.TB, archive []byte, suffix string, n int) []byte {
	t.Helper()
	seen := 0
	return edit(t, archive, func(f *file) bool {
		if strings.HasSuffix(f.name, suffix) && f.name != "manifest.json" {
			seen++
			return seen != n
		}
		return true
	})
}

func edit(t testing.TB, archive []byte, keep func(*file) bool) []byte {
	t.Helper()
	var files []file
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return makeTar(t, files...)
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if f := (file{name: h.Name, body: string(body)}); keep(&f) {
			files = append(files, f)
		}
	}
}
