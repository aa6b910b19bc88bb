//go:build linux

package hostinfo

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func addrs(list ...string) (out []netip.AddrPort) {
	for _, a := range list {
		out = append(out, netip.AddrPortFrom(netip.MustParseAddr(a), 53))
	}
	return out
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Resolvers
	}{
		"empty": {"", Resolvers{}},
		"usual": {"# comment\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch a.example b.example\noptions ndots:2 rotate\n",
			Resolvers{Upstreams: addrs("192.0.2.1", "2001:db8::1"), Search: []string{"a.example", "b.example"}, Options: []string{"ndots:2", "rotate"}}},
		"last of search and domain wins": {"search a b\ndomain c d\n", Resolvers{Search: []string{"c"}}},
		"options add up":                 {"options a\noptions b\n", Resolvers{Options: []string{"a", "b"}}},
		"zone":                           {"nameserver fe80::1%eth0\n", Resolvers{Upstreams: addrs("fe80::1%eth0")}},
		"broken lines are left out":      {"nameserver\nnameserver x\nnameserver 192.0.2.1 # ours\n;nameserver 192.0.2.2\n", Resolvers{Upstreams: addrs("192.0.2.1")}},
	} {
		c.want.Content = c.text
		if got := parse(c.text); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTheStubLeadsToWhatIsBehind(t *testing.T) {
	dir := t.TempDir()
	conf, behind := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "behind")
	for _, c := range []struct {
		name, conf, behind string
		want               []netip.AddrPort
	}{
		{"stub", "nameserver 127.0.0.53\n", "nameserver 192.0.2.1\n", addrs("192.0.2.1")},
		{"stub and another", "nameserver 127.0.0.53\nnameserver 192.0.2.9\n", "nameserver 192.0.2.1\n", addrs("127.0.0.53", "192.0.2.9")},
		{"no stub", "nameserver 192.0.2.9\n", "nameserver 192.0.2.1\n", addrs("192.0.2.9")},
		{"stub with nothing behind", "nameserver 127.0.0.53\n", "", addrs("127.0.0.53")},
	} {
		write(t, conf, c.conf)
		write(t, behind, c.behind)
		r, err := readResolvers(conf, behind)
		if err != nil || !reflect.DeepEqual(r.Upstreams, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, r.Upstreams, err, c.want)
		}
	}
	if r, err := readResolvers(filepath.Join(dir, "absent"), behind); err != nil || r.Upstreams != nil {
		t.Errorf("absent file: %+v, %v", r, err)
	}
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	etc, run := filepath.Join(dir, "etc"), filepath.Join(dir, "run")
	for _, d := range []string{etc, run} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	conf, other := filepath.Join(etc, "resolv.conf"), filepath.Join(run, "resolv.conf")
	write(t, conf, "nameserver 192.0.2.1\n")
	write(t, other, "nameserver 192.0.2.2\n")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signal, err := watch(ctx, conf)
	if err != nil {
		t.Fatal(err)
	}
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		do   func()
		want bool
	}{
		{"written in place", func() { write(t, conf, "nameserver 192.0.2.3\n") }, true},
		{"written the same", func() { write(t, conf, "nameserver 192.0.2.3\n") }, false},
		{"another file beside it", func() { write(t, filepath.Join(etc, "hosts"), "x") }, false},
		{"replaced by rename", func() { write(t, conf+".new", "nameserver 192.0.2.4\n"); rename(conf+".new", conf) }, true},
		{"replaced by a link", func() {
			if err := os.Symlink("../run/resolv.conf", conf+".new"); err != nil {
				t.Fatal(err)
			}
			rename(conf+".new", conf)
		}, true},
		{"the link's target written", func() { write(t, other, "nameserver 192.0.2.5\n") }, true},
		{"the link's target replaced", func() { write(t, other+".new", "nameserver 192.0.2.6\n"); rename(other+".new", other) }, true},
		{"removed", func() {
			if err := os.Remove(conf); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"made again", func() { write(t, conf, "nameserver 192.0.2.7\n") }, true},
	} {
		c.do()
		wait := 10 * time.Second
		if !c.want {
			wait = 3 * quiet
		}
		select {
		case <-signal:
			if !c.want {
				t.Errorf("%s: signalled", c.name)
			}
		case <-time.After(wait):
			if c.want {
				t.Errorf("%s: not signalled", c.name)
			}
		}
		time.Sleep(2 * quiet) // let the burst end
		select {
		case <-signal:
		default:
		}
	}
}

// A file mounted from elsewhere, as a container's /etc/resolv.conf is, is
// written under another name: here a second link to it.
func TestWatchAFileOfAnotherDirectory(t *testing.T) {
	dir := t.TempDir()
	etc := filepath.Join(dir, "etc")
	if err := os.Mkdir(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	source, path := filepath.Join(dir, "source"), filepath.Join(etc, "resolv.conf")
	write(t, source, "nameserver 192.0.2.1\n")
	if err := os.Link(source, path); err != nil {
		t.Fatal(err)
	}
	c, err := WatchResolvers(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"nameserver 192.0.2.2\n", "nameserver 192.0.2.3\n"} {
		write(t, source, text)
		select {
		case <-c:
		case <-time.After(10 * time.Second):
			t.Errorf("%q was not noticed", text)
		}
	}
}
