// Command probe is the two ends of the tests' connections: a server that says
// its name and whom it sees, and a client with a short patience.
//
//	probe serve NAME PROTO:PORT...   answers "NAME PEER\n" over tcp and udp, until ended
//	probe get PROTO:HOST:PORT        prints the answer; 1 when none comes within 2 s
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const patience = 2 * time.Second

func main() {
	err := fmt.Errorf("usage: probe serve NAME PROTO:PORT... | probe get PROTO:HOST:PORT")
	switch {
	case len(os.Args) >= 4 && os.Args[1] == "serve":
		err = serve(os.Args[2], os.Args[3:])
	case len(os.Args) == 3 && os.Args[1] == "get":
		err = get(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(name string, listens []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	for _, l := range listens {
		proto, port, _ := strings.Cut(l, ":")
		if proto == "udp" {
			conn, err := net.ListenPacket("udp", ":"+port)
			if err != nil {
				return err
			}
			go serveUDP(name, conn)
			continue
		}
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		go serveTCP(name, listener)
	}
	<-ctx.Done()
	return nil
}

func serveTCP(name string, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprintf(c, "%s %s\n", name, host)
			c.Close()
		}()
	}
}

func serveUDP(name string, c net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		_, peer, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(peer.String())
		_, _ = c.WriteTo([]byte(name+" "+host+"\n"), peer)
	}
}

func get(target string) error {
	proto, addr, _ := strings.Cut(target, ":")
	c, err := net.DialTimeout(proto, addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if proto == "udp" {
		if _, err := c.Write([]byte("?\n")); err != nil {
			return err
		}
		buf := make([]byte, 1500)
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(buf[:n])
		return err
	}
	answer, err := io.ReadAll(c)
	if err == nil && len(answer) == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(answer)
	return err
}
