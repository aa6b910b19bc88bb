package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
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
// "TARGET ANSWER" in their order; the answer is - where none comes.
func matrix(patience string) error {
	wait, err := time.ParseDuration(patience)
	if err != nil {
		return err
	}
	var targets []string
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		targets = append(targets, in.Text())
	}
	answers := make([]string, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() {
			var b strings.Builder
			answers[i] = "-"
			if getTo(&b, t, wait) == nil {
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

// hear prints whoever sends to a UDP port, and what.
func hear(port string) error {
	c, err := net.ListenPacket("udp4", ":"+port)
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
		fmt.Printf("%s %s\n", host, buf[:n])
	}
}

// forge sends one frame as it is told: with udp a datagram to DSTIP:9000 that
// says TEXT, with arp an answer that SRCIP is at SRCMAC, for DSTIP.
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
	if kind == "arp" {
		frame = append(frame, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2) // RFC 826: an answer, Ethernet and IPv4
		frame = append(append(frame, from...), src...)
		frame = append(append(frame, to...), dst...)
	} else {
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

// datagram is an IPv4 packet (RFC 791) with UDP to port 9000, without UDP's
// checksum, which IPv4 lets one leave out (RFC 768).
func datagram(src, dst, text []byte) []byte {
	const header = 20
	p := make([]byte, header+8+len(text))
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], src)
	copy(p[16:], dst)
	var sum uint32
	for i := 0; i < header; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum))
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
