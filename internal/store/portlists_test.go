package store

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/jackstay/jackstay/internal/model"
)

// manyPorts is a container with all there can be in a list of ports.
func manyPorts() *model.Container {
	tcp, udp := model.Port{Number: 80, Proto: "tcp"}, model.Port{Number: 53, Proto: "udp"}
	c := &model.Container{ID: "c", Name: "web", Config: model.Config{Hostname: "h", Env: []string{"A=1"}}}
	c.Host.NetworkMode, c.Host.DNSSearch = "bridge", []string{"example.com"}
	c.Host.PortBindings = []model.PortBinding{
		{Port: tcp, HostPort: 8080, HostPortGiven: "8080"},
		{Port: udp, HostIP: netip.MustParseAddr("::1"), HostPort: 9000, HostPortEnd: 9010, HostIPGiven: "[::1]", HostPortGiven: "9000-9010"},
		{},
	}
	c.Ports = []model.PortMapping{
		{HostIP: netip.MustParseAddr("0.0.0.0"), HostPort: 8080, Port: tcp},
		{HostIP: netip.MustParseAddr("fe80::1%eth0"), HostPort: 65535, Port: udp},
	}
	c.Remembered = []model.PortMapping{}
	return c
}

func TestContainerRecord(t *testing.T) {
	odd := manyPorts()
	odd.Host.PortBindings[0].HostPortGiven, odd.Ports[0].Port.Proto = "80,81;[", "a,b"
	bare := &model.Container{ID: "c", Name: "bare"}
	for _, c := range []*model.Container{manyPorts(), odd, bare} {
		for what, encode := range map[string]func(*model.Container) ([]byte, error){
			"this layout": encodeContainer,
			"layout 1":    func(c *model.Container) ([]byte, error) { return json.Marshal(c) },
		} {
			data, err := encode(c)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decodeContainer(data)
			if err != nil || !reflect.DeepEqual(got, c) {
				t.Errorf("%s: %v\n got %+v\nwant %+v\nfrom %s", what, err, got, c, data)
			}
		}
	}
	for _, broken := range []string{`{"Ports":"1.2.3.4,1,2;"}`, `{"Ports":"1.2.3.4,70000,2,tcp;"}`, `{"Ports":"x,1,2,tcp;"}`, `{"Host":{"PortBindings":"1.2.3.4,1,2,tcp,x,,;"}}`} {
		if _, err := decodeContainer([]byte(broken)); err == nil {
			t.Errorf("%s is taken", broken)
		}
	}
}

// A file of the layout before is read, and is of this one from then on.
func TestOpenLayout1(t *testing.T) {
	path := t.TempDir() + "/db"
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	want := manyPorts()
	must(t, s, func(tx *Tx) error { return tx.PutContainer(want) })
	err = s.db.Update(func(tx *bbolt.Tx) error {
		data, err := json.Marshal(want)
		if err != nil {
			return err
		}
		if err := tx.Bucket(metaBucket).Put(layoutKey, []byte(layout1)); err != nil {
			return err
		}
		return tx.Bucket(kindContainer.bucket()).Put([]byte("c"), data)
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(path); err != nil {
			t.Fatal(err)
		}
		if got := s.Snapshot().Containers["c"]; !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		renamed := *want
		renamed.Name += "x"
		want = &renamed
		must(t, s, func(tx *Tx) error { return tx.PutContainer(&renamed) })
	}
	_ = s.Close()
}

// The store refuses a port that is held twice wherever it is in the list.
func TestPortsHeldTwice(t *testing.T) {
	at := func(port uint16) model.PortMapping {
		return model.PortMapping{HostIP: netip.IPv4Unspecified(), HostPort: port, Port: model.Port{Number: 80, Proto: "tcp"}}
	}
	s := fresh(t)
	must(t, s, func(tx *Tx) error {
		if err := tx.PutContainer(&model.Container{ID: "o", Name: "o", Ports: []model.PortMapping{at(9)}}); err != nil {
			return err
		}
		return tx.PutContainer(&model.Container{ID: "c", Name: "c", Ports: []model.PortMapping{at(1), at(2), at(3)}})
	})
	for _, tc := range []struct {
		ports []uint16
		ok    bool
	}{
		{[]uint16{1, 2, 3, 4}, true},
		{[]uint16{1, 2, 3, 4, 1}, false},
		{[]uint16{1, 2, 3, 4, 5, 5}, false},
		{[]uint16{1, 2, 3, 4, 9}, false},
		{[]uint16{2, 1, 3, 4}, true},
		{[]uint16{2, 1, 2}, false},
		{[]uint16{2, 3}, true},
		{[]uint16{2, 1, 9}, false},
		{nil, true},
		{[]uint16{1}, true},
	} {
		c := model.Container{ID: "c", Name: "c"}
		for _, p := range tc.ports {
			c.Ports = append(c.Ports, at(p))
		}
		_, err := s.Update(func(tx *Tx) error { return tx.PutContainer(&c) })
		if (err == nil) != tc.ok {
			t.Errorf("%v: %v", tc.ports, err)
		}
		if err := Check(s.Snapshot()); err != nil {
			t.Errorf("after %v: %v", tc.ports, err)
		}
	}
}

// BenchmarkPorts adds a port to a container that has some.
func BenchmarkPorts(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := fresh(b)
			c := &model.Container{ID: "c", Name: "c"}
			for i := range n {
				m := model.PortMapping{HostIP: netip.IPv4Unspecified(), HostPort: uint16(20000 + i), Port: model.Port{Number: 80, Proto: "tcp"}}
				c.Ports = append(c.Ports, m)
				c.Host.PortBindings = append(c.Host.PortBindings, model.PortBinding{Port: m.Port, HostPort: m.HostPort, HostPortGiven: fmt.Sprint(m.HostPort)})
			}
			c.Remembered = c.Ports
			b.ReportAllocs()
			i := uint16(0)
			for b.Loop() {
				i = (i + 1) % 10000
				next := *c
				next.Ports = append(c.Ports[:n:n], model.PortMapping{HostIP: netip.IPv4Unspecified(), HostPort: 1 + i, Port: model.Port{Number: 80, Proto: "tcp"}})
				next.Remembered = next.Ports
				must(b, s, func(tx *Tx) error { return tx.PutContainer(&next) })
			}
		})
	}
}
