//go:build linux

package nft

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jackstay/jackstay/internal/desired"
)

// flow is a UDP socket that keeps its source port, as a busy client does.
func flow(t *testing.T, p *place, addr string) func() string {
	t.Helper()
	var c net.Conn
	must(t, p.in(func() (err error) { c, err = net.Dial("udp", addr); return err }))
	t.Cleanup(func() { _ = c.Close() })
	return func() string {
		buf := make([]byte, 100)
		_ = c.SetDeadline(time.Now().Add(2 * probeTimeout)) // whether it comes or not
		_, _ = c.Write([]byte("?"))
		n, err := c.Read(buf)
		if err != nil { // a refusal may answer an earlier packet
			_, _ = c.Write([]byte("?"))
			n, _ = c.Read(buf)
		}
		return string(buf[:n])
	}
}

// A client that keeps sending from one port follows each change of the port.
func TestFlowsFollowPort(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := town(t)
	f := newFirewall(t)
	a1 := desired.Firewall{PublishAny: map[desired.PortKey]desired.Target{{Proto: "udp", Port: 5353}: to("172.30.1.2:80")}}
	b1 := desired.Firewall{PublishAny: map[desired.PortKey]desired.Target{{Proto: "udp", Port: 5353}: to("172.30.2.2:80")}}
	must(t, f.Load(t.Context(), fw))
	ask, other := flow(t, l.places["outside"], "192.0.2.1:5353"), flow(t, l.places["outside"], "192.0.2.1:8080")
	for i, step := range []struct {
		add, del desired.Firewall
		want     string
	}{
		{want: ""}, // the flow begins before the port is published
		{add: a1, want: "a1 sees 192.0.2.2"},
		{add: b1, del: a1, want: "b1 sees 192.0.2.2"},
		{del: b1, want: ""},
		{add: a1, want: "a1 sees 192.0.2.2"},
	} {
		must(t, f.Update(t.Context(), step.add, step.del))
		f.flows.wait()
		if got := ask(); got != step.want {
			t.Errorf("step %d: got %q, want %q", i, got, step.want)
		}
	}
	// Load ends them, too, and leaves others' flows alone.
	if got := other(); got != "a1 sees 192.0.2.2" {
		t.Errorf("other port: %q", got)
	}
	must(t, f.Load(t.Context(), fw))
	f.flows.wait()
	if got := ask(); got != "" {
		t.Errorf("after Load without the port: %q", got)
	}
	flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	must(t, err)
	left := 0
	for _, fl := range flows {
		if fl.Forward.DstPort == 8080 && fl.Reverse.SrcPort == 80 {
			left++
		}
	}
	if left != 1 {
		t.Errorf("%d flows to port 8080, want the one that goes on", left)
	}
}

// An established TCP connection through an unpublished port ends; one through
// another port goes on, and so does one through a port that leads elsewhere now.
func TestDeletedPortEndsConnections(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := town(t)
	f := newFirewall(t)
	must(t, f.Load(t.Context(), fw))
	var ln net.Listener
	must(t, l.places["a1"].in(func() (err error) { ln, err = net.Listen("tcp", "172.30.1.2:7"); return err }))
	defer ln.Close()
	go func() { // echo
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				buf := make([]byte, 1)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					_, _ = c.Write(buf)
				}
			}()
		}
	}()
	port := func(p uint16) desired.Firewall {
		return desired.Firewall{PublishAny: map[desired.PortKey]desired.Target{{Proto: "tcp", Port: p}: to("172.30.1.2:7")}}
	}
	must(t, f.Update(t.Context(), port(7001), empty()))
	must(t, f.Update(t.Context(), port(7002), empty()))
	var gone, stays net.Conn
	must(t, l.places["outside"].in(func() (err error) {
		if gone, err = net.Dial("tcp", "192.0.2.1:7001"); err != nil {
			return err
		}
		stays, err = net.Dial("tcp", "192.0.2.1:7002")
		return err
	}))
	echoes := func(c net.Conn, want bool) bool {
		_ = c.SetDeadline(time.Now().Add(waitFor(want)))
		if _, err := c.Write([]byte("x")); err != nil {
			return false
		}
		_, err := c.Read(make([]byte, 1))
		return err == nil
	}
	if !echoes(gone, true) || !echoes(stays, true) {
		t.Fatal("no connection to begin with")
	}
	moved := desired.Firewall{PublishAny: map[desired.PortKey]desired.Target{{Proto: "tcp", Port: 7002}: to("172.30.2.2:80")}}
	must(t, f.Update(t.Context(), moved, port(7002)))
	f.flows.wait()
	if !echoes(stays, true) {
		t.Error("a connection was cut when its port moved")
	}
	var fresh net.Conn
	must(t, l.places["outside"].in(func() (err error) { fresh, err = net.Dial("tcp", "192.0.2.1:7002"); return err }))
	_ = fresh.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, 100)
	if n, _ := fresh.Read(buf); string(buf[:n]) != "b1 sees 192.0.2.2" {
		t.Errorf("a new connection met %q", buf[:n])
	}
	_ = fresh.Close()
	must(t, f.Update(t.Context(), empty(), port(7001)))
	f.flows.wait()
	if echoes(gone, false) || !echoes(stays, true) {
		t.Errorf("after the port is gone: its connection lives on or another one does not")
	}
}

// What one container could open on another ends when it can no more: a server
// that goes on answering is not heard. What is still open goes on.
func TestClosedFlowsEnd(t *testing.T) {
	if !alone(t) {
		return
	}
	l, fw := town(t)
	f := newFirewall(t)
	a1, b1 := netip.MustParseAddr("172.30.1.2"), netip.MustParseAddr("172.30.2.2")
	flows := func(first, last uint16) desired.Firewall {
		return desired.Firewall{Flows: map[desired.Flow]struct{}{{From: a1, To: b1, Proto: "udp", First: first, Last: last}: {}}}
	}
	pair := desired.Firewall{Pairs: map[desired.Pair]struct{}{{From: a1, To: b1}: {}}}
	must(t, f.Load(t.Context(), fw))
	dial := func(port int) (client net.Conn, server net.PacketConn, peer net.Addr) {
		must(t, l.places["b1"].in(func() (err error) {
			server, err = net.ListenPacket("udp4", fmt.Sprint("172.30.2.2:", port))
			return err
		}))
		t.Cleanup(func() { _ = server.Close() })
		must(t, l.places["a1"].in(func() (err error) { client, err = net.Dial("udp", fmt.Sprint("172.30.2.2:", port)); return err }))
		t.Cleanup(func() { _ = client.Close() })
		_, _ = client.Write([]byte("?"))
		_ = server.SetReadDeadline(time.Now().Add(patience))
		_, peer, err := server.ReadFrom(make([]byte, 1))
		if err != nil {
			t.Fatalf("port %d: the question does not arrive: %v", port, err)
		}
		return client, server, peer
	}
	heard := func(client net.Conn, server net.PacketConn, peer net.Addr, want bool) bool {
		_, _ = server.WriteTo([]byte("!"), peer)
		_ = client.SetReadDeadline(time.Now().Add(waitFor(want)))
		_, err := client.Read(make([]byte, 1))
		return err == nil
	}
	for i, step := range []struct {
		before, add, del desired.Firewall
		ends             bool
	}{
		{before: pair, del: pair, ends: true},
		{before: flows(7100, 7200), del: flows(7100, 7200), ends: true},
		{before: flows(7100, 7200), del: flows(7100, 7200), add: flows(7000, 7100), ends: true},
		{before: flows(7100, 7200), del: flows(7100, 7200), add: flows(7102, 7110)},
		{before: flows(7100, 7200), del: flows(7100, 7200), add: pair},
		{before: pair, del: pair, add: flows(7106, 7106)},
		{before: flows(7100, 7200), del: flows(7000, 7005)},
	} {
		must(t, f.Update(t.Context(), step.before, empty()))
		client, server, peer := dial(7101 + i)
		if !heard(client, server, peer, true) {
			t.Errorf("step %d: no answer to begin with", i)
		}
		must(t, f.Update(t.Context(), step.add, step.del))
		f.flows.wait()
		if heard(client, server, peer, !step.ends) == step.ends {
			t.Errorf("step %d: answers are heard %t", i, step.ends)
		}
		must(t, f.Load(t.Context(), fw))
		f.flows.wait()
		if heard(client, server, peer, false) {
			t.Errorf("step %d: answers are heard after Load without them", i)
		}
	}
}
