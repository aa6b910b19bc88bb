package alloc

import (
	"crypto/md5"
	"crypto/rand"
	"net"
	"net/netip"

	"github.com/jackstay/jackstay/internal/errs"
)

// MAC gives the hardware address that goes with an IPv4 address: 02:42 and its
// four bytes, so that an address that moves with its container keeps its
// neighbours' entries true. Any other address gets a random, locally
// administered unicast one.
func MAC(addr netip.Addr) string {
	hw := net.HardwareAddr{0x02, 0x42, 0, 0, 0, 0}
	if addr = addr.Unmap(); addr.Is4() {
		b := addr.As4()
		copy(hw[2:], b[:])
		return hw.String()
	}
	rand.Read(hw)
	hw[0] = hw[0]&^1 | 2 // IEEE 802: bit 0 is multicast, bit 1 locally administered
	return hw.String()
}

// MACFrom gives the hardware address that a word stands for, the same on every
// host: 02 and the first five bytes of its MD5 sum, as pipework's U:WORD.
func MACFrom(word string) string {
	sum := md5.Sum([]byte(word))
	return net.HardwareAddr(append([]byte{0x02}, sum[:5]...)).String()
}

// ParseMAC checks a hardware address that a user asks for and gives it in its
// usual form. An interface can't have a multicast or an all-zero one.
func ParseMAC(s string) (string, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return "", errs.New(errs.Invalid, "invalid MAC address: %s: use six bytes in hexadecimal, such as 02:42:ac:11:00:02", s)
	}
	why := ""
	if hw[0]&1 != 0 {
		why = "it is a multicast address (the first byte is odd)"
	} else if [6]byte(hw) == [6]byte{} {
		why = "it is all zeros"
	}
	if why != "" {
		return "", errs.New(errs.Invalid, "invalid MAC address: %s: %s", s, why)
	}
	return hw.String(), nil
}
