package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/test/host"
)

const composeFile = `version: "2.4"
services:
  db:
    image: busybox
    command: probe serve db tcp:6379
    expose: ["6379"]
    volumes: ["data:/data"]
    networks: {back: {aliases: [store]}}
    environment: {PASSWORD: secret}
    labels: {role: database}
    mem_limit: 64m
  web:
    image: busybox
    command: sh -c "echo web is ready; exec probe serve web tcp:8000"
    depends_on: [db]
    links: ["db:cache"]
    ports: ["8000"]
    networks: [back, front]
    environment: ["COLOR=red"]
    stop_grace_period: 1s
    restart: unless-stopped
volumes:
  data:
networks:
  back:
  front: {driver_opts: {com.docker.network.driver.mtu: "1400"}}
`

// Docker Compose 1.29, the one written in Python, unchanged.
func TestCompose(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	if h.TrySh("docker-compose version").Code != 0 {
		t.Skip("needs docker-compose (Debian package docker-compose)")
	}
	dir := filepath.Join(h.Dir, "shop")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/docker-compose.yml", []byte(composeFile), 0o644); err != nil {
		t.Fatal(err)
	}
	// It writes its progress to standard error; a warning would be there as well.
	quiet := func(line string) string { return `cd ` + dir + ` && docker-compose ` + line + ` 2>&1` }
	seen := h.Dir + "/seen"
	before := h.Sh("docker ps -aq; docker network ls -q; docker volume ls -q")
	try(h, []step{
		{line: quiet(`up -d`), want: `((Creating (network "shop_(front|back)" with the default driver|network "shop_front"|volume "shop_data" with default driver|shop_(db|web)_1 +\.\.\. (done)?))[\r\n]*)+`},
		{line: quiet(`ps`), want: `.*shop_db_1 +probe serve db tcp:6379 +Up +6379/tcp.*shop_web_1 .* Up +0\.0\.0\.0:\d+->8000/tcp`},
		{line: quiet(`ps -q | wc -l`), want: `2`},
		{line: quiet(`logs --no-color web`), want: `Attaching to shop_web_1\nweb_1 +\| web is ready`},
		{line: quiet(`exec -T web sh -c 'for n in db store cache shop_db_1; do probe get tcp:$n:6379; done' | sort | uniq -c`), want: ` *4 db 172\.\d+\.\d+\.\d+`},
		{line: quiet(`exec -T web env`), want: `.*CACHE_PORT_6379_TCP=tcp://172\..*CACHE_ENV_PASSWORD=secret.*COLOR=red.*`},
		{line: quiet(`exec -T web sh -c 'cat /sys/class/net/*/mtu | sort -n | head -1'`), want: `1400`},
		{line: quiet(`exec -T db id -u`), want: `0`},
		{line: `retry probe get tcp:$(` + quiet(`port web 8000`) + `)`, want: `web 172\..*`},
		{line: `docker ps --filter label=com.docker.compose.service=db --filter label=role=database --format '{{.Names}} {{.Mounts}}'`, want: `shop_db_1 shop_data`},
		{line: `docker network ls --filter label=com.docker.compose.project=shop --format '{{.Name}}' | sort`, want: "shop_back\nshop_front"},
		{line: quiet(`up -d`), want: "shop_db_1 is up-to-date\nshop_web_1 is up-to-date"},
		{line: quiet(`up -d --scale web=3`) + ` | grep -i -e warn -e error; ` + quiet(`ps -q web | wc -l`), want: `3`},
		{line: quiet(`exec -T --index=3 web sh -c 'nslookup web | grep -c ^Address.*172'`), want: `3`},
		{line: quiet(`up -d --scale web=1`) + ` | grep -i -e warn -e error; ` + quiet(`ps -q web | wc -l`), want: `1`},
		{line: quiet(`restart -t 1`), want: `.*Restarting shop_db_1 .*done.*`},
		{line: quiet(`exec -T web probe get tcp:cache:6379`), want: `db .*`},
		{line: quiet(`pause`) + ` >/dev/null; ` + quiet(`ps`), want: `.*Paused.*`},
		{line: quiet(`unpause`) + ` >/dev/null; ` + quiet(`top`), want: `.*probe serve db.*`},
		{line: quiet(`stop -t 1`) + ` >/dev/null; ` + quiet(`ps`), want: `.*Exit.*`},
		{line: quiet(`start`) + ` >/dev/null; ` + quiet(`images`), want: `.*busybox +latest.*`},
		{line: quiet(`run --rm -T web echo once`) + ` | tail -1`, want: `once`},
		{line: `echo kept | docker exec -i shop_db_1 sh -c 'cat >/data/file'`},
		{line: quiet(`up -d --force-recreate`), want: `.*Recreating shop_db_1.*done.*`},
		{line: quiet(`exec -T db cat /data/file`), want: `kept`},
		{line: quiet(`events --json >`+seen) + ` & for i in $(seq 50); do docker exec shop_db_1 true; sleep 0.2; grep -q exec_start ` + seen + ` && break; done
docker kill shop_db_1 >/dev/null; for i in $(seq 50); do grep '"kill"' ` + seen + ` && break; sleep 0.2; done; kill $!`, want: `.*"action": "kill".*"service": "db".*`},
		{line: quiet(`kill`) + ` >/dev/null; ` + quiet(`rm -f`), want: `.*Removing shop_web_1.*done.*`},
		{line: quiet(`up -d`) + ` >/dev/null; ` + quiet(`down -v -t 1`), want: `.*Removing network shop_back.*Removing volume shop_data`},
	})
	if after := h.Sh("docker ps -aq; docker network ls -q; docker volume ls -q"); after != before {
		t.Errorf("left by compose:\n%s\nbefore:\n%s", after, before)
	}
	if log := h.Log(); strings.Contains(log, "level=ERROR") {
		t.Errorf("errors in the daemon's log:\n%s", log)
	}
}
