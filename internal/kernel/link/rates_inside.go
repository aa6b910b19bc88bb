//go:build linux

package link

import (
	"cmp"

	"github.com/vishvananda/netlink"

	"github.com/jackstay/jackstay/internal/desired"
)

// shaper limits links of the visited namespace.
func (v *visit) shaper() (shaper, error) {
	if v.wire == nil {
		var err error
		if v.wire, err = dial(); err != nil {
			return shaper{}, err
		}
	}
	return shaper{nl: v.in, wire: v.wire, del: v.in.LinkDel}, nil
}

// limitDevice gives an interface without a host end its limits inside, or takes
// them away. A device of the host's leaves them behind when it is given back:
// the kernel takes every queueing discipline off what goes to another namespace
// (net/core/dev.c: dev_shutdown).
func (v *visit) limitDevice(d *desired.Device, l netlink.Link, fresh bool) error {
	want, mtu := deviceBuckets(d, l)
	if d.Kind == desired.Dummy || fresh && want == (buckets{}) {
		return nil
	}
	s, err := v.shaper()
	if err != nil {
		return err
	}
	return s.set(l, d.NIC, want, mtu, fresh)
}

func (v *visit) deviceLimited(d *desired.Device, l netlink.Link) (bool, error) {
	if d.Kind == desired.Dummy {
		return true, nil
	}
	s, err := v.shaper()
	if err != nil {
		return false, err
	}
	want, _ := deviceBuckets(d, l)
	have, err := s.buckets(l, d.NIC)
	return have == want, err
}

// deviceBuckets are those of a device inside: it sends what comes out.
func deviceBuckets(d *desired.Device, l netlink.Link) (buckets, int) {
	mtu := cmp.Or(d.MTU, l.Attrs().MTU)
	return buckets{sends: bucketFor(d.RateOut, mtu), gets: bucketFor(d.RateIn, mtu)}, mtu
}
