package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func binding(hostIP string, from, to, port uint16) model.PortBinding {
	var r model.CreateRequest
	publish(hostIP, from, to, port)(&r)
	b := r.Host.PortBindings[0]
	b.HostPortGiven, b.HostIPGiven = fmt.Sprint(from), hostIP
	return b
}

func taken(from, to uint16) model.PublishedPort {
	return model.PublishedPort{From: from, To: to, Proto: "tcp"}
}

// ports lists what a container holds, and what its record asks for.
func (r *rig) ports(id string) string {
	c := r.container(id)
	var asked []uint16
	for _, b := range c.Host.PortBindings {
		asked = append(asked, b.HostPort)
	}
	return fmt.Sprintf("%s asked %v", portWords(c.Ports), asked)
}

func TestAddAndRemovePorts(t *testing.T) {
	r := newWorld(t).engine()
	ctx := t.Context()
	r.runContainer(t, "other", "serve", publish("", 9000, 0, 80))
	web := r.runContainer(t, "web", "serve", publish("", 8080, 0, 80))
	r.runContainer(t, "hosted", "serve", onNetwork("host"))
	r.runContainer(t, "joined", "serve", onNetwork("container:web"))
	r.runContainer(t, "bare", "serve", onNetwork("none"))
	off := r.create(t, "off", "serve")
	r.w.foreign[6000] = true
	before := r.ports(web)
	for _, tc := range []struct {
		ref  string
		bs   []model.PortBinding
		kind errs.Kind
		want string
	}{
		{"nobody", []model.PortBinding{binding("", 1, 0, 1)}, errs.NotFound, "No such container: nobody"},
		{"web", nil, errs.Invalid, "no port is given"},
		{"web", []model.PortBinding{binding("", 1, 0, 0)}, errs.Invalid, "invalid port specification"},
		{"web", []model.PortBinding{binding("", 1, 0, 1), binding("", 9000, 0, 1)}, errs.Conflict, "Bind for 0.0.0.0:9000 failed: port is already allocated to container other"},
		{"web", []model.PortBinding{binding("127.0.0.1", 8080, 0, 1)}, errs.Conflict, "container web publishes host port 0.0.0.0:8080 already, for its port 80/tcp"},
		{"web", []model.PortBinding{binding("", 1, 0, 1), binding("", 6000, 0, 1)}, errs.Conflict, "publish ports of container web"},
		{"web", []model.PortBinding{binding("", 7, 0, 1), binding("", 7, 0, 2)}, errs.Invalid, "given twice"},
		{"hosted", []model.PortBinding{binding("", 1, 0, 1)}, errs.Invalid, "container hosted is in the host's network"},
		{"joined", []model.PortBinding{binding("", 1, 0, 1)}, errs.Invalid, "in the network of container web: publish ports of that one"},
		{"bare", []model.PortBinding{binding("", 1, 0, 1)}, errs.Invalid, "container bare is on no network that ports can be published through"},
	} {
		_, err := r.AddPorts(ctx, tc.ref, tc.bs)
		if err == nil || !strings.Contains(err.Error(), tc.want) || errs.KindOf(err) != tc.kind {
			t.Errorf("%s %v: %v (kind %d), want %q (kind %d)", tc.ref, tc.bs, err, errs.KindOf(err), tc.want, tc.kind)
		}
	}
	if after := r.ports(web); after != before {
		t.Errorf("refused ports left %s, before %s", after, before)
	}
	added, err := r.AddPorts(ctx, "web", []model.PortBinding{binding("", 0, 0, 81), binding("", 6000, 6001, 82), binding("127.0.0.1", 8081, 0, 80)})
	if err != nil || len(added) != 3 {
		t.Fatalf("add: %v %v", added, err)
	}
	if !slices.Contains(r.container(web).Config.ExposedPorts, model.Port{Number: 82, Proto: "tcp"}) {
		t.Error("a published port is not exposed")
	}
	var chosen uint16
	for _, m := range added {
		switch m.Port.Number {
		case 81:
			chosen = m.HostPort
		case 82:
			if m.HostPort != 6001 { // another program has 6000
				t.Errorf("of the range: %d", m.HostPort)
			}
		}
	}
	if err := r.RemovePorts(ctx, "web", []model.PublishedPort{taken(8080, 8081), taken(9999, 9999)}); !errs.Is(err, errs.NotFound) || !strings.Contains(err.Error(), "container web does not publish host port 9999/tcp: it publishes ") {
		t.Errorf("rm of what is not there: %v", err)
	}
	if err := r.RemovePorts(ctx, "web", []model.PublishedPort{taken(8080, 8081), taken(chosen, chosen)}); err != nil {
		t.Fatal(err)
	}
	if got := r.ports(web); got != "0.0.0.0:6001->82/tcp asked [6000]" {
		t.Errorf("left: %s", got)
	}
	// The next start has the same.
	if err := r.RestartContainer(ctx, "web", "", nil); err != nil {
		t.Fatal(err)
	}
	if got := r.ports(web); got != "0.0.0.0:6001->82/tcp asked [6000]" {
		t.Errorf("after a restart: %s", got)
	}
	// A stopped one claims at its start.
	if got, err := r.AddPorts(ctx, "off", []model.PortBinding{binding("", 5000, 0, 80), binding("", 5001, 0, 80)}); err != nil || len(got) != 0 {
		t.Errorf("on a stopped one: %v %v", got, err)
	}
	if err := r.RemovePorts(ctx, "off", []model.PublishedPort{taken(5001, 5001)}); err != nil {
		t.Error(err)
	}
	if err := r.StartContainer(ctx, "off"); err != nil || r.ports(off) != "0.0.0.0:5000->80/tcp asked [5000]" {
		t.Errorf("started: %v %s", err, r.ports(off))
	}
	r.noLeaks(t)
}

// Taking one of -P's ports back leaves the others.
func TestRemovePortOfPublishAll(t *testing.T) {
	r := newWorld(t).engine()
	web := r.runContainer(t, "web", "serve", config(func(c *model.Config) {
		c.ExposedPorts = []model.Port{{Number: 80, Proto: "tcp"}, {Number: 81, Proto: "tcp"}}
	}), host(func(h *model.HostConfig) { h.PublishAllPorts = true }))
	ports := r.container(web).Ports
	if err := r.RemovePorts(t.Context(), "web", []model.PublishedPort{taken(ports[0].HostPort, ports[0].HostPort)}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := r.container(web).Ports; len(got) != 1 || got[0] != ports[1] {
			t.Errorf("left: %v of %v", got, ports)
		}
		if err := r.StopContainer(t.Context(), "web", "", nil); err != nil {
			t.Fatal(err)
		}
		if err := r.StartContainer(t.Context(), "web"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAliasesAndLeases(t *testing.T) {
	r := newWorld(t).engine()
	ctx := t.Context()
	r.network(t, "dev", subnet("10.9.0.0/24"))
	web := r.create(t, "web", "serve", onNetwork("dev"))
	for _, tc := range []struct {
		err  error
		kind errs.Kind
		want string
	}{
		{r.AddAliases(ctx, "dev", "web", nil), errs.Invalid, "no alias is given"},
		{r.AddAliases(ctx, "none", "web", []string{"x"}), errs.Invalid, "network none has no names"},
		{r.AddAliases(ctx, "bridge", "web", []string{"x"}), errs.Conflict, "container web is not connected to network bridge"},
		{r.AddAliases(ctx, "dev", "web", []string{"a.*.b"}), errs.Invalid, "invalid network alias"},
		{r.AddAliases(ctx, "dev", "web", []string{"x", "X"}), errs.Conflict, "has the alias X on network dev already"},
		{r.RemoveAliases(ctx, "dev", "web", []string{"x"}), errs.NotFound, "container web has no alias x on network dev: it has none"},
		{r.AddAliases(ctx, "dev", "web", []string{"www", "*.foo.test"}), 0, ""},
		{r.RemoveAliases(ctx, "dev", "web", []string{"WWW"}), 0, ""},
	} {
		if tc.want == "" && tc.err != nil || tc.want != "" && (tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) || errs.KindOf(tc.err) != tc.kind) {
			t.Errorf("%v, want %q", tc.err, tc.want)
		}
	}
	if got := r.Snapshot().ByContainer[web][0].Aliases; fmt.Sprint(got) != "[*.foo.test]" {
		t.Errorf("aliases: %v", got)
	}
	states := func() string {
		leases, err := r.Leases("dev")
		out := fmt.Sprint(err)
		for _, l := range leases {
			out += fmt.Sprintf(" %s %s %s", l.Address, l.Container, l.State)
		}
		return out
	}
	if got := states(); got != "<nil> 10.9.0.1 gateway reserved 10.9.0.2 web kept" {
		t.Errorf("leases: %s", got)
	}
	if err := r.StartContainer(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	if got := states(); got != "<nil> 10.9.0.1 gateway reserved 10.9.0.2 web active" {
		t.Errorf("leases: %s", got)
	}
	if _, err := r.Leases("host"); !errs.Is(err, errs.Invalid) {
		t.Errorf("leases of the host's network: %v", err)
	}
}

func TestAddAndRemoveLinks(t *testing.T) {
	r := newWorld(t).engine()
	ctx := t.Context()
	r.network(t, "dev")
	web := r.runContainer(t, "web", "serve")
	db := r.runContainer(t, "db", "serve")
	r.runContainer(t, "far", "serve", onNetwork("dev"))
	r.runContainer(t, "hosted", "serve", onNetwork("host"))
	r.runContainer(t, "alone", "serve", onNetwork("none"))
	strict := func(ref, target string) error {
		_, err := r.AddLink(ctx, ref, model.LinkRequest{Target: target, Strict: true})
		return err
	}
	ports := func(ports ...string) error {
		_, err := r.AddLink(ctx, "web", model.LinkRequest{Target: "db", Alias: "p", Ports: ports})
		return err
	}
	add := func(ref, target, alias string, wait bool) error {
		_, err := r.AddLink(ctx, ref, model.LinkRequest{Target: target, Alias: alias, Wait: wait})
		return err
	}
	if err := add("web", "db", "store", false); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		err  error
		kind errs.Kind
		want string
	}{
		{add("nobody", "db", "", false), errs.NotFound, "No such container: nobody"},
		{add("web", "later", "", false), errs.NotFound, "say --wait"},
		{add("web", "a b", "x", true), errs.Invalid, "Invalid container name"},
		{strict("web", "far"), errs.Conflict, "containers web and far are on no common network, and strict links join none: connect far to one of the other's first (jackstay network connect bridge far), or leave out --strict"},
		{add("web", "alone", "", false), errs.Conflict, "containers web and alone can't be linked: alone is on no network: connect it to one first (jackstay network connect)"},
		{add("alone", "web", "", false), errs.Conflict, "containers alone and web can't be linked: alone is on no network"},
		{ports("80", "x"), errs.Invalid, `link of container web to db: invalid ports "x": give PORT[-PORT][/PROTO]`},
		{add("web", "db:x", "", false), errs.Invalid, `the alias "db:x" is not a name`},
		{add("web", "hosted", "", false), errs.Invalid, "container hosted is in the host's network and cannot be linked to"},
		{add("hosted", "db", "", false), errs.Invalid, "container hosted is in the host's network and cannot use links"},
		{add("web", "web", "", false), errs.Invalid, "cannot be linked to itself"},
		{add("web", "far", "STORE", true), errs.Conflict, "has a link called store already, to db"},
		{r.RemoveLink(ctx, "web", "x"), errs.NotFound, "container web has no link called x: it has store"},
		{r.RemoveLink(ctx, "db", "x"), errs.NotFound, "it has none"},
	} {
		if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) || errs.KindOf(tc.err) != tc.kind {
			t.Errorf("%v (kind %d), want %q", tc.err, errs.KindOf(tc.err), tc.want)
		}
	}
	if err := add("web", "far", "", false); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveLink(ctx, "web", "far"); err != nil {
		t.Fatal(err)
	}
	if err := add("web", "later", "", true); err != nil {
		t.Fatal(err)
	}
	later := r.runContainer(t, "later", "serve")
	for _, l := range r.Snapshot().LinksOf[web] {
		if want := map[string]string{"store": db, "later": later}[l.Alias]; l.TargetID != want || l.NetworkID != "" {
			t.Errorf("link %s: %+v", l.Alias, l)
		}
	}
	if err := r.RemoveLink(ctx, "web", "store"); err != nil || len(r.Snapshot().LinksOf[web]) != 1 {
		t.Errorf("after rm: %v %v", err, r.Snapshot().LinksOf[web])
	}
	r.noLeaks(t)
}

func TestSwapMovesEverything(t *testing.T) {
	r := newWorld(t).engine()
	ctx := t.Context()
	r.network(t, "dev", subnet("10.9.0.0/24"))
	blue := r.runContainer(t, "blue", "serve", publish("", 8080, 0, 80), publish("", 0, 0, 81), endpoint(model.EndpointRequest{Network: "dev", Aliases: []string{"app"}}), onNetwork("dev"))
	green := r.runContainer(t, "green", "serve", publish("", 8081, 0, 80), onNetwork("dev"))
	user := r.runContainer(t, "user", "serve", onNetwork("dev"))
	r.create(t, "off", "serve", onNetwork("dev"))
	r.runContainer(t, "apart", "serve")
	if _, err := r.AddLink(ctx, "user", model.LinkRequest{Target: "blue"}); err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprint(r.ports(blue), r.ports(green))
	for _, tc := range []struct{ from, to, want string }{
		{"blue", "off", "container off is not running"},
		{"off", "blue", "container off is not running"},
		{"blue", "blue", "cannot be swapped with itself"},
		{"blue", "nobody", "No such container: nobody"},
		{"blue", "apart", "container blue has aliases on network dev (app) and container apart is not on it"},
	} {
		if err := r.Swap(ctx, tc.from, tc.to); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s with %s: %v, want %q", tc.from, tc.to, err, tc.want)
		}
	}
	if after := fmt.Sprint(r.ports(blue), r.ports(green)); after != before {
		t.Errorf("refused swaps left %s", after)
	}
	held := r.container(blue).Ports
	if err := r.Swap(ctx, "blue", "green"); err != nil {
		t.Fatal(err)
	}
	if got := r.ports(blue); got != " asked []" {
		t.Errorf("blue has %s", got)
	}
	for _, m := range held {
		if !slices.Contains(r.container(green).Ports, m) {
			t.Errorf("green lacks %v: %s", m, r.ports(green))
		}
	}
	s := r.Snapshot()
	if a, b := s.ByContainer[blue][0], s.ByContainer[green][0]; len(a.Aliases) != 0 || fmt.Sprint(b.Aliases) != "[app]" {
		t.Errorf("aliases: blue %v, green %v", a.Aliases, b.Aliases)
	} else if fmt.Sprint(a.IPv4, a.Inside4, b.IPv4, b.Inside4) != "10.9.0.3/24 10.9.0.2/24 10.9.0.2/24 10.9.0.3/24" {
		t.Errorf("addresses: blue %v with %v inside, green %v with %v", a.IPv4, a.Inside4, b.IPv4, b.Inside4)
	}
	if l := s.LinksOf[user][0]; l.TargetID != green {
		t.Errorf("link: %+v", l)
	}
	r.noLeaks(t)
}

// A link between two networks that either end can't be told of is not there.
func TestFailedLinkIsTakenBack(t *testing.T) {
	r := newWorld(t).engine()
	r.network(t, "dev")
	web := r.runContainer(t, "web", "serve")
	r.runContainer(t, "far", "serve", onNetwork("dev"))
	for nth := 1; nth <= 3; nth++ {
		r.w.mu.Lock()
		r.w.failAt = r.w.calls + nth
		r.w.mu.Unlock()
		_, err := r.AddLink(t.Context(), "web", model.LinkRequest{Target: "far", Ports: []string{"80"}})
		want := map[int]string{1: "change the network of container web: ", 2: "change the network of container far: ", 3: ""}[nth]
		if left := r.Snapshot().LinksOf[web]; (err == nil) != (nth == 3) || err != nil && !strings.HasPrefix(err.Error(), want) || len(left) != nth/3 {
			t.Errorf("call %d fails: %v, left %v", nth, err, left)
		}
	}
	r.noLeaks(t)
}

// What is exposed because it is published is exposed for as long, wherever the
// port goes; what was exposed before stays so.
func TestExposedWhilePublished(t *testing.T) {
	r := newWorld(t).engine()
	ctx := t.Context()
	web := r.runContainer(t, "web", "serve", publish("", 8080, 0, 80))
	next := r.runContainer(t, "next", "serve")
	exposed := func(id string) string {
		var out []string
		for _, p := range r.Snapshot().Containers[id].Config.ExposedPorts {
			out = append(out, p.String())
		}
		return strings.Join(out, " ")
	}
	first, other := exposed(web), exposed(next)
	step := func(what string, err error, wantWeb, wantNext string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if exposed(web) != strings.TrimSpace(wantWeb) || exposed(next) != strings.TrimSpace(wantNext) {
			t.Errorf("%s: web exposes %q, want %q; next %q, want %q", what, exposed(web), wantWeb, exposed(next), wantNext)
		}
	}
	_, err := r.AddPorts(ctx, "web", []model.PortBinding{binding("", 9001, 0, 9000), binding("", 9002, 0, 9000), binding("", 9003, 0, 80)})
	step("added", err, first+" 9000/tcp", other)
	take := func(port uint16) error {
		return r.RemovePorts(ctx, "web", []model.PublishedPort{{From: port, To: port, Proto: "tcp"}})
	}
	step("one of two gone", take(9001), first+" 9000/tcp", other)
	step("swapped", r.Swap(ctx, "web", "next"), first, strings.TrimSpace(other+" 80/tcp 9000/tcp"))
	step("swapped back", r.Swap(ctx, "next", "web"), first+" 9000/tcp", other)
	step("both gone", take(9002), first, other)
	step("exposed at create", take(8080), first, other)
}
