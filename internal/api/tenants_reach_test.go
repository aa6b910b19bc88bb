package api

import (
	"net/netip"
	"testing"

	"github.com/jackstay/jackstay/internal/model"
)

// Registries are asked for a tenant with the tenant's reach, with credentials
// and without; for the administrator anywhere.
func TestTenantsReach(t *testing.T) {
	f := newFixture(t)
	requests := map[string]func(){
		"pull":  func() { f.do("POST", "/images/create?fromImage=busybox", "") },
		"push":  func() { f.do("POST", "/images/busybox/push", "") },
		"login": func() { f.do("POST", "/auth", `{"username":"u","password":"p","serveraddress":"127.0.0.1:5000"}`) },
	}
	for what, do := range requests {
		f.images.auth = model.RegistryAuth{Username: "nobody asked"}
		if do(); f.images.auth.Username == "nobody asked" || f.images.auth.Reach != nil {
			t.Errorf("%s by the administrator: %+v", what, f.images.auth)
		}
	}
	f.server = f.server.For("acme", f.engine)
	for what, do := range requests {
		f.images.auth = model.RegistryAuth{}
		do()
		reach := f.images.auth.Reach
		if reach == nil || !reach.OffLimits(netip.MustParseAddr("127.0.0.1")) || reach.OffLimits(netip.MustParseAddr("192.0.2.1")) {
			t.Errorf("%s by a tenant: %+v", what, f.images.auth)
		}
	}
}
