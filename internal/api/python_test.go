package api

import (
	"context"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/model"
)

// The script reads what python-docker and Compose 1.29 read.
const pythonScript = `
import docker, sys
c = docker.APIClient(base_url=sys.argv[1], version=sys.argv[2])
assert c.ping()
web = c.inspect_container('web')
assert web['NetworkSettings']['IPAddress'] == '172.17.0.2', web['NetworkSettings']
assert web['State']['Running'] and web['HostConfig']['NetworkMode'] == 'bridge'
assert c.inspect_image('busybox')['ContainerConfig']['Volumes'] == {'/data': {}}
assert [p['Names'] for p in c.containers(filters={'label': ['env=prod']})] == [['/web']]
assert c.logs('web', stdout=True, stderr=False) == b'one\n'
assert c.logs('web', stdout=True, stderr=True, tail=5, since=1600000000) == b'one\ntwo\n'
e = c.exec_create('web', ['cat'])
got = c.exec_start(e, demux=True)
assert got == (b'out', b'err'), got
assert c.exec_inspect(e)['ExitCode'] == 4
assert c.create_network('dev', check_duplicate=True)['Id']
c.connect_container_to_network('web', 'dev', aliases=['a'], ipv4_address='172.18.0.4')
assert [n['Name'] for n in c.networks(names=['dev'])] == ['dev']
assert c.create_volume('v')['Name'] == 'v'
assert c.info()['Driver'] == 'overlay' and c.version()['Version'] == '0.1.0'
try:
    c.inspect_container('nobody')
    assert False
except docker.errors.NotFound as e:
    assert e.explanation == 'No such container: nobody', e.explanation
w = c.create_container('busybox', ['sh'], host_config=c.create_host_config(links={'web': 'w'}, port_bindings={80: None}), ports=[80])
assert w['Warnings'] == []
c.start(w['Id'])
assert next(c.pull('busybox', stream=True, decode=True, tag='latest'))['status']
assert c.attach('web', stdout=True, stderr=True, stream=False, logs=True) == b'outerr'
print('fine')
`

func TestPythonDocker(t *testing.T) {
	if err := exec.Command("python3", "-c", "import docker").Run(); err != nil {
		t.Skip("python-docker is not installed")
	}
	for _, version := range []string{"1.24", "1.38", "1.44"} {
		f := newFixture(t)
		web := f.engine.addContainer("web", true)
		web.Config.Labels["env"] = "prod"
		f.engine.join(web, "bridge", "172.17.0.2/16")
		f.engine.lines = []model.LogLine{{Data: []byte("one\n")}, {Stderr: true, Data: []byte("two\n")}}
		f.engine.run = func(s model.Streams) (int, error) {
			// python-docker loses what arrives together with the headers; no
			// program is that quick.
			time.Sleep(50 * time.Millisecond)
			_, _ = io.WriteString(s.Stdout, "out")
			_, _ = io.WriteString(s.Stderr, "err")
			return 4, nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, "python3", "-c", pythonScript, "unix://"+f.listen(), version).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "fine") {
			t.Errorf("API %s: %v\n%s", version, err, out)
		}
	}
}
