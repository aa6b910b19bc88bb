package api

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func TestLiveRoutes(t *testing.T) {
	for _, c := range []struct {
		method, target, body string
		status               int
		part, call           string
	}{
		{"POST", "/containers/web/ports", `{"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]}}`, 200,
			`{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]}}`, "addports web [{0.0.0.0 8080 80/tcp}]"},
		{"POST", "/v1.44/containers/web/ports", `{"PortBindings":{"80/tcp":[{"HostPort":"70000"}]}}`, 400, "invalid port specification", ""},
		{"DELETE", "/containers/web/ports?port=8080&port=127.0.0.1:90-91/UDP&port=[::1]:5/sctp", "", 204, "",
			"rmports web [{invalid IP 8080 8080 tcp} {127.0.0.1 90 91 udp} {::1 5 5 sctp}]"},
		{"DELETE", "/containers/web/ports?port=0", "", 400, "invalid host port \\\"0\\\"", ""},
		{"DELETE", "/containers/web/ports?port=9-8", "", 400, "[IP:]PORT[-PORT][/PROTO]", ""},
		{"DELETE", "/containers/web/ports?port=8/icmp", "", 400, "unknown protocol", ""},
		{"DELETE", "/containers/web/ports?port=host:8", "", 400, "invalid host port", ""},
		{"POST", "/containers/web/links", `{"Target":"db","Alias":"store","Wait":true}`, 201, `"Target":"db","TargetID":"","Ports":[],"Strict":false,"Network":"","TargetNetwork":"","Addresses":[],"State":"waiting for the target"`, "addlink web db store true"},
		{"POST", "/containers/web/links", `{}`, 400, "the target's name is missing", ""},
		{"DELETE", "/containers/web/links?alias=store", "", 204, "", "rmlink web store"},
		{"DELETE", "/containers/web/links", "", 400, "the parameter alias is missing", ""},
		{"POST", "/containers/web/swap?with=db", "", 204, "", "swap web db"},
		{"POST", "/containers/web/swap", "", 400, "the parameter with is missing", ""},
		{"POST", "/networks/bridge/aliases", `{"Container":"web","Aliases":["a","*.b"]}`, 204, "", "addaliases bridge web [a *.b]"},
		{"POST", "/networks/bridge/aliases", `{"Aliases":["a"]}`, 400, "the container's name is missing", ""},
		{"DELETE", "/networks/bridge/aliases?container=web&alias=a&alias=b", "", 204, "", "rmaliases bridge web [a b]"},
		{"DELETE", "/networks/bridge/aliases?alias=a", "", 400, "the parameter container is missing", ""},
		{"GET", "/networks/bridge/aliases", "", 200, `[{"Container":"web","ContainerID":"` + fakeID("web") + `","Aliases":["www"]}]`, ""},
		{"GET", "/networks/nowhere/aliases", "", 404, "nowhere", ""},
		{"GET", "/networks/bridge/leases", "", 200, `{"Address":"172.17.0.1","MacAddress":"","Container":"gateway","ContainerID":"","State":"reserved"}`, "leases bridge"},
		{"GET", "/containers/nobody/links", "", 404, "nobody", ""},
	} {
		f := newFixture(t)
		web := f.engine.addContainer("web", true)
		f.engine.join(web, "bridge", "172.17.0.2/16").Aliases = []string{"www"}
		f.want(c.method, c.target, c.body, c.status, c.part)
		if c.call != "" {
			f.engine.called(t, c.call)
		}
	}
	f := newFixture(t)
	f.engine.addContainer("web", true)
	f.engine.fail["swap"] = errs.New(errs.Conflict, "db is not running")
	f.want("POST", "/containers/web/swap?with=db", "", 409, `{"message":"db is not running"}`)
}

func TestLinkStates(t *testing.T) {
	f := newFixture(t)
	web, db, off := f.engine.addContainer("web", true), f.engine.addContainer("db", true), f.engine.addContainer("off", false)
	far := f.engine.addContainer("far", true)
	f.engine.addNetwork("dev", "10.0.0.0/24", "10.0.0.1")
	f.engine.join(web, "bridge", "172.17.0.2/16")
	f.engine.join(db, "bridge", "172.17.0.3/16")
	f.engine.join(off, "bridge", "172.17.0.4/16")
	f.engine.join(far, "dev", "10.0.0.2/24")
	for alias, target := range map[string]*model.Container{"db": db, "off": off, "far": far} {
		f.engine.link(web, target, "", alias)
	}
	f.engine.link(web, far, "", "never")
	f.engine.snap.Links[model.LinkID(web.ID, "", "never")].Strict = true
	waits := &model.Link{ContainerID: web.ID, Alias: "later", TargetName: "late"}
	f.engine.snap.LinksOf[web.ID] = append(f.engine.snap.LinksOf[web.ID], waits)
	var inspected struct {
		HostConfig      struct{ Links []string }
		NetworkSettings struct{ Links []linkState }
	}
	f.json("/containers/web/json", &inspected)
	var listed []linkState
	f.json("/containers/web/links", &listed)
	equal(t, "links in inspect", inspected.NetworkSettings.Links, listed)
	if got := inspected.HostConfig.Links; len(got) != 4 || slices.ContainsFunc(got, func(l string) bool { return strings.Contains(l, "late") }) {
		t.Errorf("Docker's row: %q, which has no link whose target is not there", got)
	}
	for _, path := range []string{"/links", "/containers/web/links"} {
		_, text := f.do("GET", path, "")
		var got []linkState
		if err := json.Unmarshal([]byte(text), &got); err != nil || len(got) != 5 {
			t.Fatalf("%s: %s %v", path, text, err)
		}
		for i, want := range []struct{ alias, target, network, state string }{
			{"db", "db", "bridge", linkUp}, {"far", "far", "bridge", linkUp}, {"later", "late", "", linkWaiting}, {"never", "far", "", linkStrict}, {"off", "off", "bridge", linkStopped},
		} {
			if g := got[i]; g.Alias != want.alias || g.Target != want.target || g.Network != want.network || g.State != want.state || (len(g.Addresses) == 1) != (g.State == linkUp) || (g.TargetNetwork == "dev") != (g.Alias == "far") {
				t.Errorf("%s: %+v, want %+v", path, g, want)
			}
		}
	}
}
