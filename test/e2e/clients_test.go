package e2e

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// step is one shell line, as a user would type it, and what must come of it.
type step struct {
	line string
	code int
	want string // a regular expression all of standard output, trimmed, matches
	says string // a text somewhere in standard error
}

// try types the lines in order, each with a clear name if it is not as wanted.
func try(h *host.Host, steps []step) {
	h.T.Helper()
	for _, s := range steps {
		r := h.TrySh(retry + s.line)
		if r.Code != s.code {
			h.T.Errorf("$ %s\nexit code %d, want %d\n%s%s", s.line, r.Code, s.code, r.Stdout, r.Stderr)
		}
		if got := strings.TrimSpace(r.Stdout); !regexp.MustCompile(`(?s)^(?:` + s.want + `)$`).MatchString(got) {
			h.T.Errorf("$ %s\nprinted %q\n   want %q\n%s", s.line, got, s.want, r.Stderr)
		}
		if s.says == "" && s.code == 0 && r.Stderr != "" {
			h.T.Errorf("$ %s\nunexpected words: %s", s.line, r.Stderr)
		}
		if !strings.Contains(r.Stderr, s.says) {
			h.T.Errorf("$ %s\nsaid %q\nnot  %q", s.line, r.Stderr, s.says)
		}
	}
}

// retry lets a line wait for a server that is started and not yet listening.
const retry = `retry() { for i in $(seq 30); do "$@" 2>/dev/null && return; sleep 0.3; done; "$@"; }
`

const id64 = `[0-9a-f]{64}`

// A container's life as the machine's docker command shows it.
func TestDockerLifecycle(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	try(h, []step{
		{line: `docker run -d --name web --label tier=front --label k=v -p 8080:80 busybox sh -c 'trap "echo bye; exit 5" TERM; echo out; echo err >&2; while :; do sleep 0.1; done'`, want: id64},
		{line: `docker run -d --name db busybox sleep 1000`, want: id64},
		{line: `docker create --name idle busybox true`, want: id64},
		{line: `docker run --name ended busybox sh -c 'exit 9'`, code: 9},
		{line: `docker run -d busybox sleep 1000`, want: id64},
		{line: `docker ps -l --format '{{.Names}}'`, want: `[a-z]+_[a-z]+`},
		{line: `docker rm -f $(docker ps -lq)`, want: `[0-9a-f]{12}`},

		// ps: filters and formats.
		{line: `docker ps --format '{{.Names}} {{.Image}} {{.Ports}} {{.Labels}} {{.Networks}}' -f name=web`, want: `web busybox 0\.0\.0\.0:8080->80/tcp k=v,tier=front bridge`},
		{line: `docker ps`, want: `CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES.*"sleep 1000".* Up .*"sh -c 'trap \\"echo b…".*0\.0\.0\.0:8080->80/tcp +web`},
		{line: `docker ps -aq | wc -l`, want: `4`},
		{line: `docker ps -a --filter status=exited --filter exited=9 --format '{{.Names}} {{.Status}}'`, want: `ended Exited \(9\) .*ago`},
		{line: `docker ps -a --filter status=created --format '{{.Names}} {{.Status}}'`, want: `idle Created`},
		{line: `docker ps -a --filter label=tier --filter label=k=v --format '{{.Names}}'`, want: `web`},
		{line: `docker ps -a --filter since=db --format '{{.Names}}'`, want: "ended\nidle"},
		{line: `docker ps -a --filter before=db --format '{{.Names}}'`, want: `web`},
		{line: `docker ps --filter publish=8080 --filter network=bridge --filter ancestor=busybox --format '{{.Names}}'`, want: `web`},
		{line: `docker ps --filter publish=8081 -q`},
		{line: `docker ps -n 1 --format '{{.Names}}'`, want: `ended`},
		{line: `docker ps -s --filter name=db --format '{{.Size}}'`, want: `0B \(virtual [0-9.]+MB\)`},
		{line: `docker ps --filter colour=red`, code: 1, says: `invalid filter 'colour'`},
		{line: `docker ps --format json | jq -r .Names | sort | tr '\n' ' '`, want: `db web`},

		// inspect: templates and json.
		{line: `docker inspect -f '{{.State.Running}} {{.State.Status}} {{.Path}} {{.Config.Image}} {{.HostConfig.NetworkMode}}' db`, want: `true running sleep busybox bridge`},
		{line: `docker inspect -f '{{json .Args}} {{json .Config.Labels}}' web | cut -c1-20`, want: `\["-c","trap .*`},
		{line: `docker inspect -f '{{index .Config.Labels "tier"}} {{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}' web`, want: `front 8080`},
		{line: `docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}} {{.IPPrefixLen}}{{end}}' web`, want: `172\.17\.0\.2 172\.17\.0\.1 16`},
		{line: `docker inspect --size -f '{{.SizeRw}} {{.SizeRootFs}}' db`, want: `\d+ \d{7,}`},
		{line: `docker inspect web db | jq -r '.[].Name'`, want: "/web\n/db"},
		{line: `docker inspect nobody`, code: 1, want: `\[\]`, says: `No such object: nobody`},
		{line: `docker inspect $(docker ps -q --no-trunc -f name=db | cut -c1-5) -f '{{.Name}}'`, want: `/db`},

		// logs.
		{line: `docker logs web`, want: `out`, says: "err\n"},
		{line: `docker logs -t web 2>/dev/null`, want: `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z out`},
		{line: `docker logs --tail 0 web`},
		{line: `docker logs --tail 1 web 2>&1 | wc -l`, want: `1`},
		{line: `docker logs --since 10m web 2>/dev/null`, want: `out`},
		{line: `docker logs --since 2200-01-01 web`},
		{line: `docker logs --until 10m web`},
		{line: `docker logs nobody`, code: 1, says: `No such container: nobody`},

		// pause.
		{line: `docker pause db`, want: `db`},
		{line: `docker ps -f status=paused --format '{{.Names}} {{.Status}}'`, want: `db Up .* \(Paused\)`},
		{line: `docker pause db`, code: 1, says: `is already paused`},
		{line: `docker exec db true`, code: 1, says: `is paused, unpause the container before exec`},
		{line: `docker unpause db`, want: `db`},
		{line: `docker unpause db`, code: 1, says: `is not paused`},

		// top, port, diff, stats.
		{line: `docker top db`, want: `UID +PID +PPID +C +STIME +TTY +TIME +CMD\nroot .* sleep 1000`},
		{line: `docker top db -o pid,comm`, want: `PID +COMMAND\n\d+ +sleep`},
		{line: `docker top idle`, code: 1, says: `is not running`},
		{line: `docker port web`, want: `80/tcp -> 0\.0\.0\.0:8080`},
		{line: `docker port web 80/tcp`, want: `0\.0\.0\.0:8080`},
		{line: `docker port web 81`, code: 1, says: `No public port '81' published for web`},
		{line: `docker exec web sh -c 'echo >/new; rm /etc/group; echo >>/etc/passwd'`},
		{line: `docker diff web`, want: "C /etc\nD /etc/group\nC /etc/passwd\nA /new"},
		{line: `docker exec db ping -c 1 -q 172.17.0.1`, want: `.*1 packets received.*`},
		{line: `docker stats --no-stream --format '{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.PIDs}}|{{.NetIO}}' db`, want: `db\|[0-9.]+%\|[0-9.]+[KM]iB / [0-9.]+GiB\|1\|[1-9][0-9.]*k?B / [1-9][0-9.]*k?B`},
		{line: `docker stats --no-stream nobody`, code: 1, says: `No such container: nobody`},

		// exec.
		{line: `docker exec -e X=1 -u nobody -w /tmp db sh -c 'echo $X $(id -un) $(pwd)'`, want: `1 nobody /tmp`},
		{line: `docker exec -u 7:8 db id`, want: `uid=7 gid=8 groups=8`},
		{line: `echo hello | docker exec -i db cat`, want: `hello`},
		{line: `docker exec -d db sh -c 'echo done >/made' && retry docker exec db cat /made`, want: `done`},
		{line: `docker exec db nothing`, code: 127, says: `exec: "nothing": executable file not found in $PATH`},
		{line: `docker exec db /etc`, code: 126, says: `permission denied`},
		{line: `docker exec db sh -c 'exit 3'`, code: 3},
		{line: `docker exec idle true`, code: 1, says: `is not running`},
		{line: `docker exec --privileged db grep CapEff /proc/self/status`, want: `CapEff:\s+000001[0-9a-f]{10}`},
		{line: `script -qec 'docker exec -it db tty' /dev/null </dev/null`, want: `.*/dev/pts/\d+`},
		{line: `script -qec 'stty rows 33 cols 77; docker exec -it db sh -c "for i in \$(seq 50); do stty size | grep 33.77 && break; sleep 0.1; done"' /dev/null </dev/null`, want: `.*33 77`},

		// update.
		{line: `docker update --memory 64m --memory-swap 64m --cpus 0.5 --pids-limit 50 --restart unless-stopped db`, want: `db`},
		{line: `docker inspect -f '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}' db`, want: `67108864 500000000 50 unless-stopped`},
		{line: `docker exec db sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max'`, want: `67108864`},

		// stop, kill, restart, wait, rename.
		{line: `docker stop -t 5 web`, want: `web`},
		{line: `docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Running}} {{.State.OOMKilled}}' web`, want: `exited 5 false false`},
		{line: `docker logs --tail 1 web`, want: `bye`},
		{line: `docker wait web ended`, want: "5\n9"},
		{line: `docker start web`, want: `web`},
		{line: `docker restart -t 0 web`, want: `web`},
		{line: `docker kill -s NONSENSE web`, code: 1, says: `nvalid signal: NONSENSE`},
		{line: `docker kill -s HUP nobody`, code: 1, says: `No such container: nobody`},
		{line: `docker kill web`, want: `web`},
		{line: `docker inspect -f '{{.State.ExitCode}}' web`, want: `137`},
		{line: `docker kill web`, code: 1, says: `is not running`},
		{line: `docker stop web`, want: `web`},
		{line: `docker rename web old`},
		{line: `docker rename old db`, code: 1, says: `The container name "/db" is already in use by container`},
		{line: `docker rename old x`, code: 1, says: `Invalid container name`},
		{line: `docker attach old`, code: 1, says: `You cannot attach to a stopped container, start it first`},

		// rm and prune.
		{line: `docker rm db`, code: 1, says: `container is running: stop the container before removing or force remove`},
		{line: `docker rm -f nobody`, says: `No such container: nobody`},
		{line: `docker rm old`, want: `old`},
		{line: `docker container prune -f`, want: `Deleted Containers:\n` + id64 + `\n` + id64 + `\n\nTotal reclaimed space: .*B`},
		{line: `docker ps -a --format '{{.Names}}'`, want: `db`},
		{line: `docker rm -fv db`, want: `db`},
	})
}

// What Jackstay has not is refused by its name.
func TestDockerCommandsThatAreNotThere(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	try(h, []step{
		{line: `docker run -d --name web busybox sleep 1000`, want: id64},
		{line: `docker cp web:/etc/passwd -`, code: 1, says: `copying files (docker cp) is not supported by Jackstay`},
		{line: `docker cp /etc/passwd web:/tmp`, code: 1, says: `copying files (docker cp) is not supported by Jackstay`},
		{line: `docker commit web x`, code: 1, says: `committing a container to an image is not supported by Jackstay`},
		{line: `docker export web`, code: 1, says: `exporting a container's files is not supported by Jackstay`},
		{line: `docker swarm init`, code: 1, says: `swarm mode is not supported by Jackstay`},
		{line: `docker service ls`, code: 1, says: `swarm mode is not supported by Jackstay`},
		{line: `docker secret ls`, code: 1, says: `secrets are not supported by Jackstay`},
		{line: `docker plugin ls`, code: 1, says: `managed plugins are not supported by Jackstay`},
		{line: `mkdir -p ` + h.Dir + `/b && echo FROM busybox >` + h.Dir + `/b/Dockerfile && DOCKER_BUILDKIT=0 docker build -q ` + h.Dir + `/b`, code: 1, says: `building images is not supported by Jackstay`},
		{line: `curl -s --unix-socket ` + h.Socket() + ` http://x/v1.43/nothing/here`, want: `\{"message":"page not found"\}`},
	})
}

// Attaching, and leaving again without ending what one looked at.
func TestDockerAttach(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	// ttyLine types into a terminal what the first command writes, slowly.
	tty := func(typed, line string) string {
		return `(sleep 1.5; ` + typed + `; sleep 0.4) | script -qec '` + line + `' /dev/null | tr -d '\r'`
	}
	const ctrlPQ = `printf "\020\021"`
	try(h, []step{
		{line: tty(`printf "echo sum is \$((20+22))\n"; sleep 1; `+ctrlPQ, `docker run -it --name sh busybox sh`), want: `.*sum is 42.*`},
		{line: `docker inspect -f '{{.State.Running}} {{.Config.Tty}} {{.Config.OpenStdin}}' sh`, want: `true true true`},
		{line: tty(`printf "echo sum is \$((40+2))\n"; sleep 1; printf "\001x"`, `docker attach --detach-keys ctrl-a,x sh`), want: `.*sum is 42.*read escape sequence`},
		{line: `docker inspect -f '{{.State.Running}}' sh`, want: `true`},
		{line: tty(`printf "tty\n"; sleep 1; `+ctrlPQ, `docker exec -it sh sh`), want: `.*/dev/pts/.*`},
		{line: tty(`printf "exit 4\n"`, `docker attach sh; echo code $?`), want: `.*code 4`},
		// Without a terminal: output from now on, and the exit code at the end.
		{line: `docker run -d --name talk busybox sh -c 'sleep 2; echo late; echo words >&2; exit 6'`, want: id64},
		{line: `docker attach --no-stdin talk`, code: 6, want: `late`, says: "words\n"},
		{line: `echo typed | docker run -i --name cat busybox cat`, want: `typed`},
		{line: `echo again | docker start -ai cat`, want: `again`},
		{line: `docker start -a talk`, code: 6, want: `late`, says: `words`},
		{line: `docker run -d --name slow busybox sh -c 'for i in 1 2 3; do echo $i; sleep 0.2; done'`, want: id64},
		{line: `docker logs -f slow`, want: "1\n2\n3"},
		{line: `docker run --rm -a stderr busybox sh -c 'echo out; echo err >&2'`, says: "err\n"},
		// Signals typed at the client reach the container.
		{line: `docker run --name int busybox sh -c 'trap "exit 8" INT; echo ready; while :; do sleep 0.1; done' & for i in $(seq 100); do docker logs int 2>/dev/null | grep -q ready && break; sleep 0.1; done; kill -INT $!; wait $!`, code: 8, want: `ready`},
	})
}

// events tells what happened, live and from memory.
func TestDockerEvents(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	live := h.Dir + "/live"
	since := h.Sh("date +%s.%N") // it may begin to listen after the first of them
	background(h, `docker events --since `+since+` --filter container=web --format '{{.Type}} {{.Action}} {{.Actor.Attributes.image}}' >`+live)
	h.Sh(`docker run -d --name web --label k=v busybox sleep 1000; docker network create dev; docker network connect dev web; docker volume create vol; docker exec web true
docker pause web; docker unpause web; docker rename web site; docker rename site web; docker restart -t 0 web; docker kill -s USR1 web; docker stop -t 0 web
docker rm web; docker network rm dev; docker volume rm vol; docker tag busybox other; docker rmi other`)
	h.Sh("sleep 0.2")
	until := h.Sh("date +%s.%N")
	list := func(args string) string {
		return strings.Join(strings.Fields(h.Sh("docker events --since "+since+" --until "+until+" "+args)), " ")
	}
	want := "create start exec_create: true exec_start: true exec_die pause unpause rename rename kill kill die stop start restart kill kill kill die stop destroy"
	if got := list(`--filter type=container --format '{{.Action}}'`); got != want {
		t.Errorf("container events:\n%s\nwant\n%s", got, want)
	}
	for args, want := range map[string]string{
		`--filter type=network --filter network=dev --format '{{.Action}}'`:              `create connect disconnect connect disconnect destroy`,
		`--filter type=volume --format '{{.Action}} {{.Actor.ID}}'`:                      `create vol destroy vol`,
		`--filter type=image --format '{{.Action}} {{.Actor.Attributes.name}}'`:          `tag other:latest untag other:latest`,
		`--filter event=die --format '{{.Actor.Attributes.exitCode}}'`:                   `137 137`,
		`--filter label=k=v --filter event=create --format '{{.Actor.Attributes.name}}'`: `web`,
		`--filter label=k=w`: ``,
		`--filter image=busybox --filter event=start --format '{{.Actor.Attributes.name}}'`: `web web`,
	} {
		if got := list(args); got != want {
			t.Errorf("events %s: %q, want %q", args, got, want)
		}
	}
	h.Eventually(2*time.Second, func() error {
		if got := h.Sh("cat " + live); !strings.HasPrefix(got, "container create busybox\ncontainer start busybox") || !strings.HasSuffix(got, "container destroy busybox") {
			return errorf("live events: %q", got)
		}
		return nil
	})
	var e struct {
		Type, Action, Scope string
		TimeNano            int64
		Actor               struct{ ID string }
	}
	line, _, _ := strings.Cut(h.Sh("docker events --since "+since+" --until "+until+" --format json"), "\n")
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Type != "container" || e.Action != "create" || e.Scope != "local" || e.TimeNano == 0 || len(e.Actor.ID) != 64 {
		t.Errorf("%s: %+v, %v", line, e, err)
	}
}

// The host and its networks, disk and images.
func TestDockerSystem(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	try(h, []step{
		{line: `docker version --format '{{.Server.Platform.Name}} {{.Server.Os}} {{.Client.APIVersion}} {{.Server.MinAPIVersion}}'`, want: `Jackstay linux 1\.50 1\.21`},
		{line: `docker info --format '{{.Driver}} {{.OSType}} {{.Images}} {{.Containers}} {{.DefaultRuntime}} {{.LoggingDriver}} {{.Swarm.LocalNodeState}}'`, want: `overlay linux 1 0 runc json-file inactive`},
		{line: `docker info`, want: `.*Storage Driver: overlay.*127\.0\.0\.0/8.*`},
		{line: `docker network ls --format '{{.Name}} {{.Driver}} {{.Scope}}'`, want: "bridge bridge local\nhost host local\nnone null local"},
		{line: `docker network create --label a=b --subnet 10.61.0.0/16 --ip-range 10.61.5.0/24 --gateway 10.61.0.254 --aux-address nas=10.61.5.0 --opt com.docker.network.bridge.name=br-test --opt com.docker.network.driver.mtu=1400 dev`, want: id64},
		{line: `docker network inspect dev -f '{{json .IPAM.Config}} {{.Labels.a}} {{index .Options "com.docker.network.driver.mtu"}} {{.Internal}}'`,
			want: `\[{"Subnet":"10\.61\.0\.0/16","IPRange":"10\.61\.5\.0/24","Gateway":"10\.61\.0\.254","AuxiliaryAddresses":{"nas":"10\.61\.5\.0"}}\] b 1400 false`},
		{line: `docker run --rm --network dev busybox sh -c 'ip -o -4 addr show eth0; ip route; cat /sys/class/net/eth0/mtu'`, want: `.*10\.61\.5\.1/16.*default via 10\.61\.0\.254 dev eth0.*1400`},
		{line: `ip -o link show br-test`, want: `.*br-test.*`},
		{line: `docker network ls -q --filter name=dev --filter label=a=b --filter driver=bridge | wc -l`, want: `1`},
		{line: `docker network ls -f type=custom --format '{{.Name}}'`, want: `dev`},
		{line: `docker network create -d macvlan x`, code: 1, says: `macvlan`},
		{line: `docker network create --ipv6 --subnet fd00:61::/64 six`, want: id64},
		{line: `docker run --rm --network six --ip6 fd00:61::7 busybox sh -c 'ip -o -6 addr show scope global; ip -6 route'`, want: `.*fd00:61::7/64.*default via fd00:61::1 dev eth0.*`},
		{line: `docker network create --ipv4=false --ipv6 x`, code: 1, says: `IPv4`},
		{line: `docker network create --subnet fd00:62::/64 x`, code: 1, says: `--ipv6`},
		{line: `docker network create --config-only x`, code: 1, says: `onfig`},
		{line: `docker network create --ipam-driver dhcp x`, code: 1, says: `dhcp`},
		{line: `docker network create --ipam-opt a=b x`, code: 1, says: `--ipam-opt`},
		{line: `docker network create --internal --attachable closed`, want: id64},
		{line: `docker network inspect closed -f '{{.Internal}} {{.Attachable}}'`, want: `true true`},
		{line: `docker run -d --name web --network dev busybox sleep 1000`, want: id64},
		{line: `docker network inspect dev -f '{{range $id, $c := .Containers}}{{$c.Name}} {{$c.IPv4Address}}{{end}}'`, want: `web 10\.61\.5\.\d+/16`},
		{line: `docker network prune -f`, want: "Deleted Networks:\n(closed\nsix|six\nclosed)"},
		{line: `docker network rm dev`, code: 1, says: `has active endpoints`},
		{line: `docker network disconnect -f dev web && docker network rm dev`, want: `dev`},
		{line: `docker volume create --label l=1 vol`, want: `vol`},
		{line: `docker system df --format '{{.Type}} {{.TotalCount}} {{.Active}}'`, want: "Images 1 1\nContainers 1 1\nLocal Volumes 1 0\nBuild Cache 0 0"},
		{line: `docker system df -v`, want: `.*busybox.*sleep 1000.*vol .*`},
		{line: `docker rm -f web`, want: `web`},
		{line: `docker wait $(docker run -d busybox true); docker network create gone; docker system prune -f --volumes`, want: `.*Deleted Containers:.*Deleted Networks:\ngone.*Total reclaimed space:.*`},
		{line: `docker image prune -af`, want: `Deleted Images:\nuntagged: busybox:latest\ndeleted: sha256:` + id64 + `.*Total reclaimed space: [0-9.]+MB`},
		{line: `docker images -q`},
	})
}

// Images: names, archives, history.
func TestDockerImages(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	dir := h.Dir
	try(h, []step{
		{line: `docker images --format '{{.Repository}} {{.Tag}} {{.Size}}'`, want: `busybox latest [0-9.]+MB`},
		{line: `docker tag busybox me/app:1 && docker tag busybox example.org:5000/me/app`},
		{line: `docker images me/app --format '{{.Repository}}:{{.Tag}}'`, want: `me/app:1`},
		{line: `docker images --filter reference='*/*/app' --format '{{.Repository}}'`, want: `example\.org:5000/me/app`},
		{line: `docker image inspect me/app:1 -f '{{.Os}} {{json .Config.Cmd}} {{len .RootFS.Layers}} {{len .RepoTags}}'`, want: `linux \["sh"\] 1 3`},
		{line: `docker history --format '{{.CreatedBy}}|{{.Size}}' busybox`, want: `.*\|[0-9.]+MB`},
		{line: `docker save me/app:1 busybox | tee ` + dir + `/all.tar | tar t | grep -c manifest.json`, want: `1`},
		{line: `docker save -o ` + dir + `/one.tar me/app:1`},
		{line: `docker rmi me/app:1`, want: `Untagged: me/app:1`},
		{line: `docker rmi busybox example.org:5000/me/app`, want: `.*Deleted: sha256:.*`},
		{line: `docker images -aq`},
		{line: `docker load -i ` + dir + `/one.tar`, want: `.*Loaded image: me/app:1`},
		{line: `gzip -c ` + dir + `/all.tar | docker load`, want: `(?s:.*)Loaded image: (me/app:1\nLoaded image: busybox:latest|busybox:latest\nLoaded image: me/app:1)`},
		{line: `docker run --rm me/app:1 echo works`, want: `works`},
		{line: `head -c 100000 ` + dir + `/all.tar | docker load`, code: 1, says: `unexpected EOF`},
		{line: `echo nonsense | docker load`, code: 1, says: `archive`},
		{line: `tar c -C ` + dir + ` one.tar | docker import -m 'my words' -c 'CMD ["/x"]' -c 'ENTRYPOINT ["/bin/e"]' -c 'ENV A=1 B=2' -c 'EXPOSE 80 53/udp' -c 'WORKDIR /w' -c 'USER u' -c 'LABEL a=b' -c 'VOLUME /v' - made:2`, want: `sha256:` + id64},
		{line: `docker image inspect made:2 -f '{{json .Config.Cmd}} {{json .Config.Entrypoint}} {{.Config.Env}} {{.Config.ExposedPorts}} {{.Config.WorkingDir}} {{.Config.User}} {{.Config.Labels}} {{.Config.Volumes}} {{.Comment}}'`,
			want: `\["/x"\] \["/bin/e"\] \[A=1 B=2\] map\[53/udp:{} 80/tcp:{}\] /w u map\[a:b\] map\[/v:{}\] my words`},
		{line: `docker import -c 'RUN x' ` + dir + `/one.tar`, code: 1, says: `is not a valid change command`},
		{line: `docker run -d --name web me/app:1 sleep 1000`, want: id64},
		{line: `docker rmi -f $(docker images -q me/app:1)`, code: 1, says: `image is being used by running container`},
		{line: `docker rmi nothing`, code: 1, says: `No such image: nothing`},
		{line: `docker run nothing/here`, code: 125, says: `Unable to find image 'nothing/here:latest' locally`},
		{line: `docker run --rm Bad/Name`, code: 125, says: `must be lowercase`},
		{line: `docker rm -f web && docker rmi me/app:1 busybox made:2`, want: `web\n.*Deleted: sha256:.*`},
		{line: `docker images -aq`},
	})
}
