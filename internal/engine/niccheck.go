package engine

import (
	"net/netip"

	"github.com/jackstay/jackstay/internal/alloc"
	"github.com/jackstay/jackstay/internal/errs"
	"github.com/jackstay/jackstay/internal/model"
)

func checkLinkName(what, name string) error {
	if name != "" && (!validLinkName(name) || name == "lo") {
		return errs.New(errs.Invalid, "invalid %s %q: use up to 15 letters, digits, '-', '_' and '.'", what, name)
	}
	return nil
}

// checkNIC refuses what no host could give, and completes the MAC.
func checkNIC(r *model.NICRequest) error {
	if r.On == "" {
		return errs.New(errs.Invalid, "say what the NIC is to be put on: --on NETWORK, BRIDGE or DEVICE")
	}
	if err := checkLinkName("interface name", r.Name); err != nil {
		return err
	}
	if err := checkLinkName("host name", r.HostName); err != nil {
		return err
	}
	if r.MACFrom != "" {
		if r.MAC != "" {
			return errs.New(errs.Invalid, "--mac and --mac-from: give one of them")
		}
		r.MAC = alloc.MACFrom(r.MACFrom)
	}
	if r.MAC != "" {
		mac, err := alloc.ParseMAC(r.MAC)
		if err != nil {
			return err
		}
		r.MAC = mac
	}
	if r.MTU != 0 && (r.MTU < 68 || r.MTU > 65535) { // RFC 791, and the kernel's limit
		return errs.New(errs.Invalid, "invalid MTU %d: it must be between 68 and 65535", r.MTU)
	}
	if r.VLAN < 0 || r.VLAN > 4094 {
		return errs.New(errs.Invalid, "invalid VLAN %d: it must be between 1 and 4094", r.VLAN)
	}
	return checkNICAddresses(r)
}

func checkNICAddresses(r *model.NICRequest) error {
	if r.DHCP && len(r.Addrs) > 0 {
		return errs.New(errs.Invalid, "--dhcp and --ip: a NIC's address is leased or given, not both")
	}
	for i, p := range r.Addrs {
		a := p.Addr()
		switch {
		case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
			return errs.New(errs.Invalid, "invalid address %s: no interface can have it", p)
		case a.Is4() && p.Bits() < 31 && (a == p.Masked().Addr() || a == lastOf(p)):
			return errs.New(errs.Invalid, "invalid address %s: it is the subnet's own or its broadcast address", p)
		}
		for _, q := range r.Addrs[:i] {
			if q.Addr() == a {
				return errs.New(errs.Invalid, "address %s is given twice", a)
			}
		}
	}
	for _, g := range r.Gateways {
		behind := false
		for _, p := range r.Addrs {
			behind = behind || p.Addr().Is6() == g.Is6() && p.Masked().Contains(g) && p.Addr() != g
		}
		if !behind {
			return errs.New(errs.Invalid, "the gateway %s is in no subnet of the NIC's addresses, or is one of them", g)
		}
	}
	return nil
}

func lastOf(p netip.Prefix) netip.Addr {
	_, last := hostRange(p.Masked())
	return last.Next()
}

// checkOptions refuses options that have no meaning for the kind of NIC.
func (a *nicAddition) checkOptions() error {
	r := &a.r
	veth := a.kind.HostEnd()
	switch {
	case r.Direct && a.kind != model.NICDirect:
		return errs.New(errs.Invalid, "--direct moves a device of the host, and this is a %s", a.kind)
	case r.HostName != "" && !veth:
		return errs.New(errs.Invalid, "--host-name: a %s has no end on the host", a.kind)
	case r.VLAN != 0 && (a.kind == model.NICNetwork || a.kind == model.NICDummy || a.kind == model.NICDirect):
		return errs.New(errs.Invalid, "--vlan: a NIC of this kind (%s) is in no VLAN: use a bridge or a device of the host", a.kind)
	case r.DHCP && a.kind == model.NICNetwork:
		return errs.New(errs.Invalid, "--dhcp: addresses on a network are Jackstay's to give: leave --dhcp out")
	case r.DHCP && a.kind == model.NICDummy:
		return errs.New(errs.Invalid, "--dhcp: nobody answers on a dummy interface")
	}
	return nil
}
