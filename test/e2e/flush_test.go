package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// flushes is how often the ruleset is flushed under running downloads.
const flushes = 25

// What somebody else's `nft flush ruleset` takes away is translation, for the
// milliseconds until the rules are back; what is open goes on nevertheless. The
// other machine has a route to the containers' own addresses, so that it would
// answer packets that are not translated with a reset.
func TestFlushResetsNothing(t *testing.T) {
	t.Parallel()
	h, outside, _ := fipTown(t)
	outside.Sh("ip route add 172.16.0.0/12 via 10.98.0.1")
	background(outside, "probe source 9091")
	h.J("run", "-d", "--name", "source", "-p", "9090:9090", "busybox", "probe", "source", "9090")
	h.J("run", "-d", "--name", "floating", "busybox", "probe", "source", "9092")
	fip := h.J("fip", "allocate", "1")
	h.J("fip", "attach", fip, "floating")
	inside := func(name string) string {
		return "nsenter --net=" + h.Run() + "/netns/" + h.J("inspect", "-f", "{{.Id}}", name) + " -- "
	}
	h.J("run", "-d", "--name", "client", "busybox", "sleep", "1000")
	downloads := []struct {
		what, line string
		on         *host.Host
	}{
		{"through a published port", "probe drain 10.98.0.1:9090", outside},
		{"through a published port, from the host itself", "probe drain 127.0.0.1:9090", h},
		{"through a published port, from a container", inside("client") + "probe drain 10.98.0.1:9090", h},
		{"through a floating IP", "probe drain " + fip + ":9092", outside},
		{"from outside, with the host's address", inside("client") + "probe drain 10.98.0.2:9091", h},
		{"from outside, with a floating IP", inside("floating") + "probe drain 10.98.0.2:9091", h},
	}
	running := make([]*process, len(downloads))
	for i, d := range downloads {
		d.on.Eventually(5*time.Second, func() error { // started is not yet listening
			if r := d.on.TrySh("timeout -s INT 0.3 " + d.line); !strings.Contains(r.Stdout, "MB") {
				return errorf("%s: no download: %s", d.what, r.Stderr)
			}
			return nil
		})
		running[i] = start(d.on, d.line)
	}
	time.Sleep(200 * time.Millisecond)
	// A daemon that does not get to run leaves the host without rules for longer.
	h.Sh("kill -STOP $(cat " + h.Run() + "/jackstayd.pid); nft flush ruleset; sleep 1; kill -CONT $(cat " + h.Run() + "/jackstayd.pid)")
	for range flushes {
		h.Sh("nft flush ruleset")
		h.Eventually(5*time.Second, func() error {
			if r := h.TrySh("nft list table inet jackstay"); !strings.Contains(r.Stdout, "9090 : 172.17.") {
				return errorf("the rules are not back: %s", r.Stderr)
			}
			return nil
		})
	}
	for i, d := range downloads {
		out := running[i].stop()
		var mb int
		line := out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]
		if _, err := fmt.Sscanf(line, "%d MB", &mb); err != nil || mb == 0 {
			t.Errorf("the download %s broke: %q", d.what, out)
			continue
		}
		t.Logf("%s: %s", d.what, strings.TrimSpace(line))
	}
}
