//go:build linux

package link

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/internal/desired"
	"github.com/jackstay/jackstay/internal/errs"
)

// An address comes and goes under our mark; all else on the device stays, and
// what somebody else put there is neither taken over nor taken off.
func TestAddressOnAnothersDevice(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := context.Background()
		for _, dev := range []string{"lan0", "fifteenletters0"} {
			ip(t, "link add "+dev+" type veth peer name p"+dev[:4])
			ip(t, "link set "+dev+" up")
			ip(t, "addr add 192.0.2.1/24 dev "+dev)
			before := ip(t, "-o -4 addr show dev "+dev)
			a := desired.DeviceAddress{Device: dev, Addr: netip.MustParseAddr("192.0.2.17")}
			for range 2 {
				must(t, h.EnsureAddress(ctx, a))
			}
			if _, ok := observe(t, h).Addresses[a]; !ok || len(observe(t, h).Addresses) != 1 {
				t.Errorf("observed %v", observe(t, h).Addresses)
			}
			if got := ip(t, "-o -4 addr show dev "+dev); strings.Count(got, "192.0.2.17/32") != 1 || !strings.HasPrefix(got, before) {
				t.Errorf("with it:\n%s\nwithout:\n%s", got, before)
			}
			for range 2 {
				must(t, h.DeleteAddress(ctx, a))
			}
			if got := ip(t, "-o -4 addr show dev "+dev); got != before {
				t.Errorf("after:\n%s\nbefore:\n%s", got, before)
			}
			theirs := desired.DeviceAddress{Device: dev, Addr: netip.MustParseAddr("192.0.2.1")}
			if err := h.EnsureAddress(ctx, theirs); !errs.Is(err, errs.Conflict) {
				t.Errorf("an address of others: %v", err)
			}
			must(t, h.DeleteAddress(ctx, theirs))
			if got := ip(t, "-o -4 addr show dev "+dev); got != before {
				t.Errorf("what others put there:\n%s\nbefore:\n%s", got, before)
			}
			ip(t, "link del "+dev)
			if err := h.EnsureAddress(ctx, a); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "no device "+dev) {
				t.Errorf("without the device: %v", err)
			}
			must(t, h.DeleteAddress(ctx, a))
		}
	})
}

// The watch tells when somebody else takes an address off, and not when we do.
func TestWatchSeesAddressTakenOff(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := t.Context()
		ip(t, "link add lan0 type veth peer name lan1")
		signal, err := h.Watch(ctx)
		must(t, err)
		a := desired.DeviceAddress{Device: "lan0", Addr: netip.MustParseAddr("192.0.2.17")}
		signalled := func(within time.Duration) bool {
			select {
			case <-signal:
				return true
			case <-time.After(within):
				return false
			}
		}
		must(t, h.EnsureAddress(ctx, a))
		must(t, h.DeleteAddress(ctx, a))
		time.Sleep(100 * time.Millisecond) // put on again at once, it would be looked at, to no harm
		must(t, h.EnsureAddress(ctx, a))
		ip(t, "addr add 192.0.2.99/32 dev lan0")
		ip(t, "addr del 192.0.2.99/32 dev lan0")
		if signalled(200 * time.Millisecond) {
			t.Error("our own change, or one that is not ours to mind, was signalled")
		}
		ip(t, "addr del 192.0.2.17/32 dev lan0")
		if !signalled(2 * time.Second) {
			t.Error("an address of ours was taken off and nobody said so")
		}
	})
}

// The same for IPv6, whose addresses carry another mark.
func TestIPv6AddressOnAnothersDevice(t *testing.T) {
	on(t, func(t *testing.T, h *Host) {
		ctx := t.Context()
		ip(t, "link add lan0 type veth peer name plan0")
		ip(t, "link set lan0 up")
		ip(t, "addr add 2001:db8::1/64 dev lan0 nodad")
		show := func() string { return ip(t, "-o -6 addr show dev lan0 scope global") }
		before := show()
		a := desired.DeviceAddress{Device: "lan0", Addr: netip.MustParseAddr("2001:db8::17")}
		for range 2 {
			must(t, h.EnsureAddress(ctx, a))
		}
		if _, ok := observe(t, h).Addresses[a]; !ok || len(observe(t, h).Addresses) != 1 {
			t.Errorf("observed %v", observe(t, h).Addresses)
		}
		got := show()
		for _, want := range []string{"2001:db8::17/128", "deprecated"} { // deprecated: no program takes it for its own
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
		if strings.Contains(got, "tentative") {
			t.Errorf("it does not answer yet:\n%s", got)
		}
		if marked, err := Floating6(); err != nil || len(marked) != 1 {
			t.Errorf("marked %v, %v", marked, err)
		}
		signal, err := h.Watch(ctx)
		must(t, err)
		ip(t, "addr del 2001:db8::17/128 dev lan0")
		if !signalled(signal, 10*time.Second) {
			t.Error("an address of ours was taken off and nobody said so")
		}
		must(t, h.EnsureAddress(ctx, a))
		for range 2 {
			must(t, h.DeleteAddress(ctx, a))
		}
		if got := show(); got != before {
			t.Errorf("after:\n%s\nbefore:\n%s", got, before)
		}
		theirs := desired.DeviceAddress{Device: "lan0", Addr: netip.MustParseAddr("2001:db8::1")}
		if err := h.EnsureAddress(ctx, theirs); !errs.Is(err, errs.Conflict) {
			t.Errorf("an address of others: %v", err)
		}
		must(t, h.DeleteAddress(ctx, theirs))
		if got := show(); got != before {
			t.Errorf("what others put there:\n%s\nbefore:\n%s", got, before)
		}
		must(t, setSysctl("net/ipv6/conf/lan0/disable_ipv6", "1"))
		if err := h.EnsureAddress(ctx, a); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "IPv6 is off on this device (net.ipv6.conf.lan0.disable_ipv6)") {
			t.Errorf("where IPv6 is off: %v", err)
		}
	})
}
