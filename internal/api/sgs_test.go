package api

import (
	"net/netip"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func TestSecurityGroups(t *testing.T) {
	f := newFixture(t)
	web := f.engine.addContainer("web", true)
	web.SecurityGroups = []string{"g1", "g2"}
	f.engine.snap.SecurityGroups = map[string]*model.SecurityGroup{
		"g1": {ID: "g1", Name: "web", Description: "the front", Rules: []model.GroupRule{
			{Proto: "tcp", First: 80, Last: 90, Source: netip.MustParsePrefix("10.0.0.0/8")}, {Proto: "any", Group: "g2"},
		}},
		"g2": {ID: "g2", Name: "admin"},
	}
	const created = `"created":"0001-01-01T00:00:00Z"`
	admin := `{"id":"g2","name":"admin","description":"",` + created + `,"rules":[],"containers":["` + web.ID + `"]}`
	front := `{"id":"g1","name":"web","description":"the front",` + created + `,"rules":[` +
		`{"direction":"ingress","protocol":"tcp","port_range_min":80,"port_range_max":90,"remote_ip_prefix":"10.0.0.0/8"},` +
		`{"direction":"ingress","protocol":"any","remote_group":"admin"}],"containers":["` + web.ID + `"]}`
	f.want("GET", "/v1.44/sg", "", 200, "["+admin+","+front+"]")
	f.want("GET", "/sg?filters="+escape(`{"name":["adm"]}`), "", 200, "["+admin+"]")
	f.want("GET", "/sg?filters="+escape(`{"colour":["red"]}`), "", 400, "invalid filter 'colour'")
	f.want("GET", "/sg/web", "", 200, front)
	f.want("GET", "/sg/nobody", "", 404, "no such security group: nobody")
	var got struct {
		NetworkSettings struct{ SecurityGroups []string }
	}
	f.json("/containers/web/json", &got)
	equal(t, "inspect", got.NetworkSettings.SecurityGroups, []string{"web", "admin"})

	const rule = `{"protocol":"tcp","port_range_min":80,"remote_group":"web"}`
	f.want("POST", "/sg/create?name=db", `{"description":"data","rules":[`+rule+`,{"direction":"ingress","protocol":"icmp"}]}`, 201, `"name":"db"`)
	f.engine.called(t, "sgcreate {Name:db Description:data Rules:[{Proto:tcp First:80 Last:0 Prefix: Group:web} {Proto:icmp First:0 Last:0 Prefix: Group:}]}")
	f.want("POST", "/sg/create", `{"name":"db"}`, 201, `"name":"db"`)
	f.want("POST", "/sg/update?name=db", `{"rules":[],"add_rules":[`+rule+`]}`, 200, `"name":"db"`)
	f.engine.called(t, "sgupdate db true [] [] [{tcp 80 0  web}]")
	f.want("POST", "/sg/update?name=db", `{"remove_rules":[`+rule+`]}`, 200, `"name":"db"`)
	f.engine.called(t, "sgupdate db false [] [{tcp 80 0  web}] []")
	for body, want := range map[string]string{
		`{}`:                        "parameter name is missing",
		`{"name":"x","icmp":"all"}`: "icmp is not supported",
		`{"name":"x","rules":[{}`:   "invalid JSON",
		`{"name":"x","rules":[1]}`:  "invalid JSON",
		`{"name":"x","add_rules":[{"protocol":"tcp"}]}`:                       "give rules",
		`{"name":"x","rules":[{"protocol":"tcp","direction":"egress"}]}`:      "direction egress is not supported",
		`{"name":"x","rules":[{"protocol":"tcp","direction":"sideways"}]}`:    "invalid direction",
		`{"name":"x","rules":[{"protocol":"tcp","ethertype":"IPv6"}]}`:        "rule.ethertype is not supported",
		`{"name":"x","rules":[{"protocol":"tcp","port_range_min":"eighty"}]}`: "invalid JSON",
	} {
		f.want("POST", "/sg/create", body, 400, want)
	}
	f.want("POST", "/sg/update?name=a", `{"name":"b"}`, 400, "called a in the query and b in the body")
	f.want("POST", "/containers/web/sg?sg=web&sg=admin", "", 204, "")
	f.engine.called(t, "sgattach web [web admin]")
	f.want("DELETE", "/containers/web/sg?sg=admin", "", 204, "")
	f.engine.called(t, "sgdetach web [admin]")
	f.want("DELETE", "/sg/web", "", 204, "")
	f.engine.fail["sgremove"] = errs.New(errs.Conflict, "in use")
	f.want("DELETE", "/sg/web", "", 409, "in use")
}
