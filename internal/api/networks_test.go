package api

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func TestNetworkCreate(t *testing.T) {
	f := newFixture(t)
	// docker network create --subnet 10.1.0.0/24 --gateway 10.1.0.1 --ip-range 10.1.0.128/25
	// --aux-address x=10.1.0.5 --internal -o a=b --label l=1 --attachable dev, by docker 28.2.2
	f.want("POST", "/v1.50/networks/create", `{"Driver":"bridge","Scope":"","IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":"10.1.0.0/24","IPRange":"10.1.0.128/25","Gateway":"10.1.0.1","AuxiliaryAddresses":{"x":"10.1.0.5"}}]},"Internal":true,"Attachable":true,"Ingress":false,"ConfigOnly":false,"ConfigFrom":null,"Options":{"a":"b"},"Labels":{"l":"1"},"Name":"dev"}`,
		201, `{"Id":"`+fakeID("net-dev")+`","Warning":""}`)
	equal(t, "docker 28", f.engine.networks[0], model.NetworkRequest{
		Name: "dev", Driver: "bridge", Internal: true, Attachable: true, IPAMDriver: "default",
		Options: map[string]string{"a": "b"}, Labels: map[string]string{"l": "1"},
		Subnets: []model.SubnetRequest{{Prefix: "10.1.0.0/24", Range: "10.1.0.128/25", Gateway: "10.1.0.1", Reserved: map[string]string{"x": "10.1.0.5"}}},
	})
	// python-docker 7.1
	f.want("POST", "/v1.24/networks/create", `{"Name":"py","Driver":"bridge","IPAM":{"Driver":"default","Config":[{"Subnet":"10.0.0.0/24","IPRange":null,"Gateway":null,"AuxiliaryAddresses":null}]},"CheckDuplicate":true}`, 201, "")
	equal(t, "python", f.engine.networks[1].Subnets, []model.SubnetRequest{{Prefix: "10.0.0.0/24"}})
	f.want("POST", "/networks/create", `{"Name":"v6","EnableIPv6":true,"IPAM":{"Config":[{}]}}`, 201, "")
	if n := f.engine.networks[2]; n.EnableIPv6 == nil || !*n.EnableIPv6 || n.EnableIPv4 != nil || n.Subnets != nil {
		t.Errorf("%+v", n)
	}
	for body, words := range map[string]string{
		`{}`:                             "name is empty",
		`{"Name":"n","Ingress":true}`:    "--ingress",
		`{"Name":"n","ConfigOnly":true}`: "--config-only",
		`{"Name":"n","ConfigFrom":{"Network":"x"}}`:     "--config-from",
		`{"Name":"n","Scope":"swarm"}`:                  "scope",
		`{"Name":"n","IPAM":{"Driver":"dhcp"}}`:         "--ipam-driver",
		`{"Name":"n","IPAM":{"Options":{"a":"b"}}}`:     "--ipam-opt",
		`{"Name":"n","Bogus":1}`:                        "Bogus is not supported",
		`{"Name":"n","IPAM":{"Config":[{"Subnet":5}]}}`: "invalid JSON",
	} {
		f.want("POST", "/networks/create", body, 400, words)
	}
	f.engine.fail["netcreate"] = errs.New(errs.Conflict, "network with name dev already exists")
	f.want("POST", "/networks/create", `{"Name":"dev"}`, 409, "already exists")
}

func TestNetworkReads(t *testing.T) {
	f := newFixture(t)
	dev := f.engine.addNetwork("dev", "10.0.0.0/24", "10.0.0.1")
	dev.Labels, dev.Created = map[string]string{"a": "b"}, time.Unix(1800000000, 0)
	dev.Subnets[0].Range = netip.MustParsePrefix("10.0.0.128/25")
	dev.Subnets[0].Reserved = map[string]netip.Addr{"x": netip.MustParseAddr("10.0.0.5")}
	f.engine.addNetwork("empty", "10.2.0.0/24", "10.2.0.1")
	f.engine.join(f.engine.addContainer("up", true), "dev", "10.0.0.2/24")
	f.engine.join(f.engine.addContainer("down", false), "dev", "10.0.0.3/24")
	f.want("GET", "/networks/dev", "", 200, `"IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":"10.0.0.0/24","IPRange":"10.0.0.128/25","Gateway":"10.0.0.1","AuxiliaryAddresses":{"x":"10.0.0.5"}}]}`)
	text := f.want("GET", "/networks/"+dev.ID[:10]+"?verbose=true&scope=local", "", 200, `"Containers":{"`+fakeID("up")+`":{"Name":"up","EndpointID":"`+fakeID("epupdev")+`","MacAddress":"02:42:ac:11:00:02","IPv4Address":"10.0.0.2/24","IPv6Address":""}}`)
	if strings.Contains(text, `"down"`) {
		t.Error("a container that does not run is listed")
	}
	f.want("GET", "/networks/none", "", 200, `"Options":{},"Labels":{}`)
	f.want("GET", "/networks/nope", "", 404, "network nope not found")
	f.want("GET", "/networks/dev", "", 200, `"Overlaps":[{"Subnet":"172.18.0.0/16","Route":"172.16.0.0/12","Device":"tun0"}]`)
	f.want("GET", "/networks/dev?scope=swarm", "", 404, "network dev not found")
	for filters, want := range map[string]string{
		``:                                       "bridge empty host none dev",
		`{"type":["builtin"]}`:                   "bridge host none",
		`{"type":["custom"]}`:                    "empty dev",
		`{"dangling":["true"]}`:                  "empty",
		`{"dangling":["false"],"name":["dev"]}`:  "dev",
		`{"driver":["host","null"]}`:             "host none",
		`{"label":["a=b"]}`:                      "dev",
		`{"label!":["a"],"type":["custom"]}`:     "empty",
		`{"id":["` + dev.ID[:12] + `"]}`:         "dev",
		`{"name":["^e"]}`:                        "empty",
		`{"scope":["swarm"]}`:                    "",
		`{"scope":["local"],"type":["builtin"]}`: "bridge host none",
	} {
		var got []struct{ Name string }
		f.json("/networks?filters="+escape(filters), &got)
		var names []string
		for _, n := range got {
			names = append(names, n.Name)
		}
		equal(t, filters, strings.Join(names, " "), want)
	}
	f.want("GET", "/networks?filters="+escape(`{"type":["odd"]}`), "", 400, "'type'='odd'")
	f.want("GET", "/networks?filters="+escape(`{"odd":["x"]}`), "", 400, "invalid filter 'odd'")
	var old []struct{ Containers map[string]any }
	f.json("/v1.27/networks?filters="+escape(`{"name":["dev"]}`), &old)
	equal(t, "containers listed before 1.28", len(old[0].Containers), 1)
}

func TestNetworkWrites(t *testing.T) {
	f := newFixture(t)
	f.engine.addNetwork("dev", "10.0.0.0/24", "10.0.0.1").Labels = map[string]string{"a": "b"}
	f.want("POST", "/networks/dev/connect", `{"Container":"web","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.0.0.7"},"Links":["db:d"],"Aliases":["z"],"MacAddress":"02:42:00:00:00:01","GwPriority":3,"DriverOpts":null}}`, 200, "")
	want := model.EndpointRequest{Network: "dev", IPv4: netip.MustParseAddr("10.0.0.7"), Links: []string{"db:d"}, Aliases: []string{"z"}, MAC: "02:42:00:00:00:01", GwPriority: 3}
	equal(t, "connect", f.engine.joins[0], want)
	f.want("POST", "/v1.43/networks/dev/connect", `{"Container":"web","EndpointConfig":{"MacAddress":"02:42:00:00:00:01","GwPriority":3}}`, 200, "")
	equal(t, "old connect", f.engine.joins[1], model.EndpointRequest{Network: "dev"})
	f.want("POST", "/networks/dev/connect", `{"Container":"web"}`, 200, "")
	f.want("POST", "/networks/dev/connect", `{}`, 400, "the container's name is missing")
	f.want("POST", "/networks/dev/connect", `{"Container":"web","EndpointConfig":{"Odd":1}}`, 400, "EndpointConfig.Odd")
	f.want("POST", "/networks/dev/disconnect", `{"Container":"web","Force":true}`, 200, "")
	f.engine.called(t, "disconnect dev web true")
	f.want("POST", "/networks/dev/disconnect", `{}`, 400, "the container's name is missing")
	f.want("DELETE", "/networks/dev", "", 204, "")
	f.engine.called(t, "netremove dev")
	f.want("POST", "/networks/prune", "", 200, `{"NetworksDeleted":["dev"]}`)
	f.want("POST", "/networks/prune?filters="+escape(`{"label!":["a"]}`), "", 200, `{"NetworksDeleted":[]}`)
	f.engine.fail["netremove"] = errs.New(errs.Forbidden, "bridge is a pre-defined network and cannot be removed")
	f.want("DELETE", "/networks/bridge", "", 403, "pre-defined")
}

func TestVolumes(t *testing.T) {
	f := newFixture(t)
	f.want("GET", "/volumes", "", 200, `{"Volumes":[],"Warnings":[]}`)
	f.want("POST", "/volumes/create", `{"Name":"data","Driver":"local","DriverOpts":{"type":"tmpfs"},"Labels":{"a":"b"}}`, 201, `"Mountpoint":"/v/data","Name":"data","Options":{"type":"tmpfs"},"Scope":"local"`)
	f.want("POST", "/volumes/create", `{"Name":"free"}`, 201, `"Labels":null`)
	f.want("POST", "/volumes/create", ``, 201, ``)
	f.want("POST", "/volumes/create", `{"Name":"x","Driver":"nfs"}`, 404, `plugin \"nfs\" not found`)
	f.want("POST", "/volumes/create", `{"Name":"x","ClusterVolumeSpec":{"Group":"g"}}`, 400, "swarm")
	f.want("POST", "/volumes/create", `{"Name":"x","Bogus":"y"}`, 400, "Bogus")
	delete(f.engine.snap.Volumes, "")
	f.engine.addContainer("web", false).Mounts = []model.Mount{{Type: "volume", Name: "data", Destination: "/d"}, {Type: "volume", Name: "data", Destination: "/e"}}
	f.want("GET", "/volumes/data", "", 200, `"CreatedAt":"`)
	f.want("GET", "/volumes/nope", "", 404, "get nope: no such volume")
	for filters, want := range map[string]string{
		`{"dangling":["true"]}`: "free", `{"dangling":["0"]}`: "data", `{"name":["fr"]}`: "free",
		`{"label":["a=b"]}`: "data", `{"label!":["a"]}`: "free", `{"driver":["local"]}`: "data free", `{"driver":["nfs"]}`: "",
	} {
		var got struct{ Volumes []struct{ Name string } }
		f.json("/volumes?filters="+escape(filters), &got)
		var names []string
		for _, v := range got.Volumes {
			names = append(names, v.Name)
		}
		equal(t, filters, strings.Join(names, " "), want)
	}
	f.want("DELETE", "/volumes/data?force=1", "", 204, "")
	f.engine.called(t, "volremove data true")
	f.engine.fail["volremove"] = errs.New(errs.NotFound, "get nope: no such volume")
	f.want("DELETE", "/volumes/nope?force=1", "", 204, "")
	f.want("DELETE", "/volumes/nope", "", 404, "no such volume")
	f.want("POST", "/volumes/prune", "", 200, `{"VolumesDeleted":[],"SpaceReclaimed":7}`)
	f.want("POST", "/v1.41/volumes/prune", "", 200, `["data","free"]`)
	f.want("POST", "/volumes/prune?filters="+escape(`{"all":["true"],"label":["a"]}`), "", 200, `["data"]`)
}
