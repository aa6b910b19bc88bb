package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// Whatever somebody does to the firewall and the bridges, it is as it was
// within a second: what was reached is, and what was not is not.
func TestHealsByItself(t *testing.T) {
	t.Parallel()
	h, outside := host.New(t), host.Bare(t)
	host.Join(h, outside, "10.98.0.1/24", "10.98.0.2/24")
	outside.Sh("ip route add 172.16.0.0/12 via 10.98.0.1")
	h.J("network", "create", "other")
	serve(h, "web", "-p", "8080:8000")
	h.J("run", "-d", "--name", "beside", "busybox", "sleep", "1000")
	serve(h, "apart", "--network", "other")
	web, apart := h.IP("web", "bridge"), h.IP("apart", "other")
	veth := func() string {
		return h.Sh(`ip -o link | grep -o 'jv[0-9a-f]*' | head -1`)
	}
	whole := func() error {
		for _, c := range []struct {
			what string
			got  string
			want string
		}{
			{"published, from outside", askHost(outside, "10.98.0.1:8080"), "web 10.98.0.2"},
			{"published, from the host", askHost(h, "127.0.0.1:8080"), "web 172.17.0.1"},
			{"a neighbour on the network", get(h, "beside", "web:8000"), "web"},
			{"another network's container", get(h, "beside", apart+":8000"), ""},
			{"a container directly from outside", askHost(outside, web+":8000"), ""},
		} {
			if c.got != c.want {
				return errorf("%s: %q, want %q", c.what, c.got, c.want)
			}
		}
		return nil
	}
	if err := whole(); err != nil {
		t.Fatal(err)
	}
	for _, harm := range []string{
		"nft flush ruleset",
		"nft delete table inet jackstay",
		"nft flush chain inet jackstay $(nft list table inet jackstay | awk '/chain/{c=$2}/hook forward/{print c}')",
		"ip link del jackstay0",
		"ip link set jackstay0 down",
		"ip addr flush dev jackstay0",
		"ip link del " + veth(),
	} {
		h.Sh(harm)
		start := time.Now()
		h.Eventually(time.Second, func() error {
			if got := askHost(outside, "10.98.0.1:8080"); got != "web 10.98.0.2" {
				return errorf("after %q: %q", harm, got)
			}
			return nil
		})
		t.Logf("%s: reached again after %v", harm, time.Since(start).Round(time.Millisecond))
		if err := whole(); err != nil {
			t.Errorf("after %q: %v", harm, err)
		}
	}
	if log := h.Log(); strings.Contains(log, "panic") {
		t.Errorf("the daemon panicked:\n%s", log)
	}
}
