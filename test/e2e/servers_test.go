package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// Real servers from the distribution's packages, in containers, with real
// clients: through names, links and published ports.
func TestRealServers(t *testing.T) {
	t.Parallel()
	h, outside := host.New(t), host.Bare(t)
	host.Join(h, outside, "10.98.0.1/24", "10.98.0.2/24")
	h.Import("debian", host.DebianTar(t, "servers2", "redis-server", "redis-tools", "nginx-light", "haproxy", "postgresql", "curl", "busybox-static"),
		"ENV PATH=/usr/sbin:/usr/bin")
	files := h.Dir + "/conf"
	write := func(name, content string) string {
		path := filepath.Join(files, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}

	// Redis, by name on a network of its own, and by a link on the default one.
	h.J("network", "create", "back")
	h.J("run", "-d", "--name", "redis", "--network", "back", "--expose", "6379", "-u", "redis", "-w", "/var/lib/redis", "debian",
		"redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "")
	h.Eventually(10*time.Second, func() error {
		if r := h.TryJ("run", "--rm", "--network", "back", "debian", "redis-cli", "-h", "redis", "incr", "visits"); strings.TrimSpace(r.Stdout) != "1" {
			return errorf("redis: %+v", r)
		}
		return nil
	})
	h.J("network", "connect", "bridge", "redis")
	if got := h.J("run", "--rm", "--link", "redis:store", "debian", "sh", "-c", "redis-cli -h store -p $STORE_PORT_6379_TCP_PORT incr visits"); got != "2" {
		t.Errorf("redis by its link: %q", got)
	}

	h.J("network", "create", "front")
	if got := h.J("run", "--rm", "--network", "front", "--link", "redis:store:6379", "debian", "redis-cli", "-h", "store", "incr", "visits"); got != "3" {
		t.Errorf("redis by a link between two networks: %q", got)
	}

	// nginx behind a published port logs the other machine's address.
	nginx := write("nginx.conf", `daemon off; error_log /dev/stderr; pid /run/nginx.pid;
events {} http { access_log /dev/stdout; server { listen 80; location / { return 200 "nginx $hostname\n"; } } }`)
	h.J("run", "-d", "--name", "nginx", "-p", "8080:80", "-v", nginx+":/etc/nginx/nginx.conf:ro", "debian", "nginx", "-c", "/etc/nginx/nginx.conf")
	h.Eventually(10*time.Second, func() error {
		if r := outside.TrySh("curl -s --max-time 2 http://10.98.0.1:8080/"); !strings.HasPrefix(r.Stdout, "nginx ") {
			return errorf("nginx: %+v", r)
		}
		return nil
	})
	h.Eventually(2*time.Second, func() error {
		if log := h.J("logs", "nginx"); !strings.HasPrefix(log, "10.98.0.2 - ") {
			return errorf("nginx's log does not name the client: %q", log)
		}
		return nil
	})

	// PostgreSQL on a named volume keeps its data over a restart of the container.
	h.J("run", "--rm", "-v", "pgdata:/var/lib/postgresql/data", "debian", "busybox", "chown", "postgres", "/var/lib/postgresql/data")
	h.J("run", "-d", "--name", "pg", "--network", "back", "--expose", "5432", "-u", "postgres", "-v", "pgdata:/var/lib/postgresql/data", "--shm-size", "128m",
		"-p", "127.0.0.1:5432:5432", "debian", "sh", "-c", `cd /var/lib/postgresql
b=/usr/lib/postgresql/15/bin
[ -e data/PG_VERSION ] || { $b/initdb -D data -A trust >/dev/null && echo "host all all all trust" >>data/pg_hba.conf; }
exec $b/postgres -D data -c listen_addresses='*'`)
	sql := func(query string) (string, error) {
		r := h.TryJ("run", "--rm", "--network", "back", "debian", "psql", "-h", "pg", "-U", "postgres", "-Atc", query)
		if r.Code != 0 {
			return "", errorf("psql: %+v\n%+v", r, h.TryJ("logs", "pg"))
		}
		return strings.TrimSpace(r.Stdout), nil
	}
	h.Eventually(20*time.Second, func() error {
		_, err := sql("create table if not exists t as select 41 + 1 as answer")
		return err
	})
	h.J("restart", "pg")
	h.Eventually(20*time.Second, func() error {
		got, err := sql("select answer from t")
		if err == nil && got != "42" {
			err = errorf("postgres after a restart: %q", got)
		}
		return err
	})
	if r := h.TrySh("psql -h 127.0.0.1 -U postgres -Atc 'select answer from t'"); strings.TrimSpace(r.Stdout) != "42" {
		t.Errorf("postgres from the host: %+v", r)
	}

	// HAProxy balances two linked web containers, in turn.
	for _, name := range []string{"web-1", "web-2"} {
		h.J("run", "-d", "--name", name, "-h", name, "-v", nginx+":/etc/nginx/nginx.conf:ro", "--expose", "80", "debian", "nginx", "-c", "/etc/nginx/nginx.conf")
	}
	haproxy := write("haproxy.cfg", `defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
listen web
  bind :80
  balance roundrobin
  server one ${WEB_1_PORT_80_TCP_ADDR}:${WEB_1_PORT_80_TCP_PORT}
  server two web-2:80
`)
	h.J("run", "-d", "--name", "lb", "--link", "web-1", "--link", "web-2", "-p", "80:80", "-v", haproxy+":/haproxy.cfg:ro", "debian", "haproxy", "-db", "-f", "/haproxy.cfg")
	h.Eventually(10*time.Second, func() error {
		if r := outside.TrySh("curl -s --max-time 2 http://10.98.0.1/"); !strings.HasPrefix(r.Stdout, "nginx web-") {
			return errorf("haproxy: %+v\n%+v", r, h.TryJ("logs", "lb"))
		}
		return nil
	})
	if got := outside.Sh("for i in 1 2 3 4; do curl -s http://10.98.0.1/; done | sort | uniq -c | tr -s ' '"); got != "2 nginx web-1\n 2 nginx web-2" {
		t.Errorf("haproxy's turns: %q", got)
	}
}
