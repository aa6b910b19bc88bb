package extensions

import (
	"strings"
	"testing"
)

// Every list takes the options that Docker's lists take, and prints the like.
func TestLists(t *testing.T) {
	for _, c := range []struct{ line, out, err string }{
		{"alias ls dev", "CONTAINER ALIASES web www, *.foo.test", ""},
		{"alias ls -q dev", "www *.foo.test", ""},
		{"alias ls --format json dev", `{"Aliases":"www, *.foo.test","Container":"web"}`, ""},
		{"link ls", "CONTAINER ALIAS TARGET PORTS NETWORK ADDRESS STATE web store db 80/tcp dev -> prod 10.0.0.3 up", ""},
		{"link ls -q web", "store", ""},
		{"link ls --format {{.Alias}}={{.Target}}:{{.State}}", "store=db:up", ""},
		{`link ls --format table\u0020{{.Alias}}\t{{.Network}}`, "ALIAS NETWORK store dev -> prod", ""},
		{"network leases dev", "ADDRESS MAC CONTAINER STATE 10.0.0.1 - (gateway) reserved 10.0.0.2 02:00:00:00:00:01 web active", ""},
		{"network leases -q dev", "10.0.0.1 10.0.0.2", ""},
		{"network leases --format {{.Container}}/{{.MAC}} dev", "(gateway)/- web/02:00:00:00:00:01", ""},
		{"nic ls", "CONTAINER NAME ON KIND ADDRESS MAC ADDRESS web eth1 br1 bridge 10.0.0.2/8,fd00::2/64 02:00:00:00:00:01", ""},
		{"nic ls -q web", "eth1", ""},
		{"nic ls --format {{.Name}}:{{.ID}}:{{.VLAN}}", "eth1:0123456789ab:0", ""},
		{"nic ls --format {{.Up}}:{{.NetRateIn}}:{{.NetRateOut}}:{{.ContainerID}}", "true:20mbit:none:abcdef012345", ""},
		{"nic ls --no-trunc --format {{.ID}}", "0123456789abcdef", ""},
		{"fip ls", "Floating IP Container 203.0.113.17 0123456789abcdef 203.0.113.18", ""},
		{"fip ls -q -f dangling=false", "203.0.113.17 203.0.113.18", ""},
		{"fip ls -q --format {{.FIP}}={{.Container}}", "203.0.113.17=0123456789abcdef 203.0.113.18=", ""},
		{"fip ls --format table", "Floating IP Container 203.0.113.17 0123456789abcdef 203.0.113.18", ""},
		{"fip pool ls", "Pool Device Allocated Attached 203.0.113.16/28 eth0 2 1", ""},
		{"fip pool ls --format json", `{"Allocated":2,"Attached":1,"Device":"eth0","Pool":"203.0.113.16/28"}`, ""},
		{"tenant ls", "TENANT CONTAINERS NETWORKS VOLUMES FLOATING IPS SOCKET acme 2 0 0 1 of 4 /run/acme.sock", ""},
		{"tenant ls --format {{.Name}}:{{.Running}}", "acme:1", ""},
		{"sg ls --no-trunc --format {{.ID}}", "0123456789abcdef", ""},
		{"link ls --format {{.Nothing}}", "", "there are .Container, .Alias, .Target, .Ports, .Network, .Addresses and .State"},
		{"fip ls -f name=none --format {{.Nothing}}", "", "there are .FIP, .Name and .Container"},
		{"link ls --format {{.Alias", "", "template parsing error"},
	} {
		args := strings.Fields(c.line)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], `\u0020`, " ")
		}
		_, out, err := run(t, args...)
		if got := strings.Join(strings.Fields(out), " "); got != c.out {
			t.Errorf("%s printed %q, want %q", c.line, got, c.out)
		}
		if (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want %q", c.line, err, c.err)
		}
	}
}

// What is to be typed next is what there is.
func TestCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"fip attach ":              "203.0.113.17 203.0.113.18",
		"fip release 203.0.113.17": "203.0.113.17 203.0.113.18",
		"fip pool rm ":             "203.0.113.16/28",
		"sg inspect ":              "web",
		"tenant rm ":               "acme",
		"link rm web ":             "store",
		"fip name 203.0.113.17 ":   "",
	} {
		args := append([]string{"__complete"}, strings.Split(line, " ")...)
		if asked, out, err := runWith(t, true, args...); err != nil || strings.Join(completions(out), " ") != want {
			t.Errorf("%s completes with %q (%v, asked %q), want %q", line, out, err, asked, want)
		}
	}
}

// completions are the lines before the directive.
func completions(out string) []string {
	lines := strings.Fields(out)
	for i, l := range lines {
		if strings.HasPrefix(l, ":") {
			return lines[:i]
		}
	}
	return lines
}
