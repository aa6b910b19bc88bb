package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os/signal"
	"syscall"
	"time"
)

// source sends to everybody who connects, 10 MB/s or less, until ended.
func source(port string) error {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	block := pattern()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		}()
	}
}

// pattern is what source sends again and again.
func pattern() []byte {
	block := make([]byte, 100<<10)
	for i := range block {
		block[i] = byte(i) ^ byte(i>>8)
	}
	return block
}

// drain reads what source sends until it is ended and has got one more block:
// what is sent still arrives. It says how much and how long the longest wait for
// the next byte was.
func drain(addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		_ = c.SetReadDeadline(time.Now().Add(patience))
	}()
	block := pattern()
	buf := make([]byte, len(block))
	total, longest, last, ended := 0, time.Duration(0), time.Now(), -1
	for ended < 0 || total < ended+len(block) {
		n, err := c.Read(buf)
		now := time.Now()
		at := total % len(block)
		first := min(n, len(block)-at)
		if !bytes.Equal(buf[:first], block[at:at+first]) || !bytes.Equal(buf[first:n], block[:n-first]) {
			return fmt.Errorf("not what was sent, after %d bytes", total)
		}
		total, longest, last = total+n, max(longest, now.Sub(last)), now
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", total, err)
		}
		if ended < 0 && ctx.Err() != nil {
			ended = total
		}
	}
	fmt.Printf("%d MB, longest gap %v\n", total>>20, longest.Round(time.Millisecond))
	return nil
}
