package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// A NIC is there when the call returns: the first packet after it is answered.
// NICS=400 makes as many; the times are only told, but for a lost packet, which
// costs a second. (Two neighbours a NIC: the kernel's table of them is full at
// 1,024, net.ipv4.neigh.default.gc_thresh3, for all namespaces together.)
func TestNICFirstPacket(t *testing.T) {
	n, containers := 40, 4
	if many, err := strconv.Atoi(os.Getenv("NICS")); err == nil {
		n, containers = many, max(4, many/50)
	}
	h := host.New(t)
	for i := range containers {
		h.Sh(fmt.Sprintf("ip link add lanbr%d type bridge && ip link set lanbr%d up && ip addr add 10.8.%d.1/24 dev lanbr%d", i, i, i, i))
		h.J("run", "-d", "--name", fmt.Sprint("speed", i), "--network", "none", "busybox", "probe", "serve", fmt.Sprint("speed", i), "tcp:8000")
	}
	for i := range containers { // started is not yet listening
		h.Eventually(5*time.Second, func() error {
			if get(h, fmt.Sprint("speed", i), "127.0.0.1:8000") == "" {
				return errorf("speed%d does not listen", i)
			}
			return nil
		})
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", h.Socket())
	}}}
	var calls, packets []time.Duration
	sentAgain := 0
	h.Inside(func() error {
		before, err := synRetransmissions()
		if err != nil {
			return err
		}
		defer func() {
			after, _ := synRetransmissions()
			sentAgain = after - before
		}()
		for i := range n {
			bridge := (i + i/containers) % containers
			addr := fmt.Sprintf("10.8.%d.%d", bridge, 2+i/containers)
			body, _ := json.Marshal(map[string]any{"On": fmt.Sprint("lanbr", bridge), "Addresses": []string{addr + "/24"}})
			start := time.Now()
			resp, err := client.Post(fmt.Sprintf("http://j/containers/speed%d/nics", i%containers), "application/json", bytes.NewReader(body))
			if err != nil {
				return err
			}
			calls = append(calls, time.Since(start))
			answer, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusCreated {
				return fmt.Errorf("NIC %d: %s", i, answer)
			}
			start = time.Now()
			c, err := net.DialTimeout("tcp", addr+":8000", 5*time.Second)
			if err != nil {
				return fmt.Errorf("NIC %d: %w", i, err)
			}
			packets = append(packets, time.Since(start))
			c.Close()
		}
		return nil
	})
	if sentAgain != 0 {
		t.Errorf("%d first packets were sent again: lost, or answered after a second; the worst answer took %v", sentAgain, slices.Max(packets))
	}
	tell := func(what string, d []time.Duration) {
		first, last := d[0], d[len(d)-1]
		s := slices.Sorted(slices.Values(d))
		t.Logf("%s: first %v, %dth %v, median %v, 99 %% below %v, worst %v", what, first, n, last, s[len(s)/2], s[len(s)*99/100], s[len(s)-1])
	}
	tell("call", calls)
	tell("first packet after it", packets)
}

// synRetransmissions gives how many openings of connections were sent again from
// this network namespace.
func synRetransmissions() (int, error) {
	data, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		return 0, err
	}
	lines := strings.Split(string(data), "\n")
	names, values := strings.Fields(lines[0]), strings.Fields(lines[1])
	i := slices.Index(names, "TCPSynRetrans")
	if i < 0 || i >= len(values) {
		return 0, fmt.Errorf("the kernel does not count TCPSynRetrans: %s", lines[0])
	}
	return strconv.Atoi(values[i])
}
