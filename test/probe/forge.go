package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// matrix asks every target on standard input, a line each, at once, and prints
// "TARGET ANSWER" in their order; the answer is - where none comes. A line may
// have a patience of its own after its target.
func matrix(patience string) error {
	wait, err := time.ParseDuration(patience)
	if err != nil {
		return err
	}
	var targets []string
	waits := map[int]time.Duration{}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		target, own, found := strings.Cut(in.Text(), " ")
		if found {
			if waits[len(targets)], err = time.ParseDuration(own); err != nil {
				return err
			}
		}
		targets = append(targets, target)
	}
	answers := make([]string, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() {
			var b strings.Builder
			answers[i] = "-"
			var err error
			if own, found := waits[i]; !found {
				err = getTo(&b, t, wait)
			} else if _, addr, udp := strings.Cut(t, "udp:"); udp {
				err = insist(&b, addr, wait, own)
			} else {
				err = getTo(&b, t, own)
			}
			if err == nil {
				answers[i], _, _ = strings.Cut(b.String(), " ")
			}
		})
	}
	wg.Wait()
	for i, t := range targets {
		fmt.Println(t, answers[i])
	}
	return in.Err()
}

// insist asks over UDP, and says on standard error when one datagram was not
// enough: it was lost, or its answer came after every had passed.
func insist(w io.Writer, addr string, every, patience time.Duration) error {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, 1500)
	began := time.Now()
	for asked := 1; ; asked++ {
		if _, err := c.Write([]byte("?\n")); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(every)); err != nil {
			return err
		}
		n, err := c.Read(buf)
		if err == nil {
			if asked > 1 {
				fmt.Fprintf(os.Stderr, "udp:%s answered %d datagrams after %v\n", addr, asked, time.Since(began).Round(time.Millisecond))
			}
			_, err = w.Write(buf[:n])
			return err
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > patience {
			return err
		}
	}
}

// hear prints whoever sends to a UDP port, and what.
func hear(port string) error {
	c, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		return err
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go func() { <-ended; c.Close() }()
	buf := make([]byte, 1500)
	for {
		n, peer, err := c.ReadFrom(buf)
		if err != nil {
			return nil //nolint:nilerr // it was ended
		}
		host, _, _ := net.SplitHostPort(peer.String())
		host = strings.TrimPrefix(host, "::ffff:")
		fmt.Printf("%s %s\n", host, buf[:n])
	}
}

// forge sends one frame as it is told: with udp a datagram to DSTIP:9000 that
// says TEXT, with arp an answer that SRCIP is at SRCMAC, for DSTIP. With na it is
// an advertisement from SRCIP that the neighbour TEXT is at SRCMAC, and with ra
// one that SRCIP is a router. KIND+N is tagged N times for VLAN 0.
func forge(kind, dev, srcMAC, srcIP, dstMAC, dstIP, text string) error {
	ifi, err := net.InterfaceByName(dev)
	if err != nil {
		return err
	}
	from, err := net.ParseMAC(srcMAC)
	if err != nil {
		return err
	}
	to, err := net.ParseMAC(dstMAC)
	if err != nil {
		return err
	}
	src, dst := netip.MustParseAddr(srcIP).AsSlice(), netip.MustParseAddr(dstIP).AsSlice()
	frame := append(append([]byte{}, to...), from...)
	kind, tags, _ := strings.Cut(kind, "+")
	for n, _ := strconv.Atoi(tags); n > 0; n-- {
		frame = append(frame, 0x81, 0x00, 0, 0) // IEEE 802.1Q
	}
	switch {
	case kind == "na":
		target := netip.MustParseAddr(text).AsSlice()
		body := append(append(append([]byte{0x20, 0, 0, 0}, target...), 2, 1), from...) // RFC 4861 section 4.4: override
		frame = append(append(frame, 0x86, 0xdd), packet6(src, dst, unix.IPPROTO_ICMPV6, 2, append([]byte{136, 0, 0, 0}, body...))...)
	case kind == "ra":
		body := []byte{64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0} // section 4.2: for half an hour
		frame = append(append(frame, 0x86, 0xdd), packet6(src, dst, unix.IPPROTO_ICMPV6, 2, append([]byte{134, 0, 0, 0}, body...))...)
	case kind == "udp" && len(src) == 16:
		udp := []byte{9000 >> 8, 9000 & 0xff, 9000 >> 8, 9000 & 0xff, 0, byte(8 + len(text)), 0, 0}
		frame = append(append(frame, 0x86, 0xdd), packet6(src, dst, unix.IPPROTO_UDP, 6, append(udp, text...))...)
	case kind == "arp":
		frame = append(frame, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2) // RFC 826: an answer, Ethernet and IPv4
		frame = append(append(frame, from...), src...)
		frame = append(append(frame, to...), dst...)
	default:
		frame = append(frame, 0x08, 0x00)
		frame = append(frame, datagram(src, dst, []byte(text))...)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index, Halen: 6})
}

// packet6 is an IPv6 packet (RFC 8200) with what it carries, whose checksum is at sum.
func packet6(src, dst []byte, proto byte, sum int, body []byte) []byte {
	pseudo := append(append([]byte{}, src...), dst...)
	pseudo = append(pseudo, 0, 0, 0, byte(len(body)), 0, 0, 0, proto)
	all := append(pseudo, body...)
	if len(all)%2 == 1 {
		all = append(all, 0)
	}
	binary.BigEndian.PutUint16(body[sum:], checksum(all))
	p := []byte{0x60, 0, 0, 0, 0, byte(len(body)), proto, 255}
	return append(append(append(p, src...), dst...), body...)
}

// checksum is the Internet's (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// datagram is an IPv4 packet (RFC 791) with UDP to port 9000, without UDP's
// checksum, which IPv4 lets one leave out (RFC 768).
func datagram(src, dst, text []byte) []byte {
	const header = 20
	p := make([]byte, header+8+len(text))
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], src)
	copy(p[16:], dst)
	binary.BigEndian.PutUint16(p[10:], checksum(p[:header]))
	binary.BigEndian.PutUint16(p[header:], 9000)
	binary.BigEndian.PutUint16(p[header+2:], 9000)
	binary.BigEndian.PutUint16(p[header+4:], uint16(8+len(text)))
	copy(p[header+8:], text)
	return p
}

// pingpong asks a server of `serve` over one UDP socket, one question at a time,
// for a number of seconds, and prints how many answers came a second.
func pingpong(addr, seconds string) error {
	n, err := strconv.Atoi(seconds)
	if err != nil {
		return err
	}
	c, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, 1500)
	answers, began := 0, time.Now()
	for time.Since(began) < time.Duration(n)*time.Second {
		if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		if _, err := c.Write([]byte("?\n")); err != nil {
			return err
		}
		if _, err := c.Read(buf); err != nil {
			return err
		}
		answers++
	}
	fmt.Printf("%.0f\n", float64(answers)/time.Since(began).Seconds())
	return nil
}
