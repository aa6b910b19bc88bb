package alloc

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

var (
	any4     = netip.IPv4Unspecified()
	any6     = netip.IPv6Unspecified()
	loopback = netip.MustParseAddr("127.0.0.1")
	lan      = netip.MustParseAddr("192.0.2.1")
)

func held(ip netip.Addr, port uint16, proto string) model.PortKey {
	return model.PortKey{HostIP: ip, Port: port, Proto: proto}
}

// holding is a snapshot where container other, called db, has these ports.
func holding(keys ...model.PortKey) *model.Snapshot {
	s := &model.Snapshot{
		Ports:      map[model.PortKey]string{},
		Containers: map[string]*model.Container{"other": {ID: "other", Name: "db"}},
	}
	for _, k := range keys {
		s.Ports[k] = "other"
	}
	return s
}

// pickOne picks a port on one address: the binding's, hostIP, or every one.
func pickOne(p *Ports, b model.PortBinding, hostIP netip.Addr, remembered []model.PortMapping) (model.PortMapping, error) {
	ip := any4
	for _, a := range []netip.Addr{hostIP, b.HostIP} {
		if a.IsValid() {
			ip = a
		}
	}
	ms, err := p.Pick(b, []netip.Addr{ip}, remembered)
	if err != nil {
		return model.PortMapping{}, err
	}
	return ms[0], nil
}

// A port of both families is the same on both, or none.
func TestPickBothFamilies(t *testing.T) {
	tcp80 := model.Port{Number: 80, Proto: "tcp"}
	remembered := []model.PortMapping{{HostIP: any4, HostPort: 45000, Port: tcp80}, {HostIP: any6, HostPort: 45000, Port: tcp80}}
	for _, tt := range []struct {
		name       string
		held       []model.PortKey
		from, to   uint16
		remembered []model.PortMapping
		want       uint16
		fails      string
	}{
		{name: "fixed", from: 8080, want: 8080},
		{name: "fixed, IPv6 taken", held: []model.PortKey{held(any6, 8080, "tcp")}, from: 8080, fails: "Bind for [::]:8080 failed: port is already allocated to container db"},
		{name: "fixed, IPv4 taken", held: []model.PortKey{held(loopback, 8080, "tcp")}, from: 8080, fails: "Bind for 0.0.0.0:8080 failed"},
		{name: "range", held: []model.PortKey{held(any4, 8000, "tcp"), held(any6, 8001, "tcp")}, from: 8000, to: 8002, want: 8002},
		{name: "range, none free on both", held: []model.PortKey{held(any4, 8000, "tcp"), held(any6, 8001, "tcp")}, from: 8000, to: 8001, fails: "all ports are allocated"},
		{name: "random", held: []model.PortKey{held(any4, 40000, "tcp"), held(any6, 41000, "tcp")}, want: 41001},
		{name: "remembered", remembered: remembered, want: 45000},
		{name: "remembered, IPv6 taken since", remembered: remembered, held: []model.PortKey{held(any6, 45000, "tcp")}, want: 45001},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := NewPorts(holding(tt.held...), "self")
			ms, err := p.Pick(model.PortBinding{Port: tcp80, HostPort: tt.from, HostPortEnd: tt.to}, []netip.Addr{any4, any6}, tt.remembered)
			if tt.fails != "" {
				if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("got %v, %v, want a conflict with %q", ms, err, tt.fails)
				}
				return
			}
			want := []model.PortMapping{{HostIP: any4, HostPort: tt.want, Port: tcp80}, {HostIP: any6, HostPort: tt.want, Port: tcp80}}
			if err != nil || !slices.Equal(ms, want) {
				t.Fatalf("got %v, %v, want %v", ms, err, want)
			}
			for _, ip := range []netip.Addr{any4, any6} {
				if _, err := pickOne(p, model.PortBinding{Port: tcp80, HostPort: tt.want}, ip, nil); !errs.Is(err, errs.Conflict) {
					t.Errorf("given twice on %s: %v", ip, err)
				}
			}
		})
	}
}

func TestPick(t *testing.T) {
	tcp80 := model.Port{Number: 80, Proto: "tcp"}
	all := func(ip netip.Addr, from, to int) (out []model.PortKey) {
		for p := from; p <= to; p++ {
			out = append(out, held(ip, uint16(p), "tcp"))
		}
		return out
	}
	tests := []struct {
		name       string
		held       []model.PortKey
		b          model.PortBinding
		hostIP     netip.Addr
		remembered []model.PortMapping
		want       model.PortMapping
		fails      string
	}{
		{name: "fixed", b: model.PortBinding{HostPort: 8080}, want: model.PortMapping{HostIP: any4, HostPort: 8080}},
		{name: "the network's address", b: model.PortBinding{HostPort: 8080}, hostIP: lan, want: model.PortMapping{HostIP: lan, HostPort: 8080}},
		{name: "its own address", b: model.PortBinding{HostIP: loopback, HostPort: 8080}, hostIP: lan, want: model.PortMapping{HostIP: loopback, HostPort: 8080}},
		{
			name: "taken", held: []model.PortKey{held(any4, 8080, "tcp")}, b: model.PortBinding{HostPort: 8080},
			fails: "Bind for 0.0.0.0:8080 failed: port is already allocated to container db",
		},
		{name: "every address against one", held: []model.PortKey{held(loopback, 80, "tcp")}, b: model.PortBinding{HostPort: 80}, fails: "to container db"},
		{name: "one against every address", held: []model.PortKey{held(any4, 80, "tcp")}, b: model.PortBinding{HostIP: loopback, HostPort: 80}, fails: "to container db"},
		{name: "one beside another", held: []model.PortKey{held(lan, 80, "tcp")}, b: model.PortBinding{HostIP: loopback, HostPort: 80}, want: model.PortMapping{HostIP: loopback, HostPort: 80}},
		{name: "udp beside tcp", held: []model.PortKey{held(any4, 80, "udp")}, b: model.PortBinding{HostPort: 80}, want: model.PortMapping{HostIP: any4, HostPort: 80}},
		{name: "IPv6 beside IPv4", held: []model.PortKey{held(any4, 80, "tcp")}, b: model.PortBinding{HostIP: any6, HostPort: 80}, want: model.PortMapping{HostIP: any6, HostPort: 80}},
		{name: "IPv6 every against one", held: []model.PortKey{held(any6, 80, "tcp")}, b: model.PortBinding{HostIP: netip.IPv6Loopback(), HostPort: 80}, fails: "Bind for [::1]:80 failed"},
		{name: "range, first", b: model.PortBinding{HostPort: 8000, HostPortEnd: 8002}, want: model.PortMapping{HostIP: any4, HostPort: 8000}},
		{name: "range, next", held: all(any4, 8000, 8001), b: model.PortBinding{HostPort: 8000, HostPortEnd: 8002}, want: model.PortMapping{HostIP: any4, HostPort: 8002}},
		{name: "range, around", held: all(any4, 8001, 8002), b: model.PortBinding{HostPort: 8000, HostPortEnd: 8002}, want: model.PortMapping{HostIP: any4, HostPort: 8000}},
		{name: "range, full", held: all(any4, 8000, 8002), b: model.PortBinding{HostPort: 8000, HostPortEnd: 8002}, fails: "Bind for 0.0.0.0:8000-8002 failed: all ports are allocated"},
		{name: "range of one address, taken on every", held: all(any4, 8000, 8000), b: model.PortBinding{HostIP: lan, HostPort: 8000, HostPortEnd: 8002}, want: model.PortMapping{HostIP: lan, HostPort: 8001}},
		{name: "random, first", want: model.PortMapping{HostIP: any4, HostPort: 32768}},
		{name: "random, behind the highest", held: []model.PortKey{held(any4, 32768, "tcp"), held(loopback, 40000, "tcp")}, want: model.PortMapping{HostIP: any4, HostPort: 40001}},
		{name: "random, around", held: []model.PortKey{held(any4, 60999, "tcp"), held(any4, 32768, "tcp")}, want: model.PortMapping{HostIP: any4, HostPort: 32769}},
		{name: "random, ports outside do not count", held: []model.PortKey{held(any4, 61000, "tcp"), held(any4, 32767, "tcp")}, want: model.PortMapping{HostIP: any4, HostPort: 32768}},
		{name: "random, full", held: all(any4, FirstEphemeral, LastEphemeral), fails: "all ports are allocated"},
		{name: "random, one left", held: append(all(any4, FirstEphemeral, 50000), all(any4, 50002, LastEphemeral)...), want: model.PortMapping{HostIP: any4, HostPort: 50001}},
		{name: "remembered", remembered: []model.PortMapping{{HostIP: any4, HostPort: 45000, Port: tcp80}}, want: model.PortMapping{HostIP: any4, HostPort: 45000}},
		{
			name: "remembered and taken since", held: []model.PortKey{held(any4, 45000, "tcp")},
			remembered: []model.PortMapping{{HostIP: any4, HostPort: 45000, Port: tcp80}}, want: model.PortMapping{HostIP: any4, HostPort: 45001},
		},
		{
			name:       "remembered for another port, address or range",
			remembered: []model.PortMapping{{HostIP: any4, HostPort: 45000, Port: model.Port{Number: 80, Proto: "udp"}}, {HostIP: lan, HostPort: 45001, Port: tcp80}, {HostIP: any4, HostPort: 80, Port: tcp80}},
			want:       model.PortMapping{HostIP: any4, HostPort: 32768},
		},
		{name: "a fixed port is not remembered", b: model.PortBinding{HostPort: 81}, remembered: []model.PortMapping{{HostIP: any4, HostPort: 45000, Port: tcp80}}, want: model.PortMapping{HostIP: any4, HostPort: 81}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.b.Port, tt.want.Port = tcp80, tcp80
			got, err := pickOne(NewPorts(holding(tt.held...), "self"), tt.b, tt.hostIP, tt.remembered)
			if tt.fails != "" {
				if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("got %v, %v, want a conflict with %q", got, err, tt.fails)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestPicksDoNotMeet(t *testing.T) {
	s := holding()
	s.Ports[held(any4, 32770, "tcp")] = "self" // held by this very container: free to it
	p := NewPorts(s, "self")
	p.Avoid(held(any4, 32769, "tcp"))
	remembered := []model.PortMapping{{HostIP: any4, HostPort: 40000, Port: model.Port{Number: 80, Proto: "tcp"}}}
	var got []uint16
	for range 3 {
		m, err := pickOne(p, model.PortBinding{Port: model.Port{Number: 80, Proto: "tcp"}}, netip.Addr{}, remembered)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m.HostPort)
	}
	if got[0] != 40000 || got[1] != 40001 || got[2] != 40002 {
		t.Errorf("three picks with one port remembered: %v", got)
	}
	if _, err := pickOne(p, model.PortBinding{HostPort: 40001, Port: model.Port{Number: 1, Proto: "tcp"}}, loopback, nil); !errs.Is(err, errs.Conflict) {
		t.Errorf("picked twice for one container: %v", err)
	}
	if m, err := pickOne(p, model.PortBinding{HostPort: 32770, Port: model.Port{Number: 1, Proto: "tcp"}}, netip.Addr{}, nil); err != nil {
		t.Errorf("its own port: %v, %v", m, err)
	}
}

// BenchmarkPickRandom picks one port beside ten thousand held ones.
func BenchmarkPickRandom(b *testing.B) {
	s := holding()
	for p := range 10000 {
		s.Ports[held(any4, uint16(FirstEphemeral+p), "tcp")] = "other"
	}
	for b.Loop() {
		if _, err := pickOne(NewPorts(s, "self"), model.PortBinding{Port: model.Port{Number: 80, Proto: "tcp"}}, netip.Addr{}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
