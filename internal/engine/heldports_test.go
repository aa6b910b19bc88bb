package engine

import (
	"net/netip"
	"testing"

	"github.com/jackstay/jackstay/internal/model"
)

// A binding of both families that has no host port of IPv4 yet takes none of
// another binding's of IPv6.
func TestHeldPortsOfAnotherFamily(t *testing.T) {
	port := model.Port{Number: 80, Proto: "tcp"}
	six := model.PortMapping{HostIP: netip.IPv6Unspecified(), HostPort: 40000, Port: port}
	n := &model.Network{ID: "n", Subnets: []model.Subnet{{Prefix: netip.MustParsePrefix("10.1.0.0/24")}, {Prefix: netip.MustParsePrefix("fd00:1::/64")}}}
	c := &model.Container{ID: "c", Remembered: []model.PortMapping{six}}
	c.Host.PortBindings = []model.PortBinding{{Port: port}, {Port: port, HostIP: netip.IPv6Unspecified()}}
	pairs := bindingPairs(&model.Snapshot{ByContainer: map[string][]*model.Endpoint{"c": {{IPv6: netip.MustParsePrefix("fd00:1::2/64")}}}}, c, n)
	if len(pairs[0].held) != 1 || pairs[0].held[0].HostPort != 0 {
		t.Errorf("of both families: %+v", pairs[0].held)
	}
	if len(pairs[1].held) != 1 || pairs[1].held[0] != six {
		t.Errorf("of IPv6: %+v", pairs[1].held)
	}
}
