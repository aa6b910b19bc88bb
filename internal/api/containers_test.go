package api

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func (f *fixture) json(target string, into any) {
	f.Helper()
	status, text := f.do("GET", target, "")
	if status != 200 {
		f.Fatalf("%s: %d %s", target, status, text)
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		f.Fatal(err)
	}
}

func TestContainerCalls(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		method, target, body string
		status               int
		call                 string
	}{
		{"POST", "/containers/x/start", "", 204, "start x"},
		{"POST", "/v1.22/containers/x/start", "{}", 204, "start x"},
		{"POST", "/v1.23/containers/x/start", `{"Binds":null,"Privileged":false}`, 204, "start x"},
		{"POST", "/containers/x/stop", "", 204, "stop x  nil"},
		{"POST", "/containers/x/stop?t=-1&signal=TERM", "", 204, "stop x TERM -1"},
		{"POST", "/v1.41/containers/x/stop?t=5&signal=TERM", "", 204, "stop x  5"},
		{"POST", "/containers/x/restart?t=0", "", 204, "restart x  0"},
		{"POST", "/containers/x/kill", "", 204, "kill x SIGKILL"},
		{"POST", "/containers/x/kill?signal=HUP", "", 204, "kill x HUP"},
		{"POST", "/containers/x/pause", "", 204, "pause x"},
		{"POST", "/containers/x/unpause", "", 204, "unpause x"},
		{"POST", "/containers/x/rename?name=y", "", 204, "rename x y"},
		{"POST", "/containers/x/resize?h=24&w=80", "", 200, "resize x 24 80"},
		{"DELETE", "/containers/x?v=1&force=true", "", 204, "remove x true true"},
		{"DELETE", "/v1.30/containers//x?v=0", "", 204, "remove x false false"},
		{"GET", "/containers/x/top?ps_args=aux", "", 200, "top x aux"},
		{"GET", "/containers/x/changes", "", 200, "changes"},
		{"POST", "/containers/x/update", `{"Memory":5}`, 200, "update x"},
	} {
		f.engine.calls = nil
		status, text := f.do(c.method, c.target, c.body)
		if status != c.status || !slices.Contains(f.engine.calls, c.call) {
			t.Errorf("%s %s: %d %s, calls %q, want %d %q", c.method, c.target, status, text, f.engine.calls, c.status, c.call)
		}
	}
	f.want("GET", "/containers/x/changes", "", 200, "null\n")
	f.want("POST", "/containers/x/start", `{"Binds":["/a:/b"]}`, 400, "non-empty request body was deprecated")
	f.want("POST", "/containers/x/start?checkpoint=c", "", 501, "checkpoint")
	f.want("POST", "/containers/x/stop?t=soon", "", 400, "parameter t: must be a number")
	f.want("POST", "/containers/x/rename", "", 400, "Neither old nor new names may be empty")
	f.want("DELETE", "/containers/web/alias?link=1", "", 501, "link")
	f.engine.fail["kill"] = errs.New(errs.Conflict, "container x is not running")
	f.want("POST", "/containers/x/kill", "", 409, "cannot kill container: x: container x is not running")
	f.engine.fail["stop"] = errs.New(errs.NotModified, "already stopped")
	f.want("POST", "/containers/x/stop", "", 304, "")
}

func TestUpdate(t *testing.T) {
	f := newFixture(t)
	f.want("POST", "/containers/x/update", `{"Memory":5,"PidsLimit":-1,"MemorySwappiness":null,"OomKillDisable":null,"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3}}`, 200, `{"Warnings":[]}`)
	zero := int64(0)
	equal(t, "update", f.engine.updates[0], model.UpdateRequest{
		Resources: model.Resources{Memory: 5, PidsLimit: &zero}, RestartPolicy: &model.RestartPolicy{Name: "on-failure", MaxRetries: 3},
	})
	f.want("POST", "/containers/x/update", `{"NetRateIn":"1mbit,dev=2mbit","NetRateOut":"none"}`, 200, "")
	equal(t, "rates", f.engine.updates[1], model.UpdateRequest{RateIn: "1mbit,dev=2mbit", RateOut: "none"})
	f.want("POST", "/v1.39/containers/x/update", `{"PidsLimit":5,"RestartPolicy":{"Name":""}}`, 200, "")
	equal(t, "old update", f.engine.updates[2], model.UpdateRequest{})
	for body, words := range map[string]string{
		`{"KernelMemory":5}`:                 "KernelMemory is not supported",
		`{"CpuRealtimePeriod":5}`:            "--cpu-rt-period",
		`{"Devices":[{"PathOnHost":"/d"}]}`:  "--device",
		`{"CgroupParent":"/x"}`:              "--cgroup-parent",
		`{"RestartPolicy":{"Name":"maybe"}}`: "unknown policy",
		``:                                   "got EOF",
	} {
		f.want("POST", "/containers/x/update", body, 400, words)
	}
}

func TestInspect(t *testing.T) {
	f := newFixture(t)
	f.engine.addNetwork("dev", "10.0.0.0/24", "10.0.0.1")
	db, web := f.engine.addContainer("db", true), f.engine.addContainer("web", true)
	f.engine.join(db, "bridge", "172.17.0.3/16")
	f.engine.join(web, "bridge", "172.17.0.2/16")
	e := f.engine.join(web, "dev", "10.0.0.2/24")
	e.Aliases, e.RequestedIPv4, e.RequestedMAC = []string{"search"}, netip.MustParseAddr("10.0.0.2"), "02:42:0a:00:00:02"
	f.engine.link(web, db, "bridge", "data")
	f.engine.link(web, db, "dev", "d")
	web.Config.Hostname = "h"
	web.Config.ExposedPorts = []model.Port{{Number: 80, Proto: "tcp"}, {Number: 443, Proto: "tcp"}}
	web.Ports = []model.PortMapping{{HostIP: zeroAddr, HostPort: 49153, Port: model.Port{Number: 80, Proto: "tcp"}}}
	web.Host.PortBindings = []model.PortBinding{{Port: model.Port{Number: 80, Proto: "tcp"}}}
	web.Host.MountSpecs = []model.Mount{{Type: "volume", Name: "v", Destination: "/d", RW: true, NoCopy: true}}

	var got map[string]any
	f.json("/v1.50/containers/web/json?size=1", &got)
	at := func(path string) any {
		var v any = got
		for _, key := range strings.Split(path, ".") {
			m, ok := v.(map[string]any)
			if !ok {
				return nil
			}
			v = m[key]
		}
		return v
	}
	for path, want := range map[string]any{
		"Id": web.ID, "Name": "/web", "Path": "sleep", "Args": []any{"1 h"}, "Platform": "linux", "Driver": "overlay", "RestartCount": 0.0,
		"HostsPath": "/root/containers/" + web.ID + "/hosts", "LogPath": "/root/containers/" + web.ID + "/container.log",
		"SizeRw": 10.0, "SizeRootFs": 1000.0, "State.Status": "running", "State.Running": true, "State.Dead": false, "State.Health": nil,
		"State.FinishedAt": "0001-01-01T00:00:00Z", "Config.Image": "busybox", "Config.Hostname": "h", "ExecIDs": nil,
		"HostConfig.Links": []any{"/db:/web/data"}, "HostConfig.NetworkMode": "bridge", "HostConfig.RestartPolicy.Name": "no",
		"HostConfig.LogConfig.Type": "json-file", "HostConfig.ShmSize": 67108864.0, "HostConfig.IpcMode": "private",
		"HostConfig.PortBindings": map[string]any{"80/tcp": []any{map[string]any{"HostIp": "", "HostPort": ""}}},
		"HostConfig.Mounts":       []any{map[string]any{"Type": "volume", "Source": "v", "Target": "/d", "VolumeOptions": map[string]any{"NoCopy": true}}},
		"NetworkSettings.Ports":   map[string]any{"443/tcp": nil, "80/tcp": []any{map[string]any{"HostIp": "0.0.0.0", "HostPort": "49153"}}},
		"NetworkSettings.Bridge":  "", "NetworkSettings.IPAddress": "172.17.0.2", "NetworkSettings.IPPrefixLen": 16.0,
		"NetworkSettings.Gateway": "172.17.0.1", "NetworkSettings.MacAddress": "02:42:ac:11:00:02", "NetworkSettings.GlobalIPv6Address": "",
		"NetworkSettings.SandboxKey": "/run/netns/" + web.ID, "NetworkSettings.SandboxID": web.ID,
		"NetworkSettings.Networks.bridge.Aliases": nil, "NetworkSettings.Networks.bridge.Links": nil, "NetworkSettings.Networks.bridge.IPAMConfig": nil,
		"NetworkSettings.Networks.dev.IPAddress": "10.0.0.2", "NetworkSettings.Networks.dev.IPPrefixLen": 24.0, "NetworkSettings.Networks.dev.Gateway": "10.0.0.1",
		"NetworkSettings.Networks.dev.Aliases": []any{"search"}, "NetworkSettings.Networks.dev.Links": []any{"db:d"},
		"NetworkSettings.Networks.dev.DNSNames":   []any{"web", "search", web.ID[:12], "h"},
		"NetworkSettings.Networks.dev.IPAMConfig": map[string]any{"IPv4Address": "10.0.0.2"},
	} {
		equal(t, path, at(path), want)
	}
	if _, ok := got["Config"].(map[string]any)["MacAddress"]; ok {
		t.Error("Config.MacAddress is of API < 1.44")
	}
	web.Host.NetworkMode = "dev"
	f.json("/v1.43/containers/web/json", &got)
	equal(t, "old MacAddress", at("Config.MacAddress"), any("02:42:0a:00:00:02"))
	equal(t, "old aliases", at("NetworkSettings.Networks.dev.Aliases"), any([]any{"search", web.ID[:12], "h"}))
}

func TestInspectStopped(t *testing.T) {
	f := newFixture(t)
	web := f.engine.addContainer("web", false)
	e := f.engine.join(web, "bridge", "172.17.0.2/16")
	e.RequestedIPv4 = netip.MustParseAddr("172.17.0.2")
	web.Config.ExposedPorts = []model.Port{{Number: 80, Proto: "tcp"}}
	var got struct {
		NetworkSettings struct {
			IPAddress  *string
			FloatingIP json.RawMessage
			Ports      map[string]any
			Networks   map[string]struct {
				IPAddress, NetworkID string
				IPAMConfig           map[string]string
			}
		}
	}
	f.json("/containers/web/json", &got)
	n := got.NetworkSettings
	if n.IPAddress == nil || *n.IPAddress != "" || n.Ports == nil || len(n.Ports) != 0 {
		t.Errorf("%+v", n)
	}
	if string(n.FloatingIP) != "null" { // there all the same, for templates
		t.Errorf("the floating IP is %q", n.FloatingIP)
	}
	b := n.Networks["bridge"]
	if b.IPAddress != "" || b.NetworkID != e.NetworkID || b.IPAMConfig["IPv4Address"] != "172.17.0.2" {
		t.Errorf("%+v", b)
	}
}

func TestListFilters(t *testing.T) {
	f := newFixture(t)
	f.engine.addNetwork("dev", "10.0.0.0/24", "10.0.0.1")
	a, b, c := f.engine.addContainer("alpha", true), f.engine.addContainer("beta", false), f.engine.addContainer("gamma", true)
	f.engine.join(a, "dev", "10.0.0.2/24")
	f.engine.join(c, "bridge", "172.17.0.2/16")
	a.Config.Labels = map[string]string{"env": "prod", "x": "1"}
	c.Config.Labels = map[string]string{"env": "dev"}
	b.State = model.State{Status: model.StatusExited, ExitCode: 3, StartedAt: time.Now(), FinishedAt: time.Now()}
	c.State.Status = model.StatusPaused
	a.Mounts = []model.Mount{{Type: "volume", Name: "data", Source: "/v/data", Destination: "/d"}}
	b.Mounts = []model.Mount{{Type: "bind", Source: "/src", Destination: "/e"}}
	a.Config.ExposedPorts = []model.Port{{Number: 80, Proto: "tcp"}, {Number: 53, Proto: "udp"}}
	a.Ports = []model.PortMapping{{HostIP: zeroAddr, HostPort: 8080, Port: model.Port{Number: 80, Proto: "tcp"}}}
	c.ImageID, c.Image = "sha256:other", "gone"

	list := func(query string) string {
		t.Helper()
		var got []struct{ Names []string }
		f.json("/containers/json?"+query, &got)
		var names []string
		for _, g := range got {
			names = append(names, strings.TrimPrefix(g.Names[0], "/"))
		}
		return strings.Join(names, " ")
	}
	for query, want := range map[string]string{
		"":                                                  "gamma alpha",
		"all=1":                                             "gamma beta alpha",
		"all=0&limit=2":                                     "gamma beta",
		"limit=1":                                           "gamma",
		"limit=-1":                                          "gamma alpha",
		"before=beta&all=1":                                 "alpha",
		"since=alpha&all=1":                                 "gamma beta",
		`filters={"since":["beta"]}`:                        "gamma",
		`filters={"name":["^al"]}`:                          "alpha",
		`filters={"name":["/gamma"]}`:                       "gamma",
		`filters={"name":["a","zz"]}`:                       "gamma alpha",
		`filters={"id":["` + a.ID[:9]:                       "alpha",
		`filters={"label":["env=prod"]`:                     "alpha",
		`filters={"label":["env"]`:                          "gamma alpha",
		`filters={"label":["env","x=1"]`:                    "alpha",
		`filters={"label!":["env=prod"]`:                    "gamma",
		`filters={"status":["exited"]`:                      "beta",
		`filters={"status":["paused","running"]`:            "gamma alpha",
		`all=1&filters={"exited":["3"]`:                     "beta",
		`all=1&filters={"exited":["0"]`:                     "",
		`all=1&filters={"ancestor":["busybox"]`:             "beta alpha",
		`all=1&filters={"ancestor":["nope"]`:                "",
		`all=1&filters={"volume":["data"]`:                  "alpha",
		`all=1&filters={"volume":["/src"]`:                  "beta",
		`all=1&filters={"volume":["/e","/d"]`:               "beta alpha",
		`filters={"network":["dev"]`:                        "alpha",
		`filters={"network":["` + fakeID("net-bridge")[:30]: "gamma",
		`filters={"publish":["8080"]`:                       "alpha",
		`filters={"publish":["8000-9000/tcp"]`:              "alpha",
		`filters={"publish":["80"]`:                         "",
		`filters={"expose":["53/udp"]`:                      "alpha",
		`filters={"expose":["53"]`:                          "",
		`filters={"is-task":["false"]`:                      "gamma alpha",
		`filters={"is-task":["true"]`:                       "",
		`filters={"health":["none"]`:                        "gamma alpha",
		`filters={"health":["healthy"]`:                     "",
		`filters={"isolation":["default"]`:                  "gamma alpha",
		`filters={"name":{"alpha":true}}`:                   "alpha",
		`filters={"name":{"alpha":false}}`:                  "gamma alpha",
	} {
		key, value, filtered := strings.Cut(query, "filters=")
		if filtered {
			if !strings.HasSuffix(value, "}") {
				value = strings.TrimSuffix(strings.TrimSuffix(value, "]"), `"`) + `"]}`
			}
			query = key + "filters=" + escape(value)
		}
		if got := list(query); got != want {
			t.Errorf("%s%s: got %q, want %q", key, value, got, want)
		}
	}
	for filters, words := range map[string]string{
		`{"bogus":["1"]}`:    "invalid filter 'bogus'",
		`{"status":["up"]}`:  "invalid filter 'status=up'",
		`{"exited":["x"]}`:   "invalid filter 'exited=x'",
		`{"health":["x"]}`:   "invalid filter 'health=x'",
		`{"is-task":["x"]}`:  "invalid filter 'is-task=x'",
		`{"publish":["a"]}`:  "error while looking up for publish a",
		`{"expose":["1:2"]}`: "should not contain ':'",
		`x`:                  "invalid filter",
	} {
		f.want("GET", "/containers/json?filters="+escape(filters), "", 400, words)
	}
	f.want("GET", "/containers/json?filters="+escape(`{"before":["nobody"]}`), "", 404, "No such container: nobody")
	f.want("GET", "/containers/json?limit=x", "", 400, "limit")
}

func escape(s string) string {
	return strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22", "[", "%5B", "]", "%5D", "^", "%5E").Replace(s)
}

func TestListEntry(t *testing.T) {
	f := newFixture(t)
	a, b := f.engine.addContainer("alpha", true), f.engine.addContainer("beta", true)
	f.engine.join(a, "bridge", "172.17.0.2/16")
	f.engine.link(b, a, "bridge", "db")
	a.Image = "moved"
	f.images.images["moved"] = model.ImageDetail{Image: model.Image{ID: "sha256:new"}}
	var got []map[string]any
	f.json("/containers/json?size=1", &got)
	e := got[1]
	equal(t, "names", e["Names"], any([]any{"/alpha", "/beta/db"}))
	equal(t, "an image whose name moved on is shown by ID", e["Image"], any(a.ImageID))
	equal(t, "size", e["SizeRootFs"], any(1000.0))
	equal(t, "ports", e["Ports"], any([]any{}))
	equal(t, "image", got[0]["Image"], any("busybox"))
}

func TestStatusText(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for _, c := range []struct {
		st   model.State
		want string
	}{
		{model.State{Status: model.StatusCreated}, "Created"},
		{model.State{Status: model.StatusRunning, StartedAt: now.Add(-5 * time.Second)}, "Up 5 seconds"},
		{model.State{Status: model.StatusPaused, StartedAt: now.Add(-2 * time.Minute)}, "Up 2 minutes (Paused)"},
		{model.State{Status: model.StatusExited, FinishedAt: now.Add(-3 * time.Hour)}, "Exited (0) 3 hours ago"},
		{model.State{Status: model.StatusRestarting, ExitCode: 1, FinishedAt: now.Add(-2 * time.Second)}, "Restarting (1) 2 seconds ago"},
		{model.State{Status: model.StatusRemoving}, "Removal In Progress"},
		{model.State{Status: model.StatusDead}, "Dead"},
	} {
		if got := statusText(&c.st, now); got != c.want {
			t.Errorf("%+v: %q, want %q", c.st, got, c.want)
		}
	}
}

func TestContainerPrune(t *testing.T) {
	f := newFixture(t)
	f.engine.addContainer("up", true)
	a, b := f.engine.addContainer("a", false), f.engine.addContainer("b", false)
	b.Config.Labels = map[string]string{"keep": ""}
	f.want("POST", "/containers/prune?filters="+escape(`{"label!":["keep"]}`), "", 200, fmt.Sprintf(`{"ContainersDeleted":["%s"],"SpaceReclaimed":42}`, a.ID))
	f.want("POST", "/containers/prune?filters="+escape(`{"until":["1600000000"]}`), "", 200, `{"ContainersDeleted":[],`)
	f.want("POST", "/containers/prune?filters="+escape(`{"until":["soon"]}`), "", 400, "use a Unix time, a date such as")
}

// BenchmarkList is ps on a host with 1,000 containers.
func BenchmarkList(b *testing.B) {
	f := newFixture(&testing.T{})
	for i := range 1000 {
		c := f.engine.addContainer(fmt.Sprintf("%04d", i), true)
		f.engine.join(c, "bridge", "172.17.0.2/16")
	}
	for b.Loop() {
		if status, _ := f.do("GET", "/containers/json", ""); status != 200 {
			b.Fatal(status)
		}
	}
}
