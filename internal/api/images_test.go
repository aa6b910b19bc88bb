package api

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func (f *fixture) asked(call string) {
	f.Helper()
	for _, a := range f.images.asked {
		if a == call {
			return
		}
	}
	f.Errorf("the image store was not asked %q, but %q", call, f.images.asked)
}

func TestImagePull(t *testing.T) {
	for query, ref := range map[string]string{
		"fromImage=busybox&tag=latest":                         "busybox:latest",
		"fromImage=busybox":                                    "busybox:latest",
		"fromImage=busybox:":                                   "busybox:latest",
		"fromImage=busybox:1.2":                                "busybox:1.2",
		"fromImage=127.0.0.1:5000/a/b&tag=x":                   "127.0.0.1:5000/a/b:x",
		"fromImage=docker.io/library/busybox&tag=x":            "busybox:x",
		"fromImage=a/b&tag=sha256:" + strings.Repeat("ab", 32): "a/b@sha256:" + strings.Repeat("ab", 32),
		"fromImage=a/b@sha256:" + strings.Repeat("ab", 32):     "a/b@sha256:" + strings.Repeat("ab", 32),
		"fromImage=busybox&tag=latest&platform=linux%2Farm64":  "busybox:latest linux/arm64",
	} {
		f := newFixture(t)
		f.want("POST", "/images/create?"+query, "", 200, "Image is up to date for ")
		if !strings.Contains(ref, " ") {
			ref += " "
		}
		f.asked("pull " + ref)
	}
	f := newFixture(t)
	f.images.progress = []model.Progress{{ID: "aa", Status: "Downloading", Current: 1, Total: 2}, {ID: "aa", Status: "Pull complete"}, {Status: "Digest: sha256:x"}}
	auth := base64.URLEncoding.EncodeToString([]byte(`{"username":"u","password":"p","serveraddress":"r"}`))
	_, text := f.with("POST", "/images/create?fromImage=busybox&tag=latest", "", http.Header{"X-Registry-Auth": {auth}})
	if text != `{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"aa"}`+"\n"+
		`{"status":"Pull complete","progressDetail":{},"id":"aa"}`+"\n"+`{"status":"Digest: sha256:x"}`+"\n" {
		t.Error(text)
	}
	equal(t, "credentials", f.images.auth, model.RegistryAuth{Username: "u", Password: "p", ServerAddress: "r"})
	equal(t, "event", f.engine.emitted[0].Action+" "+f.engine.emitted[0].ID, "pull busybox:latest")
	f.images.fail["pull"] = errs.New(errs.NotFound, "manifest unknown")
	f.want("POST", "/images/create?fromImage=busybox", "", 200, `{"errorDetail":{"code":404,"message":"manifest unknown"},"error":"manifest unknown"}`)
	f.images.progress = nil
	f.want("POST", "/images/create?fromImage=busybox", "", 404, `{"message":"manifest unknown"}`)
	f.want("POST", "/images/create?fromImage=Bad", "", 400, "invalid reference format")
	f.want("POST", "/images/create?fromImage=scratch", "", 403, "'scratch' is a reserved name")
	f.want("POST", "/images/create?fromImage=a&tag=b!", "", 400, "invalid tag")
}

func TestImageImport(t *testing.T) {
	f := newFixture(t)
	status, text := f.with("POST", "/images/create?fromSrc=-&repo=my/app&tag=1&message=hi&changes=CMD+sh&changes=ENV+A%3Db", "tarball", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
	if status != 200 || text != `{"status":"sha256:new"}`+"\n" || f.images.body != "tarball" {
		t.Errorf("%d %s, body %q", status, text, f.images.body)
	}
	f.asked("import my/app:1 hi [CMD sh ENV A=b]")
	f.want("POST", "/images/create?fromSrc=-", "x", 200, "sha256:new")
	f.asked("import  Imported from - []")
	f.want("POST", "/images/create?fromSrc=http://x/y.tar", "", 501, "curl URL | docker import - NAME")
	f.want("POST", "/images/create", "", 400, "neither fromImage nor fromSrc")
	f.images.fail["import"] = errs.New(errs.Invalid, "unknown instruction: RUN")
	f.want("POST", "/images/create?fromSrc=-&changes=RUN+x", "x", 400, "unknown instruction: RUN")
}

func TestImageNamesWithSlashes(t *testing.T) {
	f := newFixture(t)
	f.want("GET", "/images/127.0.0.1:5000/a/b:tag/json", "", 200, `"Architecture":"amd64"`)
	f.want("GET", "/v1.40/images/127.0.0.1:5000%2Fa%2Fb:tag/json", "", 200, `"Architecture":"amd64"`)
	f.want("GET", "/images/127.0.0.1:5000/a/b:tag/history", "", 200, `"CreatedBy":"CMD sh","Id":"sha256:x"`)
	f.want("GET", "/images/127.0.0.1:5000/a/b:tag/get", "", 200, "tar")
	f.want("POST", "/images/127.0.0.1:5000/a/b/push?tag=x", "", 200, "Pushed")
	f.asked("push 127.0.0.1:5000/a/b:x")
	f.want("POST", "/images/127.0.0.1:5000/a/b:tag/tag?repo=c/d&tag=e", "", 201, "")
	f.asked("tag 127.0.0.1:5000/a/b:tag c/d:e")
	f.want("DELETE", "/images/127.0.0.1:5000/a/b:tag?force=1&noprune=1", "", 200, `[{"Untagged":"127.0.0.1:5000/a/b:tag"},{"Deleted":"sha256:ab"}]`)
	f.asked("remove 127.0.0.1:5000/a/b:tag true false false false")
	f.want("GET", "/images/nope/json", "", 404, "No such image: nope")
	f.want("POST", "/images/nope/tag?repo=x", "", 404, "No such image: nope")
	f.want("POST", "/images/busybox/tag", "", 400, "repo")
}

func TestImageInspectByVersion(t *testing.T) {
	f := newFixture(t)
	for version, want := range map[string][]string{
		"v1.43": {`"VirtualSize":1000`, `"ContainerConfig":{"Cmd":["sh"]`, `"Volumes":{"/data":{}}`, `"Hostname":""`, `"DockerVersion":""`},
		"v1.44": {`"ContainerConfig"`, `"Hostname":""`, "!VirtualSize"},
		"v1.49": {`"Hostname":""`, `"ContainerConfig":{"Cmd":["sh"]`, `"DockerVersion"`},
		"v1.55": {`"Config":{"Cmd":["sh"],"Entrypoint":null,"Env":["PATH=/bin"],"Labels":null,"OnBuild":null,"User":"","Volumes":{"/data":{}},"WorkingDir":"","ExposedPorts":{"80/tcp":{}}}`, "!Hostname", "!DockerVersion", `"RootFS":{"Type":"layers","Layers":["sha256:aa"]}`},
	} {
		_, text := f.do("GET", "/"+version+"/images/busybox/json", "")
		for _, w := range want {
			if not, found := strings.CutPrefix(w, "!"); strings.Contains(text, not) == found {
				t.Errorf("%s: %s in %s", version, w, text)
			}
		}
	}
}

func TestImageList(t *testing.T) {
	f := newFixture(t)
	f.engine.addContainer("web", true)
	f.want("GET", "/v1.50/images/json", "", 200, `"Containers":-1,`)
	f.want("GET", "/v1.51/images/json?shared-size=1", "", 200, `"Containers":1,`)
	f.want("GET", "/v1.43/images/json", "", 200, `"VirtualSize":1000`)
	f.want("GET", "/v1.50/images/json", "", 200, `"SharedSize":-1`)
	f.want("GET", "/v1.50/images/json?shared-size=1", "", 200, `"SharedSize":100`)
	f.do("GET", "/images/json?all=1&filters="+escape(`{"dangling":["true"],"label":["a=b"],"label!":["c"],"before":["x"],"since":["y"],"reference":["b*"]}`), "")
	yes := true
	equal(t, "filter", f.images.filter, model.ImageFilter{All: true, Dangling: &yes, Labels: []string{"a=b"}, NotLabels: []string{"c"}, Before: "x", Since: "y", Reference: []string{"b*"}})
	f.do("GET", "/v1.40/images/json?filter=busy", "")
	equal(t, "old filter", f.images.filter.Reference, []string{"busy"})
	f.want("GET", "/images/json?filters="+escape(`{"before":["a","b"]}`), "", 400, "more than one 'before'")
	img := f.images.images["busybox"]
	img.RepoTags = nil
	f.images.images["busybox"] = img
	f.want("GET", "/v1.42/images/json", "", 200, `"RepoDigests":["<none>@<none>"],"RepoTags":["<none>:<none>"]`)
	f.want("GET", "/v1.43/images/json", "", 200, `"RepoDigests":[],"RepoTags":[]`)
}

func TestImageLoadSavePush(t *testing.T) {
	f := newFixture(t)
	_, text := f.with("POST", "/images/load?quiet=1", "archive", http.Header{"Content-Type": {"application/x-tar"}})
	if text != `{"stream":"Loaded image: busybox:latest\n"}`+"\n"+`{"stream":"Loaded image ID: sha256:ab\n"}`+"\n" || f.images.body != "archive" {
		t.Errorf("%s %q", text, f.images.body)
	}
	f.want("GET", "/images/get?names=busybox&names=busybox:latest", "", 200, "tar")
	f.asked("save [busybox busybox:latest]")
	f.want("GET", "/images/get?names=busybox,busybox:latest", "", 200, "tar")
	f.want("GET", "/images/get?names=nope", "", 404, "No such image")
	f.want("GET", "/images/get", "", 400, "no image to save")
	f.images.fail["load"] = errs.New(errs.Invalid, "unexpected EOF")
	f.want("POST", "/images/load", "x", 400, "unexpected EOF")
	f.images.progress = []model.Progress{{ID: "aa", Status: "Pushed"}, {Tag: "x", Digest: "sha256:d", Size: 5}}
	f.want("POST", "/images/a/b/push?tag=x", "", 200, `{"status":"x: digest: sha256:d size: 5"}`+"\n"+`{"progressDetail":{},"aux":{"Digest":"sha256:d","Size":5,"Tag":"x"}}`)
	f.images.fail["push"] = errs.New(errs.Unauthorized, "denied")
	f.want("POST", "/images/a/b/push?tag=x", "", 200, `{"errorDetail":{"code":401,"message":"denied"},"error":"denied"}`)
}

func TestImagePruneSearchLogin(t *testing.T) {
	f := newFixture(t)
	f.want("POST", "/images/prune", "", 200, `{"ImagesDeleted":[{"Deleted":"sha256:ab"}],"SpaceReclaimed":1000}`)
	f.asked("prune true false")
	f.want("POST", "/images/prune?filters="+escape(`{"dangling":["false"],"label":["x"]}`), "", 200, "")
	f.asked("prune false true")
	f.want("GET", "/images/search?term=x&limit=3", "", 200, `[{"star_count":5,"is_official":true,"name":"x"`)
	f.asked("search x 3")
	if text := f.want("GET", "/images/search?term=x&filters="+escape(`{"stars":["3"]}`), "", 200, `"name":"x"`); strings.Contains(text, "x/x") {
		t.Error(text)
	}
	f.want("GET", "/images/search?term=x&limit=-1", "", 400, "invalid limit")
	f.want("POST", "/auth", `{"username":"u","password":"p"}`, 200, `"Status":"Login Succeeded"`)
	equal(t, "server", f.images.auth.ServerAddress, indexServer)
	f.images.fail["login"] = errs.New(errs.Unauthorized, "incorrect username or password")
	f.want("POST", "/auth", `{"auth":"`+base64.StdEncoding.EncodeToString([]byte("a:b"))+`"}`, 401, "incorrect username")
	equal(t, "auth field", f.images.auth.Username+" "+f.images.auth.Password, "a b")
}
