package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/test/host"
)

// The commands of the well-known introductions to container networking, as
// they are written there, with jackstay for docker and hyper.

// names gives our image the names the documents use; serving ones listen on a port.
func names(h *host.Host, port string, names ...string) {
	h.T.Helper()
	for _, n := range names {
		h.Import(n, host.BusyboxTar(h.T), "EXPOSE "+port, "ENV PATH=/bin VERSION=2.8.13", `CMD ["probe","serve","`+strings.Split(n, ":")[0]+`","tcp:`+port+`"]`)
	}
}

func TestReferenceUsingMultipleContainers(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("tag", "busybox", "alpine")
	names(h, "80", "nginx", "jpetazzo/clock", "jpetazzo/trainingwheels")
	names(h, "9200", "elasticsearch")
	names(h, "6379", "redis")
	const ip = `172\.\d+\.\d+\.\d+`
	try(h, []step{
		{line: `jackstay run -d --name ticktock jpetazzo/clock`, want: id64},
		{line: `jackstay run -d --name ticktock jpetazzo/clock`, code: 125, says: `The container name "/ticktock" is already in use by container`},
		{line: `jackstay rename ticktock oldticktock && jackstay rename oldticktock ticktock`},
		{line: `jackstay inspect ticktock | jq '.[0].State.Running'`, want: `true`},
		{line: `jackstay inspect --format '{{json .State.Running}}' ticktock`, want: `true`},
		{line: `jackstay logs ticktock`},
		{line: `jackstay stop -t 1 ticktock && jackstay rm ticktock`, want: "ticktock\nticktock"},
		{line: `jackstay run -d -P nginx`, want: id64},
		{line: `retry probe get tcp:127.0.0.1:$(jackstay port $(jackstay ps -lq) 80 | cut -d: -f2)`, want: `nginx 172\.17\.0\.1`},
		{line: `jackstay ps -l --format '{{.Ports}}'`, want: `0\.0\.0\.0:\d+->80/tcp`},
		{line: `jackstay run -d -p 80:80 nginx && jackstay run -d -p 8080:80 -p 8888:80 nginx`, want: id64 + `\n` + id64},
		{line: `for p in 80 8080 8888; do retry probe get tcp:127.0.0.1:$p; done | sort | uniq -c`, want: ` *3 nginx 172\.17\.0\.1`},
		{line: `jackstay run -d -p 8080:80 nginx`, code: 125, want: id64, says: `port is already allocated`},
		{line: `jackstay run --rm --net none alpine ls /sys/class/net`, want: `lo`},
		{line: `jackstay run --rm --net host alpine readlink /proc/self/ns/net`, want: regexp.QuoteMeta(h.Sh("readlink /proc/self/ns/net"))},
		{line: `jackstay run --rm --net container:$(jackstay ps -q | head -1) alpine probe get tcp:127.0.0.1:80`, want: `nginx 127\.0\.0\.1`},
		{line: `jackstay network create dev && jackstay network ls`, want: id64 + `\nNETWORK ID +NAME +DRIVER +SCOPE\n.*bridge +bridge +local\n.*dev +bridge +local\n.*host +host +local\n.*none +null +local`},
		{line: `jackstay run -d --name search --net dev elasticsearch`, want: id64},
		{line: `jackstay run -d --name indev --net dev -ti alpine sh`, want: id64},
		{line: `jackstay network create prod`, want: id64},
		{line: `jackstay run -d --net prod --net-alias search -d elasticsearch && jackstay run -d --name inprod --net prod -ti alpine sh`, want: id64 + `\n` + id64},
		{line: `retry jackstay exec indev probe get tcp:search:9200 && retry jackstay exec inprod probe get tcp:search:9200`, want: `elasticsearch 172\.18\..*\nelasticsearch 172\.18\.4\..*`},
		{line: `jackstay run --net dev -d -P jpetazzo/trainingwheels && jackstay exec $(jackstay ps -lq) probe get tcp:redis:6379`, code: 1, want: id64, says: `redis`},
		{line: `w=$(jackstay ps -lq); jackstay run -d --net dev --name redis -d redis && retry jackstay exec $w probe get tcp:redis:6379`, want: id64 + `\nredis ` + ip},
		{line: `jackstay run -d --name datastore redis && jackstay ps -l`, want: id64 + `\nCONTAINER ID +IMAGE +COMMAND.*redis.*6379/tcp +datastore`},
		{line: `jackstay run --rm --link datastore:redis alpine env | grep -e REDIS_PORT -e REDIS_ENV -e NAME | sort`,
			want: `HOSTNAME=.*REDIS_ENV_VERSION=2\.8\.13\nREDIS_NAME=/[a-z]+_[a-z]+/redis\nREDIS_PORT=tcp://` + ip + `:6379\nREDIS_PORT_6379_TCP=.*_ADDR=.*_PORT=6379\nREDIS_PORT_6379_TCP_PROTO=tcp`},
		{line: `jackstay run --rm --link datastore:redis alpine ping -c 3 redis`, want: `PING redis \(` + ip + `\).*3 packets transmitted, 3 packets received, 0% packet loss.*`},
		{line: `jackstay run -d -P --link datastore:redis jpetazzo/trainingwheels && retry jackstay exec $(jackstay ps -lq) probe get tcp:redis:6379`, want: id64 + `\nredis ` + ip},
	})
}

func TestReferenceConnectingWithLinks(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.J("tag", "busybox", "alpine")
	names(h, "80", "jpetazzo/trainingwheels")
	names(h, "6379", "redis")
	const ip = `172\.17\.0\.\d+`
	tty := func(line string) string { return `script -qec '` + line + `' /dev/null </dev/null | tr -d '\r'` }
	try(h, []step{
		{line: `jackstay run -d --name datastore redis`, want: id64},
		{line: `jackstay ps -l`, want: `CONTAINER ID +IMAGE +COMMAND.*redis.*6379/tcp +datastore`},
		{line: `jackstay run -dP jpetazzo/trainingwheels && jackstay ps -l --format '{{.Ports}}'`, want: id64 + `\n0\.0\.0\.0:\d+->80/tcp`},
		{line: `jackstay exec $(jackstay ps -lq) probe get tcp:redis:6379`, code: 1, says: `redis`},
		{line: tty(`jackstay run -ti --link datastore:redis alpine sh -c "probe get tcp:redis:6379"`), want: `.*redis ` + ip},
		{line: tty(`jackstay run -it --link datastore:redis alpine ping -c 3 redis`),
			want: `.*PING redis \(` + ip + `\): 56 data bytes\n64 bytes from ` + ip + `: seq=0 ttl=64 time=.*, 0% packet loss\nround-trip.*`},
		{line: `jackstay run -d -P --link datastore:redis jpetazzo/trainingwheels`, want: id64},
		{line: `jackstay ps -l`, want: `CONTAINER ID +IMAGE +COMMAND.*jpetazzo/trainingwheels.*0\.0\.0\.0:\d+->80/tcp +\S+`},
		{line: `retry probe get tcp:127.0.0.1:$(jackstay port $(jackstay ps -lq) 80 | cut -d: -f2)`, want: `jpetazzo/trainingwheels 172\.17\.0\.1`},
		{line: `retry jackstay exec $(jackstay ps -lq) probe get tcp:redis:6379`, want: `redis ` + ip},
		{line: `jackstay run --link datastore:redis alpine env`,
			want: `PATH=.*\nHOSTNAME=[0-9a-f]{12}\nREDIS_PORT=tcp://` + ip + `:6379\nREDIS_PORT_6379_TCP=tcp://` + ip + `:6379\nREDIS_PORT_6379_TCP_ADDR=` + ip +
				`\nREDIS_PORT_6379_TCP_PORT=6379\nREDIS_PORT_6379_TCP_PROTO=tcp\nREDIS_NAME=/[a-z]+_[a-z]+/redis\nREDIS_ENV_VERSION=2\.8\.13\n.*HOME=/(root)?.*`},
	})
}

func TestReferenceNetworkingBetweenContainers(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	d := h.Dir + "/networking-test"
	h.Import("launchcodedevops/simple-http", host.BusyboxTar(t), "ENV PATH=/bin", "EXPOSE 8080", `CMD ["httpd","-f","-p","8080","-h","/var/www"]`)
	h.J("tag", "busybox", "launchcodedevops/simple-client")
	try(h, []step{
		{line: `jackstay network ls --format '{{.Name}}'`, want: "bridge\nhost\nnone"},
		{line: `jackstay network inspect bridge | sed -n '/Containers/,/Options/p'`, want: `"Containers": {},\s+"Options": {.*`},
		{line: `jackstay network create networking-test`, want: id64},
		{line: `mkdir ` + d + ` && echo 'using container aliases works!' > ` + d + `/message`},
		{line: `jackstay run -d --rm --name server --network networking-test -v ` + d + `/:/var/www/:ro launchcodedevops/simple-http`, want: id64},
		{line: `jackstay run -itd --name client --network networking-test launchcodedevops/simple-client`, want: id64},
		{line: `jackstay network inspect networking-test | sed -n '/Containers/,/Options/p'`, want: `"Containers": {.*"Name": "(client|server)",.*"IPv4Address": "172\.18\.0\.\d/\d+".*"Options": {.*`},
		{line: `jackstay exec client wget -qO - server:8080/message`, want: `using container aliases works!`},
		{line: `jackstay network create other && jackstay network connect --alias web other server && jackstay network connect other client && jackstay exec client wget -qO - web:8080/message`, want: id64 + `\nusing container aliases works!`},
		{line: `jackstay network disconnect other server; jackstay exec client probe get tcp:web:8080`, code: 1, says: `web`},
		{line: `jackstay run --rm --network networking-test --network-alias one --network-alias two launchcodedevops/simple-client sh -c 'nslookup two | grep -c ^Name'`, want: `[12]`},
		{line: `jackstay stop -t 1 server client; jackstay rm client; jackstay ps -a -q`, want: "server\nclient\nclient"},
		{line: `jackstay network remove networking-test other`, want: "networking-test\nother"},
	})
}

func TestReferencePortsAndLinks(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	names(h, "9200", "encompass/elastic_search:latest")
	names(h, "27017", "encompass/mongodb:latest")
	names(h, "80", "encompass/tomcat7:latest")
	names(h, "5000", "training/webapp")
	names(h, "5432", "training/postgres")
	try(h, []step{
		{line: `jackstay run -d --name="ElasticSearch" -p 9200:9200 -p 9300:9300 -t -i encompass/elastic_search:latest`, want: id64},
		{line: `jackstay run -d --name="MongoDB" -p 27017:27017 -p 27018:27018 -t -i encompass/mongodb:latest`, want: id64},
		{line: `jackstay run -d --name="Tomcat" -p 80:80 -p 443:443 --link MongoDB:db --link ElasticSearch:es -t -i encompass/tomcat7:latest`, want: id64},
		{line: `jackstay exec Tomcat env | grep -e ^DB_PORT_27017_TCP_PORT= -e ^ES_PORT_9200_TCP_ADDR=`, want: `DB_PORT_27017_TCP_PORT=27017\nES_PORT_9200_TCP_ADDR=172\.17\.0\.\d`},
		{line: `retry probe get tcp:127.0.0.1:80`, want: `encompass/tomcat7 172\.17\.0\.1`},
		{line: `jackstay exec Tomcat sh -c 'probe get tcp:es:9200; probe get tcp:$DB_PORT_27017_TCP_ADDR:27017'`, want: `encompass/elastic_search .*\nencompass/mongodb .*`},
		{line: `for cont in $(jackstay ps -q); do jackstay inspect --format '{{ .NetworkSettings.IPAddress }}' $cont; done`, want: "172\\.17\\.0\\.4\n172\\.17\\.0\\.3\n172\\.17\\.0\\.2"},
		{line: `test -d /proc/$(jackstay inspect --format='{{ .State.Pid }}' Tomcat)`},
		{line: `jackstay run -d --name web -p 5000:5000 training/webapp && jackstay ps -l`, want: id64 + `\nCONTAINER ID.*training/webapp.*0\.0\.0\.0:5000->5000/tcp +web`},
		{line: `jackstay run -d --name db training/postgres && jackstay rm -f web && jackstay run -d --name web --link db:db training/webapp`, want: id64 + `\nweb\n` + id64},
		{line: `jackstay inspect -f "{{ .HostConfig.Links }}" web`, want: `\[/db:/web/db\]`},
		{line: `jackstay rm -f web && jackstay run -d --name web --link db training/webapp && retry jackstay exec web probe get tcp:db:5432`, want: `web\n` + id64 + `\ntraining/postgres .*`},
		{line: `jackstay run --rm --name web2 --link db:db training/webapp env | grep -c ^DB_`, want: `[0-9]+`},
		{line: `jackstay run --rm --link db:webdb training/webapp cat /etc/hosts`, want: `127\.0\.0\.1\tlocalhost.*172\.17\.0\.\d+\twebdb .*`},
		{line: `jackstay run -d --name web-1 training/webapp && jackstay run -d --name web-2 training/webapp && jackstay run --rm --name lb --link web-1 --link web-2 training/webapp env | grep -v TCP | grep _PORT= | sort`,
			want: id64 + `\n` + id64 + `\nWEB_1_PORT=tcp://172\.17\.0\.\d+:5000\nWEB_2_PORT=tcp://172\.17\.0\.\d+:5000`},
	})
}

// dockerd on the same host, with its own idea of a firewall, and both work.
func TestBesideDocker(t *testing.T) {
	t.Parallel()
	h, outside := host.Bare(t), host.Bare(t)
	if h.TrySh("command -v dockerd").Code != 0 {
		t.Skip("needs dockerd (Debian package docker.io)")
	}
	host.Join(h, outside, "10.98.0.1/24", "10.98.0.2/24")
	background(outside, "probe serve outside tcp:9000")
	d := h.Dir + "/dockerd"
	h.Sh("echo 0 >/proc/sys/net/ipv4/ip_forward") // a host's own is taken over from the machine; dockerd drops only where it turns it on
	background(h, "mkdir -p "+d+"; exec dockerd --data-root "+d+"/root --exec-root "+d+"/run -p "+d+"/pid -H unix://"+d+"/sock --storage-driver vfs >"+d+"/log 2>&1")
	docker := "docker -H unix://" + d + "/sock "
	h.Eventually(host.Timeout/2, func() error {
		if r := h.TrySh(docker + "version"); r.Code != 0 {
			return errorf("dockerd: %s%s", r.Stderr, h.TrySh("tail -5 "+d+"/log").Stdout)
		}
		return nil
	})
	h.StartDaemon()
	h.Import("busybox", host.BusyboxTar(t), `CMD ["sh"]`, "ENV PATH=/bin")
	serve(h, "ours", "-p", "8081:8000")
	if got := h.IP("ours", "bridge"); strings.HasPrefix(got, "172.17.") {
		t.Errorf("ours took an address of dockerd's network: %s", got)
	}
	tar := host.BusyboxTar(t)
	try(h, []step{
		{line: docker + `import -c 'ENV PATH=/bin' ` + tar + ` busybox`, want: `sha256:` + id64},
		{line: docker + `run -d --name theirs -p 8082:8000 busybox probe serve theirs tcp:8000`, want: id64},
		{line: `iptables -S FORWARD 2>/dev/null | head -1`, want: `-P FORWARD DROP`},
		{line: `retry ` + docker + `exec theirs probe get tcp:10.98.0.2:9000`, want: `outside 10\.98\.0\.1`},
		{line: `retry jackstay exec ours probe get tcp:10.98.0.2:9000`, want: `outside 10\.98\.0\.1`},
		{line: `retry probe get tcp:10.98.0.1:8081; retry probe get tcp:10.98.0.1:8082`, want: "ours .*\ntheirs .*"},
	})
	try(outside, []step{{line: `retry probe get tcp:10.98.0.1:8081; retry probe get tcp:10.98.0.1:8082`, want: "ours 10\\.98\\.0\\.2\ntheirs .*"}})
	h.Sh(docker + "rm -f theirs")
	if pid, err := os.ReadFile(d + "/pid"); err == nil {
		h.Sh("kill " + string(pid) + "; for i in $(seq 100); do test -e /proc/" + string(pid) + " || break; sleep 0.1; done")
	}
}
