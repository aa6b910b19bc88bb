//go:build linux

package dhcp

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"github.com/jackstay/jackstay/internal/model"
)

// The ways out that a lease gives (RFC 3442, RFC 2132 section 3.5).
func TestLeaseRoutes(t *testing.T) {
	route := func(dst, via string) *dhcpv4.Route {
		_, n, err := net.ParseCIDR(dst)
		if err != nil {
			t.Fatal(err)
		}
		return &dhcpv4.Route{Dest: n, Router: net.ParseIP(via)}
	}
	leased := func(dst, via string) model.LeasedRoute {
		r := model.LeasedRoute{Dst: netip.MustParsePrefix(dst)}
		if via != "" {
			r.Via = netip.MustParseAddr(via)
		}
		return r
	}
	routers := dhcpv4.WithRouter(net.IPv4(10, 0, 0, 1), net.IPv4(10, 0, 0, 2))
	classless := func(list ...*dhcpv4.Route) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(list...))
	}
	for _, tt := range []struct {
		name    string
		bits    int
		with    []dhcpv4.Modifier
		gateway string
		routes  []model.LeasedRoute
	}{
		{"nothing", 24, nil, "", nil},
		{"routers: the first", 24, []dhcpv4.Modifier{routers}, "10.0.0.1", nil},
		{"a router that is nobody's neighbour", 24, []dhcpv4.Modifier{dhcpv4.WithRouter(net.IPv4(10, 9, 0, 1), net.IPv4(10, 0, 0, 2))}, "10.0.0.2", nil},
		{"itself, the subnet and its broadcast as routers", 24, []dhcpv4.Modifier{dhcpv4.WithRouter(net.IPv4(10, 0, 0, 7), net.IPv4(10, 0, 0, 0), net.IPv4(10, 0, 0, 255))}, "", nil},
		{"classless routes: the router does not count", 24, []dhcpv4.Modifier{routers, classless(route("10.5.0.0/16", "10.0.0.3"))}, "", []model.LeasedRoute{leased("10.5.0.0/16", "10.0.0.3")}},
		{"a default route among them", 24, []dhcpv4.Modifier{routers, classless(route("0.0.0.0/0", "10.0.0.4"), route("10.5.0.0/16", "10.0.0.3"))}, "10.0.0.4", []model.LeasedRoute{leased("10.5.0.0/16", "10.0.0.3")}},
		{"on the link", 24, []dhcpv4.Modifier{classless(route("10.5.0.0/16", "10.8.0.1"), route("10.8.0.0/24", "0.0.0.0"))}, "", []model.LeasedRoute{leased("10.8.0.0/24", ""), leased("10.5.0.0/16", "10.8.0.1")}},
		{"a subnet of one", 32, []dhcpv4.Modifier{classless(route("10.0.0.1/32", "0.0.0.0"), route("0.0.0.0/0", "10.0.0.1"))}, "10.0.0.1", []model.LeasedRoute{leased("10.0.0.1/32", "")}},
		{"through nobody", 24, []dhcpv4.Modifier{routers, classless(route("10.5.0.0/16", "10.9.0.3"))}, "", nil},
		{"bits beyond the mask", 24, []dhcpv4.Modifier{classless(&dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4(10, 5, 1, 0).To4(), Mask: net.CIDRMask(16, 32)}, Router: net.IPv4(10, 0, 0, 3)})}, "", []model.LeasedRoute{leased("10.5.0.0/16", "10.0.0.3")}},
	} {
		ack, err := dhcpv4.New(append(tt.with, dhcpv4.WithYourIP(net.IPv4(10, 0, 0, 7)), dhcpv4.WithNetmask(net.CIDRMask(tt.bits, 32)))...)
		if err != nil {
			t.Fatal(err)
		}
		if ack, err = dhcpv4.FromBytes(ack.ToBytes()); err != nil { // as it comes by the wire
			t.Fatal(err)
		}
		l, err := leaseOf(&nclient4.Lease{ACK: ack, CreationTime: time.Now()})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		gateway := ""
		if l.Gateway.IsValid() {
			gateway = l.Gateway.String()
		}
		if gateway != tt.gateway || !slices.Equal(l.Routes, tt.routes) {
			t.Errorf("%s: gateway %q, want %q; routes %v, want %v", tt.name, gateway, tt.gateway, l.Routes, tt.routes)
		}
	}
	// They are asked for in every message, and before the router.
	for _, list := range []func() (*dhcpv4.DHCPv4, error){
		func() (*dhcpv4.DHCPv4, error) {
			return dhcpv4.NewDiscovery(net.HardwareAddr{2, 0, 0, 0, 0, 1}, asking())
		},
		func() (*dhcpv4.DHCPv4, error) {
			ack, _ := dhcpv4.New(dhcpv4.WithYourIP(net.IPv4(10, 0, 0, 7)))
			return dhcpv4.NewRenewFromAck(ack, asking())
		},
	} {
		m, err := list()
		if err != nil {
			t.Fatal(err)
		}
		p := m.ParameterRequestList()
		at := func(c dhcpv4.OptionCode) int {
			return slices.IndexFunc(p, func(o dhcpv4.OptionCode) bool { return o.Code() == c.Code() })
		}
		if at(dhcpv4.OptionClasslessStaticRoute) < 0 || at(dhcpv4.OptionClasslessStaticRoute) > at(dhcpv4.OptionRouter) {
			t.Errorf("asked for %v", p)
		}
	}
}
