package netplan

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/model"
)

// file gives a file's content from a plan.
func file(t *testing.T, w world, f Facts, id, name string) string {
	t.Helper()
	s := Plan(w.snapshot(), f)
	files := s.Files[id]
	if box := s.Sandboxes[id]; box != nil {
		files = box.Files
	}
	for _, f := range files {
		if f.Path == "/root/containers/"+id+"/"+name {
			return f.Content
		}
	}
	t.Fatalf("container %s has no file %s: %v", id, name, files)
	return ""
}

func TestHosts(t *testing.T) {
	const id = "aaaaaaaaaaaabbbb"
	tests := []struct {
		name string
		set  func(w world, c *model.Container, f *Facts)
		want string // after the head; a leading = is the whole
	}{
		{name: "short ID for a host name", want: "10.1.0.2\taaaaaaaaaaaa\n"},
		{name: "host name with dots", set: func(_ world, c *model.Container, _ *Facts) { c.Config.Hostname = "a.b.c" }, want: "10.1.0.2\ta.b.c a\n"},
		{
			name: "two networks, in order", want: "10.1.0.2\taaaaaaaaaaaa\n10.2.0.9\taaaaaaaaaaaa\n",
			set: func(w world, c *model.Container, _ *Facts) {
				w.network("m", "other", "10.2.0.0/24")
				w.join(c, "m", "10.2.0.9")
			},
		},
		{
			name: "extra hosts", want: "192.0.2.1\tone\n2001:db8::1\tsix\n2001:db8::2\tsquare\n172.17.0.1\tgw\n10.1.0.2\taaaaaaaaaaaa\n",
			set: func(w world, c *model.Container, _ *Facts) {
				w.network("d", "bridge", "172.17.0.0/16")
				c.Host.ExtraHosts = []string{"one:192.0.2.1", "six:2001:db8::1", "square:[2001:db8::2]", "gw:host-gateway"}
			},
		},
		{
			name: "host-gateway of the daemon", want: "203.0.113.7\tgw\n10.1.0.2\taaaaaaaaaaaa\n",
			set: func(w world, c *model.Container, f *Facts) {
				w.network("d", "bridge", "172.17.0.0/16")
				f.HostGateway = netip.MustParseAddr("203.0.113.7")
				c.Host.ExtraHosts = []string{"gw:host-gateway"}
			},
		},
		{
			name: "host-gateway without a default network", want: "10.1.0.2\taaaaaaaaaaaa\n",
			set: func(_ world, c *model.Container, _ *Facts) { c.Host.ExtraHosts = []string{"gw:host-gateway"} },
		},
		{
			name: "link", want: "10.1.0.3\tdb 7f1d00000000 database\n10.1.0.2\taaaaaaaaaaaa\n",
			set: func(w world, c *model.Container, _ *Facts) {
				db := w.container("7f1d00000000ffff", "database")
				w.join(db, "n", "10.1.0.3")
				w.link(c, db, "n", "db")
			},
		},
		{
			name: "link under the target's own name", want: "10.1.0.3\tdatabase dbhost\n10.1.0.2\taaaaaaaaaaaa\n",
			set: func(w world, c *model.Container, _ *Facts) {
				db := w.container("7f1d00000000ffff", "database")
				db.Config.Hostname = "dbhost"
				w.join(db, "n", "10.1.0.3")
				w.link(c, db, "n", "database")
			},
		},
		{
			name: "link to a stopped target", want: "10.1.0.2\taaaaaaaaaaaa\n",
			set: func(w world, c *model.Container, _ *Facts) {
				db := w.container("7f1d00000000ffff", "database")
				db.Active = false
				w.join(db, "n", "10.1.0.3")
				w.link(c, db, "n", "db")
			},
		},
		{
			name: "host network has the host's", want: "=127.0.0.1 thehost\n",
			set: func(w world, c *model.Container, f *Facts) { onHost(w, c); f.HostHosts = "127.0.0.1 thehost\n" },
		},
		{
			name: "host network with extra hosts", want: "192.0.2.1\tone\n",
			set: func(w world, c *model.Container, f *Facts) {
				onHost(w, c)
				f.HostHosts = "127.0.0.1 thehost\n"
				c.Host.ExtraHosts = []string{"one:192.0.2.1"}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, f := newWorld(), facts()
			w.network("n", "dev", "10.1.0.0/24")
			c := w.container(id, "c")
			w.join(c, "n", "10.1.0.2")
			if tt.set != nil {
				tt.set(w, c, &f)
			}
			want, whole := strings.CutPrefix(tt.want, "=")
			if !whole {
				want = hostsHead + want
			}
			if got := file(t, w, f, id, "hosts"); got != want {
				t.Errorf("hosts:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// onHost moves a container into the host's network.
func onHost(w world, c *model.Container) {
	c.Host.NetworkMode = "host"
	clear(w.Endpoints)
}

func TestResolvConf(t *testing.T) {
	const id = "aaaaaaaaaaaabbbb"
	tests := []struct {
		name string
		set  func(w world, c *model.Container, f *Facts)
		want string
	}{
		{name: "the host's search and options", want: "nameserver 127.0.0.11\nsearch example.com\noptions edns0 ndots:0\n"},
		{
			name: "nothing from the host", want: "nameserver 127.0.0.11\noptions ndots:0\n",
			set: func(_ world, _ *model.Container, f *Facts) { f.Search, f.ResolvOptions = nil, nil },
		},
		{
			name: "dns is not for the file", want: "nameserver 127.0.0.11\nsearch example.com\noptions edns0 ndots:0\n",
			set: func(_ world, c *model.Container, _ *Facts) {
				c.Host.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
			},
		},
		{
			name: "dns-search and dns-option", want: "nameserver 127.0.0.11\nsearch a.test b.test\noptions timeout:1 ndots:3\n",
			set: func(_ world, c *model.Container, _ *Facts) {
				c.Host.DNSSearch, c.Host.DNSOptions = []string{"a.test", "b.test"}, []string{"timeout:1", "ndots:3"}
			},
		},
		{
			name: "dns-search . is none", want: "nameserver 127.0.0.11\noptions edns0 ndots:0\n",
			set: func(_ world, c *model.Container, _ *Facts) { c.Host.DNSSearch = []string{"."} },
		},
		{
			name: "host network has the host's", want: "nameserver 127.0.0.53\n# as it is\n",
			set: func(w world, c *model.Container, f *Facts) {
				onHost(w, c)
				f.HostResolvConf = "nameserver 127.0.0.53\n# as it is\n"
			},
		},
		{
			name: "host network with dns", want: "nameserver 192.0.2.1\nsearch example.com\noptions edns0\n",
			set: func(w world, c *model.Container, f *Facts) {
				onHost(w, c)
				f.HostResolvConf = "nameserver 127.0.0.53\n"
				c.Host.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
			},
		},
		{
			name: "none", want: "nameserver 192.0.2.53\nsearch example.com\noptions edns0\n",
			set: func(w world, c *model.Container, _ *Facts) { onHost(w, c); c.Host.NetworkMode = "none" },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, f := newWorld(), facts()
			w.network("n", "dev", "10.1.0.0/24")
			c := w.container(id, "c")
			w.join(c, "n", "10.1.0.2")
			if tt.set != nil {
				tt.set(w, c, &f)
			}
			if got := file(t, w, f, id, "resolv.conf"); got != tt.want {
				t.Errorf("resolv.conf:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}
