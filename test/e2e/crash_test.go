package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// kills is how often the daemon is killed; CRASH_KILLS=200 for the long run.
func kills() int {
	if n, err := strconv.Atoi(os.Getenv("CRASH_KILLS")); err == nil {
		return n
	}
	return 40
}

// The daemon is killed at random moments while containers are created,
// started, connected, published and removed. Afterwards nothing is leaked, and
// every container the API confirmed is there.
func TestKilledAtAnyMoment(t *testing.T) {
	h := host.New(t)
	h.J("network", "create", "dev")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	var mu sync.Mutex
	confirmed := map[string]bool{} // by name
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for w := range 3 {
		workers.Add(1)
		random := rand.New(rand.NewPCG(seed, uint64(w)+1))
		go func() {
			defer workers.Done()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("w%d-%d", w, n)
				if r := h.TryJ("run", "-d", "--name", name, "-p", fmt.Sprint(10000+1000*w+n%900, ":8000"), "busybox", "sleep", "100000"); r.Code == 0 {
					mu.Lock()
					confirmed[name] = true
					mu.Unlock()
				}
				if random.IntN(2) == 0 {
					h.TryJ("network", "connect", "dev", name)
				}
				if random.IntN(4) > 0 {
					mu.Lock()
					delete(confirmed, name) // from here on either is right
					mu.Unlock()
					h.TryJ("rm", "-f", name)
				}
			}
		}()
	}
	for range kills() {
		time.Sleep(time.Duration(rng.IntN(150)) * time.Millisecond)
		h.KillDaemon()
		h.StartDaemon()
	}
	close(stop)
	workers.Wait()

	var all []struct {
		Name  string
		State struct{ Status string }
	}
	ids := strings.Fields(h.J("ps", "-aq"))
	if len(ids) > 0 {
		if err := json.Unmarshal([]byte(h.J(append([]string{"inspect"}, ids...)...)), &all); err != nil {
			t.Fatal(err)
		}
	}
	there := map[string]string{}
	running := 0
	for _, c := range all {
		there[strings.TrimPrefix(c.Name, "/")] = c.State.Status
		if c.State.Status == "running" {
			running++
		}
	}
	for name := range confirmed {
		if there[name] != "running" {
			t.Errorf("%s was confirmed and is %q", name, there[name])
		}
	}
	t.Logf("%d kills, %d containers, %d running, %d confirmed", kills(), len(all), running, len(confirmed))

	// Everything on the host belongs to a running container.
	count := func(what, line string, want int) {
		t.Helper()
		h.Eventually(5*time.Second, func() error {
			if got := strings.TrimSpace(h.TrySh(line).Stdout); got != fmt.Sprint(want) {
				return errorf("%s: %s, want %d", what, got, want)
			}
			return nil
		})
	}
	endpoints := 0
	for name, status := range there {
		if status == "running" {
			endpoints += len(strings.Fields(h.J("inspect", "-f", "{{range .NetworkSettings.Networks}}x {{end}}", name)))
		}
	}
	count("namespaces", "ls "+h.Run()+"/netns | wc -l", running)
	count("interfaces", "ip -o link | grep -c ' jv' || true", endpoints)
	count("published ports", "nft list table inet jackstay | grep -o 'tcp . 1[0-9]\\{4\\} :' | sort | uniq | wc -l", running)
	count("mounts", "grep -c '"+h.Root()+".*merged' /proc/self/mountinfo || true", running)
	count("processes", fmt.Sprintf("pgrep -fc '^(/usr/bin/)?conmon .*%s' || true", h.Run()), running)

	if len(ids) > 0 {
		h.J(append([]string{"rm", "-f"}, ids...)...)
	}
	h.J("network", "rm", "dev")
	count("namespaces", "ls "+h.Run()+"/netns | wc -l", 0)
	count("interfaces", "ip -o link | grep -c ' j[vk]' || true", 0)
	count("mounts", "grep -c '"+h.Root()+".*merged' /proc/self/mountinfo || true", 0)
	count("layers", "jackstay system df --format '{{if eq .Type \"Containers\"}}{{.TotalCount}}{{end}}' | tr -d '\\n'", 0)
}
