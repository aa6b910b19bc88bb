package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// BenchmarkPolicy compares round trips between two containers on a network that
// denies, along a link, with those on an open one, in turns of a second each:
//
//	go test -tags … -run '^$' -bench Policy -benchtime 1x ./bench
func BenchmarkPolicy(b *testing.B) {
	const turns = 30
	h := host.New(b)
	for _, policy := range []string{"open", "deny"} {
		h.J("network", "create", "--policy", policy, policy)
		h.J("run", "-d", "--name", "server-"+policy, "--network", policy, "--expose", "8000/udp", "busybox", "probe", "serve", "server", "udp:8000")
		h.J("run", "-d", "--name", "client-"+policy, "--network", policy, "--link", "server-"+policy+":server", "busybox", "sleep", "100000")
	}
	rate := func(policy string) (perSecond float64) {
		h.Eventually(5*time.Second, func() error {
			r := h.TryJ("exec", "client-"+policy, "probe", "pingpong", "server:8000", "1")
			if _, err := fmt.Sscan(strings.TrimSpace(r.Stdout), &perSecond); err != nil {
				return fmt.Errorf("%s: %+v", policy, r)
			}
			return nil
		})
		return perSecond
	}
	rate("open")
	rate("deny")
	var ratios []float64
	for range turns {
		open := rate("open")
		ratios = append(ratios, rate("deny")/open)
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[turns/2], "deny/open")
	b.Logf("deny over open, %d turns: median %.3f, from %.3f to %.3f", turns, ratios[turns/2], ratios[0], ratios[turns-1])
}
