//go:build linux

package link

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
)

// Interfaces without a host end are limited inside: changed, healed, lifted, and
// a device that is given back has nothing of it.
func TestRatesInside(t *testing.T) {
	for _, kind := range []desired.DeviceKind{desired.Macvlan, desired.Direct} {
		t.Run(string(kind), func(t *testing.T) {
			on(t, func(t *testing.T, h *Host) { ratesInside(t, h, kind) })
		})
	}
}

func ratesInside(t *testing.T, h *Host, kind desired.DeviceKind) {
	ctx := context.Background()
	ip(t, "link add wan0 type veth peer name far0")
	ip(t, "link set wan0 up")
	ip(t, "link set far0 up")
	ip(t, "addr add 10.7.0.1/24 dev far0")
	const addr = "10.7.0.7"
	limited := func(in, out uint64) *desired.Sandbox {
		return &desired.Sandbox{Container: id("c0de", 1), Devices: []desired.Device{{
			NIC: nicID(1), Kind: kind, Name: "eth1", Parent: "wan0", Addrs: []netip.Prefix{netip.MustParsePrefix(addr + "/24")},
			RateIn: in, RateOut: out,
		}}}
	}
	free := limited(0, 0)
	must(t, h.EnsureSandbox(ctx, free))
	intact(t, h, free, true)
	sinkAndSource(t, h, free)
	bare := func(when string) {
		t.Helper()
		if got := inside(t, h, free, "tc qdisc show") + inside(t, h, free, "ip -o link show type ifb"); strings.Contains(got, "tbf") || strings.Contains(got, "ingress") || strings.Contains(got, "ifb") {
			t.Errorf("%s: inside there is %s", when, got)
		}
	}
	bare("without limits")
	if got := speedAt(t, addr, "81", 300*time.Millisecond); got < 400e6 {
		t.Skipf("%.0f bit/s without a limit: this machine can't show one of 20 Mbit/s", got)
	}
	near := func(what, port string, limit float64) {
		t.Helper()
		var got float64
		for range 5 { // less may be a busy machine's
			if got = speedAt(t, addr, port, 500*time.Millisecond); got > limit/2 && got < limit*2 {
				return
			}
		}
		t.Errorf("%s: %.3g bit/s, the limit is %.3g", what, got, limit)
	}
	for _, r := range [][2]uint64{{20e6, 40e6}, {30e6, 10e6}} { // higher, and lower
		s := limited(r[0], r[1])
		intact(t, h, s, false)
		for range 2 { // the second time nothing is to be done
			must(t, h.EnsureSandbox(ctx, s))
			intact(t, h, s, true)
		}
		near("in", "81", float64(r[0]))
		near("out", "82", float64(r[1]))
	}
	s := limited(30e6, 10e6)
	for _, harm := range []string{"tc qdisc del dev eth1 root", "tc qdisc del dev eth1 ingress", "ip link del " + rateDevice(nicID(1)), "ip link set " + rateDevice(nicID(1)) + " down"} {
		inside(t, h, s, harm)
		intact(t, h, s, false)
		must(t, h.EnsureSandbox(ctx, s))
		intact(t, h, s, true)
	}
	near("in, healed", "81", 30e6)
	near("out, healed", "82", 10e6)
	must(t, h.EnsureSandbox(ctx, free))
	intact(t, h, free, true)
	bare("lifted")
	if got := speedAt(t, addr, "82", 300*time.Millisecond); got < 60e6 {
		t.Errorf("out, lifted: %.3g bit/s", got)
	}

	// It goes with its limits.
	must(t, h.EnsureSandbox(ctx, s))
	must(t, h.EnsureSandbox(ctx, &desired.Sandbox{Container: s.Container}))
	bare("the NIC is gone")
	given := func(when string) {
		t.Helper()
		if got := tc(t, "qdisc show dev wan0"); strings.Contains(got, "tbf") || strings.Contains(got, "ingress") {
			t.Errorf("%s: the host's device has %s", when, got)
		}
		if got := ip(t, "-o link show type ifb"); got != "" {
			t.Errorf("%s: the host has %s", when, got)
		}
	}
	given("the NIC is gone")
	must(t, h.EnsureSandbox(ctx, s))
	intact(t, h, s, true)
	must(t, h.DeleteNamespace(ctx, s.Container))
	given("the container is gone")
}
