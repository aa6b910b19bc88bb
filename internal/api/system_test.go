package api

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/jackstay/jackstay/internal/model"
)

func TestInfoByVersion(t *testing.T) {
	f := newFixture(t)
	for version, want := range map[string]string{
		"v1.24": `"SecurityOptions":["seccomp"]`,
		"v1.50": `"SecurityOptions":["name=seccomp,profile=builtin"]`,
		"v1.55": `"FirewallBackend":{"Driver":"nftables"}`,
		"v1.54": `"ContainerdCommit":{"ID":"N/A"`,
		"v1.40": `"Swarm":{"NodeID":"","NodeAddr":"","LocalNodeState":"inactive"`,
	} {
		f.want("GET", "/"+version+"/info", "", 200, want)
	}
}

func TestHostFacts(t *testing.T) {
	write := func(root, name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v1 := t.TempDir()
	write(v1, "etc/os-release", "PRETTY_NAME=\"Debian 12\"\nVERSION_ID='12'\n")
	write(v1, "proc/meminfo", "MemFree: 1 kB\nMemTotal:       2048 kB\n")
	write(v1, "proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t1\t1\nmemory\t4\t1\t1\npids\t5\t1\t0\n")
	h := readHostFacts(v1)
	if h.system != "Debian 12" || h.systemVersion != "12" || h.memory != 2<<20 || !h.cpu || !h.memoryLimit || h.pids || h.swapLimit || !h.oomKillDisable {
		t.Errorf("%+v", h)
	}
	v2 := t.TempDir()
	write(v2, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu pids\n")
	h = readHostFacts(v2)
	if h.system != "Linux" || !h.cpu || !h.cpuset || !h.pids || h.memoryLimit || h.oomKillDisable {
		t.Errorf("%+v", h)
	}
}

func TestEventFilters(t *testing.T) {
	web := model.Event{Type: "container", Action: "exec_start: sh -c x", ID: fakeID("web"), Attributes: map[string]string{"name": "web", "image": "busybox:1", "env": "prod"}}
	img := model.Event{Type: "image", Action: "tag", ID: "sha256:abcdef", Attributes: map[string]string{"name": "busybox:1"}}
	net := model.Event{Type: "network", Action: "connect", ID: fakeID("net"), Attributes: map[string]string{"name": "dev", "container": fakeID("web")}}
	for filters, want := range map[string][3]bool{
		`{}`:                                     {true, true, true},
		`{"type":["image","network"]}`:           {false, true, true},
		`{"event":["exec_start"]}`:               {true, false, false},
		`{"action":["tag"]}`:                     {false, true, false},
		`{"container":["web"]}`:                  {true, false, false},
		`{"container":["/web"]}`:                 {true, false, false},
		`{"container":["` + fakeID("web")[:12]:   {true, false, false},
		`{"container":["other"]}`:                {false, false, false},
		`{"image":["busybox"]}`:                  {true, true, false},
		`{"image":["busybox:1"]}`:                {true, true, false},
		`{"image":["abcd"]}`:                     {false, true, false},
		`{"network":["dev"]}`:                    {false, false, true},
		`{"label":["env=prod"]}`:                 {true, false, false},
		`{"scope":["local"]}`:                    {true, true, true},
		`{"scope":["swarm"]}`:                    {false, false, false},
		`{"daemon":["x"]}`:                       {false, false, false},
		`{"volume":["x"]}`:                       {false, false, false},
		`{"type":["container"],"event":["tag"]}`: {false, false, false},
	} {
		if !strings.HasSuffix(filters, "}") {
			filters += `"]}`
		}
		f, err := parseFilters(filters, eventFilters...)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, filters, [3]bool{matchEvent(f, &web), matchEvent(f, &img), matchEvent(f, &net)}, want)
	}
}

func TestEvents(t *testing.T) {
	f := newFixture(t)
	f.engine.past = []model.Event{
		{Type: "container", Action: "die", ID: "abc", Attributes: map[string]string{"image": "busybox", "exitCode": "3"}, Time: time.Unix(1700000000, 250)},
		{Type: "volume", Action: "create", ID: "v", Time: time.Unix(1700000001, 0)},
	}
	_, got := f.do("GET", "/events?since=1700000000.0&until=1700000002", "")
	want := `{"Type":"container","Action":"die","Actor":{"ID":"abc","Attributes":{"exitCode":"3","image":"busybox"}},"scope":"local","time":1700000000,"timeNano":1700000000000000250,"status":"die","id":"abc","from":"busybox"}` + "\n" +
		`{"Type":"volume","Action":"create","Actor":{"ID":"v","Attributes":{}},"scope":"local","time":1700000001,"timeNano":1700000001000000000}` + "\n"
	equal(t, "events", got, want)
	f.want("GET", "/events?since=5&until=4", "", 400, "cannot be after")
	f.want("GET", "/events?since=x", "", 400, "Unix time")
	f.want("GET", "/events?filters=x", "", 400, "invalid filter")
	_, r := f.raw("GET", "/events", false, "") // headers come although nothing happens
	if status, _ := f.head(r); status != "HTTP/1.1 200 OK" {
		t.Error(status)
	}
}

// TestMobyClient reads with the client that docker/cli 29 has.
func TestMobyClient(t *testing.T) {
	f := newFixture(t)
	web := f.engine.addContainer("web", true)
	f.engine.join(web, "bridge", "172.17.0.2/16")
	web.Config.ExposedPorts = []model.Port{{Number: 80, Proto: "tcp"}}
	f.engine.snap.Volumes["v"] = &model.Volume{Name: "v"}
	c, err := client.New(client.WithHost("unix://" + f.listen()))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	ping, err := c.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	if err != nil || ping.APIVersion != "1.55" || c.ClientVersion() != client.MaxAPIVersion || client.MaxAPIVersion != MaxVersion {
		t.Fatalf("%+v %s %v", ping, c.ClientVersion(), err)
	}
	list, err := c.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil || len(list.Items) != 1 || list.Items[0].Ports[0].PrivatePort != 80 || list.Items[0].NetworkSettings.Networks["bridge"].IPAddress.String() != "172.17.0.2" {
		t.Errorf("%+v %v", list, err)
	}
	in, err := c.ContainerInspect(ctx, "web", client.ContainerInspectOptions{})
	if err != nil || in.Container.Name != "/web" || !strings.Contains(string(in.Raw), `"IPAddress":"172.17.0.2"`) {
		t.Errorf("%+v %v", in, err)
	}
	du, err := c.DiskUsage(ctx, client.DiskUsageOptions{Containers: true, Images: true, Volumes: true, BuildCache: true, Verbose: true})
	if err != nil || du.Containers.TotalSize != 10 || du.Containers.ActiveCount != 1 || len(du.Containers.Items) != 1 || du.Images.TotalSize != 1000 || du.Volumes.Reclaimable != 5 {
		t.Errorf("%+v %v", du, err)
	}
	if _, err := c.Info(ctx, client.InfoOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := c.NetworkInspect(ctx, "bridge", client.NetworkInspectOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := c.ImageInspect(ctx, "busybox"); err != nil {
		t.Error(err)
	}
}

func TestDiskUsage(t *testing.T) {
	f := newFixture(t)
	f.engine.addContainer("web", false)
	f.want("GET", "/v1.41/system/df", "", 200, `"LayersSize":1000,"Images":[{`)
	if text := f.want("GET", "/v1.44/system/df?type=volume", "", 200, `"Volumes":[]`); strings.Contains(text, "Images") {
		t.Error(text)
	}
	if text := f.want("GET", "/v1.52/system/df", "", 200, `"ContainerUsage":{"TotalCount":1,"Reclaimable":10,"TotalSize":10}`); strings.Contains(text, "Items") {
		t.Error(text)
	}
	f.want("GET", "/v1.52/system/df?verbose=1&type=container", "", 200, `"Items":[{`)
	f.want("GET", "/system/df?type=odd", "", 400, "unknown object type: odd")
}

func TestStats(t *testing.T) {
	f := newFixture(t)
	f.engine.addContainer("web", true)
	f.engine.addContainer("old", false)
	f.engine.stats = model.Stats{Read: time.Unix(1700000000, 0), CPUTotal: 5, OnlineCPUs: 2, Blkio: []model.BlkioEntry{{Major: 8, Op: "read", Value: 9}}}
	f.want("GET", "/containers/web/stats?stream=0&one-shot=1", "", 200, `"read":"2023-11-14T`)
	text := f.want("GET", "/containers/web/stats?stream=false", "", 200, `"precpu_stats":{"cpu_usage":{"total_usage":5`)
	if strings.Count(text, "\n") != 1 {
		t.Error(text)
	}
	f.want("GET", "/containers/old/stats?stream=0", "", 200, `"read":"0001-01-01T00:00:00Z"`)
	f.want("GET", "/containers/nobody/stats", "", 404, "No such container")
}
