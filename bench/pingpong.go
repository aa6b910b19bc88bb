package main

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// pong answers one connection byte for byte until it closes.
func pong(port string) error {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	c, err := l.Accept()
	l.Close()
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.Copy(c, c)
	return err
}

// ping sends one byte after another and prints the mean round trip in µs and
// the longest in ms.
func ping(addr, seconds string) error {
	n, err := strconv.Atoi(seconds)
	if err != nil {
		return err
	}
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	b := []byte{1}
	start := time.Now()
	last, longest, trips := start, time.Duration(0), 0
	for ; last.Sub(start) < time.Duration(n)*time.Second; trips++ {
		if _, err := c.Write(b); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, b); err != nil {
			return err
		}
		now := time.Now()
		last, longest = now, max(longest, now.Sub(last))
	}
	fmt.Printf("%.2f %.2f\n", float64(last.Sub(start).Microseconds())/float64(trips), float64(longest.Microseconds())/1000)
	return nil
}
