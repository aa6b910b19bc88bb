package e2e

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// The files that make the document's images of one with nginx and HAProxy:
// `python app.py` answers with the host's name, and HAProxy balances whoever
// its links name, as dockercloud/haproxy did.
var hyperFiles = map[string]string{
	"usr/bin/python": `#!/bin/sh
echo "$@" | grep -qx app.py || exit 2
exec nginx -c /opt/webapp/nginx.conf
`,
	"opt/webapp/nginx.conf": `daemon off; error_log /dev/stderr; pid /run/nginx.pid;
events {} http { access_log off; server { listen 5000; location / { return 200 "Hello my host name is: $hostname\n"; } } }
`,
	"usr/bin/balance": `#!/bin/sh
cat >/run/haproxy.cfg <<CFG
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
listen web
  bind :80
  balance roundrobin
$(env | sed -n 's|^\([A-Z0-9_]*\)_PORT=tcp://|  server \1 |p' | sort)
CFG
exec haproxy -db -f /run/haproxy.cfg
`,
}

// webTarMade is held while webTar may be making its archive.
var webTarMade sync.Mutex

// webTar is an archive of nginx and HAProxy.
func webTar(t *testing.T) string {
	t.Helper()
	webTarMade.Lock()
	defer webTarMade.Unlock()
	return host.DebianTar(t, "web", "nginx-light", "haproxy", "busybox-static")
}

// hyperTar is an archive with these files after the distribution's servers.
func hyperTar(t *testing.T, dir string) string {
	base, err := os.Open(webTar(t))
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	path := filepath.Join(dir, "hyper.tar")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := tar.NewWriter(out)
	write := func(head *tar.Header, body io.Reader) {
		if err := w.WriteHeader(head); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, body); err != nil {
			t.Fatal(err)
		}
	}
	have := map[string]bool{}
	for r := tar.NewReader(base); ; {
		head, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		have[filepath.Clean(head.Name)] = true
		write(head, r)
	}
	for name, text := range hyperFiles {
		write(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(text))}, strings.NewReader(text))
	}
	for _, name := range []string{"sh", "env", "cat", "echo", "grep", "sed", "sort", "hostname", "ping"} {
		if !have["usr/bin/"+name] {
			write(&tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/" + name, Linkname: "busybox", Mode: 0o777}, strings.NewReader(""))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every command of the Hyper.sh document on container networking, in its order.
// What it prints is what the document shows, except that addresses and IDs are
// our own, and Docker's words stand where Hyper.sh had others (DB_NAME, Links).
func TestReferenceHyper(t *testing.T) {
	t.Parallel()
	h, outside := host.New(t), host.Bare(t)
	host.Join(h, outside, "10.98.0.1/24", "10.98.0.2/24")
	dev := h.Sh("ip -o -4 addr show to 10.98.0.1/24 | cut -d' ' -f2")
	peer := outside.Sh("ip -o -4 addr show to 10.98.0.2/24 | cut -d' ' -f2")
	h.J("fip", "pool", "add", "162.221.195.204/30", "--dev", dev)
	outside.Sh("ip route add 162.221.195.204/30 dev " + peer)
	servers := hyperTar(t, h.Dir)
	h.Import("training/webapp", servers, "ENV PATH=/usr/sbin:/usr/bin", "WORKDIR /opt/webapp", "EXPOSE 5000")
	h.J("tag", "training/webapp", "hyperhq/webapp:host")
	h.Import("dockercloud/haproxy", servers, "ENV PATH=/usr/sbin:/usr/bin", `CMD ["balance"]`, "EXPOSE 80")
	h.Import("training/postgres", host.BusyboxTar(t), "ENV PATH=/bin", "ENV PG_VERSION=9.3", "EXPOSE 5432", `CMD ["probe","serve","postgres","tcp:5432"]`)
	curl := func(url, want string) string {
		t.Helper()
		var got string
		outside.Eventually(10*time.Second, func() error {
			r := outside.TrySh("curl -s --max-time 2 " + url)
			if got = strings.TrimSpace(r.Stdout); !regexp.MustCompile(`^` + want + `$`).MatchString(got) {
				return errorf("curl %s: %+v", url, r)
			}
			return nil
		})
		return got
	}
	list := func(want string) {
		t.Helper()
		if got := h.TryJ("fip", "ls").Stdout; got != want {
			t.Errorf("fip ls:\n%q\nwant\n%q", got, want)
		}
	}

	try(h, []step{
		{line: `jackstay run -d --name web -p 5000:5000 training/webapp python app.py`, want: id64},
		{line: `jackstay ps -l`, want: `CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES +PUBLIC IP\n[0-9a-f]{12} +training/webapp +"python app\.py" +.* ago +Up .* +0\.0\.0\.0:5000->5000/tcp +web`},
		{line: `jackstay run --name web training/webapp true`, code: 125, says: `The container name "/web" is already in use`},
		{line: `test "$(jackstay exec web hostname)" = "$(jackstay inspect -f '{{slice .Id 0 12}}' web)"`},
		{line: `jackstay fip --help`, want: `Usage:  jackstay fip .*allocate.*attach.*detach.*ls.*release.*`},
	})
	if got := h.J("fip", "allocate", "2"); got != "162.221.195.205\n162.221.195.206" {
		t.Errorf("fip allocate: %q", got)
	}
	list("Floating IP         Container\n162.221.195.205     \n162.221.195.206     \n")
	if got := h.J("fip", "attach", "162.221.195.205", "web"); got != "" {
		t.Errorf("fip attach: %q", got)
	}
	id := h.J("inspect", "-f", "{{.Id}}", "web")
	if got, want := curl("162.221.195.205:5000", `Hello my host name is: .*`), "Hello my host name is: "+id[:12]; got != want {
		t.Errorf("curl: %q, want %q", got, want)
	}
	list("Floating IP         Container\n162.221.195.205     " + id + "\n162.221.195.206     \n")
	if got := h.J("ps", "-l"); !strings.HasSuffix(got, "web       162.221.195.205") {
		t.Errorf("ps with a floating IP: %s", got)
	}
	if got := h.J("fip", "detach", "web"); got != "162.221.195.205" {
		t.Errorf("fip detach: %q", got)
	}
	if got := h.J("fip", "release", "162.221.195.205"); got != "" {
		t.Errorf("fip release: %q", got)
	}
	list("Floating IP         Container\n162.221.195.206     \n")

	try(h, []step{{line: `jackstay run -d --name db training/postgres`, want: id64}})
	db := regexp.QuoteMeta(h.IP("db", "bridge"))
	try(h, []step{
		{line: `jackstay rm -f web`, want: `web`},
		{line: `jackstay run -d --name web --link db:db training/webapp python app.py`, want: id64},
		{line: `jackstay inspect -f "{{ .HostConfig.Links }}" web`, want: `\[/db:/web/db\]`},
		{line: `jackstay rm -f web && jackstay run -d --name web --link db training/webapp python app.py`, want: `web\n` + id64},
		{line: `jackstay inspect -f "{{ .HostConfig.Links }}" web`, want: `\[/db:/web/db\]`},
		{line: `jackstay run --rm --name web2 --link db:db training/webapp env | sort`,
			want: `DB_ENV_PG_VERSION=9\.3\nDB_NAME=/web2/db\nDB_PORT=tcp://` + db + `:5432\nDB_PORT_5432_TCP=tcp://` + db + `:5432\nDB_PORT_5432_TCP_ADDR=` + db + `\nDB_PORT_5432_TCP_PORT=5432\nDB_PORT_5432_TCP_PROTO=tcp\nHOME=/root\nHOSTNAME=[0-9a-f]{12}\nPATH=.*`},
		{line: `jackstay run --rm --link db:webdb training/webapp cat /etc/hosts`, want: `127\.0\.0\.1\tlocalhost\n.*\n` + db + `\twebdb .*`},
		{line: `jackstay run --rm --link db:webdb training/webapp ping -c 3 webdb`, want: `PING webdb \(` + db + `\): 56 data bytes\n64 bytes from ` + db + `: seq=[01] ttl=64 time=.* packets received.*`},
		// "When you restart the source container, its IP address will not change."
		{line: `a=$(jackstay inspect -f '{{.NetworkSettings.IPAddress}}' db); jackstay restart -t 0 db; jackstay run -d busybox sleep 1000; test $a = $(jackstay inspect -f '{{.NetworkSettings.IPAddress}}' db)`, want: `db\n` + id64},
	})

	names := []string{}
	for _, name := range []string{"web-1", "web-2"} {
		names = append(names, "Hello my host name is: "+h.J("run", "-d", "--name", name, "hyperhq/webapp:host", "python", "app.py")[:12])
	}
	h.J("run", "-d", "--name", "lb", "--link", "web-1", "--link", "web-2", "dockercloud/haproxy")
	fip := h.Sh("FIP=$(jackstay fip allocate 1); jackstay fip attach $FIP lb; echo $FIP")
	curl(fip+":80", `Hello my host name is: [0-9a-f]{12}`)
	answers := strings.Split(outside.Sh("for i in 1 2 3 4; do curl -s "+fip+":80; done"), "\n")
	if len(answers) != 4 || answers[0] != answers[2] || answers[1] != answers[3] || answers[0] == answers[1] ||
		!strings.Contains(strings.Join(names, "\n"), answers[0]) || !strings.Contains(strings.Join(names, "\n"), answers[1]) {
		t.Errorf("in turn: %q, want %q", answers, names)
	}
}
