package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// Two dozen NICs of one container on one bridge: each answers, behind its own
// MAC and no other, with limits and without. Another machine asks, which the
// host's own MAC on the bridge means something to.
func TestNICsOnOneSegment(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	h.Sh("ip link add segbr0 type bridge && ip link set segbr0 up && ip addr add 10.8.0.1/24 dev segbr0")
	lan(h, "segbr0", "10.8.0.2/24")
	h.J("run", "-d", "--name", "many", "--network", "none", "busybox", "probe", "serve", "many", "tcp:8000")
	h.J("run", "-d", "--name", "other", "--network", "none", "busybox", "probe", "serve", "other", "tcp:8000")
	h.J("nic", "add", "other", "--on", "segbr0", "--ip", "10.8.0.3/24")
	bridgeMAC := func() string { return h.Sh("ip -o link show segbr0 | grep -o 'link/ether [0-9a-f:]*'") }
	mac := bridgeMAC()
	const first, n = 10, 24
	// The host knows each neighbour's MAC, and each the host's, while more come.
	h.Sh(fmt.Sprintf("for i in $(seq %d %d); do jackstay nic add many --on segbr0 --ip 10.8.0.$i/24 >/dev/null || exit 1; done", first, first+n-1))
	if got := bridgeMAC(); got != mac {
		t.Errorf("the bridge has the MAC %s, and had %s", got, mac)
	}
	heard := h.Dir + "/arp"
	check := func(when string) {
		t.Helper()
		stop := background(h, "exec ip netns exec far-segbr0 tcpdump -lnei lan0 arp >"+heard+" 2>&1")
		h.Eventually(5*time.Second, func() error {
			if !strings.Contains(h.TrySh("cat "+heard).Stdout, "listening on") {
				return errorf("it does not listen yet")
			}
			return nil
		})
		asked := fmt.Sprintf("for i in $(seq %d %d); do probe get tcp:10.8.0.$i:8000; done", first, first+n-1)
		for _, from := range []string{"ip neigh flush dev segbr0; ", "ip netns exec far-segbr0 ip neigh flush dev lan0; ip netns exec far-segbr0 "} {
			h.Eventually(20*time.Second, func() error {
				got := h.TrySh(from + "sh -c '" + asked + "'").Stdout
				if strings.Count(got, "many ") != n {
					return errorf("%s: of %d NICs answered\n%s", when, n, got)
				}
				return nil
			})
		}
		if got := h.TrySh("jackstay exec other sh -c '" + asked + "'").Stdout; strings.Count(got, "many ") != n {
			t.Errorf("%s: another container got\n%s", when, got)
		}
		want := map[string]string{}
		for i := range n {
			want[fmt.Sprintf("10.8.0.%d", first+i)] = fmt.Sprintf("02:42:0a:08:00:%02x", first+i)
		}
		h.Eventually(5*time.Second, func() error { // the capture is a moment behind
			macs := map[string][]string{}
			for line := range strings.Lines(h.Sh("cat " + heard)) {
				_, reply, ok := strings.Cut(line, "Reply ")
				if f := strings.Fields(strings.ReplaceAll(reply, ",", "")); ok && len(f) > 2 && want[f[0]] != "" && !slices.Contains(macs[f[0]], f[2]) {
					macs[f[0]] = append(macs[f[0]], f[2])
				}
			}
			for addr, own := range want {
				if got := macs[addr]; !slices.Equal(got, []string{own}) {
					return errorf("%s: %s is behind %v, want %s alone", when, addr, got, own)
				}
			}
			return nil
		})
		stop()
	}
	check("without limits")
	h.J("update", "--net-rate-in", "50mbit", "--net-rate-out", "50mbit", "many")
	check("with limits")
	// One goes, and the others stay as they are.
	h.J("nic", "rm", "many", "eth1")
	h.J("nic", "add", "many", "--on", "segbr0", "--ip", fmt.Sprintf("10.8.0.%d/24", first))
	h.J("restart", "-t", "0", "many")
	check("the first made anew, and restarted")
}
