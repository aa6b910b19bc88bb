package extensions

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/flags"
	"github.com/docker/cli/opts"
	"github.com/spf13/cobra"
)

// daemon answers as one with a container called add does, and keeps what it is
// asked.
type daemon struct{ asked []string }

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/_ping":
		w.Header().Set("Api-Version", "1.55")
		return
	case strings.HasSuffix(r.URL.Path, "/containers/add/json"):
		fmt.Fprint(w, `{"Name":"/add","NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]}}}`)
		return
	}
	d.asked = append(d.asked, strings.TrimSpace(fmt.Sprint(r.Method, " ", r.URL.RequestURI(), " ", string(body))))
	switch {
	case strings.Contains(r.URL.Path, "nobody"), strings.HasSuffix(r.URL.Path, "/containers/rm/json"):
		w.WriteHeader(404)
		fmt.Fprint(w, `{"message":"No such container: nobody"}`)
	case r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/ports"):
		fmt.Fprint(w, `{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]}}`)
	case strings.HasSuffix(r.URL.Path, "/leases"):
		fmt.Fprint(w, `[{"Address":"10.0.0.1","Container":"gateway","State":"reserved"},{"Address":"10.0.0.2","MacAddress":"02:00:00:00:00:01","Container":"web","State":"active"}]`)
	case r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/nics"):
		fmt.Fprint(w, `[{"Container":"web","Name":"eth1","On":"br1","Kind":"bridge","Addresses":["10.0.0.2/8","fd00::2/64"],"MacAddress":"02:00:00:00:00:01","ID":"0123456789abcdef",`+
			`"ContainerID":"abcdef0123456789","Up":true,"NetRateIn":"20mbit","NetRateOut":"none"}]`)
	case r.Method == "GET" && r.URL.Path == "/fips":
		if strings.Contains(r.URL.RawQuery, "none") {
			fmt.Fprint(w, `[]`)
			return
		}
		fmt.Fprint(w, `[{"fip":"203.0.113.17","name":"","container":"0123456789abcdef"},{"fip":"203.0.113.18","name":"","container":""}]`)
	case r.Method == "POST" && r.URL.Path == "/fips/allocate":
		fmt.Fprint(w, `["203.0.113.21"]`)
	case r.Method == "GET" && r.URL.Path == "/fips/pools":
		fmt.Fprint(w, `[{"Prefix":"203.0.113.16/28","Device":"eth0","Allocated":2,"Attached":1}]`)
	case r.Method == "GET" && r.URL.Path == "/tenants":
		fmt.Fprint(w, `[{"Name":"acme","Containers":2,"Running":1,"FIPQuota":4,"FIPs":1,"Socket":"/run/acme.sock"}]`)
	case r.Method == "GET" && r.URL.Path == "/sg":
		fmt.Fprint(w, `[{"id":"0123456789abcdef","name":"web","rules":[{"protocol":"tcp"}],"containers":["a","b"],"description":"the front"}]`)
	case r.URL.Path == "/sg/create" || r.Method == "GET" && strings.HasPrefix(r.URL.Path, "/sg/"):
		fmt.Fprint(w, `{"id":"0123456789abcdef","name":"web","rules":[{"protocol":"tcp"}]}`)
	case r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/links"):
		fmt.Fprint(w, `[{"Container":"web","Alias":"store","Target":"db","Ports":["80/tcp"],"Network":"dev","TargetNetwork":"prod","Addresses":["10.0.0.3"],"State":"up"}]`)
	case r.Method == "GET":
		fmt.Fprint(w, `[{"Container":"web","Aliases":["www","*.foo.test"]}]`)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// run runs one command line against a daemon, with docker/cli's port command
// replaced by one that prints what it is given.
func run(t *testing.T, args ...string) (asked []string, out string, err error) {
	t.Helper()
	return runWith(t, false, args...)
}

// runWith gives what cobra prints, too.
func runWith(t *testing.T, cobras bool, args ...string) (asked []string, out string, err error) {
	t.Helper()
	d := &daemon{}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: d}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	var stdout bytes.Buffer
	dockerCli, err := command.NewDockerCli(command.WithOutputStream(&stdout), command.WithErrorStream(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	if err := dockerCli.Initialize(&flags.ClientOptions{Hosts: []string{"unix://" + socket}}); err != nil {
		t.Fatal(err)
	}
	root := &cobra.Command{Use: "jackstay", SilenceUsage: true, SilenceErrors: true}
	port := &cobra.Command{Use: "port", Args: cobra.RangeArgs(1, 2), RunE: func(_ *cobra.Command, args []string) error {
		fmt.Fprintln(&stdout, "docker's port", args)
		return nil
	}}
	update := &cobra.Command{Use: "update", Args: cobra.MinimumNArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		fmt.Fprintln(&stdout, "docker's update", args)
		return nil
	}}
	update.Flags().String("memory", "", "")
	root.AddCommand(port, update, &cobra.Command{Use: "network"}, &cobra.Command{Use: "container"})
	Add(root, dockerCli)
	root.SetArgs(args)
	root.SetOut(io.Discard)
	if cobras {
		root.SetOut(&stdout)
		root.SetErr(io.Discard)
	}
	err = root.ExecuteContext(t.Context())
	return d.asked, stdout.String(), err
}

func TestCommandLines(t *testing.T) {
	for _, c := range []struct{ line, asked, out, err string }{
		{"port add web 8080:80", `POST /containers/web/ports {"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]}}`, "80/tcp -> 0.0.0.0:8080\n", ""},
		{"port add web 127.0.0.1:1-2:3-4/udp", `"3/udp":[{"HostIp":"127.0.0.1","HostPort":"1"}],"4/udp":[{"HostIp":"127.0.0.1","HostPort":"2"}]`, "", ""},
		{"port add web 99999:1", "", "", "99999"},
		{"port add nobody 1:1", "POST /containers/nobody/ports", "", "Error response from daemon: No such container: nobody"},
		{"port rm web 8080 9000-9001/udp", "DELETE /containers/web/ports?port=8080&port=9000-9001%2Fudp", "", ""},
		{"port add", "", "docker's port [add]\n", ""}, // there is a container of that name
		{"port add 80", "", "docker's port [add 80]\n", ""},
		{"port rm 80", "", "", "requires at least 2 arguments"}, // there is none
		{"port web 80", "", "docker's port [web 80]\n", ""},
		{"alias add dev web www *.foo.test", `POST /networks/dev/aliases {"Aliases":["www","*.foo.test"],"Container":"web"}`, "", ""},
		{"alias rm dev web www", "DELETE /networks/dev/aliases?alias=www&container=web", "", ""},
		{"alias add dev web", "", "", "requires at least 3 arguments"},
		{"alias ls dev", "GET /networks/dev/aliases", "www, *.foo.test", ""},
		{"alias mv", "", "", "unknown command: jackstay alias mv"},
		{"link add web db:store", `POST /containers/web/links {"Alias":"store","Strict":false,"Target":"db","Wait":false}`, "", ""},
		{"link add --strict web db:store:5432/tcp,53/udp", `{"Alias":"store","Ports":["5432/tcp","53/udp"],"Strict":true,"Target":"db","Wait":false}`, "", ""},
		{"link add web db::80", `{"Alias":"","Ports":["80"]`, "", ""},
		{"link add --wait web db", `"Wait":true`, "", ""},
		{"link rm web store", "DELETE /containers/web/links?alias=store", "", ""},
		{"link ls", "GET /links", "10.0.0.3", ""},
		{"link ls web", "GET /containers/web/links", "80/tcp    dev -> prod", ""},
		{"network leases dev", "GET /networks/dev/leases", "(gateway)", ""},
		{"sg create web", `POST /sg/create?name=web {"name":"web","rules":[]}`, "0123456789abcdef\n", ""},
		{"sg create --rule tcp:80-90:10.0.0.0/8 --rule icmp --description front web",
			`{"name":"web","description":"front","rules":[{"protocol":"tcp","port_range_min":80,"port_range_max":90,"remote_ip_prefix":"10.0.0.0/8"},{"protocol":"icmp"}]}`, "", ""},
		{"sg create", "", "", "'jackstay sg create' requires the security group's name, as an argument or in the file\n\nUsage:  jackstay sg create [OPTIONS] [NAME]\n"},
		{"sg create --rule tcp:x:y:z web", "", "", `invalid rule "tcp:x:y:z": "x" is neither a port nor a range`},
		{"sg create -f /nowhere/group.yml", "", "", "no such file"},
		{"sg update --add-rule udp:53:web --rm-rule any web", `POST /sg/update?name=web {"add_rules":[{"protocol":"udp","port_range_min":53,"port_range_max":53,"remote_group":"web"}],"remove_rules":[{"protocol":"any"}]}`, "", ""},
		{"sg update web", "", "", "nothing to change"},
		{"fip allocate 203.0.113.21", "POST /fips/allocate?ip=203.0.113.21", "203.0.113.21\n", ""},
		{"fip allocate 2001:db8::21", "POST /fips/allocate?ip=2001%3Adb8%3A%3A21", "203.0.113.21\n", ""},
		{"fip allocate --pool 203.0.113.16/28 2", "POST /fips/allocate?count=2&pool=203.0.113.16%2F28", "203.0.113.21\n", ""},
		{"fip allocate --pick 3", "GET /fips?filters=%7B%22dangling%22%3A%7B%22true%22%3Atrue%7D%7D\nPOST /fips/allocate?count=1&pool=", "203.0.113.17\n203.0.113.18\n203.0.113.21\n", ""},
		{"fip allocate many", "", "", `can't allocate "many": give how many floating IPs, a number from 1 on, or a certain address`},
		{"fip allocate 0", "", "", "a number from 1 on"},
		{"fip allocate --pick 203.0.113.21", "", "", "takes neither --pick nor --pool with an address"},
		{"fip allocate", "", "", "jackstay: 'jackstay fip allocate' requires 1 argument\n\nUsage:  jackstay fip allocate [OPTIONS] COUNT|ADDRESS\n"},
		{"fip attach web", "", "", "jackstay: 'jackstay fip attach' requires 2 arguments\n\nUsage:  jackstay fip attach [OPTIONS] FIP CONTAINER\n"},
		{"fip pool add 203.0.113.16/28", "", "", "jackstay: 'jackstay fip pool add' requires --dev: name the host's device behind which clients are, such as eth0\n\nUsage:  jackstay fip pool add [OPTIONS] --dev DEVICE CIDR\n"},
		{"fip pool mv", "", "", "unknown command: jackstay fip pool mv"},
		{"nic add web", "", "", "'jackstay nic add' requires --on: name the network, bridge or device"},
		{"tenant update acme", "", "", "'jackstay tenant update' has nothing to change"},
		{"sg ls", "GET /sg?filters=%7B%7D", "NAME      RULES     CONTAINERS   DESCRIPTION\nweb       1         2            the front\n", ""},
		{"sg ls -q", "GET /sg", "web\n", ""},
		{"sg ls --format {{.Containers}}/{{.ID}}", "GET /sg", "2/0123456789ab\n", ""},
		{"sg inspect -f {{.Name}} web", "GET /sg/web", "web\n", ""},
		{"sg inspect web", "GET /sg/web", `"id": "0123456789abcdef"`, ""},
		{"sg rm web nobody", "DELETE /sg/web\nDELETE /sg/nobody", "web\n", "No such container: nobody"},
		{"sg attach web,db one", "POST /containers/one/sg?sg=web&sg=db", "", ""},
		{"sg detach web one", "DELETE /containers/one/sg?sg=web", "", ""},
		{"sg mv", "", "", "unknown command: jackstay sg mv"},
		{"update --net-rate-in 10mbit web db", "POST /containers/web/update {\"NetRateIn\":\"10mbit\"}\nPOST /containers/db/update", "web\ndb\n", ""},
		{"update --net-rate-out none --net-rate-out dev=1mbit web", `{"NetRateOut":"none,dev=1mbit"}`, "web\n", ""},
		{"update --net-rate-out 1mbit --memory 5m web", `POST /containers/web/update {"NetRateOut":"1mbit"}`, "docker's update [web]\n", ""},
		{"update --net-rate-out 1mbit --memory 5m nobody", "POST /containers/nobody/update", "", "No such container: nobody"},
		{"update --memory 5m web", "", "docker's update [web]\n", ""},
		{"swap old new", "POST /containers/old/swap?with=new", "", ""},
	} {
		asked, out, err := run(t, strings.Fields(c.line)...)
		if got := strings.Join(asked, "\n"); !strings.Contains(got, c.asked) || c.asked == "" && strings.Contains(got, "ports") {
			t.Errorf("%s asked %q, want %q", c.line, got, c.asked)
		}
		if !strings.Contains(out, c.out) {
			t.Errorf("%s printed %q, want %q", c.line, out, c.out)
		}
		if (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want %q", c.line, err, c.err)
		}
	}
}

// An option of ours goes through a flag that Docker's command has.
func TestOptionsGoThroughLabels(t *testing.T) {
	for _, c := range []struct {
		args string
		want string
	}{
		{"--net x img", "[a=b]"},
		{"--mac-from web --net x img", "[a=b com.jackstay.mac-from=web]"},
		{"--mac-from=", "[a=b com.jackstay.mac-from=]"},
		{"--link-later a:b:80,81 --link-later c --strict", "[a=b com.jackstay.link-later=a:b:80,81 c com.jackstay.strict=true]"},
	} {
		root := &cobra.Command{Use: "jackstay"}
		var labels []string
		run := &cobra.Command{Use: "run", RunE: func(cmd *cobra.Command, _ []string) (err error) {
			labels, err = cmd.Flags().GetStringArray("label")
			return err
		}}
		run.Flags().StringArray("label", nil, "")
		run.Flags().String("net", "", "")
		root.AddCommand(run)
		addOptions(root)
		root.SetArgs(append([]string{"run", "--label", "a=b"}, strings.Fields(c.args)...))
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(labels); got != c.want {
			t.Errorf("%s: labels %s, want %s", c.args, got, c.want)
		}
	}
}

// Docker's --link refuses a third field; ours hands it on, and says what Docker
// says of the rest.
func TestLinksTakePorts(t *testing.T) {
	for _, c := range []struct{ link, err string }{
		{"db", ""}, {"db:store", ""}, {"db:store:5432/tcp,80", ""}, {"db::5432", ""}, {"", "empty string specified for links"},
	} {
		root := &cobra.Command{Use: "jackstay", SilenceUsage: true, SilenceErrors: true}
		links := opts.NewListOpts(opts.ValidateLink)
		create := &cobra.Command{Use: "create", RunE: func(*cobra.Command, []string) error { return nil }}
		create.Flags().StringArray("label", nil, "")
		create.Flags().Var(&links, "link", "")
		root.AddCommand(create)
		addOptions(root)
		root.SetArgs([]string{"create", "--link", c.link})
		err := root.Execute()
		if (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %v, want %q", c.link, err, c.err)
		}
		if err == nil && (links.Len() != 1 || links.GetSlice()[0] != c.link) {
			t.Errorf("%q: links %q", c.link, links.GetSlice())
		}
	}
}
