package links

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/jackstay/jackstay/internal/model"
)

func network(id string) *model.Network {
	return &model.Network{ID: id, Driver: model.DriverBridge}
}

// world is web, linked to db as "redis-1" over net1, and to none as "gone".
func world() *model.Snapshot {
	db := &model.Container{ID: "db", Name: "datastore", Config: model.Config{
		ExposedPorts: []model.Port{{Number: 53, Proto: "udp"}, {Number: 6380, Proto: "tcp"}, {Number: 6379, Proto: "tcp"}},
		Env:          []string{"PATH=/bin", "REDIS_VERSION=2.8.13", "HOME=/", "EMPTY=", "NOVALUE", "URL=a=b"},
	}}
	web := &model.Container{ID: "web", Name: "dreamy_wilson"}
	mine := &model.Endpoint{ID: "e1", ContainerID: "web", NetworkID: "net1", IPv4: netip.MustParsePrefix("172.17.0.3/16")}
	theirs := &model.Endpoint{ID: "e2", ContainerID: "db", NetworkID: "net1", IPv4: netip.MustParsePrefix("172.17.0.120/16")}
	return &model.Snapshot{
		Containers: map[string]*model.Container{"db": db, "web": web},
		Networks:   map[string]*model.Network{"net1": network("net1"), "net2": network("net2")},
		ByContainer: map[string][]*model.Endpoint{
			"web": {mine, {ID: "e3", ContainerID: "web", NetworkID: "net2"}},
			"db":  {theirs},
		},
		LinksOf: map[string][]*model.Link{"web": {
			{ContainerID: "web", TargetID: "db", NetworkID: "net1", Alias: "redis-1"},
			{ContainerID: "web", TargetID: "absent", NetworkID: "net1", Alias: "gone"},
			{ContainerID: "web", TargetID: "absent", NetworkID: "net2", Alias: "elsewhere"},
		}},
	}
}

func TestEnv(t *testing.T) {
	want := []string{
		"REDIS_1_PORT=tcp://172.17.0.120:6379",
		"REDIS_1_PORT_6379_TCP=tcp://172.17.0.120:6379",
		"REDIS_1_PORT_6379_TCP_ADDR=172.17.0.120",
		"REDIS_1_PORT_6379_TCP_PORT=6379",
		"REDIS_1_PORT_6379_TCP_PROTO=tcp",
		"REDIS_1_PORT_6380_TCP=tcp://172.17.0.120:6380",
		"REDIS_1_PORT_6380_TCP_ADDR=172.17.0.120",
		"REDIS_1_PORT_6380_TCP_PORT=6380",
		"REDIS_1_PORT_6380_TCP_PROTO=tcp",
		"REDIS_1_PORT_53_UDP=udp://172.17.0.120:53",
		"REDIS_1_PORT_53_UDP_ADDR=172.17.0.120",
		"REDIS_1_PORT_53_UDP_PORT=53",
		"REDIS_1_PORT_53_UDP_PROTO=udp",
		"REDIS_1_NAME=/dreamy_wilson/redis-1",
		"REDIS_1_ENV_REDIS_VERSION=2.8.13",
		"REDIS_1_ENV_EMPTY=",
		"REDIS_1_ENV_URL=a=b",
	}
	if got := Env(world(), "web"); !slices.Equal(got, want) {
		t.Errorf("Env:\n got %q\nwant %q", got, want)
	}
}

func TestEnvWithoutPorts(t *testing.T) {
	w := world()
	w.Containers["db"].Config = model.Config{}
	if got, want := Env(w, "web"), []string{"REDIS_1_NAME=/dreamy_wilson/redis-1"}; !slices.Equal(got, want) {
		t.Errorf("a target that exposes nothing: got %q, want %q", got, want)
	}
}

func TestEnvOfUnlinked(t *testing.T) {
	for _, id := range []string{"db", "absent"} {
		if got := Env(world(), id); got != nil {
			t.Errorf("Env(%s) = %q, want none", id, got)
		}
	}
}

func TestEnvAliasOverTwoNetworksOnce(t *testing.T) {
	w := world()
	e := &model.Endpoint{ID: "e4", ContainerID: "db", NetworkID: "net2", IPv4: netip.MustParsePrefix("10.0.0.2/24")}
	w.ByContainer["db"] = append(w.ByContainer["db"], e)
	w.Containers["db"].Config = model.Config{ExposedPorts: []model.Port{{Number: 80, Proto: "tcp"}}}
	w.LinksOf["web"][2].TargetID, w.LinksOf["web"][2].Alias = "db", "redis-1"
	n := 0
	for _, v := range Env(w, "web") {
		if v == "REDIS_1_PORT=tcp://10.0.0.2:80" {
			t.Error("the second network's address was given, want the first's")
		}
		if v == "REDIS_1_PORT=tcp://172.17.0.120:80" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("REDIS_1_PORT given %d times, want once", n)
	}
}
