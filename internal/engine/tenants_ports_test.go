package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// A tenant publishes neither on addresses of pools, but for its own floating
// IPs, nor on what became somebody else's after it asked.
func TestTenantsHostAddresses(t *testing.T) {
	r := fipRig(t, "203.0.113.16/29")
	acme, umbrella := r.tenant(t, "acme"), r.tenant(t, "umbrella")
	own, others := acme.fips(t, 1), umbrella.fips(t, 1)
	refused := func(what string, err error) {
		t.Helper()
		if !errs.Is(err, errs.Forbidden) || !strings.Contains(err.Error(), "is not available: publish on another address") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, a := range []string{others, "::ffff:" + others, "203.0.113.22"} { // the last is nobody's yet
		_, err := acme.tryCreate(t, "xx", "serve", publish(a, 80, 0, 80))
		refused("create on "+a, err)
	}
	web := acme.runContainer(t, "web", "serve", publish(own, 80, 0, 80))
	_, err := acme.AddPorts(t.Context(), web, []model.PortBinding{binding(others, 81, 0, 81)})
	refused("port add", err)
	_, _, err = acme.CreateNetwork(t.Context(), model.NetworkRequest{Name: "x", Options: map[string]string{optHostIP: others}})
	refused("network create", err)

	// A released address is nobody else's while ports of a container lead there.
	if err := acme.ReleaseFIP(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	if next := umbrella.fips(t, 1); next == own {
		t.Errorf("%s is acme's web's, and umbrella got it", own)
	}
	if err := acme.StopContainer(t.Context(), web, "", nil); err != nil {
		t.Fatal(err)
	}
	refused("start after its release", acme.StartContainer(t.Context(), web))
	if c := r.container(web); c.Active || len(c.Ports) != 0 {
		t.Errorf("a refused start left %+v", c)
	}
}

func TestTenantsHostAddressesOfLater(t *testing.T) {
	r := fipRig(t)
	acme := r.tenant(t, "acme")
	acme.network(t, "dev", func(n *model.NetworkRequest) { n.Options = map[string]string{optHostIP: "198.51.100.9"} })
	ids := map[string]string{
		"by -p":          acme.create(t, "aa", "serve", publish("198.51.100.9", 80, 0, 80)),
		"by the network": acme.create(t, "bb", "serve", publish("", 81, 0, 80), onNetwork("dev")),
	}
	running := acme.runContainer(t, "cc", "serve", onNetwork("dev"))
	if _, err := r.AddFIPPool(t.Context(), "198.51.100.0/24", "eth0"); err != nil {
		t.Fatal(err)
	}
	for what, id := range ids {
		for who, engine := range map[string]*rig{"acme": acme, "the administrator": r} {
			if err := engine.StartContainer(t.Context(), id); !errs.Is(err, errs.Forbidden) {
				t.Errorf("%s, started by %s: %v", what, who, err)
			}
		}
	}
	if _, err := acme.AddPorts(t.Context(), running, []model.PortBinding{binding("", 82, 0, 80)}); !errs.Is(err, errs.Forbidden) {
		t.Errorf("port add: %v", err)
	}
	// The administrator's own is the administrator's to decide.
	r.runContainer(t, "own", "serve", publish("198.51.100.9", 80, 0, 80))
}

// The host asks the servers of --dns: a tenant names none that only the host reaches.
func TestTenantsResolvers(t *testing.T) {
	r := newWorld(t).engine()
	acme, umbrella := r.tenant(t, "acme"), r.tenant(t, "umbrella")
	gateway := func(of *rig) string {
		n, err := of.FindNetwork("bridge")
		if err != nil {
			t.Fatal(err)
		}
		return n.Subnets[0].Gateway.String()
	}
	with := func(dns string) func(*model.CreateRequest) {
		return func(q *model.CreateRequest) { q.Host.DNS = []netip.Addr{netip.MustParseAddr(dns)} }
	}
	for _, dns := range []string{"127.0.0.53", "::1", "::ffff:127.0.0.1", "0.0.0.0", "169.254.169.254", "fe80::1%eth0", "224.0.0.251", gateway(r), gateway(umbrella)} {
		if _, err := acme.tryCreate(t, "web", "serve", with(dns)); !errs.Is(err, errs.Forbidden) || !strings.Contains(err.Error(), "--dns "+dns+" is not open to tenants") {
			t.Errorf("--dns %s: %v", dns, err)
		}
	}
	for at, dns := range []string{"9.9.9.9", "2620:fe::fe", gateway(acme)} {
		acme.create(t, fmt.Sprint("web", at), "serve", with(dns))
	}
	r.create(t, "web", "serve", with("127.0.0.53"))
}
