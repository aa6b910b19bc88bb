package api

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseRoute(t *testing.T) {
	for _, tt := range []struct{ words, want string }{
		{"10.0.0.0/8 via 192.168.4.1", "{Type: Dst:10.0.0.0/8 Via:192.168.4.1 Dev: Src:invalid IP Metric:0 Table:0 MTU:0 OnLink:false V6:false Deleted:false}"},
		{"10.1.2.3 dev eth1 src 10.0.0.7 metric 5 table 7 mtu 1400", "{Type: Dst:10.1.2.3/32 Via:invalid IP Dev:eth1 Src:10.0.0.7 Metric:5 Table:7 MTU:1400 OnLink:false V6:false Deleted:false}"},
		{"default via fd00::1 table main", "{Type: Dst:invalid Prefix Via:fd00::1 Dev: Src:invalid IP Metric:0 Table:0 MTU:0 OnLink:false V6:true Deleted:false}"},
		{"0.0.0.0/0 via 10.0.0.1 dev eth1 onlink", "{Type: Dst:invalid Prefix Via:10.0.0.1 Dev:eth1 Src:invalid IP Metric:0 Table:0 MTU:0 OnLink:true V6:false Deleted:false}"},
		{"blackhole 10.0.0.9/8", "{Type:blackhole Dst:10.0.0.0/8 Via:invalid IP Dev: Src:invalid IP Metric:0 Table:0 MTU:0 OnLink:false V6:false Deleted:false}"},
		{"-6 default dev eth1", "{Type: Dst:invalid Prefix Via:invalid IP Dev:eth1 Src:invalid IP Metric:0 Table:0 MTU:0 OnLink:false V6:true Deleted:false}"},
		{"", "! the destination is missing"},
		{"blackhole", "! the destination is missing"},
		{"10.0.0.0/33 via 10.0.0.1", "! no address or subnet"},
		{"10.0.0.0/8 via", "! a value is missing after \"via\""},
		{"10.0.0.0/8 via nobody", "! no address"},
		{"10.0.0.0/8 via fd00::1", "! another family"},
		{"10.0.0.0/8 dev eth1 metric x", "! no number"},
		{"10.0.0.0/8 over eth1", "! unknown word \"over\""},
		{"10.0.0.0/8 via 10.0.0.1 onlink", "! needs both via and dev"},
		{"blackhole 10.0.0.0/8 dev eth1", "! leads nowhere"},
	} {
		r, err := parseRoute(strings.Fields(tt.words), false)
		checkWords(t, tt.words, fmt.Sprintf("%+v", r), tt.want, err)
	}
}

func TestParseRule(t *testing.T) {
	for _, tt := range []struct{ words, want string }{
		{"from 10.0.0.7 table 7", "{Priority:0 V6:false Not:false From:10.0.0.7/32 To:invalid Prefix IIf: OIf: Mark:0 Mask:0 Table:7 Action:}"},
		{"not from all to fd00::/8 iif eth1 oif lo pref 5 lookup local", "{Priority:5 V6:true Not:true From:invalid Prefix To:fd00::/8 IIf:eth1 OIf:lo Mark:0 Mask:0 Table:255 Action:}"},
		{"fwmark 0x10/0xf0 prohibit", "{Priority:0 V6:false Not:false From:invalid Prefix To:invalid Prefix IIf: OIf: Mark:16 Mask:240 Table:0 Action:prohibit}"},
		{"from 10.0.0.7", "{Priority:0 V6:false Not:false From:10.0.0.7/32 To:invalid Prefix IIf: OIf: Mark:0 Mask:0 Table:254 Action:}"},
		{"from 10.0.0.7 to fd00::1", "! two families"},
		{"from", "! a value is missing"},
		{"fwmark 0", "! no mark"},
		{"form 10.0.0.7", "! unknown word"},
	} {
		r, err := parseRule(strings.Fields(tt.words))
		checkWords(t, tt.words, fmt.Sprintf("%+v", r), tt.want, err)
	}
}

func checkWords(t *testing.T, words, got, want string, err error) {
	t.Helper()
	if fail, ok := strings.CutPrefix(want, "! "); ok {
		if err == nil || !strings.Contains(err.Error(), fail) {
			t.Errorf("%s: %v, want %q", words, err, fail)
		}
	} else if err != nil || got != want {
		t.Errorf("%s: %v\n got %s\nwant %s", words, err, got, want)
	}
}

func TestAddressWithGateway(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"192.168.4.25/20", "192.168.4.25/20 invalid IP"},
		{"192.168.4.25/20,192.168.4.1", "192.168.4.25/20 192.168.4.1"},
		{"192.168.4.25/20@192.168.4.1", "192.168.4.25/20 192.168.4.1"}, // pipework's
		{"fd00::2/64,fd00::1", "fd00::2/64 fd00::1"},
		{"192.168.4.25", "! length of its subnet"},
		{"192.168.4.25/33", "! give it as"},
		{"192.168.4.25/20,", "! give it as"},
		{"192.168.4.25/20,fd00::1", "! another family"},
	} {
		p, gw, err := addressWithGateway(tt.text)
		checkWords(t, tt.text, fmt.Sprint(p, " ", gw), tt.want, err)
	}
}
