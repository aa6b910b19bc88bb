package api

import (
	"net/netip"
	"testing"

	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func TestFIPs(t *testing.T) {
	f := newFixture(t)
	pool := netip.MustParsePrefix("203.0.113.16/28")
	f.engine.snap.FIPPools = map[string]*model.FIPPool{pool.String(): {Prefix: pool, Device: "eth0"}}
	f.engine.snap.FIPs = map[string]*model.FloatingIP{
		"203.0.113.18": {Address: netip.MustParseAddr("203.0.113.18"), Pool: pool},
		"203.0.113.17": {Address: netip.MustParseAddr("203.0.113.17"), Pool: pool, Name: "front", ContainerID: "c1"},
	}
	const taken = `{"container":"c1","fip":"203.0.113.17","name":"front","service":""}`
	const free = `{"container":"","fip":"203.0.113.18","name":"","service":""}`
	for query, want := range map[string]string{
		"": "[" + taken + "," + free + "]",
		"?filters=" + escape(`{"dangling":["true"]}`):   "[" + free + "]",
		"?filters=" + escape(`{"dangling":["false"]}`):  "[" + taken + "]",
		"?filters=" + escape(`{"name":{"front":true}}`): "[" + taken + "]",
	} {
		f.want("GET", "/v1.44/fips"+query, "", 200, want)
	}
	f.want("GET", "/fips?filters="+escape(`{"colour":["red"]}`), "", 400, "invalid filter 'colour'")
	f.want("POST", "/fips/allocate?count=1", "", 201, `["203.0.113.17"]`)
	f.engine.called(t, "fipallocate 1")
	f.want("POST", "/fips/allocate?count=x", "", 400, "must be a number")
	f.want("POST", "/fips/allocate", "", 400, "count is missing")
	f.want("POST", "/fips/allocate?ip=203.0.113.19", "", 201, `["203.0.113.19"]`)
	f.want("POST", "/fips/allocate?ip=front", "", 400, "is not an address")
	f.want("POST", "/fips/allocate?ip=203.0.113.19&count=1", "", 400, "conflicting parameters")
	f.want("POST", "/fips/attach?ip=front&container=web&force=1", "", 204, "")
	f.engine.called(t, "fipattach front web true false")
	f.want("POST", "/fips/attach?container=web", "", 400, "parameter ip is missing")
	f.want("POST", "/fips/detach?container=web", "", 200, `"203.0.113.17"`)
	f.want("POST", "/fips/detach", "", 400, "parameter container is missing")
	f.want("POST", "/fips/release?ip=front", "", 204, "")
	f.want("POST", "/fips/name?ip=front", "", 204, "")
	f.engine.called(t, "fipname front ")
	f.want("GET", "/fips/pools", "", 200, `[{"Prefix":"203.0.113.16/28","Device":"eth0","Allocated":2,"Attached":1}]`)
	f.want("POST", "/fips/pools", `{"Prefix":"203.0.113.16/28","Device":"eth0"}`, 201, `"Device":"eth0"`)
	f.want("POST", "/fips/pools", `{"Prefix":"203.0.113.16/28","Gateway":"203.0.113.1"}`, 400, "Gateway is not supported")
	f.want("DELETE", "/fips/pools?prefix=203.0.113.16/28", "", 204, "")
	f.engine.called(t, "fippoolrm 203.0.113.16/28")
	f.engine.fail["fiprelease"] = errs.New(errs.Conflict, "attached")
	f.want("POST", "/fips/release?ip=front", "", 409, "attached")
}
