//go:build linux

package link

import (
	"fmt"
	"os"
	"path/filepath"
)

const (
	conf6       = "net/ipv6/conf/"
	forwarding6 = conf6 + "all/forwarding"
)

// ensureForwarding6 lets the host forward IPv6. That makes it a router, and a
// router takes no router advertisements: the kernel forgets the default route
// that it learned by them, and learns no other. So each interface that takes
// them now, those to come included, is first told to go on (accept_ra 2,
// Documentation/networking/ip-sysctl.rst); what an administrator turned off
// stays off. Our own bridges never take any.
func ensureForwarding6() error {
	if v, err := getSysctl(forwarding6); err != nil || v == "1" {
		return err
	}
	interfaces, err := os.ReadDir("/proc/sys/" + conf6)
	if err != nil {
		return fmt.Errorf("list interfaces with IPv6: %w", err)
	}
	for _, i := range interfaces {
		if i.Name() == "all" { // counts for no interface
			continue
		}
		if err := keepAdvertisements(filepath.Join(conf6, i.Name())); err != nil {
			return err
		}
	}
	return setSysctl(forwarding6, "1")
}

// keepAdvertisements has an interface take router advertisements as it does
// now, also when it forwards.
func keepAdvertisements(conf string) error {
	accepts, err := getSysctl(conf + "/accept_ra")
	if err != nil {
		return ifThere(err)
	}
	forwards, err := getSysctl(conf + "/forwarding")
	if err != nil {
		return ifThere(err)
	}
	if accepts != "1" || forwards != "0" {
		return nil
	}
	return ifThere(writeSysctl(conf+"/accept_ra", "2"))
}

// forwards6 tells whether the host forwards IPv6. An interface's own setting
// says only whether it acts as a router's on its link (ip6_forward in
// net/ipv6/ip6_output.c).
func forwards6() bool {
	v, err := getSysctl(forwarding6)
	return err != nil || v != "0"
}
