package extensions

import (
	"slices"
	"strings"
	"testing"
)

func TestNICCommands(t *testing.T) {
	for _, tt := range []struct{ line, asked, err string }{
		{"nic add web --on br1 --ip 10.0.0.2/8 --ip fd00::2/64 --vlan 5 --dhcp", `POST /containers/web/nics {"On":"br1","Name":"","HostName":"","Addresses":["10.0.0.2/8","fd00::2/64"],` +
			`"MacAddress":"","MacFrom":"","MTU":0,"VLAN":5,"Routes":null,"DHCP":true,"Direct":false,"Wait":false}`, ""},
		{"nic add web --on br1 --net-rate-in 5mbit --net-rate-out none", `POST /containers/web/nics {"On":"br1","Name":"","HostName":"","Addresses":null,"MacAddress":"","MacFrom":"","MTU":0,"VLAN":0,` +
			`"Routes":null,"DHCP":false,"Direct":false,"Wait":false,"NetRateIn":"5mbit","NetRateOut":"none"}`, ""},
		{"nic add web", "", "requires --on: name the network, bridge or device"},
		{"nic add web --on br1 --vlan 0", "", "must be between 1 and 4094"},
		{"nic add web --on br1 --mtu 0", "", "must be between 68"},
		{"nic add nobody --on br1", "", "No such container: nobody"},
		{"nic rm web eth1", "DELETE /containers/web/nics?nic=eth1", ""},
		{"nic rm web", "", "requires at least 2 arguments"},
		{"nic wait nobody", "", "No such container: nobody"},
		{"nic wait web --timeout soon", "", "invalid argument"},
		{"route add web 10.0.0.0/8 via 10.1.0.1", `POST /containers/web/routes {"Words":["add","10.0.0.0/8","via","10.1.0.1"]}`, ""},
		{"route web replace default via 10.1.0.1", `POST /containers/web/routes {"Words":["replace","default","via","10.1.0.1"]}`, ""},
		{"route rm web default", `POST /containers/web/routes {"Words":["del","default"]}`, ""},
		{"route nonsense", "", "unknown command"},
		{"rule web del from 10.0.0.1 table 7", `POST /containers/web/rules {"Words":["del","from","10.0.0.1","table","7"]}`, ""},
		{"rule replace web from 10.0.0.1", "", "unknown command"},
		{"tc web -s qdisc show", `POST /containers/web/tc {"Words":["-s","qdisc","show"]}`, ""},
		{"tc web", "", "requires at least 2 arguments"},
	} {
		asked, _, err := run(t, strings.Fields(tt.line)...)
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %q", tt.line, err, tt.err)
			}
		case err != nil || !slices.Equal(asked, []string{tt.asked}):
			t.Errorf("%s: %v\n asked %q\nwant %q", tt.line, err, asked, tt.asked)
		}
	}
}

func TestNICWait(t *testing.T) {
	for line, want := range map[string]string{
		"nic wait web":             "POST /containers/web/nics/wait",
		"nic wait -t 5 web data0":  "POST /containers/web/nics/wait?nic=data0&timeout=5",
		"nic wait --timeout=0 web": "POST /containers/web/nics/wait?timeout=0",
	} {
		asked, _, err := run(t, strings.Fields(line)...)
		if err != nil || !slices.Equal(asked, []string{"GET /containers/web/nics", want}) {
			t.Errorf("%s: %v, asked %q", line, err, asked)
		}
	}
	asked, out, err := run(t, "nic", "wait", "--timeout", "-1", "web", "eth9")
	if err == nil || !strings.Contains(err.Error(), "invalid timeout -1") || len(asked) > 0 || out != "" {
		t.Errorf("with a timeout of -1: %v, printed %q, asked %q", err, out, asked)
	}
}
