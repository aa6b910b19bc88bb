package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// NICs on the host's devices, shared and whole, are limited: from the start,
// changed live, healed, there again after a restart; and the host has its device
// back without a trace of it.
func TestRatesOfDevices(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Import("iperf", host.DebianTar(t, "iperf3", "iperf3"))
	wire(h, "wan3", "10.7.0.1/24", "10.7.0.2/24")
	wire(h, "wan4", "10.8.0.1/24", "10.8.0.2/24")
	iperfServer(h, "box", "--network", "none")
	h.J("nic", "add", "box", "--on", "wan3", "--ip", "10.7.0.11/24", "--name", "shared")
	h.J("nic", "add", "box", "--on", "wan4", "--direct", "--ip", "10.8.0.11/24", "--name", "whole", "--net-rate-out", "40mbit")
	shared := func(options ...string) float64 {
		return megabits(h, "ip netns exec at-wan3", "10.7.0.11", options...)
	}
	whole := func(options ...string) float64 {
		return megabits(h, "ip netns exec at-wan4", "10.8.0.11", options...)
	}
	if got := shared(); got < 400 {
		t.Skipf("%.0f Mbit/s without a limit: this machine can't show one of 40", got)
	}
	near(t, "out, a whole device's from the start", func() float64 { return whole("-R") }, 40)
	h.J("update", "--net-rate-in", "30mbit,whole=15mbit", "--net-rate-out", "shared=20mbit,whole=none", "box")
	near(t, "in, the container's, on a macvlan", func() float64 { return shared() }, 30)
	near(t, "out, a macvlan's", func() float64 { return shared("-R") }, 20)
	near(t, "in, a whole device's", func() float64 { return whole() }, 15)
	if got := whole("-R"); got < 100 {
		t.Errorf("out, a whole device's, lifted: %.1f Mbit/s", got)
	}

	ns := h.Run() + "/netns/" + h.J("inspect", "-f", "{{.Id}}", "box")
	in := func(line string) string { return h.TrySh("nsenter --net=" + ns + " " + line).Stdout }
	limited := func() error {
		got := in("tc qdisc show")
		if strings.Count(got, "tbf") != 3 || strings.Count(got, "ingress") != 2 {
			return errorf("three limits, of them two of what comes in: %s", got)
		}
		return nil
	}
	if err := limited(); err != nil {
		t.Error(err)
	}
	h.J("restart", "-t", "0", "box")
	h.Eventually(5*time.Second, limited)
	near(t, "in, a whole device's, restarted", func() float64 { return whole() }, 15)
	h.KillDaemon()
	in("tc qdisc del dev shared root")
	in("tc qdisc del dev whole ingress")
	h.StartDaemon()
	h.Eventually(10*time.Second, limited)

	trace := func() error {
		if got := h.Sh("ip link show wan4 && tc qdisc show dev wan4; ip -o link show type ifb"); strings.Contains(got, "tbf") || strings.Contains(got, "ingress") || strings.Contains(got, "ifb") {
			return errorf("the host's device has %s", got)
		}
		return nil
	}
	h.J("nic", "rm", "box", "whole")
	if err := trace(); err != nil {
		t.Error(err)
	}
	h.J("nic", "add", "box", "--on", "wan4", "--direct", "--ip", "10.8.0.11/24", "--name", "whole", "--net-rate-out", "40mbit")
	h.J("rm", "-f", "box")
	if err := trace(); err != nil {
		t.Error(err)
	}
}
