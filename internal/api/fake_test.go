package api

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// fakeEngine keeps containers, networks and volumes in memory and records what
// it is asked. Calls named in fail return that error.
type fakeEngine struct {
	mu       sync.Mutex
	snap     *model.Snapshot
	calls    []string
	fail     map[string]error
	created  []model.CreateRequest
	updates  []model.UpdateRequest
	networks []model.NetworkRequest
	joins    []model.EndpointRequest
	queries  []model.LogQuery
	execReqs []model.ExecRequest
	emitted  []model.Event
	execs    map[string]*model.Exec

	lines  []model.LogLine
	run    func(s model.Streams) (code int, err error) // a container's or exec's program
	past   []model.Event
	waited chan model.WaitResult
	stats  model.Stats
	facts  model.Info
}

func newFake() *fakeEngine {
	f := &fakeEngine{
		snap: &model.Snapshot{
			Containers: map[string]*model.Container{}, Networks: map[string]*model.Network{}, Endpoints: map[string]*model.Endpoint{},
			Links: map[string]*model.Link{}, Volumes: map[string]*model.Volume{},
			ContainerNames: map[string]string{}, NetworkNames: map[string]string{},
			ByContainer: map[string][]*model.Endpoint{}, ByNetwork: map[string]map[string]*model.Endpoint{}, LinksOf: map[string][]*model.Link{},
		},
		fail: map[string]error{}, execs: map[string]*model.Exec{}, waited: make(chan model.WaitResult, 1),
	}
	f.addNetwork("bridge", "172.17.0.0/16", "172.17.0.1")
	f.addNetwork("host", "", "")
	f.addNetwork("none", "", "")
	return f
}

func fakeID(name string) string {
	return (fmt.Sprintf("%x", name) + strings.Repeat("0", 64))[:64]
}

func (f *fakeEngine) addNetwork(name, subnet, gateway string) *model.Network {
	n := &model.Network{ID: fakeID("net-" + name), Name: name, Driver: "bridge", Scope: "local", Created: time.Unix(1700000000, 0), EnableIPv4: true}
	switch name {
	case "host":
		n.Driver = "host"
	case "none":
		n.Driver = "null"
	}
	if subnet != "" {
		n.Subnets = []model.Subnet{{Prefix: netip.MustParsePrefix(subnet), Gateway: netip.MustParseAddr(gateway)}}
	}
	f.snap.Networks[n.ID], f.snap.NetworkNames[name] = n, n.ID
	f.snap.ByNetwork[n.ID] = map[string]*model.Endpoint{}
	return n
}

func (f *fakeEngine) addContainer(name string, running bool) *model.Container {
	c := &model.Container{
		ID: fakeID(name), Name: name, Created: time.Unix(1700000000+int64(len(f.snap.Containers)), 0),
		Image: "busybox", ImageID: "sha256:" + fakeID("busybox"), Platform: "linux/amd64", Path: "sleep", Args: []string{"1 h"},
		Config: model.Config{Labels: map[string]string{}, Cmd: []string{"sleep", "1 h"}}, Host: model.HostConfig{NetworkMode: "bridge"},
		Active: running, State: model.State{Status: model.StatusCreated},
	}
	if running {
		c.State = model.State{Status: model.StatusRunning, Pid: 4711, StartedAt: time.Now().Add(-5 * time.Second)}
	}
	f.snap.Containers[c.ID], f.snap.ContainerNames[name] = c, c.ID
	return c
}

func (f *fakeEngine) join(c *model.Container, network, addr string) *model.Endpoint {
	n := f.snap.Networks[f.snap.NetworkNames[network]]
	e := &model.Endpoint{
		ID: fakeID("ep" + c.Name + network), ContainerID: c.ID, NetworkID: n.ID, IPv4: netip.MustParsePrefix(addr), MAC: "02:42:ac:11:00:02",
		Order: len(f.snap.ByContainer[c.ID]),
	}
	f.snap.Endpoints[e.ID], f.snap.ByNetwork[n.ID][e.ID] = e, e
	f.snap.ByContainer[c.ID] = append(f.snap.ByContainer[c.ID], e)
	return e
}

func (f *fakeEngine) link(c, target *model.Container, network, alias string) {
	n := f.snap.NetworkNames[network]
	l := &model.Link{ID: model.LinkID(c.ID, n, alias), ContainerID: c.ID, TargetID: target.ID, Alias: alias, NetworkID: n}
	f.snap.Links[l.ID] = l
	f.snap.LinksOf[c.ID] = append(f.snap.LinksOf[c.ID], l)
}

// call records a call and gives the error planned for it.
func (f *fakeEngine) call(words ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	line := strings.TrimSuffix(fmt.Sprintln(words...), "\n")
	f.calls = append(f.calls, line)
	return f.fail[strings.Fields(line)[0]]
}

func (f *fakeEngine) called(t *testing.T, want string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.calls, want) {
		t.Errorf("the engine was not asked %q, but %q", want, f.calls)
	}
}

func (f *fakeEngine) Snapshot() *model.Snapshot { return f.snap }

func (f *fakeEngine) FindContainer(ref string) (*model.Container, error) {
	if c := f.snap.Containers[f.snap.ContainerNames[ref]]; c != nil {
		return c, nil
	}
	for id, c := range f.snap.Containers {
		if ref != "" && strings.HasPrefix(id, ref) {
			return c, nil
		}
	}
	return nil, errs.New(errs.NotFound, "No such container: %s", ref)
}

func (f *fakeEngine) FindNetwork(ref string) (*model.Network, error) {
	if n := f.snap.Networks[f.snap.NetworkNames[ref]]; n != nil {
		return n, nil
	}
	for id, n := range f.snap.Networks {
		if ref != "" && strings.HasPrefix(id, ref) {
			return n, nil
		}
	}
	return nil, errs.New(errs.NotFound, "network %s not found", ref)
}

func (f *fakeEngine) CreateContainer(_ context.Context, req model.CreateRequest) (string, []string, error) {
	if err := f.call("create", req.Name); err != nil {
		return "", nil, err
	}
	f.created = append(f.created, req)
	name := req.Name
	if name == "" {
		name = "brave_turing"
	}
	c := f.addContainer(name, false)
	c.Config, c.Host, c.Image = req.Config, req.Host, req.Image
	if len(req.Config.Cmd) > 0 {
		c.Path, c.Args = req.Config.Cmd[0], req.Config.Cmd[1:]
	}
	return c.ID, nil, nil
}

func (f *fakeEngine) StartContainer(_ context.Context, ref string) error { return f.call("start", ref) }

func (f *fakeEngine) StopContainer(_ context.Context, ref, signal string, timeout *int) error {
	return f.call("stop", ref, signal, deref(timeout))
}

func (f *fakeEngine) RestartContainer(_ context.Context, ref, signal string, timeout *int) error {
	return f.call("restart", ref, signal, deref(timeout))
}

func deref(n *int) string {
	if n == nil {
		return "nil"
	}
	return fmt.Sprint(*n)
}

func (f *fakeEngine) KillContainer(_ context.Context, ref, signal string) error {
	return f.call("kill", ref, signal)
}
func (f *fakeEngine) PauseContainer(_ context.Context, ref string) error { return f.call("pause", ref) }
func (f *fakeEngine) UnpauseContainer(_ context.Context, ref string) error {
	return f.call("unpause", ref)
}
func (f *fakeEngine) RenameContainer(_ context.Context, ref, name string) error {
	return f.call("rename", ref, name)
}
func (f *fakeEngine) RemoveContainer(_ context.Context, ref string, o model.RemoveOptions) error {
	return f.call("remove", ref, o.Force, o.Volumes)
}
func (f *fakeEngine) UpdateContainer(_ context.Context, ref string, u model.UpdateRequest) ([]string, error) {
	f.updates = append(f.updates, u)
	return nil, f.call("update", ref)
}
func (f *fakeEngine) WaitContainer(_ context.Context, ref string, c model.WaitCondition) (<-chan model.WaitResult, error) {
	return f.waited, f.call("wait", ref, c)
}
func (f *fakeEngine) ResizeContainer(_ context.Context, ref string, rows, cols uint) error {
	return f.call("resize", ref, rows, cols)
}

func (f *fakeEngine) AttachContainer(_ context.Context, ref string, s model.Streams, o model.AttachOptions, ready func() error) error {
	if err := f.call("attach", ref[:4], o.Logs, o.Stream, o.DetachKeys); err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	_, err := f.run(s)
	return err
}

func (f *fakeEngine) ContainerLogs(ctx context.Context, _ string, q model.LogQuery, emit func(model.LogLine) error) error {
	f.mu.Lock()
	f.queries = append(f.queries, q)
	f.mu.Unlock()
	for _, l := range f.lines {
		if (l.Stderr && !q.Stderr) || (!l.Stderr && !q.Stdout) {
			continue
		}
		if err := emit(l); err != nil {
			return err
		}
	}
	if q.Follow {
		<-ctx.Done()
	}
	return f.call("logs")
}

func (f *fakeEngine) ContainerTop(_ context.Context, ref, args string) ([]string, [][]string, error) {
	return []string{"PID", "CMD"}, [][]string{{"4711", "sleep 1 h"}}, f.call("top", ref, args)
}
func (f *fakeEngine) ContainerChanges(context.Context, string) ([]model.Change, error) {
	return nil, f.call("changes")
}
func (f *fakeEngine) ContainerSize(context.Context, string) (int64, int64, error) {
	return 10, 1000, f.call("size")
}
func (f *fakeEngine) ContainerStats(context.Context, string) (model.Stats, error) {
	return f.stats, f.call("stats")
}
func (f *fakeEngine) PruneContainers(_ context.Context, keep func(*model.Container) bool) ([]string, int64, error) {
	var ids []string
	for id, c := range f.snap.Containers {
		if !c.State.Running() && !keep(c) {
			ids = append(ids, id)
		}
	}
	return slices.Sorted(slices.Values(ids)), 42, f.call("prune")
}

func (f *fakeEngine) CreateExec(_ context.Context, ref string, req model.ExecRequest) (string, error) {
	f.execReqs = append(f.execReqs, req)
	c, err := f.FindContainer(ref)
	if err != nil {
		return "", err
	}
	id := fakeID("exec" + c.Name)
	f.execs[id] = &model.Exec{
		ID: id, ContainerID: c.ID, Cmd: req.Cmd, Tty: req.Tty, AttachStdin: req.AttachStdin,
		AttachStdout: req.AttachStdout, AttachStderr: req.AttachStderr, DetachKeys: req.DetachKeys,
	}
	return id, f.call("execcreate", ref)
}

func (f *fakeEngine) FindExec(id string) (model.Exec, error) {
	if e := f.execs[id]; e != nil {
		return *e, nil
	}
	return model.Exec{}, errs.New(errs.NotFound, "No such exec instance: %s", id)
}

func (f *fakeEngine) StartExec(_ context.Context, id string, s model.Streams, detach bool, ready func() error) error {
	e := f.execs[id]
	code := 0
	defer func() { e.ExitCode = &code }()
	if err := f.call("execstart", detach); err != nil {
		code = 127
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	if detach {
		return nil
	}
	var err error
	code, err = f.run(s)
	return err
}

func (f *fakeEngine) ResizeExec(_ context.Context, id string, rows, cols uint) error {
	return f.call("execresize", id[:4], rows, cols)
}
func (f *fakeEngine) Execs(containerID string) []string {
	var ids []string
	for id, e := range f.execs {
		if e.ContainerID == containerID {
			ids = append(ids, id)
		}
	}
	return ids
}

func (f *fakeEngine) CreateNetwork(_ context.Context, req model.NetworkRequest) (string, string, error) {
	f.networks = append(f.networks, req)
	if err := f.call("netcreate", req.Name); err != nil {
		return "", "", err
	}
	return f.addNetwork(req.Name, "172.18.0.0/16", "172.18.0.1").ID, "", nil
}
func (f *fakeEngine) RemoveNetwork(_ context.Context, ref string) error {
	return f.call("netremove", ref)
}
func (f *fakeEngine) ConnectNetwork(_ context.Context, ref, container string, e model.EndpointRequest) error {
	f.joins = append(f.joins, e)
	return f.call("connect", ref, container)
}
func (f *fakeEngine) DisconnectNetwork(_ context.Context, ref, container string, force bool) error {
	return f.call("disconnect", ref, container, force)
}
func (f *fakeEngine) PruneNetworks(_ context.Context, keep func(*model.Network) bool) ([]string, error) {
	var names []string
	for _, n := range f.snap.Networks {
		if !builtin(n) && !keep(n) {
			names = append(names, n.Name)
		}
	}
	return names, f.call("netprune")
}

func (f *fakeEngine) AddPorts(_ context.Context, ref string, bs []model.PortBinding) ([]model.PortMapping, error) {
	var out []model.PortMapping
	for _, b := range bs {
		out = append(out, model.PortMapping{HostIP: netip.IPv4Unspecified(), HostPort: b.HostPort, Port: b.Port})
	}
	return out, f.call("addports", ref, fmt.Sprint(out))
}
func (f *fakeEngine) RemovePorts(_ context.Context, ref string, ports []model.PublishedPort) error {
	return f.call("rmports", ref, fmt.Sprint(ports))
}
func (f *fakeEngine) AddAliases(_ context.Context, network, ref string, names []string) error {
	return f.call("addaliases", network, ref, names)
}
func (f *fakeEngine) RemoveAliases(_ context.Context, network, ref string, names []string) error {
	return f.call("rmaliases", network, ref, names)
}
func (f *fakeEngine) AddLink(_ context.Context, ref string, r model.LinkRequest) (*model.Link, error) {
	return &model.Link{ContainerID: f.snap.ContainerNames[ref], Alias: r.Alias, TargetName: r.Target}, f.call("addlink", ref, r.Target, r.Alias, r.Wait)
}
func (f *fakeEngine) RemoveLink(_ context.Context, ref, alias string) error {
	return f.call("rmlink", ref, alias)
}
func (f *fakeEngine) Swap(_ context.Context, oldRef, newRef string) error {
	return f.call("swap", oldRef, newRef)
}
func (f *fakeEngine) Overlaps(id string) []model.Overlap {
	if id != fakeID("net-dev") {
		return nil
	}
	return []model.Overlap{{NetworkID: id, Subnet: netip.MustParsePrefix("172.18.0.0/16"), Route: netip.MustParsePrefix("172.16.0.0/12"), Device: "tun0"}}
}

func (f *fakeEngine) Leases(network string) ([]model.Lease, error) {
	return []model.Lease{
		{Address: netip.MustParseAddr("172.17.0.1"), Container: "gateway", State: model.LeaseReserved},
		{Address: netip.MustParseAddr("172.17.0.2"), MAC: "02:42:ac:11:00:02", Container: "web", ContainerID: fakeID("web"), State: model.LeaseActive},
	}, f.call("leases", network)
}

func (f *fakeEngine) CreateVolume(_ context.Context, req model.VolumeRequest) (*model.Volume, error) {
	v := &model.Volume{Name: req.Name, Created: time.Unix(1700000000, 0), Mountpoint: "/v/" + req.Name, Labels: req.Labels, Options: req.Options}
	f.snap.Volumes[v.Name] = v
	return v, f.call("volcreate", req.Name)
}
func (f *fakeEngine) RemoveVolume(_ context.Context, name string, force bool) error {
	return f.call("volremove", name, force)
}
func (f *fakeEngine) PruneVolumes(_ context.Context, all bool, keep func(*model.Volume) bool) ([]string, int64, error) {
	var names []string
	for name, v := range f.snap.Volumes {
		if (all || v.Anonymous) && !keep(v) {
			names = append(names, name)
		}
	}
	return slices.Sorted(slices.Values(names)), 7, f.call("volprune", all)
}
func (f *fakeEngine) VolumeSize(context.Context, string) (int64, error) { return 5, nil }

func (f *fakeEngine) AllocateFIP(_ context.Context, address string) (*model.FloatingIP, error) {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return nil, errs.New(errs.Invalid, "%q is not an address", address)
	}
	return &model.FloatingIP{Address: a}, nil
}

func (f *fakeEngine) AllocateFIPs(_ context.Context, count int, _ string) ([]*model.FloatingIP, error) {
	return []*model.FloatingIP{{Address: netip.MustParseAddr("203.0.113.17")}}, f.call("fipallocate", count)
}

func (f *fakeEngine) AttachFIP(_ context.Context, ref, container string, force, exposeOnly bool) error {
	return f.call("fipattach", ref, container, force, exposeOnly)
}

func (f *fakeEngine) DetachFIP(_ context.Context, container string) (*model.FloatingIP, error) {
	return &model.FloatingIP{Address: netip.MustParseAddr("203.0.113.17")}, f.call("fipdetach", container)
}

func (f *fakeEngine) ReleaseFIP(_ context.Context, ref string) error {
	return f.call("fiprelease", ref)
}

func (f *fakeEngine) NameFIP(_ context.Context, ref, name string) error {
	return f.call("fipname", ref, name)
}

func (f *fakeEngine) AddFIPPool(_ context.Context, cidr, device string) (*model.FIPPool, error) {
	return &model.FIPPool{Prefix: netip.MustParsePrefix("203.0.113.16/28"), Device: device}, f.call("fippooladd", cidr, device)
}

func (f *fakeEngine) RemoveFIPPool(_ context.Context, cidr string) error {
	return f.call("fippoolrm", cidr)
}

func (f *fakeEngine) FindSecurityGroup(ref string) (*model.SecurityGroup, error) {
	for _, g := range f.snap.SecurityGroups {
		if g.Name == ref {
			return g, nil
		}
	}
	return nil, errs.New(errs.NotFound, "no such security group: %s", ref)
}

func (f *fakeEngine) CreateSecurityGroup(_ context.Context, req model.SecurityGroupRequest) (*model.SecurityGroup, error) {
	return &model.SecurityGroup{ID: "g9", Name: req.Name, Description: req.Description}, f.call("sgcreate", fmt.Sprintf("%+v", req))
}

func (f *fakeEngine) UpdateSecurityGroup(_ context.Context, ref string, ch model.SecurityGroupChange) (*model.SecurityGroup, error) {
	return &model.SecurityGroup{ID: "g9", Name: ref}, f.call("sgupdate", ref, ch.Replace, ch.Rules, ch.Remove, ch.Add)
}

func (f *fakeEngine) RemoveSecurityGroup(_ context.Context, ref string) error {
	return f.call("sgremove", ref)
}

func (f *fakeEngine) AttachSecurityGroups(_ context.Context, ref string, groups []string) error {
	return f.call("sgattach", ref, groups)
}

func (f *fakeEngine) DetachSecurityGroups(_ context.Context, ref string, groups []string) error {
	return f.call("sgdetach", ref, groups)
}

func (f *fakeEngine) Events(ctx context.Context, since, until time.Time) (<-chan model.Event, error) {
	out := make(chan model.Event, len(f.past))
	for _, e := range f.past {
		if !since.IsZero() && !e.Time.Before(since) && (until.IsZero() || !e.Time.After(until)) {
			out <- e
		}
	}
	if until.IsZero() || until.After(time.Now()) {
		context.AfterFunc(ctx, func() { close(out) })
	} else {
		close(out)
	}
	return out, f.call("events")
}
func (f *fakeEngine) Emit(e model.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.emitted = append(f.emitted, e)
}
func (f *fakeEngine) Info(context.Context) (model.Info, error) { return f.facts, f.call("info") }

// fakeImages has one image and records what it is asked.
type fakeImages struct {
	images   map[string]model.ImageDetail
	fail     map[string]error
	progress []model.Progress
	asked    []string
	auth     model.RegistryAuth
	body     string
	filter   model.ImageFilter
}

func newFakeImages() *fakeImages {
	img := model.ImageDetail{
		Image: model.Image{
			ID: "sha256:" + fakeID("busybox"), Names: []string{"docker.io/library/busybox:latest"}, Size: 1000, Created: time.Unix(1600000000, 0),
			Config: model.Config{Cmd: []string{"sh"}, Env: []string{"PATH=/bin"}, ExposedPorts: []model.Port{{Number: 80, Proto: "tcp"}}, Volumes: []string{"/data"}},
		},
		RepoTags: []string{"busybox:latest"}, Architecture: "amd64", OS: "linux", Layers: []string{"sha256:aa"}, SharedSize: 100,
		History: []model.ImageHistory{{ID: "sha256:x", Created: time.Unix(1600000000, 0), CreatedBy: "CMD sh", Size: 9}, {CreatedBy: "ADD /"}},
	}
	return &fakeImages{images: map[string]model.ImageDetail{"busybox": img, "busybox:latest": img, "127.0.0.1:5000/a/b:tag": img, img.ID: img}, fail: map[string]error{}}
}

func (f *fakeImages) call(words ...any) error {
	line := strings.TrimSuffix(fmt.Sprintln(words...), "\n")
	f.asked = append(f.asked, line)
	return f.fail[strings.Fields(line)[0]]
}
func (f *fakeImages) Lookup(ctx context.Context, ref string) (model.Image, error) {
	d, err := f.Detail(ctx, ref)
	return d.Image, err
}
func (f *fakeImages) Detail(_ context.Context, ref string) (model.ImageDetail, error) {
	if img, ok := f.images[ref]; ok {
		return img, nil
	}
	return model.ImageDetail{}, errs.New(errs.NotFound, "No such image: %s", ref)
}
func (f *fakeImages) List(_ context.Context, q model.ImageFilter) ([]model.ImageDetail, error) {
	f.filter = q
	return []model.ImageDetail{f.images["busybox"]}, nil
}
func (f *fakeImages) Pull(_ context.Context, ref, platform string, auth model.RegistryAuth, progress func(model.Progress)) (string, error) {
	f.auth = auth
	for _, p := range f.progress {
		progress(p)
	}
	return f.images["busybox"].ID, f.call("pull", ref, platform)
}
func (f *fakeImages) Push(_ context.Context, ref string, auth model.RegistryAuth, progress func(model.Progress)) error {
	f.auth = auth
	for _, p := range f.progress {
		progress(p)
	}
	return f.call("push", ref)
}
func (f *fakeImages) Load(_ context.Context, r io.Reader) ([]string, error) {
	data, _ := io.ReadAll(r)
	f.body = string(data)
	return []string{"busybox:latest", "sha256:ab"}, f.call("load")
}
func (f *fakeImages) Save(_ context.Context, refs []string, w io.Writer) error {
	_, _ = io.WriteString(w, "tar")
	return f.call("save", refs)
}
func (f *fakeImages) Import(_ context.Context, r io.Reader, ref, message, platform string, changes []string) (string, error) {
	data, _ := io.ReadAll(r)
	f.body = string(data)
	return "sha256:new", f.call("import", ref, message, changes)
}
func (f *fakeImages) Tag(_ context.Context, ref, target string) error {
	return f.call("tag", ref, target)
}
func (f *fakeImages) Remove(_ context.Context, ref string, force, prune bool, inUse func(string) (string, bool, bool)) ([]model.ImageRemoval, error) {
	_, running, used := inUse(f.images["busybox"].ID)
	return []model.ImageRemoval{{Untagged: ref}, {Deleted: "sha256:ab"}}, f.call("remove", ref, force, prune, running, used)
}
func (f *fakeImages) Prune(_ context.Context, dangling bool, keep func(model.ImageDetail) bool, _ func(string) (string, bool, bool)) ([]model.ImageRemoval, int64, error) {
	return []model.ImageRemoval{{Deleted: "sha256:ab"}}, 1000, f.call("prune", dangling, keep(f.images["busybox"]))
}
func (f *fakeImages) Login(_ context.Context, auth model.RegistryAuth) (string, string, error) {
	f.auth = auth
	return "Login Succeeded", "", f.call("login")
}
func (f *fakeImages) Search(_ context.Context, term string, limit int, _ model.RegistryAuth) ([]model.SearchResult, error) {
	return []model.SearchResult{{Name: term, Stars: 5, Official: true}, {Name: term + "/x", Stars: 1}}, f.call("search", term, limit)
}
func (f *fakeImages) DiskUsage(context.Context) (int64, error) { return 1000, nil }

// fixture is a server over the fakes.
type fixture struct {
	*testing.T
	engine *fakeEngine
	images *fakeImages
	server *Server
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{T: t, engine: newFake(), images: newFakeImages()}
	f.engine.facts = model.Info{ID: "id", Root: "/r", StorageDriver: "overlay", CgroupDriver: "cgroupfs", CgroupVersion: "1",
		Runtime: model.RuntimeVersion{Runtime: "runc", RuntimeVersion: "1.1.5", ConmonVersion: "2.1.6"}, SecurityOptions: []string{"name=seccomp,profile=builtin"}}
	f.server = New(Options{
		Engine: f.engine, Images: f.images, Version: Version{Version: "0.1.0"}, Root: "/root", RunDir: "/run",
		Log: slog.New(slog.DiscardHandler),
	})
	return f
}

// do sends a request and gives status and body.
func (f *fixture) do(method, target, body string) (int, string) {
	f.Helper()
	return f.with(method, target, body, nil)
}

func (f *fixture) with(method, target, body string, header http.Header) (int, string) {
	f.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	f.server.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// want sends a request and fails unless status and a part of the body are as wanted.
func (f *fixture) want(method, target, body string, status int, part string) string {
	f.Helper()
	got, text := f.do(method, target, body)
	if got != status || !strings.Contains(text, part) {
		f.Errorf("%s %s %s:\n got %d %s\nwant %d …%s…", method, target, body, got, text, status, part)
	}
	return text
}

// listen serves on a Unix socket, as the daemon does.
func (f *fixture) listen() (socket string) {
	f.Helper()
	socket = filepath.Join(f.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		f.Fatal(err)
	}
	srv := &http.Server{Handler: f.server}
	go func() { _ = srv.Serve(l) }()
	f.Cleanup(func() { _ = srv.Close() })
	return socket
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

var zeroAddr = netip.IPv4Unspecified()

func (f *fakeEngine) CreateTenant(_ context.Context, t model.Tenant) (*model.Tenant, error) {
	return &t, f.call("CreateTenant", t.Name, t.Group, t.FIPQuota)
}

func (f *fakeEngine) UpdateTenant(_ context.Context, name string, u model.TenantUpdate) (*model.Tenant, error) {
	t := model.Tenant{Name: name, FIPQuota: model.Unlimited}
	if u.FIPQuota != nil {
		t.FIPQuota = *u.FIPQuota
	}
	return &t, f.call("UpdateTenant", name, t.FIPQuota)
}

func (f *fakeEngine) RemoveTenant(_ context.Context, name string, force bool) error {
	return f.call("RemoveTenant", name, force)
}

func (f *fakeEngine) TenantSocket(name string) string {
	return "/run/jackstay/tenants/" + name + "/jackstay.sock"
}
