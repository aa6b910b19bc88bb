package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// links says a container's links through its environment, hosts and DNS.
func TestLinkEnvironmentAndHosts(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Import("datastore", host.BusyboxTar(t), "EXPOSE 6379 16379 53/udp 53/tcp", "ENV REDIS_VERSION=2.8.13", `CMD ["probe","serve","datastore","tcp:6379"]`)
	h.J("run", "-d", "--name", "datastore", "-e", "SECRET=yes", "datastore")
	ip := h.IP("datastore", "bridge")
	env := strings.Split(h.J("run", "--rm", "--name", "web", "--link", "datastore:redis", "-e", "REDIS_PORT_53_UDP_PROTO=mine", "busybox", "env"), "\n")
	for _, want := range []string{
		"REDIS_NAME=/web/redis",
		"REDIS_PORT=tcp://" + ip + ":53",
		"REDIS_PORT_53_TCP=tcp://" + ip + ":53",
		"REDIS_PORT_53_TCP_ADDR=" + ip,
		"REDIS_PORT_53_TCP_PORT=53",
		"REDIS_PORT_53_TCP_PROTO=tcp",
		"REDIS_PORT_53_UDP=udp://" + ip + ":53",
		"REDIS_PORT_53_UDP_PROTO=mine",
		"REDIS_PORT_6379_TCP=tcp://" + ip + ":6379",
		"REDIS_PORT_6379_TCP_ADDR=" + ip,
		"REDIS_PORT_6379_TCP_PORT=6379",
		"REDIS_PORT_6379_TCP_PROTO=tcp",
		"REDIS_PORT_16379_TCP=tcp://" + ip + ":16379",
		"REDIS_ENV_REDIS_VERSION=2.8.13",
		"REDIS_ENV_SECRET=yes",
	} {
		if !slices.Contains(env, want) {
			t.Errorf("env lacks %s:\n%s", want, strings.Join(env, "\n"))
		}
	}
	for _, line := range env {
		if strings.HasPrefix(line, "REDIS_ENV_PATH=") || strings.HasPrefix(line, "REDIS_ENV_HOME=") {
			t.Errorf("env has %s", line)
		}
	}
	h.J("run", "-d", "--name", "web", "--link", "datastore:redis", "--link", "datastore", "busybox", "sleep", "1000")
	if got := h.J("exec", "web", "grep", "redis", "/etc/hosts"); !strings.HasPrefix(got, ip+"\tredis") {
		t.Errorf("hosts: %q", got)
	}
	if got := h.J("inspect", "-f", "{{.HostConfig.Links}}", "web"); got != "[/datastore:/web/datastore /datastore:/web/redis]" && got != "[/datastore:/web/redis /datastore:/web/datastore]" {
		t.Errorf("inspect: %s", got)
	}
	for _, name := range []string{"redis", "datastore"} {
		if got := get(h, "web", name+":6379"); got != "datastore" {
			t.Errorf("%s answered %q", name, got)
		}
	}
	// The alias is the owner's alone.
	h.J("run", "-d", "--name", "other", "busybox", "sleep", "1000")
	if r := h.TryJ("exec", "other", "nslookup", "redis"); r.Code == 0 {
		t.Errorf("another container's alias resolved: %s", r.Stdout)
	}
}

func TestLinkFollowsItsTarget(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "--subnet", "10.44.0.0/24", "dev")
	for _, network := range []string{"bridge", "dev"} {
		db, web := "db-"+network, "web-"+network
		serve(h, db, "--network", network)
		h.J("run", "-d", "--name", web, "--network", network, "--link", db+":store", "busybox", "sleep", "1000")
		follows := func(what string) {
			t.Helper()
			h.Eventually(time.Second, func() error {
				ip := h.IP(db, network)
				hosts := h.J("exec", web, "grep", "store", "/etc/hosts")
				if got := get(h, web, "store:8000"); !strings.HasPrefix(got, "db-") || !strings.HasPrefix(hosts, ip+"\t") {
					return fmt.Errorf("%s, after %s: store answered %q, hosts says %q, the target is at %s", network, what, got, hosts, ip)
				}
				return nil
			})
		}
		follows("start")
		h.J("restart", "-t", "0", db)
		follows("restart of the target")
		h.J("rename", db, db+"2")
		db += "2"
		follows("rename of the target")
		if network == "bridge" {
			if got := h.J("inspect", "-f", "{{.HostConfig.Links}}", web); got != "[/"+db+":/"+web+"/store]" {
				t.Errorf("inspect after the rename: %s", got)
			}
			continue
		}
		h.J("network", "disconnect", network, db)
		h.J("network", "connect", "--ip", "10.44.0.77", network, db)
		follows("another address of the target")
		if got := h.IP(db, network); got != "10.44.0.77" {
			t.Errorf("address: %s", got)
		}
	}
}

func TestBadLinks(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("network", "create", "dev")
	serve(h, "far", "--network", "dev")
	h.Fails(125, []string{"could not get container for nobody"}, "run", "--link", "nobody:db", "busybox", "true")
	h.Fails(125, []string{"far"}, "run", "--strict", "--link", "far:db", "busybox", "true")
	h.Fails(125, []string{"bad format for links"}, "run", "--link", "a:b:c", "busybox", "true")
	if ps := h.J("ps", "-aq"); strings.Count(ps, "\n") != 0 {
		t.Errorf("refused containers are there: %s", ps)
	}
}
