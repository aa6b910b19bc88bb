package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
	"github.com/jackstay/jackstay/internal/store"
)

// world is what is there whatever becomes of an engine: processes, layers,
// files, and the programs that hold host ports.
type world struct {
	mounting func() // called while a layer is mounted
	t        *testing.T
	root     string
	failWait atomic.Bool
	failOf   atomic.Pointer[string] // the container whose network fails
	failOnce atomic.Bool            // the next wait fails, after what happens meanwhile
	waiting  func()                 // what happens then
	// failAddress keeps floating IPs from the host's device.
	failAddress atomic.Bool
	rootfs      string // every container's files
	hostLinks   map[string]*model.HostLink
	dbs         int
	lateWrite   atomic.Pointer[func()] // what still writes files when a container goes

	clock *fakeClock

	mu        sync.Mutex
	procs     map[string]*proc
	layers    map[string]bool // by container ID: mounted
	images    map[string]model.Image
	routes    []netip.Prefix
	addresses map[netip.Addr]string // somebody's already
	foreign   map[uint16]bool       // host ports of other programs
	noRates   error                 // what the kernel lacks
	// routesMoved signals that routes are others.
	routesMoved chan struct{}
	pids        int
	exits       chan Exit // of the engine that lives now

	calls    int
	failAt   int    // the call that fails, counted from one
	killAt   int    // the call at which the engine is killed
	killedDB string // the store as the kill left it
	log      []string
	gen      int // the engine that lives
}

type proc struct {
	spec    RunSpec
	pid     int
	state   string // created, running, paused, exited
	code    int
	started time.Time
	ended   time.Time
	limits  model.Resources
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, root: t.TempDir(), rootfs: t.TempDir(), procs: map[string]*proc{}, layers: map[string]bool{},
		routesMoved: make(chan struct{}, 1), images: map[string]model.Image{}, foreign: map[uint16]bool{}, pids: 100, clock: newFakeClock(),
	}
	w.images["img"] = model.Image{ID: "sha256:1111", Platform: "linux/amd64", Config: model.Config{Cmd: []string{"serve"}}}
	return w
}

// rig is one engine in a world.
type rig struct {
	*Engine
	w     *world
	clock *fakeClock
	store *store.Store
	gen   int
}

// handle is a port of the world as one engine holds it.
type handle struct {
	w   *world
	r   *rig
	gen int
}

// hit counts a call: it may be the one that fails, or the engine's last.
func (h *handle) hit(name string) error {
	w := h.w
	w.mu.Lock()
	if h.gen != w.gen { // a killed engine does nothing any more
		w.mu.Unlock()
		select {}
	}
	w.calls++
	w.log = append(w.log, name)
	if w.calls == w.killAt {
		w.killedDB = filepath.Join(w.root, fmt.Sprintf("killed-%d.db", w.gen))
		b, err := os.ReadFile(w.dbPath())
		if err == nil {
			err = os.WriteFile(w.killedDB, b, 0o600)
		}
		if err != nil {
			w.t.Error(err)
		}
		w.gen++
		w.mu.Unlock()
		select {}
	}
	defer w.mu.Unlock()
	if w.calls == w.failAt {
		return fmt.Errorf("%s: the disk is on fire", name)
	}
	return nil
}

func (w *world) dbPath() string { return filepath.Join(w.root, fmt.Sprintf("jackstay-%d.db", w.dbs)) }

// engine makes an engine over the world, and kills the one before.
func (w *world) engine(opts ...func(*Options)) *rig {
	w.t.Helper()
	r := w.start(opts...)
	if err := r.Recover(w.t.Context()); err != nil {
		w.t.Fatalf("recover: %v", err)
	}
	r.run()
	<-r.finished
	return r
}

func (r *rig) run() { go func() { _ = r.Run(r.w.t.Context()) }() }

func (w *world) start(opts ...func(*Options)) *rig {
	w.t.Helper()
	w.mu.Lock()
	w.gen++
	w.dbs++
	path := w.dbPath()
	if w.killedDB != "" {
		if err := os.Rename(w.killedDB, path); err != nil {
			w.t.Fatal(err)
		}
		w.killedDB = ""
	}
	w.calls, w.failAt, w.killAt = 0, 0, 0
	w.exits = make(chan Exit, 1000)
	gen := w.gen
	w.mu.Unlock()
	st, err := store.Open(path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = st.Close() })
	r := &rig{w: w, store: st, gen: gen, clock: w.clock}
	h := handle{w: w, r: r, gen: gen}
	o := Options{
		Store: st, Network: &fakeNetwork{h}, Runtime: &fakeRuntime{handle: h, exits: w.exits}, Images: &fakeImages{h}, Host: &fakeHost{h},
		Root: w.root, Run: w.root, BIP: netip.MustParsePrefix("172.17.0.1/16"), Clock: r.clock,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for _, f := range opts {
		f(&o)
	}
	if r.Engine, err = New(o); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		w.mu.Lock()
		lives := w.gen == gen
		w.mu.Unlock()
		if lives { // a killed one hangs in its last call
			r.Close()
		}
	})
	return r
}

// fakeClock moves by a microsecond with every look, and by Advance.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*fakeTimer]struct{}
}

type fakeTimer struct {
	at time.Time
	f  func()
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), timers: map[*fakeTimer]struct{}{}}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Microsecond)
	return c.now
}

func (c *fakeClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{c.now.Add(d), f}
	c.timers[t] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, there := c.timers[t]
		delete(c.timers, t)
		return there
	}
}

// Advance moves the time and starts what is due.
func (c *fakeClock) Advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	var due []func()
	for t := range c.timers {
		if !t.at.After(c.now) {
			due = append(due, t.f)
			delete(c.timers, t)
		}
	}
	c.mu.Unlock()
	for _, f := range due {
		f()
	}
}

// next gives how far away the next timer is.
func (c *fakeClock) next() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	best, found := time.Duration(0), false
	for t := range c.timers {
		if d := t.at.Sub(c.now); !found || d < best {
			best, found = d, true
		}
	}
	return best, found
}

type fakeHost struct{ handle }

func (h *fakeHost) Routes(context.Context) ([]netip.Prefix, error) {
	return h.w.routes, h.hit("Host.Routes")
}

func (h *fakeHost) RouteDevices(context.Context) (map[netip.Prefix]string, error) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	out := map[netip.Prefix]string{}
	for _, p := range h.w.routes {
		out[p] = "eth0"
	}
	return out, nil
}

func (h *fakeHost) WatchRoutes(context.Context, func(netip.Prefix) bool) (<-chan struct{}, error) {
	return h.w.routesMoved, nil
}

func (h *fakeHost) ForeignLink(_ context.Context, name string) (bool, error) {
	return name == "eth0", h.hit("Host.ForeignLink")
}

func (h *fakeHost) Addresses(context.Context) (map[netip.Addr]string, error) {
	return h.w.addresses, h.hit("Host.Addresses")
}

func (h *fakeHost) CanLimitRates(context.Context) error {
	if h.w.noRates != nil {
		return h.w.noRates
	}
	return h.hit("Host.CanLimitRates")
}

func (h *fakeHost) Device(_ context.Context, name string) error {
	if name != "eth0" {
		return errs.New(errs.NotFound, "the host has no device %s", name)
	}
	return h.hit("Host.Device")
}

func (h *fakeHost) Link(_ context.Context, name string) (*model.HostLink, error) {
	return h.w.hostLinks[name], h.hit("Host.Link")
}

func (h *fakeHost) Supports(_ context.Context, kind model.NICKind, _ bool) error {
	if kind == model.NICDummy {
		return errs.New(errs.Unavailable, "no dummy here")
	}
	return h.hit("Host.Supports")
}

func (h *fakeHost) TC(_ context.Context, ns string, words []string) (string, error) {
	return ns + ": " + strings.Join(words, " "), h.hit("Host.TC")
}

// fakeNetwork settles everything at once, unless another program has a port.
type fakeNetwork struct{ handle }

func (n *fakeNetwork) Prepare(_ context.Context, id string) (string, error) {
	return "/netns/" + id, n.hit("Network.Prepare")
}

func (n *fakeNetwork) Address(netip.Addr) error {
	if n.w.failAddress.Load() {
		return errors.New("no address can be put on eth0")
	}
	return nil
}

func (n *fakeNetwork) Wait(_ context.Context, id string, rev uint64) error {
	if err := n.hit("Network.Wait"); err != nil {
		return err
	}
	if n.w.failOnce.Swap(false) {
		n.w.mu.Lock()
		meanwhile := n.w.waiting
		n.w.mu.Unlock()
		meanwhile()
		return errors.New("the network fails this time")
	}
	if of := n.w.failOf.Load(); n.w.failWait.Load() || of != nil && *of == id {
		return errors.New("the network fails")
	}
	s := n.r.store.Snapshot()
	if s.Revision < rev {
		return fmt.Errorf("revision %d is not there yet", rev)
	}
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	for _, m := range s.Containers[id].Ports {
		if n.w.foreign[m.HostPort] {
			return errs.New(errs.Conflict, "listen tcp4 %s:%d: bind: address already in use", m.HostIP, m.HostPort)
		}
	}
	return nil
}

func (n *fakeNetwork) Quiet(_ context.Context, id string, _ uint64) error {
	if c := n.r.store.Snapshot().Containers[id]; c != nil && c.Active {
		return fmt.Errorf("container %s is active still", id)
	}
	if write := n.w.lateWrite.Swap(nil); write != nil {
		(*write)()
	}
	return n.hit("Network.Quiet")
}

func (n *fakeNetwork) Resync(context.Context) error { return n.hit("Network.Resync") }

type fakeImages struct{ handle }

func (f *fakeImages) Lookup(_ context.Context, ref string) (model.Image, error) {
	if err := f.hit("Images.Lookup"); err != nil {
		return model.Image{}, err
	}
	img, ok := f.w.images[ref]
	if !ok {
		return img, errs.New(errs.NotFound, "No such image: %s", ref)
	}
	return img, nil
}

func (f *fakeImages) CreateLayer(_ context.Context, id, _ string) error {
	if err := f.hit("Images.CreateLayer"); err != nil {
		return err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.layers[id] = false
	return nil
}

func (f *fakeImages) Mount(_ context.Context, id string) (string, error) {
	if err := f.hit("Images.Mount"); err != nil {
		return "", err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if _, ok := f.w.layers[id]; !ok {
		return "", fmt.Errorf("container %s has no layer", id)
	}
	f.w.layers[id] = true
	if f.w.mounting != nil {
		f.w.mounting()
	}
	return f.w.rootfs, nil
}

func (f *fakeImages) Unmount(_ context.Context, id string) error {
	if err := f.hit("Images.Unmount"); err != nil {
		return err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if _, ok := f.w.layers[id]; ok {
		f.w.layers[id] = false
	}
	return nil
}

func (f *fakeImages) RemoveLayer(_ context.Context, id string) error {
	if err := f.hit("Images.RemoveLayer"); err != nil {
		return err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	delete(f.w.layers, id)
	return nil
}

func (f *fakeImages) Layers(context.Context) ([]string, error) {
	if err := f.hit("Images.Layers"); err != nil {
		return nil, err
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return slices.Collect(maps.Keys(f.w.layers)), nil
}

func (f *fakeImages) Changes(context.Context, string) ([]model.Change, error) { return nil, nil }

func (f *fakeImages) LayerSize(context.Context, string) (int64, int64, error) { return 10, 100, nil }

// What tests say all the time.

func (r *rig) create(t *testing.T, name, cmd string, mods ...func(*model.CreateRequest)) string {
	t.Helper()
	id, err := r.tryCreate(t, name, cmd, mods...)
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return id
}

func (r *rig) tryCreate(t *testing.T, name, cmd string, mods ...func(*model.CreateRequest)) (string, error) {
	t.Helper()
	req := model.CreateRequest{Name: name, Image: "img"}
	if cmd != "" {
		req.Config.Cmd = []string{cmd}
	}
	for _, m := range mods {
		m(&req)
	}
	id, _, err := r.CreateContainer(t.Context(), req)
	return id, err
}

func (r *rig) runContainer(t *testing.T, name, cmd string, mods ...func(*model.CreateRequest)) string {
	t.Helper()
	id := r.create(t, name, cmd, mods...)
	if err := r.StartContainer(t.Context(), id); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	return id
}

func (r *rig) container(id string) *model.Container { return r.Snapshot().Containers[id] }

// eventually waits for something the engine does by itself.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("it does not come to pass: %s", what)
}

func (r *rig) eventuallyStatus(t *testing.T, id string, want model.Status) {
	t.Helper()
	eventually(t, "status "+string(want), func() bool { c := r.container(id); return c != nil && c.State.Status == want })
}

func restartPolicy(name string, retries int) func(*model.CreateRequest) {
	return func(r *model.CreateRequest) {
		r.Host.RestartPolicy = model.RestartPolicy{Name: name, MaxRetries: retries}
	}
}

func autoRemove(r *model.CreateRequest) { r.Host.AutoRemove = true }

func onNetwork(name string) func(*model.CreateRequest) {
	return func(r *model.CreateRequest) { r.Host.NetworkMode = model.NetworkMode(name) }
}

func publish(hostIP string, from, to, port uint16) func(*model.CreateRequest) {
	return func(r *model.CreateRequest) {
		b := model.PortBinding{Port: model.Port{Number: port, Proto: "tcp"}, HostPort: from, HostPortEnd: to}
		if hostIP != "" {
			b.HostIP = netip.MustParseAddr(hostIP)
		}
		r.Host.PortBindings = append(r.Host.PortBindings, b)
	}
}

// leaks tells what is there that no record explains.
func (r *rig) leaks() string {
	s := r.Snapshot()
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	for id, mounted := range r.w.layers {
		c := s.Containers[id]
		if c == nil {
			say("layer %s of nobody", id[:4])
		} else if mounted && !alive(c) {
			say("%s is %s and mounted", c.Name, c.State.Status)
		}
	}
	for id, p := range r.w.procs {
		if c := s.Containers[id]; c == nil || !c.State.Running() {
			say("process %s (%s) of nobody", id[:4], p.state)
		}
	}
	for id, c := range s.Containers {
		if _, ok := r.w.layers[id]; !ok {
			say("%s has no layer", c.Name)
		}
		if p := r.w.procs[id]; c.State.Running() && (p == nil || p.state == "exited" || p.state == "created") {
			say("%s is %s without a process", c.Name, c.State.Status)
		}
		if c.Active != alive(c) {
			say("%s is %s and active=%v", c.Name, c.State.Status, c.Active)
		}
		if len(c.Ports) > 0 && !c.Active {
			say("%s holds ports", c.Name)
		}
		if c.State.Status == model.StatusRemoving || c.State.Status == model.StatusDead {
			say("%s is %s", c.Name, c.State.Status)
		}
	}
	for _, id := range r.names(filepath.Join(r.w.root, "containers")) {
		if s.Containers[id] == nil {
			say("directory of container %s", id[:4])
		}
	}
	for _, name := range r.names(r.volumesDir()) {
		if s.Volumes[name] == nil {
			say("directory of volume %s", name)
		}
	}
	if err := store.Check(s); err != nil {
		say("store: %v", err)
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func (r *rig) noLeaks(t *testing.T) {
	t.Helper()
	last := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if last = r.leaks(); last == "" {
			return
		}
	}
	t.Fatalf("left behind: %s", last)
}
