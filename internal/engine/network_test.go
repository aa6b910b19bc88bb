package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func (r *rig) network(t *testing.T, name string, mods ...func(*model.NetworkRequest)) string {
	t.Helper()
	req := model.NetworkRequest{Name: name}
	for _, m := range mods {
		m(&req)
	}
	id, _, err := r.CreateNetwork(t.Context(), req)
	if err != nil {
		t.Fatalf("network create %s: %v", name, err)
	}
	return id
}

func subnet(s string) func(*model.NetworkRequest) {
	return func(r *model.NetworkRequest) { r.Subnets = []model.SubnetRequest{{Prefix: s}} }
}

// A network denies by Docker's option and by ours.
func TestDenyingNetworks(t *testing.T) {
	r := newWorld(t).engine()
	for i, tc := range []struct {
		key, value string
		deny       bool
	}{
		{optICC, "false", true}, {optICC, "true", false}, {optPolicy, "deny", true}, {optPolicy, "open", false}, {optMTU, "1400", false},
	} {
		id, _, err := r.CreateNetwork(t.Context(), model.NetworkRequest{Name: fmt.Sprint("net", i), Options: map[string]string{tc.key: tc.value}})
		if err != nil || r.Snapshot().Networks[id].Deny != tc.deny {
			t.Errorf("%s=%s: denies %v, want %v (%v)", tc.key, tc.value, err == nil && !tc.deny, tc.deny, err)
		}
	}
}

func TestRefusedNetworks(t *testing.T) {
	w := newWorld(t)
	w.routes = []netip.Prefix{netip.MustParsePrefix("10.50.0.0/16"), netip.MustParsePrefix("fd00:50:1:2::/64")}
	r := w.engine()
	r.network(t, "dev", subnet("10.9.0.0/24"))
	r.network(t, "six", withIPv6("fd00:60::/64"))
	yes, no := true, false
	v6 := func(subnets ...string) model.NetworkRequest {
		q := model.NetworkRequest{Name: "new"}
		withIPv6(subnets...)(&q)
		return q
	}
	opts := func(kv ...string) model.NetworkRequest {
		return model.NetworkRequest{Name: "new", Options: pairs(map[string]string{}, kv)}
	}
	sub := func(s string) model.NetworkRequest {
		return model.NetworkRequest{Name: "new", Subnets: []model.SubnetRequest{{Prefix: s}}}
	}
	for _, tc := range []struct {
		req  model.NetworkRequest
		kind errs.Kind
		want string
	}{
		{model.NetworkRequest{Name: "dev"}, errs.Conflict, "network with name dev already exists"},
		{model.NetworkRequest{}, errs.Invalid, "name is empty"},
		{model.NetworkRequest{Name: "bridge"}, errs.Forbidden, "operation is not permitted on predefined bridge network"},
		{model.NetworkRequest{Name: "a b"}, errs.Invalid, `invalid network name "a b"`},
		{model.NetworkRequest{Name: "new", Driver: "weave"}, errs.NotFound, "could not find plugin weave in v1 plugin registry: plugin not found"},
		{model.NetworkRequest{Name: "new", Driver: "macvlan"}, errs.NotImplemented, "network driver macvlan is not supported yet"},
		{sub("fd00::/64"), errs.Invalid, "invalid subnet fd00::/64: the network is not to have IPv6: add --ipv6"},
		{model.NetworkRequest{Name: "new", EnableIPv4: &no}, errs.NotImplemented, "a network without IPv4 is not supported yet"},
		{v6("fd00:1::/64", "fd00:2::/64"), errs.Invalid, "give one of IPv4 and, with --ipv6, one of IPv6"},
		{v6("fd00:50:0:1::/63"), errs.Invalid, "invalid subnet fd00:50:0:1::/63: it should be fd00:50::/63"},
		{v6("fe80::/64"), errs.Invalid, "containers can't have addresses of this range"},
		{v6("fd00:50:1::/48"), errs.Forbidden, "the host has a route or an address for fd00:50:1:2::/64"},
		{v6("fd00:60::/48"), errs.Forbidden, "fd00:60::/48 overlaps network six (fd00:60::/64)"},
		{model.NetworkRequest{Name: "new", EnableIPv6: &yes, Options: map[string]string{optMTU: "1279"}}, errs.Invalid, "IPv6 needs 1280 at least"},
		{sub("10.9.0.0"), errs.Invalid, "invalid subnet 10.9.0.0: invalid CIDR block notation"},
		{sub("10.9.0.128/25"), errs.Forbidden, "Pool overlaps with other one on this address space"},
		{sub("10.48.0.0/14"), errs.Forbidden, "Pool overlaps with other one on this address space: the host has a route or an address for 10.50.0.0/16"},
		{model.NetworkRequest{Name: "new", Labels: map[string]string{"com.jackstay.policy": "deny"}}, errs.Invalid, "options of a network are given as -o com.jackstay.policy=…"},
		{opts(optPolicy, "closed"), errs.Invalid, "it is open (containers of the network reach each other) or deny (only along links)"},
		{opts(optPolicy, "deny", optICC, "true"), errs.Invalid, "say the same thing twice: give one of them"},
		{opts(optMTU, "many"), errs.Invalid, "must be a number"},
		{opts(optBridgeName, "a/b"), errs.Invalid, "a bridge's name has at most 15 characters"},
		{opts(optBridgeName, `a"b`), errs.Invalid, "a bridge's name has at most 15 characters"},
		{opts(optBridgeName, "jk*"), errs.Invalid, "a bridge's name has at most 15 characters"},
		{opts(optBridgeName, "all"), errs.Invalid, "is not all or default"},
		{opts(optBridgeName, "eth0"), errs.Conflict, "the host has a link named eth0 which is not Jackstay's"},
		{opts(optBridgeName, "jackstay0"), errs.Conflict, "bridge jackstay0 is already that of network bridge"},
		{opts("com.docker.network.bridge.colour", "red"), errs.Invalid, "option com.docker.network.bridge.colour of network new is not supported"},
		{opts("parent", "eth0"), errs.Invalid, "option parent of network new is not supported"},
	} {
		_, _, err := r.CreateNetwork(t.Context(), tc.req)
		if err == nil || !strings.Contains(err.Error(), tc.want) || errs.KindOf(err) != tc.kind {
			t.Errorf("%+v: %v (kind %d), want %q (kind %d)", tc.req, err, errs.KindOf(err), tc.want, tc.kind)
		}
	}
	if got := len(r.Snapshot().Networks); got != 5 {
		t.Errorf("%d networks", got)
	}
	// A part of a wider route may be wanted, and is said.
	_, warning, err := r.CreateNetwork(t.Context(), sub("10.50.3.0/24"))
	if err != nil || !strings.Contains(warning, "the host has a route for 10.50.0.0/16") {
		t.Errorf("part of a wider route: warning %q, %v", warning, err)
	}
}

func TestNetworkOptions(t *testing.T) {
	r := newWorld(t).engine()
	id := r.network(t, "dev", func(q *model.NetworkRequest) {
		q.Options = map[string]string{optBridgeName: "br-dev", optMasquerade: "false", optHostIP: "127.0.0.1", optMTU: "1400", optICC: "true"}
	})
	n := r.Snapshot().Networks[id]
	if n.Bridge != "br-dev" || n.Masquerade || n.HostIP.String() != "127.0.0.1" || n.MTU != 1400 {
		t.Errorf("%+v", n)
	}
	if n.Subnets[0].Prefix.String() != "172.18.0.0/22" || n.Subnets[0].Gateway.String() != "172.18.0.1" {
		t.Errorf("subnet of the pools: %+v", n.Subnets)
	}
	id = r.network(t, "inside", func(q *model.NetworkRequest) { q.Internal = true })
	in := r.Snapshot().Networks[id]
	if in.Masquerade || !in.Internal || in.Bridge != "jk-"+in.ID[:12] {
		t.Errorf("internal network: %+v", in)
	}
	web := r.runContainer(t, "web", "serve", onNetwork("dev"), publish("", 8080, 0, 80))
	if m := r.container(web).Ports[0]; m.HostIP.String() != "127.0.0.1" {
		t.Errorf("published on %s", m.HostIP)
	}
}

func TestRemoveNetwork(t *testing.T) {
	r := newWorld(t).engine()
	r.network(t, "dev")
	r.network(t, "prod")
	web := r.runContainer(t, "web", "serve", onNetwork("dev"))
	ep := r.Snapshot().ByContainer[web][0].ID
	want := fmt.Sprintf(`error while removing network: network dev has active endpoints (name:"web" id:"%s")`, ep[:12])
	if err := r.RemoveNetwork(t.Context(), "dev"); !errs.Is(err, errs.Forbidden) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if names, err := r.PruneNetworks(t.Context(), nil); err != nil || fmt.Sprint(names) != "[prod]" {
		t.Errorf("prune took %v %v", names, err)
	}
	// Only a stopped container is on it: it goes, and that one can't start without it.
	if err := r.StopContainer(t.Context(), "web", "", nil); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveNetwork(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(t.Context(), "web"); !errs.Is(err, errs.NotFound) || err.Error() != "network dev not found" {
		t.Errorf("start without its network: %v", err)
	}
	if err := r.DisconnectNetwork(t.Context(), "dev", "web", false); err != nil {
		t.Errorf("disconnect from what is gone: %v", err)
	}
	if err := r.ConnectNetwork(t.Context(), "bridge", "web", model.EndpointRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(t.Context(), "web"); err != nil {
		t.Errorf("start on another network: %v", err)
	}
	if err := r.RemoveNetwork(t.Context(), "nowhere"); err == nil || err.Error() != "network nowhere not found" {
		t.Errorf("rm of nothing: %v", err)
	}
	r.noLeaks(t)
}

func TestConnectAndDisconnect(t *testing.T) {
	r := newWorld(t).engine()
	r.network(t, "dev", subnet("10.9.0.0/24"))
	db := r.runContainer(t, "db", "serve", onNetwork("dev"))
	web := r.runContainer(t, "web", "serve")
	joined := r.create(t, "joined", "serve", onNetwork("container:web"))
	bare := r.create(t, "bare", "serve", onNetwork("none"))
	hosted := r.create(t, "hosted", "serve", onNetwork("host"))
	for _, tc := range []struct {
		network, container string
		ep                 model.EndpointRequest
		want               string
	}{
		{"dev", db, model.EndpointRequest{}, "endpoint with name db already exists in network dev"},
		{"dev", joined, model.EndpointRequest{}, wordsShared},
		{"dev", bare, model.EndpointRequest{}, wordsNone},
		{"dev", hosted, model.EndpointRequest{}, wordsShared},
		{"host", web, model.EndpointRequest{}, wordsToHost},
		{"nowhere", web, model.EndpointRequest{}, "network nowhere not found"},
		{"dev", "nobody", model.EndpointRequest{}, "No such container: nobody"},
		{"dev", web, model.EndpointRequest{Links: []string{"web"}}, "Cannot link to web: a container can't link to itself"},
		{"dev", web, model.EndpointRequest{IPv4: netip.MustParseAddr("10.9.0.1")}, "it is the gateway of network dev's subnet 10.9.0.0/24"},
	} {
		if err := r.ConnectNetwork(t.Context(), tc.network, tc.container, tc.ep); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("connect %s %s: %v, want %s", tc.network, tc.container, err, tc.want)
		}
	}
	ep := model.EndpointRequest{IPv4: netip.MustParseAddr("10.9.0.77"), Aliases: []string{"www"}, Links: []string{"db:store"}}
	if err := r.ConnectNetwork(t.Context(), "dev", "web", ep); err != nil {
		t.Fatal(err)
	}
	eps := r.Snapshot().ByContainer[web]
	if len(eps) != 2 || eps[1].Interface != "eth1" || eps[1].IPv4.String() != "10.9.0.77/24" || len(r.Snapshot().LinksOf[web]) != 1 {
		t.Errorf("after connect: %+v", eps)
	}
	if err := r.DisconnectNetwork(t.Context(), "dev", "web", false); err != nil {
		t.Fatal(err)
	}
	if err := r.DisconnectNetwork(t.Context(), "dev", "web", false); err == nil || err.Error() != "container "+web+" is not connected to network dev" {
		t.Errorf("disconnected twice: %v", err)
	}
	if err := r.DisconnectNetwork(t.Context(), "host", "hosted", false); err == nil || err.Error() != wordsFromHost {
		t.Errorf("disconnect from the host: %v", err)
	}
	if s := r.Snapshot(); len(s.ByContainer[web]) != 1 || len(s.LinksOf[web]) != 0 {
		t.Errorf("left after disconnect: %v %v", s.ByContainer[web], s.LinksOf[web])
	}
	// A stopped one is connected too, and a freed number is used again.
	if err := r.StopContainer(t.Context(), "web", "", nil); err != nil {
		t.Fatal(err)
	}
	if err := r.ConnectNetwork(t.Context(), "dev", "web", model.EndpointRequest{}); err != nil {
		t.Fatal(err)
	}
	if eps := r.Snapshot().ByContainer[web]; eps[1].Interface != "eth1" {
		t.Errorf("interface %s", eps[1].Interface)
	}
}

func TestLinks(t *testing.T) {
	r := newWorld(t).engine()
	r.runContainer(t, "datastore", "serve", config(func(c *model.Config) {
		c.ExposedPorts = []model.Port{{Number: 6379, Proto: "tcp"}}
		c.Env = []string{"REDIS_VERSION=2.8", "HOME=/root"}
	}))
	web := r.runContainer(t, "web", "serve", host(func(h *model.HostConfig) { h.Links = []string{"datastore:redis"} }),
		config(func(c *model.Config) { c.Env = []string{"REDIS_PORT=mine"} }))
	env := r.w.procs[web].spec.Env
	for _, want := range []string{
		"REDIS_NAME=/web/redis", "REDIS_PORT=mine", "REDIS_PORT_6379_TCP=tcp://172.17.0.2:6379", "REDIS_PORT_6379_TCP_ADDR=172.17.0.2",
		"REDIS_PORT_6379_TCP_PORT=6379", "REDIS_PORT_6379_TCP_PROTO=tcp", "REDIS_ENV_REDIS_VERSION=2.8",
		"HOSTNAME=" + web[:12], defaultPath,
	} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s in\n%s", want, strings.Join(env, "\n"))
		}
	}
	if got := strings.Join(env, "\n"); strings.Contains(got, "REDIS_ENV_HOME") || strings.Contains(got, "REDIS_PORT=tcp") {
		t.Errorf("too much in\n%s", got)
	}
	for raw, want := range map[string]string{
		"db": "db db []", "a:b": "a b []", "/a:/web/b": "a b []", "a::5432": "a a [5432/tcp]",
		"/a:/web/b:80,53/UDP,8000-8010,80/tcp": "a b [80/tcp 53/udp 8000-8010/tcp]",
	} {
		spec, err := parseLink(raw)
		if got := fmt.Sprint(spec.name, " ", spec.alias, " ", spec.ports); err != nil || got != want {
			t.Errorf("%s: %s %v, want %s", raw, got, err, want)
		}
	}
	for _, raw := range []string{"a:b:", "a:b:0", "a:b:2-1", "a:b:80/icmp", "a:b:80:81", "a:b:99999", "a:b:80,", ":b:80", "a:*.b:80"} {
		if spec, err := parseLink(raw); err == nil || !strings.HasPrefix(err.Error(), "bad format for links: "+raw) {
			t.Errorf("%s: %v %v", raw, spec, err)
		}
	}
	// The target does not run: Docker's refusal on the default network.
	for _, name := range []string{"web", "datastore"} {
		if err := r.StopContainer(t.Context(), name, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.StartContainer(t.Context(), "web"); err == nil || err.Error() != "Cannot link to a non running container: /datastore AS /web/redis" {
		t.Errorf("start with a stopped target: %v", err)
	}
	// The target is gone, and nothing of the link is seen until it comes back.
	if err := r.RemoveContainer(t.Context(), "datastore", model.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(t.Context(), "web"); err != nil || strings.Contains(strings.Join(r.w.procs[web].spec.Env, "\n"), "REDIS_NAME") {
		t.Errorf("start after the target went: %v", err)
	}
	again := r.runContainer(t, "datastore", "serve")
	if l := r.Snapshot().LinksOf[web][0]; l.TargetID != again {
		t.Errorf("the link does not lead to the new target: %+v", l)
	}
	// One alias for two.
	r.create(t, "one", "serve")
	r.create(t, "two", "serve")
	_, err := r.tryCreate(t, "both", "serve", host(func(h *model.HostConfig) { h.Links = []string{"one:db", "two:db"} }))
	if err == nil || err.Error() != "Cannot link to /two AS /both/db: the alias db is already that of /one" {
		t.Errorf("one alias for two: %v", err)
	}
}

func TestJoinedNamespaces(t *testing.T) {
	r := newWorld(t).engine()
	web := r.create(t, "web", "serve")
	peer := r.create(t, "peer", "serve", onNetwork("container:web"), host(func(h *model.HostConfig) { h.PidMode = "container:web" }))
	chain := r.create(t, "chain", "serve", onNetwork("container:peer"))
	want := "cannot join network namespace of a non running container: container web is created"
	if err := r.StartContainer(t.Context(), peer); err == nil || err.Error() != want {
		t.Errorf("start before the target: %v", err)
	}
	r.noLeaks(t)
	for _, id := range []string{web, peer, chain} {
		if err := r.StartContainer(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	spec := r.w.procs[peer].spec
	if spec.NetNS != "/netns/"+web || spec.Hostname != web[:12] || spec.PidOf != r.container(web).State.Pid {
		t.Errorf("peer: netns %s, hostname %s, pid %d", spec.NetNS, spec.Hostname, spec.PidOf)
	}
	if got := r.w.procs[chain].spec.NetNS; got != "/netns/"+web {
		t.Errorf("peer of a peer: netns %s", got)
	}
	if got := len(r.Snapshot().ByContainer[peer]); got != 0 {
		t.Errorf("%d endpoints of its own", got)
	}
	if err := r.RestartContainer(t.Context(), "web", "", nil); err != nil || !r.container(peer).State.Running() {
		t.Errorf("the peer did not outlive the restart: %v", err)
	}
}

func TestHostPorts(t *testing.T) {
	r := newWorld(t).engine()
	web := r.runContainer(t, "web", "serve", publish("", 80, 0, 80))
	if got := r.container(web).Ports; len(got) != 1 || got[0].HostIP.String() != "0.0.0.0" {
		t.Errorf("ports %v", got)
	}
	two := r.create(t, "two", "serve", publish("", 80, 0, 8080))
	ep := r.Snapshot().ByContainer[two][0].ID
	err := r.StartContainer(t.Context(), two)
	want := "driver failed programming external connectivity on endpoint two (" + ep + "): Bind for 0.0.0.0:80 failed: port is already allocated"
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "container web") {
		t.Errorf("%v, want %s by container web", err, want)
	}
	if c := r.container(two); c.Active || c.State.Status != model.StatusCreated || c.State.Error == "" {
		t.Errorf("after the refusal: %+v", c.State)
	}
	// A fixed port that another program has.
	r.w.foreign[443] = true
	three := r.create(t, "three", "serve", publish("", 443, 0, 443))
	ep = r.Snapshot().ByContainer[three][0].ID
	want = "driver failed programming external connectivity on endpoint three (" + ep + "): listen tcp4 0.0.0.0:443: bind: address already in use"
	if err := r.StartContainer(t.Context(), three); err == nil || err.Error() != want || !errs.Is(err, errs.Conflict) {
		t.Errorf("%v, want %s", err, want)
	}
	r.noLeaks(t)
	// Of a range the next is taken, whoever has the first.
	r.w.foreign[9000] = true
	four := r.runContainer(t, "four", "serve", publish("", 9000, 9003, 80))
	five := r.runContainer(t, "five", "serve", publish("", 9000, 9003, 80))
	a, b := r.container(four).Ports[0].HostPort, r.container(five).Ports[0].HostPort
	if a == b || a == 9000 || b == 9000 || a > 9003 || b > 9003 {
		t.Errorf("ports %d and %d of 9001-9003", a, b)
	}
	// -P publishes what is exposed; a stopped one gets its ports back.
	six := r.runContainer(t, "six", "serve", config(func(c *model.Config) {
		c.ExposedPorts = []model.Port{{Number: 80, Proto: "tcp"}, {Number: 53, Proto: "udp"}}
	}), host(func(h *model.HostConfig) { h.PublishAllPorts = true }))
	before := r.container(six).Ports
	if len(before) != 2 || before[0].HostPort < 32768 {
		t.Errorf("-P: %v", before)
	}
	taken := r.runContainer(t, "taken", "serve", publish("", 0, 0, 4000)) // so that the next pick is behind it
	if err := r.StopContainer(t.Context(), six, "", nil); err != nil {
		t.Fatal(err)
	}
	r.runContainer(t, "seven", "serve", publish("", 0, 0, 5000))
	if err := r.StartContainer(t.Context(), six); err != nil {
		t.Fatal(err)
	}
	if err := r.StopContainer(t.Context(), taken, "", nil); err != nil {
		t.Fatal(err)
	}
	if got := r.container(six).Ports; !slices.Equal(got, before) {
		t.Errorf("ports after a stop: %v, before %v", got, before)
	}
	// No ports without a network of its own.
	if got := r.container(r.runContainer(t, "eight", "serve", onNetwork("host"), publish("", 80, 0, 80))).Ports; len(got) != 0 {
		t.Errorf("ports in the host's network: %v", got)
	}
	r.noLeaks(t)
}

// A start that fails because of one port keeps the others for the next.
func TestRandomPortSurvivesAFailedStart(t *testing.T) {
	w := newWorld(t)
	r := w.engine()
	id := r.runContainer(t, "web", "serve", publish("", 8080, 8080, 80), publish("", 0, 0, 90))
	was := r.container(id).Ports
	if err := r.StopContainer(t.Context(), id, "", nil); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.foreign[8080] = true
	w.mu.Unlock()
	if err := r.StartContainer(t.Context(), id); !errs.Is(err, errs.Conflict) {
		t.Fatalf("start beside another program: %v", err)
	}
	w.mu.Lock()
	w.foreign[8080] = false
	w.mu.Unlock()
	if err := r.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if now := r.container(id).Ports; !slices.Equal(now, was) {
		t.Errorf("ports %v, were %v", now, was)
	}
}
