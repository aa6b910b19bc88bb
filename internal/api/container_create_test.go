package api

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

// create posts a body and gives what the engine was asked.
func (f *fixture) create(version, body string) model.CreateRequest {
	f.Helper()
	status, text := f.do("POST", "/"+version+"/containers/create?name=web", body)
	if status != 201 || len(f.engine.created) == 0 {
		f.Fatalf("create: %d %s", status, text)
	}
	return f.engine.created[len(f.engine.created)-1]
}

func recorded(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %#v\nwant %#v", what, got, want)
	}
}

// The recorded bodies are what docker 28.2.2 and python-docker 7.1 sent for
// the command lines in the comments.
func TestCreateDocker28Plain(t *testing.T) { // docker create busybox
	req := newFixture(t).create("v1.50", recorded(t, "create-docker28-plain.json"))
	equal(t, "endpoints", req.Endpoints, []model.EndpointRequest{{Network: "bridge"}})
	equal(t, "config", req.Config, model.Config{AttachStdout: true, AttachStderr: true, Labels: map[string]string{}})
	equal(t, "host", req.Host, model.HostConfig{
		NetworkMode: "bridge", RestartPolicy: model.RestartPolicy{Name: "no"}, LogOptions: map[string]string{},
		DNS: []netip.Addr{}, DNSOptions: []string{}, DNSSearch: []string{},
	})
	if req.Name != "web" || req.Image != "busybox" || req.EntrypointReset {
		t.Errorf("name %q, image %q, reset %v", req.Name, req.Image, req.EntrypointReset)
	}
}

// docker create -it --network dev --network-alias search --ip 172.18.0.9
// --mac-address 02:42:00:00:00:01 --link db:db -p 127.0.0.1:8080:80 -p 53:53/udp
// -p 8000-8010:90 -p 443 -P --expose 99 --dns 1.1.1.1 --add-host a:host-gateway
// --tmpfs /t:size=1m -v /a:/b:ro -v vol:/c --mount type=bind,src=/x,dst=/y,readonly
// --mount type=tmpfs,dst=/z,tmpfs-size=1m --mount type=volume,src=v,dst=/w
// --memory 4m --cpus 1.5 --pids-limit 10 --ulimit nofile=10:20 --init
// --restart always --stop-signal TERM --stop-timeout 3 --entrypoint ""
// --cap-add NET_ADMIN --read-only --label a=b --no-healthcheck
// --memory-swappiness 10 --oom-kill-disable busybox sh -c 'echo 1'
func TestCreateDocker28Full(t *testing.T) {
	req := newFixture(t).create("v1.50", recorded(t, "create-docker28-full.json"))
	equal(t, "endpoints", req.Endpoints, []model.EndpointRequest{{
		Network: "dev", IPv4: netip.MustParseAddr("172.18.0.9"), MAC: "02:42:00:00:00:01", Aliases: []string{"search"}, Links: []string{"db:db"},
	}})
	three := 3
	equal(t, "config", req.Config, model.Config{
		AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: true, OpenStdin: true, StdinOnce: true,
		ExposedPorts: []model.Port{{Number: 53, Proto: "udp"}, {Number: 80, Proto: "tcp"}, {Number: 90, Proto: "tcp"}, {Number: 99, Proto: "tcp"}, {Number: 443, Proto: "tcp"}},
		Cmd:          []string{"sh", "-c", "echo 1"}, Labels: map[string]string{"a": "b"}, StopSignal: "TERM", StopTimeout: &three,
	})
	if !req.EntrypointReset {
		t.Error(`--entrypoint "" did not reset the entry point`)
	}
	h := req.Host
	equal(t, "ports", h.PortBindings, []model.PortBinding{
		{Port: model.Port{Number: 53, Proto: "udp"}, HostPort: 53, HostPortGiven: "53"},
		{Port: model.Port{Number: 80, Proto: "tcp"}, HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8080, HostIPGiven: "127.0.0.1", HostPortGiven: "8080"},
		{Port: model.Port{Number: 90, Proto: "tcp"}, HostPort: 8000, HostPortEnd: 8010, HostPortGiven: "8000-8010"},
		{Port: model.Port{Number: 443, Proto: "tcp"}},
	})
	equal(t, "mounts", h.MountSpecs, []model.Mount{
		{Type: "bind", Source: "/x", Destination: "/y"},
		{Type: "tmpfs", Destination: "/z", RW: true, TmpfsSize: 1 << 20},
		{Type: "volume", Name: "v", Destination: "/w", RW: true, Driver: "local"},
	})
	ten := int64(10)
	equal(t, "resources", h.Resources, model.Resources{Memory: 4 << 20, NanoCPUs: 1500000000, PidsLimit: &ten, MemorySwappiness: &ten, OomKillDisable: true})
	equal(t, "ulimits", h.Ulimits, []model.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}})
	equal(t, "the rest", []any{h.Binds, h.Links, h.DNS, h.ExtraHosts, h.Tmpfs, h.Init, h.PublishAllPorts, h.ReadonlyRootfs, h.CapAdd, h.RestartPolicy}, []any{
		[]string{"vol:/c", "/a:/b:ro"}, []string(nil), []netip.Addr{netip.MustParseAddr("1.1.1.1")}, []string{"a:host-gateway"},
		map[string]string{"/t": "size=1m"}, true, true, true, []string{"CAP_NET_ADMIN"}, model.RestartPolicy{Name: "always"},
	})
}

func TestCreatePython(t *testing.T) {
	req := newFixture(t).create("v1.24", recorded(t, "create-python.json"))
	equal(t, "endpoints", req.Endpoints, []model.EndpointRequest{{Network: "dev", IPv4: netip.MustParseAddr("172.18.0.9"), Aliases: []string{"x"}, Links: []string{"db:d"}}})
	equal(t, "volumes", req.Config.Volumes, []string{"/v"})
	equal(t, "ports", req.Host.PortBindings, []model.PortBinding{
		{Port: model.Port{Number: 53, Proto: "udp"}, HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 5300, HostIPGiven: "127.0.0.1", HostPortGiven: "5300"},
		{Port: model.Port{Number: 80, Proto: "tcp"}, HostPort: 8080, HostPortGiven: "8080"},
		{Port: model.Port{Number: 90, Proto: "tcp"}},
	})
	if req.Host.ShmSize != 64<<20 || req.Host.IpcMode != "shareable" {
		t.Errorf("shm %d, ipc %q", req.Host.ShmSize, req.Host.IpcMode)
	}
}

func TestCreateKeepsTheOrderOfNetworks(t *testing.T) {
	names := func(req model.CreateRequest) (out []string) {
		for _, e := range req.Endpoints {
			out = append(out, e.Network)
		}
		return out
	}
	f := newFixture(t)
	req := f.create("v1.50", recorded(t, "create-docker28-two-networks.json")) // --network a --network name=b,alias=x,gw-priority=5
	equal(t, "docker 28", names(req), []string{"a", "b"})
	equal(t, "b", req.Endpoints[1], model.EndpointRequest{Network: "b", Aliases: []string{"x"}, GwPriority: 5})
	body := `{"Image":"i","HostConfig":{"NetworkMode":"m"},"NetworkingConfig":{"EndpointsConfig":{"z":{},"b":null,"m":{},"a":{}}}}`
	equal(t, "order written, main first", names(f.create("v1.50", body)), []string{"m", "z", "b", "a"})
	dev := f.engine.addNetwork("dev", "10.0.0.0/24", "10.0.0.1")
	body = fmt.Sprintf(`{"Image":"i","HostConfig":{"NetworkMode":"dev"},"NetworkingConfig":{"EndpointsConfig":{"z":{},"%s":{}}}}`, dev.ID)
	equal(t, "main by its ID", names(f.create("v1.50", body)), []string{dev.ID, "z"})
	for mode, want := range map[string][]string{"none": {"none"}, "host": {"host"}, "container:x": nil, "default": {"bridge"}, "": {"bridge"}} {
		equal(t, "mode "+mode, names(f.create("v1.50", fmt.Sprintf(`{"Image":"i","HostConfig":{"NetworkMode":%q}}`, mode))), want)
	}
}

func TestCreateForms(t *testing.T) {
	f := newFixture(t)
	req := f.create("v1.44", `{"Image":"i","Cmd":"echo hi","Entrypoint":"sh","Healthcheck":{"Test":["NONE"]},"HostConfig":null}`)
	equal(t, "words", [][]string{req.Config.Cmd, req.Config.Entrypoint}, [][]string{{"echo hi"}, {"sh"}})
	req = f.create("v1.44", `{"image":"i","hostconfig":{"dns":null,"memory":5,"VolumeDriver":"local","UsernsMode":"host","Isolation":"default","MemorySwappiness":-1,"PidsLimit":-1}}`)
	if req.Image != "i" || req.Host.Resources.Memory != 5 || req.Host.Resources.PidsLimit != nil || req.Host.Resources.MemorySwappiness != nil {
		t.Errorf("case of members: %+v", req)
	}
	req = f.create("v1.44", `{"Image":"i","HostConfig":{"PortBindings":{"80":[],"81/udp":null,"82/tcp":[{"HostIp":"::","HostPort":"0"}]}}}`)
	equal(t, "empty binding lists mean any port", len(req.Host.PortBindings), 3)
	req = f.create("v1.53", `{"Image":"i","HostConfig":{"PortBindings":{"80/tcp":[]}}}`)
	equal(t, "but not since 1.53", len(req.Host.PortBindings), 0)
	req = f.create("v1.44", `{"Image":"i","HostConfig":{"NetworkMode":"dev","Links":["db","x:y"]},"NetworkingConfig":{"EndpointsConfig":{"dev":{"Links":["db:db"]}}}}`)
	equal(t, "links of both places", req.Endpoints[0].Links, []string{"db:db", "x:y"})
	equal(t, "links left", req.Host.Links, []string(nil))
	req = f.create("v1.44", `{"Image":"i","HostConfig":{"Links":["db"]}}`)
	equal(t, "links on the default network", req.Host.Links, []string{"db"})
	f.want("POST", "/containers/create?name=/slash", `{"Image":"i"}`, 201, `"Warnings":[]`)
	f.engine.called(t, "create slash")
	f.want("POST", "/containers/create?platform=linux/arm64", `{"Image":"i"}`, 201, "")
	equal(t, "platform", f.engine.created[len(f.engine.created)-1].Platform, "linux/arm64")
}

func TestCreateByVersion(t *testing.T) {
	body := `{"Image":"i","MacAddress":"02:42:00:00:00:05","HostConfig":{"AutoRemove":true,"ConsoleSize":[10,20],"Annotations":{"a":"b"},
	 "Mounts":[{"Type":"bind","Source":"/a","Target":"/b","BindOptions":{"CreateMountpoint":true,"NonRecursive":true}}]},
	 "NetworkingConfig":{"EndpointsConfig":{"bridge":{"GwPriority":7}}}}`
	f := newFixture(t)
	old := f.create("v1.24", body)
	if old.Host.AutoRemove || old.Host.ConsoleSize != [2]uint{} || old.Host.Annotations != nil || old.Endpoints[0].GwPriority != 0 || old.Host.IpcMode != "shareable" {
		t.Errorf("an old client's options it can't mean were taken: %+v", old)
	}
	if old.Host.MountSpecs[0].CreateSource {
		t.Error("CreateMountpoint is of API 1.42")
	}
	equal(t, "container-wide MAC", old.Endpoints[0].MAC, "02:42:00:00:00:05")
	now := f.create("v1.50", strings.Replace(body, `,"NonRecursive":true`, "", 1))
	if !now.Host.AutoRemove || now.Host.ConsoleSize != [2]uint{10, 20} || now.Host.Annotations["a"] != "b" || now.Endpoints[0].GwPriority != 7 || now.Host.IpcMode != "" {
		t.Errorf("a new client's options were dropped: %+v", now)
	}
	f.want("POST", "/v1.50/containers/create", `{"Image":"i","MacAddress":"02:42:00:00:00:05"}`, 201, "MacAddress field is now deprecated")
	f.want("POST", "/v1.43/containers/create", `{"Image":"i","NetworkingConfig":{"EndpointsConfig":{"a":{},"b":{}}}}`, 400, "Container cannot be created with multiple network endpoints: a, b")
	f.want("POST", "/v1.43/containers/create", `{"Image":"i","MacAddress":"02:42:00:00:00:05","HostConfig":{"NetworkMode":"host"}}`, 400, "conflicting options: mac-address and the network mode")
	f.want("POST", "/v1.44/containers/create", `{"Image":"i","MacAddress":"02:42:00:00:00:05","NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:42:00:00:00:06"}}}}`, 400, "must match the endpoint-specific MAC address")
	old = f.create("v1.43", `{"Image":"i","NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:42:00:00:00:06"}}}}`)
	equal(t, "an old API ignored an endpoint's MAC", old.Endpoints[0].MAC, "")
}

func TestCreateRefuses(t *testing.T) {
	host := func(s string) string { return `{"Image":"i","HostConfig":{` + s + `}}` }
	mounted := func(s string) string { return host(`"Mounts":[{` + s + `}]`) }
	for _, c := range []struct{ body, words string }{
		{`{"Image":"i","Healthcheck":{"Test":["CMD","true"]}}`, "--health-cmd"},
		{`{"Image":"i","Healthcheck":{"Interval":1000000}}`, "--health-cmd"},
		{`{"Image":"i","NetworkDisabled":true}`, "--network none"},
		{`{"Image":"i","ArgsEscaped":true}`, "ArgsEscaped"},
		{`{"Image":"i","Bogus":true}`, "Bogus is not supported"},
		{`{"Image":"i","ExposedPorts":{"80/icmp":{}}}`, "tcp, udp or sctp"},
		{`{"Image":"i","ExposedPorts":{"0/tcp":{}}}`, "between 1 and 65535"},
		{`{"Image":"i","ExposedPorts":{"x":{}}}`, "invalid port"},
		{host(`"KernelMemory":5`), "HostConfig.KernelMemory is not supported"},
		{host(`"VolumeDriver":"nfs"`), "--volume-driver"},
		{host(`"UsernsMode":"private"`), "--userns"},
		{host(`"Cgroup":"container:x"`), "--cgroup-parent"},
		{host(`"StorageOpt":{"size":"1G"}`), "--storage-opt"},
		{host(`"Isolation":"hyperv"`), "invalid isolation (hyperv)"},
		{host(`"RestartPolicy":{"Name":"maybe"}`), "unknown policy 'maybe'"},
		{host(`"RestartPolicy":{"Name":"always","MaximumRetryCount":3}`), "maximum retry count"},
		{host(`"LogConfig":{"Type":"syslog"}`), "--log-driver"},
		{host(`"LogConfig":{"Type":"json-file","Config":{"labels":"a"}}`), "--log-opt"},
		{host(`"LogConfig":{"Type":"none","Config":{"max-size":"1m"}}`), "takes no option"},
		{host(`"BlkioWeightDevice":[{"Path":"/dev/x","Weight":5}]`), "--blkio-weight-device"},
		{host(`"BlkioDeviceReadBps":[{"Path":"/dev/x","Rate":5}]`), "--device-read-bps"},
		{host(`"BlkioDeviceWriteBps":[{"Path":"/dev/x","Rate":5}]`), "--device-write-bps"},
		{host(`"BlkioDeviceReadIOps":[{"Path":"/dev/x","Rate":5}]`), "--device-read-iops"},
		{host(`"BlkioDeviceWriteIOps":[{"Path":"/dev/x","Rate":5}]`), "--device-write-iops"},
		{host(`"CpuRealtimePeriod":5`), "--cpu-rt-period"},
		{host(`"CpuRealtimeRuntime":5`), "--cpu-rt-runtime"},
		{host(`"DeviceCgroupRules":["c 1:3 r"]`), "--device-cgroup-rule"},
		{host(`"DeviceRequests":[{"Count":-1}]`), "--gpus"},
		{host(`"CpuCount":2`), "Windows"},
		{host(`"PortBindings":{"80/tcp":[{"HostPort":"x"}]}`), "invalid port specification"},
		{host(`"PortBindings":{"80/tcp":[{"HostPort":"70000"}]}`), "invalid port specification"},
		{host(`"PortBindings":{"80/tcp":[{"HostPort":"20-10"}]}`), "invalid port specification"},
		{host(`"PortBindings":{"80/tcp":[{"HostIp":"nowhere"}]}`), "invalid JSON"},
		{host(`"Dns":["nowhere"]`), "invalid JSON"},
		{`{"Image":"i","NetworkingConfig":{"EndpointsConfig":{"dev":{"IPAMConfig":{"LinkLocalIPs":["169.254.1.1"]}}}}}`, "--link-local-ip"},
		{`{"Image":"i","NetworkingConfig":{"EndpointsConfig":{"dev":{"IPAMConfig":{"IPv4Address":"fe80::1"}}}}}`, "invalid IPv4 address"},
		{`{"Image":"i","NetworkingConfig":{"EndpointsConfig":{"dev":{"IPAMConfig":{"IPv6Address":"1.1.1.1"}}}}}`, "invalid IPv6 address"},
		{`{"Image":"i","NetworkingConfig":{"EndpointsConfig":{"dev":{"Speed":5}}}}`, "EndpointsConfig.dev.Speed is not supported"},
		{`{"Image":"i","NetworkingConfig":{"EndpointsConfig":{"dev":{"MacAddress":"zz"}}}}`, "invalid MAC address"},
		{mounted(`"Target":"/t"`), "type is missing"},
		{mounted(`"Type":"image","Source":"i","Target":"/t"`), "type=image"},
		{mounted(`"Type":"npipe","Source":"i","Target":"/t"`), "type=npipe"},
		{mounted(`"Type":"bind","Source":"/a"`), "Target must not be empty"},
		{mounted(`"Type":"bind","Target":"/a"`), "Source must not be empty"},
		{mounted(`"Type":"tmpfs","Source":"/a","Target":"/t"`), "Source must not be specified"},
		{mounted(`"Type":"bind","Source":"/a","Target":"/t","VolumeOptions":{"NoCopy":true}`), "VolumeOptions must not be specified"},
		{mounted(`"Type":"volume","Target":"/t","BindOptions":{}`), "BindOptions must not be specified"},
		{mounted(`"Type":"volume","Target":"/t","TmpfsOptions":{}`), "TmpfsOptions must not be specified"},
		{mounted(`"Type":"bind","Source":"/a","Target":"/t","BindOptions":{"NonRecursive":true}`), "bind-recursive=disabled"},
		{mounted(`"Type":"bind","Source":"/a","Target":"/t","BindOptions":{"ReadOnlyForceRecursive":true}`), "bind-recursive=readonly"},
		{mounted(`"Type":"bind","Source":"/a","Target":"/t","Consistency":"odd"`), "consistency"},
		{mounted(`"Type":"volume","Target":"/t","VolumeOptions":{"Subpath":"a"}`), "volume-subpath"},
		{mounted(`"Type":"volume","Target":"/t","VolumeOptions":{"DriverConfig":{"Name":"nfs"}}`), "volume-driver"},
		{mounted(`"Type":"volume","Target":"/t","VolumeOptions":{"DriverConfig":{"Options":{"a":"b"}}}`), "volume-opt"},
		{mounted(`"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Options":[["uid","5"]]}`), "tmpfs"},
		{``, "got EOF while reading request body"},
		{`null`, "config cannot be empty"},
		{`{`, "invalid JSON"},
		{`{"Image":"i"} x`, "invalid JSON"},
	} {
		f := newFixture(t)
		status, text := f.do("POST", "/v1.50/containers/create", c.body)
		var e struct{ Message string }
		if status != 400 || json.Unmarshal([]byte(text), &e) != nil || !strings.Contains(e.Message, c.words) {
			t.Errorf("%s:\n got %d %s\nwant 400 …%s…", c.body, status, text, c.words)
		}
		if len(f.engine.created) != 0 {
			t.Errorf("%s: the engine was asked all the same", c.body)
		}
	}
}

// What does not go with another container's network reaches the engine, which
// refuses it.
func TestJoinedNetworkReachesTheEngine(t *testing.T) {
	f := newFixture(t)
	f.want("POST", "/v1.43/containers/create", `{"Image":"i","MacAddress":"02:42:00:00:00:05","HostConfig":{"NetworkMode":"container:x"},"NetworkingConfig":{"EndpointsConfig":{"dev":{}}}}`, 201, "")
	req := f.engine.created[0]
	if req.MAC != "02:42:00:00:00:05" || len(req.Endpoints) != 1 || req.Endpoints[0].Network != "dev" || req.Host.NetworkMode != "container:x" {
		t.Errorf("%+v", req)
	}
}

func TestCreatePassesTheEnginesError(t *testing.T) {
	f := newFixture(t)
	f.engine.fail["create"] = errs.New(errs.Conflict, `Conflict. The container name "/web" is already in use by container "abc".`)
	f.want("POST", "/containers/create?name=web", `{"Image":"i"}`, 409, `already in use by container`)
	f.engine.fail["create"] = errs.New(errs.NotFound, "No such image: nope")
	f.want("POST", "/containers/create", `{"Image":"nope"}`, 404, `{"message":"No such image: nope"}`)
}
