package dns

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/jackstay/jackstay/internal/desired"
)

// TestWildcard: the semantics of RFC 4592, with the example of its section 2.2.1
// in small.
func TestWildcard(t *testing.T) {
	z := &desired.Zones{Networks: map[string]*desired.Zone{
		"one": {
			Names: map[string][]netip.Addr{
				"*.foo.test": ips("10.0.0.1"), "host.foo.test": ips("10.0.0.2"), "a.b.foo.test": ips("10.0.0.3"),
				"*.sub.foo.test": ips("10.0.0.4"), "web": ips("10.0.0.5"),
			},
			Nodes: map[string]struct{}{
				"*.foo.test": {}, "host.foo.test": {}, "a.b.foo.test": {}, "b.foo.test": {}, "*.sub.foo.test": {}, "sub.foo.test": {},
			},
		},
		"two":   {Names: map[string][]netip.Addr{"exact.foo.test": ips("10.1.0.1")}},
		"three": {Names: map[string][]netip.Addr{"*.foo.test": ips("10.2.0.1"), "*.bar.test": ips("10.2.0.2")}, Nodes: map[string]struct{}{"*.foo.test": {}, "*.bar.test": {}}},
	}}
	view := &desired.View{Networks: []string{"one", "two", "three"}, Aliases: map[string][]netip.Addr{"mine.foo.test": ips("10.3.0.1")}}
	for name, want := range map[string]string{
		"x.foo.test":      "[10.0.0.1] true",
		"x.y.foo.test":    "[10.0.0.1] true", // any number of labels
		"host.foo.test":   "[10.0.0.2] true", // an exact name wins
		"x.host.foo.test": "[10.2.0.1] true", // below it the wildcard ends, in this network
		"b.foo.test":      "[] true",         // it exists, without an address
		"x.b.foo.test":    "[10.2.0.1] true",
		"x.sub.foo.test":  "[10.0.0.4] true", // the closest encloser's
		"sub.foo.test":    "[] true",
		"exact.foo.test":  "[10.1.0.1] true", // an exact name of another network wins, too
		"mine.foo.test":   "[10.3.0.1] true", // and a link's alias
		"x.bar.test":      "[10.2.0.2] true",
		"foo.test":        "[] false", // no wildcard covers its own parent
		"xfoo.test":       "[] false",
		"test":            "[] false",
		"web":             "[10.0.0.5] true",
		"x.web":           "[] false",
		"":                "[] false",
	} {
		addrs, ok := lookup(z, view, []byte(name))
		if got := fmt.Sprint(addrs, ok); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	only := &desired.View{Networks: []string{"one"}}
	if addrs, ok := lookup(z, only, []byte("x.host.foo.test")); ok {
		t.Errorf("below an exact name: %v", addrs)
	}
	if n := testing.AllocsPerRun(100, func() { lookup(z, only, []byte("x.y.foo.test")) }); n > 1 {
		t.Errorf("a wildcard costs %v allocations", n)
	}
}
