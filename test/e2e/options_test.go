package e2e

import (
	"testing"

	"github.com/jackstay/jackstay/test/host"
)

// Every option of run, with the machine's docker command: what it does inside,
// or the words with which it is refused.
func TestRunOptions(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Sh(`cd ` + h.Dir + ` && printf 'A=1\nB=two words\n#no\nFROMHOST\n' >env`)
	try(h, []step{
		{line: `FROMHOST=yes docker run --rm -e X=3 --env-file ` + h.Dir + `/env busybox sh -c 'echo $X $A $B $FROMHOST'`, want: `3 1 two words yes`},
		{line: `docker run --rm -w /work/deep busybox pwd`, want: `/work/deep`},
		{line: `docker run --rm -u nobody busybox id`, want: `uid=65534\(nobody\) gid=65534\(nogroup\) groups=65534\(nogroup\)`},
		{line: `docker run --rm -u 0:nogroup --group-add 7 busybox id`, want: `uid=0\(root\) gid=65534\(nogroup\) groups=7,65534\(nogroup\)`},
		{line: `docker run --rm -u nosuch busybox id 2>&1`, code: 125, want: `docker: Error response from daemon: unable to find user nosuch: no matching entries in passwd file.*`},
		{line: `docker run --rm --entrypoint echo busybox a b`, want: `a b`},
		{line: `docker run --rm --entrypoint "" busybox echo c`, want: `c`},
		{line: `docker run --rm -h box.example.org busybox sh -c 'hostname; cat /etc/hostname; grep box /etc/hosts'`, want: "box\\.example\\.org\nbox\\.example\\.org\n172\\.17\\.0\\.\\d+\tbox\\.example\\.org box"},
		{line: `docker run --rm -h box --domainname ex.org busybox hostname -f`, want: `box\.ex\.org`},
		{line: `docker run --rm busybox sh -c 'hostname | wc -c'`, want: `13`},
		{line: `docker run --rm --read-only busybox touch /a`, code: 1, says: `Read-only file system`},
		{line: `docker run --rm --read-only --tmpfs /run busybox touch /run/a`},
		{line: `docker run --rm --tmpfs /t:size=1m,mode=700 busybox sh -c 'mount | grep " /t "'`, want: `tmpfs on /t type tmpfs \(.*size=1024k,mode=700.*\)`},
		{line: `docker run --rm --mount type=tmpfs,dst=/t,tmpfs-size=2m busybox sh -c 'mount | grep " /t "'`, want: `.*size=2048k.*`},
		{line: `docker run --rm --shm-size 5m busybox sh -c 'mount | grep " /dev/shm "'`, want: `.*size=5120k.*`},

		// Rights.
		{line: `docker run --rm busybox grep -E '^(CapEff|Seccomp):' /proc/self/status`, want: `CapEff:\s+00000000a80425fb\nSeccomp:\s+2`},
		{line: `docker run --rm --cap-add NET_ADMIN busybox ip route add blackhole 10.9.9.9`},
		{line: `docker run --rm busybox ip route add blackhole 10.9.9.9`, code: 2, says: `Operation not permitted`},
		{line: `docker run --rm --cap-drop ALL busybox grep CapBnd /proc/self/status`, want: `CapBnd:\s+0000000000000000`},
		{line: `docker run --rm --cap-drop ALL busybox touch /a`},
		{line: `docker run --rm --cap-drop chown busybox chown nobody /tmp`, code: 1, says: `Operation not permitted`},
		{line: `docker run --rm --cap-add nonsense busybox true`, code: 125, says: `invalid CapAdd: unknown capability: "CAP_NONSENSE"`},
		{line: `docker run --rm --privileged busybox sh -c 'grep -c CapEff.*000001f /proc/self/status; mount | grep -c "sysfs.*(rw"; test -e /dev/kmsg && echo dev'`, want: `1\n1\ndev`},
		{line: `docker run --rm busybox sh -c 'mount | grep -c "sysfs.*(ro"; cat /proc/kcore | wc -c; echo x >/proc/sys/kernel/hostname'`, code: 1, want: `1\n0`, says: `Read-only file system`},
		{line: `docker run --rm --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status`, want: `NoNewPrivs:\s+1`},
		{line: `docker run --rm --security-opt seccomp=unconfined busybox grep Seccomp: /proc/self/status`, want: `Seccomp:\s+0`},
		{line: `docker run --rm --security-opt nonsense busybox true`, code: 125, says: `Invalid --security-opt: "nonsense"`},
		{line: `docker run --rm --device /dev/fuse busybox ls -l /dev/fuse`, want: `c.* 10, +229 .*`},
		{line: `docker run --rm --pid host busybox sh -c 'readlink /proc/1/exe >/dev/null; echo /proc/[0-9]* | wc -w'`, want: `\d{2,}`},
		{line: `docker run --rm --uts host busybox hostname`, want: h.Sh("hostname")},

		// Limits.
		{line: `docker run --rm --memory 32m busybox sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max'`, want: `33554432`},
		{line: `docker run --rm --memory 1m busybox true`, code: 125, says: `Minimum memory limit allowed is 6MB`},
		{line: `docker run --rm --memory 16m --memory-swap 16m busybox sh -c 'head -c 64m /dev/zero | tail'`, code: 137},
		{line: `docker run --rm --cpus 0.5 busybox sh -c 'cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d" " -f1 /sys/fs/cgroup/cpu.max'`, want: `50000`},
		{line: `docker run --rm --cpus 5000 busybox true`, code: 125, says: `range of CPUs is from 0.01 to`},
		{line: `docker run --rm --cpuset-cpus 0 busybox grep Cpus_allowed_list /proc/self/status`, want: `Cpus_allowed_list:\s+0`},
		{line: `docker run --rm --pids-limit 37 busybox sh -c 'cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max'`, want: `37`},
		{line: `docker run --rm --ulimit nofile=100:200 busybox sh -c 'ulimit -n; ulimit -Hn'`, want: `100\n200`},
		{line: `docker run --rm --oom-score-adj 100 busybox cat /proc/self/oom_score_adj`, want: `100`},
		{line: `docker run --rm --sysctl net.ipv4.ip_unprivileged_port_start=1 busybox cat /proc/sys/net/ipv4/ip_unprivileged_port_start`, want: `1`},
		{line: `docker run --rm --sysctl kernel.panic=1 busybox true`, code: 125, says: `kernel.panic`},

		// The end.
		{line: `docker run --rm --init busybox sh -c 'cat /proc/1/cmdline | tr "\0" " "'`, want: `/sbin/docker-init -- sh .*`},
		{line: `docker run -d --name stop --stop-signal INT --stop-timeout 3 busybox sh -c 'trap "exit 4" INT; echo ready; while :; do sleep 0.1; done'`, want: id64},
		{line: `for i in $(seq 100); do docker logs stop | grep -q ready && break; sleep 0.1; done; docker stop stop; docker inspect -f '{{.State.ExitCode}} {{.Config.StopSignal}} {{.Config.StopTimeout}}' stop`, want: `stop\n4 INT 3`},
		{line: `docker run -d --name thrice --restart on-failure:2 busybox sh -c 'echo x; exit 3'; for i in $(seq 60); do docker inspect -f '{{.RestartCount}} {{.State.Status}}' thrice | grep -q '2 exited' && break; sleep 0.1; done; docker logs thrice`, want: id64 + `\nx\nx\nx`},
		{line: `docker run --rm --restart always busybox true`, code: 125, says: `cannot specify both --restart and --rm`},
		{line: `docker run --restart sometimes busybox true`, code: 125, says: `sometimes`},
		{line: `cd ` + h.Dir + ` && docker run --rm --cidfile cid busybox true && wc -c <cid && docker run --rm --cidfile cid busybox true`, code: 125, want: `64`, says: `container ID file found`},

		// The network.
		{line: `docker run --rm --mac-address 02:42:ac:11:00:99 busybox cat /sys/class/net/eth0/address`, want: `02:42:ac:11:00:99`},
		{line: `docker run --rm --mac-address nonsense busybox true`, code: 125, says: `nonsense is not a valid mac address`},
		{line: `docker run --rm --ip 172.17.0.77 busybox ip -o -4 addr show eth0`, want: `.*172\.17\.0\.77/16.*`},
		{line: `docker run --rm --dns 9.9.9.9 --dns-search ex.org --dns-option ndots:3 busybox cat /etc/resolv.conf`, want: `nameserver 127\.0\.0\.11\nsearch ex\.org\noptions ndots:3`},
		{line: `docker run --rm --dns nonsense busybox true`, code: 125, says: `not correctly formatted: nonsense`},
		{line: `docker run --rm --add-host a.b:1.2.3.4 --add-host gw:host-gateway --add-host v6:::1 busybox sh -c 'tail -4 /etc/hosts | sort'`, want: "1\\.2\\.3\\.4\ta\\.b\n172\\.17\\.0\\.1\tgw\n172\\.17\\.0\\.\\d+\t[0-9a-f]{12}\n::1\tv6"},
		{line: `docker run --rm --add-host nonsense busybox true`, code: 125, says: `bad format for add-host: "nonsense"`},
		{line: `docker network create dev && docker network create prod`, want: id64 + `\n` + id64},
		{line: `docker run -d --name aliased --network dev --network-alias one --network-alias two --ip 172.18.0.9 busybox sleep 100`, want: id64},
		{line: `docker inspect aliased -f '{{.NetworkSettings.Networks.dev.IPAddress}}'`, want: `172\.18\.0\.9`},
		{line: `docker run --rm --network dev busybox sh -c 'nslookup one >/dev/null && nslookup two >/dev/null && echo both'`, want: `both`},
		{line: `docker run --rm --network name=dev,alias=three,mac-address=02:00:00:00:00:07 busybox sh -c 'nslookup three >/dev/null && cat /sys/class/net/eth0/address'`, want: `02:00:00:00:00:07`},
		{line: `docker run --rm --network dev --network prod busybox ls /sys/class/net`, want: `eth0\neth1\nlo`},
		{line: `docker run --rm --network host -p 80:80 busybox true`, says: `Published ports are discarded when using host network mode`},
		{line: `docker run --rm --network container:nobody busybox true`, code: 125, says: `nobody`},
	})
}

// What is not supported is refused by its name, and leaves nothing.
func TestRefusedOptions(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	for options, says := range map[string]string{
		`--gpus all`:                                  `--gpus is not supported`,
		`--isolation hyperv`:                          `invalid isolation (hyperv)`,
		`--log-driver syslog`:                         `--log-driver`,
		`--log-opt colour=red`:                        `colour=red (--log-opt) is not supported`,
		`--storage-opt size=1G`:                       `--storage-opt`,
		`--device-read-bps /dev/null:1mb`:             `--device-read-bps is not supported`,
		`--device-cgroup-rule "c 1:3 r"`:              `--device-cgroup-rule is not supported`,
		`--cpu-rt-runtime 1000`:                       `--cpu-rt-runtime is not supported`,
		`--health-cmd true`:                           `--health-cmd`,
		`--platform linux/s390x`:                      `Unable to find image`,
		`--runtime other`:                             `unknown or invalid runtime name: other`,
		`--volume-driver nfs -v x:/x`:                 `--volume-driver`,
		`--security-opt apparmor=foo`:                 `AppArmor profiles are not supported`,
		`--volumes-from nobody`:                       `No such container: nobody`,
		`--userns private`:                            `userns`,
		`--link-local-ip 169.254.1.1`:                 `--link-local-ip is not supported`,
		`--ip6 fd00::2`:                               `network bridge has no IPv6`,
		`--network none --ip 10.1.1.1`:                `IP address`,
		`-v /a:/b:nonsense`:                           `invalid mode: nonsense`,
		`-v a:b`:                                      `mount path must be absolute`,
		`-v some/where:/x`:                            `use absolute path`,
		`--mount type=bind,src=/not/here,dst=/x`:      `bind source path does not exist: /not/here`,
		`--mount type=image,src=busybox,dst=/x`:       `image`,
		`--mount type=volume,dst=/x,volume-subpath=a`: `ubpath`,
		`-p nonsense`:                                 `nonsense`,
		`-p 1.2.3.4:80:80`:                            `1.2.3.4`,
		`-p [2001:db8::1]:80:80`:                      `it has no IPv6 address; put it on a network made with --ipv6`,
		`-p [::1]:80:80`:                              `host address ::1 of port 80/tcp: ports can't be published there`,
	} {
		try(h, []step{{line: "docker run --name no " + options + " busybox true", code: 125, says: says}})
		h.TrySh("docker rm -f no") // a start that failed keeps the container, as in Docker
	}
	if left := h.TrySh("docker ps -aq; docker volume ls -q").Stdout; left != "" {
		t.Errorf("left: %s", left)
	}
}
