package api

import (
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
)

func TestNICRoutes(t *testing.T) {
	f := newFixture(t)
	f.engine.addContainer("web", true)
	f.want("POST", "/containers/web/nics", `{"On":"br1","Addresses":["192.168.4.25/24,192.168.4.1"],"Name":"lan","MacFrom":"x","NetRateIn":"5mbit","Routes":["10.0.0.0/8,192.168.4.1"]}`, 201, `"On":"br1"`)
	f.engine.called(t, "nicadd web {On:br1 Name:lan HostName: Addrs:[192.168.4.25/24] Gateways:[192.168.4.1] MAC: MACFrom:x MTU:0 VLAN:0 "+
		"Routes:[{Type: Dst:10.0.0.0/8 Via:192.168.4.1 Dev: Src:invalid IP Metric:0 Table:0 MTU:0 OnLink:false V6:false Deleted:false}] DHCP:false Direct:false RateIn:5mbit RateOut: Wait:false}")
	f.want("POST", "/containers/web/nics", `{"On":"br1","Colour":"red"}`, 400, "Colour is not supported")
	f.want("POST", "/containers/web/nics", `{"On":"br1","Addresses":["192.168.4.25"]}`, 400, "length of its subnet")
	f.want("DELETE", "/containers/web/nics?nic=eth1", "", 204, "")
	f.engine.called(t, "nicrm web eth1")
	f.want("DELETE", "/containers/web/nics", "", 400, "parameter nic is missing")
	f.want("POST", "/containers/web/nics/wait", "", 204, "")
	f.engine.called(t, "nicwait web  -1s")
	f.want("POST", "/containers/web/nics/wait?nic=eth2&timeout=5", "", 204, "")
	f.engine.called(t, "nicwait web eth2 5s")
	f.want("POST", "/containers/web/nics/wait?timeout=0", "", 204, "")
	f.engine.called(t, "nicwait web  0s")
	f.want("POST", "/containers/web/nics/wait?timeout=-1", "", 400, "give seconds")
	f.want("POST", "/containers/web/nics/wait?timeout=soon", "", 400, "soon")
	f.want("GET", "/nics", "", 200, `"Name":"eth1","On":"br1","Kind":"bridge","Addresses":["192.168.4.25/24"]`)
	f.want("GET", "/containers/nobody/nics", "", 404, "No such container: nobody")

	f.want("POST", "/containers/web/routes", `{"Words":["delete","default"]}`, 204, "")
	f.engine.called(t, "route web del {Type: Dst:invalid Prefix Via:invalid IP Dev: Src:invalid IP Metric:0 Table:0 MTU:0 OnLink:false V6:false Deleted:false}")
	f.want("POST", "/containers/web/routes", `{}`, 400, "words are missing")
	f.want("GET", "/containers/web/routes", "", 200, "[]")
	f.want("POST", "/containers/web/rules", `{"Words":["add","from","10.0.0.7","table","7"]}`, 204, "")
	f.want("POST", "/containers/web/tc", `{"Words":["qdisc","show"]}`, 200, `{"Output":"qdisc"}`)
	f.engine.fail["tc"] = errs.New(errs.Conflict, "not running")
	f.want("POST", "/containers/web/tc", `{"Words":["qdisc","show"]}`, 409, "not running")
}
