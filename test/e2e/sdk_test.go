package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/test/host"
)

// python runs a script with Debian's python3-docker on a host.
func python(h *host.Host, script string) {
	h.T.Helper()
	if h.TrySh("/usr/bin/python3 -W ignore -c 'import docker'").Code != 0 {
		h.T.Skip("needs Debian's package python3-docker")
	}
	path := h.Dir + "/test.py"
	if err := os.WriteFile(path, []byte("import docker, io, time, json\n"+script), 0o644); err != nil {
		h.T.Fatal(err)
	}
	if r := h.TrySh("/usr/bin/python3 -W ignore " + path); r.Code != 0 || strings.TrimSpace(r.Stdout) != "done" {
		h.T.Errorf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// The Python SDK's own objects, at the newest version the daemon has.
func TestPythonSDK(t *testing.T) {
	t.Parallel()
	python(host.New(t), `
c = docker.from_env(version='auto')
assert c.ping() and c.version()['Platform']['Name'] == 'Jackstay' and c.info()['OSType'] == 'linux'

# run, logs, exec.
assert c.containers.run('busybox', 'echo hello', remove=True) == b'hello\n'
try:
    c.containers.run('busybox', ['sh', '-c', 'echo bad >&2; exit 3'], remove=True)
    assert False
except docker.errors.ContainerError as e:
    assert e.exit_status == 3 and e.stderr == b'bad\n', e
try:
    c.containers.run('busybox', 'nothing', remove=True)
    assert False
except docker.errors.APIError as e:
    assert e.status_code == 400 and 'executable file not found' in e.explanation, (e.status_code, e)
web = c.containers.run('busybox', 'probe serve web tcp:8000', name='web', detach=True, ports={'8000/tcp': 8080, '9000/udp': ('127.0.0.1', None)},
    environment={'A': '1'}, labels={'k': 'v'}, mem_limit='64m', hostname='box', extra_hosts={'other': '1.2.3.4'}, dns=['9.9.9.9'],
    volumes={'data': {'bind': '/data', 'mode': 'rw'}}, tmpfs={'/t': 'size=1m'}, ulimits=[docker.types.Ulimit(name='nofile', soft=99, hard=99)],
    restart_policy={'Name': 'on-failure', 'MaximumRetryCount': 3}, cap_add=['NET_ADMIN'], init=True)
web.reload()
assert web.status == 'running', web.attrs['State']
assert web.attrs['Config']['Hostname'] == 'box' and web.labels == {'k': 'v'}
assert web.ports['8000/tcp'] == [{'HostIp': '0.0.0.0', 'HostPort': '8080'}] and web.ports['9000/udp'][0]['HostIp'] == '127.0.0.1', web.ports
assert web.attrs['HostConfig']['RestartPolicy'] == {'Name': 'on-failure', 'MaximumRetryCount': 3}
assert web.exec_run('sh -c "echo $A; ulimit -n; cat /etc/hosts"').output.decode().startswith('1\n99\n')
code, (out, err) = web.exec_run(['sh', '-c', 'echo o; echo e >&2; exit 4'], demux=True)
assert (code, out, err) == (4, b'o\n', b'e\n')
assert b''.join(web.exec_run('seq 1000', stream=True).output).count(b'\n') == 1000
s = web.exec_run('cat', stdin=True, socket=True).output
s._sock.sendall(b'typed\n'); assert b'typed' in s.read(20)
s._sock.close()
assert [p[-1] for p in web.top()['Processes']][0].endswith('probe serve web tcp:8000')
assert web.stats(stream=False)['memory_stats']['usage'] > 0 and 'eth0' in web.stats(stream=False)['networks']
talk = c.containers.run('busybox', ['sh', '-c', 'for i in 1 2 3; do echo $i; sleep 0.1; done'], name='talk', detach=True)
assert b''.join(talk.logs(stream=True, follow=True)) == b'1\n2\n3\n'
assert talk.wait()['StatusCode'] == 0 and talk.logs(tail=1) == b'3\n' and talk.logs(since=int(time.time())+100) == b''
assert [x.name for x in c.containers.list(all=True)][:2] == ['talk', 'web']
assert [x.name for x in c.containers.list(filters={'label': 'k=v'})] == ['web'], web.attrs['State']
talk.rename('told'); talk.reload(); assert talk.name == 'told'
web.pause(); web.reload(); assert web.status == 'paused'; web.unpause()
web.update(mem_limit='128m', memswap_limit='128m'); web.reload(); assert web.attrs['HostConfig']['Memory'] == 128 << 20
assert {'Path': '/made', 'Kind': 1} in (web.exec_run('touch /made') and web.diff())
a = c.containers.create('busybox', 'cat', stdin_open=True, name='cat')
s = a.attach_socket(params={'stdin': 1, 'stdout': 1, 'stream': 1}); a.start(); s._sock.sendall(b'through\n')
assert b'through' in s.read(20)
a.kill(); assert a.wait()['StatusCode'] == 137

# networks and volumes.
n = c.networks.create('dev', driver='bridge', labels={'x': 'y'}, ipam=docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet='10.44.0.0/24', gateway='10.44.0.1')]))
n.connect(web, aliases=['site'], ipv4_address='10.44.0.9'); n.reload()
assert [x.name for x in n.containers] == ['web']
assert c.containers.run('busybox', 'probe get tcp:site:8000', network='dev', remove=True).startswith(b'web 10.44.0.')
try:
    n.remove(); assert False
except docker.errors.APIError as e:
    assert e.status_code == 403 and 'active endpoints' in e.explanation, (e.status_code, e)
n.disconnect(web); n.remove()
assert c.volumes.get('data').attrs['Driver'] == 'local' and c.volumes.create('extra', labels={'l': '1'}).name == 'extra'

# images: names and archives.
i = c.images.get('busybox')
assert i.tags == ['busybox:latest'] and i.tag('me/app', '1') and c.images.get('me/app:1').id == i.id and i.history()[0]['Size'] > 0
tar = b''.join(i.save(named=True))
c.images.remove('me/app:1'); assert [x.id for x in c.images.load(tar)] == [i.id]
for f, what in ((c.images.get, 'nothing:here'), (c.containers.get, 'nobody'), (c.networks.get, 'nowhere'), (c.volumes.get, 'none')):
    try:
        f(what); assert False, what
    except docker.errors.NotFound as e:
        assert what in e.explanation, e

# events, past and live.
past = list(c.events(since=int(time.time()) - 100, until=int(time.time()) + 1, decode=True, filters={'container': 'web'}))
assert [e['Action'] for e in past][:2] == ['create', 'start'], past
live = c.events(decode=True, filters={'event': 'die'})
web.remove(force=True); e = next(live); assert e['Actor']['Attributes']['name'] == 'web', e
live.close()
assert docker.from_env(version='1.43').df()['Images'][0]['Id'] == i.id
c.containers.prune(); c.networks.prune(); c.volumes.prune(filters={'all': True})
assert c.containers.list(all=True) == [] and c.volumes.list() == []
print('done')
`)
}

// Versions from the oldest on: each client gets the form it knows.
func TestOldAPIVersions(t *testing.T) {
	t.Parallel()
	python(host.New(t), `
for v in '1.21', '1.22', '1.24', '1.30', '1.35', '1.40', '1.41', '1.43', '1.44', '1.47', '1.50', '1.55', 'auto':
    c = docker.APIClient('unix://' + open('/proc/self/environ').read().split('DOCKER_HOST=unix://')[1].split('\0')[0], version=v)
    n = 'v' + v
    c.ping(), c.info(), c.version()
    c.create_network(n)
    id = c.create_container('busybox', 'sh -c "echo out; exec probe serve it tcp:80"', name=n, ports=[80], environment=['A=b'], volumes=['/data'],
        host_config=c.create_host_config(port_bindings={80: None}, mem_limit='32m', binds=['vol:/vol'], links=None))['Id']
    c.start(id)
    d = c.inspect_container(id)
    assert d['State']['Running'] and d['NetworkSettings']['Ports']['80/tcp'][0]['HostPort'] and d['HostConfig']['Memory'] == 32 << 20, (v, d)
    assert d['NetworkSettings']['Networks']['bridge']['IPAddress'].startswith('172.17.'), (v, d)
    if v != '1.21': # python-docker makes no endpoint for it
        c.connect_container_to_network(id, n, aliases=['also'])
    assert v == '1.21' or n in c.inspect_container(id)['NetworkSettings']['Networks']
    e = c.exec_create(id, 'sh -c "echo $A"')['Id']
    assert c.exec_start(e) == b'b\n' and c.exec_inspect(e)['ExitCode'] == 0
    for _ in range(40):
        if c.logs(id) == b'out\n': break
        time.sleep(0.05)
    assert c.logs(id) == b'out\n', v
    [l] = c.containers(filters={'name': n + '$'})
    assert l['Id'] == id and l['Names'] == ['/' + n] and l['State'] == 'running' and l['Ports'][0]['PrivatePort'] == 80, (v, l)
    assert c.images()[0]['RepoTags'] == ['busybox:latest'] and c.inspect_image('busybox')['Config']['Cmd'] == ['sh']
    assert c.stats(id, stream=False)['memory_stats']['usage'] > 0
    c.stop(id, timeout=1)
    assert c.wait(id)['StatusCode'] == 0, c.wait(id)
    c.remove_container(id, v=True)
    c.remove_network(n)
    try:
        c.inspect_container(id); assert False
    except docker.errors.NotFound as e:
        assert 'No such container' in e.explanation
for v in '1.99', '2.0':
    try:
        docker.APIClient('unix://' + open('/proc/self/environ').read().split('DOCKER_HOST=unix://')[1].split('\0')[0], version=v).info()
        assert False, v
    except (docker.errors.APIError, docker.errors.DockerException) as e:
        assert 'version ' + v in str(e), e
print('done')
`)
}
