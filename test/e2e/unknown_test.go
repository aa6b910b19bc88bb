package e2e

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackstay/jackstay/test/host"
)

// Every command says of a name that nobody has what is not there, with exit
// code 1.
func TestUnknownNames(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	serve(h, "web")
	h.J("sg", "create", "wall")
	h.J("fip", "pool", "add", "203.0.113.16/29", "--dev", "lo")
	fip := h.J("fip", "allocate", "-y", "1")
	const container, network, noFIP = "No such container: nobody", "network nowhere not found", "no such floating IP: 1.2.3.4"
	for _, c := range []struct{ line, says string }{
		{"swap nobody web", container},
		{"swap web nobody", container},
		{"network leases nowhere", network},
		{"alias ls nowhere", network},
		{"alias rm nowhere web name", network},
		{"alias rm bridge nobody name", container},
		{"link rm nobody web", container},
		{"link add nobody web", container},
		{"link ls nobody", container},
		{"tc nobody qdisc show", container},
		{"rule ls nobody", container},
		{"rule add nobody from 10.0.0.1 table 7", container},
		{"route ls nobody", container},
		{"route add nobody 10.0.0.0/8 via 172.17.0.1", container},
		{"nic rm nobody eth1", container},
		{"nic ls nobody", container},
		{"nic wait nobody", container},
		{"nic add nobody --on br1", container},
		{"port rm nobody 80", container},
		{"port add nobody 80:80", container},
		{"sg attach wall nobody", container},
		{"sg detach wall nobody", container},
		{"sg attach nowhere web", "no such security group: nowhere"},
		{"sg rm nowhere", "no such security group: nowhere"},
		{"fip attach " + fip + " nobody", container},
		{"fip attach 1.2.3.4 web", noFIP},
		{"fip attach 1.2.3.4 nobody", noFIP},
		{"fip detach nobody", container},
		{"fip release 1.2.3.4", noFIP},
		{"fip name nowhere name", "no such floating IP: nowhere"},
		{"fip pool rm 192.0.2.0/24", "192.0.2.0/24"},
		{"tenant rm nowhere", "no such tenant: nowhere"},
	} {
		h.Fails(1, []string{c.says}, strings.Fields(c.line)...)
	}
	if got := h.Sh("jackstay fip ls --format '{{.Container}}'; jackstay sg ls -q | wc -l"); got != "1" {
		t.Errorf("left of refused commands: %q", got)
	}
}

// Two clients want the same at once: one gets it, the other is told, and it
// works for the one that has it.
func TestTwoClientsAtOnce(t *testing.T) {
	t.Parallel()
	h := host.New(t)
	names := [2]string{"blue", "green"}
	for _, name := range names {
		serve(h, name)
	}
	h.J("fip", "pool", "add", "203.0.113.16/29", "--dev", "lo")
	fip := h.J("fip", "allocate", "-y", "1")
	for _, c := range []struct {
		code       int
		told, addr string // the winner answers there
		line       func(name string) string
	}{
		{1, "port is already allocated", "127.0.0.1:8080", func(n string) string { return "port add " + n + " 8080:8000" }},
		{1, "192.168.4.5", "", func(n string) string { return "nic add " + n + " --on br1 --name lan --ip 192.168.4.5/24" }},
		{1, "172.17.0.200", "172.17.0.200:8000", func(n string) string { return "nic add " + n + " --on bridge --name more --ip 172.17.0.200/16" }},
		{125, fip, fip + ":8000", func(n string) string {
			return "run -d --name fip-" + n + " --fip " + fip + " busybox probe serve " + n + " tcp:8000"
		}},
	} {
		var all sync.WaitGroup
		var got [2]host.Result
		for i, name := range names {
			all.Add(1)
			go func() {
				defer all.Done()
				got[i] = h.TryJ(strings.Fields(c.line(name))...)
			}()
		}
		all.Wait()
		won := 0
		if got[0].Code != 0 {
			won = 1
		}
		if got[won].Code != 0 || got[1-won].Code != c.code || !strings.Contains(got[1-won].Stderr, c.told) {
			t.Errorf("%s: %+v", c.line("X"), got)
			continue
		}
		if c.code == 125 { // its program has been started, and does not listen yet
			h.Eventually(5*time.Second, func() error {
				if got := askHost(h, c.addr); !strings.HasPrefix(got, names[won]+" ") {
					return errorf("%s answered %q, want %s", c.addr, got, names[won])
				}
				return nil
			})
		} else if c.addr != "" {
			answers(h, c.addr, names[won])
		}
		if left := h.TryJ("inspect", "fip-"+names[1-won]); c.code == 125 && left.Code == 0 {
			t.Errorf("%s: the loser's container is there", c.line("X"))
		}
	}
	if got := h.Sh("jackstay nic ls -q | sort | uniq -c | awk '{print $2, $1}' | tr '\n' ' '"); got != "eth0 3 lan 1 more 1" {
		t.Errorf("interfaces left: %q", got)
	}
}
