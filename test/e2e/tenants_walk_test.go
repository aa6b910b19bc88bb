package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// reference is somebody else's object, and one that does not exist, both as a
// request can name them.
type reference struct{ theirs, nobodys string }

// walker asks one tenant's API for what is another's.
type walker struct {
	t      *testing.T
	client *http.Client
	asked  map[string]bool // by route
}

func newWalker(t *testing.T, h *host.Host) *walker {
	return &walker{t: t, asked: map[string]bool{}, client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", h.Socket())
		},
	}}}
}

// ask sends a request and gives the whole answer: status, type and body.
func (w *walker) ask(method, target, body string) string {
	w.t.Helper()
	req, err := http.NewRequest(method, "http://jackstay"+target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, target, err)
	}
	return fmt.Sprintf("%d %s\n%s", resp.StatusCode, resp.Header.Get("Content-Type"), data)
}

// same wants one answer to what is somebody else's and to what does not exist.
// In target and body, REF stands for the reference.
func (w *walker) same(route, method, target, body string, refs ...reference) {
	w.t.Helper()
	w.asked[route] = true
	for _, r := range refs {
		fill := func(ref string) string {
			answer := w.ask(method, strings.ReplaceAll(target, "REF", url.PathEscape(ref)), strings.ReplaceAll(body, "REF", ref))
			return strings.ReplaceAll(answer, ref, "REF")
		}
		theirs, nobodys := fill(r.theirs), fill(r.nobodys)
		if theirs != nobodys {
			w.t.Errorf("%s %s %s\nof somebody else's %s: %s\nof none:\n%s", method, target, body, r.theirs, theirs, nobodys)
		}
	}
}

// documentedRoutes are the routes that work, from docs/compatibility.md, which
// is checked against the code.
func documentedRoutes(t *testing.T) []string {
	text, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:GET|POST|PUT|DELETE|PATCH|HEAD) [^`]+)` \\| yes").FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	if len(out) < 50 {
		t.Fatalf("%d routes only: %v", len(out), out)
	}
	return out
}

// Whatever route a tenant names another's object on, by name, ID or the
// beginning of one, the answer is byte for byte that for what does not exist,
// and the object is as it was.
func TestTenantLearnsNothing(t *testing.T) {
	t.Parallel()
	h, _, _ := fipTown(t)
	h.J("tenant", "create", "acme")
	h.J("tenant", "create", "umbrella")
	acme, umbrella := h.As("acme"), h.As("umbrella")
	umbrella.J("network", "create", "hidden-net")
	umbrella.J("volume", "create", "hidden-vol")
	umbrella.J("run", "-d", "--name", "hidden-db", "--network", "hidden-net", "--network-alias", "hidden-alias", "busybox", "sleep", "1000")
	umbrella.J("run", "-d", "--name", "hidden-web", "--network", "hidden-net", "--link", "hidden-db:hidden-link", "-v", "hidden-vol:/data", "-p", "8080:80",
		"--label", "secret=1", "busybox", "sleep", "1000")
	fip := umbrella.J("fip", "allocate", "1")
	umbrella.J("fip", "name", fip, "hidden-fip")
	umbrella.J("fip", "attach", fip, "hidden-web")
	umbrella.J("run", "-d", "--name", "hidden-stopped", "busybox", "true")
	umbrella.J("sg", "create", "--rule", "tcp:80", "hidden-sg")
	umbrella.J("sg", "attach", "hidden-sg", "hidden-db")
	acme.J("sg", "create", "--rule", "tcp:80", "own-sg")
	acme.J("network", "create", "own-net")
	acme.J("run", "-d", "--name", "own", "busybox", "sleep", "1000")
	acme.J("run", "-d", "--name", "own2", "busybox", "sleep", "1000")
	ownFIP := acme.J("fip", "allocate", "1")
	id := umbrella.J("inspect", "-f", "{{.Id}}", "hidden-web")
	netID := umbrella.J("network", "inspect", "-f", "{{.Id}}", "hidden-net")
	theirDefault := umbrella.J("network", "inspect", "-f", "{{.Id}}", "bridge")
	var exec struct{ ID string }
	answer := newWalker(t, umbrella).ask("POST", "/containers/hidden-web/exec", `{"Cmd":["true"]}`)
	if err := json.Unmarshal([]byte(answer[strings.Index(answer, "\n"):]), &exec); err != nil || exec.ID == "" {
		t.Fatalf("exec: %v in %s", err, answer)
	}
	before := picture(umbrella)

	const none = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	containers := []reference{
		{"hidden-web", "missing-web"}, {id, none}, {id[:12], none[:12]}, {"hidden-web@umbrella", "hidden-web@nobody"},
	}
	networks := []reference{{"hidden-net", "missing-net"}, {netID, none}, {netID[:12], none[:12]}, {"hidden-net@umbrella", "hidden-net@nobody"}, {theirDefault, none}, {"bridge@umbrella", "bridge@nobody"}}
	volumes := []reference{{"hidden-vol", "missing-vol"}, {"hidden-vol@umbrella", "hidden-vol@nobody"}}
	sg := strings.Fields(umbrella.J("inspect", "-f", "{{.Id}}", "hidden-db"))[0] // of a container: no group either
	groups := []reference{{"hidden-sg", "missing-sg"}, {"hidden-sg@umbrella", "hidden-sg@nobody"}, {sg, none}}
	execs := []reference{{exec.ID, none}}
	fips := []reference{{fip, "10.98.0.22"}, {"hidden-fip", "missing-fip"}, {"hidden-fip@umbrella", "hidden-fip@nobody"}}

	w, control := newWalker(t, acme), newWalker(t, umbrella)
	for _, c := range []struct {
		route, query, body string
		refs               []reference
	}{
		{"GET /containers/{name}/json", "?size=1", "", containers},
		{"GET /containers/{name}/top", "", "", containers},
		{"GET /containers/{name}/changes", "", "", containers},
		{"GET /containers/{name}/stats", "?stream=0", "", containers},
		{"POST /containers/{name}/start", "", "", containers},
		{"POST /containers/{name}/stop", "?t=0", "", containers},
		{"POST /containers/{name}/restart", "?t=0", "", containers},
		{"POST /containers/{name}/kill", "", "", containers},
		{"POST /containers/{name}/pause", "", "", containers},
		{"POST /containers/{name}/unpause", "", "", containers},
		{"POST /containers/{name}/rename", "?name=other", "", containers},
		{"POST /containers/{name}/update", "", `{"Memory":67108864}`, containers},
		{"POST /containers/{name}/wait", "", "", containers},
		{"POST /containers/{name}/resize", "?h=10&w=10", "", containers},
		{"DELETE /containers/{name...}", "?force=1&v=1", "", containers},
		{"GET /containers/{name}/logs", "?stdout=1", "", containers},
		{"POST /containers/{name}/attach", "?stream=1&stdout=1&logs=1", "", containers},
		{"POST /containers/{name}/exec", "", `{"Cmd":["true"]}`, containers},
		{"GET /exec/{name}/json", "", "", execs},
		{"POST /exec/{name}/start", "", `{"Detach":true}`, execs},
		{"POST /exec/{name}/resize", "?h=10&w=10", "", execs},
		{"GET /networks/{name}", "", "", networks},
		{"GET /networks/{name}", "?verbose=1", "", networks},
		{"POST /networks/{name}/connect", "", `{"Container":"own"}`, networks},
		{"POST /networks/{name}/disconnect", "", `{"Container":"own","Force":true}`, networks},
		{"DELETE /networks/{name}", "", "", networks},
		{"GET /volumes/{name}", "", "", volumes},
		{"DELETE /volumes/{name}", "", "", volumes},
		{"DELETE /volumes/{name}", "?force=1", "", volumes},
		{"POST /containers/{name}/ports", "", `{"PortBindings":{"80/tcp":[{"HostPort":"8090"}]}}`, containers},
		{"DELETE /containers/{name}/ports", "?port=8080", "", containers},
		{"GET /containers/{name}/links", "", "", containers},
		{"POST /containers/{name}/links", "", `{"Target":"own"}`, containers},
		{"DELETE /containers/{name}/links", "?alias=hidden-link", "", containers},
		{"POST /containers/{name}/swap", "?with=own", "", containers},
		{"GET /networks/{name}/aliases", "", "", networks},
		{"POST /networks/{name}/aliases", "", `{"Container":"own","Aliases":["a"]}`, networks},
		{"DELETE /networks/{name}/aliases", "?container=own&alias=hidden-alias", "", networks},
		{"GET /networks/{name}/leases", "", "", networks},
		{"GET /containers/{name}/nics", "", "", containers},
		{"POST /containers/{name}/nics", "", `{"On":"bridge"}`, containers},
		{"DELETE /containers/{name}/nics", "?name=eth0", "", containers},
		{"POST /containers/{name}/nics/wait", "?name=eth0", "", containers},
		{"GET /containers/{name}/routes", "", "", containers},
		{"POST /containers/{name}/routes", "", `{"Op":"add","Dst":"10.77.0.0/24","Dev":"eth0"}`, containers},
		{"GET /containers/{name}/rules", "", "", containers},
		{"POST /containers/{name}/rules", "", `{"Op":"add","Table":7}`, containers},
		{"POST /containers/{name}/tc", "", `{"Words":["qdisc","show"]}`, containers},
		{"GET /sg/{name}", "", "", groups},
		{"DELETE /sg/{name}", "", "", groups},
		{"POST /containers/{name}/sg", "?sg=own-sg", "", containers},
		{"DELETE /containers/{name}/sg", "?sg=own-sg", "", containers},
	} {
		method, pattern, _ := strings.Cut(c.route, " ")
		path := regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(pattern, "REF")
		w.same(c.route, method, path+c.query, c.body, c.refs...)
		if method == "GET" { // those who may see it get another answer: the comparison can fail
			for _, r := range c.refs[:1] {
				one, other := control.ask(method, strings.Replace(path, "REF", r.theirs, 1)+c.query, ""), control.ask(method, strings.Replace(path, "REF", r.nobodys, 1)+c.query, "")
				if !strings.HasPrefix(one, "200") || !strings.HasPrefix(other, "404") {
					t.Errorf("%s as its owner: %s and %s", c.route, one, other)
				}
			}
		}
		w.same(c.route, method, "/v1.41"+path+c.query, c.body, c.refs...)
	}
	// Named elsewhere than in the path.
	for _, c := range []struct {
		route, target, body string
		refs                []reference
	}{
		{"POST /networks/{name}/connect", "/networks/own-net/connect", `{"Container":"REF"}`, containers},
		{"POST /networks/{name}/connect", "/networks/own-net/connect", `{"Container":"own","EndpointConfig":{"Links":["REF:x"]}}`, containers},
		{"POST /networks/{name}/disconnect", "/networks/own-net/disconnect", `{"Container":"REF"}`, containers},
		{"POST /containers/{name}/links", "/containers/own/links", `{"Target":"REF","Alias":"x"}`, containers},
		{"POST /containers/{name}/swap", "/containers/own/swap?with=REF", "", containers},
		{"POST /networks/{name}/aliases", "/networks/own-net/aliases", `{"Container":"REF","Aliases":["a"]}`, containers},
		{"POST /containers/{name}/sg", "/containers/own/sg?sg=REF", "", groups},
		{"DELETE /containers/{name}/sg", "/containers/own/sg?sg=REF", "", groups},
		{"POST /sg/create", "/sg/create", `{"name":"new-sg","rules":[{"direction":"ingress","protocol":"tcp","remote_group":"REF"}]}`, groups},
		{"POST /sg/update", "/sg/update?name=REF", `{"description":"x"}`, groups},
		{"POST /containers/create", "/containers/create?name=made", `{"Image":"busybox","Labels":{"com.jackstay.sg":"REF"}}`, groups},
		{"POST /containers/{name}/nics", "/containers/own/nics", `{"On":"REF"}`, append(networks, reference{"jk-" + netID[:12], "jk-" + none[:12]}, reference{"jackstay0", "jackstay1"})},
		{"GET /sg", `/sg?filters={"name":["REF"]}`, "", groups},
		{"POST /fips/attach", "/fips/attach?container=REF&ip=" + ownFIP, "", containers},
		{"POST /fips/attach", "/fips/attach?container=own&ip=REF", "", fips},
		{"POST /fips/attach", "/fips/attach?container=own&ip=REF&force=1", "", fips},
		{"POST /fips/detach", "/fips/detach?container=REF", "", containers},
		{"POST /fips/release", "/fips/release?ip=REF", "", fips},
		{"POST /fips/name", "/fips/name?ip=REF&name=x", "", fips},
		{"POST /containers/create", "/containers/create", `{"Image":"busybox","HostConfig":{"NetworkMode":"container:REF"}}`, containers},
		{"POST /containers/create", "/containers/create", `{"Image":"busybox","HostConfig":{"PidMode":"container:REF"}}`, containers},
		{"POST /containers/create", "/containers/create", `{"Image":"busybox","HostConfig":{"IpcMode":"container:REF"}}`, containers},
		{"POST /containers/create", "/containers/create", `{"Image":"busybox","HostConfig":{"VolumesFrom":["REF"]}}`, containers},
		{"POST /containers/create", "/containers/create", `{"Image":"busybox","HostConfig":{"Links":["REF:x"]}}`, containers},
		{"POST /containers/create", "/containers/create", `{"Image":"busybox","HostConfig":{"NetworkMode":"REF"}}`, networks},
		{"POST /containers/create", "/containers/create", `{"Image":"busybox","NetworkingConfig":{"EndpointsConfig":{"REF":{}}}}`, networks},
		{"GET /containers/json", "/containers/json?all=1&before=REF", "", containers},
		{"GET /containers/json", `/containers/json?all=1&filters={"since":["REF"]}`, "", containers},
		{"GET /containers/json", `/containers/json?all=1&filters={"name":["REF"]}`, "", containers},
		{"GET /containers/json", `/containers/json?all=1&filters={"id":["REF"]}`, "", containers},
		{"GET /containers/json", `/containers/json?all=1&filters={"network":["REF"]}`, "", networks},
		{"GET /containers/json", `/containers/json?all=1&filters={"volume":["REF"]}`, "", volumes},
		{"GET /containers/json", `/containers/json?all=1&filters={"label":["REF"]}`, "", []reference{{"secret", "missing"}, {"secret=1", "missing=1"}}},
		{"GET /containers/json", `/containers/json?all=1&filters={"publish":["REF"]}`, "", []reference{{"8080", "8089"}}},
		{"GET /networks", `/networks?filters={"name":["REF"]}`, "", networks},
		{"GET /networks", `/networks?filters={"id":["REF"]}`, "", networks},
		{"GET /volumes", `/volumes?filters={"name":["REF"]}`, "", volumes},
		{"GET /fips", `/fips?filters={"name":["REF"]}`, "", fips},
		{"GET /events", `/events?since=1&until=1700000000&filters={"container":["REF"]}`, "", containers},
		{"GET /events", `/events?since=1&until=1700000000&filters={"network":["REF"]}`, "", networks},
	} {
		method, _, _ := strings.Cut(c.route, " ")
		w.same(c.route, method, strings.NewReplacer("{\"", "%7B%22", "\"]}", "%22%5D%7D", "\":[\"", "%22%3A%5B%22").Replace(c.target), c.body, c.refs...)
	}
	// What lists everything, and what tenants may not use at all, shows nothing of others'.
	shows := regexp.MustCompile(`hidden|umbrella|` + id[:12] + `|` + netID[:12] + `|` + theirDefault[:12] + `|` + regexp.QuoteMeta(fip))
	for _, route := range documentedRoutes(t) {
		if w.asked[route] && route != "GET /containers/json" && route != "GET /networks" && route != "GET /volumes" && route != "GET /fips" && route != "GET /sg" && route != "GET /events" {
			continue
		}
		method, pattern, _ := strings.Cut(route, " ")
		if strings.Contains(pattern, "/images") || route == "POST /auth" { // images are shared
			w.asked[route] = true
			continue
		}
		target := regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(pattern, "umbrella")
		switch route {
		case "POST /networks/create":
			target, method = "/networks/create", "POST"
		case "GET /events":
			target += fmt.Sprintf("?since=1&until=%d", time.Now().Unix()+1)
		case "POST /fips/allocate":
			target += "?count=1"
		case "GET /containers/json":
			target += "?all=1&size=1"
		}
		w.asked[route] = true
		got := w.ask(method, target, map[string]string{
			"POST /networks/create": `{"Name":"own-net2"}`, "POST /volumes/create": `{"Name":"own-vol"}`,
			"POST /tenants": `{"Name":"x"}`, "PATCH /tenants/{name}": `{"FIPQuota":1}`, "POST /fips/pools": `{"Prefix":"10.99.0.0/24","Device":"lo"}`,
		}[route])
		if shows.MatchString(got) {
			t.Errorf("%s shows what is somebody else's: %s", route, got)
		}
		if strings.Contains(route, "/tenants") || strings.Contains(route, "/fips/pools") {
			if !strings.HasPrefix(got, "403 ") {
				t.Errorf("%s: %s", route, got)
			}
		}
	}
	for _, route := range documentedRoutes(t) {
		if !w.asked[route] {
			t.Errorf("%s is not asked: say in this test how it could tell of others", route)
		}
	}
	if after := picture(umbrella); after != before {
		t.Errorf("a tenant's requests changed another's:\n%s\nbefore:\n%s", after, before)
	}
	// The same names are free to take.
	acme.J("network", "create", "hidden-net")
	acme.J("run", "-d", "--name", "hidden-web", "--network", "hidden-net", "--network-alias", "hidden-alias", "-v", "hidden-vol:/data", "busybox", "sleep", "1000")
	acme.J("fip", "name", ownFIP, "hidden-fip")
	if got := picture(umbrella); got != before {
		t.Errorf("another's namesakes changed it:\n%s\nbefore:\n%s", got, before)
	}
	acme.Fails(125, []string{"Bind for 0.0.0.0:8080 failed: port is already allocated"}, "run", "--rm", "-p", "8080:80", "busybox", "true")
	if r := acme.TryJ("run", "--rm", "-p", "8080:80", "busybox", "true"); shows.MatchString(r.Stderr) {
		t.Errorf("a taken port tells whose: %s", r.Stderr)
	}
	subnet := umbrella.J("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "hidden-net")
	r := acme.TryJ("network", "create", "--subnet", subnet, "clash")
	if r.Code == 0 || !strings.Contains(r.Stderr, "subnet "+subnet+" is not available") || shows.MatchString(r.Stderr) {
		t.Errorf("a taken subnet: %+v", r)
	}
	// Neither events nor stats, df, info or prune cross.
	if got := acme.J("events", "--since", "1", "--until", fmt.Sprint(time.Now().Unix())); strings.Contains(got, id) || strings.Contains(got, "umbrella") || !strings.Contains(got, "own2") {
		t.Errorf("events: %s", got)
	}
	if got := strings.Fields(acme.J("stats", "--no-stream", "--all", "--format", "{{.Name}}")); len(got) == 0 || slices.Contains(got, "hidden-db") {
		t.Errorf("stats: %v", got)
	}
	if got := acme.J("info", "-f", "{{.Containers}}"); got != "3" {
		t.Errorf("info counts %s containers", got)
	}
	acme.J("system", "prune", "-af", "--volumes")
	if got := picture(umbrella); got != before {
		t.Errorf("another's prune changed it:\n%s\nbefore:\n%s", got, before)
	}
}

// picture is all that a tenant has, as its own commands show it.
func picture(h *host.Host) string {
	h.T.Helper()
	return h.J("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}} {{.Ports}} {{.Networks}}") + "\n" + h.J("network", "ls", "--no-trunc") + "\n" +
		h.J("volume", "ls") + "\n" + h.J("fip", "ls") + "\n" + h.J("inspect", "-f", "{{.Name}} {{json .NetworkSettings}} {{json .Mounts}} {{json .HostConfig}}", "hidden-web", "hidden-db", "hidden-stopped") + "\n" + h.J("link", "ls", "hidden-web") + h.J("sg", "ls")
}
